"""MNIST, which is bundled with the package, and its static binarisation of the literature."""

import functools
import gzip
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.data import tfds
from keras_genzoo.errors import MissingDataError, ZooError
from keras_genzoo.typing import PathLike

BUNDLED = Path(__file__).parent.parent / "_data"  # folder of the bundled data sets
# Names and SHA-256 of the four original MNIST files, as TFDS has them in url_checksums/mnist.txt.
MNIST_FILES = {
    ("train", "images"): (
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    ("train", "labels"): (
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    ("test", "images"): (
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    ("test", "labels"): (
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
STATIC_MNIST = "binarized_mnist"  # Larochelle & Murray 2011: binarised once and for all
_PACKED = "binarized_mnist_packed.npz"  # file with its pixels as bits, `(n, 98)` bytes per split
_PACKED_SPLITS = {"train": "train", "validation": "valid", "test": "test"}  # TFDS' name of a split -> the file's
_SHAPE = (28, 28, 1)
_IDX_HEADER = 4  # bytes before the shape of an IDX file; the last one is the number of axes
_SHOWN_DIGITS = 12  # hex digits of a hash in an error


@functools.lru_cache(maxsize=2)
def _mnist(split):
    """The images and labels of one split."""
    if (split, "images") not in MNIST_FILES:
        raise ZooError(f"mnist has the splits train, test. Received: {split!r}")
    images, labels = (
        read_idx(BUNDLED / "mnist" / file, sha256)
        for file, sha256 in (MNIST_FILES[split, kind] for kind in ("images", "labels"))
    )
    return images[..., None], labels.astype("int64")


def mnist(name: str, split: str, **_: Any) -> tuple[np.ndarray, np.ndarray]:
    """The 60,000 training or 10,000 test digits.

    Args:
        name: Unused, see `data.SOURCES`.
        split: "train" or "test".

    Returns:
        `(images, labels)`: uint8 `(n, 28, 28, 1)`, int64 `(n,)`.

    Raises:
        ZooError: No such split, or a damaged file.
    """
    return _mnist(split)


def static_mnist(name: str, split: str, *, data_dir: str | None, **_: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Statically binarised MNIST, from a file of packed bits where there is one, else from TFDS.

    Args:
        name: Unused, see `data.SOURCES`.
        split: "train", "validation" or "test".
        data_dir: Folder of data sets; None: there is none.

    Returns:
        `(images, labels)`: uint8 `(n, 28, 28, 1)` of 0 and 255; int64 `(n,)`, or None where there are no labels.

    Raises:
        ZooError: No such split, or a damaged file.
        MissingDataError: The data set is not here and cannot be fetched.
    """
    return _static_mnist(split, data_dir)


@functools.lru_cache(maxsize=3)
def _static_mnist(split, data_dir):
    """The images and labels of one split."""
    path = Path(data_dir, STATIC_MNIST, _PACKED) if data_dir else None
    if not (path and path.is_file()):
        images, labels = tfds.arrays(STATIC_MNIST, split, data_dir=data_dir)
        return (images * 255 if images.max() == 1 else images), labels  # TFDS has 0 and 1
    if split not in _PACKED_SPLITS:
        raise ZooError(f"{STATIC_MNIST} has the splits {', '.join(_PACKED_SPLITS)}. Received: {split!r}")
    try:
        with np.load(path) as stored:
            bits = np.unpackbits(stored[_PACKED_SPLITS[split]], axis=1)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ZooError(f"{path} is damaged: {error}; fetch it again") from None
    return 255 * bits.reshape(-1, *_SHAPE), None


def read_idx(path: PathLike, sha256: str) -> np.ndarray:
    """Reads an IDX .gz file (LeCun et al.), once its SHA-256 is right.

    Args:
        path: The file.
        sha256: Hex SHA-256 of the file.

    Returns:
        A uint8 array.

    Raises:
        MissingDataError: No such file.
        ZooError: Another SHA-256.
    """
    try:
        packed = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{path} is missing from the installation; reinstall keras_genzoo") from None
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ZooError(f"{path} is damaged: its SHA-256 is not {sha256[:_SHOWN_DIGITS]}...; reinstall keras_genzoo")
    raw = gzip.decompress(packed)
    n_axes = raw[_IDX_HEADER - 1]
    shape = np.frombuffer(raw, ">i4", count=n_axes, offset=_IDX_HEADER)
    return np.frombuffer(raw, "uint8", offset=_IDX_HEADER + 4 * n_axes).reshape(shape).copy()
