"""What a file of an export is: its description, tensors and ops, and what a GPU would refuse of it."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_genzoo import files, flatbuffer
from keras_genzoo.errors import ZooError, one_line, reason
from keras_genzoo.typing import PathLike

# Places of the description that `export` writes: a file of a SavedModel, which has a folder for a user's own assets,
# and a property of an ONNX file.
SAVED_MODEL_FILE = Path("assets.extra", "keras_genzoo.json")
ONNX_KEY = "keras_genzoo"
_MOST_DIMENSIONS = 4  # of a tensor in GPU delegates
_REFUSED_OPS = {  # op -> the reason for which GPU delegates leave it to the processor
    "GATHER_ND": "GATHER_ND, such as reflecting borders",
    "PRELU": "PReLU",
    "SHAPE": "shapes that are computed",
}


def inspect(path: PathLike) -> dict[str, Any]:
    """What an exported file is, read from the file itself; no runtime loads it.

    Args:
        path: A `.tflite` file, an `.onnx` file, a folder of ONNX files, or the folder of a SavedModel.

    Returns:
        A dict of `format`, `bytes`, `sha256`, `description` (what `export` wrote into the file: name, licence, tensors
        with shape, range and layout; None in a stranger's file), `endpoints` (of each its `inputs` and `outputs` with
        `dtype` and `shape`, None where a dimension is free, and the number of each op; of a SavedModel the description
        alone tells them), and `gpu`, a list of what GPU delegates refuse of a LiteRT file.

    Raises:
        ZooError: There is no such file, or it is of no known format, or damaged.

    Example:
        >>> import tempfile
        >>> import keras_genzoo as gz
        >>> found = gz.inspect(gz.export("ring2d", tempfile.mkdtemp(), format="litert"))
        >>> found["description"]["name"], found["endpoints"]["generate"]["inputs"]["z"]["shape"], found["gpu"]
        ('ring2d', [1, 2], [])
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ZooError(f"{one_line(path)} does not exist")
    if path.is_dir():
        found = _folder(path)
    elif path.suffix == ".onnx":
        found = {"format": "onnx", **_onnx(path)}
    else:
        found = _litert(path)
    return {"format": found.pop("format"), "bytes": files.size(path), "sha256": files.sha256(path), **found}


def _folder(path):
    if (path / "saved_model.pb").is_file():
        description = None
        if (path / SAVED_MODEL_FILE).is_file():
            description = _as_dict(files.read_json(path / SAVED_MODEL_FILE, remedy="export the model again"))
        return {"format": "saved_model", "description": description, "endpoints": {}, "gpu": []}
    parts = [_onnx(file) for file in sorted(path.glob("*.onnx"))]
    if not parts:
        raise ZooError(f"{one_line(path)} is neither a SavedModel nor a folder of ONNX files")
    description = parts[0]["description"]
    if description:
        told = [part["description"]["endpoints"] for part in parts if part["description"]]
        tensors = {name: endpoint for endpoints in told for name, endpoint in endpoints.items()}
        description = {**description, "endpoints": tensors}
    endpoints = {name: one for part in parts for name, one in part["endpoints"].items()}
    return {"format": "onnx", "description": description, "endpoints": endpoints, "gpu": []}


def _litert(path):
    model = flatbuffer.read(flatbuffer.contents(path), path)
    try:
        ops, signatures = flatbuffer.operations(model), flatbuffer.signatures(model)
        description = _as_dict(flatbuffer.description_in(model))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # offsets that lead nowhere
        raise ZooError(f"{one_line(path)} is a damaged LiteRT file: {one_line(error, 200)}") from error
    endpoints = {}
    for name, (inputs, outputs) in signatures.items():
        endpoints[name] = {
            "inputs": {key: _tensor(tensor) for key, tensor in inputs.items()},
            "outputs": {key: _tensor(tensor) for key, tensor in outputs.items()},
            "ops": dict(sorted(Counter(op.name for op in ops if op.endpoint == name).items())),
        }
    return {"format": "litert", "description": description, "endpoints": endpoints, "gpu": _refused(ops)}


def _onnx(path):
    """The description, tensors and ops of an ONNX file."""
    with needing_onnx():
        import onnx

    try:
        model: Any = onnx.load(str(path), load_external_data=False)
        if not model.graph.node:
            raise ValueError("it has no ops")
    except Exception as error:  # a damaged file is an error of any type
        raise ZooError(f"{one_line(path)} is no ONNX file that can be read: {reason(error)}") from error
    found = next((entry.value for entry in model.metadata_props if entry.key == ONNX_KEY), None)
    description = None
    with contextlib.suppress(ValueError, RecursionError):
        description = _as_dict(json.loads(found)) if found else None

    def tensors(values):
        told = {}
        for value in values:
            if value.type.WhichOneof("value") != "tensor_type":  # a sequence or a map, as other exporters make
                told[value.name] = {"dtype": value.type.WhichOneof("value"), "shape": None}
                continue
            kind = value.type.tensor_type
            shape = [one.dim_value if one.HasField("dim_value") else None for one in kind.shape.dim]
            dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
            dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
            told[value.name] = {"dtype": dtype, "shape": shape if kind.HasField("shape") else None}
        return told

    initial = {one.name for one in model.graph.initializer}
    return {
        "description": description,
        "endpoints": {
            path.stem: {
                "inputs": tensors(one for one in model.graph.input if one.name not in initial),
                "outputs": tensors(model.graph.output),
                "ops": dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
            }
        },
    }


def _as_dict(value: Any) -> dict[str, Any] | None:
    """A description if it has the form of one: dicts where there must be dicts; else None, as a stranger's."""
    if not isinstance(value, dict) or not isinstance(value.get("endpoints"), dict):
        return None
    for endpoint in value["endpoints"].values():
        sides = [endpoint.get(side) for side in ("inputs", "outputs")] if isinstance(endpoint, dict) else [None]
        if not all(isinstance(side, dict) and all(isinstance(one, dict) for one in side.values()) for side in sides):
            return None
    return value


def _tensor(tensor):
    return {"dtype": tensor.dtype, "shape": [None if size < 0 else size for size in tensor.shape]}


def _refused(ops):
    """What GPU delegates refuse, a line for each endpoint and reason."""
    lines = {}
    for op in ops:
        tensors = [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None]
        reasons = [_REFUSED_OPS[op.name]] if op.name in _REFUSED_OPS else []
        if any(len(tensor.shape) > _MOST_DIMENSIONS for tensor in tensors):
            reasons.append(f"a tensor of more than {_MOST_DIMENSIONS} dimensions")
        if any(tensor.dtype == "int64" for tensor in tensors):
            reasons.append("int64")
        if any(size < 0 for tensor in tensors for size in tensor.shape):
            reasons.append("a batch that is free")
        for why in reasons:
            lines.setdefault((op.endpoint, why), Counter())[op.name] += 1
    return [
        f"{endpoint}: {why} ({', '.join(f'{count} {name}' for name, count in sorted(counts.items()))})"
        for (endpoint, why), counts in lines.items()
    ]


def in_words(found: dict[str, Any]) -> list[str]:
    """The lines that the command line prints of `inspect`.

    Args:
        found: Result of `inspect`.
    """
    about = found["description"] or {}
    lines = [f"{found['format']}, {found['bytes']:,} bytes, SHA-256 {found['sha256']}"]
    for key in ("name", "description", "license", "notice", "preset_sha256", "weights_sha256", "quantize", "scheme"):
        if about.get(key) is not None:
            lines.append(f"{key}: {json.dumps(about[key]) if isinstance(about[key], dict) else about[key]}")
    if not about:
        lines.append("No description inside: not exported by keras_genzoo")
    described: Any = about.get("endpoints", {})
    for name in found["endpoints"] or described:
        lines.append(f"{name}{' (main)' if about.get('main') == name else ''}")
        for side in ("inputs", "outputs"):
            told = described.get(name, {}).get(side, {})
            for key, tensor in (found["endpoints"].get(name, {}).get(side) or told).items():
                lines.append(f"  {side[:-1]} {key}: {_tensor_in_words({**told.get(key, {}), **tensor})}")
        ops = found["endpoints"].get(name, {}).get("ops", {})
        if ops:
            lines.append("  ops: " + ", ".join(f"{count} {op}" for op, count in ops.items()))
    if found["format"] == "litert":
        lines += [f"GPU delegates refuse {line}" for line in found["gpu"]] or ["GPU delegates refuse nothing"]
    return lines


@contextlib.contextmanager
def needing_onnx() -> Iterator[None]:
    """Context in which a missing package is an error that says what to install."""
    try:
        yield
    except ImportError as error:
        raise ZooError(
            f"ONNX files need onnx, onnxruntime and tf2onnx: pip install 'keras-genzoo[onnx]' ({reason(error)})"
        ) from error


def _tensor_in_words(tensor):
    words = f"{tensor.get('dtype')} {json.dumps(tensor.get('shape'))}".replace("null", "any")
    for key in ("layout", "range", "meaning", "labels"):
        if tensor.get(key) is not None:
            words += f", {key} {tensor[key]}" if key != "meaning" else f", {tensor[key]}"
    return words
