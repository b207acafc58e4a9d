"""A model -> SavedModel or LiteRT (float32, float16, int8), checked against Keras before it is handed over.

(The room is `exporting`, because `keras_genzoo.export` is the function.)
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data, zoo
from keras_genzoo.errors import ZooError

FORMATS = ("saved_model", "litert")
QUANTIZATIONS = (None, "float16", "int8")
_CHECKED, _CALIBRATION = 64, 256  # images that prove the agreement, and others that calibrate int8
_LITERT_PROCESS = Path(__file__).with_name("litert_process.py")
_SEEDS = {"test": 0, "train": 1}  # of the codes beside them

# Largest error allowed, as a share of the range of Keras' output. Float formats are held to their worst value;
# int8, whose single values may be off by more than a step, to its root mean square.
_TOLERANCE = {None: ("max", 1e-4), "float16": ("max", 1e-2), "int8": ("rms", 0.05)}


def export(model, out, *, format="saved_model", quantize=None, data_dir=None):
    """Exports a model's endpoints for use without keras_genzoo, and proves that they agree with Keras.

    The endpoints and their tensors are the contract in the README: encode, decode, reconstruct, prior_log_prob,
    generate as they apply; in a SavedModel also `sample(n, seed)`. LiteRT files hold builtin ops only, one signature
    per endpoint, and no random op: noise is an input.

    Args:
        model: A preset's name or path, or a model from `load`; whatever its precision policy, float32 is exported.
        out: Folder to write into. `NAME_saved_model/` or `NAME[_float16|_int8].tflite`, and beside it a report
            `*.export.json` with bytes, SHA-256, ops and the measured agreement. Written aside, then renamed.
        format: "saved_model" or "litert".
        quantize: LiteRT only: None (float32), "float16" (weights), or "int8" (weights and activations, calibrated on
            training images; inputs and outputs stay float32).
        data_dir: See `data.load`. The check takes test images of the preset's data; int8 also training images.

    Returns:
        The path of the SavedModel folder or of the .tflite file.

    Raises:
        ZooError: Unknown format or quantization, a folder that cannot be written, or an export that disagrees with
            Keras by more than its tolerance.

    Example:
        >>> keras_genzoo.export(vae, "out", format="litert", quantize="int8")
    """
    if format not in FORMATS:
        raise ZooError(f"`format` must be one of {', '.join(FORMATS)}. Received: {format!r}")
    if quantize not in QUANTIZATIONS:
        raise ZooError(f"`quantize` must be None, 'float16' or 'int8'. Received: {quantize!r}")
    if quantize and format != "litert":
        raise ZooError(f"`quantize` needs format='litert'. Received: format={format!r}, quantize={quantize!r}")
    if not isinstance(model, keras.Model):
        model = zoo.load(model)
    name = zoo.require_preset(model).name
    out = Path(out).expanduser().resolve()
    stem = f"{name}_saved_model" if format == "saved_model" else "_".join(filter(None, (name, quantize))) + ".tflite"
    target = out / stem
    if target.is_dir() and not (target / "saved_model.pb").is_file():
        raise ZooError(f"{target} exists and is not a SavedModel; give another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".export.", dir=out))
    except OSError as error:
        raise ZooError(f"Cannot write {out}: {error.strerror or error}") from None
    try:
        twin = _float32_twin(model)
        checked = _example_inputs(model, twin, "test", _CHECKED, data_dir)
        calibration = _example_inputs(model, twin, "train", _CALIBRATION, data_dir) if quantize == "int8" else None
        path = aside / stem
        _write_saved_model(twin, path if format == "saved_model" else aside / "graph", sampling=format == "saved_model")
        if format == "litert":
            path.write_bytes(_convert(aside / "graph", list(twin.endpoints()), quantize, calibration))
        outputs, ops_used = (_run_by_saved_model if format == "saved_model" else _run_by_litert)(path, checked)
        report = {
            "preset": name,
            "format": format,
            "quantize": quantize,
            "file": stem,
            "bytes": _bytes(path),
            "sha256": zoo.sha256(path),
            "ops": ops_used,
            "agreement": _agreement(twin, outputs, checked, quantize),
            "versions": zoo.versions(),
        }
        report_path = aside / f"{stem}.export.json"
        report_path.write_text(json.dumps(report, indent=1) + "\n")
        zoo.put_in_place(path, target)
        zoo.put_in_place(report_path, out / report_path.name)
    except ZooError:  # MissingDataError is an OSError, too, and says more
        raise
    except OSError as error:
        raise ZooError(f"Cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _float32_twin(model):
    """The model with the same weights under a float32 policy: mixed graphs convert to LiteRT but do not run."""
    twin = type(model).from_config({**model.get_config(), "dtype": "float32"})
    twin.set_weights(model.get_weights())
    return twin


def _example_inputs(model, twin, split, count, data_dir):
    """Endpoint -> `{input name: array}` of real images, of their labels, and of codes.

    Codes are draws of N(0, I) where the model samples, since users do; else the codes of the images.
    """
    endpoints = twin.endpoints()
    values = {}
    wanted = {tensor.name for endpoint in endpoints.values() for tensor in endpoint.inputs}
    if wanted & {"images", "labels"}:
        pixels, labels = zoo.arrays(model, split, data_dir=data_dir)
        if model.preset.data.other:  # as many of both people
            both = pixels, zoo.arrays(model, split, other=True, data_dir=data_dir)[0]
            pixels = np.concatenate([part[: count // 2] for part in both])
        values["images"] = data.as_seen(pixels[:count], binarize=model.preset.data.binarize)
        if "labels" in wanted:
            values["labels"] = labels[:count].astype("int32")
    codes = {tensor.name: tensor.shape[1] for e in endpoints.values() for tensor in e.inputs if len(tensor.shape) == 2}
    for name, size in codes.items():
        sampled = hasattr(twin, "sample")
        values[name] = twin.normal_noise(count, _SEEDS[split], size) if sampled else twin.encode(values["images"])
    return {
        name: {tensor.name: values[tensor.name] for tensor in endpoint.inputs} for name, endpoint in endpoints.items()
    }


def _write_saved_model(model, path, *, sampling):
    # Not keras.export.ExportArchive: it stores every variable twice and names arguments after lambdas.
    module = tf.Module()
    endpoints = model.endpoints()
    module.weights = [variable.value for endpoint in endpoints.values() for variable in endpoint.weights]
    for name, endpoint in endpoints.items():
        specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in endpoint.inputs]
        setattr(module, name, tf.function(_caller(endpoint, refusing_empty=sampling), input_signature=specs))
    if sampling and hasattr(model, "sample"):
        decode = endpoints.get("generate") or endpoints.get("decode")
        specs = [tf.TensorSpec((), tf.int32, name="n"), tf.TensorSpec((2,), tf.int32, name="seed")]
        if len(decode.inputs) > 1:
            specs.append(tf.TensorSpec((None,), tf.int32, name="labels"))
        module.sample = tf.function(_sampler(decode), input_signature=specs)
        endpoints["sample"] = module.sample
    signatures = {name: getattr(module, name).get_concrete_function() for name in endpoints}
    tf.saved_model.save(module, str(path), signatures=signatures)


def _caller(endpoint, *, refusing_empty):
    """The endpoint over its tensors in turn; an empty batch can be an error: oneDNN's convolutions return garbage
    shapes for it.
    """

    def call(*tensors):
        checks = (
            [tf.debugging.assert_positive(tf.shape(tensors[0])[0], message="empty batch")] if refusing_empty else []
        )
        with tf.control_dependencies(checks):
            tensors = [tf.identity(tensor) for tensor in tensors]
        return endpoint(tensors if len(tensors) > 1 else tensors[0])

    return call


def _sampler(decode):
    def sample(n, seed, *labels):
        with tf.control_dependencies([tf.debugging.assert_positive(n, message="n must be >= 1")]):
            z = tf.random.stateless_normal([n, decode.inputs[0].shape[1]], seed)
        return {"images": decode([z, *labels] if labels else z)["images"]}

    return sample


def _convert(saved_model, signatures, quantize, calibration):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=signatures)
    # Builtin ops only: what needs TensorFlow's own ops converts in silence elsewhere and then runs nowhere.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantize == "int8":
        # Image by image, as the calibrator takes them; every signature needs its own.
        converter.representative_dataset = lambda: (
            (name, {key: value[i : i + 1] for key, value in tensors.items()})
            for name, tensors in calibration.items()
            for i in range(len(next(iter(tensors.values()))))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the calibrator warns of its own deprecated interpreter
        return converter.convert()


def _run_by_saved_model(path, inputs):
    """What the file makes of every endpoint's inputs, `{endpoint: {output: array}}`; and no ops."""
    signatures = tf.saved_model.load(str(path)).signatures
    outputs = {}
    for name, tensors in inputs.items():
        of = signatures[name](**{key: tf.constant(value) for key, value in tensors.items()})
        outputs[name] = {key: value.numpy() for key, value in of.items()}
    return outputs, None


def _run_by_litert(path, inputs):
    """The same by LiteRT, and the file's ops; an endpoint it cannot run has a ZooError for outputs."""
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in inputs.items():
            np.savez(Path(folder, f"{name}.in.npz"), **tensors)
        # -P: beside the script lie modules whose names are those of others.
        command = [sys.executable, "-P", _LITERT_PROCESS, path, folder, *inputs]
        ended = subprocess.run(command, capture_output=True, text=True)
        if not ended.stdout:
            raise ZooError(
                f"LiteRT does not load {path.name} (its process ended with {ended.returncode}): {ended.stderr}"
            )
        outputs = {}
        for name in inputs:
            if Path(folder, f"{name}.out.npz").is_file():
                with np.load(Path(folder, f"{name}.out.npz")) as stored:
                    outputs[name] = dict(stored)
                continue
            error = Path(folder, f"{name}.error")
            reason = error.read_text() if error.is_file() else f"its process ended with {ended.returncode}"
            outputs[name] = ZooError(
                f"LiteRT cannot run {name} of {path.name} ({reason}); nothing was written. "
                "Export it in another precision"
            )
    return outputs, json.loads(ended.stdout.splitlines()[0])


def _agreement(model, outputs, inputs, quantize):
    kind, tolerance = _TOLERANCE[quantize]
    rows = []
    for name, tensors in inputs.items():
        expected = model.run_endpoint(name, *tensors.values())
        actual = outputs[name]
        if isinstance(actual, ZooError):
            raise actual
        for key, value in expected.items():
            error = np.abs(actual[key].astype("float64") - value)
            # Images span [0, 1] whatever these few do; a constant output (a fixed scale) has its size for a range.
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
            # Written so that NaN fails.
            if not row[f"{kind}_error"] <= tolerance * extent:
                raise ZooError(
                    f"The export disagrees with Keras: {name}/{key} has a {kind} error of {row[f'{kind}_error']:.3g} "
                    f"over a range of {extent:.3g} (allowed: {tolerance:g} of it); nothing was written"
                )
    return rows


def _bytes(path):
    return (
        path.stat().st_size
        if path.is_file()
        else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    )
