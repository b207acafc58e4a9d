"""Families are wings: general rooms name none of them, and a family's record says the truth."""

import ast
import re
from pathlib import Path

import pytest

import keras_genzoo
from keras_genzoo import models, parts
from keras_genzoo.registry import resolve

PACKAGE = Path(keras_genzoo.__file__).parent
GENERAL = [  # rooms that know no family
    "base", "cards", "choices", "cli", "contract", "data", "drawings", "engine", "evaluation", "exporting", "files",
    "flatbuffer", "hooks", "inspecting", "judges", "litert", "measures", "onnx_files", "origin", "parts", "pipeline",
    "plots", "presets", "progress", "registry", "saved_model", "source", "training", "zoo",
]  # fmt: skip
FILES = {
    "base": "models/base.py", "contract": "models/contract.py", "hooks": "models/hooks.py",
    "data": "data/__init__.py", "pipeline": "data/pipeline.py", "exporting": "exporting/__init__.py",
    **{room: f"exporting/{room}.py" for room in ("litert", "onnx_files", "saved_model", "source")},
}  # fmt: skip
WORDS = {
    "face", "faces", "gan", "vae", "landmark", "landmarks", "monitor", "label", "labels", "swap", "swaps",
    "autoencoder", "discriminator", "warped", "unwarped", "codec",
}  # fmt: skip
LABELS = "data sets have labels, whichever model reads them"
EXCEPTIONS = {  # (room, word) -> why it is no knowledge of a family
    ("cards", "gan"): "a benchmark's results, in a README of the repository",
    ("cards", "vae"): "a benchmark's results, and the preset whose speed the README tells",
    ("cards", "faceswap"): "a benchmark's results",
    ("cards", "labels"): "names of metrics as people write them",
    ("cards", "label"): "the name of a metric as people write it",
    ("cli", "label"): LABELS,
    ("data", "faces"): "names of data sets",
    ("data", "labels"): LABELS,
    ("pipeline", "labels"): LABELS,
    ("base", "labels"): LABELS,
    ("drawings", "labels"): LABELS,
    ("drawings", "label"): LABELS,
    ("evaluation", "labels"): LABELS,
    ("inspecting", "labels"): LABELS,
    ("saved_model", "labels"): LABELS,
    ("source", "labels"): LABELS,
    ("measures", "labels"): LABELS,
    ("measures", "label"): "a metric's name: label_histogram_kl",
    ("plots", "labels"): LABELS,
    ("presets", "labels"): LABELS,
    ("training", "labels"): LABELS,
    ("presets", "monitor"): "the name of a folder of pictures that a training leaves",
    ("plots", "label"): "an argument of Matplotlib",
    ("plots", "vae"): "an error that says which model a traversal needs",
}


def words_of(source):
    """`{word: line}` of the identifiers and texts of a module, docstrings and comments left out."""
    tree, found = ast.parse(source), {}
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        texts = [getattr(node, field, None) for field in ("id", "attr", "arg", "name", "module", "value")]
        for text in texts:
            if isinstance(text, str) and id(node) not in docstrings:
                spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
                for word in re.findall(r"[a-z]+", spaced.lower().replace("_", " ")):
                    found.setdefault(word, getattr(node, "lineno", 0))
    return found


@pytest.mark.parametrize("room", GENERAL)
def test_a_general_room_names_no_family(room):
    path = PACKAGE / FILES.get(room, f"{room}.py")
    found = words_of(path.read_text(encoding="utf-8"))
    named = {word: line for word, line in found.items() if word in WORDS and (room, word) not in EXCEPTIONS}
    assert not named, f"{path.name} knows a family: {named}. Ask the family's record, or say here why it is none"


def test_every_exception_is_still_needed():
    for room, word in EXCEPTIONS:
        path = PACKAGE / FILES.get(room, f"{room}.py")
        assert word in words_of(path.read_text(encoding="utf-8")), f"({room}, {word}) is an exception of nothing"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("if preset.family == 'gan': pass", "gan"),
        ("from keras_genzoo.models.face_swap import align", "face"),
        ("def f(landmarks): pass", "landmarks"),
        ("x.warped_steps = 3", "warped"),
        ("MyVAE = 1", "vae"),
        ("f(monitor=1)", "monitor"),
    ],
)
def test_a_breach_is_caught(source, word):
    assert word in words_of(source)


def test_docstrings_are_no_knowledge():
    assert "vae" not in words_of('"""A VAE."""\n\ndef f():\n    """As gz.load("vae_mnist")."""\n')


# === The records say the truth ===


@pytest.mark.parametrize("family", list(models.FAMILIES))
def test_every_reference_of_a_record_resolves(family):
    record = models.record(family)
    for value in (
        record.model,
        record.measures,
        record.hooks,
        record.section,
        record.spellings,
        record.contract,
        record.commands,
    ):
        assert value is None or resolve(value)
    assert all(callable(resolve(function)) for function in record.drawings.values())
    for kind in record.part_kinds:
        assert parts.names(kind)


def test_a_models_parts_are_of_known_kinds():
    for family in models.FAMILIES:
        assert set(models.get(family).PARTS.values()) <= set(parts.kinds())
