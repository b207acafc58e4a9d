"""LiteRT files: builtin ops alone, a signature per endpoint, weights of 32 to 4 bits, and a description inside."""

import contextlib
import io
import logging
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_genzoo import flatbuffer
from keras_genzoo.errors import ZooError, reason
from keras_genzoo.exporting.source import Arrays
from keras_genzoo.presets import QuantizationConfig

RUNTIMES = ("Interpreter", "CompiledModel")
_PROCESS = Path(__file__).with_name("litert_process.py")
_ACTIVATION_BITS = {"w8a8": 8, "w8a16": 16}  # schemes whose activations have ranges that calibration sets
# A scale and a zero point of each output of a dense layer are 12 bytes in each endpoint. Where a row has fewer weights
# than this, they would be a fifth of an 8-bit file, and one scale serves the whole layer.
_LEAST_ROW = 64
_DENSE = "FULLY_CONNECTED"


def convert(saved_model: Path, signatures: list[str]) -> bytes:
    """The bytes of a float32 LiteRT file of a SavedModel.

    Args:
        saved_model: Folder of the SavedModel.
        signatures: Names of the signatures to take.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=signatures)
    # Other sets of ops would convert without a warning, and fail in a runtime that has builtin ops only.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        return converter.convert()
    except Exception as error:  # the converter's errors share no type; they hold the whole graph
        ops = sorted(set(re.findall(r"'?(tf\.[A-Z]\w*)'? op|Flex(\w+)", str(error))), key=str)
        missing = ", ".join(one or f"tf.{other}" for one, other in ops) or reason(error)
        raise ZooError(f"LiteRT has no builtin op for {missing}: the model cannot be a LiteRT file") from error


def quantized(content: bytes, config: QuantizationConfig, calibration: dict[str, Arrays] | None = None) -> bytes:
    """A float32 LiteRT file in another precision; inputs and outputs stay float32.

    Args:
        content: The file.
        config: Scheme, and the layers that it leaves out.
        calibration: Inputs of every endpoint, for the schemes with activations of fixed ranges.

    Raises:
        ZooError: The quantizer cannot do it.
    """
    try:
        from ai_edge_quantizer import algorithm_manager, calibrator, qtyping, quantizer, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils
    except ImportError as error:
        raise ZooError(
            f"Files of 16, 8 and 4 bits need ai-edge-quantizer: pip install ai-edge-quantizer ({reason(error)})"
        ) from error

    ops, whole = qtyping.TFLOperationName, qtyping.QuantGranularity.TENSORWISE
    skipped = algorithm_manager.AlgorithmName.NO_QUANTIZE
    work = quantizer.Quantizer(bytearray(content))
    bits = _ACTIVATION_BITS.get(config.scheme)

    def add(regex, op, weight_bits=8, **options):
        if bits:
            work.add_static_config(regex, op, bits, 8, **({"weight_granularity": whole} if options else {}))
        elif config.scheme.startswith("dynamic"):
            work.add_dynamic_config(regex, op, weight_bits, **options)
        else:
            work.add_weight_only_config(regex, op, weight_bits, **options)

    if config.scheme == "float16":
        work.update_quantization_recipe(
            ".*",
            ops.ALL_SUPPORTED,
            qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    else:
        add(".*", ops.ALL_SUPPORTED)
        if config.scheme.endswith("int4"):  # transposed and depthwise convolutions have no kernel of 4 bits
            for op in (ops.FULLY_CONNECTED, ops.CONV_2D):
                # Scales that cut outliers off: of 16 steps none is to spare (Sakr et al. 2022).
                add(".*", op, 4, algorithm_key=algorithm_manager.AlgorithmName.OCTAV)
        for layer in config.int8:
            add(_layer(layer), ops.ALL_SUPPORTED)
        for tensor in _short_rows(content):
            add(f"^{re.escape(tensor)};?$", ops.FULLY_CONNECTED, granularity=whole)
    names = ";".join(tensor.name for op in flatbuffer.operations(content) for tensor in op.outputs)
    for layer in (*config.int8, *config.float32):
        if not re.search(_layer(layer), names):
            raise ZooError(f"No layer of the model is called {layer!r}, which its preset's section `export` names")
    for layer in config.float32:
        work.update_quantization_recipe(_layer(layer), ops.ALL_SUPPORTED, algorithm_key=skipped)
    if bits:
        for op in (ops.INPUT, ops.OUTPUT):
            work.update_quantization_recipe(".*", op, algorithm_key=skipped)
    try:
        with _silent():
            ranges = None
            if work.need_calibration:
                batch = _batch(content)
                # The whole ranges: the quantizer's own average of the batches' ranges would cut every second one.
                seen = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
                recipe = recipe_manager.RecipeManager()
                recipe.load_quantization_recipe(work.get_quantization_recipe())
                examples = {name: _in_batches(one, batch) for name, one in (calibration or {}).items()}
                seen.calibrate(examples, recipe)
                ranges = seen.get_model_qsvs()
            result: Any = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ZooError(f"The quantizer cannot write {config.scheme}: {reason(error)}. Choose another scheme") from error


@contextlib.contextmanager
def _silent():
    """Context without the quantizer's progress, and its warnings that endpoints share their layers."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def _layer(path: str) -> str:
    """The pattern of a layer's tensors: TensorFlow puts numbers behind the names of layers that it meets again."""
    return "(^|/|;)" + "/".join(rf"{re.escape(name)}(_\d+)?" for name in path.split("/")) + "(/|$|;)"


def _short_rows(content: bytes) -> list[str]:
    """The outputs of dense layers with few weights for each."""
    return [
        op.outputs[0].name
        for op in flatbuffer.operations(content)
        if op.name == _DENSE and len(op.inputs[1].shape) == 2 and op.inputs[1].shape[1] < _LEAST_ROW
    ]


def _batch(content: bytes) -> int:
    """The examples that a file takes at once; 1 of one that takes any number."""
    inputs, _ = next(iter(flatbuffer.signatures(flatbuffer.read(content, "the file")).values()))
    return max(next(iter(inputs.values())).shape[0], 1)


def _in_batches(tensors: Arrays, batch: int) -> list[dict[str, Any]]:
    """Examples in batches of one size, the last one filled up."""
    n = len(next(iter(tensors.values())))
    starts = range(0, n, batch)
    return [{key: value[np.arange(i, i + batch) % n] for key, value in tensors.items()} for i in starts]


def write(path: Path, content: bytes, description: dict[str, Any]) -> None:
    """Writes a file with its description inside.

    Args:
        path: File to write.
        content: Bytes of a LiteRT file.
        description: See `Source.description`.
    """
    path.write_bytes(flatbuffer.described(content, description))


def run(
    path: Path, inputs: dict[str, Arrays], *, batch: int | None, runtimes: tuple[str, ...] = RUNTIMES
) -> dict[str, dict[str, Arrays | ZooError]]:
    """The outputs of every endpoint in every runtime, each of the file's own batches in turn, the first one twice.

    Args:
        path: A LiteRT file.
        inputs: Tensors of every endpoint, any number of examples.
        batch: Batch of the file; None: any, and all examples are one.
        runtimes: Names of LiteRT's interfaces.

    Returns:
        Runtime -> endpoint -> outputs of the examples. An endpoint that fails has a ZooError instead.

    Raises:
        ZooError: LiteRT does not load the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in inputs.items():
            # NumPy's types take every keyword for `allow_pickle`.
            np.savez(Path(folder, f"{name}.in.npz"), **tensors)  # pyright: ignore[reportArgumentType]
        with ThreadPoolExecutor(len(runtimes)) as pool:  # side by side: most of the time is that of a process' start
            found = pool.map(lambda runtime: _run(path, folder, runtime, list(inputs), batch), runtimes)
            return dict(zip(runtimes, found, strict=True))


def _run(path, folder, runtime, names, batch):
    # -P keeps the folder of the script, whose modules have names of the standard library, off the path.
    command = [sys.executable, "-P", _PROCESS, path, folder, runtime, str(batch or 0), *names]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if not process.stdout:
        last = (process.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ZooError(f"LiteRT does not load {path.name} (its process ended with {process.returncode}): {last}")
    outputs: dict[str, Arrays | ZooError] = {}
    for name in names:
        found = Path(folder, f"{name}.{runtime}.npz")
        if found.is_file():
            try:
                with np.load(found) as stored:
                    outputs[name] = dict(stored)
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise ZooError(
                    f"LiteRT's outputs of {name} of {path.name} are not whole ({reason(error)}); is the folder for "
                    f"temporary files, {tempfile.gettempdir()}, full?"
                ) from error
            continue
        error = Path(folder, f"{name}.{runtime}.error")
        said = error.read_text(encoding="utf-8") if error.is_file() else f"its process ended with {process.returncode}"
        outputs[name] = ZooError(
            f"LiteRT's {runtime} cannot run {name} of {path.name} ({said}); nothing was written. Export it in another "
            "precision"
        )
    return outputs
