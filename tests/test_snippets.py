"""The code that the documents show: each page's Python blocks run in order, each docstring's example runs, too.

A fence of "python" alone is run. A fragment that cannot stand alone says so after the word: "python fragment".
"""

import doctest
import functools
import gzip
import importlib
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
ORIGINALS = Path(os.environ.get("KERAS_GENZOO_DATA") or ROOT.parent / "shared" / "data").resolve()
DOCUMENTS = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("zoo_configs/**/*.md")}
)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NOT_BUNDLED = {  # data set -> its file below ORIGINALS
    "fashion_mnist": "fashion_mnist/train-images-idx3-ubyte.gz",
    "binarized_mnist": "binarized_mnist/binarized_mnist_packed.npz",
    "rendered_faces_a": "faces/faces_ab.npz",
    "rendered_faces_b": "faces/faces_ab.npz",
}
# Cards whose code runs in every run: one of each family. All of them run at night.
CARDS = ("ae_mnist", "cgan_mnist", "classifier_mnist", "faceswap_rendered", "ring2d", "vae_mnist")
LONG = (".train", ".FaceSwap", ".export_all", ".studies.run")  # objects whose examples take seconds: for the night
_N_IMAGES = 1_500  # of each split
_N_STEPS = 2  # of each `fit`


# === Documents ===


def blocks(document):
    """The Python blocks of a document: `[(first line, code)]`."""
    text = document.read_text()
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in _BLOCK.finditer(text)]


def documents_with_code():
    """Documents with Python blocks as parameters, named by their paths; most cards are for the night."""

    def marks(path):
        is_card = path.parent.parent.name == "zoo_configs"
        return [pytest.mark.nightly] if is_card and path.parent.name not in CARDS else []

    return [pytest.param(path, id=str(path.relative_to(ROOT)), marks=marks(path)) for path in DOCUMENTS if blocks(path)]


def run(document):
    """Executes a document's blocks in one namespace; a traceback has the document's name and lines."""
    namespace = {"__name__": "snippets"}
    for line, code in blocks(document):
        exec(compile("\n" * (line - 1) + code, str(document), "exec"), namespace)
    return namespace


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A temporary working directory, short splits, two steps per `fit` and a short `evaluate`."""
    import keras
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    import keras_genzoo as gz
    from keras_genzoo import data, evaluation

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_GENZOO_DATA", str(ORIGINALS))
    whole, fit, evaluate = data.arrays, keras.Model.fit, evaluation.evaluate

    @functools.cache
    def short(name, split, image_shape=None):
        if name == "fashion_mnist":  # the original files: TFDS would copy them for 20 seconds first
            return _fashion_mnist(split)
        images, labels = whole(name, split, **({"image_shape": image_shape} if image_shape else {}))
        return images[:_N_IMAGES], None if labels is None else labels[:_N_IMAGES]

    def arrays(name, split, *, data_dir=None, image_shape=None, resize="crop", ground=None, cache=None):
        if name in _NOT_BUNDLED and not (ORIGINALS / _NOT_BUNDLED[name]).is_file():
            pytest.skip(f"no {_NOT_BUNDLED[name]} in {ORIGINALS}; set KERAS_GENZOO_DATA")
        return short(name, split, image_shape and tuple(image_shape))

    @functools.wraps(fit)
    def short_fit(self, x=None, y=None, **arguments):
        arguments |= {"epochs": 1, "steps_per_epoch": _N_STEPS, "validation_steps": 1, "verbose": 0}
        return fit(self, x, y, **arguments)

    @functools.wraps(evaluate)
    def short_evaluate(model, **arguments):
        short = {"n_images": 50, "n_importance_samples": 2, "n_samples": 100, "n_probe_images": 200}
        return evaluate(model, **{**arguments, **short, "verbose": False})

    for replaced, replacement in ((whole, arrays), (evaluate, short_evaluate)):
        for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "keras_genzoo"]:
            for name in [name for name, value in vars(module).items() if value is replaced]:
                monkeypatch.setattr(module, name, replacement)
    monkeypatch.setattr(keras.Model, "fit", short_fit)
    assert gz.evaluate is short_evaluate
    with threadpool_limits(1):  # scikit-learn's threads and TensorFlow's wait for each other
        yield tmp_path


def _fashion_mnist(split):
    """The first images and labels of the original files, as `data.arrays` has them."""
    prefix = {"train": "train", "test": "t10k"}[split]

    def read(kind, start, size):
        with gzip.open(ORIGINALS / "fashion_mnist" / f"{prefix}-{kind}-ubyte.gz") as file:
            return np.frombuffer(file.read(start + size * _N_IMAGES)[start:], "uint8")

    return read("images-idx3", 16, 784).reshape(-1, 28, 28, 1), read("labels-idx1", 8, 1).astype("int64")


@pytest.mark.parametrize("document", documents_with_code())
@pytest.mark.filterwarnings("ignore")  # two steps, or ten Gaussians in few codes, are nothing to warn of here
def test_the_code_of_a_document_runs(document, small):
    run(document)


def test_an_undefined_name_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\ny = x\nz = images\n```\n")
    with pytest.raises(NameError, match="images") as error:
        run(page)
    assert (Path(error.traceback[-1].path), error.traceback[-1].lineno + 1) == (page, 11)


def test_every_card_stands_alone():
    """A card is read by itself: its code begins with the import. Cards and the README have no fragments."""
    cards = [path for path in DOCUMENTS if path.parent.parent.name == "zoo_configs"]
    assert len(cards) >= 30
    for card in cards:
        assert all("import keras_genzoo as gz\n" in code for _, code in blocks(card)), card
    for document in (ROOT / "README.md", *cards):
        assert len(re.findall(r"^```python", document.read_text(), re.MULTILINE)) == len(blocks(document)), document
    assert len(blocks(ROOT / "README.md")) >= 5


# === Docstrings ===


def examples():
    """The docstrings with `>>>` lines, as parameters: doctests with the names of their module."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), []
    for path in sorted((ROOT / "keras_genzoo").rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            module = importlib.import_module(name)
            tests = [test for test in finder.find(module, name) if test.examples]
            marks = {test.name: [pytest.mark.nightly] if test.name.endswith(LONG) else [] for test in tests}
            found += [pytest.param(test, id=test.name, marks=marks[test.name]) for test in tests]
    return found


def failures(test):
    """What goes wrong when an example runs: an exception, or other output than stands there."""
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False)
    runner.run(test, out=report.append, clear_globs=False)
    return "".join(report)


@pytest.mark.parametrize("test", examples())
@pytest.mark.filterwarnings("ignore")
def test_an_example_runs(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failures(test) == ""


def test_there_are_examples():
    assert len(examples()) >= 16


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(">>> x = images + 1", "NameError"), (">>> 1 + 1\n3", "Got:\n    2"), (">>> int('a')", "ValueError")],
)
def test_an_example_can_fail(text, complaint):
    test = doctest.DocTestParser().get_doctest(text + "\n", {}, "example", "file", 0)
    assert complaint in failures(test)
