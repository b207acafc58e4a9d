"""Reading of LiteRT files without a runtime: their ops and tensors, and the description inside."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_genzoo.errors import ZooError, one_line, reason

NAME = "KERAS_GENZOO"  # name of the metadata buffer that holds the description, JSON in UTF-8
_IDENTIFIER, _AT = b"TFL3", slice(4, 8)  # of a LiteRT file, and its place
_MOST_DESCRIPTION = 1_000_000  # bytes of a description that is read


class TensorOf(NamedTuple):
    """A tensor of an op: its name, type and shape, -1 where a dimension is free, and its bytes if it is a constant."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    n_bytes: int


class Operation(NamedTuple):
    """An op of a file: its endpoint, name, inputs and outputs; None stands for an input that is left out."""

    endpoint: str
    name: str
    inputs: list[Any]
    outputs: list[TensorOf]


def described(content: bytes, description: dict[str, Any]) -> bytes:
    """A LiteRT file with a description inside, in place of any it has.

    Args:
        content: The file.
        description: Plain data.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:  # else each byte would be written by a call of its own
        if isinstance(buffer.data, (bytes, bytearray)):
            buffer.data = np.frombuffer(buffer.data, "uint8")
    text = json.dumps(description, ensure_ascii=False, sort_keys=True).encode()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(text, "uint8")  # pyright: ignore[reportAttributeAccessIssue]
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME.encode(), len(model.buffers) - 1  # pyright: ignore[reportAttributeAccessIssue]
    model.metadata = [one for one in model.metadata or [] if one.name != entry.name] + [entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read(content: bytes | bytearray, origin: Any) -> Any:
    """A LiteRT file as a tree of objects.

    Args:
        content: The file.
        origin: Its path, for the error.

    Raises:
        ZooError: It is no LiteRT file, or a damaged one.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    if content[_AT] != _IDENTIFIER:
        raise ZooError(f"{one_line(origin)} is no LiteRT file: its bytes 4 to 8 are not 'TFL3'")
    try:
        return flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    except Exception as error:  # a damaged file is an error of any type to the reader of flatbuffers
        raise ZooError(f"{one_line(origin)} is a damaged LiteRT file: {reason(error)}") from error


def description_in(model: Any) -> dict[str, Any] | None:
    """The description inside a file; None where it has none, or none that can be read.

    Args:
        model: Result of `read`.
    """
    for entry in model.metadata or []:
        if entry.name == NAME.encode() and 0 <= entry.buffer < len(model.buffers):
            data = model.buffers[entry.buffer].data
            if data is None or len(data) > _MOST_DESCRIPTION:
                return None
            try:
                found = json.loads(bytes(data).decode())
            except (ValueError, RecursionError):
                return None
            return found if isinstance(found, dict) else None
    return None


def signatures(model: Any) -> dict[str, tuple[dict[str, TensorOf], dict[str, TensorOf]]]:
    """The endpoints of a file: their inputs and outputs by name.

    Args:
        model: Result of `read`.
    """
    found = {}
    for signature in model.signatureDefs or []:
        graph = model.subgraphs[signature.subgraphIndex]
        sides = [
            {
                entry.name.decode(errors="replace"): _tensor(model, graph.tensors[entry.tensorIndex])
                for entry in side or []
            }
            for side in (signature.inputs, signature.outputs)
        ]
        found[signature.signatureKey.decode(errors="replace")] = (sides[0], sides[1])
    return found


def operations(content: bytes | Any) -> list[Operation]:
    """The ops of a file in the order of its endpoints.

    Args:
        content: The file, or the result of `read`.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = read(content, "the file") if isinstance(content, (bytes, bytearray)) else content
    names = {one.subgraphIndex: one.signatureKey.decode(errors="replace") for one in model.signatureDefs or []}
    codes = {}
    found = []
    for index, graph in enumerate(model.subgraphs):
        tensors = [_tensor(model, tensor) for tensor in graph.tensors]
        for op in graph.operators:
            if op.opcodeIndex not in codes:
                custom = model.operatorCodes[op.opcodeIndex].customCode
                name = flatbuffer_utils.opcode_to_name(model, op.opcodeIndex)
                codes[op.opcodeIndex] = custom.decode(errors="replace") if custom else name or "UNKNOWN"
            inputs, outputs = ([] if side is None else list(side) for side in (op.inputs, op.outputs))
            found.append(
                Operation(
                    names.get(index, f"subgraph {index}"),
                    codes[op.opcodeIndex],
                    [None if i < 0 else tensors[i] for i in inputs],
                    [tensors[i] for i in outputs],
                )
            )
    return found


def contents(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ZooError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ZooError(f"Cannot read {one_line(path)}: {error.strerror or error}") from None


def _tensor(model, tensor):
    from ai_edge_litert.tools import flatbuffer_utils

    shape = tensor.shapeSignature if tensor.shapeSignature is not None and len(tensor.shapeSignature) else tensor.shape
    data = model.buffers[tensor.buffer].data
    return TensorOf(
        (tensor.name or b"").decode(errors="replace"),
        flatbuffer_utils.type_to_name(tensor.type).lower(),
        tuple(int(size) for size in (shape if shape is not None else ())),
        0 if data is None else len(data),
    )
