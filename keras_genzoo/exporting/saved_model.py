"""The SavedModel of a model's endpoints: for TensorFlow Serving and programs without keras_genzoo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_genzoo import engine, files
from keras_genzoo.errors import ZooError
from keras_genzoo.exporting.source import Arrays, Source
from keras_genzoo.inspecting import SAVED_MODEL_FILE

DEFAULT = "serving_default"  # signature that TensorFlow Serving calls where a client names none
_MOST_SAMPLES = 1_000_000  # images of one call of `sample`: a typing error must not fill the memory


def write(source: Source, path: Path, *, batch: int | None = None, sampling: bool = True) -> None:
    """Writes a SavedModel of the endpoints.

    `keras.export.ExportArchive` would store every variable twice, and name arguments after lambdas.

    Args:
        source: Model to export.
        path: Folder to write.
        batch: Batch of the endpoints; None: any.
        sampling: Whether the SavedModel is for users: with `sample`, a default signature, and checks of its inputs.

    Raises:
        ZooError: The folder cannot be written.
    """
    module: Any = tf.Module()
    endpoints: dict[str, Any] = dict(source.endpoints)
    module.weights = [variable.value for endpoint in endpoints.values() for variable in endpoint.weights]
    for name, endpoint in endpoints.items():
        setattr(module, name, function(endpoint, batch=batch, refusing_bad=sampling))
    if sampling and source.twin.can("sample"):
        decode: Any = endpoints.get("generate") or endpoints.get("decode")
        specs = [tf.TensorSpec((), tf.int32, name="n"), tf.TensorSpec((2,), tf.int32, name="seed")]
        if len(decode.inputs) > 1:
            specs.append(tf.TensorSpec((None,), tf.int32, name="labels"))
        module.sample = tf.function(_sampler(decode), input_signature=specs)
        endpoints["sample"] = module.sample
    signatures = {name: getattr(module, name).get_concrete_function() for name in endpoints}
    if sampling:
        signatures[DEFAULT] = signatures[source.main]
    try:
        tf.saved_model.save(module, str(path), signatures=signatures)
    except tf.errors.OpError as error:  # TensorFlow's way to say that the disk is full
        raise files.cannot_write(path, str(error.message).rpartition("; ")[2].partition(" [Op:")[0]) from None
    if sampling:
        files.write_json(path / SAVED_MODEL_FILE, source.description(batch))


def function(endpoint: Any, *, batch: int | None, refusing_bad: bool = False) -> Any:
    """An endpoint as a `tf.function` of its tensors in turn.

    Args:
        endpoint: Keras model of the endpoint.
        batch: Number of examples; None: any.
        refusing_bad: Whether an empty batch, for which oneDNN's convolutions return wrong shapes, and NaN are errors.
    """
    specs = [tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in endpoint.inputs]
    return tf.function(_caller(endpoint, refusing_bad=refusing_bad), input_signature=specs)


def _caller(endpoint: Any, *, refusing_bad: bool) -> Callable:
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
        is_good = tf.logical_and(n >= 1, n <= _MOST_SAMPLES)
        complaint = f"`n` must be an integer from 1 to {_MOST_SAMPLES:,}. Received:"
        checks = [tf.debugging.Assert(is_good, [complaint, n])]
        if labels:
            complaint = "`labels` must be one class for each of the `n` images. Received: `n` and the number of labels"
            checks.append(tf.debugging.Assert(tf.size(labels[0]) == n, [complaint, n, tf.size(labels[0])]))
        with tf.control_dependencies(checks):
            z = tf.random.stateless_normal([n, decode.inputs[0].shape[1]], seed)
        return {"images": decode([z, *labels] if labels else z)["images"]}

    return sample


def run(path: Path, inputs: dict[str, Arrays]) -> dict[str, Arrays | ZooError]:
    """The outputs of every endpoint, by TensorFlow.

    Args:
        path: Folder of the SavedModel.
        inputs: Tensors of every endpoint.
    """
    signatures = tf.saved_model.load(str(path)).signatures
    outputs: dict[str, Arrays | ZooError] = {}
    for name, tensors in inputs.items():
        results = signatures[name](**{key: tf.constant(value) for key, value in tensors.items()})
        outputs[name] = {key: engine.array(value) for key, value in results.items()}
    return outputs
