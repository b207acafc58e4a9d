"""Two people who do not exist, rendered with ICT-FaceKit in the same poses: images, landmarks and poses.

The package brings the first pairs of the test split, so that a swap can be tried and measured anywhere.
"""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.data import bundled, packed
from keras_genzoo.errors import MissingDataError, ZooError

PEOPLE = {"rendered_faces_a": "a", "rendered_faces_b": "b"}  # data set -> person
_FILE = Path("faces", "faces_ab.npz")  # in the folder of data sets
N_BUNDLED, _N_TEST = 20, 200  # pairs of the test split: those in the package, and all
_BUNDLED = bundled.BUNDLED / "rendered_faces" / "faces_ab_test20.npz"
_BUNDLED_SHA256 = "dd81b43347f73d9cf2e6a0bb36a123ffde9afe26d90e8f9ce8f5202b8c624760"
_SIDE = 96  # pixels along each side of an image in the file


def arrays(
    name: str, split: str, *, data_dir: str | None, image_shape: tuple[int, int, int] | None, **_: Any
) -> tuple[np.ndarray, None]:
    """Images of one person.

    Args:
        name: Key of `PEOPLE`.
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
        image_shape: Shape to which images are stretched, `(H, W, 3)`; None: the shape in the file.

    Returns:
        `(images, None)`: uint8 `(n, H, W, 3)`, and no labels. Where the file is not here, the test images are the
        bundled ones, and a warning says so.

    Raises:
        ZooError: No such split, or a damaged file.
        MissingDataError: The file is not here, and the split is "train".
    """
    shape = tuple(image_shape) if image_shape else None
    if is_bundled_part(split, data_dir=data_dir):
        warnings.warn(
            f"The rendered faces are the {N_BUNDLED} bundled test pairs, not all {_N_TEST}; {_cure(data_dir)}",
            stacklevel=3,
        )
    return _images(_file(name, split, data_dir), PEOPLE[name], split, shape), None


def marks(
    name: str, split: str, *, data_dir: str | None, image_shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks and poses of the images of `arrays(name, split)`.

    Args:
        name: Key of `PEOPLE`.
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
        image_shape: Shape of the images, `(H, W, C)`.

    Returns:
        `(landmarks, pose)` float32: 68 landmarks in iBUG order, `(n, 68, 2)`, x and y in pixels of images of
        `image_shape`; and yaw, pitch and roll in degrees, `(n, 3)`. Image i of the test splits of both people has the
        same pose.

    Raises:
        ZooError: No such split, or a damaged file.
        MissingDataError: The file is not here, and the split is "train".
    """
    key, path = f"{split}_{PEOPLE[name]}", _file(name, split, data_dir)
    landmarks, pose = (array.astype("float32") for array in packed.beside(path, f"{key}_landmarks68", f"{key}_pose"))
    scale = np.array([image_shape[1], image_shape[0]], "float32") / _SIDE
    return (landmarks + 0.5) * scale - 0.5, np.degrees(pose)


def is_bundled_part(split: str, *, data_dir: str | None) -> bool:
    """Whether `arrays` gives the bundled pairs of a split alone.

    Args:
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
    """
    return split == "test" and not _is_here(data_dir)


def _is_here(data_dir):
    """Whether the file of all images is in the folder of data sets."""
    return data_dir is not None and Path(data_dir, _FILE).is_file()


def _file(name, split, data_dir):
    """The file of the rendered people, or of the bundled part of them, if the split is one of its."""
    if split not in ("train", "test"):
        raise ZooError(f"{name} has the splits train, test. Received: {split!r}")
    if _is_here(data_dir):
        return str(Path(data_dir, _FILE))
    if split == "train":
        raise MissingDataError(
            f"Data set {name!r} is missing; {_cure(data_dir)}. The package brings {N_BUNDLED} test pairs alone, "
            "to plot, export and evaluate with"
        )
    return str(packed.bundled(_BUNDLED, _BUNDLED_SHA256))


def _cure(data_dir):
    """The end of a message about the missing file."""
    return (
        f"looked for {Path(data_dir or 'DIR', _FILE)}. It is rendered, not downloaded: put faces_ab.npz there, and set "
        "KERAS_GENZOO_DATA=DIR or give --data-dir"
    )


@functools.lru_cache(maxsize=4)
def _images(path, person, split, image_shape):
    """The images of one person and split."""
    (images,) = packed.beside(path, f"{split}_{person}")
    return packed.stretched(images, image_shape)
