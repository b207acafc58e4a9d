"""Study of GANs on points: the share of runs that keep all modes, by game and by regularizer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_genzoo import plots
from keras_genzoo.data import made
from keras_genzoo.models.gan.games import GAMES
from keras_genzoo.studies.common import Setting
from keras_genzoo.studies.runs import keeps_all, rows_of

_CURES: dict[str, dict[str, Any]] = {  # options of each regularizer, with weights for points in the unit square
    "none": {},
    "weight clipping": {"weight_clip": 0.1},
    "gradient penalty": {"gradient_penalty": 0.1},
    "R1": {"r1": 1e-4},
    "R1 + R2": {"r1": 1e-4, "r2": 1e-4},
    "spectral norm": {"discriminator": {"name": "mlp_discriminator", "units": [128, 128], "norm": "spectral"}},
    "label smoothing": {},  # an option of the game, see `_SMOOTHING`
    "packing": {"pack": 4},
}
_RATES = (3e-4, 1e-3, 3e-3)  # learning rates
_SEEDS = 2  # runs at each learning rate
_SMOOTHED = ("minimax", "non_saturating")  # games with a probability to smooth
_SMOOTHING = 0.1


def sensitivity(
    setting: Setting,
    *,
    games: Sequence[str] = tuple(GAMES),
    cures: Sequence[str] = tuple(_CURES),
    rates: Sequence[float] = _RATES,
    n_seeds: int = _SEEDS,
) -> tuple[list[dict], Figure]:
    """Every game of a GAN with every regularizer on the ring and the grid: which share of runs keeps all modes?

    A run keeps a mode that has a point within three standard deviations; `runs.keeps_all` also asks for a quarter of
    all points there. A cell's runs are those of all learning rates and seeds; an epoch is 1,562 steps. The finished
    runs are kept beside the figure, and the same command goes on from them.

    Args:
        setting: Setting of the study.
        games: Names of the games.
        cures: Names of the regularizers, keys of `_CURES`.
        rates: Learning rates, > 0.
        n_seeds: Number of seeds at each rate, which begin with the setting's.

    Returns:
        `(rows, figure)`, a row per run.
    """
    runs = [(rate, setting.seed + i) for rate in rates for i in range(n_seeds)]
    calls = []
    for name in made.MIXTURES:
        for game in games:
            for cure in cures:
                if cure == "label smoothing" and game not in _SMOOTHED:
                    continue
                spec = {"name": game, "label_smoothing": _SMOOTHING} if cure == "label smoothing" else game
                arguments = {"name": name, "runs": runs, "epochs": setting.epochs, "game": spec, **_CURES[cure]}
                cell = {"data": name, "game": game, "regularizer": cure}
                calls.append(([{**cell, "learning_rate": rate, "seed": seed} for rate, seed in runs], arguments))
    rows = rows_of(setting, calls)
    return rows, _sensitivity_map(rows, setting, games, cures)


def _sensitivity_map(rows: list[dict], setting: Setting, games: Sequence[str], cures: Sequence[str]) -> Figure:
    """A map of each data set: games down, regularizers across, the share of whole runs as the colour."""
    drawing, panels = plots.figure(len(made.MIXTURES), width=8, height=5)
    for panel, (name, mixture) in zip(panels, made.MIXTURES.items(), strict=True):
        k = len(mixture.centres)
        shares = np.full((len(games), len(cures)), np.nan)
        for i, game in enumerate(games):
            for j, cure in enumerate(cures):
                cell = (name, game, cure)
                runs = [row for row in rows if (row["data"], row["game"], row["regularizer"]) == cell]
                if runs:
                    n_whole = sum(keeps_all(run, k) for run in runs)
                    shares[i, j] = n_whole / len(runs)
                    text = f"{n_whole}/{len(runs)}\n{np.mean([run['modes'] for run in runs]):.1f}"
                    panel.text(j, i, text, ha="center", va="center", color="black" if shares[i, j] > 0.4 else "white")
        panel.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        panel.set_xticks(range(len(cures)), cures, rotation=35, ha="right")
        panel.set_yticks(range(len(games)), [game.replace("_", " ") for game in games])
        panel.set(title=f"{name}: runs that keep all {k} modes, and mean modes (epochs: {setting.epochs})")
    return drawing
