"""Says of a picture or a film that a model made part of it: in its metadata, in sight, and in a signed manifest; and
reads that back.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from keras_genzoo import __version__
from keras_genzoo.errors import ZooError

# IPTC's term for an image of which a trained model made a part.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
FILMS = (".mp4", ".mov", ".mkv")
_TOOL = f"keras_genzoo {__version__}"
_PNG_KEY = "XML:com.adobe.xmp"
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}" xmp:CreatorTool="{_TOOL}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_PATTERN = re.compile(r"https?://cv\.iptc\.org/newscodes/digitalsourcetype/(\w+)")


def write_image(pixels, path, *, marked=True, credential=None, text=None):
    """Writes an image, with its provenance where `marked`; the file is written aside and renamed.

    Args:
        pixels: uint8 `(H, W, 3)`.
        path: `.png`, `.jpg`, `.jpeg` or `.webp`.
        marked: False of a picture in which nothing is made: it gets neither mark nor manifest.
        credential: `(certificate, private key)`, paths of PEM files, to sign a C2PA manifest with; None: no manifest.
        text: Of a PNG, what else to say in it: a dict of key and text.

    Raises:
        ZooError: Another suffix, a folder that cannot be written, a full disk, a bad certificate.
    """
    from PIL import Image, PngImagePlugin

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGES:
        raise ZooError(f"An image is written as {', '.join(IMAGES)}. Received: {str(path)!r}")
    options = {} if suffix == ".png" else {"quality": 95}
    if suffix == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        texts = dict(text or {})
        if marked:
            texts[_PNG_KEY] = _XMP
        for key, said in texts.items():
            options["pnginfo"].add_itxt(key, said)
    elif marked:
        options["xmp"] = _XMP.encode()
    with aside(path) as temporary:
        Image.fromarray(pixels).save(temporary, **options)
        if marked and credential:
            sign(temporary, credential)
    return path


class aside:
    """Context: a temporary name beside `path` that takes its place when the block ends well, else disappears."""

    def __init__(self, path):
        self.path = Path(path)

    def __enter__(self):
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=self.path.suffix, dir=self.path.parent)
        except OSError as error:
            raise ZooError(f"Cannot write {self.path}: {error.strerror or error}") from None
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind, error, _):
        try:
            if kind is None:
                self.temporary.chmod(0o644)
                os.replace(self.temporary, self.path)
        except OSError as failure:
            kind, error = type(failure), failure
        finally:
            self.temporary.unlink(missing_ok=True)
        if kind is not None and issubclass(kind, OSError):
            raise ZooError(f"Cannot write {self.path}: {error.strerror or error}") from error


def stamped(pixels):
    """The picture with the visible mark: "AI" on a dark plate in its lower left corner; uint8 `(H, W, 3)`."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(pixels)
    size = max(9, min(image.size) // 16)
    font, edge = ImageFont.load_default(size), max(2, size // 4)
    draw = ImageDraw.Draw(image, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), "AI", font=font)
    width, height = right - left + 2 * edge, bottom - top + 2 * edge
    y = image.height - height
    draw.rectangle([0, y, width, image.height], fill=(0, 0, 0, 160))
    draw.text((edge - left, y + edge - top), "AI", font=font, fill=(255, 255, 255, 255))
    return np.asarray(image)


def film_arguments():
    """What ffmpeg is told to write into a film's metadata."""
    return ["-metadata", f"comment={SOURCE_TYPE}", "-metadata", f"description=made with {_TOOL}"]


def read(path):
    """What a file says of itself.

    Returns:
        Dict of `digital_source_type`, IPTC's term such as "compositeWithTrainedAlgorithmicMedia", or None where the
        file says nothing; and `c2pa`, the state of its C2PA manifest ("Valid", "Trusted", "Invalid"), or None where it
        has none or c2pa-python is not installed.

    Raises:
        ZooError: No such file, or one that is neither an image nor a film.
    """
    path = Path(path)
    if not path.is_file():
        raise ZooError(f"{str(path)!r} does not exist" if not path.exists() else f"{str(path)!r} is no file")
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        said = _said_by_image(path)
    elif suffix in FILMS:
        said = _said_by_film(path)
    else:
        raise ZooError(f"Provenance is read of {', '.join(IMAGES + FILMS)}. Received: {str(path)!r}")
    found = _PATTERN.search(said)
    return {"digital_source_type": found[1] if found else None, "c2pa": _manifest_state(path)}


def _said_by_image(path):
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # a PNG may have its text after the pixels
            said = image.info.get("xmp") or image.info.get(_PNG_KEY) or ""
    except Exception as error:  # whatever a damaged file makes Pillow raise
        raise ZooError(f"{path} is no readable image: {' '.join(str(error).split())}") from None
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _said_by_film(path):
    command = [ffmpeg(), "-v", "error", "-i", str(path), "-f", "ffmetadata", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ZooError(f"{path} is no readable film: {' '.join(done.stderr.split())}")
    return done.stdout.replace("\\", "")


def ffmpeg():
    """The path of imageio-ffmpeg's ffmpeg; a ZooError where it is not installed."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise ZooError("Films need imageio-ffmpeg: pip install 'keras-genzoo[faces]'") from None
    return imageio_ffmpeg.get_ffmpeg_exe()


def sign(path, credential):
    """Puts a C2PA manifest into a file, signed with `credential`, `(certificate, private key)` as paths of PEM files.

    The key is one for ES256, of the curve P-256. Without a time stamp: no server is asked.
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
    path = Path(path)
    signed = path.with_name(f"{path.stem}.signed{path.suffix}")
    try:
        with (
            c2pa.Signer.from_info(c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, *pems, None)) as signer,
            c2pa.Builder(json.dumps(manifest)) as builder,
        ):
            builder.sign_file(path, signed, signer)
        os.replace(signed, path)
    except c2pa.C2paError as error:
        raise ZooError(f"Cannot sign with {certificate}: {' '.join(str(error).split())}") from None
    finally:
        signed.unlink(missing_ok=True)


def _manifest_state(path):
    try:
        import c2pa
    except ImportError:
        return None
    try:
        with c2pa.Reader(path) as reader:
            return reader.get_validation_state()
    except c2pa.C2paError:  # it has none
        return None
