"""What is written on one machine is read on every other, whatever code its locale has for letters."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PRESET, ROOT
from PIL import Image

import keras_genzoo as gz

OPENERS = ("open", "read_text", "write_text", "fdopen", "TextIOWrapper")
PROGRAMS = ("run", "Popen", "check_output", "check_call")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _is_binary(call):
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" in mode.value for mode in modes)


def by_the_locale(code):
    """The calls of a module that read or write text in the code of the machine's locale."""
    found = []
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        name, keywords = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
        where, _, last = name.rpartition(".")
        opens = name == "open" or (where not in ("", "files") and last in OPENERS)
        opens = opens and name not in ("os.open", "Image.open") and not _is_binary(call)
        talks = last in PROGRAMS and keywords & {"text", "universal_newlines"}
        if (opens or talks) and "encoding" not in keywords | ({"encoding"} if None in keywords else set()):
            found.append(f"{call.lineno}: {name}")
    return found


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("open('x')", True),
        ("open('x', 'rb')", False),
        ("open('x', encoding='utf-8')", False),
        ("path.open()", True),
        ("path.read_text()", True),
        ("path.write_text('x', encoding='utf-8')", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
        ("subprocess.run(command)", False),
    ],
)
def test_what_depends_on_the_locale_is_found(code, is_found):
    assert bool(by_the_locale(code)) == is_found


@pytest.mark.parametrize("folder", [Path(gz.__file__).parent, ROOT / "benchmarks"], ids=["package", "benchmarks"])
def test_all_text_has_an_encoding(folder):
    found = {path.name: by_the_locale(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.nightly
def test_every_command_in_a_locale_of_ascii_alone(tmp_path):
    """In a folder whose name is not even UTF-8, the only code in which TensorFlow takes paths."""
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    (home / "photos").mkdir(parents=True)
    (home / "preset").mkdir()
    (home / "preset" / "preset.yaml").write_text(PRESET.replace("tiny", "t\u00efny"), encoding="utf-8")
    for i in range(20):
        Image.new("L", (28, 28), 10 * i).save(home / "photos" / f"{i}.png")
    commands = [
        ["train", "./preset", "--data", "folder:photos", "--epochs", "1", "--out", "mine"],
        ["info", "./mine"],
        ["evaluate", "./mine"],
        ["plot", "./mine", "--out", "a.png"],
        ["sample", "./mine", "--mixture", "2", "--out", "b.png"],
        ["export", "./mine", "--out", "out"],
        ["export", "./mine", "--out", "out", "--format", "litert"],
    ]
    for number, command in enumerate(commands):
        environment = {**os.environ, **(ASCII if number else {"LC_ALL": "C.UTF-8"})}
        command = [sys.executable, "-m", "keras_genzoo.cli", *command]
        done = subprocess.run(command, cwd=home, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in (home / "out").iterdir()} == {
        "mine.tflite", "mine.tflite.export.json", "mine_saved_model", "mine_saved_model.export.json"
    }  # fmt: skip
