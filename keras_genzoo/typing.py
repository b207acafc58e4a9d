"""Short names for the types in annotations, which nothing checks at run time; and a bound that many arguments share."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

# A tensor of the engine: eager or symbolic, a variable, or an array that `keras.ops` converts. Keras has no common type
# for these, so that a checker lets anything pass; the shape and the dtype stand in the docstring.
Tensor: TypeAlias = Any

# A part, see `parts`: its name, or a dict of its `name` and its options; None where a part may be missing.
Spec: TypeAlias = Any

# A path of a file or a folder.
PathLike: TypeAlias = str | os.PathLike[str]

# The sizes of an array without its batch axis, such as `(H, W, C)`.
Shape: TypeAlias = Sequence[int]

# A precision policy: its name, such as "mixed_bfloat16", a `keras.DTypePolicy`, or None for Keras' global one.
DType: TypeAlias = Any

# Anything that NumPy turns into an array: an array, a number, or nested sequences of numbers.
if TYPE_CHECKING:
    from numpy.typing import ArrayLike as ArrayLike
else:
    ArrayLike: TypeAlias = Any

MOST_SEED = 2**32 - 1  # greatest seed: NumPy and scikit-learn take no greater one
