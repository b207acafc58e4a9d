"""Study of the two halves of the ELBO, and of their effects on the codes."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_genzoo import plots
from keras_genzoo.studies import common
from keras_genzoo.studies.common import Setting


def latent_space(setting: Setting) -> tuple[list[dict], Figure]:
    """Codes of two numbers after training on the reconstruction alone, on the KL alone, and on both.

    Below each map of codes are images that the decoder makes of draws from the prior.

    Args:
        setting: Setting of the study.

    Returns:
        `(rows, figure)`, a row per training.
    """
    test, labels = common.digits(5_000)
    cases: dict[str, dict[str, Any]] = {
        "reconstruction only": {"beta": 0.0},
        "KL only": {"objective": {"name": "elbo", "reconstruction_weight": 0.0}},
        "reconstruction and KL": {},
    }
    drawing, _ = plots.figure(1, width=15, height=9.5)
    drawing.clear()
    panels = drawing.subplots(2, 3, height_ratios=[1.25, 1])
    rows = []
    for i, (title, options) in enumerate(cases.items()):
        model = common.model(setting, latent_dim=2, **options)
        history = common.fit(model, setting, title)
        logs = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
        z = model.codes(test)
        plots.scatter(panels[0, i], z, labels, size=6)
        # The circle holds 95 % of the prior: decoded draws look right where it holds the codes as well.
        radius = math.sqrt(-2 * math.log(0.05))
        angle = np.linspace(0, 2 * math.pi, 200)
        panels[0, i].plot(radius * np.cos(angle), radius * np.sin(angle), color="black", linewidth=1)
        share = float(np.mean(np.sum(z**2, axis=1) < radius**2))
        panels[0, i].set(title=f"{title}\n{share:.0%} of the codes where p(z) has 95 %", xlabel="z[0]", aspect="equal")
        if title == "KL only":
            panels[0, i].set(xlim=(-4, 4), ylim=(-4, 4))
        panels[1, i].imshow(plots.canvas(model.sample(50, seed=setting.seed), columns=10))
        panels[1, i].set(title="decoded draws of N(0, I)")
        panels[1, i].axis("off")
        rows.append(
            {
                "trained on": title,
                "reconstruction_loss": round(float(logs["reconstruction_loss"]), 2),
                "kl": round(float(logs["kl_loss"]), 2),
                "codes inside the prior's 95 %": round(share, 4),
                "spread of z_mean": round(float(z.std()), 4),
                "epochs": len(history["loss"]),
            }
        )
    panels[0, 0].set_ylabel("z[1]")
    legend = panels[0, 2].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=3, frameon=False)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    return rows, drawing
