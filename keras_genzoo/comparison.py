"""Presets side by side: the numbers in their metrics.json, metric by metric. Without Keras, so that it is instant."""

from pathlib import Path
from typing import Any

from keras_genzoo import presets
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import Preset

_ERROR = "_standard_error"  # end of the name of a metric that is the standard error of another


def compare(*names: str | Path) -> list[dict[str, Any]]:
    """The measured numbers of presets, side by side.

    Args:
        *names: Two or more names of presets, or paths of preset folders, each measured by `evaluate` and written.

    Returns:
        A dict for each metric that one of them has: `metric`; `same_protocol`, whether all have it, on the same data,
        by the same protocol and of as many images; and `presets`, a dict for each preset, in their order, with `preset`
        (the name as given), `value`, `standard_error`, `unit`, `n`, `split`, `data` and `protocol`. What is not known
        of a preset is None.

    Raises:
        ZooError: Fewer than two names, an unknown one, or a preset that is not measured, or was with other weights.

    Example:
        >>> import keras_genzoo as gz
        >>> rows = gz.compare("vae_mnist", "hvae_mnist")
        >>> rows[0]["metric"], [cell["value"] for cell in rows[0]["presets"]]
        ('nll', [83.4369, 81.3706])
    """
    if len(names) < 2:
        raise ZooError(f"A comparison takes two presets or more. Received: {', '.join(map(str, names)) or 'none'}")
    found = [(str(name), presets.find(name)) for name in names]
    measured = {name: _measured(name, preset) for name, preset in found}
    all_metrics = dict.fromkeys(metric for rows in measured.values() for metric in rows)
    compared = []
    for metric in all_metrics:
        if metric.endswith(_ERROR) and metric.removesuffix(_ERROR) in all_metrics:
            continue  # it stands beside its metric
        cells = [_cell(name, preset, measured[name], metric) for name, preset in found]
        protocols = {tuple(cell[key] for key in ("data", "split", "n", "protocol")) for cell in cells}
        same = len(protocols) == 1 and all(cell["value"] is not None for cell in cells)
        compared.append({"metric": metric, "same_protocol": same, "presets": cells})
    return compared


def _measured(name: str, preset: Preset) -> dict[str, dict[str, Any]]:
    """The rows of a preset's metrics.json, by metric."""
    metrics, weights = preset.record(presets.METRICS_FILE), preset.record(presets.WEIGHTS_RECORD) or {}
    remedy = f"keras-genzoo evaluate {name} --write"
    if not metrics or not metrics.get("rows"):
        raise ZooError(f"{name} is not measured; measure it: {remedy}")
    if metrics.get("weights_sha256") != weights.get("sha256"):
        raise ZooError(f"{preset.folder / presets.METRICS_FILE} is of other weights; measure these: {remedy}")
    return {row["metric"]: row for row in metrics["rows"]}


def _cell(name: str, preset: Preset, rows: dict[str, dict[str, Any]], metric: str) -> dict[str, Any]:
    """A preset's entry in the row of a metric."""
    row = rows.get(metric, {})
    return {
        "preset": name,
        "value": row.get("value"),
        "standard_error": rows.get(metric + _ERROR, {}).get("value"),
        **{key: row.get(key) for key in ("unit", "n", "split")},
        "data": preset.data.name,
        "protocol": row.get("protocol"),
    }
