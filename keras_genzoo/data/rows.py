"""Images that are not in memory: of files that are decoded when they are asked for, or of a file of pixels on disk.

Both behave as arrays `(n, H, W, C)` of uint8 do where they are indexed; what is asked for comes as an array.
"""

import functools
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo import files
from keras_genzoo.errors import ZooError, visible

MOST_IN_MEMORY = 512 * 2**20  # bytes of pixels that a data set may have in memory
CACHES = ("memory", "disk", "none")  # where the pixels of a data set lie, see `data.load`
_AHEAD = 64  # images that the threads decode in one piece


class Rows:
    """Base: images by number.

    Args:
        shape: Shape of an image, `(H, W, C)`.
        numbers: Numbers of the images among all that the source has, `(n,)`.
        identity: What tells these images from others, for the record of a training.
    """

    dtype, ndim = np.dtype("uint8"), 4

    def __init__(self, shape: Sequence[int], numbers: np.ndarray, identity: str):
        self.shape = (len(numbers), *shape)
        self.numbers, self.identity = numbers, identity

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """The bytes that all pixels would take in memory."""
        return int(np.prod(self.shape, dtype="int64"))

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, (int, np.integer)):
            return self.take(np.arange(len(self))[rows][None])[0]
        return self.take(np.arange(len(self))[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.nbytes > MOST_IN_MEMORY:
            raise ZooError(
                f"{len(self):,} images of {self.shape[1:]} are {self.nbytes / 1e9:.1f} GB of pixels, more than the "
                f"{MOST_IN_MEMORY / 1e9:.1f} GB that are held in memory; take a part of them, or a smaller image_shape"
            )
        return self.take(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def setflags(self, write: bool) -> None:
        """Nothing: they cannot be written."""

    def subset(self, rows: np.ndarray) -> "Rows":
        """Some of the images, not read yet.

        Args:
            rows: Numbers of the images in here, `(n,)`.
        """
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__
        Rows.__init__(other, self.shape[1:], self.numbers[rows], self.identity)
        return other

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The images of some rows, uint8 `(n, H, W, C)`."""
        raise NotImplementedError


class FileRows(Rows):
    """Images that are decoded from their files whenever they are asked for, by all cores.

    A file that cannot be decoded gives its place to the next that can; a warning names it once.

    Args:
        files: Path of each image's file.
        shape: Shape to which they are fitted.
        decode: Function from a path to uint8 `(H, W, C)`.
        identity: See `Rows`.
    """

    def __init__(self, files: Sequence[str], shape: Sequence[int], decode: Callable[[str], np.ndarray], identity: str):
        super().__init__(shape, np.arange(len(files)), identity)
        self.files, self.decode = list(files), decode
        self._broken: set[str] = set()
        self._lock = threading.Lock()

    def take(self, rows: np.ndarray) -> np.ndarray:
        numbers = self.numbers[np.asarray(rows)]
        out = np.empty((len(numbers), *self.shape[1:]), "uint8")

        def fill(start):
            for i in range(start, min(start + piece, len(numbers))):
                out[i] = self._image(int(numbers[i]))

        piece = max(1, min(_AHEAD, -(-len(numbers) // (2 * (os.cpu_count() or 1)))))
        by_all_cores(fill, range(0, len(numbers), piece))
        return out

    def _image(self, number):
        for step in range(len(self.files)):
            file = self.files[(number + step) % len(self.files)]
            if file in self._broken:
                continue
            try:
                return self.decode(file)
            except Exception as error:  # a damaged file makes Pillow raise many kinds
                with self._lock:
                    is_new = file not in self._broken
                    self._broken.add(file)
                if is_new:
                    warnings.warn(
                        f"{visible(file)}: {visible(why(error))}; the next image takes its place", stacklevel=2
                    )
        raise ZooError(f"None of {len(self.files):,} files can be decoded, such as {visible(self.files[number])}")


class DiskRows(Rows):
    """Images that lie as pixels in a file, one after the other.

    Args:
        path: The file.
        shape: Shape of an image.
        n: Number of images.
        identity: See `Rows`.
    """

    def __init__(self, path: Path, shape: Sequence[int], n: int, identity: str):
        super().__init__(shape, np.arange(n), identity)
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # mapped, it would count as the process's memory
        self._lock = threading.Lock()

    def take(self, rows: np.ndarray) -> np.ndarray:
        numbers = self.numbers[np.asarray(rows)]
        size = int(np.prod(self.shape[1:]))
        out = np.empty((len(numbers), size), "uint8")
        with self._lock:
            for i, number in enumerate(numbers):
                self._file.seek(int(number) * size)
                if self._file.readinto(out[i].data) != size:
                    raise ZooError(f"{self.path} is shorter than it was; remove it, and start again")
        return out.reshape(len(numbers), *self.shape[1:])


def stored(pieces: Iterable[np.ndarray], name: str, shape: Sequence[int], n: int, identity: str) -> DiskRows:
    """Images as a file of pixels in the user's cache; one that is there is used, and the pieces are not asked for.

    Args:
        pieces: The images in their order, some at once, uint8 `(m, H, W, C)`.
        name: Name of the file, another for other images.
        shape: Shape of an image.
        n: Number of images.
        identity: See `Rows`.

    Returns:
        The images, from the file.

    Raises:
        ZooError: The disk has too little room, with the bytes that are missing; or the file cannot be written.
    """
    path, n_bytes = files.cache() / "pixels" / f"{name}.u8", n * int(np.prod(shape, dtype="int64"))
    if not (path.is_file() and path.stat().st_size == n_bytes):
        with files.aside(path) as temporary, open(temporary, "wb") as file:
            missing = n_bytes - _free(path.parent)
            if missing > 0:
                raise ZooError(f"{path.parent} has {missing / 1e9:.1f} GB too little room for {n_bytes / 1e9:.1f} GB")
            for piece in pieces:
                file.write(np.ascontiguousarray(piece).data)
    return DiskRows(path, shape, n, identity)


def in_pieces(rows: Rows) -> Iterator[np.ndarray]:
    """Yields images some at once, in their order."""
    for start in range(0, len(rows), _AHEAD * 8):
        yield rows[start : start + _AHEAD * 8]


def _free(folder):
    """The bytes that a folder's disk has left."""
    return shutil.disk_usage(folder).free


def filled(n: int, shape: Sequence[int], image: Callable[[int], np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Images in memory, made by all cores.

    Args:
        n: Number of images.
        shape: Shape of an image.
        image: Function from a number to uint8 `(H, W, C)`; None: there is none, and its place is left out.

    Returns:
        `(images, numbers)`: uint8 `(m, H, W, C)`, and the number of each.

    Raises:
        ZooError: Memory does not suffice, with the bytes that are missing.
    """
    require_memory(n, shape)
    out, is_there = np.empty((n, *shape), "uint8"), np.ones(n, bool)

    def fill(start):
        for i in range(start, min(start + _AHEAD, n)):
            made = image(i)
            if made is None:
                is_there[i] = False
            else:
                out[i] = made

    by_all_cores(fill, range(0, n, _AHEAD))
    return (out, np.arange(n)) if is_there.all() else (out[is_there], np.flatnonzero(is_there))


def require_memory(n: int, shape: Sequence[int]) -> None:
    """Raises ZooError, with the bytes that are missing, where memory does not hold images of a shape."""
    needed = n * int(np.prod(shape, dtype="int64"))
    missing = needed - available()
    if missing > 0:
        raise ZooError(
            f"{n:,} images of {tuple(shape)} take {needed / 1e9:.1f} GB of memory, {missing / 1e9:.1f} GB more "
            "than are free; use cache='disk' (data.cache), or a smaller image_shape"
        )


def why(error: Exception) -> str:
    """The reason for which a file cannot be decoded, in a line: a damaged one makes Pillow raise many kinds."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


@functools.cache
def _pool():
    return ThreadPoolExecutor(max(os.cpu_count() or 1, 2), thread_name_prefix="keras_genzoo_decode")


def by_all_cores(function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
    """What a function gives for each argument, called in threads: Pillow lets go of Python while it decodes."""
    try:
        calls = _pool().map(function, *arguments)
    except RuntimeError:  # Python is closing, and a pipeline still reads ahead
        calls = map(function, *arguments)
    return list(calls)


def available() -> int:
    """The bytes of memory that this machine has left, as far as it tells."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return sys.maxsize


def in_memory(images: Any, *, seed: int = 0) -> np.ndarray:
    """Images as an array: all of them, or as many as memory holds, drawn by the seed.

    Args:
        images: Array, or `Rows`.
        seed: Seed of the draw, >= 0.
    """
    return images if isinstance(images, np.ndarray) else images[chosen(images, seed=seed)]


def chosen(images: Any, *, seed: int = 0) -> np.ndarray:
    """The rows of `in_memory`, in ascending order."""
    n = len(images)
    if isinstance(images, np.ndarray) or images.nbytes <= MOST_IN_MEMORY:
        return np.arange(n)
    most = MOST_IN_MEMORY // (images.nbytes // n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def part(images: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, or of `Rows` that stay unread."""
    return images.subset(rows) if isinstance(images, Rows) else images[rows]
