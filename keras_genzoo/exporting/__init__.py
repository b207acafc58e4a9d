"""Export of a model as SavedModel, LiteRT or ONNX, run and compared with Keras before it is handed over.

The package is called `exporting`, because `keras_genzoo.export` is the function.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import keras
import numpy as np

from keras_genzoo import files, flatbuffer, origin, zoo
from keras_genzoo.choices import FORMATS, QUANTIZATIONS
from keras_genzoo.errors import ZooError
from keras_genzoo.exporting import litert, onnx_files, saved_model
from keras_genzoo.exporting.source import Arrays, Source
from keras_genzoo.presets import QuantizationConfig
from keras_genzoo.typing import PathLike

__all__ = ["Variant", "export", "export_all"]

AUTO, DYNAMIC = "auto", "dynamic"  # batches that are no number
_MOST_BATCH = 65_536
_ENDS = {"saved_model": "_saved_model", "litert": ".tflite", "onnx": "_onnx"}  # of a file's or folder's name

# Largest error allowed, as a share of the range of Keras' output. The error of float formats is that of the worst
# value. The error of integers is the root mean square, for single values may be off by more than a step, and the 99.9th
# percentile: an eighth of the range would be seen. No single value may be off by what makes another picture.
_FLOAT_TOLERANCES = {
    "float32": (("max_error", 1e-4),),
    "float16": (("max_error", 1e-2),),
    # TensorFlow sums in another order with another number of threads: values of deep networks move by 1e-5 themselves.
    "onnx": (("p999_error", 1e-5), ("max_error", 1e-4)),
}
_TOLERANCES = {8: (("rms_error", 0.05), ("p999_error", 0.125), ("max_error", 0.4)), 4: (("rms_error", 0.2),)}
# Schemes of `int8` and `int4` where a preset chooses none, in the order in which they are tried: the smallest and
# fastest first.
_SCHEMES = {"int8": ("dynamic_int8", "weight_only_int8"), "int4": ("dynamic_int4", "weight_only_int4")}


class Variant(NamedTuple):
    """A file to export; see `export`."""

    format: str = "saved_model"
    quantize: str | None = None
    batch_size: int | str | None = AUTO


class _File(NamedTuple):
    """A file to export, checked; a batch of None is any."""

    format: str
    quantize: str | None
    batch: int | None


@overload
def export(
    model: Any,
    out: PathLike,
    *,
    format: str = "saved_model",
    quantize: str | None = None,
    batch_size: int | str | None = AUTO,
    name: str | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
) -> Path: ...
@overload
def export(
    model: Any,
    out: PathLike,
    *,
    format: str = "saved_model",
    quantize: str | None = None,
    batch_size: Sequence[int | str | None],
    name: str | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
) -> list[Path]: ...
def export(
    model: Any,
    out: PathLike,
    *,
    format: str = "saved_model",
    quantize: str | None = None,
    batch_size: int | str | Sequence[int | str | None] | None = AUTO,
    name: str | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
) -> Path | list[Path]:
    """Exports a model's endpoints for use without keras_genzoo, and checks that they agree with Keras.

    The endpoints and their tensors are the contract in the README: encode, decode, reconstruct, prior_log_prob and
    generate as they apply; in a SavedModel also `sample(n, seed)` and `serving_default`. A LiteRT file holds builtin
    ops only, and one signature per endpoint. It has no random op: noise is an input. ONNX is a folder with a file per
    endpoint, whose output is called `images_out` where `images` is also an input.

    Every file says what it is, see `inspect`, and was run before it is handed over, twice in a row: a LiteRT file of a
    fixed batch in LiteRT's `Interpreter` and `CompiledModel`, one of any batch in `Interpreter` alone, for the other
    gives wrong numbers there; ONNX files in ONNX Runtime.

    Args:
        model: Name or path of a preset, or a model: from `load`, built by hand, from a `.keras` file or copied. Its
            float32 twin is exported, under any policy.
        out: Folder to write `NAME_saved_model/`, `NAME[_QUANTIZE][_bBATCH].tflite` or `NAME_onnx/` into, and beside it
            a report `*.export.json` with bytes, SHA-256, ops and the measured agreement. All are written aside, then
            renamed.
        format: "saved_model", "litert" or "onnx". ONNX needs `pip install "keras-genzoo[onnx]"`.
        quantize: Precision of a LiteRT file: None for float32; "float16" for weights of 16 bits; "int8" and "int4" for
            the scheme that the preset's section `export` names, and for the first good one where it names none; or a
            scheme. "dynamic_int8" and "dynamic_int4" have weights of 8 and 4 bits, and activations of 8 bits whose
            ranges are taken as they come; "weight_only_int8" and "weight_only_int4" compute in floats; "w8a8" and
            "w8a16" have activations of 8 and 16 bits in ranges that training images set. Inputs and outputs stay
            float32.
        batch_size: Number of examples that a file takes at once: "auto", which is 1 for LiteRT, as phones and browsers
            need it, and any number else; an integer >= 1; None or "dynamic" for any number. A list of these gives a
            file each. A SavedModel takes any number.
        name: Name in the files' names; None: the preset's, or the model's where it was built by hand.
        data: Data in place of the preset's, see `evaluate`. A model built by hand needs one, where it takes images.
        data_dir: Folder of data sets, see `data.load`. The check takes test images of the preset's data; "w8a8" and
            "w8a16" also take training images.

    Returns:
        The path of the file, or of the folder of a SavedModel and of ONNX files; of a list of batches, a list.

    Raises:
        ZooError: Unknown format, quantization or batch, a bad name, a model without data, a folder that cannot be
            written, a missing package, or an export that disagrees with Keras by more than its tolerance.

    Example:
        >>> import tempfile
        >>> import keras_genzoo as gz
        >>> gz.export("ae2d_mnist", tempfile.mkdtemp(), format="litert", quantize="float16").name
        'ae2d_mnist_float16.tflite'
    """
    options: dict[str, Any] = {"name": name, "data": data, "data_dir": data_dir}
    if isinstance(batch_size, (int, str)) or not isinstance(batch_size, Sequence):
        return export_all(model, out, [Variant(format, quantize, batch_size)], **options)[0]
    if not batch_size:
        raise ZooError(f"`batch_size` must be a batch, or a list of one or more. Received: {batch_size!r}")
    return export_all(model, out, [Variant(format, quantize, batch) for batch in batch_size], **options)


def export_all(
    model: Any,
    out: PathLike,
    variants: Sequence[tuple],
    *,
    name: str | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
) -> list[Path]:
    """Exports a model in several formats, as `export` does in one: they share the graphs and Keras' own outputs.

    Args:
        model: Name or path of a preset, or a model from `load`.
        out: Folder to write into.
        variants: Tuples `(format, quantize, batch_size)`, of which the last two may be missing; see `export`.
        name, data: See `export`.
        data_dir: Folder of data sets, see `data.load`.

    Returns:
        The paths in the order of the variants.

    Raises:
        ZooError: As `export`; the files of earlier variants are there.

    Example:
        >>> import tempfile
        >>> import keras_genzoo as gz
        >>> variants = [("saved_model", None), ("litert", None)]
        >>> [path.name for path in gz.exporting.export_all("ae2d_mnist", tempfile.mkdtemp(), variants)]
        ['ae2d_mnist_saved_model', 'ae2d_mnist.tflite']
    """
    wanted = []
    for variant in variants:
        if not 1 <= len(variant) <= len(Variant._fields):
            raise ZooError(f"`variants` must be tuples (format, quantize, batch_size). Received: {variant!r}")
        wanted.append(_checked(Variant(*variant)))
    if not isinstance(model, keras.Model):
        model = zoo.load(model)
    preset = zoo.described(model, name=name, data=data)
    zoo.check_finite(model, preset.name)
    out = Path(out).expanduser().resolve()
    targets = [out / _file_name(preset.name, file) for file in wanted]
    for target, file in zip(targets, wanted, strict=True):
        _check_place(target, file.format)
    with files.folder_within(out) as within, _for_tensorflow(within) as aside:
        work = _Work(Source(model, preset, data_dir), aside)
        for target, file in zip(targets, wanted, strict=True):
            work.export(target, file)
    return targets


def _checked(variant: Variant) -> _File:
    """The file that a variant asks for."""
    format, quantize, batch = variant
    if format not in FORMATS:
        raise ZooError(f"`format` must be one of {', '.join(FORMATS)}. Received: {format!r}")
    if quantize not in QUANTIZATIONS:
        raise ZooError(
            f"`quantize` must be None, {', '.join(map(repr, QUANTIZATIONS[1:-1]))} or {QUANTIZATIONS[-1]!r}. Received: "
            f"{quantize!r}"
        )
    if quantize and format != "litert":
        raise ZooError(f"`quantize` needs format='litert'. Received: format={format!r}, quantize={quantize!r}")
    if batch == AUTO:
        batch = 1 if format == "litert" else None
    elif batch == DYNAMIC:
        batch = None
    if batch is None:
        return _File(format, quantize, None)
    if isinstance(batch, (bool, str)) or not isinstance(batch, (int, np.integer)) or not 1 <= batch <= _MOST_BATCH:
        raise ZooError(
            f"`batch_size` must be an integer from 1 to {_MOST_BATCH:,}, 'auto', or 'dynamic' (None) for any. "
            f"Received: {batch!r}"
        )
    if format == "saved_model":
        raise ZooError(f"A SavedModel takes any batch: leave `batch_size` away. Received: batch_size={batch}")
    return _File(format, quantize, int(batch))


def _file_name(name: str, wanted: _File) -> str:
    """The name of a file: its batch is left out where it is the format's own."""
    format, quantize, batch = wanted
    own = 1 if format == "litert" else None
    suffix = "" if batch == own else "dynamic_batch" if batch is None else f"b{batch}"
    return "_".join(filter(None, (name, quantize, suffix))) + _ENDS[format]


def _check_place(target: Path, format: str) -> None:
    """Refuses to replace a folder that is none of an export."""
    if not target.is_dir():
        return
    kinds = {"saved_model": ("a SavedModel", "saved_model.pb"), "onnx": ("a folder of ONNX files", "*.onnx")}
    kind, pattern = kinds.get(format, ("a file", ""))
    if not pattern or not next(target.glob(pattern), None):
        raise ZooError(f"{target} exists and is not {kind}; give another folder")


@contextlib.contextmanager
def _for_tensorflow(folder: Path) -> Iterator[Path]:
    """Context: a folder by a path that TensorFlow takes. It reads paths as UTF-8, and those of a machine may not be."""
    if os.fsencode(folder) == str(folder).encode("utf-8", "replace"):
        yield folder
        return
    with tempfile.TemporaryDirectory() as short:
        link = Path(short, "out")
        link.symlink_to(folder)
        yield link


class _Work:
    """The exports of a model, which share its graphs.

    Args:
        source: Model to export.
        aside: Folder to write into before a file is put in place.
    """

    def __init__(self, source: Source, aside: Path):
        self.source, self.aside = source, aside
        self.graph = functools.cache(self._graph)
        self.floats = functools.cache(self._floats)

    def _graph(self, batch: int | None) -> Path:
        """A SavedModel of the endpoints alone, which LiteRT converts."""
        path = self.aside / f"graph_{batch}"
        saved_model.write(self.source, path, batch=batch, sampling=False)
        return path

    def _floats(self, batch: int | None) -> bytes:
        """The bytes of the float32 LiteRT file, which the other precisions are made of."""
        return litert.convert(self.graph(batch), list(self.source.endpoints))

    def export(self, target: Path, wanted: _File) -> None:
        """Writes one file aside, compares it with Keras, and puts it and its report in place."""
        source = self.source
        path = self.aside / (target.name if target.name.isascii() else f"model{_ENDS[wanted.format]}")
        scheme: dict[str, Any] | None = None
        if wanted.format == "saved_model":
            saved_model.write(source, path)
            outputs = {"TensorFlow": saved_model.run(path, source.examples)}
            agreement, ops = _agreement(outputs, source, _FLOAT_TOLERANCES["float32"]), None
        elif wanted.format == "onnx":
            onnx_files.write(source, path, batch=wanted.batch)
            outputs = {"ONNX Runtime": onnx_files.run(source, path, source.examples, batch=wanted.batch)}
            agreement = _agreement(outputs, source, _FLOAT_TOLERANCES["onnx"])
            ops = onnx_files.operations(path)
        else:
            agreement, scheme = self._litert(path, wanted)
            ops = sorted({op.name for op in flatbuffer.operations(flatbuffer.contents(path))})
        report = {
            "preset": source.name,
            "format": wanted.format,
            "quantize": wanted.quantize,
            "scheme": scheme,
            "batch": DYNAMIC if wanted.batch is None else wanted.batch,
            "file": target.name,
            "bytes": files.size(path),
            "sha256": files.sha256(path),
            "runtimes": list(dict.fromkeys(row["runtime"] for row in agreement)),
            "ops": ops,
            "agreement": agreement,
            "description": source.description(wanted.batch),
            "versions": origin.versions(),
        }
        report_path = self.aside / f"{target.name}.export.json"
        files.write_json(report_path, report)
        files.put_in_place(path, target)
        files.put_in_place(report_path, target.parent / report_path.name)

    def _litert(self, path: Path, wanted: _File) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Writes a LiteRT file: its agreement, and the scheme of its numbers."""
        source, quantize, batch = self.source, wanted.quantize, wanted.batch
        description = {**source.description(batch), "quantize": quantize}
        content = self.floats(batch)
        if quantize is None:
            litert.write(path, content, description)
            return self._check(path, batch, _FLOAT_TOLERANCES["float32"]), None
        chosen = source.preset.export.of(quantize)
        schemes: Any = _SCHEMES.get(quantize, (quantize,))
        configs = [chosen] if chosen else [QuantizationConfig(scheme=scheme) for scheme in schemes]
        for i, config in enumerate(configs):
            calibrated = config.scheme in ("w8a8", "w8a16")
            calibration = source.calibration if calibrated else None
            scheme = config.model_dump(exclude_defaults=True)
            tolerance = _FLOAT_TOLERANCES["float16"] if config.scheme == "float16" else _TOLERANCES[config.bits]
            try:
                litert.write(path, litert.quantized(content, config, calibration), {**description, "scheme": scheme})
                return self._check(path, batch, tolerance), scheme
            except ZooError:
                if i == len(configs) - 1:
                    raise
        raise AssertionError("there is a scheme")

    def _check(self, path, batch, tolerance):
        runtimes = litert.RUNTIMES if batch is not None else litert.RUNTIMES[:1]
        outputs = litert.run(path, self.source.examples, batch=batch, runtimes=runtimes)
        return _agreement(outputs, self.source, tolerance)


def _agreement(
    outputs: dict[str, dict[str, Arrays | ZooError]], source: Source, tolerances: tuple[tuple[str, float], ...]
) -> list[dict[str, Any]]:
    """The errors of all outputs beside Keras', for the report.

    Args:
        outputs: Runtime -> endpoint -> its outputs, or what it failed with.
        source: Model that was exported.
        tolerances: Kinds of error, and the most of each as a share of the range.

    Raises:
        ZooError: An endpoint has failed, or an error is above its tolerance.
    """
    rows = []
    for runtime, by_endpoint in outputs.items():
        for name, wanted in source.expected.items():
            actual = by_endpoint[name]
            if isinstance(actual, ZooError):
                raise actual
            for key, value in wanted.items():
                rows.append(_compared(runtime, name, key, actual[key], value, tolerances))
    return rows


def _compared(runtime, name, key, actual, wanted, tolerances):
    """The row of an output in a report."""
    if actual.shape != wanted.shape:
        raise ZooError(
            f"The export disagrees with Keras in {runtime}: {name}/{key} has shape {actual.shape}, not {wanted.shape}; "
            "nothing was written"
        )
    error = np.abs(actual.astype("float64") - wanted)
    # The range of images is [0, 1], even where these few span less. A constant output, such as a fixed scale, has no
    # range; its size stands for it.
    extent = 1.0 if key == "images" else float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    row = {
        "runtime": runtime,
        "endpoint": name,
        "output": key,
        "n": len(wanted),
        "range": extent,
        "max_error": float(error.max()),
        "p999_error": float(np.quantile(error, 0.999)),
        "rms_error": float(np.sqrt(np.mean(error**2))),
        "tolerance": ", ".join(f"{kind} <= {tolerance:g} of the range" for kind, tolerance in tolerances),
    }
    for kind, tolerance in tolerances:
        if not row[kind] <= tolerance * extent:  # written so that NaN fails
            raise ZooError(
                f"The export disagrees with Keras in {runtime}: {name}/{key} has a {kind} of {row[kind]:.3g} over a "
                f"range of {extent:.3g} (allowed: {tolerance:g} of it); nothing was written"
            )
    return row
