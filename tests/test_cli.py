"""The command as a user calls it: argv in, exit status, stdout and stderr out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PRESET

from keras_genzoo import cli, presets


def run(*arguments, cwd=None):
    """The installed entry point, beside the interpreter; `python -m` where the package is only on the path."""
    command = Path(sys.executable).with_name("keras-genzoo")
    start = [str(command)] if command.exists() else [sys.executable, "-m", "keras_genzoo.cli"]
    return subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def tiny_preset(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "preset.yaml").write_text(PRESET)
    return tmp_path / "tiny"


def test_list_is_a_table_and_json(capsys):
    assert cli.main(["list"]) == 0
    table = capsys.readouterr().out
    assert cli.main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == presets.names()
    for row in rows:
        line = next(line for line in table.splitlines() if line.split()[:1] == [row["name"]])
        assert f"{row['parameters']:,}" in line


@pytest.mark.parametrize(
    ("arguments", "keep", "key", "reverse"),
    [
        (["--family", "gan"], lambda row: row["family"] == "gan", "name", False),
        (
            ["--data", "fashion_mnist", "--sort", "parameters"],
            lambda row: row["data"] == "fashion_mnist",
            "parameters",
            False,
        ),
        (
            ["--family", "vae", "--data", "mnist", "--sort", "nll"],
            lambda row: row["family"] == "vae" and row["data"] == "mnist",
            "value",
            False,
        ),
        (
            ["--metric", "frechet_distance", "--sort", "value", "--reverse"],
            lambda row: row["data"] in ("mnist", "fashion_mnist") and row["family"] in ("vae", "gan"),
            "value",
            True,
        ),
    ],
)
def test_a_list_is_filtered_and_sorted(arguments, keep, key, reverse, capsys):
    everything = presets.list_presets()
    assert cli.main(["list", *arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {row["name"] for row in everything if keep(row)}
    assert [row[key] for row in rows] == sorted((row[key] for row in rows), reverse=reverse)
    metric = next((word for word in arguments if word in ("nll", "frechet_distance")), None)
    if metric:
        for row in rows:
            assert row["metric"] == metric
            assert row["value"] == presets.headline_row(presets.find(row["name"]), metric)["value"]
    assert cli.main(["list", *arguments]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.split()[:1]]
    assert [word for word in lines if word in presets.names()] == [row["name"] for row in rows]


def test_what_has_no_value_is_listed_last(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "preset.yaml").write_text(PRESET)
    monkeypatch.setattr(presets, "_PATHS", [tmp_path])
    for reverse in (False, True):
        assert presets.list_presets(sort="parameters", reverse=reverse)[-1]["name"] == "raw"


@pytest.mark.parametrize("given", [None, "0"])
def test_tensorflow_is_given_onednn_but_where_it_was_told_otherwise(given, monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")  # conftest's
    if given:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    assert cli.main(["list"]) == 0
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == (given or "1")


def test_info(capsys):
    assert cli.main(["info", "vae_mnist"]) == 0
    text = capsys.readouterr().out
    assert "latent_dim: 40" in text
    assert "NLL" in text
    assert "encoder: 1,660,080 parameters, 6.67 MFLOP an image" in text
    assert cli.main(["info", "vae_mnist", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["networks"]) == {"encoder", "decoder"}
    assert record["model"]["latent_dim"] == 40
    assert record["weights"]["sha256"]
    assert record["metrics"][0]["metric"] == "nll"


def test_help_names_every_command_and_every_command_has_help():
    done = run("--help")
    assert done.returncode == 0
    for command in ("list", "compare", "info", "sample", "plot", "train", "evaluate", "export", "study", "faces"):
        assert f"\n    {command} " in done.stdout
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", "--help"])
    assert stop.value.code == 0


def test_sample_writes_a_picture(tmp_path, capsys):
    out = str(tmp_path / "deep" / "four.png")
    assert cli.main(["sample", "dcgan_mnist", "-n", "4", "--seed", "7", "--out", out]) == 0
    assert capsys.readouterr().out.strip() == out
    from matplotlib.image import imread

    # two by two images of 28, gaps of 2 around and between, twice enlarged
    assert imread(tmp_path / "deep" / "four.png").shape[:2] == ((2 * 30 + 2) * 2, (2 * 30 + 2) * 2)


def test_sample_from_a_mixture_takes_autoencoders_too(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    from matplotlib.image import imread

    from keras_genzoo import zoo

    arrays = zoo.arrays
    monkeypatch.setattr(zoo, "arrays", lambda *a, **k: tuple(x[:2000] for x in arrays(*a, **k)))  # for its time
    assert cli.main(["sample", "ae_mnist", "-n", "4", "--mixture", "2", "--out", str(tmp_path / "four.png")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "four.png")
    assert imread(tmp_path / "four.png").std() > 0.1


def test_train_evaluate_export_and_use_one_preset(tiny_preset, tmp_path, monkeypatch, capsys):
    """The first by the command of the shell; each would start TensorFlow again."""
    done = run("train", f"./{tiny_preset.name}", "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "runs/tiny"
    assert "loss" in done.stdout

    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "runs/tiny", "--n-images", "50", "--n-samples", "100", "--json", "--write"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["metric"] == "nll"
    assert rows[0]["n"] == 50
    stored = json.loads((tmp_path / "runs" / "tiny" / "metrics.json").read_text())
    assert stored["rows"] == rows

    assert cli.main(["export", "runs/tiny", "--out", "phone", "--format", "litert", "--quantize", "float16"]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "phone" / "tiny_float16.tflite"
    assert (tmp_path / "phone" / "tiny_float16.tflite").is_file()

    command = ["export", "runs/tiny", "--out", "phone", "--format", "litert", "--quantize", "float16", "int8"]
    assert cli.main([*command, "--batch-size", "1", "4"]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == [f"tiny_{end}.tflite" for end in ("float16", "float16_b4", "int8", "int8_b4")]
    assert cli.main(["inspect", "phone/tiny_int8_b4.tflite"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"input z: float32 \[4, \d+\], layout \(B, latent_dim\), codes", told)
    assert "GPU delegates refuse nothing" in told
    assert cli.main(["inspect", "phone/tiny_int8_b4.tflite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["description"]["name"] == "tiny"

    assert cli.main(["plot", "runs/tiny", "--out", "tiny.png"]) == 0
    assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["list", "--family", "gna"], "No preset has the family 'gna'. Did you mean gan?"),
        (["list", "--family", "x"], "Known: autoencoder, classifier, face_swap, gan, vae"),
        (["list", "--data", "mnits"], "No preset has the data 'mnits'. Did you mean mnist"),
        (["list", "--metric", "nlll"], "No preset has the metric 'nlll'. Did you mean nll?"),
        (["list", "--sort", "size"], "`sort` must be one of name, family, data, parameters, metric, value"),
        (["list", "--sort", "nll", "--metric", "psnr"], "`sort` by one metric, 'nll', does not go with another"),
        (["list", "--family", "gan", "--data", "binarized_mnist"], "has all of: family 'gan', data 'binarized_mnist'"),
        (["info", "vae_mist"], "Unknown preset 'vae_mist'. Did you mean vae_mnist"),
        (["sample", "vae_mist"], "Did you mean vae_mnist"),
        (["sample", "vae_mnist", "-n", "0"], "`n` must be an integer >= 1. Received: 0"),
        (["sample", "vae_mnist", "--seed", "-1"], "`seed` must be an integer >= 0, or None. Received: -1"),
        (["evaluate", "dcgan_mnist", "--n-samples", "1", "--n-images", "20"], "`n_samples` must be an integer n >= 2"),
        (["sample", "ae_mnist"], "has no prior to sample from"),
        (["sample", "vae_mnist", "--label", "3"], "--label goes with a conditional model. Received: vae_mnist"),
        (["sample", "vae_mnist", "--mixture", "0"], "`n_components` must be >= 1. Received: 0"),
        (["sample", "dcgan_mnist", "--mixture", "3"], "needs a model with codes"),
        (["study", "beta", "--epochs", "0"], "`epochs` must be >= 1"),
        (["sample", "vae_mnist", "-n", "1", "--out", "/proc/x/y.png"], "Cannot write"),
        (["plot", "classifier_mnist"], "has nothing for --kind showcase"),
        (["export", "vae_mnist", "--quantize", "int8"], "`quantize` needs format='litert'"),
        (["export", "ae_mnist", "--out", "/proc/x"], "Cannot write"),
        (["export", "ring2d", "--format", "litert", "--batch-size", "0"], "`batch_size` must be an integer from 1 to"),
        (
            ["export", "ring2d", "--format", "litert", "--batch-size", "all"],
            "or 'dynamic' (None) for any. Received: 'all'",
        ),
        (["export", "ring2d", "--batch-size", "2"], "A SavedModel takes any batch: leave `batch_size` away"),
        (["inspect", "nowhere.tflite"], "nowhere.tflite does not exist"),
        (["inspect", "/dev/null"], "is no LiteRT file"),
        (["push", "ring2d", "me/ring"], "A preset on the hub is hf://USER/NAME"),
        (["explore", "vae_mist"], "Unknown preset 'vae_mist'. Did you mean vae_mnist"),
        (["evaluate", "ae_mnist", "--n-images", "0"], "`n_images` must be >= 1"),
        (["train", "ae_mnist", "--epochs", "0"], "`epochs` must be >= 1"),
        (["train", "ae_mnist", "--epochs", "9" * 40], "`epochs` must be in 1..1,000,000"),
        (["train", "ae_mnist", "--seed", "-1"], "`training.seed` must be >= 0. Received: -1"),
        (["train", "ae_mnist", "--set", "model.latent=4"], "unknown key `model.latent`. Did you mean latent_dim"),
        (["study", "beta", "--epochs", "9" * 40], "--epochs must be <= 1,000,000"),
        (["study", "beta", "--seed", "-1"], "--seed must be >= 0. Received: -1"),
        (["info", "./nowhere"], "No preset in './nowhere'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("keras-genzoo: error: ")]
    assert len(lines) == 1
    assert complaint in lines[0]
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sample", "vae_mnist", "--out", "OUT/x.png"], "Cannot write"),
        (["sample", "vae_mnist", "--out", "x" * 300 + ".png"], "name too long"),
        (["sample", "vae_mnist", "--out", "."], "it is a folder"),
        (["plot", "vae_mnist", "--out", "OUT/x.png"], "Cannot write"),
        (["plot", "vae_mnist", "--out", "."], "it is a folder"),
        (["study", "beta", "--out", "OUT/studies"], "Cannot write"),
        (["export", "vae_mnist", "--out", "OUT/exported"], "Cannot write"),
        (["export", "vae_mnist", "--out", "x" * 300], "name too long"),
        (["train", "vae_mnist", "--out", "OUT/run"], "Cannot write"),
        (["train", "vae_mnist", "--out", "x" * 300], "name too long"),
        (["evaluate", "./tiny", "--write"], "it is a folder"),
        (["train", "vae_mnist", "--set", "model.beta"], "--set takes KEY=VALUE, such as model.beta=4"),
        (["train", "vae_mnist", "--set", "model.beta=[4"], "'[4' is not YAML"),
    ],
)
def test_every_long_command_refuses_before_tensorflow(arguments, complaint, tmp_path, tiny_preset, monkeypatch, capsys):
    """OUT is below a file; a mount that is read-only gives another word for the same."""
    (tmp_path / "file").write_text("")
    (tiny_preset / "metrics.json").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keras_genzoo.cli.starting", lambda: pytest.fail("TensorFlow was to be loaded"))
    before = sorted(tmp_path.rglob("*"))
    assert cli.main([argument.replace("OUT", "file") for argument in arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert complaint in told[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_train_hands_its_options_on(tiny_preset, tmp_path, monkeypatch, capsys):
    given = {}
    monkeypatch.setattr("keras_genzoo.training.train", lambda preset, out, **options: given.update(options))
    monkeypatch.chdir(tmp_path)
    command = [
        *["train", "./tiny", "--seed", "3", "--batch-size", "50", "--learning-rate", "2e-3"],
        *["--set", "model.beta=1e-4", "--set", "model.encoder.units=[8, 4]", "--set", "data.binarize=null"],
        *["--validation", "0.1", "--overwrite"],
    ]
    assert cli.main(command) == 0
    assert given["updates"] == {"model.beta": 1e-4, "model.encoder.units": [8, 4], "data.binarize": None}
    assert (given["seed"], given["batch_size"], given["learning_rate"]) == (3, 50, 2e-3)
    assert (given["validation"], given["overwrite"]) == (0.1, True)


def test_bad_input_that_only_the_model_can_tell_is_one_line_too(tmp_path):
    """TensorFlow is loaded by then; its start-up chatter must not bury the line."""
    done = run("sample", "vae_mnist", "-n", 0, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "keras-genzoo: error: `n` must be an integer >= 1. Received: 0\n"
    assert done.stdout == ""


def test_usage_errors_and_unknown_data(tiny_preset, tmp_path, monkeypatch, capsys):
    done = run("sample")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "NAME" in done.stderr
    (tiny_preset / "preset.yaml").write_text(PRESET.replace("name: mnist", "name: fashion_mnits"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "./tiny"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("keras-genzoo: error: Unknown data set 'fashion_mnits'. Did you mean")


def test_an_interrupt_is_no_traceback(tiny_preset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keras_genzoo.training.train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["train", "./tiny"]) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error():
    for command in ("info vae_mnist", "list"):
        shell = f"{sys.executable} -m keras_genzoo.cli {command} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("0\n", "")


# === What strangers bring ===


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sample", "vae_mnist", "-n", "1000000000000"], "-n must be <= 10,000. Received: 1,000,000,000,000"),
        (["sample", "vae_mnist", "--mixture", "3", "--seed", "-1"], "--seed must be >= 0. Received: -1"),
        (["sample", "vae_mnist", "--seed", "9" * 30], "--seed must be <= 4,294,967,295"),
        (["evaluate", "vae_mnist", "--n-samples", "9" * 30], "--n-samples must be <= 1,000,000"),
        (["evaluate", "vae_mnist", "--n-importance-samples", "9" * 12], "--n-importance-samples must be <= 1,000,000"),
        (["study", "beta", "--epochs", "9" * 30], "--epochs must be <= 1,000,000"),
        (["study", "seeds", "--jobs", "9" * 9], "--jobs must be <= 256"),
        (["study", "seeds", "--seed", "-1"], "--seed must be >= 0"),
        (["sample", "vae_mnist", "-n", "1", "--out", "x" * 300 + ".png"], "File name too long"),
        (["export", "vae_mnist", "--out", "x" * 300], "File name too long"),
        (["info", "./" + "x" * 5000], "No preset in './xxx"),
        (["info", "x" * 5000], "Unknown preset 'xxx"),
        (["info", "~nobody/x"], "No preset in '~nobody/x'"),
        (["info", "\x1b[2J\udce9"], r"Unknown preset '\x1b[2J\udce9'"),
    ],
)
def test_numbers_and_paths_out_of_all_bounds_are_one_line(arguments, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("keras-genzoo: error: ")]
    assert complaint in line
    assert len(line) <= 300
    assert line.isprintable()
    assert out == ""


def test_a_usage_error_is_short_too(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sample", "vae_mnist", "-n", "1" * 5000])
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 300
    assert line.endswith("(see keras-genzoo sample --help)")


CODES = "\x1b]0;owned\x07\x1b[2J\u202e"


def test_control_codes_of_strangers_are_shown_and_not_obeyed(tiny_preset, capsys):
    """Of the description, of a metric's protocol and unit, of an unknown key, of the folder's name."""
    folder = tiny_preset.with_name("tiny\x1b[2J")
    tiny_preset.rename(folder)
    described = PRESET.replace("A tiny VAE for the tests.", json.dumps(CODES))
    (folder / "preset.yaml").write_text(described)
    row = {"metric": f"nll{CODES}", "value": 1.0, "n": 3, "unit": CODES, "protocol": CODES}
    (folder / "metrics.json").write_text(json.dumps({"rows": [row]}))
    assert cli.main(["info", str(folder)]) == 0
    shown = capsys.readouterr().out
    (folder / "preset.yaml").write_text(described.replace("latent_dim", json.dumps(f"latent{CODES}")))
    assert cli.main(["info", str(folder)]) == 0
    shown += capsys.readouterr().out
    (folder / "preset.yaml").write_text(described.replace("family: vae", f"family: {json.dumps(CODES)}"))
    assert cli.main(["info", str(folder)]) == 2
    shown += capsys.readouterr().err
    assert shown.count(r"\x1b") >= 6
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("data", "cost"),
    [("cifar10", "fetch 170 MB from www.cs.toronto.edu"), ("folder:/nowhere", "read the folder /nowhere")],
)
def test_a_strangers_preset_fetches_and_reads_nothing_unasked(data, cost, tiny_preset, tmp_path, monkeypatch, capsys):
    """By none of the commands that look at data; `--trust` allows it, and so does having trained it oneself."""
    import keras_genzoo as gz
    from keras_genzoo import presets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("KERAS_GENZOO_DATA", raising=False)
    monkeypatch.setattr(presets, "_TRUSTED", set())
    reached = []
    monkeypatch.setattr("keras_genzoo.data.arrays", lambda *names, **_: reached.append(names) or 1 / 0)
    (tiny_preset / "preset.yaml").write_text(PRESET.replace("mnist, binarize: dynamic", json.dumps(data)))
    gz.save(gz.load(tiny_preset, weights=None), tmp_path / "theirs")
    record = json.loads((tmp_path / "theirs" / "weights.json").read_text())
    own = record["origin"].pop("seal")
    (tmp_path / "theirs" / "weights.json").write_text(json.dumps(record))
    assert cli.main(["sample", "./theirs", "-n", "1"]) == 0
    assert cli.main(["info", "./theirs"]) == 0
    for command in (["sample", "--mixture", "2"], ["plot"], ["evaluate"], ["export"], ["plot", "--kind", "latent"]):
        assert cli.main([command[0], "./theirs", *command[1:]]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"'{data}' would {cost}, and its preset is from elsewhere; allow it by --trust" in error
    assert reached == []
    (tmp_path / "theirs" / "weights.json").write_text(json.dumps(record | {"origin": {"seal": own}}))
    with pytest.raises(ZeroDivisionError):
        cli.main(["evaluate", "./theirs"])
    (tmp_path / "theirs" / "weights.json").write_text(json.dumps(record))
    with pytest.raises(ZeroDivisionError):
        cli.main(["evaluate", "./theirs", "--trust"])
    assert len(reached) == 2
