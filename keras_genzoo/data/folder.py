"""Folders of a user's image files: "folder:PATH". Subfolders are classes; files that cannot be read are named."""

import functools
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_genzoo.errors import MissingDataError, ZooError

PREFIX = "folder:"  # start of the names of folders
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
RESIZES = ("crop", "pad", "stretch")  # ways to fit an image to a shape, see `data.load`
_SPLITS = ("train", "test")
_HELD_OUT = 10  # number of files of an undivided folder for one in the test split, on average
_GREY_16_PER_8 = 257  # 16-bit grey levels over 8-bit ones: 65535 / 255
_ORIENTATION = 0x0112  # EXIF's tag of the camera's orientation
_TURNS = {  # orientation -> Pillow's name of the turn that undoes it
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip


class _Decoded(NamedTuple):
    """The decoded images of a split.

    Attributes:
        images: uint8 `(n, H, W, C)`.
        files: Path of the file of each image.
        broken: `[(path, error)]` of the files that cannot be read.
    """

    images: np.ndarray
    files: list[str]
    broken: list[tuple[str, str]]


def arrays(
    name: str, split: str, *, image_shape: tuple[int, int, int] | None, resize: str, **_: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of a folder and their classes.

    Args:
        name: "folder:PATH".
        split: "train" or "test".
        image_shape: Shape to which images are fitted, `(H, W, C)` with 1 or 3 channels.
        resize: One of `RESIZES`, see `data.load`.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`; int64 `(n,)`, or None where an image is in no subfolder, or there is
        one subfolder only.

    Raises:
        ZooError: A bad argument, or no readable image.
        MissingDataError: No such folder.
    """
    names, classes, decoded = _read(name, split, image_shape, resize)
    if not all(len(names[file].parts) > 1 for file in names) or len(classes) < 2:
        return decoded.images, None
    labels = np.array([classes.index(names[file].parts[0]) for file in decoded.files], "int64")
    return decoded.images, labels


def readable_files(name: str, split: str, *, image_shape: tuple[int, int, int], resize: str, **_: Any) -> list[Path]:
    """The file of each image of `arrays`, in their order.

    Args:
        name, split, image_shape, resize: As in `arrays`.

    Returns:
        The paths.

    Raises:
        ZooError: A bad argument, or no readable image.
        MissingDataError: No such folder.
    """
    return [Path(file) for file in _read(name, split, image_shape, resize)[2].files]


def upright(image: Any, mode: str) -> Any:
    """Turns an image as its EXIF data say, and lays it on black where it is transparent.

    Args:
        image: A Pillow image.
        mode: Pillow's mode of the result, "L" or "RGB".

    Returns:
        A Pillow image.
    """
    from PIL import Image

    # Not Pillow's exif_transpose, which also writes the other tags again, and may fail on them.
    turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    if turn:
        image = image.transpose(Image.Transpose[turn])
    if image.mode.startswith("I"):  # 16 bits of grey
        grey = (np.asarray(image).astype("float64") / _GREY_16_PER_8).clip(0, 255)
        image = Image.fromarray(grey.round().astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert(mode)


def fitted(image: Any, image_shape: tuple[int, int, int], resize: str) -> np.ndarray:
    """Fits an image to a shape, upright.

    Args:
        image: A Pillow image.
        image_shape: `(height, width, channels)`, 1 or 3 channels.
        resize: One of `RESIZES`, see `data.load`.

    Returns:
        uint8 `(height, width, channels)`.
    """
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    image = upright(image, "L" if channels == 1 else "RGB")
    size, method = (width, height), Image.Resampling.LANCZOS
    if resize == "crop":
        image = ImageOps.fit(image, size, method)
    elif resize == "pad":
        image = ImageOps.pad(image, size, method, color="black" if channels == 3 else 0)
    else:
        image = image.resize(size, method)
    return np.asarray(image, "uint8").reshape(image_shape)


def _read(name, split, image_shape, resize):
    """Reads one split: `(names, classes, decoded)`.

    `names` are the paths of both splits' files within their split, by file; `classes` are those of both splits;
    `decoded` are the `_Decoded` images of the one.
    """
    path = name.removeprefix(PREFIX)
    if image_shape is None:
        raise ZooError(f"{name} needs `image_shape`, the (height, width, channels) to bring its images to")
    if resize not in RESIZES:
        raise ZooError(f"`resize` must be one of {', '.join(RESIZES)}. Received: {resize!r}")
    if image_shape[-1] not in (1, 3):
        raise ZooError(f"Images of a folder have 1 or 3 channels. Received: image_shape={image_shape}")
    if split not in _SPLITS:
        raise ZooError(f"{name} has the splits {', '.join(_SPLITS)}. Received: {split!r}")
    if not path:
        raise ZooError(f"{PREFIX!r} names no folder; write {PREFIX}PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise MissingDataError(f"Image folder {path!r} does not exist" if not root.exists() else f"{path!r} is a file")
    files = {
        file: file.relative_to(root)
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in file.relative_to(root).parts)
    }
    if all((root / part).is_dir() for part in _SPLITS):
        names = {str(file): Path(*name.parts[1:]) for file, name in files.items()}  # without train/ or test/
        chosen = [file for file, name in files.items() if name.parts[0] == split]
    else:
        names = {str(file): name for file, name in files.items()}
        chosen = _share(files, split)
    # The classes are those of both splits: a class that is in one of them alone would shift the numbers of the others.
    classes = sorted({name.parts[0] for name in names.values() if len(name.parts) > 1})
    stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in chosen)
    decoded = _decoded(stamps, tuple(image_shape), resize)
    if decoded.broken:
        lines = "\n".join(f"  {file}: {error}" for file, error in decoded.broken)
        warnings.warn(f"{root}: skipped {len(decoded.broken)} of {len(chosen)} files:\n{lines}", stacklevel=2)
    if len(decoded.images) == 0:
        missing = "no readable image" if chosen else "no image"
        raise ZooError(f"{root} holds {missing} to {split} with ({', '.join(SUFFIXES)})")
    return names, classes, decoded


def _share(files, split):
    """The files of one split of an undivided folder: by a hash of the name, so that a new file moves no other."""
    draws = {file: zlib.crc32(name.as_posix().encode()) for file, name in files.items()}
    test = {file for file, draw in draws.items() if draw % _HELD_OUT == 0}
    if not test and len(files) > 1:
        test = {min(draws, key=lambda file: draws[file])}
    if test == set(files):
        test.discard(max(draws, key=lambda file: draws[file], default=None))
    return [file for file in files if (file in test) == (split == "test")]


@functools.lru_cache(maxsize=4)  # two people, two splits
def _decoded(stamps, image_shape, resize):
    """The `_Decoded` images of `(file, mtime, size)` stamps: a file that changed is read again."""
    from PIL import Image  # imported here, because only folders need it

    images, files, broken = [], [], []
    for file, _, _ in stamps:
        try:
            with Image.open(file) as image:
                images.append(fitted(image, image_shape, resize))
            files.append(file)
        except Exception as error:  # a damaged file makes Pillow raise many kinds, and the others are fine
            broken.append((file, " ".join(str(error).split()) or type(error).__name__))
    return _Decoded(np.stack(images) if images else np.zeros((0, *image_shape), "uint8"), files, broken)
