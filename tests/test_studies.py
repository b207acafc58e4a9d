"""The lecture's experiments, cut short: what each shows must show already."""

import functools
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_genzoo import data, metrics, presets, studies
from keras_genzoo.data import made
from keras_genzoo.errors import ZooError
from keras_genzoo.registry import resolve
from keras_genzoo.studies import common, estimate, runs, seeds, sensitivity


@pytest.fixture
def short(monkeypatch):
    """Epochs of 100 batches."""
    stream = data.stream

    def fewer(*arguments, **options):
        batches, _ = stream(*arguments, **options)
        return batches, 100

    monkeypatch.setattr(data, "stream", fewer)


def _run(name, tmp_path, **arguments):
    rows, path = studies.run(name, tmp_path / "out", verbose=False, **arguments)
    assert path.read_bytes().startswith(b"\x89PNG")
    stored = json.loads(path.with_suffix(".json").read_text())
    assert (stored["study"], stored["rows"]) == (name, json.loads(json.dumps(rows)))
    return rows


def test_every_study_is_found_by_its_name():
    for name, study in studies.STUDIES.items():
        assert resolve(study.function).__name__ == name
        assert study.about


def test_estimates_from_the_prior_fall_short(tmp_path, monkeypatch):
    """Both rise with N, as bounds do; a thousand draws of the prior tell less than one of q(z|x)."""
    few = functools.partial(estimate.estimate, n_images=10, most_naive=1_000, most_weighted=200)
    monkeypatch.setitem(studies.STUDIES, "estimate", studies.Study(few, None, ""))
    rows = _run("estimate", tmp_path)
    naive, weighted = ([r["log_p"] for r in rows if r["estimate"].startswith(side)] for side in ("naive", "importance"))
    assert naive == sorted(naive)
    assert weighted == sorted(weighted)
    assert weighted[0] > naive[-1] + 20
    assert -110 < weighted[-1] < -65


@pytest.mark.nightly
def test_a_code_needs_both_halves_of_the_elbo(tmp_path, short):
    rows = {row["trained on"]: row for row in _run("latent_space", tmp_path, epochs=1)}
    alone, silent, both = rows["reconstruction only"], rows["KL only"], rows["reconstruction and KL"]
    assert alone["spread of z_mean"] > 2 * both["spread of z_mean"]
    assert both["spread of z_mean"] > 5 * silent["spread of z_mean"]
    assert silent["kl"] < 0.5 < both["kl"] < alone["kl"]
    assert silent["reconstruction_loss"] > 1.5 * both["reconstruction_loss"]


def test_codes_interpolate_where_pixels_blend(tmp_path):
    rows = {row["what"]: row for row in _run("interpolation", tmp_path)}
    grey = {what.rsplit(", ", 1)[1]: row["value"] for what, row in rows.items() if what.startswith("pixels that are")}
    assert grey["codes"] < 0.75 * grey["pixels"]
    ink = [row["value"] for what, row in rows.items() if what.startswith("z ")]
    assert ink[0] < 0.8 * ink[1] < 0.8 * 0.8 * ink[2]


@pytest.mark.nightly
def test_beta_trades_rate_for_distortion(tmp_path, short):
    rows = _run("beta", tmp_path, epochs=1)
    assert [row["rate"] for row in rows] == sorted((row["rate"] for row in rows), reverse=True)
    assert [row["distortion"] for row in rows] == sorted(row["distortion"] for row in rows)
    for row in rows:
        assert row["elbo"] == pytest.approx(-row["rate"] - row["distortion"], abs=0.02)


@pytest.mark.nightly
def test_a_vae_collapses_under_wide_noise_and_is_cured(tmp_path, short):
    rows = {row["case"]: row for row in _run("collapse", tmp_path, epochs=3)}
    assert rows["sigma 2.5"]["active_units"] == 0
    assert rows["sigma 2.5, free bits 0.5"]["active_units"] > 10
    assert rows["sigma optimal"]["active_units"] > 10
    assert rows["sigma optimal"]["squared_error"] < 0.7 * rows["sigma 2.5"]["squared_error"]
    assert rows["sigma optimal"]["sigma"] < 0.5 < rows["sigma 2.5"]["sigma"] == 2.5


def test_modes_are_counted_over_games_and_regularizers_and_resumed(tmp_path, monkeypatch):
    """A few cells of the map; an interrupted study trains only what is missing. What training finds is tested below."""
    cells = {
        "games": ("minimax", "relativistic"),
        "cures": ("R1 + R2", "label smoothing"),
        "rates": (1e-3, 1e-2),
        "n_seeds": 1,
    }
    monkeypatch.setitem(
        studies.STUDIES, "sensitivity", studies.Study(functools.partial(sensitivity.sensitivity, **cells), 2, "")
    )
    calls = []

    def counted(name, runs, epochs, **options):
        calls.append((name, json.dumps(options["game"])))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return [{"modes": len(calls) if rate == 1e-3 else 0, "high_quality": 0.9, "epochs": epochs} for rate, _ in runs]

    monkeypatch.setattr(runs, "mode_counts", counted)
    with pytest.raises(KeyboardInterrupt):
        _run("sensitivity", tmp_path)
    assert (tmp_path / "out" / "sensitivity.partial.json").is_file()
    rows = _run("sensitivity", tmp_path)
    assert not (tmp_path / "out" / "sensitivity.partial.json").exists()
    assert len(calls) == 7  # 6 cells have a meaning; one was begun twice
    assert [(row["data"], row["game"], row["regularizer"], row["learning_rate"]) for row in rows] == [
        (name, *cell, rate)
        for name in ("ring2d", "grid2d")
        for cell in (("minimax", "R1 + R2"), ("minimax", "label smoothing"), ("relativistic", "R1 + R2"))
        for rate in (1e-3, 1e-2)
    ]
    assert [row["modes"] for row in rows] == [1, 0, 2, 0, 3, 0, 4, 0, 6, 0, 7, 0]
    assert {row["epochs"] for row in rows} == {2}


def test_modes_that_were_hit_by_chance_are_not_kept():
    grid = made.MIXTURES["grid2d"]
    strewn = np.random.default_rng(0).uniform(grid.centres.min(), grid.centres.max(), size=(20_000, 2))
    true = np.repeat(grid.centres, 10, axis=0)
    for points, kept in ((strewn, False), (true, True), (true[10:], False)):
        found = metrics.mode_coverage(points, centres=grid.centres, std=grid.std)
        assert found["modes"] == (24 if points.shape == true[10:].shape else 25)
        assert runs.keeps_all(found, 25) == kept


@pytest.mark.nightly
def test_a_run_of_the_map_is_that_of_a_model_of_its_own():
    """Runs that share a compiled step do not share anything else."""
    rates_and_seeds = [(1e-3, 0), (3e-3, 1), (1e-3, 0)]
    first, other, again = runs.mode_counts("ring2d", rates_and_seeds, 1, game="hinge", r1=0.1)
    assert first == again != other
    assert runs.mode_counts("ring2d", [(3e-3, 1)], 1, game="hinge", r1=0.1) == [other]


@pytest.mark.nightly
def test_processes_train_what_one_process_does():
    calls = {seed: {"name": "ring2d", "runs": [(1e-3, seed)], "epochs": 1, "game": "hinge"} for seed in (0, 1)}
    found = dict(runs._trained(calls, 2))
    assert found == dict(runs._trained(calls, 1))
    assert found[0] != found[1]


@pytest.mark.nightly
def test_processes_end_with_the_study_that_began_them(tmp_path):
    """Also with one that is killed, which can tell them nothing."""
    script = tmp_path / "killed.py"
    script.write_text("""
import concurrent.futures, multiprocessing, os, signal, time
from keras_genzoo.studies import runs
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn, initializer=runs._begin_worker)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    os.kill(os.getpid(), signal.SIGKILL)
""")
    ended = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert int(ended.stdout) > 0  # it worked; and the pipe was closed by its end, or `run` would wait for it


@pytest.mark.nightly
def test_presets_of_points_are_trained_from_several_seeds(tmp_path, short, monkeypatch):
    few = functools.partial(seeds.seeds, names=("ring2d",), n_seeds=2)
    monkeypatch.setitem(studies.STUDIES, "seeds", studies.Study(few, 50, ""))
    rows = _run("seeds", tmp_path, epochs=3)
    assert [(row["data"], row["seed"]) for row in rows] == [("ring2d", 0), ("ring2d", 1)]
    assert all(0 < row["modes"] <= 8 and row["reverse_kl"] >= 0 for row in rows)
    assert rows[0]["reverse_kl"] != rows[1]["reverse_kl"]


def test_seeds_go_on_from_those_that_are_done(tmp_path, monkeypatch):
    trained = []

    def counted(name, runs, epochs, **options):
        trained.append((name, epochs, *runs))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return [{"modes": len(trained), "high_quality": 1.0, "reverse_kl": 0.0}]

    monkeypatch.setattr(runs, "mode_counts", counted)
    few = functools.partial(seeds.seeds, n_seeds=2)
    monkeypatch.setitem(studies.STUDIES, "seeds", studies.Study(few, common.AS_THE_PRESET, ""))
    with pytest.raises(KeyboardInterrupt):
        _run("seeds", tmp_path)
    rows = _run("seeds", tmp_path)
    ring, grid = (presets.find(name).training.epochs for name in ("ring2d", "grid2d"))
    assert trained == [
        ("ring2d", ring, (1e-3, 0)), ("ring2d", ring, (1e-3, 1)), ("grid2d", grid, (1e-3, 0)),
        ("grid2d", grid, (1e-3, 0)), ("grid2d", grid, (1e-3, 1)),
    ]  # fmt: skip
    assert [(row["data"], row["seed"], row["modes"]) for row in rows] == [
        ("ring2d", 0, 1), ("ring2d", 1, 2), ("grid2d", 0, 4), ("grid2d", 1, 5),
    ]  # fmt: skip
    assert list((tmp_path / "out").glob("*.partial.*")) == []


def test_runs_of_other_networks_are_trained_anew(tmp_path, monkeypatch):
    setting, trained = common.Setting(1, 0, False, tmp_path / "study.partial.json", 1), []

    def counted(runs, units):
        trained.append(units)
        return [{"modes": units}]

    monkeypatch.setattr(runs, "mode_counts", counted)
    for units in (8, 8, 16):
        rows = runs.rows_of(setting, [([{"seed": 0}], {"runs": [(1e-3, 0)], "units": units})])
        assert rows == [{"seed": 0, "modes": units}]
    assert trained == [8, 16]


@pytest.mark.parametrize(
    ("name", "epochs", "complaint"),
    [
        ("colapse", None, r"`name` of a study must be one of estimate, .*Received: 'colapse'"),
        ("beta", 0, r"`epochs` must be >= 1. Received: 0"),
        ("estimate", 3, "trains nothing; leave `epochs` out"),
    ],
)
def test_bad_input(name, epochs, complaint, tmp_path):
    with pytest.raises(ZooError, match=complaint):
        studies.run(name, tmp_path, epochs=epochs)


def test_at_least_one_process(tmp_path):
    with pytest.raises(ZooError, match=r"`jobs` must be >= 1. Received: 0"):
        studies.run("seeds", tmp_path, jobs=0)
