"""Study of VAEs with several weights of the KL: rate against distortion."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_genzoo import metrics, plots
from keras_genzoo.studies import common
from keras_genzoo.studies.common import Setting

_BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)  # weights of the KL


def beta(setting: Setting, *, betas: Sequence[float] = _BETAS) -> tuple[list[dict], Figure]:
    """VAEs with ten latents and several weights of the KL: nats of the code against nats of the reconstruction.

    Args:
        setting: Setting of the study.
        betas: Weights of the KL, >= 0, in ascending order.

    Returns:
        `(rows, figure)`, a row per weight.
    """
    test, _ = common.digits(10_000)
    rows, samples = [], []
    for value in betas:
        model = common.model(setting, latent_dim=10, beta=value)
        common.fit(model, setting, f"beta {value:g}")
        logs = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
        rate, distortion = float(logs["kl_loss"]), float(logs["reconstruction_loss"])
        rows.append(
            {
                "beta": value,
                "rate": round(rate, 2),
                "distortion": round(distortion, 2),
                "elbo": round(-rate - distortion, 2),
                "active_units": metrics.active_units(model.codes(test)),
            }
        )
        samples.append(model.sample(10, seed=setting.seed))
    drawing, (left, right) = plots.figure(2, width=7, height=5.4)
    left.plot([row["rate"] for row in rows], [row["distortion"] for row in rows], marker="o")
    for row in rows:
        left.annotate(
            f" beta {row['beta']:g}: ELBO {row['elbo']:.1f}, {row['active_units']} of 10 units",
            (row["rate"], row["distortion"]),
        )
    best = max(row["elbo"] for row in rows)
    low, high = left.get_xlim()
    line = np.array([low, high])
    left.plot(line, -best - line, color="grey", linestyle="--", linewidth=0.8, label=f"ELBO {best:.1f}, all along")
    left.set(
        xlim=(low, high + 0.6 * (high - low)),
        xlabel="rate: KL(q(z|x) || p(z)), nats",
        ylabel="distortion: -E log p(x|z), nats",
        title=f"rate and distortion on 10,000 test images (epochs: {setting.epochs})",
    )
    left.legend()
    left.grid(alpha=0.3)
    right.imshow(plots.canvas(np.concatenate(samples), columns=10))
    right.set(title="draws of the prior, decoded: one row per beta, the smallest on top")
    right.axis("off")
    return rows, drawing
