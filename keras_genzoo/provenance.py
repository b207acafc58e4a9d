"""Marks pictures and films of which a model made a part, and reads these marks.

There are three marks: an entry in the metadata, a visible mark, and a signed manifest.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo import __version__, files
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import PathLike

# IPTC's term for an image of which a trained model made a part.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
IMAGES = (".png", ".jpg", ".jpeg", ".webp")  # suffixes
_FORMATS = ("PNG", "JPEG", "WEBP")  # Pillow's names of those images: its other readers are not asked
FILMS = (".mp4", ".mov", ".mkv")
_QUALITY = 95  # quality of JPEG and WebP, of 100; above 95 files grow with hardly any gain (Pillow's manual)
_MARK_SHARE, _LEAST_MARK = 16, 9  # the visible mark's height: this part of the shorter side, at least 9 pixels
_TOOL = f"keras_genzoo {__version__}"
_PNG_KEY = "XML:com.adobe.xmp"  # the PNG text in which readers of XMP look for it
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}" xmp:CreatorTool="{_TOOL}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_SOURCE_TYPE_PATTERN = re.compile(r"https?://cv\.iptc\.org/newscodes/digitalsourcetype/(\w+)")


def write_image(
    pixels: np.ndarray,
    path: PathLike,
    *,
    marked: bool = True,
    credential: tuple[PathLike, PathLike] | None = None,
    text: Mapping[str, str] | None = None,
) -> Path:
    """Writes an image with its provenance. The file is written aside and renamed.

    Args:
        pixels: Picture, uint8 `(H, W, 3)`.
        path: File to write: `.png`, `.jpg`, `.jpeg` or `.webp`.
        marked: Whether a model made a part of the picture. Without it the file gets neither mark nor manifest.
        credential: `(certificate, private key)`, paths of the PEM files that sign a C2PA manifest; None: no manifest.
        text: More text for a PNG, by key; other formats drop it.

    Returns:
        `path`.

    Raises:
        ZooError: Another suffix, a folder that cannot be written, a full disk, a bad certificate.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from keras_genzoo import provenance
        >>> file = provenance.write_image(np.zeros((8, 8, 3), "uint8"), tempfile.mkdtemp() + "/black.png")
        >>> provenance.read(file)["digital_source_type"]
        'compositeWithTrainedAlgorithmicMedia'
    """
    from PIL import Image, PngImagePlugin

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGES:
        raise ZooError(f"An image is written as {', '.join(IMAGES)}. Received: {str(path)!r}")
    options: dict[str, Any] = {} if suffix == ".png" else {"quality": _QUALITY}
    if suffix == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        texts = dict(text or {})
        if marked:
            texts[_PNG_KEY] = _XMP
        for key, value in texts.items():
            options["pnginfo"].add_itxt(key, value)
    elif marked:
        options["xmp"] = _XMP.encode()
    with files.aside(path) as temporary:
        Image.fromarray(pixels).save(temporary, **options)
        if marked and credential:
            sign(temporary, credential)
    return path


def stamped(pixels: np.ndarray) -> np.ndarray:
    """The picture with the visible mark, "AI" on a dark plate in its lower left corner; both uint8 `(H, W, 3)`."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(pixels)
    size = max(_LEAST_MARK, min(image.size) // _MARK_SHARE)
    font, edge = ImageFont.load_default(size), max(2, size // 4)
    draw = ImageDraw.Draw(image, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), "AI", font=font)
    width, height = right - left + 2 * edge, bottom - top + 2 * edge
    y = image.height - height
    draw.rectangle([0, y, width, image.height], fill=(0, 0, 0, 160))
    draw.text((edge - left, y + edge - top), "AI", font=font, fill=(255, 255, 255, 255))
    return np.asarray(image)


def film_arguments() -> list[str]:
    """ffmpeg's arguments that mark a film in its metadata."""
    return ["-metadata", f"comment={SOURCE_TYPE}", "-metadata", f"description=made with {_TOOL}"]


def read(path: PathLike) -> dict[str, str | None]:
    """Reads the provenance of a file.

    Args:
        path: Image or film.

    Returns:
        Dict of `digital_source_type`, IPTC's term such as "compositeWithTrainedAlgorithmicMedia", or None where the
        file has none; and `c2pa`, the state of its C2PA manifest ("Valid", "Trusted", "Invalid"), or None where it
        has none or c2pa-python is not installed.

    Raises:
        ZooError: No such file, or one that is neither an image nor a film.
    """
    path = Path(path)
    if not path.is_file():
        raise ZooError(f"{str(path)!r} does not exist" if not path.exists() else f"{str(path)!r} is no file")
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        metadata = _image_metadata(path)
    elif suffix in FILMS:
        metadata = _film_metadata(path)
    else:
        raise ZooError(f"Provenance is read of {', '.join(IMAGES + FILMS)}. Received: {str(path)!r}")
    match = _SOURCE_TYPE_PATTERN.search(metadata)
    return {"digital_source_type": match[1] if match else None, "c2pa": _manifest_state(path)}


def _image_metadata(path):
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()  # a PNG may have its text after the pixels
            xmp = image.info.get("xmp") or image.info.get(_PNG_KEY) or ""
    except Exception as error:  # Pillow raises many kinds on a damaged file
        raise ZooError(f"{path} is no readable image: {' '.join(str(error).split())}") from None
    return xmp.decode(errors="replace") if isinstance(xmp, bytes) else xmp


def _film_metadata(path):
    command = [ffmpeg(), "-v", "error", "-i", f"file:{path}", "-f", "ffmetadata", "-"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if result.returncode:
        raise ZooError(f"{path} is no readable film: {' '.join(result.stderr.split())}")
    return result.stdout.replace("\\", "")  # ffmetadata escapes its special characters


def ffmpeg() -> str:
    """Path of imageio-ffmpeg's ffmpeg.

    Raises:
        ZooError: imageio-ffmpeg is not installed, or has no ffmpeg.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise ZooError("Films need imageio-ffmpeg: pip install 'keras-genzoo[faces]'") from None
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:  # a wheel without the program, and none on the system
        raise ZooError(f"imageio-ffmpeg has no ffmpeg: {' '.join(str(error).split())}") from None


def sign(path: PathLike, credential: tuple[PathLike, PathLike]) -> None:
    """Puts a signed C2PA manifest into a file. It has no time stamp, so that no server is asked.

    Args:
        path: Image or film.
        credential: `(certificate, private key)`, paths of PEM files. The key is for ES256, on the curve P-256.

    Raises:
        ZooError: c2pa-python is not installed, a PEM file cannot be read, or the certificate does not fit.
    """
    try:
        import c2pa
    except ImportError:
        raise ZooError("A C2PA manifest needs c2pa-python: pip install 'keras-genzoo[c2pa]'") from None
    certificate, key = credential
    manifest = {
        "claim_generator_info": [{"name": "keras_genzoo", "version": __version__}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}]},
            }
        ],
    }
    pems = []
    for file in (certificate, key):
        try:
            pems.append(Path(file).read_bytes())
        except OSError as error:
            raise ZooError(f"Cannot read {file}: {error.strerror or error}") from None
    try:
        with (
            files.aside(path) as signed,
            c2pa.Signer.from_info(c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, pems[0], pems[1], None)) as signer,
            c2pa.Builder(json.dumps(manifest)) as builder,
        ):
            builder.sign_file(Path(path), signed, signer)
    except c2pa.C2paError as error:
        raise ZooError(f"Cannot sign with {certificate}: {' '.join(str(error).split())}") from None


def _manifest_state(path):
    """The state of a file's C2PA manifest; None where it has none or c2pa-python is not installed."""
    try:
        import c2pa
    except ImportError:
        return None
    try:
        with c2pa.Reader(path) as reader:
            return reader.get_validation_state()
    except c2pa.C2paError:  # no manifest
        return None
