"""Pictures as WebP, one after the other in one array of bytes: the form in which small images take the least place.

A file `NAME.npz` has `webp`, uint8, and `offsets`, int64 `(n + 1,)`: picture i is `webp[offsets[i]:offsets[i + 1]]`.
"""

import contextlib
import functools
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_genzoo.data import folder
from keras_genzoo.errors import MissingDataError, ZooError
from keras_genzoo.typing import PathLike

GROUNDS = ("white", "black", "drawn")  # what is laid behind transparent pixels


def read(path: PathLike) -> dict[str, np.ndarray]:
    """The pictures of a file.

    Args:
        path: The .npz file.

    Returns:
        `webp` and `offsets`.

    Raises:
        ZooError: The file is damaged.
    """
    with _stored(path) as stored:
        webp, offsets = stored["webp"], stored["offsets"]
        if offsets[0] != 0 or offsets[-1] != len(webp) or np.any(np.diff(offsets) < 1):
            raise ValueError("its offsets are not those of its bytes")
    return {"webp": webp, "offsets": offsets}


def beside(path: PathLike, *names: str) -> list[np.ndarray]:
    """Other arrays of a file; its pictures are not read.

    Args:
        path: The .npz file.
        *names: Names of the arrays.

    Raises:
        ZooError: The file is damaged.
    """
    with _stored(path) as stored:
        return [stored[name] for name in names]


@contextlib.contextmanager
def _stored(path):
    """The content of an .npz file; what is wrong with it is an error that names the file."""
    try:
        with np.load(path) as stored:
            yield stored
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise ZooError(f"{path} is damaged: {error}; fetch it again") from None


def decoded(arrays: Mapping[str, np.ndarray], rows: np.ndarray, *, path: PathLike) -> np.ndarray:
    """Some pictures of a file, which all have one size.

    Args:
        arrays: Arrays of `read`.
        rows: Numbers of the pictures, `(n,)`.
        path: The file, for errors.

    Returns:
        uint8 `(n, H, W, 3)`, or `(n, H, W, 4)` where they are transparent.

    Raises:
        ZooError: A picture is damaged.
    """
    from PIL import Image

    webp, offsets = arrays["webp"], arrays["offsets"]
    pictures = []
    for row in rows:
        content = webp[offsets[row] : offsets[row + 1]].tobytes()
        try:
            with Image.open(io.BytesIO(content), formats=("WEBP",)) as image:
                pictures.append(np.asarray(image))
        except Exception as error:  # of many kinds
            raise ZooError(f"{path} is damaged: picture {row}: {error}; fetch it again") from None
    deepest = max(picture.shape[-1] for picture in pictures)
    for i, picture in enumerate(pictures):
        if picture.shape[-1] < deepest:  # WebP leaves out an alpha that hides nothing
            pictures[i] = np.concatenate([picture, np.full_like(picture[..., :1], 255)], -1)
    return np.stack(pictures)


def laid(images: np.ndarray, ground: str, *, rows: np.ndarray) -> np.ndarray:
    """Transparent pictures on a ground.

    Args:
        images: uint8 `(n, H, W, 4)`.
        ground: One of `GROUNDS`; "drawn" is a colour of each picture's own, a function of its number alone.
        rows: Number of each picture, `(n,)`.

    Returns:
        uint8 `(n, H, W, 3)`.
    """
    if ground == "drawn":
        colours = np.stack([np.random.default_rng(int(row)).integers(0, 256, 3) for row in rows])[:, None, None]
    else:
        colours = 255.0 * (ground == "white")
    alpha = images[..., 3:].astype("float32") / 255
    return np.round(images[..., :3] * alpha + colours * (1 - alpha)).astype("uint8")


def stretched(images: np.ndarray, image_shape: tuple[int, int, int] | None) -> np.ndarray:
    """Images at another shape, each side scaled on its own.

    Args:
        images: uint8 `(n, H, W, 3)`.
        image_shape: Shape of the result, `(height, width, channels)` with 1 or 3 channels; None: as they are.

    Returns:
        uint8 `(n, height, width, channels)`.
    """
    from PIL import Image

    if image_shape is None or tuple(image_shape) == images.shape[1:]:
        return images
    return np.stack([folder.fitted(Image.fromarray(image), image_shape, "stretch") for image in images])


@functools.lru_cache(maxsize=8)
def bundled(path: Path, sha256: str) -> Path:
    """The path of a file of the package, once its SHA-256 is right.

    Args:
        path: The file.
        sha256: Hex SHA-256 of the file.

    Raises:
        MissingDataError: No such file.
        ZooError: Another SHA-256.
    """
    if not path.is_file():
        raise MissingDataError(f"{path} is missing from the installation; reinstall keras_genzoo")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ZooError(f"{path} is damaged: its SHA-256 is another; reinstall keras_genzoo")
    return path
