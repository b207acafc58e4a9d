"""Presets: the schema's errors, and every folder of the zoo against its weights, golden outputs, numbers and card."""

import functools
import json
import re
import time

import numpy as np
import pytest
from helpers import each_graph

from keras_genzoo import cards, evaluation, presets, training, zoo
from keras_genzoo.errors import ZooError

NAMES = presets.names()
GOAL = {  # what the zoo promises of each preset: metric -> (comparison, bound)
    "ae_mnist": {"squared_error": ("<=", 2.5)},
    "ksparse_mnist": {"linear_probe_error": ("<=", 0.0135)},
    "vae_mnist": {"nll": ("<=", 84.0)},
    "iwae_mnist": {"nll": ("<=", 84.7), "active_units": (">=", 32)},  # vae_mnist has 31
    "vae_realnvp_mnist": {"nll": ("<=", 82.0)},
    "hvae_mnist": {"nll": ("<=", 82.0)},
    "vae_binarized_mnist": {"nll": ("<=", 85.5)},
    "vae_fashion_mnist": {"nll": ("<=", 228.0)},
    "cvae_mnist": {"class_accuracy": (">=", 0.99)},
    "dcgan_mnist": {"classes_covered": (">=", 10), "label_histogram_kl": ("<=", 0.01)},
    "gan_mnist": {"classes_covered": (">=", 10)},
    "wgan_gp_fashion_mnist": {"precision": (">=", 0.6), "recall": (">=", 0.6)},
    "lsgan_mnist": {"precision": (">=", 0.6), "recall": (">=", 0.6)},
    "dcgan_fashion_mnist": {"precision": (">=", 0.6), "recall": (">=", 0.6)},
    "cgan_mnist": {"class_accuracy": (">=", 0.99)},
    "classifier_mnist": {"accuracy": (">=", 0.993)},
    "ring2d": {"modes": (">=", 8), "reverse_kl": ("<=", 0.01), "high_quality": (">=", 0.98)},
    "stacked_mnist": {"modes": (">=", 1000), "reverse_kl": ("<=", 0.03)},
    "grid2d": {"modes": (">=", 25), "reverse_kl": ("<=", 0.01), "high_quality": (">=", 0.98)},
    "faceswap_rendered": {
        f"{metric}_to_{side}": bound
        for side in "ab"
        for metric, bound in {
            "identity_accuracy": (">=", 0.99),
            "landmark_error": ("<=", 1.0),
            "pose_error": ("<=", 1.0),
            "psnr": (">=", 28.0),
            "ssim": (">=", 0.93),
        }.items()
    },
}

SAMPLES_OR_IMAGES = {  # where it is not the 10,000 of MNIST
    "faceswap_rendered": 200,
    "ring2d": 2_500,
    "grid2d": 2_500,
    "stacked_mnist": 26_000,
}


@pytest.fixture(scope="module")
def model(request):
    """A preset's model, loaded once for all its tests."""
    return zoo.load(request.param)


def vae_text(**replaced):
    text = (presets.CONFIGS / "vae_mnist" / presets.PRESET_FILE).read_text()
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, new)
    return text


def test_the_zoo_holds_the_presets_it_promises():
    assert set(GOAL) <= set(NAMES)
    for row in presets.list_presets():
        assert row["parameters"] > 0
        assert row["value"] is not None


def test_the_zoo_stays_small():
    """What everybody downloads, and a wheel holds."""
    assert sum(path.stat().st_size for path in presets.CONFIGS.rglob("*") if path.is_file()) < 110e6


@pytest.mark.parametrize("name", NAMES)
def test_measured_numbers_are_of_these_weights_and_reach_the_goal(name):
    preset = presets.find(name)
    metrics = preset.record(presets.METRICS_FILE)
    assert metrics["weights_sha256"] == preset.record(presets.WEIGHTS_RECORD)["sha256"]
    keys = {"metric", "value", "n", "split", "seed", "protocol", "unit", "commit"}
    assert all(set(row) == keys for row in metrics["rows"])
    rows = {row["metric"]: row for row in metrics["rows"]}
    assert metrics["rows"][0]["metric"] == preset.evaluation.metric
    for metric, (comparison, bound) in GOAL.get(name, {}).items():
        assert rows[metric]["n"] == SAMPLES_OR_IMAGES.get(name, 10_000)
        assert rows[metric]["split"] == "test"
        value = rows[metric]["value"]
        assert value <= bound if comparison == "<=" else value >= bound
    if preset.family == "autoencoder":
        assert {"linear_probe_error", "knn_error", "pca_linear_probe_error", "pixels_linear_probe_error"} <= set(rows)
        assert "60,000 training images" in rows["linear_probe_error"]["protocol"]


@pytest.mark.parametrize("name", presets.recipes())
def test_a_recipe_waits_for_data_of_ones_own(name, tmp_path):
    """It is found, built and trains; it has no weights to load, and the tables of the zoo leave it out."""
    preset = presets.find(name)
    assert name not in presets.names()
    with pytest.raises(ZooError, match=f"{name} has no weights .*; train it with: keras-genzoo train {name}"):
        zoo.load(name)
    model = zoo.load(name, weights=None)
    model.run_eagerly = True
    a, b = np.random.default_rng(0).random((2, 2, *model.image_shape), dtype="float32")
    before = model.get_weights()
    model.train_on_batch(*((a, b) if preset.family == "face_swap" else (a,)))
    assert any(np.any(new != old) for new, old in zip(model.get_weights(), before, strict=True))
    with pytest.raises(ZooError, match=r"Image folder '(faces_a|photos)' does not exist"):
        training.train(preset, tmp_path / "out")


def test_generated_documents_have_not_drifted():
    root = presets.CONFIGS.parent
    if not (root / "README.md").is_file():
        pytest.skip("an installed package has no README beside it")
    for path, text in cards.documents(root).items():
        assert path.read_text() == text, f"{path} is out of date: run `make cards`"


def test_seeds_are_told_by_their_mean_and_by_the_worst():
    runs = [("grid2d", 25, 0.98, 0.002), ("grid2d", 24, 0.99, 0.004), ("ring2d", 8, 1.0, 0.0)]
    rows = [dict(zip(("data", "modes", "high_quality", "reverse_kl"), run, strict=True)) for run in runs]
    table = cards.seeds_table({"rows": rows}, "grid2d").splitlines()
    assert table[2:-2] == ["| `grid2d` | 2 | **24** | **98.5%** (98.0% to 99.0%) | **0.0030** (0.0020 to 0.0040) |"]
    assert len(cards.seeds_table({"rows": rows}).splitlines()) == len(table) + 1


@pytest.mark.parametrize("name", NAMES)
def test_every_table_row_has_as_many_cells_as_its_head(name):
    """A `|` of a formula would open a cell of its own."""
    tables = [block.splitlines() for block in cards.metrics_table(presets.find(name)).split("\n\n")]
    for table in (block for block in tables if block[0].startswith("|")):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(cells) == 1


@pytest.mark.parametrize("model", NAMES, indirect=True)
class TestEveryPreset:
    def test_golden_outputs(self, model):
        with np.load(model.preset.folder / presets.GOLDEN_FILE) as stored:
            endpoints = model.endpoints()
            assert {key.split("/")[0] for key in stored} == set(endpoints)
            told = {}
            for name, endpoint in endpoints.items():
                inputs = [stored[f"{name}/in/{tensor.name}"] for tensor in endpoint.inputs]
                told[name] = endpoint(inputs if len(inputs) > 1 else inputs[0])
            for key in stored:
                endpoint, kind, *output = key.split("/")
                if kind == "out":
                    actual = told[endpoint][output[0]]
                    # Another CPU adds in another order; these networks multiply sums of up to 1,000 float32 terms.
                    np.testing.assert_allclose(actual, stored[key], rtol=1e-3, atol=1e-3)

    def test_folder_is_small_and_complete(self, model):
        folder = model.preset.folder
        assert {"preset.yaml", "README.md", "metrics.json", "weights.json", "model.weights.h5", "golden.npz"} <= {
            path.name for path in folder.iterdir()
        }
        largest = 20_000 if model.preset.family != "face_swap" else 100_000  # which makes two images of three colours
        assert (folder / presets.GOLDEN_FILE).stat().st_size < largest
        record = model.preset.record(presets.WEIGHTS_RECORD)
        assert record["parameters"] == zoo.parameter_count(model)
        if model.preset.family != "classifier":
            assert (folder / presets.SAMPLES_FILE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", each_graph(NAMES))
def test_fit_goes_on_from_the_trained_weights(name, mnist):
    twin = zoo.load(name)
    twin.run_eagerly = True  # that each family trains as a graph, the conformance tests tell
    shape = twin.image_shape
    images = mnist[:32] if shape == (28, 28, 1) else np.random.default_rng(0).random((32, *shape), "float32")
    data = {"x": images}
    if twin.preset.family == "face_swap":
        data["y"] = images[::-1]
    if twin.preset.model.get("n_classes"):
        data["y"] = np.zeros(32, int)
    if twin.preset.model.get("n_factors") and twin.preset.family == "classifier":
        data["y"] = {"labels": data["y"], "factors": np.zeros((32, twin.n_factors), "float32")}
    history = twin.fit(**data, epochs=1, batch_size=16, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(twin.train_steps.numpy()) == twin.preset.record(presets.WEIGHTS_RECORD)["train_steps"] + 2


@functools.lru_cache(1)
def weights_of(name):
    return zoo.load(name).get_weights()


@pytest.mark.parametrize("dtype", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", each_graph(NAMES))
def test_loads_under_mixed_precision(name, dtype):
    mixed = zoo.load(name, dtype=dtype)
    assert mixed.dtype_policy.name == dtype
    for a, b in zip(mixed.get_weights(), weights_of(name), strict=True):
        np.testing.assert_array_equal(a, b)


def test_headlines_can_be_measured_again_from_the_weights(few_training_images):
    """Two that take seconds, on all test images: the stored numbers are these weights' and no others'. The others' are
    measured by night.
    """
    name = "sparse_kl_mnist"
    stored = {row["metric"]: row["value"] for row in presets.find(name).record(presets.METRICS_FILE)["rows"]}
    rows = {row["metric"]: row["value"] for row in evaluation.evaluate(name, n_probe_images=100)}
    for metric in ("squared_error", "psnr"):
        assert rows[metric] == pytest.approx(stored[metric], rel=1e-4)
    rows = {row["metric"]: row for row in evaluation.evaluate("classifier_mnist")}
    stored = presets.find("classifier_mnist").record(presets.METRICS_FILE)["rows"][0]["value"]
    assert rows["accuracy"]["value"] == pytest.approx(stored, abs=2e-4)  # two images of 10,000


@pytest.mark.parametrize(
    ("replaced", "complaint"),
    [
        (("latent_dim: 40", "latent_dims: 40"), r"unknown key `model.latent_dims`. Did you mean latent_dim"),
        (("epochs:", "epoch:"), r"unknown key `training.epoch`. Did you mean epochs\?"),
        (("family: vae", "family: vea"), r"`family` must be one of autoencoder, .*Received: 'vea'. Did you mean vae"),
        (("family: vae", "familly: vae"), r"unknown key `familly`. Did you mean family\?|key `family` is missing"),
        (("{name: adam,", "{name: adam, momentums: 1,"), r"unknown key `training.optimizers.optimizer.momentums`"),
        (("gated: true", "gatted: true"), r"unknown key `model.encoder.gatted`. Did you mean gated\?"),
        (("name: conv_encoder", "name: conv_encodre"), r"`model.encoder.name` must be one of .*conv_encoder"),
        (("latent_dim: 40", "latent_dim: forty"), r"`model.latent_dim` must be an integer. Received: 'forty'"),
        (("latent_dim: 40", "latent_dim: 40.5"), r"`model.latent_dim` must be an integer. Received: 40.5"),
        (("latent_dim: 40", "latent_dim: true"), r"`model.latent_dim` must be an integer. Received: True"),
        (("beta: 1.0", "beta: .nan"), r"`model.beta` must be finite"),
        (
            ("learning_rate: 2e-3", "learning_rate: .inf"),
            r"`training.optimizers.optimizer.learning_rate` must be finite",
        ),
        (("{name: adam,", "{name: sgd, beta_1: 0.5,"), r"unknown key `training.optimizers.optimizer.beta_1`"),
        (("beta: 1.0", "beta: -1"), r"`model.beta` must be >= 0. Received: -1"),
        (
            ("likelihood: bernoulli", "likelihood: bernouli"),
            r"`model.likelihood` must be one of bernoulli, .*Did you mean bernoulli",
        ),
        (("batch_size: ", "batch_size: -"), r"`training.batch_size` must be >= 1. Received: -"),
        (("binarize: dynamic", "binarize: no"), r"`data.binarize` must be 'dynamic'. Received: 'no'"),
        (("    optimizer: {", "    g_optimizer: {"), r"`training.optimizers` of a vae must be \['optimizer'\]"),
        (("  latent_dim: 40\n", ""), r"key `model.latent_dim` is missing"),
        (("family: vae", "family: [vae"), r"is not YAML"),
    ],
)
def test_a_bad_preset_yaml_names_file_key_and_fix(replaced, complaint, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "preset.yaml").write_text(vae_text(it=replaced))
    with pytest.raises(ZooError, match=complaint) as error:
        zoo.load(folder, weights=None)
    assert str(folder / "preset.yaml") in str(error.value)


def test_yaml_reads_numbers_as_people_write_them():
    text = vae_text(it=("learning_rate: 2e-3", "learning_rate: 1e-4"))
    preset = presets.parse(text, origin="test")
    assert preset.training.optimizers["optimizer"].learning_rate == 1e-4
    assert presets.parse(presets.dump(preset), origin="dump") == preset


def test_unknown_names_get_the_nearest():
    with pytest.raises(ZooError, match=r"Unknown preset 'vae_mist'. Did you mean vae_mnist"):
        presets.find("vae_mist")
    with pytest.raises(ZooError, match=r"Unknown preset 'zzz'. Known: .*vae_mnist"):
        presets.find("zzz")
    with pytest.raises(ZooError, match=r"No preset in './vae_mnist_'"):
        presets.find("./vae_mnist_")


def test_a_name_never_means_a_folder(tmp_path, monkeypatch):
    """`load("mine")` must not pick a folder of the working directory up by accident; the error says how to ask."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "preset.yaml").write_text(vae_text())
    with pytest.raises(ZooError, match=r"write ./mine"):
        presets.find("mine")
    assert presets.find("./mine").name == "mine"


def test_a_broken_record_is_named(tmp_path):
    (tmp_path / "preset.yaml").write_text(vae_text())
    (tmp_path / "weights.json").write_text('{"file": ')
    with pytest.raises(ZooError, match=r"weights.json is not JSON"):
        zoo.load(tmp_path)


def test_metrics_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "preset.yaml").write_text(vae_text())
    (tmp_path / "metrics.json").write_text("{}")
    preset = presets.find(tmp_path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ZooError, match="No space left"):
        evaluation.write(preset, [{"metric": "nll", "split": "test"}])
    assert json.loads((tmp_path / "metrics.json").read_text()) == {}


# === Files of strangers ===

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("2020-13-45", r"`model.latent_dim` is of YAML's type timestamp, .* Received: 2020-13-45"),
        ("2020-01-01", r"`model.latent_dim` is of YAML's type timestamp"),
        ("0x_", r"`model.latent_dim` is to be of YAML's type int and is not.*Received: 0x_"),
        ("010", r"`model.latent_dim` is to be of YAML's type int"),  # eight in YAML 1.1, ten in 1.2
        ("!!int abc", r"`model.latent_dim` is to be of YAML's type int .*Received: abc"),
        ("!!bool abc", r"`model.latent_dim` is to be of YAML's type bool"),
        ("!!python/object/apply:os.system [x]", r"YAML's type python/object/apply:os.system, which is not taken"),
        ("!!set {a, b}", r"YAML's type set, which is not taken"),
        ("&a [*a]", r"line \d+\): it has the anchor &a, and none is taken"),
        ("*a", r"line \d+\): it has the alias \*a, and none is taken"),
        ("[" * 50_000, r"nested more than 20 levels deep"),
        ("[" * 200_000, r"has more than 100,000 letters"),
        ("9" * 5000, r"`model.latent_dim` is to be of YAML's type int"),
        ("1e9", r"`model.latent_dim` must be <= 100,000,000: networks of such sizes fit into no memory"),
        ("1000000000", r"`model.latent_dim` must be <= 100,000,000"),
        (f"[{', '.join('1' * 1000)}]", r"`model.latent_dim` has 1,000 entries, .* at most 256"),
        ("{1: 2}", r"the keys of `model.latent_dim` must be text. Received: 1"),
        ("{a: 1, a: 2}", r"the key 'a' of `model.latent_dim` stands there twice"),
        ("\x1b[2J", r"is not YAML: unacceptable character #x001b"),
    ],
)
def test_a_strangers_value_is_refused_by_its_key_in_one_line(value, complaint):
    with pytest.raises(ZooError, match=complaint) as error:
        presets.parse(vae_text(it=("latent_dim: 40", f"latent_dim: {value}")), origin="theirs.yaml")
    message = str(error.value)
    assert message.startswith("theirs.yaml")
    assert message.isprintable()
    assert len(message) <= 300


def test_nine_laughs_in_nine_lines_cost_nothing():
    start = time.perf_counter()
    with pytest.raises(ZooError, match=r"anchor &a, and none is taken"):
        presets.parse(LAUGHS, origin="laughs")
    assert time.perf_counter() - start < 1  # 0.001 s; with aliases they are gigabytes


@pytest.mark.parametrize(("text", "complaint"), [("é" * 60_000, "more than"), (b"\xff\xfe", "not UTF-8")])
def test_a_file_is_read_up_to_its_bound(text, complaint, tmp_path):
    (tmp_path / "preset.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ZooError, match=complaint):
        presets.find(tmp_path)


def test_what_is_written_has_no_alias():
    """A list that stands twice in a configuration would be an alias, which `find` refuses."""
    preset = presets.parse(vae_text(), origin="test")
    units = [8, 8]
    shared = preset.with_updates(model={**preset.model, "a": units, "b": units})
    assert presets.parse(presets.dump(shared), origin="dump") == shared


ROW = {"metric": "nll", "value": 1.0, "n": 3, "unit": "nats", "protocol": "p"}


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        *((file, b"\xff\xfe", "is not JSON") for file in ("weights.json", "metrics.json", "history.json")),
        *((file, b"1", "must hold a") for file in ("weights.json", "metrics.json", "history.json")),
        *((file, b"[" * 100_000, "is not JSON") for file in ("weights.json", "metrics.json", "history.json")),
        *((file, b"1" * 5000, "is not JSON") for file in ("weights.json", "metrics.json", "history.json")),
        ("weights.json", b"[]", "must hold a mapping. Received: "),
        ("weights.json", b'{"bytes": "many"}', "`bytes` must be an integer. Received: 'many'"),
        ("weights.json", b'{"origin": 3}', "`origin` must be a mapping"),
        ("metrics.json", b"{}", "key `rows` is missing"),
        ("metrics.json", b'{"rows": null}', "`rows` must be a list. Received: None"),
        ("metrics.json", b'{"rows": [{"metric": 3}]}', r"`rows.0.metric` must be text|`rows.0.value` is missing"),
        ("metrics.json", json.dumps({"rows": [{**ROW, "metric": ""}]}).encode(), "`rows.0.metric`"),
        ("history.json", b"{}", "must hold a list"),
        ("history.json", b'[{"loss": null}]', "`epochs.0.loss` must be a number"),
        ("history.json", b'[{"loss": 1}, {"kl": 1}]', "`epochs` .*epoch 2 lacks 'loss'"),
        ("history.json", b"[{}]", "`epochs.0`"),
        ("history.json", b'[{"loss": "low"}]', "`epochs.0.loss` must be a number"),
    ],
)
def test_a_record_of_something_else_is_named(file, content, complaint, tmp_path):
    (tmp_path / "preset.yaml").write_text(vae_text())
    (tmp_path / file).write_bytes(content)
    preset = presets.find(tmp_path)
    with pytest.raises(ZooError, match=complaint) as error:
        preset.record(file)
    assert str(error.value).startswith(str(tmp_path / file))


def test_a_key_of_the_users_seals_what_they_have_trained(tmp_path, monkeypatch):
    """Another user's seal, other data, or no key: the preset is from elsewhere."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "preset.yaml").write_text(vae_text())
    preset = presets.find(tmp_path / "p")
    assert presets.find("vae_mnist").is_trusted
    assert not preset.is_trusted
    (tmp_path / "p" / "weights.json").write_text(json.dumps({"origin": {"seal": preset.seal()}}))
    assert preset.is_trusted
    assert (tmp_path / "mine" / "keras_genzoo" / "key").stat().st_mode & 0o777 == 0o600
    assert not preset.with_updates(data={"name": "cifar10"}).is_trusted
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "yours"))
    assert not preset.is_trusted
    assert preset.seal() != preset.record(presets.WEIGHTS_RECORD)["origin"]["seal"]
    assert not preset.is_trusted
    presets.trust(tmp_path / "p")
    assert preset.is_trusted
