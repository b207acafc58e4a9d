"""Files and folders are replaced whole: whenever the process dies, the old one or the new one stands."""

import ast
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_genzoo
from keras_genzoo import files
from keras_genzoo.errors import MissingDataError, ZooError

FUNCTIONS = "from keras_genzoo.files import folder_aside, put_in_place"

# Serves one line after the other: forks, and has the child die by SIGKILL just before so many-th touch of the disk.
SERVER = f"""
import json, os, signal, sys
from pathlib import Path
{FUNCTIONS}

TOUCHES = {{"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "open", "shutil.rmtree"}}

def replace(target, kind, generation):
    if kind == "folder":
        with folder_aside(target) as folder:
            for name in ("one", "two"):
                (folder / name).write_text(generation)
    else:
        new = target.with_name("new")
        new.write_text(generation)
        put_in_place(new, target)

for line in sys.stdin:
    target, kind, generation, touches = json.loads(line)
    child = os.fork()
    if not child:
        left = touches

        def dies(event, arguments):
            global left
            if left is not None and event in TOUCHES:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(dies)
        replace(Path(target), kind, generation)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def replaced():
    """A function: replaces a target in a process, which may die on the way; returns whether it lived."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:

        def ask(target, kind, generation, dies_at=None):
            print(json.dumps([str(target), kind, generation, dies_at]), file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            assert status in (0, -9)
            return status == 0

        yield ask
        server.stdin.close()


def generation_of(path):
    """What a file, or all of a folder, says; None where there is nothing, an AssertionError where it is half."""
    if path.is_dir():
        assert sorted(os.listdir(path)) == ["one", "two"]
        one, two = ((path / name).read_text() for name in ("one", "two"))
        assert one == two
        return one
    return path.read_text() if path.exists() else None


@settings(max_examples=25)
@given(kind=st.sampled_from(["folder", "file"]), deaths=st.lists(st.integers(0, 14), max_size=4))
def test_what_is_replaced_is_whole_however_often_the_process_dies(kind, deaths, replaced, tmp_path_factory):
    """After each death the target, or, between two renames, what was moved out of its way, is a whole one; and the
    next process that comes through to its end leaves its own and nothing beside it.
    """
    folder = tmp_path_factory.mktemp("case")
    target, moved = folder / "target", folder / ".target.replaced"
    assert replaced(target, kind, "0")
    stands = {"0"}
    for i, touches in enumerate(deaths, 1):
        lived = replaced(target, kind, str(i), touches)
        found = generation_of(target)
        if found is None:
            found = generation_of(moved)
        assert found in ({str(i)} if lived else stands | {str(i)})
        stands = {found}
    assert replaced(target, kind, "last")
    assert generation_of(target) == "last"
    assert not moved.exists()


def test_every_moment_to_die_at_is_among_them(replaced, tmp_path):
    """A replacement touches the disk fewer times than the cases above wait for."""
    for kind in ("folder", "file"):
        target = tmp_path / kind
        assert replaced(target, kind, "0")
        assert not replaced(target, kind, "1", 2)
        assert replaced(target, kind, "2", 14)


def test_no_other_room_writes_by_its_own_means():
    """Renaming and temporary names are `files`' alone, and text is UTF-8 whatever the locale says."""
    for path in Path(keras_genzoo.__file__).parent.rglob("*.py"):
        if path.name in (
            "files.py",
            "litert_process.py",
        ):  # the latter runs without the package, in a folder of its own
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node.func)
                where = f"{path}:{node.lineno}: {call}"
                assert call not in ("os.replace", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"), where
                if node.func.attr in ("read_text", "write_text") and call != "files.write_text":
                    assert "encoding" in {keyword.arg for keyword in node.keywords}, where


@pytest.mark.parametrize("context", [files.aside, files.folder_aside, files.folder_within])
def test_what_fails_leaves_nothing_and_a_full_disk_is_one_error(context, tmp_path):
    target = tmp_path / "target"
    with pytest.raises(KeyError), context(target):
        raise KeyError
    with pytest.raises(ZooError, match=r"Cannot write .*target: No space left on device"), context(target):
        raise OSError(28, "No space left on device")
    with pytest.raises(MissingDataError, match="as it was"), context(target):
        raise MissingDataError("as it was")  # an OSError, too, that says more by itself
    assert [path for path in tmp_path.rglob("*") if path != target] == []


def test_text_is_utf8_and_json_says_what_is_wrong(tmp_path):
    files.write_text(tmp_path / "deep" / "a.txt", "M\u00fcller")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "M\u00fcller".encode()
    files.write_json(tmp_path / "a.json", {"a": [1, 2.5, None]})
    assert files.read_json(tmp_path / "a.json", remedy="-") == {"a": [1, 2.5, None]}
    for damaged in (b'{"a":', b"\xff\xfe"):
        (tmp_path / "a.json").write_bytes(damaged)
        with pytest.raises(ZooError, match=r"a.json is not JSON .*; write it anew"):
            files.read_json(tmp_path / "a.json", remedy="write it anew")


def test_a_number_that_is_not_finite_is_null_in_json(tmp_path):
    """JSON has no word for it, and a reader that knows the standard would stop there."""
    content = {"looks": [{"loss": math.nan, "step": 1.0}], "bounds": (-math.inf, math.inf), "n": 3, "text": "NaN"}
    path = files.write_json(tmp_path / "a.json", content)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "looks": [{"loss": None, "step": 1.0}], "bounds": [None, None], "n": 3, "text": "NaN",
    }  # fmt: skip
