"""Export of a model as SavedModel or LiteRT (float32, float16, int8), checked against Keras before it is written.

The module is called `exporting`, because `keras_genzoo.export` is the function.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data as _data
from keras_genzoo import engine, files, models, origin, zoo
from keras_genzoo.choices import FORMATS, QUANTIZATIONS
from keras_genzoo.errors import ZooError, reason
from keras_genzoo.presets import Preset
from keras_genzoo.typing import PathLike

_CHECKED = 64  # number of images that the export is compared with Keras on
_CALIBRATION = 256  # number of training images that set the ranges of int8
_LITERT_PROCESS = Path(__file__).with_name("litert_process.py")
_SEEDS = {"test": 0, "train": 1}  # seed of the codes beside the images of each split

# Largest error allowed, as a share of the range of Keras' output. The error of float formats is that of the worst
# value. The error of int8 is the root mean square, for single values may be off by more than a step.
_TOLERANCE = {None: ("max", 1e-4), "float16": ("max", 1e-2), "int8": ("rms", 0.05)}

_Arrays: TypeAlias = dict[str, np.ndarray]  # tensors of an endpoint, by name


def export(
    model: Any,
    out: PathLike,
    *,
    format: str = "saved_model",
    quantize: str | None = None,
    name: str | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
) -> Path:
    """Exports a model's endpoints for use without keras_genzoo, and checks that they agree with Keras.

    The endpoints and their tensors are the contract in the README: encode, decode, reconstruct, prior_log_prob and
    generate as they apply; in a SavedModel also `sample(n, seed)`. A LiteRT file holds builtin ops only, and one
    signature per endpoint. It has no random op: noise is an input.

    Args:
        model: Name or path of a preset, or a model: from `load`, built by hand, from a `.keras` file or copied. Its
            float32 twin is exported, under any policy.
        out: Folder to write `NAME_saved_model/` or `NAME[_float16|_int8].tflite` into, and beside it a report
            `*.export.json` with bytes, SHA-256, ops and the measured agreement. All are written aside, then renamed.
        format: "saved_model" or "litert".
        quantize: Precision of a LiteRT file: None for float32, "float16" for weights of 16 bits, "int8" for weights and
            activations of 8 bits, calibrated on training images. Inputs and outputs stay float32.
        name: Name in the files' names; None: the preset's, or the model's where it was built by hand.
        data: Data in place of the preset's, see `evaluate`. A model built by hand needs one, where it takes images.
        data_dir: Folder of data sets, see `data.load`. The check takes test images of the preset's data; int8 also
            takes training images.

    Returns:
        The path of the SavedModel folder or of the .tflite file.

    Raises:
        ZooError: Unknown format or quantization, a bad name, a model without data, a folder that cannot be written, or
            an export that disagrees with Keras by more than its tolerance.

    Example:
        >>> import tempfile
        >>> import keras_genzoo as gz
        >>> gz.export("ae2d_mnist", tempfile.mkdtemp(), format="litert", quantize="float16").name
        'ae2d_mnist_float16.tflite'
    """
    return export_all(model, out, [(format, quantize)], name=name, data=data, data_dir=data_dir)[0]


def export_all(
    model: Any,
    out: PathLike,
    variants: Sequence[tuple[str, str | None]],
    *,
    name: str | None = None,
    data: Any = None,
    data_dir: str | Path | None = None,
) -> list[Path]:
    """Exports a model in several formats, as `export` does in one: they share the graph and Keras' own outputs.

    Args:
        model: Name or path of a preset, or a model from `load`.
        out: Folder to write into.
        variants: Pairs of `format` and `quantize`, see `export`.
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
    for format, quantize in variants:
        if format not in FORMATS:
            raise ZooError(f"`format` must be one of {', '.join(FORMATS)}. Received: {format!r}")
        if quantize not in QUANTIZATIONS:
            raise ZooError(f"`quantize` must be None, 'float16' or 'int8'. Received: {quantize!r}")
        if quantize and format != "litert":
            raise ZooError(f"`quantize` needs format='litert'. Received: format={format!r}, quantize={quantize!r}")
    if not isinstance(model, keras.Model):
        model = zoo.load(model)
    preset = zoo.described(model, name=name, data=data)
    name = preset.name
    zoo.check_finite(model, name)
    out = Path(out).expanduser().resolve()
    targets = [
        out
        / (f"{name}_saved_model" if format == "saved_model" else "_".join(filter(None, (name, quantize))) + ".tflite")
        for format, quantize in variants
    ]
    for target in targets:
        if target.is_dir() and not (target / "saved_model.pb").is_file():
            raise ZooError(f"{target} exists and is not a SavedModel; give another folder")
    with files.folder_within(out) as within, _for_tensorflow(within) as aside:
        source = _Source(model, preset, name, aside / "graph", data_dir)
        for target, (format, quantize) in zip(targets, variants, strict=True):
            _export(source, aside, target, format, quantize)
    return targets


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


class _Source:
    """A model to export: its float32 twin, and what all formats share, each made when it is first needed.

    Attributes:
        model, twin: The model, and its twin in float32.
        preset: Preset that says what the model and its data are.
        name: Name of the export.
    """

    def __init__(self, model: Any, preset: Preset, name: str, graph: Path, data_dir: str | Path | None):
        self.model, self.twin, self.data_dir, self._graph = model, _float32_twin(model), data_dir, graph
        self.preset, self.name = preset, name

    @functools.cached_property
    def endpoints(self) -> dict[str, keras.Model]:
        """The twin's endpoints."""
        return self.twin.endpoints()

    @functools.cached_property
    def examples(self) -> dict[str, _Arrays]:
        """Inputs of every endpoint on which formats are compared with Keras."""
        return _example_inputs(self, "test", _CHECKED)

    @functools.cached_property
    def calibration(self) -> dict[str, _Arrays]:
        """Inputs of every endpoint that set the ranges of int8."""
        return _example_inputs(self, "train", _CALIBRATION)

    @functools.cached_property
    def expected(self) -> dict[str, _Arrays]:
        """Keras' outputs on the examples."""
        return {name: self.twin.run_endpoint(name, *tensors.values()) for name, tensors in self.examples.items()}

    @functools.cached_property
    def graph(self) -> Path:
        """A SavedModel of the endpoints alone, which LiteRT converts."""
        _write_saved_model(self, self._graph, sampling=False)
        return self._graph


def _export(source: _Source, aside: Path, target: Path, format: str, quantize: str | None) -> None:
    """Writes one format into `aside`, compares it with Keras, and puts it and its report in place."""
    path = aside / (target.name if target.name.isascii() else f"model{target.suffix}")  # see `_for_tensorflow`
    if format == "saved_model":
        _write_saved_model(source, path, sampling=True)
        outputs, ops_used = _run_by_saved_model(path, source.examples)
    else:
        calibration = source.calibration if quantize == "int8" else {}
        path.write_bytes(_convert(source.graph, list(source.endpoints), quantize, calibration))
        outputs, ops_used = _run_by_litert(path, source.examples)
    report = {
        "preset": source.name,
        "format": format,
        "quantize": quantize,
        "file": target.name,
        "bytes": files.size(path),
        "sha256": files.sha256(path),
        "ops": ops_used,
        "agreement": _agreement(outputs, source.expected, quantize),
        "versions": origin.versions(),
    }
    report_path = aside / f"{target.name}.export.json"
    files.write_json(report_path, report)
    files.put_in_place(path, target)
    files.put_in_place(report_path, target.parent / report_path.name)


def _float32_twin(model: Any) -> Any:
    """The model with the same weights under a float32 policy: LiteRT converts graphs of mixed precision, but fails to
    run them.
    """
    twin = type(model).from_config({**model.get_config(), "dtype": "float32"})
    twin.set_weights(model.get_weights())
    return twin


def _example_inputs(source: _Source, split: str, count: int) -> dict[str, _Arrays]:
    """Inputs of every endpoint: real images, their labels, and codes.

    Codes are draws of N(0, I) where the model samples, as a user's would be; else the codes of the images.
    """
    model, twin, endpoints = source.model, source.twin, source.endpoints
    preset = source.preset
    contract = models.asked(preset.family, "contract")(twin)
    kinds = {name: value.kind for endpoint in contract.values() for name, value in endpoint.inputs.items()}
    values = {}
    if {"images", "classes"} & set(kinds.values()):
        names = models.asked(preset.family, "hooks")(preset).data_names
        splits = [zoo.arrays(model, split, name=name, data_dir=source.data_dir, preset=preset) for name in names]
        images = np.concatenate([pixels[: count // len(names)] for pixels, _ in splits])  # equal parts of each data set
        by_kind = {"images": _data.as_seen(images, binarize=preset.data.binarize)}
        labels = splits[0][1]
        if "classes" in kinds.values() and labels is not None:
            by_kind["classes"] = labels[:count].astype("int32")
        values = {name: by_kind[kind] for name, kind in kinds.items() if kind in by_kind}
    sizes = {tensor.name: tensor.shape[1] for e in endpoints.values() for tensor in e.inputs if len(tensor.shape) == 2}
    for name, kind in kinds.items():
        if kind == "noise" or (kind == "codes" and twin.can("sample")):
            values[name] = twin.normal_noise(count, _SEEDS[split], sizes[name])
        elif kind == "codes":
            values[name] = twin.codes(values["images"])
    return {
        name: {tensor.name: values[tensor.name] for tensor in endpoint.inputs} for name, endpoint in endpoints.items()
    }


def _write_saved_model(source: _Source, path: Path, *, sampling: bool) -> None:
    """Writes a SavedModel of the endpoints; with `sampling`, of `sample` as well.

    `keras.export.ExportArchive` would store every variable twice, and name arguments after lambdas.
    """
    module: Any = tf.Module()
    endpoints: dict[str, Any] = dict(source.endpoints)
    module.weights = [variable.value for endpoint in endpoints.values() for variable in endpoint.weights]
    for name, endpoint in endpoints.items():
        specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in endpoint.inputs]
        setattr(module, name, tf.function(_caller(endpoint, refusing_bad=sampling), input_signature=specs))
    if sampling and source.twin.can("sample"):
        decode: Any = endpoints.get("generate") or endpoints.get("decode")
        specs = [tf.TensorSpec((), tf.int32, name="n"), tf.TensorSpec((2,), tf.int32, name="seed")]
        if len(decode.inputs) > 1:
            specs.append(tf.TensorSpec((None,), tf.int32, name="labels"))
        module.sample = tf.function(_sampler(decode), input_signature=specs)
        endpoints["sample"] = module.sample
    signatures = {name: getattr(module, name).get_concrete_function() for name in endpoints}
    try:
        tf.saved_model.save(module, str(path), signatures=signatures)
    except tf.errors.OpError as error:  # TensorFlow's way to say that the disk is full
        raise files.cannot_write(path, str(error.message).rpartition("; ")[2].partition(" [Op:")[0]) from None


def _caller(endpoint: Any, *, refusing_bad: bool) -> Callable:
    """The endpoint as a function of its tensors in turn.

    With `refusing_bad` an empty batch is an error, for which oneDNN's convolutions return wrong shapes, and NaN.
    """

    def call(*tensors):
        checks = []
        if refusing_bad:
            checks = [tf.debugging.assert_positive(tf.shape(tensors[0])[0], message="empty batch")]
            checks += [
                tf.debugging.assert_all_finite(tensor, f"`{name}` must be finite. Received: NaN or infinity")
                for tensor, name in zip(tensors, [one.name for one in endpoint.inputs], strict=True)
                if tensor.dtype.is_floating
            ]
        with tf.control_dependencies(checks):
            tensors = [tf.identity(tensor) for tensor in tensors]
        return endpoint(tensors if len(tensors) > 1 else tensors[0])

    return call


def _sampler(decode: Any) -> Callable:
    """The function `(n, seed, *labels)` that draws codes from N(0, I) and decodes them."""

    def sample(n, seed, *labels):
        with tf.control_dependencies([tf.debugging.assert_positive(n, message="n must be >= 1")]):
            z = tf.random.stateless_normal([n, decode.inputs[0].shape[1]], seed)
        return {"images": decode([z, *labels] if labels else z)["images"]}

    return sample


def _convert(saved_model: Path, signatures: list[str], quantize: str | None, calibration: dict[str, _Arrays]) -> bytes:
    """The bytes of a LiteRT file of a SavedModel."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=signatures)
    # Other sets of ops would convert without a warning, and fail in a runtime that has builtin ops only.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantize == "int8":
        # The calibrator takes images one by one, and examples of every signature.
        converter.representative_dataset = lambda: (
            (name, {key: value[i : i + 1] for key, value in tensors.items()})
            for name, tensors in calibration.items()
            for i in range(len(next(iter(tensors.values()))))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the calibrator warns of its own deprecated interpreter
        return converter.convert()


def _run_by_saved_model(path: Path, inputs: dict[str, _Arrays]) -> tuple[dict[str, _Arrays | ZooError], None]:
    """The outputs of every endpoint, by TensorFlow; and no list of ops."""
    signatures = tf.saved_model.load(str(path)).signatures
    outputs: dict[str, _Arrays | ZooError] = {}
    for name, tensors in inputs.items():
        results = signatures[name](**{key: tf.constant(value) for key, value in tensors.items()})
        outputs[name] = {key: engine.array(value) for key, value in results.items()}
    return outputs, None


def _run_by_litert(path: Path, inputs: dict[str, _Arrays]) -> tuple[dict[str, _Arrays | ZooError], list[str]]:
    """The outputs of every endpoint, by LiteRT, and the file's ops. An endpoint that fails has a ZooError instead."""
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in inputs.items():
            # NumPy's types take every keyword for `allow_pickle`.
            np.savez(Path(folder, f"{name}.in.npz"), **tensors)  # pyright: ignore[reportArgumentType]
        # -P keeps the folder of the script, whose modules have names of the standard library, off the path.
        command = [sys.executable, "-P", _LITERT_PROCESS, path, folder, *inputs]
        process = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if not process.stdout:
            raise ZooError(
                f"LiteRT does not load {path.name} (its process ended with {process.returncode}): {process.stderr}"
            )
        outputs: dict[str, _Arrays | ZooError] = {}
        for name in inputs:
            if Path(folder, f"{name}.out.npz").is_file():
                try:
                    with np.load(Path(folder, f"{name}.out.npz")) as stored:
                        outputs[name] = dict(stored)
                except (OSError, ValueError, zipfile.BadZipFile) as error:
                    raise ZooError(
                        f"LiteRT's outputs of {name} of {path.name} are not whole ({reason(error)}); is the folder for "
                        f"temporary files, {tempfile.gettempdir()}, full?"
                    ) from error
                continue
            error = Path(folder, f"{name}.error")
            said = (
                error.read_text(encoding="utf-8") if error.is_file() else f"its process ended with {process.returncode}"
            )
            outputs[name] = ZooError(
                f"LiteRT cannot run {name} of {path.name} ({said}); nothing was written. Export it in another precision"
            )
    return outputs, json.loads(process.stdout.splitlines()[0])


def _agreement(
    outputs: dict[str, _Arrays | ZooError], expected: dict[str, _Arrays], quantize: str | None
) -> list[dict[str, Any]]:
    """The errors of all outputs beside Keras', for the report.

    Raises:
        ZooError: An endpoint has failed, or an error is above its tolerance.
    """
    kind, tolerance = _TOLERANCE[quantize]
    rows = []
    for name, wanted in expected.items():
        actual = outputs[name]
        if isinstance(actual, ZooError):
            raise actual
        for key, value in wanted.items():
            error = np.abs(actual[key].astype("float64") - value)
            # The range of images is [0, 1], even where these few span less. A constant output, such as a fixed scale,
            # has no range; its size stands for it.
            extent = 1.0 if key == "images" else float(np.ptp(value)) or float(np.abs(value).max()) or 1.0
            row = {
                "endpoint": name,
                "output": key,
                "n": len(value),
                "range": extent,
                "max_error": float(error.max()),
                "rms_error": float(np.sqrt(np.mean(error**2))),
                "tolerance": f"{kind} error <= {tolerance} of the range",
            }
            rows.append(row)
            # The comparison is written so that NaN fails.
            if not row[f"{kind}_error"] <= tolerance * extent:
                raise ZooError(
                    f"The export disagrees with Keras: {name}/{key} has a {kind} error of {row[f'{kind}_error']:.3g} "
                    f"over a range of {extent:.3g} (allowed: {tolerance:g} of it); nothing was written"
                )
    return rows
