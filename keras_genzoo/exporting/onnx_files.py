"""ONNX files: a folder with one graph for each endpoint, which carries its description."""

import contextlib
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo import files
from keras_genzoo.errors import ZooError, reason
from keras_genzoo.exporting import saved_model
from keras_genzoo.exporting.source import Arrays, Source
from keras_genzoo.inspecting import ONNX_KEY, needing_onnx

_OPSET = 18  # that of onnxruntime 1.14 and later, 2023
_SUFFIX = "_out"  # behind an output's name that is also an input's: in an ONNX graph a name is one tensor


def write(source: Source, path: Path, *, batch: int | None = None) -> None:
    """Writes a folder with `ENDPOINT.onnx` for each endpoint.

    An output that has the name of an input, such as `images` of `reconstruct`, is called `images_out`.

    Args:
        source: Model to export.
        path: Folder to write, which is made.
        batch: Batch of the files; None: any.

    Raises:
        ZooError: tf2onnx is not installed, an endpoint cannot be converted, or the folder cannot be written.
    """
    with needing_onnx():
        import tf2onnx

    description = source.description(batch)
    path.mkdir()
    for name, endpoint in source.endpoints.items():
        inputs = {tensor.name for tensor in endpoint.inputs}
        function = _renamed(saved_model.function(endpoint, batch=batch), inputs)
        try:
            with _silent():
                proto, _ = tf2onnx.convert.from_function(
                    function,
                    input_signature=function.input_signature,
                    opset=_OPSET,
                    custom_op_handlers={"Log1p": (_log1p, []), "Expm1": (_expm1, [])},
                )
        except Exception as error:  # tf2onnx says of an op that it does not know by errors of many types
            raise ZooError(f"tf2onnx cannot convert {name} of {source.name}: {reason(error)}") from error
        tensors = description["endpoints"][name]
        own = {
            **description,
            "endpoints": {
                name: {
                    "inputs": tensors["inputs"],
                    "outputs": {_output_name(key, inputs): value for key, value in tensors["outputs"].items()},
                }
            },
        }
        entry = proto.metadata_props.add()
        entry.key, entry.value = ONNX_KEY, json.dumps(own, ensure_ascii=False, sort_keys=True)
        files.write_bytes(path / f"{name}.onnx", proto.SerializeToString())


def run(source: Source, path: Path, inputs: dict[str, Arrays], *, batch: int | None) -> dict[str, Arrays | ZooError]:
    """The outputs of every endpoint, by ONNX Runtime, each batch of the files in turn and the first one twice.

    Args:
        source: Model that was exported.
        path: Folder of the files.
        inputs: Tensors of every endpoint.
        batch: Batch of the files; None: any.

    Raises:
        ZooError: onnxruntime is not installed.
    """
    with needing_onnx():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    outputs: dict[str, Arrays | ZooError] = {}
    for name, tensors in inputs.items():
        n = len(next(iter(tensors.values())))
        size = batch or n
        try:
            session = onnxruntime.InferenceSession(
                str(path / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            parts = []
            for start in [*range(0, n, size), 0]:
                rows = np.arange(start, start + size) % n  # the last batch is filled up
                parts.append(session.run(None, {key: value[rows] for key, value in tensors.items()}))
        except Exception as error:  # onnxruntime's errors share no type
            outputs[name] = ZooError(f"ONNX Runtime cannot run {name} of {path.name}: {reason(error)}")
            continue
        names = [one.name for one in session.get_outputs()]
        wanted = {_output_name(key, set(tensors)): key for key in source.expected[name]}
        found = {wanted[key]: np.concatenate([part[i] for part in parts[:-1]])[:n] for i, key in enumerate(names)}
        for i, key in enumerate(names):  # NaN in place of outputs that differ the second time fails every comparison
            if not np.allclose(parts[0][i], parts[-1][i], rtol=1e-5, atol=1e-6):
                found[wanted[key]] = np.full_like(found[wanted[key]], np.nan)
        outputs[name] = dict(found)
    return outputs


def operations(path: Path) -> list[str]:
    """The ops of all files of a folder, sorted.

    Args:
        path: Folder of ONNX files.
    """
    import onnx

    return sorted({node.op_type for file in sorted(path.glob("*.onnx")) for node in onnx.load(str(file)).graph.node})


def _log1p(graph, node, name, arguments):
    """log(1 + x), for which ONNX has no op, and tf2onnx no conversion."""
    one = graph.make_const(f"{name}_one", np.float32(1))
    total = graph.make_node("Add", [node.input[0], one.output[0]])
    graph.replace_input(node, node.input[0], total.output[0], 0)
    node.type, node.domain = "Log", ""


def _expm1(graph, node, name, arguments):
    """exp(x) - 1, likewise."""
    one = graph.make_const(f"{name}_one", np.float32(1))
    power = graph.make_node("Exp", [node.input[0]])
    node.type, node.domain = "Sub", ""
    graph.replace_inputs(node, [power.output[0], one.output[0]])


def _renamed(function, inputs):
    """An endpoint's function with other names of outputs."""

    def renamed(*tensors):
        return {_output_name(key, inputs): tf.identity(value) for key, value in function(*tensors).items()}

    return tf.function(renamed, input_signature=function.input_signature)


def _output_name(name: str, inputs: set[str]) -> str:
    return f"{name}{_SUFFIX}" if name in inputs else name


@contextlib.contextmanager
def _silent():
    """Context without tf2onnx's warnings of its own and of its use of NumPy."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
