"""Presets and weights that lie elsewhere: fetched once, kept in the user's cache, bounded in size, checked by hash."""

import contextlib
import hashlib
import http.client
import json
import lzma
import os
import re
import stat
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import Any

from keras_genzoo import files
from keras_genzoo.errors import ZooError, one_line, reason

HUB = "hf://"  # start of the addresses of Hugging Face's hub
_WEB = ("https://", "http://")
# Files of a preset's folder; nothing else is fetched or unpacked.
FILES = (
    "preset.yaml", "model.weights.h5", "weights.json", "metrics.json", "exports.json", "history.json", "golden.npz",
    "samples.png", "README.md",
)  # fmt: skip
_MOST_BYTES = 2_000_000_000  # of a preset
_MOST_RATIO = 200  # of unpacked to packed bytes: more is a bomb
_CHUNK = 1 << 20
_SECONDS = 30  # time within which a host must answer
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_NAME = re.compile(r"\w[\w .-]*")  # name of a preset, which is also that of a folder
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_address(name: Any) -> bool:
    """Whether a name is that of a place elsewhere: "hf://USER/NAME", "https://HOST/NAME.zip"."""
    return isinstance(name, str) and "://" in name


def fetch(address: str) -> tuple[Path, str]:
    """The folder of a preset that lies elsewhere, on this machine: `(folder, name)`.

    Args:
        address: "hf://USER/NAME" with "@REVISION" behind it or not, or "https://HOST/PATH/NAME.zip".

    Raises:
        ZooError: An address of another kind, no such preset, no network and no copy from before, a damaged archive, or
            a package that is not installed.
    """
    if address.startswith(HUB):
        return _from_hub(address)
    if address.startswith(_WEB):
        return _from_web(address)
    raise ZooError(
        f"A preset elsewhere is hf://USER/NAME or https://HOST/NAME.zip. Received: {one_line(address, 120)!r}"
    )


# === Hugging Face's hub ===


def repository(address: str) -> tuple[str, str | None]:
    """The repository and the revision of a hub address: "hf://me/vae@v1" -> ("me/vae", "v1").

    Raises:
        ZooError: It is no address of a repository.
    """
    name, at, revision = address.removeprefix(HUB).partition("@")
    if not address.startswith(HUB) or not _REPOSITORY.fullmatch(name) or (at and not revision):
        raise ZooError(
            f"A preset on the hub is hf://USER/NAME or hf://USER/NAME@REVISION. Received: {one_line(address, 120)!r}"
        )
    return name, revision or None


def hub() -> Any:
    """The package huggingface_hub.

    Raises:
        ZooError: It is not installed.
    """
    # Its progress bars are no messages, and it sends no news of its use.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise ZooError(
            f"{HUB} addresses need huggingface_hub: pip install 'keras-genzoo[hub]' ({reason(error)})"
        ) from error
    return huggingface_hub


def _from_hub(address):
    name, revision = repository(address)
    package = hub()
    options = {"repo_id": name, "revision": revision, "allow_patterns": list(FILES), "etag_timeout": _SECONDS}
    size = 0
    with contextlib.suppress(Exception):  # without a network the copy from before is taken below
        size = sum(file.file_size for file in package.snapshot_download(**options, dry_run=True))
    if size > _MOST_BYTES:
        raise ZooError(f"{address} has {size:,} bytes; a preset may have {_MOST_BYTES:,}")
    try:
        folder = Path(package.snapshot_download(**options))
    except Exception as error:  # the client's errors share no type
        raise hub_error(address, error) from error
    if not (folder / "preset.yaml").is_file():
        raise ZooError(f"{address} is no preset: there is no preset.yaml in it")
    return folder, name.partition("/")[2]


def hub_error(address: str, error: Exception) -> ZooError:
    """The error of a call of the hub, in a line.

    Args:
        address: Address of the repository.
        error: The client's error.
    """
    kind = type(error).__name__
    known = {
        "RepositoryNotFoundError": "there is no such repository, or it is private and you are not logged in "
        "(hf auth login)",
        "GatedRepoError": "its owner has to let you in first",
        "RevisionNotFoundError": "it has no such revision",
        "LocalEntryNotFoundError": "the hub cannot be reached, and there is no copy from before",
        "LocalTokenNotFoundError": "you are not logged in (hf auth login)",
        "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, and there is no copy from before",
    }
    for cls in type(error).__mro__:
        if cls.__name__ in known:
            return ZooError(f"{address}: {known[cls.__name__]}")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ZooError(f"{address}: the hub refuses it ({status}); log in with a token that may (hf auth login)")
    return ZooError(f"{address}: {kind}: {reason(error)}")


# === Archives and weights from any web server ===


def _from_web(address):
    path = urllib.parse.unquote(_parts(address).path)
    name = Path(path).name.removesuffix(".zip")
    if not path.endswith(".zip") or not _NAME.fullmatch(name):
        raise ZooError(f"A preset on the web is a .zip file of its folder. Received: {one_line(address, 120)!r}")
    kept = files.cache() / "presets" / hashlib.sha256(address.encode()).hexdigest()[:16]
    tag, folder = None, kept / name
    if folder.is_dir():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            tag = json.loads((kept / "origin.json").read_text(encoding="utf-8"))["tag"]
    try:
        found = _download(address, kept.parent / f"{kept.name}.zip", tag=tag)
    except ZooError as error:
        if not folder.is_dir():
            raise
        print(f"{error}; the copy from before is taken", file=sys.stderr)
        return folder, name
    if found is None:  # the copy is today's
        return folder, name
    archive, tag = found
    try:
        with files.folder_aside(kept) as aside:
            _unpack(archive, aside / name, address)
            files.write_json(aside / "origin.json", {"address": address, "tag": tag})
    finally:
        archive.unlink(missing_ok=True)
    return folder, name


def _parts(address):
    """The parts of an address."""
    try:
        return urllib.parse.urlsplit(address)
    except ValueError as error:
        raise ZooError(f"{one_line(address, 120)!r} is no address: {reason(error)}") from None


def _download(address, path, *, tag=None, sha256=None):
    """A file from the web: `(path, its tag at the server)`; None where the server says that `tag` is today's."""
    parts = _parts(address)
    host, name = parts.netloc, Path(urllib.parse.unquote(parts.path)).name
    # A space and other letters that an address may not have as they are.
    safe = urllib.parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")
    request = urllib.request.Request(safe, headers={"If-None-Match": tag} if tag else {})
    digest, total = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer, files.aside(path) as aside:
            size = int(answer.headers.get("Content-Length") or 0)
            if size > _MOST_BYTES:
                raise ZooError(f"{address} has {size:,} bytes; at most {_MOST_BYTES:,} are fetched")
            print(f"Fetching {name} from {host} ({size / 1e6:.1f} MB)", file=sys.stderr)
            with open(aside, "wb") as file:
                while chunk := answer.read(_CHUNK):
                    total += len(chunk)
                    if total > _MOST_BYTES:
                        raise ZooError(f"{address} has more than {_MOST_BYTES:,} bytes, and is not fetched")
                    digest.update(chunk)
                    file.write(chunk)
            if size and total != size:
                raise ZooError(f"{address} broke off after {total:,} of {size:,} bytes; try again")
            if sha256 and digest.hexdigest() != sha256:
                raise ZooError(
                    f"{address} is not what it should be: its SHA-256 is {digest.hexdigest()[:16]}..., not "
                    f"{sha256[:16]}...; nothing of it is kept"
                )
            tag = answer.headers.get("ETag")
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return None
        raise ZooError(f"{address}: the server answers {error.code} {error.reason}") from None
    except ZooError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ZooError(f"{address} cannot be fetched: {reason(error)}") from error
    return path, tag


def _unpack(archive, folder, address):
    """Unpacks the files of a preset, and nothing else: no path of an archive is followed, no link, no bomb."""
    folder.mkdir()
    total = 0
    try:
        with zipfile.ZipFile(archive) as content:
            tops = [info for info in content.infolist() if Path(info.filename).name == "preset.yaml"]
            if len(tops) != 1:
                raise ZooError(f"{address} is no preset: it holds {len(tops)} files preset.yaml, not one")
            above = tops[0].filename.removesuffix("preset.yaml")
            for info in content.infolist():
                name = info.filename.removeprefix(above)
                if name not in FILES or not info.filename.startswith(above) or stat.S_ISLNK(info.external_attr >> 16):
                    continue
                total += info.file_size
                packed = max(info.compress_size, 1)
                if total > _MOST_BYTES or (info.file_size > _CHUNK and info.file_size / packed > _MOST_RATIO):
                    raise ZooError(f"{address}: {name} would have {info.file_size:,} bytes unpacked; it is left alone")
                (folder / name).write_bytes(content.read(info))  # of as many bytes as it says, and no more
    except ZooError:
        raise
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ZooError(f"{address} is no whole .zip file: {reason(error)}") from error


def weights(record: dict[str, Any], name: str, *, fetching: bool = True) -> Path:
    """The weights of a preset that does not carry them: from the cache, else from their address, always by hash.

    Args:
        record: Content of weights.json, with `sha256`, and `url` where they can be fetched.
        name: Name of the preset.
        fetching: Whether they may be fetched; else they must be in the cache.

    Returns:
        The path of a file whose SHA-256 is that of the record.

    Raises:
        ZooError: No address, no network, or a file of another hash, which is not kept.
    """
    sha256, url = record.get("sha256"), record.get("url")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ZooError(f"weights.json of {name} has no SHA-256 of its weights; reinstall or retrain")
    kept = files.cache() / "weights" / f"{sha256}.weights.h5"
    if kept.is_file() and files.sha256(kept) == sha256:
        return kept
    if not url or not fetching:
        raise ZooError(
            f"{name} has no weights here, and its weights.json names no address of them: install the whole package, or "
            f"train it with: keras-genzoo train {name}"
        )
    if not str(url).startswith(_WEB):
        raise ZooError(f"weights.json of {name}: `url` must begin with https://. Received: {one_line(url, 120)!r}")
    _download(str(url), kept, sha256=sha256)
    return kept
