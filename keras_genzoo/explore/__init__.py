"""The explorer: a static page that runs exported models in the browser, and a server for it on this machine."""

import base64
import contextlib
import errno
import functools
import hashlib
import http.server
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_genzoo import __version__, files, presets
from keras_genzoo.errors import MissingDataError, ZooError
from keras_genzoo.presets import Preset
from keras_genzoo.typing import PathLike

_HERE = Path(__file__).resolve().parent
DEFAULT = (  # presets of a page for which none are named: one of each thing to do, together below 15 MB
    "vae2d_mnist",
    "denoising_mnist",
    "cgan_mnist",
    "beta_vae_mnist",
    "classifier_mnist",
    "faceswap_rendered",
)
PRECISIONS = ("int8", "float16", "float32")
MANIFEST = "models.json"
_MADE_OF = ("page", "vendor")  # folders of this package that a page is made of
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".gz": "application/gzip", ".json": "application/json"}
_MOST_PORT = 65_535
_N_EXAMPLES = 20
_LEVEL = 0.5  # standard deviation of a noise whose level is not said
_N_CODES = 2000  # images whose codes say how far a slider goes
_N_POINTS = 600  # codes that are drawn in a plane
_TAIL, _TAIL_OF_PLANE = 2.5, 1.0  # percent of the codes that lie beyond either end of a slider, and of the plane


def write(
    names: Sequence[str] = DEFAULT,
    out: PathLike = "explorer",
    *,
    precision: str = "int8",
    data_dir: PathLike | None = None,
) -> Path:
    """Writes the page, which any server of files can serve; it needs no network and no build.

    Args:
        names: Names or paths of presets, one tab each.
        out: Folder to write; one that an earlier call has written is replaced.
        precision: Numbers of the LiteRT files: "int8", "float16" or "float32".
        data_dir: Folder of data sets, see `data.load`. Test images come with the page.

    Returns:
        The path of the folder.

    Raises:
        ZooError: No name or one twice, an unknown one, another precision, or a folder that is there and is no page.
        MissingDataError: Data that an export is checked on is not here.
    """
    if precision not in PRECISIONS:
        raise ZooError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
    found = [presets.find(name) for name in names]
    if not found:
        raise ZooError("`names` must be one preset or more. Received: none")
    twice = next((one.name for i, one in enumerate(found) if one.name in [other.name for other in found[:i]]), None)
    if twice is not None:
        raise ZooError(f"`names` has {twice} twice, and a tab goes by its name")
    out = Path(out).expanduser().resolve()
    _check_replaceable(out)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(files.folder_aside(out))
        for part in _MADE_OF:
            shutil.copytree(_HERE / part, folder if part == "page" else folder / part, dirs_exist_ok=True)
        (folder / "models").mkdir()
        entries = []
        for preset in found:
            made = _made(preset, precision, data_dir, stack)
            entry = json.loads((made / "entry.json").read_text(encoding="utf-8"))
            for key, end in (("file", ".tflite"), ("examples", ".json")):
                if entry[key]:
                    shutil.copyfile(made / entry[key], folder / "models" / f"{preset.name}{end}")
                    entry[key] = f"models/{preset.name}{end}"
            entries.append(entry)
        files.write_json(folder / MANIFEST, {"version": __version__, "models": entries}, indent=None)
    return out


def _check_replaceable(out: Path) -> None:
    """Refuses to replace a folder with anything in it that no page has.

    Args:
        out: File or folder that may exist.

    Raises:
        ZooError: With the names of what would be lost.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir() or not (out / "index.html").is_file() or not (out / MANIFEST).is_file():
        raise ZooError(f"{out} exists and is no page of the explorer; give another folder")
    own = {path.name for path in (_HERE / "page").iterdir()} | {"vendor", "models", MANIFEST}
    others = [path.name for path in out.iterdir() if path.name not in own]
    others += [path.name for path in (out / "models").glob("*") if path.suffix not in (".tflite", ".json")]
    if others:
        raise ZooError(f"{out} holds other files than a page's: {', '.join(sorted(others)[:3])}; give another folder")


def _made(preset: Preset, precision: str, data_dir: PathLike | None, stack: contextlib.ExitStack) -> Path:
    """The folder of a preset's file, examples and entry: made once, and kept in the user's cache.

    Images of one's own may change under their name, so that what comes of them is not kept.
    """
    if ":" in preset.data.name:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory()), "made")
        made.mkdir()
        _make(preset, precision, data_dir, made)
        return made
    record = preset.record(presets.WEIGHTS_RECORD) or {}
    causes = [
        __version__, precision, presets.dump(preset), str(record.get("sha256")), str(data_dir),
        *(importlib.metadata.version(name) for name in ("ai-edge-litert", "ai-edge-quantizer")),
    ]  # fmt: skip
    key = hashlib.sha256("\n".join(causes).encode()).hexdigest()[:16]
    kept = files.cache() / "explore" / f"{preset.name}-{precision}-{key}"
    if not (kept / "entry.json").is_file():
        with files.folder_aside(kept) as folder:
            _make(preset, precision, data_dir, folder)
    return kept


def _make(preset, precision, data_dir, folder):
    from keras_genzoo import exporting, zoo

    model = zoo.load(preset.folder)
    model.preset = preset  # which may have another name than its folder
    quantize = None if precision == "float32" else precision
    path = exporting.export(model, folder, format="litert", quantize=quantize, data_dir=data_dir)
    report = json.loads(path.with_name(f"{path.name}.export.json").read_text(encoding="utf-8"))
    path.with_name(f"{path.name}.export.json").unlink()
    about = report["description"]
    source = exporting.Source(model, model.preset, data_dir)
    images, labels = _images(source, _N_EXAMPLES)
    if images is not None:
        files.write_json(folder / "examples.json", _packed(images, labels), indent=None)
    entry = {
        "name": preset.name,
        "description": preset.description,
        "license": about["license"],
        "data": preset.data.name,
        "precision": precision,
        "bytes": report["bytes"],
        "sha256": report["sha256"],
        "file": path.name,
        "image_shape": list(model.image_shape),
        "endpoints": about["endpoints"],
        "examples": None if images is None else "examples.json",
        "noise": _noise(preset.model.get("corruption")),
        "latents": _latents(source),
        "samples": model.can("sample"),
    }
    files.write_json(folder / "entry.json", entry, indent=None)


def _noise(corruption):
    """The Gaussian noise that a model takes away: a level to begin with, and the greatest one; None of other models."""
    if not isinstance(corruption, dict) or corruption.get("name") != "gaussian":
        return None
    level = corruption.get("level", _LEVEL)
    most = max(level) if isinstance(level, (list, tuple)) else level
    return {"level": round(most * 2 / 3, 2), "most": most}


def _images(source, n):
    """Test images as the model takes them and their labels, of all classes in turn; None where there are none."""
    import numpy as np

    from keras_genzoo import data, models, zoo

    preset = source.preset
    kinds = {value.kind for endpoint in source.contract.values() for value in endpoint.inputs.values()}
    if "images" not in kinds:
        return None, None
    names = models.asked(preset.family, "hooks")(preset).data_names
    parts = [zoo.arrays(source.model, "test", name=name, data_dir=source.data_dir, preset=preset) for name in names]
    images: Any = parts[0][0]
    labels: Any = parts[0][1]
    if len(parts) > 1:  # of several data sets one image each in turn
        images, labels = (
            np.stack([part[: n // len(parts)] for part, _ in parts], 1).reshape(-1, *images.shape[1:]),
            None,
        )
    if labels is not None:
        in_turn = np.argsort(_occurrence(labels) * (labels.max() + 1) + labels, kind="stable")
        images, labels = images[in_turn], labels[in_turn]
    shown = data.as_seen(images[:n], binarize=preset.data.binarize)
    return shown, None if labels is None else labels[:n]


def _occurrence(labels):
    """How many of the same label come before each: `(n,)`."""
    import numpy as np

    counts = np.zeros_like(labels)
    for label in np.unique(labels):
        counts[labels == label] = np.arange(np.sum(labels == label))
    return counts


def _packed(images, labels):
    """Images as bytes in text."""
    import numpy as np

    levels = np.round(255 * images).astype("uint8")
    return {
        "shape": list(images.shape[1:]),
        "images": base64.b64encode(levels.tobytes()).decode(),
        "labels": None if labels is None else [int(label) for label in labels],
    }


def _latents(source):
    """The codes of images, number by number: mean, spread and ends; None of a model that does not decode."""
    import numpy as np

    from keras_genzoo import data, zoo

    model, preset = source.model, source.preset
    if not {"encode", "decode"} <= set(source.endpoints):
        return None

    def codes(split, n) -> Any:
        found: Any = zoo.arrays(model, split, data_dir=source.data_dir, preset=preset)
        pixels, labels = found
        images = data.as_seen(pixels[:n], binarize=preset.data.binarize)
        classes = (labels[:n].astype("int32"),) if model.is_conditional else ()
        return model.run_endpoint("encode", images, *classes)[model.code], labels

    try:
        found, _ = codes("train", _N_CODES)
    except MissingDataError:
        found, _ = codes("test", _N_CODES)
    is_plane = found.shape[1] == 2
    tail = _TAIL_OF_PLANE if is_plane else _TAIL
    low, high = np.percentile(found, [tail, 100 - tail], axis=0)
    flat = high - low < 1e-6  # a number that is the same for nearly all images
    low, high = np.where(flat, found.min(0) - 1e-3, low), np.where(flat, found.max(0) + 1e-3, high)
    spread = found.std(0)
    latents = {
        "mean": _rounded(found.mean(0)),
        "spread": _rounded(spread),
        "low": _rounded(low),
        "high": _rounded(high),
        "order": [int(i) for i in np.argsort(-spread)],
    }
    if is_plane:
        points, labels = codes("test", _N_POINTS)
        latents["points"] = [_rounded(point) for point in points]
        latents["classes"] = None if labels is None else [int(label) for label in labels[:_N_POINTS]]
    return latents


def _rounded(values):
    return [float(f"{value:.5g}") for value in values]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files with the types that modules and WebAssembly need, without a line for each request."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **_TYPES}  # noqa: RUF012

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def end_headers(self) -> None:
        """Ends the headers with one that makes a browser ask again: the page may have been written anew."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


@contextlib.contextmanager
def server(folder: PathLike, *, port: int = 0, host: str = "127.0.0.1") -> Iterator[http.server.ThreadingHTTPServer]:
    """Context: a server of a folder's files that is bound, and that `serve_forever` starts.

    Args:
        folder: Folder to serve.
        port: Port; 0: any that is free.
        host: Address to listen on; that of this machine alone by default.

    Raises:
        ZooError: A port out of range, in use or not allowed, or an address of another machine.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _MOST_PORT:
        raise ZooError(f"`port` must be an integer from 0 to {_MOST_PORT}. Received: {port!r}")
    try:
        bound = http.server.ThreadingHTTPServer(
            (host, port), functools.partial(_Handler, directory=str(Path(folder).resolve()))
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ZooError(f"Port {port} of {host} is in use; give another one by --port, or 0 for any") from None
        raise ZooError(f"Cannot listen on port {port} of {host}: {error.strerror or error}") from None
    with bound:
        yield bound
