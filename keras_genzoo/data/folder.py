"""Folders of a user's image files: "folder:PATH". Subfolders are classes; what cannot be read is named and skipped."""

import functools
import hashlib
import io
import os
import re
import stat
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_genzoo.data import rows
from keras_genzoo.errors import MissingDataError, ZooError, visible

PREFIX = "folder:"  # start of the names of folders
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
RESIZES = ("crop", "pad", "stretch")  # ways to fit an image to a shape, see `data.load`
_FORMATS = ("PNG", "JPEG", "WEBP")  # Pillow's other readers, one of which starts Ghostscript, are not asked
_SPLITS = {  # split -> names of its subfolder, in any case
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "dev"),
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
_BESIDE_A_SPLIT = {"set", "split", "data", "image", "images", "imgs", "img"}  # words that such a name may have, too
_NOT_THE_USERS = ("__MACOSX", "@eaDir")  # folders that archives and file servers add, with copies that are no images
_HELD_OUT = 10  # number of files of an undivided folder for one in the test split, on average
_FOR = {"train": "to train with", "test": "to test with", "validation": "to validate with"}
_N_LISTED = 10  # classes that a line lists by name
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")  # a byte of a path that is not UTF-8, see `portable`
_GREY_16_PER_8 = 257  # 16-bit grey levels over 8-bit ones: 65535 / 255
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_GREY_MODES = ("1", "L", "LA", "La")
_ORIENTATION = 0x0112  # EXIF's tag of the camera's orientation
_TURNS = {  # orientation -> Pillow's name of the turn that undoes it
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip


class _Decoded(NamedTuple):
    """The decoded images of a split.

    Attributes:
        images: uint8 `(n, H, W, C)`, or `rows.Rows` of them.
        files: Path of the file of each image.
        broken: `[(path, error)]` of the files that cannot be read.
        n_magnified: Number of images that are smaller than the shape.
        n_animated: Number of images of several frames, of which the first is taken.
    """

    images: Any
    files: list[str]
    broken: list[tuple[str, str]]
    n_magnified: int
    n_animated: int


def arrays(
    name: str,
    split: str,
    *,
    image_shape: tuple[int, int, int] | None,
    resize: str,
    ground: str | None = None,
    cache: str | None = None,
    **_: Any,
) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of a folder and their classes.

    Args:
        name: "folder:PATH".
        split: "train", "test", or "validation" where the folder has one.
        image_shape: Shape to which images are fitted, `(H, W, C)` with 1 or 3 channels.
        resize: One of `RESIZES`, see `data.load`.
        ground: What is laid behind transparent pixels, see `data.load`; None: black.
        cache: Place of the pixels, see `data.load`.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`, or `rows.Rows` of them; int64 `(n,)`, or None where an image is in no
        subfolder, or there is one subfolder only.

    Raises:
        ZooError: A bad argument, or no readable image.
        MissingDataError: No such folder.
    """
    folder, decoded = _read(name, split, image_shape, resize, ground, cache)
    classes, strays = _classes(folder, decoded)
    if strays or len(classes) < 2:
        return decoded.images, None
    numbers = {name: number for number, name in enumerate(classes)}
    return decoded.images, np.array([numbers[folder.names[file].parts[0]] for file in decoded.files], "int64")


def summary(
    name: str,
    *,
    image_shape: tuple[int, int, int] | None,
    resize: str,
    ground: str | None = None,
    cache: str | None = None,
    **_: Any,
) -> str:
    """One line about a folder before a training: the images of each split, and the classes by name.

    Args:
        name, image_shape, resize, ground, cache: As in `arrays`.

    Returns:
        Text such as "folder:photos: 357 images to train with, 41 to test with, 2 classes (cats, dogs)".

    Raises:
        ZooError: A bad argument, or no readable image.
        MissingDataError: No such folder.
    """
    folder, decoded = _read(name, "train", image_shape, resize, ground, cache)
    classes, strays = _classes(folder, decoded)
    parts = [f"{len(decoded.files):,} images {_FOR['train']}"]
    parts += [f"{len(files):,} {_FOR[split]}" for split, files in folder.splits.items() if split != "train"]
    if strays and classes:
        parts.append(f"no classes, as {strays[0]!r} and others lie in no subfolder")
    elif len(classes) < 2:
        parts.append("no classes")
    else:
        listed = ", ".join(classes[:_N_LISTED]) + (", ..." if len(classes) > _N_LISTED else "")
        parts.append(f"{len(classes)} classes ({listed})")
    if decoded.n_magnified and image_shape:
        sides = f"{image_shape[0]} x {image_shape[1]} pixels"
        parts.append(f"{decoded.n_magnified:,} smaller than {sides}, which are magnified")
    if decoded.n_animated:
        parts.append(f"{decoded.n_animated:,} animated, of which the first frame is taken")
    if isinstance(decoded.images, rows.DiskRows):
        parts.append(f"pixels kept in {decoded.images.path}")
    elif isinstance(decoded.images, rows.Rows):
        parts.append("decoded as they are needed")
    return visible(f"{name}: {', '.join(parts)}")


def class_names(
    name: str,
    *,
    image_shape: tuple[int, int, int] | None,
    resize: str,
    ground: str | None = None,
    cache: str | None = None,
) -> list[str] | None:
    """The names of a folder's classes, in the order of their labels; None where its images have none.

    Args:
        name, image_shape, resize, ground, cache: As in `arrays`.
    """
    folder, decoded = _read(name, "train", image_shape, resize, ground, cache)
    classes, strays = _classes(folder, decoded)
    return None if strays or len(classes) < 2 else classes


def readable_files(
    name: str,
    split: str,
    *,
    image_shape: tuple[int, int, int],
    resize: str,
    ground: str | None = None,
    cache: str | None = None,
    **_: Any,
) -> list[Path]:
    """The file of each image of `arrays`, in their order.

    Args:
        name, split, image_shape, resize, ground, cache: As in `arrays`.

    Returns:
        The paths.

    Raises:
        ZooError: A bad argument, or no readable image.
        MissingDataError: No such folder.
    """
    return [Path(file) for file in _read(name, split, image_shape, resize, ground, cache)[1].files]


def opened(file: Any) -> Any:
    """A user's picture, opened by Pillow as one of the formats that the zoo reads, whatever its name says.

    Args:
        file: Path.

    Returns:
        A Pillow image, to close again.

    Raises:
        OSError: The file is of another format, or cannot be opened.
    """
    from PIL import Image, UnidentifiedImageError  # imported here, because only folders need it

    if not os.path.isfile(file):
        raise OSError("no regular file")  # opening a pipe would wait for ever
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        raise OSError("no PNG, JPEG or WebP image") from None


def upright(image: Any, mode: str, *, colour: tuple[int, int, int] = _BLACK) -> Any:
    """Turns an image as its EXIF data say, brings its colours to sRGB, and lays it on a colour where it is transparent.

    Args:
        image: A Pillow image.
        mode: Pillow's mode of the result, "L" or "RGB".
        colour: Red, green and blue behind transparent pixels, in 0..255.

    Returns:
        A Pillow image.
    """
    from PIL import Image

    profile = image.info.get("icc_profile")
    # Not Pillow's exif_transpose, which also writes the other tags again, and may fail on them.
    turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    if turn:
        image = image.transpose(Image.Transpose[turn])
    if image.mode.startswith("I"):  # 16 bits of grey
        grey = (np.asarray(image).astype("float64") / _GREY_16_PER_8).clip(0, 255)
        image = Image.fromarray(grey.round().astype("uint8"))
    if image.has_transparency_data:
        is_grey, image = image.mode in _GREY_MODES, image.convert("RGBA")
        alpha, colours = image.getchannel("A"), image.convert("RGB")
        image = _in_srgb(colours.getchannel("R") if is_grey else colours, profile).convert("RGB")
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*colour, 255)), image)
    else:
        image = _in_srgb(image, profile)
    return image.convert(mode)


def _in_srgb(image, profile):
    """An opaque image whose colours are sRGB's: converted where it comes with a profile that can be used."""
    if not isinstance(profile, bytes):
        return image
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    transform = _to_srgb(profile, image.mode)
    return image if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=8)  # the pictures of a folder mostly come from few cameras
def _to_srgb(profile, mode):
    """Pillow's transform of images of a mode to sRGB; None where the profile is damaged, or of another kind of colour.

    A profile that moves no colour by more than a level is sRGB under one of its names: the pixels stay as they are.
    """
    from PIL import Image, ImageCms

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 9).round().astype("uint8")
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    probe = Image.fromarray(colours).getchannel("R") if mode == "L" else Image.fromarray(colours)
    moved = np.asarray(transform.apply(probe), "int16") - np.asarray(probe.convert("RGB"), "int16")
    return transform if np.abs(moved).max() > 1 else None


def check_fit(source: str, image_shape: tuple[int, int, int], resize: str) -> None:
    """Raises ZooError where `fitted` does not take a shape or a way.

    Args:
        source: Name of what the images are of, for the error.
        image_shape, resize: As in `fitted`.
    """
    if resize not in RESIZES:
        raise ZooError(f"`resize` must be one of {', '.join(RESIZES)}. Received: {resize!r}")
    if image_shape[-1] not in (1, 3):
        raise ZooError(f"Images of {source} have 1 or 3 channels. Received: image_shape={image_shape}")


def fitted(
    image: Any, image_shape: tuple[int, int, int], resize: str, *, colour: tuple[int, int, int] = _BLACK
) -> np.ndarray:
    """Fits an image to a shape, upright.

    Args:
        image: A Pillow image.
        image_shape: `(height, width, channels)`, 1 or 3 channels.
        resize: One of `RESIZES`, see `data.load`.
        colour: Red, green and blue behind transparent pixels and beside padded images, in 0..255.

    Returns:
        uint8 `(height, width, channels)`.
    """
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    _draft(image, max(height, width))
    image = upright(image, "L" if channels == 1 else "RGB", colour=colour)
    size, method = (width, height), Image.Resampling.LANCZOS
    if resize == "crop":
        image = ImageOps.fit(image, size, method)
    elif resize == "pad":
        image = ImageOps.pad(image, size, method, color=colour if channels == 3 else _grey(colour))
    else:
        image = image.resize(size, method)
    return np.asarray(image, "uint8").reshape(image_shape)


def _draft(image, side):
    """Lets a JPEG that is far larger than needed be decoded at a half, a quarter or an eighth, twice as large yet."""
    if image.format == "JPEG" and min(image.size) >= 4 * side:
        scale = 2 * side / min(image.size)
        image.draft(None, (round(image.width * scale), round(image.height * scale)))


def colour_of(ground: str | None, file: str) -> tuple[int, int, int]:
    """The colour of a ground behind the picture of a file; a drawn one goes by the file's name alone."""
    if ground == "drawn":
        digest = hashlib.sha256(os.fsencode(os.path.basename(file))).digest()
        return digest[0], digest[1], digest[2]
    return _WHITE if ground == "white" else _BLACK


def _grey(colour):
    """The grey of a colour, as Pillow's mode "L" has it (ITU-R 601-2)."""
    red, green, blue = colour
    return round(0.299 * red + 0.587 * green + 0.114 * blue)


class _Folder(NamedTuple):
    """The files of a folder, before any is opened.

    Attributes:
        root: The folder.
        names: Path of each file within its split, by file.
        splits: Stamps of the files of each split, by split; see `_found`.
        skipped: `[(path, reason)]` of what is passed over in all splits.
    """

    root: Path
    names: dict[str, Path]
    splits: dict[str, list[tuple]]
    skipped: list[tuple[str, str]]


def root_of(name: str) -> Path:
    """The absolute path of "folder:PATH", whether it exists or not.

    Where the path as it stands names no folder, it may be one of `portable`.

    Args:
        name: "folder:PATH".

    Raises:
        ZooError: There is no path, or no path of a file system.
    """
    path = name.removeprefix(PREFIX)
    if not path:
        raise ZooError(f"{PREFIX!r} names no folder; write {PREFIX}PATH")
    try:
        written = path.encode("utf-8", "surrogateescape")
        written = _ESCAPED.sub(lambda escape: bytes.fromhex(escape[1].decode()), written)
        candidates = [Path(path).expanduser(), Path(os.fsdecode(written)).expanduser()]
        found = next((candidate for candidate in candidates if os.path.isdir(candidate)), candidates[0])
        return Path(os.fsdecode(os.fsencode(found.resolve())))  # as the names of its files will begin
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, an unknown user, a null byte
        raise ZooError(f"{name!r} names no folder: {error}") from None


def portable(path: Path) -> str:
    r"""A path as a preset holds it, so that every machine finds the folder: its bytes, read as UTF-8.

    A machine may write names in another code. Bytes that are not UTF-8 are escaped, as in `M\xfcller`.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read(name, split, image_shape, resize, ground, cache):
    """Reads one split: `(folder, decoded)`, the `_Folder` of all files and the `_Decoded` images of the split."""
    if image_shape is None:
        raise ZooError(f"{name} needs `image_shape`, the (height, width, channels) to bring its images to")
    check_fit("a folder", image_shape, resize)
    if not isinstance(split, str) or split.lower() not in _SPLIT_OF:
        raise ZooError(f"{name} has the splits train, test. Received: {split!r}")
    root, path = root_of(name), name.removeprefix(PREFIX)
    if not os.path.isdir(root):
        is_file = os.path.exists(root)
        raise MissingDataError(f"{path!r} is a file" if is_file else f"Image folder {path!r} does not exist")
    folder = _listed(root)
    if _SPLIT_OF[split.lower()] not in folder.splits:
        raise ZooError(f"{name} has the splits {', '.join(folder.splits)}. Received: {split!r}")
    split = _SPLIT_OF[split.lower()]
    decoded = _decoded(tuple(folder.splits[split]), tuple(image_shape), resize, ground, cache)
    skipped = [*folder.skipped, *decoded.broken]
    if skipped:
        lines = "\n".join(f"  {visible(file)}: {visible(reason)}" for file, reason in skipped)
        n_files = len(folder.splits[split]) + len(folder.skipped)
        warnings.warn(f"{visible(root)}: skipped {len(skipped)} of {n_files} files:\n{lines}", stacklevel=1)
    if len(decoded.images) == 0:
        missing = "no readable image" if skipped else "no image"
        raise ZooError(f"{root} holds {missing} {_FOR[split]} ({', '.join(SUFFIXES)})")
    return folder, decoded


def _listed(root):
    """The `_Folder` of a path.

    It is divided where it has `train/` beside `test/` or `val/`, or nothing but folders of splits.
    """
    stamps, skipped = _found(root)
    names = {stamp[0]: Path(stamp[0]).relative_to(root) for stamp in stamps}
    with_images = {name.parts[0] if len(name.parts) > 1 else "" for name in names.values()}
    by_split = {}
    for top in _subfolders(root):
        split = _split_of(top)
        if split:
            by_split.setdefault(split, []).append(top)
    known = {top for folders in by_split.values() for top in folders}
    if not (("train" in by_split and len(by_split) > 1) or (by_split and with_images and with_images <= known)):
        _warn_of_splits_in_vain(root, known & with_images, names.values())
        return _Folder(root, names, _shares(stamps, names), skipped)
    twice = next((folders for folders in by_split.values() if len(folders) > 1), None)
    if twice:
        raise ZooError(f"{root} has {' and '.join(twice)} for one split; rename or remove one")
    if not with_images <= known:
        left = ", ".join(f"{top}/" if top else "the images in no subfolder" for top in sorted(with_images - known))
        splits = ", ".join(f"{top}/" for top in sorted(known))
        warnings.warn(visible(f"{root}: left out {left}, beside the splits {splits}"), stacklevel=1)
    tops = {split: top for split, (top,) in by_split.items()}
    if "validation" in tops:
        tops.setdefault("test", tops["validation"])
    splits = {
        split: [stamp for stamp in stamps if names[stamp[0]].parts[0] == tops[split]]
        for split in _SPLITS
        if split in tops
    }
    within = {file: Path(*name.parts[1:]) for file, name in names.items() if name.parts[0] in known}
    if set(splits) == {"train"}:
        splits = _shares(splits["train"], within)
    return _Folder(root, within, splits, skipped)


def _split_of(folder):
    """The split that a subfolder's name says, such as "Train", "train2017", "images_val" or "test_set"; None: none."""
    words = [word for word in re.findall(r"[a-z]+", folder.lower()) if word not in _BESIDE_A_SPLIT]
    return _SPLIT_OF.get(words[0]) if len(words) == 1 else None


def _warn_of_splits_in_vain(root, tops, names):
    """Warns of subfolders of an undivided folder that are called as splits are, and of such below a subfolder."""
    below = {"/".join(name.parts[:2]) for name in names if len(name.parts) > 2 and _split_of(name.parts[1])}
    for folders, counts in ((tops, "a class"), (below, "a part of a class")):
        if folders:
            listed = ", ".join(f"{folder}/" for folder in sorted(folders)[:_N_LISTED])
            message = (
                f"{root}: {listed} counts as {counts}, not as a split; splits are train/ beside test/ or val/, right "
                "below the folder that is named"
            )
            warnings.warn(visible(message), stacklevel=1)


def _found(root):
    """The image files below a folder and what is passed over: `(stamps, skipped)`.

    Stamps are `[(path, inode, times, size)]`, in the order of the names' bytes; skipped is `[(path, reason)]`. Links to
    folders are followed once all folders are read, each folder once: so a circle ends, and no image comes twice.
    """
    stamps, skipped, links, folders, seen = [], [], [], [str(root)], set()
    while folders or links:
        if folders:
            folder = folders.pop()
        else:
            folder = links.pop(0)
            target = os.path.realpath(folder)
            if any(Path(path).is_relative_to(target) for path in (os.path.realpath(os.path.dirname(folder)), root)):
                skipped.append((folder, "a link to a folder that it is in"))
                continue
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                skipped.append((folder, "a link to a folder that is read already"))
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            skipped.append((folder, error.strerror or str(error)))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_THE_USERS:
                continue
            is_image = os.path.splitext(entry.name)[1].lower() in SUFFIXES
            try:
                status = entry.stat()
            except OSError as error:
                if is_image or entry.is_symlink():
                    is_dangling = isinstance(error, FileNotFoundError)
                    skipped.append((entry.path, "a link to nothing" if is_dangling else error.strerror or str(error)))
                continue
            if stat.S_ISDIR(status.st_mode):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif is_image and stat.S_ISREG(status.st_mode):
                times = status.st_mtime_ns, status.st_ctime_ns
                stamps.append((entry.path, (status.st_dev, status.st_ino), times, status.st_size))
            elif is_image:
                skipped.append((entry.path, "no regular file"))
    return sorted(stamps, key=lambda stamp: [os.fsencode(part) for part in Path(stamp[0]).parts]), sorted(skipped)


def _subfolders(root):
    """The names of a folder's subfolders, empty ones too, in the order of their bytes."""
    try:
        names = [entry.name for entry in os.scandir(root) if os.path.isdir(entry.path)]
    except OSError as error:
        raise ZooError(f"Cannot read {root}: {error.strerror}") from None
    return sorted((name for name in names if not name.startswith(".")), key=os.fsencode)


def _shares(stamps, names):
    """The splits of undivided files: by a hash of the name, so that a new file moves no other."""
    draws = {stamp: zlib.crc32(os.fsencode(names[stamp[0]].as_posix())) for stamp in stamps}
    test = {stamp for stamp, draw in draws.items() if draw % _HELD_OUT == 0}
    if not test and len(stamps) > 1:
        test = {min(stamps, key=lambda stamp: draws[stamp])}
    if test == set(stamps):
        test.discard(max(stamps, key=lambda stamp: draws[stamp], default=None))
    return {
        "train": [stamp for stamp in stamps if stamp not in test],
        "test": [stamp for stamp in stamps if stamp in test],
    }


def _classes(folder, decoded):
    """The names of the classes, in the order of their bytes, and the names of images in no class.

    They are those of all splits: a class that is in one of them alone would shift the numbers of the others. What holds
    no readable image counts in neither.
    """
    files = {}  # class, "" for none -> stamps of its files in the other splits
    for stamps in folder.splits.values():
        for stamp in stamps:
            parts = folder.names[stamp[0]].parts
            files.setdefault(parts[0] if len(parts) > 1 else "", set()).add(stamp)
    read, broken = set(decoded.files), {file for file, _ in decoded.broken}
    readable = {
        name: [stamp[0] for stamp in stamps if stamp[0] in read]
        or [stamp[0] for stamp in stamps if stamp[0] not in broken and _is_readable(stamp)][:1]
        for name, stamps in files.items()
    }
    strays = [folder.names[file].name for file in readable.pop("", [])]
    return sorted((name for name, files in readable.items() if files), key=os.fsencode), strays


@functools.lru_cache(maxsize=1024)
def _is_readable(stamp):
    """Whether a file can be decoded."""
    try:
        with opened(stamp[0]) as image:
            image.load()
    except Exception:  # see `_decoded`
        return False
    return True


@functools.lru_cache(maxsize=4)  # two people, two splits
def _decoded(stamps, image_shape, resize, ground, cache):
    """The `_Decoded` images of files with their stamps: a file that changed is read again."""
    files = [file for file, *_ in stamps]
    reasons, magnified, animated = {}, set(), set()

    def look(file, image):
        if image.width < image_shape[1] or image.height < image_shape[0]:
            magnified.add(file)
        if getattr(image, "n_frames", 1) > 1:
            animated.add(file)

    def fit(file, image):
        return fitted(image, image_shape, resize, colour=colour_of(ground, file))

    def decode(file):
        with opened(file) as image:
            return fit(file, image)

    def tried(file, *steps):
        """The result of the last step on an opened file; None where one fails, and the other files are fine."""
        try:
            with opened(file) as image:
                return [step(file, image) for step in steps][-1]
        except Exception as error:
            reasons[file] = rows.why(error)
            return None

    n_bytes = len(files) * int(np.prod(image_shape, dtype="int64"))
    if (cache or ("memory" if n_bytes <= rows.MOST_IN_MEMORY else "none")) == "memory":
        images, numbers = rows.filled(len(files), image_shape, lambda i: tried(files[i], look, fit))
        files = [files[i] for i in numbers]
    else:
        for file in files:
            tried(file, look)
        stamps = [stamp for stamp in stamps if stamp[0] not in reasons]
        files = [file for file, *_ in stamps]
        identity = hashlib.sha256(repr([(os.path.basename(file), size) for file, _, _, size in stamps]).encode())
        images = rows.FileRows(files, image_shape, decode, identity.hexdigest())
        if cache == "disk":
            digest = hashlib.sha256(repr((stamps, image_shape, resize, ground)).encode()).hexdigest()[:24]
            images = rows.stored(rows.in_pieces(images), digest, image_shape, len(images), images.identity)
    broken = sorted(reasons.items(), key=lambda item: os.fsencode(item[0]))
    return _Decoded(images, files, broken, len(magnified), len(animated))
