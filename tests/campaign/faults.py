"""Kills and full disks: what a process leaves behind when it ends at any of its writes, and what comes after.

A process of its own runs each case, forked from one that has imported TensorFlow and run nothing of it.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import helpers

from . import running

SECONDS = 180  # within which a case must end
_WRITES = os.O_WRONLY | os.O_RDWR
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")  # audit events beside `open` for writing
GOOD = running.GOOD | {"same", "killed"}

# Tiny trainings of a second: 12 steps an epoch.
PLANS = {
    "vae": helpers.PRESET.replace("batch_size: 2000", "batch_size: 5000"),
    "gan": """
family: gan
description: A tiny watched GAN of the campaign.
data: {name: ring2d}
model:
  image_shape: [1, 1, 2]
  latent_dim: 2
  generator: {name: mlp_generator, units: [8]}
  discriminator: {name: mlp_discriminator, units: [8]}
training:
  epochs: 3
  batch_size: 4000
  optimizers:
    g_optimizer: {name: adam, learning_rate: 1e-3, schedule: cosine, beta_1: 0.5}
    d_optimizer: {name: adam, learning_rate: 1e-3, beta_1: 0.5}
evaluation: {metric: modes}
gan: {monitor: {every: 4, action: restore, grace: 0, patience: 1, max_restores: 1000, factor: 0.9}}
""",
}


def apart(run: Callable[[], list], seconds: float = SECONDS) -> list:
    """What a function returns in a forked process, as JSON takes it; `["crash", ...]` or `["hang", ""]` without it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            words = json.dumps(run())
        except BaseException as error:
            words = json.dumps(["traceback", repr(error)[:600]])
        os.write(write, words.encode())
        os._exit(0)
    os.close(write)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(int(seconds))
    with os.fdopen(read) as pipe:
        words = pipe.read()
    _, status = os.waitpid(child, 0)
    left = signal.alarm(0)
    if words:
        return json.loads(words)
    if left == 0:
        return ["hang", ""]
    return ["killed" if os.WTERMSIG(status) == signal.SIGKILL else "crash", f"signal {os.WTERMSIG(status)}"]


def at_write(folder: Path, k: int, act: Callable[[], None]) -> list[int]:
    """Counts this process's changes below a folder from now on, and acts at the k-th, before it happens."""
    count, root = [0], os.fsencode(folder)

    def heard(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (_WRITES | os.O_CREAT):
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, (str, bytes, os.PathLike)) or not os.path.abspath(os.fsencode(path)).startswith(root):
            return
        count[0] += 1
        if count[0] == k:
            act()

    sys.addaudithook(heard)  # for the rest of this process, which is a case's own
    return count


def weights_of(path: Path) -> dict[str, list]:
    """The arrays of a preset folder's weights by their names, as hex of their bytes."""
    import h5py

    arrays = {}
    with h5py.File(path / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()].tobytes().hex()}) if hasattr(item, "dtype") else None
        )
    return arrays


class Scenario:
    """Work that writes below a folder: the same call before and after a kill."""

    def __init__(self, name: str, sources: Path):
        self.name, self.sources = name, sources

    def run(self, folder: Path) -> int:
        """Does the work, as the command line does; the exit status."""
        from keras_genzoo import cli, zoo

        kind, _, plan = self.name.partition(" ")
        os.chdir(folder)
        if kind == "train":
            return cli.main(["train", str(self.sources / plan), "--out", "out"])
        if kind == "export":
            return cli.main(["export", str(self.sources / "trained"), "--out", "out", "--format", plan])
        if kind == "sample":
            return cli.main(["sample", str(self.sources / "trained"), "-n", "9", "--out", "out/nine.png"])
        return running.refusing(lambda: zoo.save(zoo.load(self.sources / "trained"), folder / "out", overwrite=True))()

    def begin(self, folder: Path) -> None:
        """Puts in place what the work replaces."""
        folder.mkdir(parents=True)
        if self.name == "save":
            shutil.copytree(self.sources / "trained", folder / "out")

    def result(self, folder: Path) -> list:
        """The names below the folder, and the weights where there are any."""
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        return [names, weights_of(folder / "out") if (folder / "out" / "model.weights.h5").is_file() else None]


SCENARIOS = ("train vae", "train gan", "save", "export litert", "export saved_model")
FULL = ("train vae", "save", "export litert", "export saved_model", "sample")


def prepare(folder: Path) -> Path:
    """The plans, and a trained preset, that the scenarios begin with."""
    sources = folder / "sources"
    for name, text in PLANS.items():
        (sources / name).mkdir(parents=True)
        (sources / name / "preset.yaml").write_text(text, encoding="utf-8")

    def train():
        from keras_genzoo import cli

        return list(
            running.judged(
                lambda: cli.main(["train", str(sources / "vae"), "--out", str(sources / "trained")]), folder=folder
            )
        )

    verdict, words = apart(train)
    if verdict != "done":
        raise RuntimeError(f"The campaign's own training did not end well: {verdict} {words}")
    return sources


def kills(n: int, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """Kills a scenario at a write, then runs the same call again: the end must be that of an unbroken run."""
    import keras_genzoo.training  # noqa: F401  imported here, that no case waits for it

    sources, counts, failures, wanted, writes = prepare(folder), Counter(), [], {}, {}
    for name in SCENARIOS:
        scenario, own = Scenario(name, sources), folder / "unbroken" / name

        def unbroken(scenario=scenario, own=own):
            scenario.begin(own)
            count = at_write(own, 0, lambda: None)
            verdict, words = running.judged(lambda: scenario.run(own), folder=own, seconds=SECONDS)
            return [verdict, words, count[0], scenario.result(own) if verdict == "done" else None]

        verdict, words, *rest = apart(unbroken)
        if verdict != "done":
            counts[verdict] += 1
            failures.append(f"kills {name} unbroken: {verdict}: {words}")
            continue
        writes[name], wanted[name] = rest
    for number in range(n):
        draw = random.Random(f"kill {seed} {number}")
        name = list(writes)[number % len(writes)]
        k = draw.randint(1, writes[name])
        scenario, own = Scenario(name, sources), folder / "kills" / str(number)

        def killed(scenario=scenario, own=own, k=k):
            scenario.begin(own)
            at_write(own, k, lambda: os.kill(os.getpid(), signal.SIGKILL))
            return list(running.judged(lambda: scenario.run(own), folder=own, seconds=SECONDS))

        def again(scenario=scenario, own=own):
            verdict, words = running.judged(lambda: scenario.run(own), folder=own, seconds=SECONDS)
            return [verdict, words, scenario.result(own)]

        verdict, words, *_ = apart(killed)
        if verdict in ("killed", "done"):
            lost = name == "save" and not (own / "out" / "preset.yaml").is_file()
            verdict, words, *rest = apart(again)
            if verdict == "done":
                verdict, words = _compared(rest[0], wanted[name])
            if lost:
                verdict, words = "lost", "nothing stood at the path after the kill"
        counts[verdict] += 1
        if verdict != "same":
            failures.append(f"kills {number} ({name}, at write {k} of {writes[name]}): {verdict}: {words}")
        shutil.rmtree(own, ignore_errors=True)
    return counts, failures


def _compared(result, wanted):
    names, weights = result
    if names != wanted[0]:
        return "orphan", f"more {sorted(set(names) - set(wanted[0]))}, fewer {sorted(set(wanted[0]) - set(names))}"
    return ("same", "") if weights == wanted[1] else ("differs", "other weights than an unbroken run's")


def full_disks(n: int, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """Runs a scenario where files, or the disk, have little room: it ends well, or in one line with all as it was."""
    import keras_genzoo.training  # noqa: F401

    sources, counts, failures = prepare(folder), Counter(), []
    for number in range(n):
        draw = random.Random(f"disk {seed} {number}")
        scenario, own = Scenario(FULL[number % len(FULL)], sources), folder / "disks" / str(number)
        size = int(10 ** draw.uniform(2.5, 5.6))
        disk = _small_disk(own.parent / f"disk{number}", size) if number % 2 else None
        own = disk / "case" if disk else own

        def cramped(scenario=scenario, own=own, size=size, disk=disk):
            scenario.begin(own)
            before = _state_of(own)
            if disk is None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            verdict, words = running.judged(lambda: scenario.run(own), folder=own, seconds=SECONDS)
            kept = {path: text for path, text in _state_of(own).items() if not path.startswith("out.partial")}
            if verdict == "refused" and kept != before:
                return ["half", f"changed: {sorted(kept.items() ^ before.items())[:4]}"]
            return [verdict, words]

        verdict, words, *_ = apart(cramped)
        counts[verdict] += 1
        if verdict not in running.GOOD:
            kind = "disk" if disk else "file"
            failures.append(f"disks {number} ({scenario.name}, {size:,} bytes a {kind}): {verdict}: {words}")
        if disk:
            subprocess.run(["umount", disk], check=False)
        shutil.rmtree(own, ignore_errors=True)
    return counts, failures


def _state_of(folder):
    """The content of every file below a folder, by its path; a lock is no work."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes().hex() for path in files}


def _small_disk(place, size):
    """A tmpfs with little more room than what a case begins with, where this user may mount one; else None."""
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size + 300_000}", "tmpfs", place], capture_output=True, check=False
    )
    return place if done.returncode == 0 else None
