"""20,000 people who do not exist and 2,000 more to test with, rendered in colour with 26 known factors.

The package brings the first 500 of the test split.
"""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.data import bundled, packed
from keras_genzoo.errors import MissingDataError, ZooError

NAME = "people"
SPLITS = ("train", "test")
N_BUNDLED, _N_TEST = 500, 2000  # test people: those in the package, and all
_BUNDLED = bundled.BUNDLED / "people" / "test500.npz"
_BUNDLED_SHA256 = "61502cb807b105445c13e6ed0f24fe7051e0a322fff06c02e96b5de59e546208"


def arrays(
    name: str, split: str, *, data_dir: str | None, image_shape: tuple[int, int, int] | None, **_: Any
) -> tuple[np.ndarray, None]:
    """The images of a split.

    Args:
        name: "people".
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
        image_shape: Shape to which images are stretched, `(H, W, C)`; None: their own, `(64, 64, 3)`.

    Returns:
        `(images, None)`: uint8 `(n, H, W, C)`, and no labels. Where the file is not here, the test images are the 500
        bundled ones, and a warning says so.

    Raises:
        ZooError: No such split, or a damaged file.
        MissingDataError: The file is not here, and the split is "train".
    """
    path = _file(split, data_dir)
    if path == _BUNDLED:
        warnings.warn(
            f"The people are the {N_BUNDLED} bundled test images, not all {_N_TEST:,}; {_cure(split, data_dir)}",
            stacklevel=3,
        )
    return _images(path, tuple(image_shape) if image_shape else None), None


def factors(name: str, split: str, *, data_dir: str | None) -> tuple[np.ndarray, list[str]]:
    """What each image of `arrays(name, split)` was rendered from.

    Args:
        name: "people".
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.

    Returns:
        `(values, names)`: float32 `(n, 26)`, and the names of the columns. Yaw, pitch and roll are in radians, `smile`
        goes from -0.8, a frown, to 1; `shape_0` to `shape_9` are the first coefficients of the head's shape.

    Raises:
        ZooError, MissingDataError: As `arrays`.
    """
    values, names = packed.beside(_file(split, data_dir), "factors", "names")
    return values.astype("float32"), [str(name) for name in names]


def is_bundled_part(split: str, *, data_dir: str | None) -> bool:
    """Whether `arrays` gives the bundled images of a split alone.

    Args:
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
    """
    return split == "test" and _file(split, data_dir) == _BUNDLED


def _file(split, data_dir):
    """The file of a split, or of its bundled part."""
    if split not in SPLITS:
        raise ZooError(f"{NAME} has the splits {', '.join(SPLITS)}. Received: {split!r}")
    path = Path(data_dir, NAME, f"{split}.npz") if data_dir else None
    if path and path.is_file():
        return path
    if split == "train":
        raise MissingDataError(
            f"Data set {NAME!r} is missing; {_cure(split, data_dir)}. The package brings {N_BUNDLED} test images "
            "alone, to plot, export and evaluate with"
        )
    return packed.bundled(_BUNDLED, _BUNDLED_SHA256)


def _cure(split, data_dir):
    """The end of a message about a missing file."""
    return (
        f"looked for {Path(data_dir or 'DIR', NAME, split)}.npz. It is rendered, not downloaded: put train.npz and "
        "test.npz there, and set KERAS_GENZOO_DATA=DIR or give --data-dir"
    )


@functools.lru_cache(maxsize=2)
def _images(path, image_shape):
    stored = packed.read(path)
    images = packed.decoded(stored, np.arange(len(stored["offsets"]) - 1), path=path)
    return packed.stretched(images, image_shape)
