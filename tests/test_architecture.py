"""The house: who may import whom (the table of the design), and how little `import keras_genzoo` costs."""

import ast
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

import keras_genzoo

PACKAGE = Path(keras_genzoo.__file__).parent
ROOT = PACKAGE.parent

# What opens files or starts programs, for the rooms that touch tensors only.
FILES = {
    "bz2", "glob", "gzip", "io", "lzma", "os", "pathlib", "shutil", "socket", "subprocess", "tarfile", "tempfile",
    "urllib", "zipfile",
}  # fmt: skip
NOWHERE = {"marshal", "pickle", "shelve"}  # promise 1: no pickle, no arbitrary code

BASE = ["errors", "typing"]
MATHS = ["losses", "distributions", "layers", "networks"]  # each may import those before it
RECORDS = ["models", "registry"]  # models/__init__.py: the families' records, strings that import nothing
DATA = ["data", "data.*"]
STORES = [*BASE, *RECORDS, "files", "choices", "parts", "presets", "remote"]
PICTURES = ["plots", "provenance", "drawings"]
ZOO = [*STORES, *DATA, "engine", "origin", "zoo"]
STAGES = [
    "training",
    "evaluation",
    "exporting",
    "explore",
    "exporting.*",
    "flatbuffer",
    "hub",
    "inspecting",
    "measures",
    "judges",
    "public_networks",
    "samplers",
    "metrics",
    "studies",
    "faces",
    "films",
    "cards",
    "comparison",
]
EVERYTHING = [*ZOO, *MATHS, *PICTURES, *STAGES, "models.*", "optimizers", "progress"]
OWN = "models.{family}.*"  # the rooms of the module's own family: no wing looks into another


class Room(NamedTuple):
    """What a module may import: modules of the package (patterns) and packages of others. The stdlib is free."""

    internal: list
    external: set
    no_files: bool = False


TABLE = {  # the first row that matches holds
    "": Room(EVERYTHING, set(), no_files=True),  # keras_genzoo/__init__.py: for type checkers alone
    # The ground floor.
    "errors": Room([], set(), no_files=True),
    "typing": Room([], {"numpy"}),
    "registry": Room(BASE, set(), no_files=True),
    "files": Room(BASE, set()),
    "choices": Room(["models"], set(), no_files=True),
    "progress": Room([], {"rich"}),  # os, to hush C++ at its file descriptor
    "engine": Room(BASE, {"keras", "numpy", "tensorflow"}, no_files=True),
    "parts": Room([*BASE, *RECORDS], {"pydantic"}, no_files=True),
    "optimizers": Room(BASE, {"keras"}, no_files=True),
    # Mathematics: tensors alone.
    "losses": Room([*BASE, "engine"], {"keras"}, no_files=True),
    "distributions": Room([*BASE, *MATHS[:1]], {"keras"}, no_files=True),
    "layers": Room([*BASE, *MATHS[:2]], {"keras", "numpy"}, no_files=True),
    "networks": Room([*BASE, "parts", *MATHS[:3], "networks.*"], {"keras"}, no_files=True),
    "networks.*": Room(
        [*BASE, "parts", *MATHS[:3], "networks.common"], {"keras", "numpy", "pydantic"}, no_files=True
    ),
    "metrics": Room(BASE, {"numpy", "sklearn"}, no_files=True),
    "samplers": Room(BASE, {"numpy", "sklearn"}, no_files=True),
    # The wings.
    "models": Room([*BASE, "registry"], set(), no_files=True),
    "models.inputs": Room([*BASE, "engine"], {"keras", "numpy"}, no_files=True),
    "models.doors": Room([*BASE, "engine", "models.inputs"], {"keras", "numpy"}, no_files=True),
    "models.base": Room(
        [*BASE, "engine", "files", "networks", "parts", "models.doors", "models.inputs"], {"keras", "numpy"}
    ),
    "models.labels": Room([*BASE, "models.base", "models.inputs"], {"keras", "numpy"}, no_files=True),
    "models.contract": Room([], set(), no_files=True),
    "models.vital_signs": Room(BASE, {"keras", "numpy"}, no_files=True),
    "models.hooks": Room([*BASE, *DATA, "presets", "zoo"], {"keras", "numpy", "tensorflow"}),
    "models.preview": Room([*BASE, *DATA, "models.hooks", "plots", "zoo"], {"keras", "numpy"}),
    "models.gan.clusters": Room(BASE, {"keras", "numpy", "sklearn"}, no_files=True),
    "models.gan.monitor": Room([*BASE, "engine", "metrics", "optimizers", "plots"], {"keras", "numpy"}),
    "models.face_swap.landmarks": Room([*BASE, *DATA], {"numpy", "PIL"}),
    "models.*.contract": Room([*BASE, "models.contract", "models.base", OWN], set(), no_files=True),
    "models.*.section": Room(["parts", "presets"], {"pydantic"}, no_files=True),
    "models.*.spellings": Room([], set(), no_files=True),
    "models.*.measures": Room(
        [*ZOO, *MATHS, "evaluation", "judges", "measures", "metrics", "models.inputs", "progress", "samplers", OWN],
        {"keras", "numpy"},
    ),
    "models.*.hooks": Room(
        [*BASE, *DATA, "judges", "models.hooks", "presets", "zoo", OWN], {"keras", "numpy", "tensorflow"}
    ),
    "models.*.drawings": Room([*BASE, *DATA, *PICTURES, "zoo", OWN], {"numpy"}),
    "models.*.commands": Room([*BASE, "cli", "faces", "presets", "progress", "provenance", "zoo"], set()),
    "models.*.*": Room(  # a model and its parts
        [*BASE, *MATHS, "engine", "parts", "models.base", "models.inputs", "models.labels", OWN],
        {"keras", "numpy", "pydantic"},
        no_files=True,
    ),
    "models.*": Room(["models.{family}.model"], set(), no_files=True),  # the __init__ of a wing
    # The stages.
    "presets": Room([*BASE, *RECORDS, "files", "parts", "remote"], {"yaml", "pydantic"}),
    "data": Room([*BASE, "registry", "data.*"], {"numpy", "tensorflow"}),
    "data.asking": Room([*BASE, *DATA], {"tensorflow_datasets"}),
    "data.rows": Room([*BASE, "files"], {"numpy"}),
    "data.*": Room([*BASE, "data.*"], {"numpy", "tensorflow", "tensorflow_datasets", "PIL", "filelock"}),
    "origin": Room([*BASE, "engine", "presets"], {"numpy"}),
    "zoo": Room([*STORES, *DATA, "origin", "engine"], {"h5py", "keras", "numpy"}),
    "public_networks": Room([*BASE, "engine"], {"keras", "keras_hub", "numpy"}),
    "judges": Room([*BASE, *DATA, "engine", "metrics", "presets", "public_networks", "zoo"], {"keras", "numpy"}),
    "training": Room([*ZOO, "models.hooks", "models.vital_signs", "progress"], {"keras", "numpy", "tensorflow"}),
    "evaluation": Room(ZOO, {"keras", "numpy"}),
    "measures": Room([*ZOO, "evaluation", "judges", "losses", "metrics", "progress"], {"numpy"}, no_files=True),
    "flatbuffer": Room(BASE, {"numpy", "ai_edge_litert"}),
    "explore": Room([*ZOO, "exporting", "exporting.*"], {"numpy"}),
    "remote": Room([*BASE, "files"], {"huggingface_hub"}),
    "hub": Room([*ZOO, "cards"], {"keras", "yaml"}),
    "inspecting": Room([*BASE, "files", "flatbuffer"], {"onnx"}),
    "exporting": Room([*ZOO, "flatbuffer", "exporting.*"], {"keras", "numpy"}),
    "exporting.litert_process": Room([], {"numpy", "ai_edge_litert"}),  # a script that `exporting.litert` runs
    "exporting.source": Room([*ZOO, "models.contract"], {"keras", "numpy"}),
    "exporting.*": Room(
        [*ZOO, "flatbuffer", "inspecting", "exporting.*"],
        {"ai_edge_quantizer", "numpy", "onnx", "onnxruntime", "tensorflow", "tf2onnx"},
    ),
    "comparison": Room([*BASE, *RECORDS, "presets"], set()),
    "cards": Room([*BASE, *RECORDS, "files", "presets"], set()),
    "plots": Room([*BASE, "files"], {"numpy", "matplotlib", "PIL"}),
    "provenance": Room([*BASE, "files"], {"numpy", "PIL", "imageio_ffmpeg", "c2pa"}),
    "drawings": Room([*ZOO, "plots", "progress", "samplers"], {"numpy"}),
    "films": Room([*BASE, "provenance"], {"numpy"}),
    "faces": Room(
        [*BASE, *DATA, "files", "films", "provenance", "progress", "models.face_swap.landmarks"],
        {"numpy", "PIL", "mtcnn"},
    ),
    "studies": Room([*BASE, "choices", "files", "plots", "registry", "studies.*"], {"keras"}),
    "studies.*": Room([*EVERYTHING, "studies.*"], {"keras", "numpy", "matplotlib"}),
    "cli": Room(EVERYTHING, {"numpy", "rich"}),
    "demo": Room(EVERYTHING, {"numpy", "ai_edge_litert"}),
}  # fmt: skip
# Their job is to import by a name that is computed.
WINGS = [wing.name for wing in (PACKAGE / "models").iterdir() if (wing / "__init__.py").is_file()]
LAZY = {"", "registry", "data", "models", *(f"models.{wing}" for wing in WINGS)}
USERS = {"cli", "demo"}  # they use the package as its users do: `import keras_genzoo as gz`


def _room(module):
    """The row of a module: its own, or that of its pattern; None where there is none."""
    return TABLE.get(module) or next((row for name, row in TABLE.items() if name and fnmatchcase(module, name)), None)


def _patterns(module, room):
    """The modules of the package that a room may import, `{family}` put in its place."""
    family = module.split(".")[1] if module.startswith("models.") else "nothing"
    return [pattern.replace("{family}", family) for pattern in room.internal]


def _name(path):
    """keras_genzoo/models/vae.py -> "models.vae"; the package's own __init__ is ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(module, source, is_package=False):
    """(line, dotted name) of everything a module imports, inside functions too, by any spelling."""
    here = ["keras_genzoo", *module.split(".")] if module else ["keras_genzoo"]
    package = here if is_package else here[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            # Of the package, a name may be a module or come from one; of others, the base tells enough.
            ours = base.partition(".")[0] == "keras_genzoo"
            yield from ((node.lineno, f"{base}.{alias.name}" if ours else base) for alias in node.names)
        elif isinstance(node, ast.Call):
            function = getattr(node.func, "attr", getattr(node.func, "id", None))
            if function in ("import_module", "__import__"):
                constant = bool(node.args) and isinstance(node.args[0], ast.Constant)
                yield node.lineno, node.args[0].value if constant else "<computed>"


def _internal(name):
    """A dotted name in keras_genzoo -> the module it reaches: "keras_genzoo.losses.squared_error" -> "losses"."""
    parts = name.split(".")[1:]
    if parts and parts[0] in keras_genzoo._NAMES:  # `from keras_genzoo import load`, which is zoo.load
        return keras_genzoo._NAMES[parts[0]]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def _violations(module, source, is_package=False):
    """What a module imports against the table, as "line: name"."""
    room = _room(module)
    found = []
    for line, name in _imports(module, source, is_package):
        top = name.partition(".")[0]
        if name == "<computed>":
            allowed = module in LAZY
        elif top == "keras_genzoo":
            target = _internal(name)
            if target:
                allowed = target == module or any(fnmatchcase(target, pattern) for pattern in _patterns(module, room))
            else:  # the package itself: its version, or a way round the table
                allowed = name == "keras_genzoo.__version__" or module in USERS
        elif top in sys.stdlib_module_names:
            allowed = top not in NOWHERE and not (room.no_files and top in FILES)
        else:
            allowed = top in room.external
        if not allowed:
            found.append(f"{line}: {name}")
    return found


# === The table holds ===


@pytest.mark.parametrize("module", MODULES)
def test_module_is_in_the_table(module):
    assert _room(module), f"{MODULES[module]} has no row in TABLE: say which room it is"


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_its_room_may(module):
    path = MODULES[module]
    if _room(module):  # else the test above fails
        assert _violations(module, path.read_text(), path.name == "__init__.py") == []


def test_public_names_are_in_the_table():
    """What the package offers lazily is a room, so that the tests above see it once it is there."""
    assert all(_room(module) for module in (*keras_genzoo._MODULES, *keras_genzoo._NAMES.values()))


def test_no_cycles():
    """Imports point upwards only: the table would let two models import each other."""
    graph = {
        module: {_internal(name) for _, name in _imports(module, path.read_text(), path.name == "__init__.py")
                 if name.partition(".")[0] == "keras_genzoo"} - {module, ""}
        for module, path in MODULES.items()
    }  # fmt: skip
    while graph:
        leaves = {module for module, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"these import each other: {sorted(graph)}"
        graph = {module: needs for module, needs in graph.items() if module not in leaves}


# === The test itself can fail ===


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("losses", "import tensorflow as tf", "1: tensorflow"),
        ("losses", "def f():\n    import yaml", "2: yaml"),
        ("losses", "from keras_genzoo import distributions", "1: keras_genzoo.distributions"),
        ("losses", "from pathlib import Path", "1: pathlib"),
        ("distributions", "from keras_genzoo.layers import GatedDense", "1: keras_genzoo.layers.GatedDense"),
        ("distributions", "from . import networks", "1: keras_genzoo.networks"),
        ("networks", "from keras_genzoo import models", "1: keras_genzoo.models"),
        ("models.vae.model", "import tensorflow as tf", "1: tensorflow"),
        ("models.vae.model", "from keras_genzoo import data", "1: keras_genzoo.data"),
        ("models.vae.measures", "import tensorflow as tf", "1: tensorflow"),
        ("models.vae.latents", "from keras_genzoo.models.gan import games", "1: keras_genzoo.models.gan.games"),
        (
            "models.gan.hooks",
            "from keras_genzoo.models.face_swap import codes",
            "1: keras_genzoo.models.face_swap.codes",
        ),
        ("models.gan.section", "import keras", "1: keras"),
        ("models.gan.model", "from ...zoo import load", "1: keras_genzoo.zoo.load"),
        ("models.vae", "import keras", "1: keras"),
        ("engine", "from keras_genzoo import losses", "1: keras_genzoo.losses"),
        ("parts", "import keras", "1: keras"),
        ("files", "from keras_genzoo import zoo", "1: keras_genzoo.zoo"),
        ("training", "from keras_genzoo.models.gan import monitor", "1: keras_genzoo.models.gan.monitor"),
        ("evaluation", "from keras_genzoo.models.vae import measures", "1: keras_genzoo.models.vae.measures"),
        ("models.base", "from keras_genzoo.presets import find", "1: keras_genzoo.presets.find"),
        ("presets", "if True:\n    import keras.ops", "2: keras.ops"),
        ("presets", "from keras_genzoo.models.vae import VAE", "1: keras_genzoo.models.vae.VAE"),
        ("presets", "from keras_genzoo.models import vae", "1: keras_genzoo.models.vae"),
        ("cards", "import importlib\nimportlib.import_module('keras')", "2: keras"),
        ("cards", "__import__('tensorflow')", "1: tensorflow"),
        ("data", "from keras_genzoo import models", "1: keras_genzoo.models"),
        ("data.folder", "from keras_genzoo import zoo", "1: keras_genzoo.zoo"),
        ("metrics", "from .models import base", "1: keras_genzoo.models.base"),
        ("plots", "import keras_genzoo as gz", "1: keras_genzoo"),
        ("zoo", "from keras_genzoo import train", "1: keras_genzoo.train"),
        ("zoo", "import pickle", "1: pickle"),
        ("training", "from keras_genzoo.evaluation import evaluate", "1: keras_genzoo.evaluation.evaluate"),
        ("evaluation", "from keras_genzoo import exporting", "1: keras_genzoo.exporting"),
        ("exporting", "from keras_genzoo import cli", "1: keras_genzoo.cli"),
        ("zoo", "from keras_genzoo.progress import track", "1: keras_genzoo.progress.track"),
        ("progress", "from keras_genzoo import zoo", "1: keras_genzoo.zoo"),
        ("demo", "from keras import ops", "1: keras"),
        ("cli", "import keras", "1: keras"),
        ("cli", "def main():\n    from tensorflow import data", "2: tensorflow"),
        ("cli", "import importlib\nimportlib.import_module(name)", "2: <computed>"),
    ],
)
def test_a_breach_is_caught(monkeypatch, module, source, caught):
    for name in TABLE:  # also those that are still to be written
        monkeypatch.setitem(MODULES, name, None)
    monkeypatch.setitem(MODULES, "models.vae", None)
    assert caught in _violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("losses", "import math\nfrom typing import Literal\nfrom keras import ops"),
        ("networks", "from keras_genzoo import losses\nfrom keras_genzoo.layers import GatedDense"),
        (
            "models.vae.model",
            "from keras_genzoo.models.base import ZooModel\nfrom keras_genzoo import distributions, losses",
        ),
        ("presets", "from keras_genzoo.models import FAMILIES\nfrom pathlib import Path\nimport yaml"),
        ("measures", "from keras_genzoo import __version__, data, metrics, zoo"),
        ("cli", "import keras_genzoo\nfrom keras_genzoo import load, train, presets"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert _violations(module, source) == []


def test_an_unknown_module_has_no_row():
    assert _room("utils") is None
    assert _room("models.face_swap") == TABLE["models.*"]
    assert _room("models.face_swap.hooks") == TABLE["models.*.hooks"]
    assert _room("models.base") == TABLE["models.base"]


# === What importing costs ===


def _python(code):
    """The words that a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return result.stdout.split()


LOADED = "*sorted({'keras', 'numpy', 'pydantic', 'tensorflow', 'tensorflow_datasets', 'yaml'} & set(sys.modules))"


def test_import_is_instant():
    code = (
        "import sys, time; start = time.perf_counter(); import keras_genzoo; seconds = time.perf_counter() - start; "
        f"print(seconds, {LOADED})"
    )
    runs = [_python(code) for _ in range(3)]
    assert [loaded for _, *loaded in runs] == [[]] * 3
    assert min(float(seconds) for seconds, *_ in runs) < 0.1  # 0.002 s; the best of three, for a busy machine


def test_listing_presets_needs_no_engine():
    code = f"import sys, keras_genzoo as gz; print(len(gz.list_presets()), {LOADED})"
    n, *loaded = _python(code)
    assert int(n) == len(list((ROOT / "zoo_configs").glob("*/preset.yaml")))
    assert loaded == ["pydantic", "yaml"]


def test_listing_models_imports_no_model():
    code = f"import sys; from keras_genzoo import models; print(*models.FAMILIES, {LOADED})"
    assert _python(code) == list(keras_genzoo.models.FAMILIES)


def test_every_public_name_is_found_lazily():
    """`gz.load`, `gz.data` and the rest, with nothing imported before; an unknown name is an AttributeError."""
    written = [name for name in keras_genzoo._MODULES if name in MODULES]
    code = (
        "import sys, keras_genzoo as gz; assert not hasattr(gz, 'lod'); "
        f"print(*[getattr(gz, name).__name__ for name in {written}], gz.load.__module__, gz.list_presets.__module__)"
    )
    assert _python(code) == [*(f"keras_genzoo.{name}" for name in written), "keras_genzoo.zoo", "keras_genzoo.presets"]
    assert set(dir(keras_genzoo)) == {"__version__", *keras_genzoo._NAMES, *keras_genzoo._MODULES}
