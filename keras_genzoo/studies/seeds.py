"""Study of presets of points, trained from ten seeds each."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from keras_genzoo import plots, presets
from keras_genzoo.data import made
from keras_genzoo.studies.common import AS_THE_PRESET, Setting
from keras_genzoo.studies.runs import keeps_all, rows_of


def seeds(
    setting: Setting, *, names: Sequence[str] = tuple(made.MIXTURES), n_seeds: int = 10
) -> tuple[list[dict], Figure]:
    """Presets of points, trained from several seeds each: do all runs keep all modes?

    The finished runs are kept beside the figure, and the same command goes on from them.

    Args:
        setting: Setting of the study.
        names: Names of the presets.
        n_seeds: Number of seeds, which begin with the setting's.

    Returns:
        `(rows, figure)`, a row per run.
    """
    calls, epochs = [], {}
    for name in names:
        preset = presets.find(name)
        optimizer = preset.training.optimizers["g_optimizer"]
        betas = optimizer.options["beta_1"], optimizer.options["beta_2"]
        epochs[name] = preset.training.epochs if setting.epochs == AS_THE_PRESET else setting.epochs
        arguments = {
            "name": name, "epochs": epochs[name], "cosine": optimizer.schedule == "cosine",
            "batch_size": preset.training.batch_size, "betas": betas, **preset.model,
        }  # fmt: skip
        for seed in range(setting.seed, setting.seed + n_seeds):
            calls.append(([{"data": name, "seed": seed}], {**arguments, "runs": [(optimizer.learning_rate, seed)]}))
    rows = rows_of(setting, calls)
    drawing, panels = plots.figure(len(names), width=8, height=3.2)
    for panel, name in zip(panels, names, strict=True):
        runs, k = [row for row in rows if row["data"] == name], len(made.MIXTURES[name].centres)
        bars = panel.bar([str(run["seed"]) for run in runs], [run["high_quality"] for run in runs])
        panel.bar_label(bars, [str(run["modes"]) for run in runs])
        n_whole = sum(keeps_all(run, k) for run in runs)
        panel.set(
            xlabel="seed; above each bar the modes kept",
            ylabel="points of high quality",
            ylim=(0, 1.15),
            title=f"{name}: {n_whole} of {n_seeds} runs keep all {k} modes (epochs: {epochs[name]})",
        )
    return rows, drawing
