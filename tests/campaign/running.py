"""Runs of cases, and the verdict on each."""

import contextlib
import io
import json
import os
import select
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from keras_genzoo.errors import MOST_LETTERS, ZooError, one_line

from . import cases

SECONDS = 60  # within which a case must end
_GRACE = 30  # seconds more, for a process that does not heed its alarm
GOOD = frozenset({"done", "refused"})  # verdicts; the others are "traceback", "hang", "crash", "untold" and "memory"
_MOST_MEMORY = 1_500_000_000  # bytes that one case may add


class Hang(BaseException):
    """The end of a case that took too long; no `except Exception` catches it."""


def judged(run: Callable[[], int | None], *, folder: Path, seconds: float = SECONDS) -> tuple[str, str]:
    """The verdict on a call that returns an exit status, and the last words of one that is not good.

    Bad input must be one visible line of at most 300 letters; the folder of the case does not count.
    """

    def ring(*_):
        raise Hang

    out, err = io.StringIO(), io.StringIO()
    before, memory = signal.signal(signal.SIGALRM, ring), _memory()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run() or 0
    except SystemExit as stop:
        status = stop.code or 0
    except Hang:
        return "hang", traceback.format_exc()[-600:]
    except BaseException:
        return "traceback", traceback.format_exc()[-600:]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if _memory() - memory > _MOST_MEMORY:
        return "memory", f"{(_memory() - memory) / 1e9:.1f} GB"
    if status == 0:
        return "done", ""
    lines = [line for line in err.getvalue().splitlines() if line.startswith("keras-genzoo") and "error: " in line]
    told = len(lines) == 1 and lines[0].isprintable()
    told = told and len(lines[0].replace(str(folder), "")) <= MOST_LETTERS
    return ("refused", lines[0]) if told and status == 2 else ("untold", f"status {status}: {err.getvalue()[-600:]}")


def _memory() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def refusing(run: Callable[[], object]) -> Callable[[], int]:
    """A call of the Python API as the command line would tell of it."""

    def call():
        try:
            run()
        except ZooError as error:
            print(one_line(f"keras-genzoo: error: {error}", MOST_LETTERS), file=sys.stderr)
            return 2
        return 0

    return call


# === One case of each kind: functions of its number, the seed and a folder of its own ===


def preset_case(number: int, seed: int, folder: Path) -> tuple[str, str]:
    """`info` of a mutated preset, and its model where that is said to be good."""
    from keras_genzoo import cli, zoo

    (folder / "preset.yaml").write_bytes(cases.preset(number, seed))
    verdict, words = judged(lambda: cli.main(["info", str(folder)]), folder=folder)
    if verdict != "done":
        return verdict, words
    return judged(refusing(lambda: zoo.load(folder, weights=None)), folder=folder)


def weights_case(number: int, seed: int, folder: Path) -> tuple[str, str]:
    """`load` of damaged weights with a right hash, or of a damaged `.keras` file; what loads is finite."""
    import numpy as np

    from keras_genzoo import zoo

    saved = folder.parent / "saved"
    if not saved.is_dir():
        _save_tiny(saved)
    if number % 4:
        shutil.copytree(saved, folder / "preset")
        file = folder / "preset" / "model.weights.h5"
        file.write_bytes(cases.damaged(file.read_bytes(), number, seed))
        cases.with_right_hash(folder / "preset")
        target = folder / "preset"
    else:
        target = folder / "model.keras"
        target.write_bytes(cases.damaged(saved.with_suffix(".keras").read_bytes(), number, seed))

    def load():
        weights = zoo.load(target).get_weights()
        assert all(np.isfinite(value).all() for value in weights if value.dtype.kind == "f")

    return judged(refusing(load), folder=folder)


def record_case(number: int, seed: int, folder: Path) -> tuple[str, str]:
    """What reads a JSON file of a preset or of a run that holds something else."""
    from keras_genzoo import cli, presets

    file, content = cases.record(number, seed)
    shutil.copytree(presets.CONFIGS / "ae2d_mnist", folder / "preset")
    if file == "state.json":
        (folder / "out.partial").mkdir()
        (folder / "out.partial" / file).write_bytes(content)
        arguments = ["train", str(folder / "preset"), "--epochs", "1", "--out", str(folder / "out")]
    else:
        (folder / "preset" / file).write_bytes(content)
        by_file = {presets.METRICS_FILE: ["info"], presets.HISTORY_FILE: ["plot", "--kind", "curves"]}
        command, *options = by_file.get(file, ["sample", "-n", "1"])
        out = ["--out", str(folder / "out.png")] if command != "info" else []
        arguments = [command, str(folder / "preset"), *options, *out]
    return judged(lambda: cli.main(arguments), folder=folder)


def command_case(number: int, seed: int, folder: Path) -> tuple[str, str]:
    """A command line of which a part is no good, in a folder of its own."""
    from keras_genzoo import cli

    here = os.getcwd()
    os.chdir(folder)
    try:
        return judged(lambda: cli.main(cases.command(number, seed)), folder=folder)
    finally:
        os.chdir(here)


def _save_tiny(folder: Path) -> None:
    """A tiny trained preset, and its model as a `.keras` file beside it."""
    from helpers import PRESET

    from keras_genzoo import zoo

    plan = folder.with_name("plan")
    plan.mkdir()
    (plan / "preset.yaml").write_text(PRESET, encoding="utf-8")
    model = zoo.load(plan, weights=None)
    zoo.save(model, folder)
    model.save(folder.with_suffix(".keras"))


KINDS = {"presets": preset_case, "weights": weights_case, "records": record_case, "commands": command_case}


# === Many cases ===


def series(kind: str, numbers: range, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """Runs cases of a kind here: the counts of the verdicts, and a line of each case that is not good."""
    counts, failures = Counter(), []
    for number in numbers:
        verdict, words = _one(kind, number, seed, folder)
        counts[verdict] += 1
        if verdict not in GOOD:
            failures.append(f"{kind} {number}: {verdict}: {words}")
    return counts, failures


def _one(kind, number, seed, folder):
    own = folder / str(number)
    own.mkdir(parents=True)
    try:
        return KINDS[kind](number, seed, own)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def series_apart(kind: str, numbers: range, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """`series` in a process of its own, which a case may crash or block: the next process goes on behind it."""
    counts, failures, rest = Counter(), [], list(numbers)
    while rest:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                for number in rest:
                    print(json.dumps(_one(kind, number, seed, folder / str(os.getpid()))), file=pipe, flush=True)
            os._exit(0)
        os.close(write)
        ended = "crash"
        with os.fdopen(read) as pipe:
            while rest:
                ready, _, _ = select.select([pipe], [], [], 2 * SECONDS + _GRACE)
                line = pipe.readline() if ready else ""
                if not line:
                    if not ready:
                        ended = "hang"
                        os.kill(child, signal.SIGKILL)
                    break
                verdict, words = json.loads(line)
                number = rest.pop(0)
                counts[verdict] += 1
                if verdict not in GOOD:
                    failures.append(f"{kind} {number}: {verdict}: {words}")
        os.waitpid(child, 0)
        if rest:
            counts[ended] += 1
            failures.append(f"{kind} {rest.pop(0)}: {ended}")
    return counts, failures
