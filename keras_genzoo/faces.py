"""Finds faces in real pictures and films, cuts them out upright, swaps them and puts them back.

For faces of people who have agreed to it. The files that `swap` writes carry their provenance, see `provenance`.
"""

import contextlib
import itertools
import math
import os
import shutil
import signal
import sys
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_genzoo import files, films, provenance
from keras_genzoo.data import folder
from keras_genzoo.errors import ZooError
from keras_genzoo.errors import visible as shown
from keras_genzoo.models.face_swap import landmarks
from keras_genzoo.progress import track
from keras_genzoo.typing import PathLike

# Places of the eyes, the nose and the corners of the mouth in a crop, x and y in sides of it. They are the means over
# the rendered people's training images, so that crops look like those that faceswap_rendered was trained on.
TEMPLATE = np.array([[0.381, 0.327], [0.623, 0.328], [0.501, 0.435], [0.404, 0.618], [0.600, 0.617]])
TINY = 32  # pixels; a face with a smaller box shows too little and is left alone
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # MTCNN's names, in the order of `TEMPLATE`
_CERTAIN = 0.9  # least confidence of MTCNN in a face, in [0, 1]
# The ellipse of `soft_mask`, in sides of a crop: from above the brows to the chin of a face that fits `TEMPLATE`.
_MASK_CENTRE = (0.5, 0.52)
_MASK_RADII = (0.30, 0.36)
_MASK_REACH = 1.1  # radii at which the mask is 0
_MASK_RIM = 0.3  # radii over which it falls from 1 to 0
_LEAST_SPREAD = 1e-9  # in squared pixels: points that coincide have 0, by which a scale would be divided
_MACOS = "__MACOSX"  # folder of what macOS puts beside the files of a zip
_KILLED = 128  # a shell's exit status of a process that a signal has ended, less the signal's number


class Face(NamedTuple):
    """A face in a picture.

    Attributes:
        points: Eyes (the picture's left one first), nose, corners of the mouth: `(5, 2)`, x and y in pixels.
        size: Shorter side of the face's box, in pixels.
        certainty: Confidence of the detector, in [0, 1].
    """

    points: np.ndarray
    size: float
    certainty: float


def detector() -> Callable[[np.ndarray], list[Face]]:
    """Makes a detector of faces, MTCNN (Zhang et al. 2016).

    Returns:
        A function of a uint8 image `(H, W, 3)` to its `Face`s, the largest first.

    Raises:
        ZooError: The package mtcnn, which has the weights in it, is not installed.
    """
    try:
        from mtcnn import MTCNN
    except ImportError:
        raise ZooError("Finding faces needs mtcnn: pip install 'keras-genzoo[faces]'") from None
    network = MTCNN(device="CPU:0")

    def detect(pixels):
        if min(pixels.shape[:2]) < TINY:
            return []
        try:
            detections: Any = network.detect_faces(pixels) or []
        except ValueError:  # no window of the picture passes the first of the three networks
            detections = []
        faces = [
            Face(
                points=np.array([detection["keypoints"][name] for name in _POINTS], "float64"),
                size=float(min(detection["box"][2:])),
                certainty=float(detection["confidence"]),
            )
            for detection in detections
            if detection["confidence"] >= _CERTAIN
        ]
        return sorted(faces, key=lambda face: -face.size)

    return detect


def extract(
    source: PathLike,
    out: PathLike,
    *,
    size: int = 128,
    every: bool = False,
    every_frame: int = 10,
    detect: Callable[[np.ndarray], list[Face]] | None = None,
    verbose: bool = True,
) -> dict[str, int]:
    """Cuts the faces out of pictures and films: upright squares `out/NAME.png`, ready to train a face swap with.

    A face in a film is `out/NAME_000120.png`, with the number of its frame, the first being 0. Squares that would have
    one name, such as those of x.png and x.jpg, get different ones. Each keeps the five points of its face, as text in
    the PNG. `train` learns from them which faces of two people look the same way.

    Args:
        source: Folder of PNG, JPEG and WebP files and of films (`provenance.FILMS`), at any depth; or one such file.
        out: Folder to write; it is made. It is not the source's folder, nor in the source.
        size: Side of the squares in pixels, >= 32.
        every: Whether to cut out every face of a picture, as NAME_2.png and so on, or only the largest.
        every_frame: Step from one frame of a film to the next, >= 1.
        detect: Detector of faces, a function as `detector` returns; None: that one.
        verbose: Whether to show progress, on a terminal.

    Returns:
        Counts of files "written", and of "pictures", frames among them; among these, "no face", "tiny face", "several
        faces", "broken". A warning names the broken files.

    Raises:
        ZooError: `size` or `every_frame` out of range, no picture in `source`, one file that cannot be read, a folder
            that cannot be written or whose files are those of the source, a package is missing.
    """
    if size < TINY:
        raise ZooError(f"`size` must be >= {TINY} pixels. Received: {size}")
    if every_frame < 1:
        raise ZooError(f"`every_frame` must be >= 1. Received: {every_frame}")
    source, out, counts = Path(source), Path(out), Counter(written=0, pictures=0)
    inputs, names = _inputs(source), _Names()
    stems = {file: names.of_file(file, source) for file in inputs}  # all before the first face: no name moves by one
    _check_apart(source, out, [out / f"{stem}.png" for stem in stems.values()])
    if source.is_file() and _identity(out) == _identity(source.parent):
        raise ZooError(f"{shown(out)} is the folder of {shown(source)}; choose another one to write")
    is_read = _is_one_of(inputs)
    files.try_to_write(out / "face.png")
    detect, broken = detect or detector(), []

    def cut(file, suffix, pixels):
        counts["pictures"] += 1
        large = _usable(detect(pixels), counts)
        for i, face in enumerate(large if every else large[:1]):
            name = f"{stems[file]}{suffix}" + (f"_{i + 1}" if i else "")
            target = out / f"{names.free(name) if suffix or i else name}.png"
            if is_read(target):
                raise ZooError(f"{shown(target)} is a picture to read; choose another folder to write")
            crop = cut_out(pixels, face.points, size)
            text = {landmarks.KEY: landmarks.text(points_in_crop(face.points), crop)}
            provenance.write_image(crop, target, marked=False, text=text)
            counts["written"] += 1

    with _ending_in_order():
        for file in track(inputs, "extracting", verbose=verbose):
            try:
                with contextlib.closing(_pictures_of(file, every_frame)) as pictures:
                    for suffix, pixels in pictures:
                        cut(file, suffix, pixels)
            except films.Unreadable as error:
                if file == source:
                    raise
                counts["pictures"] += not _is_film(file)
                counts["broken"] += 1
                broken.append(error)
    _name_broken(source, broken, len(inputs))
    return dict(counts)


def swap(
    model: Any,
    source: PathLike,
    out: PathLike,
    *,
    to: str = "b",
    colour_match: bool = True,
    visible: bool = True,
    credential: tuple[PathLike, PathLike] | None = None,
    detect: Callable[[np.ndarray], list[Face]] | None = None,
    verbose: bool = True,
) -> dict[str, int]:
    """Swaps every face of a picture, a film or a folder of these, and puts it back in its place.

    A picture or a film without a face is copied as it is, and not marked. A film keeps its sound, the times of its
    frames, its colours and the shape of its pixels.

    Args:
        model: A `FaceSwap`.
        source: A picture, a film (`provenance.FILMS`), or a folder of them, at any depth.
        out: Picture, film or folder to write. It is not the source, nor in it.
        to: Person whose looks the faces get, "a" or "b".
        colour_match: Whether each swapped face gets the mean colour of the one that it replaces.
        visible: Whether changed pictures get the visible mark. They get the mark in the metadata in any case.
        credential: `(certificate, private key)`, see `provenance.write_image`.
        detect: Detector of faces, a function as `detector` returns; None: that one.
        verbose: Whether to show progress, on a terminal.

    Returns:
        Counts of pictures or frames "written", and of "faces" swapped; among the pictures or frames, "no face", "tiny
        face", "several faces"; of files that were "copied" as they are, and of "broken" ones, which a warning names.

    Raises:
        ZooError: `to` is neither, `source` cannot be read, `out` cannot be written or would replace what is read, or a
            package is missing.
    """
    if to not in ("a", "b"):
        raise ZooError(f"`to` must be 'a' or 'b'. Received: {to!r}")
    source, out, counts = Path(source), Path(out), Counter(written=0, faces=0)
    inputs = _inputs(source)
    targets = {file: out if file == source else out / file.relative_to(source) for file in inputs}
    _check_apart(source, out, targets.values())
    is_read = _is_one_of(inputs)
    for target in targets.values():
        if is_read(target):
            raise ZooError(f"{shown(target)} is a file to read; choose another one to write")
    files.try_to_write(next(iter(targets.values())))
    detect, broken = detect or detector(), []

    def swapped(pixels, counts):
        large = _usable(detect(pixels), counts)
        counts["faces"] += len(large)
        for face in large:
            pixels = put_back(model, pixels, face.points, to=to, colour_match=colour_match)
        # A picture in which nothing was changed is no composite: it gets no mark.
        return provenance.stamped(pixels) if visible and large else pixels, bool(large)

    with _ending_in_order():
        for file in track(inputs, "swapping", verbose=verbose and source.is_dir()):
            try:
                if _is_film(file):
                    counts.update(_swap_film(swapped, file, targets[file], credential, verbose and file == source))
                else:
                    _swap_picture(swapped, file, targets[file], credential, counts)
            except films.Unreadable as error:
                if file == source:
                    raise
                counts["broken"] += 1
                broken.append(error)
    _name_broken(source, broken, len(inputs))
    return dict(counts)


def cut_out(pixels: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    """Cuts out the square around a face, turned upright.

    Args:
        pixels: Picture, uint8 `(H, W, 3)`.
        points: Points of the face, `(5, 2)`, as in `Face`.
        size: Side of the square in pixels.

    Returns:
        uint8 `(size, size, 3)`; black where the picture ends.
    """
    return _warped(pixels, np.linalg.inv(_to_crop(points, size)), (size, size))


def points_in_crop(points: np.ndarray) -> np.ndarray:
    """Places of a face's points in its crop, x and y in sides of it: `(5, 2)`, near `TEMPLATE`."""
    return np.column_stack([points, np.ones(len(points))]) @ _to_crop(points, 1)[:2].T


def put_back(model: Any, pixels: np.ndarray, points: np.ndarray, *, to: str, colour_match: bool = True) -> np.ndarray:
    """Swaps one face of a picture: cuts it out, swaps it, matches its colours and puts it back with a soft edge.

    Args:
        model: A `FaceSwap`.
        pixels: Picture, uint8 `(H, W, 3)`.
        points: Points of the face, `(5, 2)`, as in `Face`.
        to: Person whose looks the face gets, "a" or "b".
        colour_match: Whether the swapped face gets the mean colour of the one that it replaces.

    Returns:
        The new picture, uint8 `(H, W, 3)`.
    """
    size = model.image_shape[0]
    to_crop = _to_crop(points, size)
    old = _warped(pixels, np.linalg.inv(to_crop), (size, size)).astype("float32") / 255
    if model.image_shape[-1] == 1:
        old = old.mean(-1, keepdims=True)
    new = np.broadcast_to(model.swap(old[None], to=to)[0], (size, size, 3))
    mask = soft_mask(size)
    if colour_match:
        share = mask / mask.sum()
        new = np.clip(new + (share * old).sum((0, 1)) - (share * new).sum((0, 1)), 0, 1)
    height, width = pixels.shape[:2]
    # Colours and alpha are warped apart: in one picture, colours of low alpha would be rounded to a visible rim.
    warped = _warped(np.round(255 * new).astype("uint8"), to_crop, (height, width)).astype("float32")
    alpha = _warped(np.round(255 * mask[..., 0]).astype("uint8"), to_crop, (height, width))[..., None] / 255
    return np.round((1 - alpha) * pixels + alpha * warped).astype("uint8")


def soft_mask(size: int) -> np.ndarray:
    """Mask of the face in a crop: 1 from brows to chin, falling smoothly to 0 around it.

        m = clip((1.1 - d) / 0.3, 0, 1)^2,    d: distance from the mask's centre, in radii of its ellipse

    Args:
        size: Side of the crop in pixels.

    Returns:
        `(size, size, 1)` float32, in [0, 1].
    """
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    distance = np.hypot((x - _MASK_CENTRE[0]) / _MASK_RADII[0], (y - _MASK_CENTRE[1]) / _MASK_RADII[1])
    return np.clip((_MASK_REACH - distance) / _MASK_RIM, 0, 1).astype("float32")[..., None] ** 2


def read_picture(file: PathLike) -> np.ndarray | None:
    """A picture as uint8 `(H, W, 3)`, upright, on black where transparent; None where it cannot be read."""
    try:
        return _read(Path(file))
    except films.Unreadable:
        return None


def _read(file):
    """As `read_picture`, but the error of an unreadable picture says why."""
    try:
        if file.is_symlink() and not file.exists():
            raise ValueError("a link that leads nowhere")
        with folder.opened(file) as image:
            return np.asarray(folder.upright(image, "RGB"), "uint8")
    except Exception as error:  # Pillow raises many kinds on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise films.Unreadable(f"{shown(file)} is no readable picture: {shown(reason)}") from None


def _inputs(source):
    """The pictures and films of a folder, sorted by path; or the one file."""
    known = (*folder.SUFFIXES, *provenance.FILMS)
    if not source.exists():
        raise ZooError(f"{shown(source)!r} does not exist")
    if not source.is_dir():
        if source.suffix.lower() not in known:
            raise ZooError(f"{shown(source)!r} is no picture and no film ({', '.join(known)})")
        return [source]
    inputs = [
        file
        for file in sorted(source.rglob("*"))
        if file.suffix.lower() in known
        and not file.is_dir()
        and not any(part.startswith(".") or part == _MACOS for part in file.relative_to(source).parts)
    ]
    if not inputs:
        raise ZooError(f"{shown(source)} holds no picture and no film ({', '.join(known)})")
    return inputs


def _is_film(file):
    return file.suffix.lower() in provenance.FILMS


def _pictures_of(file, every_frame):
    """`(suffix of names, pixels)` of a picture, or of every n-th frame of a film."""
    if not _is_film(file):
        yield "", _read(file)
        return
    form = films.header(file)
    with contextlib.closing(films.frames(file, form, every=every_frame)) as frames:
        for i, frame in enumerate(frames):
            yield f"_{i * every_frame:06}", frame.pixels


class _Names:
    """Names of files that differ, even where the file system takes no notice of case or of the spelling of accents."""

    def __init__(self):
        self._taken = set()

    def free(self, name: str, *others: str) -> str:
        """The first that is not taken of the name, the others, and the name with a number; it is taken then."""
        for candidate in itertools.chain((name, *others), (f"{name}_{i}" for i in itertools.count(2))):
            key = unicodedata.normalize("NFC", candidate).casefold()
            if key not in self._taken:
                self._taken.add(key)
                return candidate
        raise AssertionError("there is always a next number")

    def of_file(self, file: Path, source: Path) -> str:
        """The name of a file's first face: its path below the source with "_" for "/", and the suffix if need be."""
        name = "_".join((file.relative_to(source) if file != source else Path(file.name)).with_suffix("").parts)
        return self.free(name, f"{name}_{file.suffix[1:].lower()}")


def _identity(path):
    """Device and number of a file or folder, by whatever name or link; None where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _is_one_of(inputs):
    """A function of a path: whether it is a file of `inputs`, by whatever name or link."""
    identities = {_identity(file) for file in inputs} - {None}
    return lambda path: _identity(path) in identities


def _check_apart(source, out, targets):
    """Raises where files to write could take the places of a folder's files, or would be read the next time."""
    if not source.is_dir():
        return
    shown_source, shown_out = shown(source), shown(out)
    if out.exists() and not out.is_dir():
        raise ZooError(f"{shown_out} is a file, and {shown_source} a folder; name a folder to write")
    here, there = (Path(os.path.realpath(path)) for path in (source, out))
    if any(_identity(place) == _identity(here) for place in (there, *there.parents)):
        raise ZooError(f"{shown_out} is, or is in, the folder to read, {shown_source}; choose one outside it")
    is_around = out.exists() and any(_identity(place) == _identity(there) for place in here.parents)
    if is_around and (old := [target for target in targets if target.exists()]):
        raise ZooError(
            f"{shown_source} is in {shown_out}, whose {shown(old[0].name)} would be replaced; choose another one"
        )


def _name_broken(source, errors, n):
    if errors:
        lines = "\n".join(f"  {error}" for error in errors)
        warnings.warn(f"{shown(source)}: skipped {len(errors)} of {n} files:\n{lines}", stacklevel=3)


@contextlib.contextmanager
def _ending_in_order():
    """Context in which SIGTERM is an exception: temporary files and ffmpeg go with their contexts."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not (is_ours and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL):  # the program has a way of its own
        yield
        return

    def end(number, _):
        signal.signal(number, signal.SIG_IGN)  # a second one would end the cleaning
        sys.exit(_KILLED + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _usable(faces, counts):
    """The faces that are large enough; all are counted in `counts`."""
    large = [face for face in faces if face.size >= TINY]
    counts["no face"] += not faces
    counts["tiny face"] += bool(faces) and not large
    counts["several faces"] += len(large) > 1
    return large


def _to_crop(points, size):
    """The similarity that brings a face's points nearest to the template (Umeyama 1991): 3 x 3, to pixels of a crop."""
    target = TEMPLATE * size
    x, y = points - points.mean(0), target - target.mean(0)
    # In the plane a rotation with a scale is one complex number, and the best one is a quotient.
    x, y = x @ [1, 1j], y @ [1, 1j]
    turn = np.vdot(x, y) / max(np.vdot(x, x).real, _LEAST_SPREAD)
    matrix = np.array([[turn.real, -turn.imag, 0], [turn.imag, turn.real, 0], [0, 0, 1]])
    matrix[:2, 2] = target.mean(0) - matrix[:2, :2] @ points.mean(0)
    return matrix


def _warped(pixels, from_new, shape):
    """A new picture of `shape`, black beyond the old one. The 3 x 3 matrix maps its places to those in the old one."""
    from PIL import Image

    height, width = shape
    shrink = max(1, math.floor(np.sqrt(abs(np.linalg.det(from_new[:2, :2])))))
    image = _image(pixels)
    if shrink > 1:  # averaging first, else fine patterns would alias
        image = image.reduce(shrink)
        from_new = np.diag([1 / shrink, 1 / shrink, 1]) @ from_new
    # Pillow maps the centres of pixels, half a pixel from their corners.
    return np.asarray(
        image.transform((width, height), Image.Transform.AFFINE, from_new[:2].ravel(), Image.Resampling.BICUBIC)
    )


def _image(pixels):
    from PIL import Image

    return Image.fromarray(pixels)


def _swap_picture(swapped, file, target, credential, counts):
    """Writes a picture after `swapped`, or copies it where that has changed nothing."""
    result, changed = swapped(_read(file), counts)
    if not changed and _kind(file) == _kind(target):
        with files.aside(target) as temporary:
            shutil.copyfile(file, temporary)
        counts["copied"] += 1
    else:
        provenance.write_image(result, target, marked=changed, credential=credential)
    counts["written"] += 1


def _swap_film(swapped, source, out, credential, verbose):
    """Writes a film whose frames are those of `source` after `swapped`, or copies it; returns the counts of frames."""
    if out.suffix.lower() not in provenance.FILMS:
        raise ZooError(f"A film is written as {', '.join(provenance.FILMS)}. Received: {shown(out)!r}")
    form, counts = films.header(source), Counter()
    # The frames before the first face, which are not looked at twice. Without a face nothing is encoded.
    with contextlib.closing(films.frames(source, form)) as frames:
        for frame in track(frames, "looking for a face", verbose=verbose, total=form.n_frames):
            seen = Counter()
            if swapped(frame.pixels, seen)[1]:
                break
            counts.update(seen, written=1)
        else:
            if not counts["written"]:
                raise films.Unreadable(f"{shown(source)} has no frame that can be read")
            with files.aside(out) as temporary:
                copy = shutil.copyfile if _kind(source) == _kind(out) else films.remux
                copy(source, temporary)
            return counts + Counter(copied=1)
    n_plain = counts["written"]
    with files.aside(out) as temporary:
        with (
            films.Writer(temporary, source, form, provenance.film_arguments()) as writer,
            contextlib.closing(films.frames(source, form)) as frames,
        ):
            for i, frame in enumerate(track(frames, "swapping", verbose=verbose, total=form.n_frames)):
                writer.write(frame.pixels if i < n_plain else swapped(frame.pixels, counts)[0], frame)
        counts["written"] = writer.n_frames
        if credential:
            provenance.sign(temporary, credential)
    return counts


def _kind(file):
    """The suffix of a file's format."""
    return file.suffix.lower().replace(".jpeg", ".jpg")
