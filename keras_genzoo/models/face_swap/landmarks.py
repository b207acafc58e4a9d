"""Landmarks of the faces in images: those that PNG files carry as text, and those of the rendered people's data."""

import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.data import data_directory, folder, rendered
from keras_genzoo.typing import PathLike

KEY = "face_landmarks"  # key of the text in a PNG, see `text`
_DIGITS = 4  # decimals of a landmark in sides of the image: a tenth of a pixel in 1,000


def text(points: np.ndarray, pixels: np.ndarray) -> str:
    """The landmarks of a face as a PNG's text, tied to its pixels: programs that crop a picture keep its text.

    Args:
        points: x and y of the landmarks, `(n, 2)`, in sides of the image.
        pixels: The image, uint8 `(H, W, 3)`.

    Returns:
        JSON of the points and of the pixels' checksum.
    """
    return json.dumps({"points": np.round(points, _DIGITS).tolist(), "pixels": _checksum(pixels)})


def read(image: Any) -> np.ndarray | None:
    """The landmarks that a Pillow image carries.

    Args:
        image: A Pillow image.

    Returns:
        `(n, 2)` float32, x and y in sides of the image; None where it has none, or has changed since they were written.
    """
    try:
        content = json.loads(getattr(image, "text", {})[KEY])
        points = np.array(content["points"], "float32")
        if content["pixels"] != _checksum(image):
            return None
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):  # the text may hold anything
        return None
    return points if points.ndim == 2 and points.shape[1] == 2 and np.isfinite(points).all() else None


def of_data(
    name: str,
    split: str,
    *,
    data_dir: PathLike | None = None,
    image_shape: tuple[int, int, int],
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Landmarks and poses of the images of `data.arrays(name, split)`.

    The rendered people have 68 landmarks and a pose. A folder has the five landmarks that `faces.extract` writes, where
    all of its files carry them.

    Args:
        name: Name of a data set.
        split: "train" or "test".
        data_dir, image_shape, resize, ground, cache: As in `data.load`.

    Returns:
        `(landmarks, pose)`, float32, each None where it is not known. Landmarks are `(n, points, 2)`, x and y in pixels
        of images of `image_shape`; a pose is `(n, 3)`, yaw, pitch and roll in degrees.

    Raises:
        ZooError: A bad folder or split.
        MissingDataError: The rendered people are not here.
    """
    if name in rendered.PEOPLE:
        return rendered.marks(name, split, data_dir=data_directory(data_dir), image_shape=image_shape)
    if not name.startswith(folder.PREFIX):
        return None, None
    files = folder.readable_files(name, split, image_shape=image_shape, resize=resize, ground=ground, cache=cache)
    arrays = [_of_file(file) for file in files]
    points = [array for array in arrays if array is not None]
    without = [file for file, array in zip(files, arrays, strict=True) if array is None]
    if 0 < len(without) < len(files):
        warnings.warn(
            f"{len(without)} of {len(files)} files carry no landmarks, so that those of the others are not used. "
            f"The first: {without[0]}",
            stacklevel=2,
        )
    if without or len({array.shape for array in points}) != 1:
        return None, None
    return np.stack(points) * np.array([image_shape[1], image_shape[0]], "float32") - 0.5, None


def _of_file(file: Path) -> np.ndarray | None:
    with folder.opened(file) as image:
        return read(image)


def _checksum(pixels: Any) -> int:
    """CRC-32 of an image's pixels, in rows."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)
