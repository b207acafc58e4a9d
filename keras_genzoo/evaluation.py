"""Measures of a model by its preset's protocol, on test images: the rows of metrics.json."""

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_genzoo import data, engine, files, models, origin, presets, zoo
from keras_genzoo.errors import MissingDataError, ZooError
from keras_genzoo.presets import EvaluationConfig, Preset

_LEAST_SAMPLES = 2  # generated images that can be judged: one has no covariance
BUNDLED_PART = "bundled part of test"  # `split` of a row measured on the few test images that the package brings


def evaluate(
    model: Any,
    *,
    name: str | None = None,
    data: Any = None,
    judge: Any = None,
    protocol: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    n_images: int | None = None,
    n_importance_samples: int | None = None,
    n_samples: int | None = None,
    n_probe_images: int | None = None,
    verbose: bool = True,
) -> list[dict[str, Any]]:
    """Measures a model on the test split with its preset's protocol.

    Args:
        model: Name or path of a preset, or a model: from `load`, built by hand, read from a `.keras` file or copied.
        name: Name of the model in messages; None: its preset's, or its own.
        data: Data in place of the preset's: the name of a data set, a dict of `name` and the other arguments of
            `data.load`; images `(n, H, W, C)`, or `(images, labels)`, to measure on; or a dict of these by split,
            `{"train": ..., "test": ...}`, as some numbers need training images. A model built by hand needs one.
        judge: Judge of samples: a `keras.Model` from images to features, the path of a `.keras` file or a SavedModel,
            the name of a preset that classifies, "inception" or "dinov2", networks that others have trained (see
            `public_networks`), or "pixels". None: the zoo's for its data, or for pictures in colour of 32 pixels and
            more; of other data the principal components of pixels.
        protocol: Keys of the preset's section `evaluation` and their values, such as `{"seed": 1}`.
        data_dir: Folder of data sets, see `data.load`.
        n_images: Number of test images, the first ones; None: all.
        n_importance_samples: Draws per image of the likelihood estimate; None: the preset's.
        n_samples: Number of generated images to judge; None: the preset's.
        n_probe_images: Number of training images that probes of the codes learn from; None: the preset's.
        verbose: Whether progress is shown, on a terminal.

    Returns:
        Rows `{metric, value, n, split, seed, protocol, unit, commit}`, the headline first, in a list with `seconds`. A
        number that takes more images than there are, or is not finite, is left out, and a warning says so.

    Raises:
        ZooError: A count below 1, a bad argument, a model without data, or nothing to measure.

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
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer))):
            raise ZooError(f"`{argument}` must be an integer >= 1. Received: {value!r}")
        if value is not None and value < 1:
            raise ZooError(f"`{argument}` must be >= 1. Received: {value}")
    start = time.monotonic()
    preset = zoo.described(model, name=name, data=data, protocol=protocol)
    counted = preset.evaluation.model_copy(update={key: value for key, value in counts.items() if value is not None})
    measures = models.asked(preset.family, "measures") or []
    pixels, labels = zoo.arrays(model, "test", data_dir=data_dir, preset=preset)
    if model.is_conditional and labels is None:
        raise ZooError(f"{preset.name} takes labels, and the test images of {preset.data.name} have none")
    test = Test(preset, pixels, labels, counted, n_images, data_dir, verbose, judge=judge)
    with engine.whole_float32():
        rows = [row for measure in measures for row in measure(model, test) if test.is_finite(row)]
    if not rows and test.left_out:
        raise ZooError(f"There is nothing left to measure: {'; '.join(test.left_out)}")
    if not rows:
        raise ZooError(f"There is nothing to measure a {preset.family} by on {preset.data.name}")
    rows.sort(key=lambda row: row["metric"] != counted.metric)
    commit = origin.commit()
    return Rows([{**row, "commit": commit} for row in rows], seconds=time.monotonic() - start + test.seconds_before)


class Rows(list):
    """The rows of an evaluation, a list of dicts.

    Args:
        rows: Rows of metrics.json.
        seconds: Duration of the evaluation, all its interrupted parts included.
    """

    def __init__(self, rows: list[dict[str, Any]], *, seconds: float):
        super().__init__(rows)
        self.seconds = seconds


def write(preset: Preset, rows: list[dict[str, Any]]) -> Path:
    """Writes rows as the preset's metrics.json, tied to its weights by their SHA-256.

    Args:
        preset: A preset with a folder.
        rows: Rows of `evaluate`, whose duration is written, too.

    Returns:
        The path of metrics.json.

    Raises:
        ZooError: The preset has no folder, the file cannot be written, or the rows are of a bundled part of the data.
    """
    if any(row["split"] == BUNDLED_PART for row in rows):
        raise ZooError(
            f"{preset.name} was measured on the bundled part of {preset.data.name} alone, which does not replace the "
            "numbers of the whole: give --data-dir, or set KERAS_GENZOO_DATA"
        )
    content = {
        "preset": preset.name,
        "weights_sha256": (preset.record(presets.WEIGHTS_RECORD) or {}).get("sha256"),
    }
    if isinstance(rows, Rows):
        content |= {"seconds": round(rows.seconds, 1), "device": origin.device()}
    content["rows"] = rows
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
        judge: Judge of samples that the user has given, see `judges.features`; None: none.

    Raises:
        ZooError: A single sample to judge.

    Attributes:
        left_out: Reasons for which numbers are left out, one line each.
        seconds_before: Seconds that parts of the evaluation took which were interrupted, and are gone on with.
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
        *,
        judge: Any = None,
    ):
        if protocol.n_samples < _LEAST_SAMPLES:  # as the schema of preset.yaml has it
            raise ZooError(f"`n_samples` must be an integer n >= {_LEAST_SAMPLES}. Received: {protocol.n_samples}")
        self.preset, self.protocol = preset, protocol
        self.pixels, self.labels = pixels[:n_images], None if labels is None else labels[:n_images]
        self.n_images, self.data_dir, self.verbose, self.judge = n_images, data_dir, verbose, judge
        self.split = BUNDLED_PART if data.is_bundled_part(preset.data.name, "test", data_dir=data_dir) else "test"
        self.left_out: list[str] = []
        self.seconds_before = 0.0

    @property
    def images(self) -> np.ndarray:
        """Test images as the preset's model takes them: binarised with the protocol's seed where the preset says so."""
        return self.as_seen(self.pixels)

    def train_arrays(self, model: Any, what: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The training images and labels, for numbers that are not of the test images alone.

        Args:
            model: The model.
            what: Names of the metrics that need them.

        Returns:
            `(images, labels)`, see `data.arrays`; None where a user has given test images alone, and the metrics are
            left out.
        """
        try:
            return zoo.arrays(model, "train", data_dir=self.data_dir, preset=self.preset)
        except MissingDataError as error:
            self.leave_out(f"{what}: {error}")
            return None, None

    def as_seen(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images `(n, H, W, C)` as the preset's model takes them."""
        return data.as_seen(pixels, binarize=self.preset.data.binarize, seed=self.protocol.seed)

    def has(self, least: int, what: str, *, n: int | None = None, of: str = "test images (`n_images`)") -> bool:
        """Whether there are enough images for a measurement; if not, it is left out, see `leave_out`.

        Args:
            least: Number of images that it takes.
            what: Names of the metrics.
            n: Number of images there are; None: number of the test images.
            of: Kind of the images, with the argument of `evaluate` that gives their number.
        """
        n = len(self.pixels) if n is None else n
        if n < least:
            self.leave_out(f"{what}: that takes {least} {of}, and there {'is' if n == 1 else 'are'} {n}")
        return n >= least

    def is_finite(self, row: dict[str, Any]) -> bool:
        """Whether the value of a row is finite; if not, it is left out: JSON has no word for it."""
        value = row["value"]
        if not math.isfinite(value):
            self.leave_out(f"{row['metric']}: its value is {value}")
        return math.isfinite(value)

    def leave_out(self, reason: str) -> None:
        """Warns that a metric is not measured, once.

        Args:
            reason: Names of the metrics, and the reason.
        """
        if reason not in self.left_out:
            self.left_out.append(reason)
            warnings.warn(f"Not measured: {reason}", stacklevel=3)

    def row(
        self, metric: str, value: float, unit: str, protocol: str, *, n: int | None = None, split: str | None = None
    ) -> dict[str, Any]:
        """A row of metrics.json.

        Args:
            metric: Name of the metric, lower case with underscores.
            value: Value of the metric.
            unit: Unit; "" for none.
            protocol: Way of the measurement, one line.
            n: Number of images or samples; None: number of the test images.
            split: Split of the images; None: the test images', or what is bundled of them.

        Returns:
            The row, without the commit.
        """
        return {
            "metric": metric,
            "value": _rounded(value),
            "n": len(self.pixels) if n is None else n,
            "split": split or self.split,
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
