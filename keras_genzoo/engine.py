"""The engine, which is TensorFlow: gradients, compiled functions, replicas, devices.

A second engine gives the same names other bodies. A training step needs three of them: `value_and_gradients`,
`input_gradient` and `cond`. A functional engine also has to thread the variables' values through `train_step`;
`Trainable` is the place for that.

The end of the module holds the private attributes of Keras that the zoo needs. A new release of Keras may change them;
then this module and its test change, and no other.
"""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import Tensor

# Type of step counters: TensorFlow keeps an int32 in the processor's memory, which XLA does not reach.
COUNTER_DTYPE = "int64"
_BETWEEN_REPLICAS = 0x3C6EF37  # distance of two devices' seeds: larger than those that people choose beside each other
_EVALUATED_BY_FIT = "_use_cached_eval_dataset"  # private keyword that `fit` adds when it calls `evaluate` itself


class Trainable:
    """Base of models that train by `value_and_gradients`. TensorFlow's variables need nothing more.

    A functional engine overrides `train_step(state, data)` here and opens a `keras.StatelessScope` around the family's
    own step.
    """


def value_and_gradients(function: Callable[[], tuple[Tensor, Any]], variables: Sequence) -> tuple[Any, list[Tensor]]:
    """The gradients of a function's scalar, and the function's other result: the only tape over variables.

    Args:
        function: `() -> (scalar, rest)`.
        variables: The Keras variables to differentiate by.

    Returns:
        `(rest, gradients)`, the gradients in the order of the variables.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable.value)
        scalar, rest = function()
    return rest, tape.gradient(scalar, [variable.value for variable in variables])


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The values of a function and the gradient of their sum with respect to its input.

    Each example gets the gradient of its own value where no layer mixes examples. Inside `value_and_gradients` the
    gradient is differentiated once more.

    Args:
        function: `(batch, ...) -> (batch,)`.
        x: Input, `(batch, ...)`.

    Returns:
        `(values, gradient)`: `(batch,)`, and the shape of `x`.
    """
    x = ops.cast(x, "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = function(x)
        total = ops.sum(values)  # inside the tape, or there would be nothing to differentiate
    return values, tape.gradient(total, x)


def cond(predicate: Tensor, step: Callable[[], Tensor], otherwise: Callable[[], Tensor]) -> Tensor:
    """A choice between two steps inside a compiled function; a step may assign to variables.

    Args:
        predicate: Boolean scalar.
        step: Function to call where the predicate is true.
        otherwise: Function to call where it is false; it returns tensors of the same shapes.

    Returns:
        The result of the step that was called.
    """
    return ops.cond(predicate, step, otherwise)


def jit(function: Callable) -> Callable:
    """The function compiled for tensors; a new batch size does not compile it anew."""
    return tf.function(function, reduce_retracing=True)


def tensor(value: Any, dtype: str | None = None) -> Tensor:
    """A NumPy array as a tensor.

    Args:
        value: Array, number, or nested sequence of numbers.
        dtype: Type of the tensor; None: the array's.

    Returns:
        A tensor on the engine's default device.
    """
    return tf.constant(value, dtype)


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of the engine."""
    return isinstance(value, tf.Tensor)


def is_symbolic(value: Any) -> bool:
    """Whether a value has no numbers yet: a tensor of a function that is being traced, or Keras' own symbol."""
    return isinstance(value, keras.KerasTensor) or (isinstance(value, tf.Tensor) and not hasattr(value, "numpy"))


def is_dataset(value: Any) -> bool:
    """Whether a value is a `tf.data.Dataset`."""
    return isinstance(value, tf.data.Dataset)


def watched_dataset(
    dataset: tf.data.Dataset, is_good: Callable[[Any], Tensor], complain: Callable[[Any], None]
) -> tf.data.Dataset:
    """A dataset each of whose batches is checked while it is read.

    The check runs in the dataset's own threads, in compiled code; Python is called for a bad batch only.

    Args:
        dataset: Batches.
        is_good: Function from a batch of tensors to a boolean scalar.
        complain: Function of a bad batch, of NumPy arrays; it raises.

    Returns:
        The same batches; reading a bad one raises.
    """
    spec = dataset.element_spec

    def checked(*batch):
        whole = batch if isinstance(spec, tuple) else batch[0]
        flat = tf.nest.flatten(whole)

        def complaint():
            def raising(*arrays):
                complain(tf.nest.pack_sequence_as(whole, arrays))
                return True

            return tf.numpy_function(raising, flat, tf.bool)

        with tf.control_dependencies([tf.cond(is_good(whole), lambda: True, complaint)]):
            return tf.nest.map_structure(tf.identity, whole)

    return dataset.map(checked, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def of_length(dataset: tf.data.Dataset, n: int) -> tf.data.Dataset:
    """The first n elements of a dataset, which knows that it has n: Keras takes another for one that ends too soon."""
    return dataset.take(n).apply(tf.data.experimental.assert_cardinality(n))


def after(data: Any) -> contextlib.AbstractContextManager[Any]:
    """Context whose operations wait for data: in a compiled function, counts and random states would go on without it.

    Args:
        data: Tensors in tuples and dicts; None is skipped.
    """
    return tf.control_dependencies([value for value in tf.nest.flatten(data) if is_tensor(value)])


def length(x: Tensor) -> Tensor:
    """The number of examples of a tensor, whose rank need not be known before it comes."""
    return tf.shape(x)[0]


def has_shape(x: Tensor, expected: Sequence[int]) -> Tensor:
    """Whether the examples of a tensor, whose shape is not known before it comes, have a shape."""
    shape = tf.shape(x)
    return tf.cond(
        tf.equal(tf.size(shape), len(expected) + 1),
        lambda: tf.reduce_all(tf.equal(shape[1:], tf.constant(list(expected)))),
        lambda: tf.constant(False),
    )


def saved_function(path: Any) -> Callable[[Any], Any]:
    """The function of a SavedModel that serves: from the value of its first input to its outputs by name.

    Args:
        path: Folder of the SavedModel.
    """
    loaded = tf.saved_model.load(str(path))
    signatures = loaded.signatures
    served = signatures.get("serving_default") or signatures[next(iter(signatures))]
    (name, spec), *_ = served.structured_input_signature[1].items()

    def call(value):
        return served(**{name: tf.cast(value, spec.dtype)})

    call.loaded = loaded  # whose variables would go with it
    return call


def replicas() -> int:
    """The number of devices that train in step, each on its share of a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def summed_over_replicas(value: Tensor) -> Tensor:
    """The sum of a tensor over all devices that train in step."""
    context = tf.distribute.get_replica_context()
    return value if replicas() == 1 or context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


class SeedGenerator(keras.random.SeedGenerator):
    """Keras' seed generator, whose draws differ between devices that train in step: each folds its number in."""

    def next(self, ordered: bool = True) -> Tensor:
        seed = super().next(ordered)
        context = tf.distribute.get_replica_context()
        if replicas() == 1 or context is None:
            return seed
        number = tf.cast(context.replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([number * tf.constant(_BETWEEN_REPLICAS, seed.dtype), tf.zeros_like(number)])


def has_gpu() -> bool:
    """Whether the engine sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def gpu_name() -> str | None:
    """The name of the first GPU; None where the engine sees none."""
    devices = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(devices[0]).get("device_name", "GPU") if devices else None


def versions() -> dict[str, str]:
    """The versions of the engine and of Keras."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def float_operations(network: keras.Model) -> int:
    """The floating-point operations of one example's way through a Functional network.

    Args:
        network: The network.

    Returns:
        The count of TensorFlow's profiler, which takes a product and a sum for two operations.
    """
    inputs = [tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for tensor in network.inputs]

    def call(*values):
        return network(list(values) if len(inputs) > 1 else next(iter(values)))

    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    graph = tf.function(call, autograph=False).get_concrete_function(*inputs).graph
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # the profiler calls deprecated functions of its own
    try:
        return int(profiler.profile(graph, options=options).total_float_ops)
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def whole_float32() -> Iterator[None]:
    """Context without TensorFloat-32, whose 10 bits a GPU multiplies in by default: a card's numbers are float32's."""
    setting = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(setting)


def use_one_core() -> None:
    """Holds this process to one core, before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


_BUILDING = threading.RLock()  # held while `at_most` counts


@contextlib.contextmanager
def at_most(n: int) -> Iterator[None]:
    """Context in which the layers of this thread may make weights of `n` numbers in all, counted before they are made.

    Args:
        n: Greatest count of numbers.

    Raises:
        ZooError: The layers ask for more.
    """
    thread, made, add_weight = threading.get_ident(), 0, keras.layers.Layer.add_weight

    @functools.wraps(add_weight)
    def counted(self, *args, shape=None, **kwargs):
        nonlocal made
        asked = args[0] if shape is None and args else shape
        if threading.get_ident() == thread and not isinstance(asked, str):
            sides = (asked,) if isinstance(asked, int) else tuple(asked or ())
            made += math.prod(int(side) for side in sides)
            if made > n:
                raise ZooError(
                    f"the networks would have more than {n:,} parameters, {4 * n / 1e9:g} GB of float32: the layer "
                    f"{self.name!r} alone asks for a weight of the shape {sides}; lower its size"
                )
        return add_weight(self, *args, shape=shape, **kwargs)

    with _BUILDING:
        keras.layers.Layer.add_weight = counted
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight


# === Keras' private attributes ===


def is_called_by_fit(arguments: dict[str, Any]) -> bool:
    """Whether the keyword arguments of `evaluate` come from Keras' own call inside `fit`."""
    return _EVALUATED_BY_FIT in arguments


def random_states(model: keras.Model) -> list:
    """The states of the seed generators in a model's layers; Keras does not save them with the weights."""
    return [
        generator.state for layer in model._flatten_layers() for generator in getattr(layer, "_seed_generators", ())
    ]


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """A model and all layers within it, each before those in it, in the order in which they were made."""
    return list(model._flatten_layers())


def own_loss_metric(model: keras.Model) -> Any:
    """Keras' own running mean of a loss, which the zoo's models do not use; None before `compile`."""
    return model._loss_tracker if model.compiled else None


def learning_rate_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """An optimizer's learning rate as it was given: a variable or a schedule. `learning_rate` would be its value."""
    return optimizer._learning_rate


def array(value: Tensor) -> np.ndarray:
    """A tensor or a variable as a NumPy array."""
    return ops.convert_to_numpy(value)
