"""Study of importance weighting: log p(x) from draws of the prior, and from draws of q(z|x)."""

from typing import Any

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from keras_genzoo import engine, losses, plots
from keras_genzoo.progress import working
from keras_genzoo.studies import common
from keras_genzoo.studies.common import Setting

_COUNTS = (1, 10, 100, 1_000, 5_000, 10_000, 100_000)  # draws of an estimate
_MOST_GROUPS = 20  # groups of draws whose estimates are averaged
_WEIGHTED_CHUNK = 100  # draws of q(z|x) at a time
_NAIVE_CHUNK = 2_000  # draws of the prior at a time


def estimate(
    setting: Setting, *, n_images: int = 50, most_naive: int = 100_000, most_weighted: int = 5_000
) -> tuple[list[dict], Figure]:
    """log p(x) from N draws of the prior, and from N draws of q(z|x), weighted by p(z) / q(z|x).

        p(x) ~ 1/N sum_i p(x|z_i),                   z_i ~ p(z)
        p(x) ~ 1/N sum_i p(x|z_i) p(z_i) / q(z_i|x), z_i ~ q(z|x)

    Args:
        setting: Setting of the study.
        n_images: Number of test images.
        most_naive: Number of draws of the prior.
        most_weighted: Number of draws of q(z|x) per image, a multiple of 100.

    Returns:
        `(rows, figure)`, a row per side and number of draws.
    """
    model, images = common.pretrained("vae_mnist", n_images)
    with working("drawing from the prior", verbose=setting.verbose):
        naive = _naive_log_likelihoods(model, images, most_naive, setting.seed)
    with working("drawing from q(z|x)", verbose=setting.verbose):
        weighted = np.concatenate(
            [
                engine.array(
                    model.log_weights(ops.convert_to_tensor(images), n_samples=_WEIGHTED_CHUNK, seed=setting.seed + i)
                )
                for i in range(most_weighted // _WEIGHTED_CHUNK)
            ]
        )
    sides = {"naive: z from p(z)": naive, "importance weighted: z from q(z|x)": weighted}
    rows = []
    drawing, (panel,) = plots.figure(1, width=7.5, height=5)
    for side, log_terms in sides.items():
        counts = [n for n in _COUNTS if n <= len(log_terms)]
        means = []
        for n in counts:
            n_groups = min(_MOST_GROUPS, len(log_terms) // n)  # disjoint groups: a single one would vary by chance
            bounds = [losses.importance_weighted_bound(log_terms[i * n : (i + 1) * n]) for i in range(n_groups)]
            means.append(float(np.mean([engine.array(bound) for bound in bounds])))
            rows.append({"estimate": side, "n": n, "log_p": round(means[-1], 3), "images": n_images})
        panel.plot(counts, means, marker="o", label=side)
    best = rows[-1]["log_p"]
    panel.axhline(best, color="grey", linewidth=0.8, linestyle="--")
    panel.set(
        xscale="log",
        xlabel="N, draws of z per image",
        ylabel=f"mean estimate of log p(x), nats ({n_images} test images)",
        title=f"vae_mnist: {len(naive):,} draws of the prior against {_worth(rows)} of q(z|x), which tell more",
    )
    panel.legend()
    panel.grid(alpha=0.3)
    return rows, drawing


def _worth(rows: list[dict]) -> int:
    """The least number of draws of q(z|x) whose estimate is above the best of the prior."""
    naive = max(row["log_p"] for row in rows if row["estimate"].startswith("naive"))
    return min(row["n"] for row in rows if not row["estimate"].startswith("naive") and row["log_p"] > naive)


def _naive_log_likelihoods(model: Any, images: np.ndarray, n: int, seed: int) -> np.ndarray:
    """log p(x|z_i) of every image under the same n draws of the prior, `(n, images)`."""
    parts, flat = [], images.reshape(len(images), -1)
    for start in range(0, n, _NAIVE_CHUNK):
        z = np.random.default_rng([seed, start]).standard_normal((min(_NAIVE_CHUNK, n - start), model.latent_dim))
        logits = engine.array(model.decoder(z.astype("float32")))
        logits = logits.reshape(len(z), -1)
        parts.append(logits @ flat.T - np.logaddexp(0, logits).sum(1, keepdims=True))
    return np.concatenate(parts)
