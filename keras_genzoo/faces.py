"""Finds faces in real pictures and films, cuts them out upright, swaps them and puts them back.

For faces of people who have agreed to it. The files that `swap` writes carry their provenance, see `provenance`.
"""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_genzoo import files, provenance
from keras_genzoo.data import folder
from keras_genzoo.errors import ZooError
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
_FILM_QUALITY = 8  # imageio-ffmpeg's scale, of 10; its default is 5


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
    detect: Callable[[np.ndarray], list[Face]] | None = None,
    verbose: bool = True,
) -> dict[str, int]:
    """Cuts the faces out of a folder of pictures: upright squares `out/NAME.png`, ready to train a face swap with.

    Each file keeps the five points of its face, as text in the PNG. `train` learns from them which faces of two people
    look the same way.

    Args:
        source: Folder of PNG, JPEG and WebP files, at any depth; or one such file.
        out: Folder to write; it is made.
        size: Side of the squares in pixels, >= 32.
        every: Whether to cut out every face of a picture, as NAME_2.png and so on, or only the largest.
        detect: Detector of faces, a function as `detector` returns; None: that one.
        verbose: Whether to show progress, on a terminal.

    Returns:
        Counts of files "written", and of "pictures"; among these, "no face", "tiny face", "several faces", "broken".

    Raises:
        ZooError: `size` out of range, no picture in `source`, a folder that cannot be written, mtcnn is missing.
    """
    if size < TINY:
        raise ZooError(f"`size` must be >= {TINY} pixels. Received: {size}")
    pictures = _pictures(source)
    root, out, counts = Path(source), Path(out), Counter(written=0, pictures=len(pictures))
    detect = detect or detector()
    for file in track(pictures, "extracting", verbose=verbose):
        pixels = read_picture(file)
        if pixels is None:
            counts["broken"] += 1
            continue
        large = _usable(detect(pixels), counts)
        stem = file.stem if root.is_file() else "_".join(file.relative_to(root).with_suffix("").parts)
        for i, face in enumerate(large if every else large[:1]):
            crop = cut_out(pixels, face.points, size)
            name = f"{stem}_{i + 1}.png" if i else f"{stem}.png"
            text = {landmarks.KEY: landmarks.text(points_in_crop(face.points), crop)}
            provenance.write_image(crop, out / name, marked=False, text=text)
            counts["written"] += 1
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
    """Swaps every face of a picture, a folder of pictures or a film, and puts it back in its place.

    Args:
        model: A `FaceSwap`.
        source: A picture, a folder of them, or a film (`provenance.FILMS`). Frames without a face pass through.
        out: Picture, folder or film to write.
        to: Person whose looks the faces get, "a" or "b".
        colour_match: Whether each swapped face gets the mean colour of the one that it replaces.
        visible: Whether changed pictures get the visible mark. They get the mark in the metadata in any case.
        credential: `(certificate, private key)`, see `provenance.write_image`.
        detect: Detector of faces, a function as `detector` returns; None: that one.
        verbose: Whether to show progress, on a terminal.

    Returns:
        Counts of pictures or frames "written", and of "faces" swapped; among the pictures or frames, "no face", "tiny
        face", "several faces", "broken".

    Raises:
        ZooError: `to` is neither, `source` cannot be read, `out` cannot be written, or a package is missing.
    """
    if to not in ("a", "b"):
        raise ZooError(f"`to` must be 'a' or 'b'. Received: {to!r}")
    source, out, counts = Path(source), Path(out), Counter(written=0, faces=0)
    detect = detect or detector()

    def swapped(pixels):
        large = _usable(detect(pixels), counts)
        counts["faces"] += len(large)
        for face in large:
            pixels = put_back(model, pixels, face.points, to=to, colour_match=colour_match)
        # A picture in which nothing was changed is no composite: it gets no mark.
        return provenance.stamped(pixels) if visible and large else pixels, bool(large)

    if source.suffix.lower() in provenance.FILMS and not source.is_dir():
        _swap_film(swapped, source, out, counts, credential, verbose)
        return dict(counts)
    pictures = _pictures(source)
    for file in track(pictures, "swapping", verbose=verbose):
        pixels = read_picture(file)
        if pixels is None:
            if not source.is_dir():
                raise ZooError(f"{file} is no readable picture")
            counts["broken"] += 1
            continue
        result, changed = swapped(pixels)
        target = out / file.relative_to(source) if source.is_dir() else out
        provenance.write_image(result, target, marked=changed, credential=credential)
        counts["written"] += 1
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
    from PIL import Image

    try:
        with Image.open(file) as image:
            return np.asarray(folder.upright(image, "RGB"), "uint8")
    except Exception:  # Pillow raises many kinds on a damaged file
        return None


def _pictures(source):
    """The files of a folder that are pictures, sorted by path; or the one file."""
    source = Path(source)
    if not source.exists():
        raise ZooError(f"{str(source)!r} does not exist")
    if source.is_file():
        if source.suffix.lower() not in folder.SUFFIXES:
            known = ", ".join((*folder.SUFFIXES, *provenance.FILMS))
            raise ZooError(f"{str(source)!r} is no picture and no film ({known})")
        return [source]
    pictures = [file for file in sorted(source.rglob("*")) if file.suffix.lower() in folder.SUFFIXES]
    if not pictures:
        raise ZooError(f"{source} holds no picture ({', '.join(folder.SUFFIXES)})")
    return pictures


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


def _swap_film(swapped, source, out, counts, credential, verbose):
    """Writes a film whose frames are those of `source` after `swapped`, with its sound; `counts` the frames."""
    provenance.ffmpeg()  # raises the error that says how to install it
    import imageio_ffmpeg

    if not source.is_file():
        raise ZooError(f"{str(source)!r} does not exist")
    if out.suffix.lower() not in provenance.FILMS:
        raise ZooError(f"A film is written as {', '.join(provenance.FILMS)}. Received: {str(out)!r}")
    frames = imageio_ffmpeg.read_frames(str(source))
    try:
        header: dict[str, Any] = next(frames)
        width, height = header["size"]
        n_frames = round(header["fps"] * header["duration"])
    except Exception as error:  # imageio-ffmpeg raises many kinds on a broken film
        raise ZooError(f"{source} is no readable film: {' '.join(str(error).split())[:200]}") from None
    with files.aside(out) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (width, height),
            fps=header["fps"],
            macro_block_size=2,
            quality=_FILM_QUALITY,
            audio_path=str(source) if header.get("audio_codec") else None,
            output_params=provenance.film_arguments(),
        )
        writer.send(None)
        try:
            for frame in track(frames, "swapping", verbose=verbose, total=n_frames):
                pixels = np.frombuffer(frame, "uint8").reshape(height, width, 3)
                writer.send(np.ascontiguousarray(swapped(pixels)[0]))
                counts["written"] += 1
        finally:
            writer.close()
        if not counts["written"]:
            raise ZooError(f"{source} has no frame that can be read")
        if credential:
            provenance.sign(temporary, credential)
