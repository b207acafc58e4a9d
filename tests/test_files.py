"""Files and folders are replaced whole: whenever the process dies, the old one or the new one stands."""

import ast
import contextlib
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

MOMENTS = 30  # at which a replacement may die: more than it touches the disk

# Serves one line after the other: forks, and has the child die by SIGKILL just before so many-th touch of the disk.
SERVER = """
import json, os, signal, sys
from pathlib import Path
from keras_genzoo import files

TOUCHES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "open", "shutil.rmtree"}

def replace(target, kind, generation):
    if kind == "folder":
        with files.folder_aside(target) as folder:
            for name in ("one", "two"):
                (folder / name).write_text(generation)
    else:
        new = target.with_name("new")
        new.write_text(generation)
        files.put_in_place(new, target)

for line in sys.stdin:
    target, kind, generation, touches, exchanging = json.loads(line)
    child = os.fork()
    if not child:
        left = touches

        def dies(event, arguments):
            global left
            if left is not None and event in TOUCHES:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        if not exchanging:
            files._exchanged = lambda *_: False
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

        def ask(target, kind, generation, dies_at=None, exchanging=True):
            asked = [str(target), kind, generation, dies_at, exchanging]
            print(json.dumps(asked), file=server.stdin, flush=True)
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
@given(
    kind=st.sampled_from(["folder", "file"]),
    exchanging=st.booleans(),
    deaths=st.lists(st.integers(0, MOMENTS), max_size=4),
)
def test_what_is_replaced_is_whole_however_often_the_process_dies(kind, exchanging, deaths, replaced, tmp_path_factory):
    """After each death the target is a whole one; where the system cannot exchange, it is so once it is healed. And the
    next process that comes through to its end leaves its own and nothing beside it.
    """
    folder = tmp_path_factory.mktemp("case")
    target = folder / "target"
    assert replaced(target, kind, "0")
    stands = {"0"}
    for i, touches in enumerate(deaths, 1):
        lived = replaced(target, kind, str(i), touches, exchanging)
        if not exchanging:
            files.healed(target)
        found = generation_of(target)
        assert found in ({str(i)} if lived else stands | {str(i)})
        stands = {found}
    assert replaced(target, kind, "last", None, exchanging)
    assert generation_of(target) == "last"
    assert os.listdir(folder) == ["target"]


@pytest.mark.parametrize("exchanging", [True, False])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_every_moment_to_die_at_is_among_them(kind, exchanging, replaced, tmp_path):
    """A replacement touches the disk fewer times than the cases above wait for, and dies at each of them."""
    target = tmp_path / kind
    assert replaced(target, kind, "0")
    lived = [replaced(target, kind, str(i), i, exchanging) for i in range(MOMENTS)]
    assert not lived[0]
    assert lived == sorted(lived)
    assert all(lived[-2:])
    assert generation_of(target) == str(MOMENTS - 1)
    assert os.listdir(tmp_path) == [kind]


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


# === Names beside a path ===

HOLDER = """
import sys, time
from keras_genzoo import files

with getattr(files, sys.argv[1])(sys.argv[2]) as temporary:
    if temporary is not None and temporary.is_dir():
        (temporary / "half").write_text("half")
    print("holds", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(context, target):
    """A process in the midst of one of the contexts of `files`; it is killed at the end."""
    command = [sys.executable, "-c", HOLDER, context, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("context", ["aside", "folder_aside", "folder_within"])
def test_what_a_dead_process_has_left_goes_and_what_a_living_one_writes_stays(context, tmp_path):
    target = tmp_path / "deep" / "target.png"

    def write():
        with getattr(files, context)(target) as temporary:
            (temporary / "one" if temporary.is_dir() else temporary).write_text("whole")

    with holder(context, target):
        held = set(names_in(tmp_path))
        write()
        assert held <= set(names_in(tmp_path))
        files.try_to_write(target)
        assert held <= set(names_in(tmp_path))
    assert held <= set(names_in(tmp_path))  # it was killed: nobody has removed them
    write()
    assert not [name for name in names_in(tmp_path) if "aside" in name]


def test_orphans_of_several_dead_processes_go_at_once(tmp_path):
    target = tmp_path / "target"
    with holder("folder_aside", target), holder("folder_aside", target), holder("folder_aside", target):
        assert len(os.listdir(tmp_path)) == 3
    with files.folder_aside(target) as folder:
        (folder / "one").write_text("whole")
    assert os.listdir(tmp_path) == ["target"]


def test_one_process_writes_a_path_and_its_death_frees_it(tmp_path):
    target = tmp_path / "deep" / "out"
    is_refused = pytest.raises(ZooError, match=r"deep/out is being written by another process")
    with holder("lock", target), is_refused, files.lock(target):
        pass
    assert os.listdir(tmp_path / "deep") == [".out.lock"]
    with files.lock(target), files.lock(target.with_name("other")):
        assert len(os.listdir(tmp_path / "deep")) == 2
    assert os.listdir(tmp_path / "deep") == []
    with files.lock(tmp_path / "new" / "folder" / "out"):
        pass
    assert not (tmp_path / "new").exists()


def test_where_nothing_is_locked_all_is_written_all_the_same(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(95, "Operation not supported")

    for module in (None, type("fcntl", (), {"flock": unknown, "LOCK_EX": 0, "LOCK_NB": 0})):
        monkeypatch.setattr(files, "fcntl", module)
        with files.lock(tmp_path / "out"):
            files.write_text(tmp_path / "out.txt", "whole")
            with files.folder_aside(tmp_path / "out") as folder:
                (folder / "one").write_text("whole")
        assert names_in(tmp_path) == ["out", "out.txt", "out/one"]


@pytest.mark.parametrize("trial", ["try_to_write", "try_to_write_file", "lock"])
def test_a_path_is_tried_before_the_work_and_left_as_it_was(trial, tmp_path, file_limit):
    def tried(path):
        with getattr(files, trial)(path) or contextlib.nullcontext():
            pass

    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path / "file" / "out", "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (Path("/proc/nowhere/out"), "No such file or directory"),
    ):
        with pytest.raises(ZooError, match=f"Cannot write .*: {reason}"):
            tried(path)
    with file_limit(0), pytest.raises(ZooError, match=r"Cannot write .*out: File too large"):
        tried(tmp_path / "new" / "out")
    tried(tmp_path / "new" / "out")
    assert names_in(tmp_path) == ["file"]


def test_a_picture_is_not_written_over_a_folder(tmp_path):
    with pytest.raises(ZooError, match="it is a folder"):
        files.try_to_write_file(tmp_path)


@pytest.mark.parametrize("write", [files.write_text, files.write_bytes, files.write_json])
def test_a_full_disk_leaves_the_old_file(write, tmp_path, file_limit):
    path = tmp_path / "file"
    path.write_text("old")
    content = b"0" * 9_000 if write is files.write_bytes else "0" * 9_000
    with file_limit(4_096), pytest.raises(ZooError, match=r"Cannot write .*file: File too large"):
        write(path, content)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_in_memory_is_written_whole_or_not_at_all(tmp_path):
    with contextlib.suppress(KeyError), files.in_memory(tmp_path / "file") as file:
        file.write(b"half")
        raise KeyError
    assert os.listdir(tmp_path) == []
    with files.in_memory(tmp_path / "file.weights.h5") as file:
        file.write(b"whole")
        assert str(file) == "file.weights.h5"
    assert (tmp_path / "file.weights.h5").read_bytes() == b"whole"
