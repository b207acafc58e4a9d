"""A seeded sample of the campaign with every commit; by night another, larger one."""

import subprocess
import sys
from pathlib import Path

import pytest

from campaign import running

ROOT = Path(__file__).parents[2]

SAMPLE = {"presets": 40, "weights": 10, "records": 20, "commands": 20}
NIGHT = {"presets": 250, "weights": 80, "records": 100, "commands": 150}


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KERAS_GENZOO_DATA", "")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", SAMPLE)
def test_a_sample_is_done_or_refused_in_one_line(kind, quiet, tmp_path):
    counts, failures = running.series(kind, range(SAMPLE[kind]), 19, tmp_path)
    assert failures == []
    assert counts["refused"] >= SAMPLE[kind] // 4  # else the cases are no faults
    assert counts.total() == SAMPLE[kind]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", NIGHT)
def test_a_night_is_done_or_refused_in_one_line(kind, quiet, tmp_path):
    _, failures = running.series(kind, range(1000, 1000 + NIGHT[kind]), 20, tmp_path)
    assert failures == []


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (lambda: 1 / 0, "traceback"),
        (lambda: 1, "untold"),
        (lambda: 2, "untold"),
        (lambda: 0, "done"),
        (lambda: exec("while True: pass"), "hang"),
    ],
)
def test_the_verdict_can_be_bad(run, verdict, tmp_path):
    assert running.judged(run, folder=tmp_path, seconds=0.2)[0] == verdict


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "n"), [("kills", 4), ("disks", 8)])
def test_some_kills_and_full_disks_lose_nothing(kind, n):
    """In a process of its own, for each case is a fork of one that has run nothing of TensorFlow yet."""
    command = [sys.executable, "-m", "tests.campaign", "--kind", kind, "--n", str(n), "--seed", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
