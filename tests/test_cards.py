"""Cards: their tables say what ran, and not what a preset.yaml plans."""

import functools
import json
import re
import shutil

import numpy as np
import pytest
from helpers import PRESET, preset_of

import keras_genzoo as gz
from keras_genzoo import cards, cli, evaluation, presets
from keras_genzoo.data import made
from keras_genzoo.studies.runs import keeps_all

NAMES = presets.names()
N_IMAGES = {  # training images of each data set, of each person for the rendered ones
    "mnist": 60_000,
    "fashion_mnist": 60_000,
    "binarized_mnist": 50_000,
    "stacked_mnist": 60_000,
    "ring2d": 100_000,
    "grid2d": 100_000,
    "rendered_faces_a": 1_500,
    "pictures": 3 * 1_642 + 20_000,  # emoji in three styles, and people
}
# Presets whose history.json is of a repeat of their training, as their card says: they were trained before `train`
# wrote one, and other weights of a judge would change every number that it has judged.
WITH_HISTORY_OF_A_REPEAT = {"classifier_mnist"}
WITHOUT_HISTORY = {"dcgan_mnist"}
IN_STAGES = {"faceswap_rendered"}  # presets whose weights did not take the course of their preset.yaml


def stages_of(name):
    return presets.find(name).record(presets.WEIGHTS_RECORD)["origin"]["stages"]


@pytest.mark.parametrize("name", NAMES)
def test_epochs_times_steps_are_the_steps_of_the_weights(name):
    preset = presets.find(name)
    stages = stages_of(name)
    for stage in stages:
        assert stage["steps"] == stage["epochs"] * (N_IMAGES[preset.data.name] // stage["batch_size"])
    assert sum(stage["steps"] for stage in stages) == preset.record(presets.WEIGHTS_RECORD)["train_steps"]


@pytest.mark.parametrize("name", NAMES)
def test_the_losses_of_every_epoch_are_there(name):
    history = presets.find(name).record(presets.HISTORY_FILE)
    assert (history is None) == (name in WITHOUT_HISTORY)
    if history is not None:
        assert len(history) == sum(stage["epochs"] for stage in stages_of(name))
    told = presets.find(name).record(presets.WEIGHTS_RECORD)["origin"].get("history")
    assert bool(told) == (name in WITH_HISTORY_OF_A_REPEAT)
    assert not told or told in (presets.find(name).folder / presets.CARD_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_took_the_course_of_their_preset(name):
    training = presets.find(name).training
    stage, *others = stages_of(name)
    planned = (training.epochs, training.batch_size, training.seed, training.start_from)
    ran = (stage["epochs"], stage["batch_size"], stage["seed"], stage.get("start_from"))
    optimizers = {key: config.model_dump() for key, config in training.optimizers.items()}
    assert (planned == ran and optimizers == stage["optimizers"] and not others) == (name not in IN_STAGES)


def test_two_stages_are_two_rows():
    """10,082 steps are 220 epochs of 23 batches and 54 of 93."""
    lines = [
        line for line in cards.metrics_table(presets.find("faceswap_rendered")).splitlines() if " epochs of " in line
    ]
    found = [re.search(r"(\d+) epochs of batches of (\d+) \(([\d,]+) steps\)", line).groups() for line in lines]
    assert found == [("220", "64", "5,060"), ("54", "16", "5,022")]
    assert "adam 0.001" in lines[0]
    assert "adam 0.0007" in lines[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a preset that was trained for two epochs of its three."""
    folder = tmp_path_factory.mktemp("cards")
    gz.train(preset_of(PRESET, folder / "preset"), folder / "trained", epochs=2, verbose=0)
    return folder / "trained"


def test_a_training_is_told_as_it_ran(trained, capsys):
    """Also where the preset.yaml beside it says something else by now."""
    yaml = (trained / presets.PRESET_FILE).read_text()
    (trained / presets.PRESET_FILE).write_text(yaml.replace("epochs: 2", "epochs: 7").replace("2000", "500"))
    preset = presets.find(trained)
    assert preset.training.epochs == 7
    (words,) = cards.training_in_words(preset)
    assert words.startswith("2 epochs of batches of 2000 (60 steps), seed 0; optimizer adam 0.001, cosine, in ")
    assert words.endswith(f" s on {preset.record(presets.WEIGHTS_RECORD)['origin']['device']}")
    assert cli.main(["info", str(trained)]) == 0
    assert f"\nTrained: {words}\n" in capsys.readouterr().out


def test_weights_that_were_trained_on_by_hand_claim_no_epochs(trained, tmp_path):
    model = gz.load(trained)
    model.fit(np.zeros((8, 28, 28, 1), "float32"), batch_size=4, verbose=0)
    gz.save(model, tmp_path / "on")
    assert cards.training_in_words(presets.find(tmp_path / "on")) == ["62 steps"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "60 s"), (119, "2 min"), (600, "10 min"), (3_599, "1 h 0 min"), (7_500, "2 h 5 min")],
)
def test_a_card_says_how_long_training_and_measuring_took(trained, seconds, words):
    record = json.loads((trained / presets.WEIGHTS_RECORD).read_text())
    record["origin"] |= {"seconds": seconds, "device": "Abacus"}
    (trained / presets.WEIGHTS_RECORD).write_text(json.dumps(record))
    row = dict.fromkeys(("metric", "unit", "split", "protocol"), "x") | {"value": 1.0, "n": 1, "seed": 0}
    rows = [{**row, "commit": commit} for commit in ("first", "second", "first")]
    evaluation.write(presets.find(trained), evaluation.Rows(rows, seconds=seconds))
    metrics = json.loads((trained / presets.METRICS_FILE).read_text())
    metrics["device"] = "Slide rule"
    (trained / presets.METRICS_FILE).write_text(json.dumps(metrics))
    table = cards.metrics_table(presets.find(trained))
    assert f"cosine, in {words} on Abacus |" in table
    assert f"at commit `first`, `second`, in {words} on Slide rule, on these weights" in table


def test_the_readme_counts_the_runs_of_the_sensitivity_study_as_they_are():
    root = presets.CONFIGS.parent
    if not (root / "README.md").is_file():
        pytest.skip("an installed package has no README beside it")
    readme = " ".join((root / "README.md").read_text().split())
    rows = json.loads((root / "benchmarks/results/sensitivity.json").read_text())["rows"]

    def kept(**wanted):
        found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
        k = len(made.MIXTURES[wanted["data"]].centres)
        return f"{sum(keeps_all(row, k) for row in found)} of {len(found)}"

    on_ring = functools.partial(kept, data="ring2d")
    for sentence in (
        f"On the ring {on_ring()} runs keep all 8",
        f"clipped weights keep all modes in {on_ring(regularizer='weight clipping')} runs",
        f"spectral normalisation in {on_ring(regularizer='spectral norm')}, packing in ",
        f"packing in {on_ring(regularizer='packing')}.",
        f"keeps them in {on_ring(game='wasserstein', regularizer='none')} runs without a bound on its critic",
        f"in {on_ring(game='wasserstein', regularizer='R1 + R2')} with R1 and R2",
        f"in {on_ring(game='wasserstein', regularizer='gradient penalty')} with its own gradient penalty",
        f"{on_ring(learning_rate=3e-4)} runs at 3e-4, {on_ring(learning_rate=3e-3)} at 3e-3",
        f"On the grid {kept(data='grid2d')} runs keep all 25",
    ):
        assert sentence in readme


def test_a_table_of_seeds_has_the_samples_of_its_runs():
    run = {"data": "ring2d", "modes": 8, "high_quality": 1.0, "reverse_kl": 0.0}
    assert cards.seeds_table({"rows": [{**run, "n_samples": 1_234}] * 2}).endswith("greatest. 1,234 samples of each.")


def test_a_table_of_several_runs_names_all_their_days():
    row = {"data": "x", "sigma": 0.1, "noisy": 1.0, "denoiser": 2.0, "n": 64, "date": "2026-01-01",
           "filters": {"BM3D": {inputs: {"plain": 1.0, "curve": 1.0} for inputs in ("files", "raw")}}}  # fmt: skip
    about = {"scikit-image": "0", "bm3d": "0", "tensorflow": "0"}
    table = cards.denoising_table({"about": about, "rows": [row, {**row, "n": 32, "date": "2026-01-02"}]})
    assert "mean over 64, 32 test images" in table
    assert "2026-01-01, 2026-01-02" in table


EXPORTED = {
    "about": {"date": "2026-11-27", "cpus": 2, "rounds": 100, "ai-edge-litert": "2.3.0"},
    "weights_sha256": "0" * 64,
    "rows": [
        {
            "precision": precision, "scheme": scheme, "bytes": size, "share": size / 4_000_000, "metric": "nll",
            "n": 100,
            "keras": 80.0, "value": 80.0 * (1 + loss), "loss": loss, "p999_error": error,
            "endpoint": "decode", "milliseconds": {"Interpreter": 0.1, "CompiledModel": 0.12},
        }
        for precision, scheme, size, loss, error in (
            ("float32", None, 4_000_000, -1e-7, 0.0),
            ("int8", {"scheme": "dynamic_int8", "float32": ["decoder/logits"]}, 1_000_000, 0.0042, 0.05),
            ("int4", {"scheme": "weight_only_int4"}, 500_000, 0.31, 0.4),
        )
    ],
}  # fmt: skip


def test_a_card_says_what_each_precision_costs(trained, tmp_path):
    """In the headline's own words; what is better by chance is no loss."""
    folder = tmp_path / "preset"
    shutil.copytree(trained, folder)
    (folder / presets.EXPORTS_FILE).write_text(json.dumps(EXPORTED))
    shutil.copy(presets.find("vae_mnist").folder / presets.METRICS_FILE, folder)
    table = cards.metrics_table(presets.find(folder))
    lines = "\n".join(cards.exports_lines(presets.find(folder)))
    assert "| int8 | dynamic int8, but `decoder/logits` in float32 | 1.00 MB (25.0%) | 80.34 | 0.4% | 5.0%" in lines
    assert "| float32 | floats | 4.00 MB (100.0%) | 80 | nothing |" in lines
    assert "| int4 | weight-only int4 | 0.50 MB (12.5%) | 104.8 | 31.0% | 40.0%" in lines
    assert lines in table


@pytest.mark.parametrize("name", NAMES)
def test_the_costs_of_precisions_are_of_these_weights(name):
    """Every preset's files were measured, on the weights that are there, by the schemes that its preset.yaml names."""
    preset = presets.find(name)
    record = preset.record(presets.EXPORTS_FILE)
    assert record is not None
    assert record["weights_sha256"] == preset.record(presets.WEIGHTS_RECORD)["sha256"]
    rows = {row["precision"]: row for row in record["rows"]}
    assert list(rows) == ["float32", "float16", "int8", "int4"]
    for precision in ("int8", "int4"):
        assert rows[precision]["scheme"] == preset.export.of(precision).model_dump(exclude_defaults=True)
    assert {row["metric"] for row in rows.values()} == {preset.evaluation.metric}
    assert rows["int8"]["share"] <= 0.3
    assert all(row["runtimes"] == ["Interpreter", "CompiledModel"] for row in rows.values())
    assert preset.license == "Apache-2.0"
