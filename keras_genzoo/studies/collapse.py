"""Study of posterior collapse: a cause, and three cures."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_genzoo import metrics, plots
from keras_genzoo.studies import common
from keras_genzoo.studies.common import Setting


def collapse(setting: Setting) -> tuple[list[dict], Figure]:
    """Posterior collapse under a likelihood with too wide noise, and the effect of three cures.

    In the linear case a latent survives where it explains more variance than sigma^2 (Lucas et al. 2019, section 4). No
    direction of MNIST's pixels has a variance above 5.2, and the square of sigma 2.5 is 6.25: no latent survives.

    Args:
        setting: Setting of the study.

    Returns:
        `(rows, figure)`, a row per case.
    """
    test, _ = common.digits(5_000, binarize=False)
    wide = {"name": "gaussian", "sigma": 2.5}
    cases: dict[str, dict[str, Any]] = {
        "sigma 2.5": {"likelihood": wide},
        "sigma 2.5,\nKL warm-up": {"likelihood": wide, "warmup_steps": 300 * setting.n_epochs},
        "sigma 2.5,\nfree bits 0.5": {"likelihood": wide, "objective": {"name": "elbo", "free_bits": 0.5}},
        "sigma learned": {"likelihood": {"name": "gaussian", "sigma": "learned"}},
        "sigma optimal": {"likelihood": {"name": "gaussian", "sigma": "optimal"}},
    }
    rows, pictures = [], [test[:10]]
    for title, options in cases.items():
        model = common.model(setting, latent_dim=20, **options)
        common.fit(model, setting, title.replace("\n", " "), binarize=None)
        logs = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
        reconstructions = model.reconstruct(test)
        error = float(np.mean(np.sum((test - reconstructions) ** 2, axis=(1, 2, 3))))
        sigma = float(np.ravel(model.run_endpoint("decode", np.zeros((1, 20), "float32"))["scale"])[0])
        rows.append(
            {
                "case": title.replace("\n", " "),
                "active_units": metrics.active_units(model.codes(test)),
                "kl": round(float(logs["kl_loss"]), 3),
                "squared_error": round(error, 2),
                "sigma": round(sigma, 3),
            }
        )
        pictures.append(reconstructions[:10])
    drawing, (left, right) = plots.figure(2, width=7, height=5)
    bars = left.bar(list(cases), [row["active_units"] for row in rows])
    left.bar_label(
        bars, [f"{row['active_units']}\nKL {row['kl']:.1f}\nerror {row['squared_error']:.1f}" for row in rows]
    )
    left.set(
        ylim=(0, 26),
        ylabel="active units of 20",
        title=f"collapse and its cures, grey MNIST (epochs: {setting.epochs})",
    )
    left.tick_params(axis="x", labelsize=9)
    right.imshow(plots.canvas(np.concatenate(pictures), columns=10))
    right.set(title="images, then their reconstructions in the order of the bars")
    right.axis("off")
    return rows, drawing
