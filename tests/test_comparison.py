"""compare: presets side by side, and what cannot be."""

import json

import pytest
from helpers import PRESET, preset_of

import keras_genzoo as gz
from keras_genzoo import cli, evaluation, presets
from keras_genzoo.errors import ZooError

ROW = {"n": 100, "split": "test", "seed": 0, "protocol": "p", "unit": "nats", "commit": "c"}


def measured_run(folder, values, **changes):
    """The path of a run of the user's own with these numbers."""
    preset = preset_of(PRESET, folder)
    evaluation.write(preset, [{**ROW, "metric": metric, "value": value, **changes} for metric, value in values.items()])
    return str(folder)


def test_numbers_of_the_zoo_stand_side_by_side(capsys):
    names = ["vae_mnist", "hvae_mnist", "dcgan_mnist"]
    stored = [{row["metric"]: row for row in presets.find(name).record(presets.METRICS_FILE)["rows"]} for name in names]
    rows = {row["metric"]: row for row in gz.compare(*names)}
    assert next(iter(rows)) == "nll"
    assert set(rows) == {metric for of_one in stored for metric in of_one} - {"nll_standard_error"}
    for metric, row in rows.items():
        assert [cell["preset"] for cell in row["presets"]] == names
        assert [cell["value"] for cell in row["presets"]] == [of_one.get(metric, {}).get("value") for of_one in stored]
    errors = [of_one["nll_standard_error"]["value"] for of_one in stored[:2]]
    assert [cell["standard_error"] for cell in rows["nll"]["presets"]] == [*errors, None]
    assert rows["frechet_distance"]["same_protocol"]
    assert not rows["nll"]["same_protocol"]  # a GAN has none

    assert cli.main(["compare", *names, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(rows.values())
    assert cli.main(["compare", *names]) == 0
    table = capsys.readouterr().out
    line = next(line for line in table.splitlines() if line.split()[:1] == ["NLL"])
    for of_one in stored[:2]:
        assert f"{of_one['nll']['value']:g} \u00b1 {of_one['nll_standard_error']['value']:.2g} nats" in line
    assert line.rstrip().endswith(" -")
    assert "* not of all" in table


def test_runs_of_ones_own_are_compared_by_their_paths(tmp_path, capsys):
    """Also two of one name."""
    a = measured_run(tmp_path / "a" / "run", {"nll": 90.0, "nll_standard_error": 0.25})
    b = measured_run(tmp_path / "b" / "run", {"nll": 80.0, "kl": 20.0})
    first, second = gz.compare(a, b)
    assert (first["metric"], first["same_protocol"]) == ("nll", True)
    assert [cell["value"] for cell in first["presets"]] == [90.0, 80.0]
    assert [cell["standard_error"] for cell in first["presets"]] == [0.25, None]
    assert [cell["value"] for cell in second["presets"]] == [None, 20.0]
    assert cli.main(["compare", a, "vae_mnist"]) == 0
    assert "90 \u00b1 0.25 nats" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"n": 99}, {"protocol": "q"}, {"split": "train"}])
def test_numbers_of_another_protocol_are_marked(change, tmp_path):
    a, b = measured_run(tmp_path / "a", {"nll": 1.0}), measured_run(tmp_path / "b", {"nll": 1.0}, **change)
    assert not gz.compare(a, b)[0]["same_protocol"]
    assert gz.compare(a, a)[0]["same_protocol"]


def test_numbers_of_other_data_are_marked():
    rows = {row["metric"]: row for row in gz.compare("classifier_mnist", "classifier_fashion_mnist")}
    assert not rows["accuracy"]["same_protocol"]


def test_what_cannot_be_compared_is_told(tmp_path):
    for names, complaint in (
        (["vae_mnist"], r"takes two presets or more\. Received: vae_mnist"),
        (["vae_mnist", "vae_mist"], r"Unknown preset 'vae_mist'\. Did you mean vae_mnist"),
        (
            ["vae_mnist", "faceswap_64"],
            "faceswap_64 is not measured; measure it: keras-genzoo evaluate faceswap_64 --write",
        ),
    ):
        with pytest.raises(ZooError, match=complaint):
            gz.compare(*names)
    run = measured_run(tmp_path / "run", {"nll": 1.0})
    (tmp_path / "run" / presets.WEIGHTS_RECORD).write_text('{"sha256": "of others"}')
    with pytest.raises(
        ZooError, match=r"metrics\.json is of other weights; measure these: keras-genzoo evaluate .*run"
    ):
        gz.compare(run, "vae_mnist")
