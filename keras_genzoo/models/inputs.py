"""What users bring to a model's doors: images, labels, codes and weights, checked in whatever form they come.

Arrays are checked whole, before anything moves. A dataset, a `PyDataset` or a generator is checked by what it declares,
and then batch by batch as it is read: a bad batch never reaches a training step.
"""

import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_genzoo import engine
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike, Tensor

_TOP_OF_8_BITS = 255


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        shape: Shape of an example, without the batch.
        dtype: Type that networks take.
        declared: Check of `(shape, dtype name, argument)`; raises `ZooError`. Dimensions that are not known are None.
        whole: Check of `(array, argument)`, whose shape and dtype are right; raises `ZooError`.
        is_good: Function from a tensor, in a compiled function, to a boolean scalar: what `whole` lets pass.
    """

    shape: tuple[int, ...]
    dtype: str
    declared: Callable[[tuple, str, str], None]
    whole: Callable[[np.ndarray, str], None]
    is_good: Callable[[Tensor], Tensor]


class Part(NamedTuple):
    """A part of what came in.

    Attributes:
        kind: Kind of the part.
        value: Array, tensor, or what a dataset declares of it.
        argument: Name of the part in errors.
    """

    kind: Kind
    value: Any
    argument: str

    def check_declared(self) -> None:
        """Checks what is known without the values."""
        shape, dtype = self.value.shape, self.value.dtype
        if getattr(shape, "rank", 0) is None:
            return  # nothing is declared: the batches are looked at
        self.kind.declared(tuple(shape), getattr(dtype, "name", str(dtype)), self.argument)

    def check(self) -> None:
        """Checks an array or a tensor with values."""
        array = np.asarray(self.value)
        self.kind.declared(array.shape, array.dtype.name, self.argument)
        if len(array) == 0:
            raise ZooError(f"`{self.argument}` is empty; at least one example is needed.")
        self.kind.whole(array, self.argument)


def images(image_shape: tuple[int, int, int]) -> Kind:
    """The kind of images `(n, H, W, C)` in [0, 1].

    Args:
        image_shape: `(H, W, C)`.
    """

    def declared(shape, dtype, argument):
        if len(shape) != 4 or not _fits(shape[1:], image_shape):
            expected = ", ".join(map(str, image_shape))
            raise ZooError(f"`{argument}` must have shape (n, {expected}). Received: {shape}")
        if not dtype.startswith(("float", "bfloat")):
            raise ZooError(
                f"`{argument}` must be floating point in [0, 1]. Received: dtype {dtype}; "
                "use images.astype('float32') / 255 for 8-bit images"
            )

    def whole(array, argument):
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ZooError(f"`{argument}` must be finite. Received: NaN or infinity")
        if low < 0 or high > 1:
            remedy = "divide 8-bit images by 255" if low >= 0 and high <= _TOP_OF_8_BITS else "scale them to [0, 1]"
            raise ZooError(f"`{argument}` must be in [0, 1]. Received: [{low:g}, {high:g}]; {remedy}")

    def is_good(x):
        x = ops.cast(x, "float32")
        # NaN is neither at least 0 nor at most 1.
        return _has_shape(x, image_shape) & ops.all((x >= 0) & (x <= 1))

    return Kind(tuple(image_shape), "float32", declared, whole, is_good)


def labels(n_classes: int) -> Kind:
    """The kind of labels, `(n,)` or `(n, 1)` integers in `range(n_classes)`.

    Args:
        n_classes: Number of classes.
    """

    def declared(shape, dtype, argument):
        expected = f"`{argument}` must be labels: integers in 0..{n_classes - 1} of shape (n,)"
        if len(shape) == 2 and shape[1] == n_classes and n_classes > 1:
            raise ZooError(f"{expected}. Received: shape {shape}; of one-hot labels take labels.argmax(1)")
        if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
            raise ZooError(f"{expected}. Received: shape {shape}")
        if not _is_integer(dtype):
            raise ZooError(f"{expected}. Received: dtype {dtype}; use labels.astype('int64') for whole numbers")

    def whole(array, argument):
        if array.min() < 0 or array.max() >= n_classes:
            raise ZooError(f"`{argument}` must be labels in 0..{n_classes - 1}. Received: {array.min()}..{array.max()}")

    def is_good(y):
        return ops.all(y >= 0) & ops.all(y < n_classes)

    return Kind((), "int32", declared, whole, is_good)


def codes(size: int) -> Kind:
    """The kind of codes, `(n, size)` finite numbers.

    Args:
        size: Length of a code.
    """

    def declared(shape, dtype, argument):
        if len(shape) != 2 or not _fits(shape[1:], (size,)) or shape[0] == 0:
            raise ZooError(f"`{argument}` must have shape (n, {size}) with n >= 1. Received: shape {shape}")
        if not dtype.startswith(("float", "bfloat", "int", "uint")):
            raise ZooError(f"`{argument}` must be numbers. Received: dtype {dtype}")

    return Kind((size,), "float32", declared, _finite, lambda z: _has_shape(z, (size,)) & _is_finite(z))


def rows(*shape: int) -> Kind:
    """The kind of finite numbers beside each example, `(n, ...)`.

    Args:
        *shape: Shape of an example's numbers; none: one number, `(n,)`.
    """

    def declared(received, dtype, argument):
        is_column = not shape and len(received) == 2 and received[1] == 1
        if not is_column and (len(received) != len(shape) + 1 or not _fits(received[1:], shape)):
            expected = "".join(f", {side}" for side in shape) or ","
            raise ZooError(f"`{argument}` must have shape (n{expected}). Received: {received}")
        if not dtype.startswith(("float", "bfloat", "int", "uint", "bool")):
            raise ZooError(f"`{argument}` must be numbers. Received: dtype {dtype}")

    return Kind(shape, "float32", declared, _finite, _is_finite)


def factors(size: int) -> Kind:
    """The kind of factors, `(n, size)` finite numbers, or NaN where one is not known.

    Args:
        size: Number of factors.
    """
    plain = rows(size)

    def whole(array, argument):
        if np.isinf(array).any():
            raise ZooError(f"`{argument}` must be finite, or NaN where a factor is not known. Received: infinity")

    def is_good(x):
        return ops.logical_not(ops.any(ops.isinf(ops.cast(x, "float32"))))

    return plain._replace(whole=whole, is_good=is_good)


def weights() -> Kind:
    """The kind of weights of examples: `(n,)` or `(n, 1)` numbers >= 0, whose sum float32 holds."""
    plain = rows()

    def whole(array, argument):
        plain.whole(array, argument)
        if array.astype("float64").min() < 0:
            raise ZooError(f"`{argument}` must be >= 0. Received: {array.min():g}")
        with np.errstate(over="ignore"):
            if not np.isfinite(array.astype("float32").sum(dtype="float32")):
                raise ZooError(f"`{argument}` must have a sum that float32 holds. Received: up to {array.max():g}")

    def is_good(w):
        w = ops.cast(w, "float32")
        return ops.all(w >= 0) & ops.isfinite(ops.sum(w))

    return Kind((), "float32", plain.declared, whole, is_good)


def left_aside() -> Kind:
    """The kind of labels that a model has no use for: `(n,)` or `(n, 1)` integers of any value."""

    def declared(shape, dtype, argument):
        if not _is_integer(dtype) or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
            raise ZooError(
                f"`{argument}` must be target images, or integer labels of shape (n,), which this model leaves aside. "
                f"Received: shape {shape}, dtype {dtype}; leave `{argument}` out"
            )

    return Kind((), "int64", declared, lambda array, argument: None, lambda y: ops.convert_to_tensor(True))


def are_images(value: Any) -> bool:
    """Whether an array, a tensor, or what a dataset declares has the rank of images."""
    return (value.shape.rank if hasattr(value.shape, "rank") else len(value.shape)) == 4


def require_array(value: Any, argument: str) -> None:
    """Refuses a part that is no array, no tensor, and no declaration of one.

    Args:
        value: The part.
        argument: Its name in errors.

    Raises:
        ZooError: A dict, several arrays, or something else.
    """
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        received = f"a {type(value).__name__}"
        if isinstance(value, dict):
            received += f" of {sorted(map(str, value))}"
        raise ZooError(f"`{argument}` must be one array. Received: {received}")


def check_lengths(parts: list[Part]) -> None:
    """Refuses parts of different numbers of examples, as far as these are known: one would be used for all.

    Args:
        parts: Parts of a batch, or of what a user gives.

    Raises:
        ZooError: They differ.
    """
    lengths = {}
    for part in parts:
        shape = part.value.shape
        if (shape.rank if hasattr(shape, "rank") else len(shape)) and shape[0] is not None:
            lengths.setdefault(int(shape[0]), part.argument)
    if len(lengths) > 1:
        said = ", ".join(f"{n} of `{argument}`" for n, argument in lengths.items())
        raise ZooError(f"All parts must have as many examples. Received: {said}")


def is_array(value: Any) -> bool:
    """Whether a value is an array: NumPy's, a tensor, or another that NumPy reads."""
    return isinstance(value, np.ndarray) or engine.is_tensor(value) or hasattr(value, "__array__")


def as_array(value: Any) -> Any:
    """Numbers in lists as an array; a list of one array as that array; anything else as it is."""
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) == 1 and (is_array(value[0]) or isinstance(value[0], dict)):
        return value[0]
    if value and all(isinstance(item, (int, float, bool, np.number)) for item in value):
        return np.asarray(value)
    return value


class Complaints:
    """Context around a run of the engine: a complaint about a batch reaches the user as it was raised.

    The engine reads batches in functions of its own, and wraps what they raise in an error of its own.
    """

    def __init__(self):
        self._first: ZooError | None = None

    def __enter__(self) -> "Complaints":
        return self

    def __exit__(self, kind, error, _) -> None:
        if self._first is not None and error is not None and error is not self._first:
            raise self._first from None

    def keeping(self, check: Callable[..., None]) -> Callable[..., None]:
        """A check whose first complaint is kept for the end of the context.

        Args:
            check: Function that raises `ZooError`.
        """

        def kept(*arguments):
            try:
                check(*arguments)
            except ZooError as error:
                self._first = self._first or error
                raise

        return kept


def watched(source: Any, parts_of: Callable[[Any], list[Part]], complaints: Complaints) -> Any:
    """A source of batches that is checked as it is read; another object as it is.

    Args:
        source: A dataset, a `keras.utils.PyDataset`, a generator, or another object.
        parts_of: Function from a batch, or from what a dataset declares of one, to its parts.
        complaints: Context in which the source is read.

    Returns:
        A source of the same kind.

    Raises:
        ZooError: What a dataset declares is wrong.
    """

    def check(batch):
        parts = parts_of(batch)
        for part in parts:
            part.check()
        check_lengths(parts)

    check = complaints.keeping(check)
    if engine.is_dataset(source):
        declared = parts_of(source.element_spec)
        for part in declared:
            part.check_declared()
        check_lengths(declared)

        def is_good(batch):
            good = ops.convert_to_tensor(True)
            n = None
            for part in parts_of(batch):
                length = engine.length(part.value)
                n = length if n is None else n
                good = good & part.kind.is_good(part.value) & ops.equal(n, length)
            return good

        return engine.watched_dataset(source, is_good, check)
    if isinstance(source, keras.utils.PyDataset):
        return _WatchedPyDataset(source, check)
    if isinstance(source, types.GeneratorType):
        return _each(source, check)
    if type(source).__module__.partition(".")[0] in ("torch", "grain") and hasattr(source, "__iter__"):
        check(_as_numpy(next(iter(source))))  # Keras itself knows these, and would not know a wrapper
    return source


class _WatchedPyDataset(keras.utils.PyDataset):
    """A user's `PyDataset`, each of whose batches is checked."""

    def __init__(self, inner: Any, check: Callable[[Any], None]):
        super().__init__(
            workers=inner.workers,
            use_multiprocessing=inner.use_multiprocessing,
            max_queue_size=inner.max_queue_size,
        )
        self.inner, self.check = inner, check

    def __getitem__(self, index: int) -> Any:
        batch = self.inner[index]
        self.check(batch)
        return batch

    def __len__(self) -> int:
        return len(self.inner)

    @property
    def num_batches(self) -> int | None:
        return self.inner.num_batches

    def on_epoch_begin(self) -> None:
        self.inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.inner.on_epoch_end()


def _each(batches: Iterable[Any], check: Callable[[Any], None]) -> Iterator[Any]:
    for batch in batches:
        check(batch)
        yield batch


def _as_numpy(batch):
    if isinstance(batch, (list, tuple)):
        return tuple(_as_numpy(part) for part in batch)
    return np.asarray(batch)


def _fits(shape, expected):
    """Whether a shape is the expected one, as far as it is known."""
    return len(shape) == len(expected) and all(
        side is None or side == other for side, other in zip(shape, expected, strict=True)
    )


def _has_shape(x, expected):
    """Whether the examples of a tensor have a shape: known when a function is traced, or else a tensor."""
    if x.shape.rank is not None and None not in x.shape[1:]:
        return ops.convert_to_tensor(tuple(x.shape[1:]) == tuple(expected))
    return engine.has_shape(x, expected)


def _is_integer(dtype):
    return dtype.startswith(("int", "uint"))


def _finite(array, argument):
    if not np.isfinite(array.astype("float64")).all():
        raise ZooError(f"`{argument}` must be finite. Received: NaN or infinity")


def _is_finite(x):
    return ops.all(ops.isfinite(ops.cast(x, "float32")))


def check(kind: Kind, value: ArrayLike, argument: str) -> np.ndarray:
    """An array of a kind, checked.

    Args:
        kind: Kind of the array.
        value: Array or tensor of the user's.
        argument: Its name in errors.

    Returns:
        The array, of its own dtype.

    Raises:
        ZooError: Wrong shape, dtype or values, or no example.
    """
    array = np.asarray(value)
    Part(kind, array, argument).check()
    return array
