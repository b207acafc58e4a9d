"""Arrays of a user's own as a data set of this process: "arrays:DIGEST"."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_genzoo.errors import MissingDataError, ZooError

PREFIX = "arrays:"  # start of the names of held arrays
UNNAMED = "own"  # data set of a model whose maker has named none
SPLITS = ("train", "test")
_HELD: dict[str, dict[str, tuple[np.ndarray, np.ndarray | None]]] = {}


def hold(content: Any) -> str:
    """Keeps arrays under a name that `data.arrays` and a model's measures know.

    Args:
        content: Images, or `(images, labels)`, which become the split "test"; or a dict of them by split, "train" and
            "test". Images are uint8, or floating point in [0, 1], `(n, H, W, C)`; labels are `(n,)` integers.

    Returns:
        The name, the same for the same arrays.

    Raises:
        ZooError: Something else.
    """
    by_split = content if isinstance(content, Mapping) else {"test": content}
    if not by_split or set(by_split) - set(SPLITS):
        raise ZooError(f"`data` as a dict has the keys {', '.join(SPLITS)}. Received: {sorted(map(str, by_split))}")
    splits: dict[str, tuple[Any, Any]] = {split: _checked(value, split) for split, value in by_split.items()}
    digest = hashlib.sha256()
    for split, parts in sorted(splits.items()):
        for array in parts:
            digest.update(f"{split} {None if array is None else (array.shape, array.dtype.str)}".encode())
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    name = PREFIX + digest.hexdigest()[:12]
    _HELD[name] = splits
    return name


def arrays(
    name: str, split: str, *, image_shape: tuple[int, int, int] | None, **_: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays of a split.

    Args:
        name: Name that `hold` gave.
        split: "train" or "test".
        image_shape: Shape that the images must have; None: any.

    Returns:
        `(images, labels)`.

    Raises:
        MissingDataError: They were held by another process, or have no such split.
        ZooError: Images of another shape.
    """
    splits = _HELD.get(name)
    if splits is None:
        raise MissingDataError(f"The arrays {name!r} were given to another process; give data= again")
    if split not in splits:
        raise MissingDataError(f"The arrays of `data` have no split {split!r}; give data={{'train': ..., 'test': ...}}")
    images, labels = splits[split]
    if image_shape is not None and images.shape[1:] != tuple(image_shape):
        raise ZooError(f"`data` must hold images of shape {tuple(image_shape)}. Received: {images.shape[1:]}")
    return images.view(), labels  # a view, for `data.arrays` forbids to write, and these are the user's own


def nothing(name: str, split: str, **_: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The data set of a model whose maker has named none: there is none to be had.

    Raises:
        MissingDataError: Always, with the way to give one.
    """
    raise MissingDataError(
        "The model's data set is not known: give one as `data=`, arrays or a name, or --data on the command line"
    )


def _checked(value, split):
    """A split as `(images, labels)`."""
    images, labels = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, None)
    try:
        images = np.asarray(images)
    except ValueError:
        images = np.empty(0, object)
    if images.ndim != 4 or len(images) == 0 or not (images.dtype == "uint8" or images.dtype.kind == "f"):
        raise ZooError(
            f"`data` ({split}) must be images (n, H, W, C) of uint8, or floating point in [0, 1], n >= 1. Received: "
            f"shape {images.shape}, dtype {images.dtype}"
        )
    if images.dtype != "uint8":
        images = images.astype("float32")
        if not (images.min() >= 0 and images.max() <= 1):  # NaN is neither
            raise ZooError(f"`data` ({split}) must be in [0, 1] or uint8. Received: [{images.min()}, {images.max()}]")
    if labels is None:
        return images, None
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ZooError(
            f"Labels of `data` ({split}) must be {len(images)} integers. Received: shape {labels.shape}, {labels.dtype}"
        )
    return images, labels.astype("int64")
