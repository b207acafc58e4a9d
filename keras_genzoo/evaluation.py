"""Measures of a model by its preset's protocol, on test images: the rows of metrics.json."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_genzoo import data, engine, files, models, origin, presets, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import EvaluationConfig, Preset


def evaluate(
    model: Any,
    *,
    data_dir: str | Path | None = None,
    n_images: int | None = None,
    n_importance_samples: int | None = None,
    n_samples: int | None = None,
    n_probe_images: int | None = None,
    verbose: bool = True,
) -> list[dict[str, Any]]:
    """Measures a model on the test split with its preset's protocol.

    Args:
        model: Name or path of a preset, or a model from `load`, trained on or not.
        data_dir: Folder of data sets, see `data.load`.
        n_images: Number of test images, the first ones; None: all.
        n_importance_samples: Draws per image of the likelihood estimate; None: the preset's.
        n_samples: Number of generated images to judge; None: the preset's.
        n_probe_images: Number of training images that probes of the codes learn from; None: the preset's.
        verbose: Whether progress is shown, on a terminal.

    Returns:
        Rows `{metric, value, n, split, seed, protocol, unit, commit}`; the headline first.

    Raises:
        ZooError: A count below 1, a model without a preset, or nothing to measure.

    Example:
        >>> import keras_genzoo as gz
        >>> rows = gz.evaluate("classifier_mnist", n_images=100)
        >>> rows[0]["metric"], rows[0]["value"] > 0.9
        ('accuracy', True)
    """
    if not isinstance(model, keras.Model):
        model = zoo.load(model)
    counts = {
        "n_importance_samples": n_importance_samples,
        "n_samples": n_samples,
        "n_probe_images": n_probe_images,
    }
    for argument, value in {"n_images": n_images, **counts}.items():
        if value is not None and value < 1:
            raise ZooError(f"`{argument}` must be >= 1. Received: {value}")
    preset = zoo.require_preset(model)
    protocol = preset.evaluation.model_copy(update={key: value for key, value in counts.items() if value is not None})
    measures = models.asked(preset.family, "measures") or []
    pixels, labels = zoo.arrays(model, "test", data_dir=data_dir)
    test = Test(preset, pixels, labels, protocol, n_images, data_dir, verbose)
    with engine.whole_float32():
        rows = [row for measure in measures for row in measure(model, test)]
    if not rows:
        raise ZooError(f"There is nothing to measure a {preset.family} by on {preset.data.name}: no judge knows it")
    rows.sort(key=lambda row: row["metric"] != protocol.metric)
    commit = origin.commit()
    return [{**row, "commit": commit} for row in rows]


def write(preset: Preset, rows: list[dict[str, Any]]) -> Path:
    """Writes rows as the preset's metrics.json, tied to its weights by their SHA-256.

    Args:
        preset: A preset with a folder.
        rows: Rows of `evaluate`.

    Returns:
        The path of metrics.json.

    Raises:
        ZooError: The preset has no folder, or the file cannot be written.
    """
    content = {
        "preset": preset.name,
        "weights_sha256": (preset.record(presets.WEIGHTS_RECORD) or {}).get("sha256"),
        "rows": rows,
    }
    return files.write_json(preset.folder / presets.METRICS_FILE, content)


class Test:
    """The argument of every measure: the test images, the protocol, and `row`, which gives all numbers one shape.

    Each argument is an attribute of the same name.

    Args:
        preset: The preset.
        pixels: Test images as stored, `(n, H, W, C)`; the first `n_images` are kept.
        labels: Labels of the images, `(n,)`; None where the data has none.
        protocol: Seed and counts.
        n_images: Number of test images that the user has asked for; None: all.
        data_dir: Folder of data sets, see `data.load`.
        verbose: Whether progress is shown.
    """

    __test__ = False  # pytest would collect it

    def __init__(
        self,
        preset: Preset,
        pixels: np.ndarray,
        labels: np.ndarray | None,
        protocol: EvaluationConfig,
        n_images: int | None,
        data_dir: str | Path | None,
        verbose: bool,
    ):
        self.preset, self.protocol = preset, protocol
        self.pixels, self.labels = pixels[:n_images], None if labels is None else labels[:n_images]
        self.n_images, self.data_dir, self.verbose = n_images, data_dir, verbose

    @property
    def images(self) -> np.ndarray:
        """Test images as the preset's model takes them: binarised with the protocol's seed where the preset says so."""
        return self.as_seen(self.pixels)

    def as_seen(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images `(n, H, W, C)` as the preset's model takes them."""
        return data.as_seen(pixels, binarize=self.preset.data.binarize, seed=self.protocol.seed)

    def row(
        self, metric: str, value: float, unit: str, protocol: str, *, n: int | None = None, split: str = "test"
    ) -> dict[str, Any]:
        """A row of metrics.json.

        Args:
            metric: Name of the metric, lower case with underscores.
            value: Value of the metric.
            unit: Unit; "" for none.
            protocol: Way of the measurement, one line.
            n: Number of images or samples; None: number of the test images.
            split: Split of the images.

        Returns:
            The row, without the commit.
        """
        return {
            "metric": metric,
            "value": _rounded(value),
            "n": len(self.pixels) if n is None else n,
            "split": split,
            "seed": self.protocol.seed,
            "protocol": protocol,
            "unit": unit,
        }


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of values `(n,)`, n >= 2."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _rounded(value: float) -> float:
    """A number to six significant digits, which two runs of a protocol have in common."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
