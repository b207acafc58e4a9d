"""Faces in real pictures and films: found, cut out upright, swapped and put back.

For people who have agreed to it. What `swap` writes carries its provenance, see `provenance`.
"""

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_genzoo import data, provenance
from keras_genzoo.errors import ZooError
from keras_genzoo.progress import track

# Where eyes, nose and the corners of the mouth come to lie in a crop, x and y in sides of it: the means over the
# rendered people's training images, so that crops look like what faceswap_rendered was trained on.
TEMPLATE = np.array([[0.381, 0.327], [0.623, 0.328], [0.501, 0.435], [0.404, 0.618], [0.600, 0.617]])
TINY = 32  # pixels: a face with a smaller box is left alone, there is too little to see
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_CERTAIN = 0.9


class Face(NamedTuple):
    """A face in a picture.

    Attributes:
        points: Eyes (the picture's left one first), nose, corners of the mouth: `(5, 2)`, x and y in pixels.
        size: The shorter side of its box, in pixels.
        certainty: In [0, 1].
    """

    points: np.ndarray
    size: float
    certainty: float


def detector():
    """A function of uint8 images `(H, W, 3)` to their `Face`s, the largest first: MTCNN (Zhang et al. 2016).

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
            found = network.detect_faces(pixels) or []
        except ValueError:  # no window of the picture passes the first of the three networks
            found = []
        faces = [
            Face(
                points=np.array([face["keypoints"][name] for name in _POINTS], "float64"),
                size=float(min(face["box"][2:])),
                certainty=float(face["confidence"]),
            )
            for face in found
            if face["confidence"] >= _CERTAIN
        ]
        return sorted(faces, key=lambda face: -face.size)

    return detect


def extract(source, out, *, size=128, every=False, detect=None, verbose=True):
    """Cuts the faces out of a folder of pictures: upright squares `out/NAME.png`, ready to train a face swap with.

    Each file keeps the five points of its face, as text in the PNG: `train` learns from them which faces of two people
    look the same way.

    Args:
        source: Folder of PNG, JPEG and WebP files, at any depth; or one such file.
        out: Folder to write; it is made.
        size: Side of the squares in pixels, >= 32.
        every: Every face of a picture, as NAME_2.png and so on; else only the largest.
        detect: A function as `detector` returns; None: that one.
        verbose: Show progress, on a terminal.

    Returns:
        Counts: "written", "pictures", and of pictures "no face", "tiny face", "several faces", "broken".

    Raises:
        ZooError: No picture in `source`, a folder that cannot be written, mtcnn is missing.
    """
    if size < TINY:
        raise ZooError(f"`size` must be >= {TINY} pixels. Received: {size}")
    files = _pictures(source)
    root, out, counts = Path(source), Path(out), Counter(written=0, pictures=len(files))
    detect = detect or detector()
    for file in track(files, "extracting", verbose=verbose):
        pixels = read_picture(file)
        if pixels is None:
            counts["broken"] += 1
            continue
        large = _usable(detect(pixels), counts)
        stem = file.stem if root.is_file() else "_".join(file.relative_to(root).with_suffix("").parts)
        for i, face in enumerate(large if every else large[:1]):
            crop = cut_out(pixels, face.points, size)
            name = f"{stem}_{i + 1}.png" if i else f"{stem}.png"
            text = {data.LANDMARKS: data.landmarks_text(points_in_crop(face.points), crop)}
            provenance.write_image(crop, out / name, marked=False, text=text)
            counts["written"] += 1
    return dict(counts)


def swap(model, source, out, *, to="b", colour_match=True, visible=True, credential=None, detect=None, verbose=True):
    """Swaps every face of a picture, a folder of pictures or a film, and puts it back in its place.

    Args:
        model: A `FaceSwap`.
        source: A picture, a folder of them, or a film (`provenance.FILMS`). Frames without a face pass through.
        out: Where to write: a picture, a folder, or a film.
        to: Whose looks the faces get, "a" or "b".
        colour_match: Give each swapped face the mean colour of the one it replaces.
        visible: Put the visible mark on what is written. The mark in the metadata is always there.
        credential: See `provenance.write_image`.
        detect: A function as `detector` returns; None: that one.
        verbose: Show progress, on a terminal.

    Returns:
        Counts: "written" pictures or frames, "faces" swapped, and of pictures or frames "no face", "tiny face",
        "several faces", "broken".
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
    files = _pictures(source)
    for file in track(files, "swapping", verbose=verbose):
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


def cut_out(pixels, points, size):
    """The square around a face, turned upright: uint8 `(size, size, 3)`."""
    return _warped(pixels, np.linalg.inv(_to_crop(points, size)), (size, size))


def points_in_crop(points):
    """Where points of a picture lie in its crop, x and y in sides of it: `(5, 2)`, near `TEMPLATE`."""
    return np.column_stack([points, np.ones(len(points))]) @ _to_crop(points, 1)[:2].T


def put_back(model, pixels, points, *, to, colour_match=True):
    """The picture with one face swapped: cut out, through the model, colours matched, back with a soft edge."""
    size = model.image_shape[0]
    to_crop = _to_crop(points, size)
    seen = _warped(pixels, np.linalg.inv(to_crop), (size, size)).astype("float32") / 255
    if model.image_shape[-1] == 1:
        seen = seen.mean(-1, keepdims=True)
    new = np.broadcast_to(model.swap(seen[None], to=to)[0], (size, size, 3))
    mask = soft_mask(size)
    if colour_match:
        share = mask / mask.sum()
        new = np.clip(new + (share * seen).sum((0, 1)) - (share * new).sum((0, 1)), 0, 1)
    height, width = pixels.shape[:2]
    # Each for itself: as one picture with an alpha channel, thin colours would be rounded to a visible rim.
    back = _warped(np.round(255 * new).astype("uint8"), to_crop, (height, width)).astype("float32")
    alpha = _warped(np.round(255 * mask[..., 0]).astype("uint8"), to_crop, (height, width))[..., None] / 255
    return np.round((1 - alpha) * pixels + alpha * back).astype("uint8")


def soft_mask(size):
    """1 on the face in a crop, from brows to chin, falling smoothly to 0 around it: `(size, size, 1)` float32."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    distance = np.hypot((x - 0.5) / 0.30, (y - 0.52) / 0.36)
    return np.clip((1.1 - distance) / 0.3, 0, 1).astype("float32")[..., None] ** 2


def read_picture(file):
    """A picture as uint8 `(H, W, 3)`, upright, on black where transparent; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return np.asarray(data.upright(image, "RGB"), "uint8")
    except Exception:  # whatever a damaged file makes Pillow raise
        return None


def _pictures(source):
    source = Path(source)
    if not source.exists():
        raise ZooError(f"{str(source)!r} does not exist")
    if source.is_file():
        if source.suffix.lower() not in data.SUFFIXES:
            known = ", ".join((*data.SUFFIXES, *provenance.FILMS))
            raise ZooError(f"{str(source)!r} is no picture and no film ({known})")
        return [source]
    files = [file for file in sorted(source.rglob("*")) if file.suffix.lower() in data.SUFFIXES]
    if not files:
        raise ZooError(f"{source} holds no picture ({', '.join(data.SUFFIXES)})")
    return files


def _usable(faces, counts):
    """The faces that are large enough; all are counted."""
    large = [face for face in faces if face.size >= TINY]
    counts["no face"] += not faces
    counts["tiny face"] += bool(faces) and not large
    counts["several faces"] += len(large) > 1
    return large


def _to_crop(points, size):
    """The similarity that brings a face's points nearest to the template (Umeyama 1991): 3 x 3, to pixels of a crop."""
    target = TEMPLATE * size
    x, y = points - points.mean(0), target - target.mean(0)
    # In the plane a turn with a scale is one complex number, and the best one a quotient.
    x, y = x @ [1, 1j], y @ [1, 1j]
    turn = np.vdot(x, y) / max(np.vdot(x, x).real, 1e-9)
    matrix = np.array([[turn.real, -turn.imag, 0], [turn.imag, turn.real, 0], [0, 0, 1]])
    matrix[:2, 2] = target.mean(0) - matrix[:2, :2] @ points.mean(0)
    return matrix


def _warped(pixels, from_new, shape):
    """Pixels of a new picture of `shape`, each from where the 3 x 3 matrix says it is in the old one; black beyond."""
    from PIL import Image

    height, width = shape
    shrink = max(1, math.floor(np.sqrt(abs(np.linalg.det(from_new[:2, :2])))))
    image = _image(pixels)
    if shrink > 1:  # the mean of what falls into a pixel, or fine patterns would alias
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
    provenance.ffmpeg()  # or the error that says how to install it
    import imageio_ffmpeg

    if not source.is_file():
        raise ZooError(f"{str(source)!r} does not exist")
    if out.suffix.lower() not in provenance.FILMS:
        raise ZooError(f"A film is written as {', '.join(provenance.FILMS)}. Received: {str(out)!r}")
    frames = imageio_ffmpeg.read_frames(str(source))
    try:
        about = next(frames)
        width, height = about["size"]
        n_frames = round(about["fps"] * about["duration"])
    except Exception as error:  # whatever ffmpeg says of a broken film
        raise ZooError(f"{source} is no readable film: {' '.join(str(error).split())[:200]}") from None
    with provenance.aside(out) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (width, height),
            fps=about["fps"],
            macro_block_size=2,
            quality=8,
            audio_path=str(source) if about.get("audio_codec") else None,
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
