"""Models built by hand: saved, measured and exported with names and data of their own, and no preset to borrow."""

import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import TINY, build_tiny, family_of

import keras_genzoo as gz
from keras_genzoo import data, judges, presets

FEW = {"n_importance_samples": 2, "n_samples": 30, "n_probe_images": 100, "verbose": False}
EVERY = ["autoencoder", "vae", "conditional vae", "gan", "classifier"]


@pytest.fixture(scope="module")
def arrays():
    """A few images and labels of both splits, uint8."""
    splits = {split: data.arrays("mnist", split) for split in ("train", "test")}
    return {split: (images[:150], labels[:150]) for split, (images, labels) in splits.items()}


def by_hand(name, **options):
    return build_tiny(name, **options)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly if name == "conditional vae" else []) for name in EVERY]
)
def test_a_model_built_by_hand_is_measured_exported_and_saved(name, arrays, tmp_path):
    model = by_hand(name)
    rows = gz.evaluate(model, data=arrays, **FEW)
    metrics = {row["metric"] for row in rows}
    assert {
        "autoencoder": {"squared_error", "psnr", "ssim", "pca_squared_error"},
        "vae": {"nll", "frechet_distance", "squared_error", "psnr", "ssim"},
        "gan": {"frechet_distance", "kernel_distance", "precision", "recall"},
        "classifier": {"accuracy"},
    }[family_of(name)] <= metrics
    assert all(row["n"] == 150 for row in rows if row["metric"] in ("nll", "squared_error", "accuracy"))
    path = gz.export(model, tmp_path / "out", name="mine", data=arrays["test"])
    assert path.name == "mine_saved_model"
    report = json.loads((tmp_path / "out/mine_saved_model.export.json").read_text())
    assert report["preset"] == "mine"
    gz.save(model, tmp_path / "mine", data=arrays, description="Of my own.", protocol={"n_samples": 30})
    again = gz.load(tmp_path / "mine")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.compiled
    assert model.preset is None  # nothing was written into the user's model
    preset = presets.find(tmp_path / "mine")
    assert (preset.description, preset.data.name, preset.evaluation.n_samples) == ("Of my own.", "own", 30)
    assert set(preset.record("weights.json")["origin"]["data"]) == {"train", "test"}
    assert {row["metric"]: row["value"] for row in gz.evaluate(again, data=arrays, **FEW)} == {
        row["metric"]: pytest.approx(row["value"]) for row in rows
    }


@pytest.mark.parametrize("way", ["keras", "copy", "uncompiled"])
def test_a_model_that_came_another_way_is_saved_too(way, tmp_path):
    model = by_hand("vae", compiled=way != "uncompiled")
    if way == "keras":
        model.save(tmp_path / "m.keras")
        model = gz.load(tmp_path / "m.keras")
    elif way == "copy":
        model = copy.deepcopy(model)
    gz.save(model, tmp_path / "mine", name="Mine", data={"name": "mnist", "binarize": "dynamic"})
    preset = presets.find(tmp_path / "mine")
    assert preset.description == "Mine: a vae built by hand."
    assert (preset.data.name, preset.data.binarize) == ("mnist", "dynamic")
    again = gz.load(tmp_path / "mine")
    assert again.compiled == (way != "uncompiled")
    rows = gz.evaluate(again, n_images=20, **FEW)
    assert rows[0]["metric"] == "nll"
    assert "drawn once" in rows[0]["protocol"]


def test_optimizers_are_those_of_the_model(tmp_path):
    model = by_hand("gan", compiled=False)
    model.compile(g_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.5), d_optimizer=keras.optimizers.RMSprop(1e-3))
    gz.save(model, tmp_path / "mine")
    optimizers = presets.find(tmp_path / "mine").training.optimizers
    assert {key: (o.name, o.learning_rate, o.options) for key, o in optimizers.items()} == {
        "g_optimizer": ("adam", 2e-4, {"beta_1": 0.5}),
        "d_optimizer": ("rmsprop", 1e-3, {}),
    }
    assert isinstance(gz.load(tmp_path / "mine").d_optimizer, keras.optimizers.RMSprop)


def test_what_is_not_known_is_asked_for(tmp_path):
    model = by_hand("autoencoder")
    for use in (gz.evaluate, lambda m: gz.export(m, tmp_path / "out")):
        with pytest.raises(gz.ZooError, match="data set is not known: give one as `data=`"):
            use(model)
    gz.save(model, tmp_path / "mine")
    with pytest.raises(
        gz.ZooError, match="`training` does not say its epochs, batch_size, as of a model that was built"
    ):
        gz.train(tmp_path / "mine", tmp_path / "out")
    assert gz.export(by_hand("gan"), tmp_path / "out").name == "gan_saved_model"  # codes are all that it takes
    out = tmp_path / "trained"
    gz.train(tmp_path / "mine", out, data="mnist", epochs=1, batch_size=30_000, verbose=0)
    assert presets.find(out).training.epochs == 1


def test_a_subclass_would_come_back_as_another_and_is_refused(tmp_path):
    class Own(gz.VAE):
        pass

    with pytest.raises(gz.ZooError, match=r"Own is no class of the zoo's families: .* model.save\('NAME.keras'\)"):
        gz.save(Own(**TINY["vae"]), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_subclass_is_measured_and_exported(arrays, tmp_path):
    class Own(gz.Autoencoder):
        pass

    model = Own(**TINY["autoencoder"])
    assert gz.evaluate(model, data=arrays, **FEW)
    assert gz.export(model, tmp_path, data=arrays).name == "autoencoder_saved_model"
    with pytest.raises(gz.ZooError, match=r"A model of the zoo's families is needed. Received: a Functional"):
        gz.evaluate(network())


def test_a_frozen_model_is_saved_thawed_and_says_so(tmp_path, mnist):
    model = by_hand("vae", compiled=False)
    model.encoder.trainable = False
    model.compile("adam", run_eagerly=True)
    history = model.fit(mnist[:32], epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="does not say which layers are frozen"):
        gz.save(model, tmp_path / "mine", history=history)
    assert gz.load(tmp_path / "mine").encoder.trainable
    epochs = presets.find(tmp_path / "mine").record("history.json")
    assert [epoch["loss"] for epoch in epochs] == pytest.approx(history.history["loss"], rel=1e-5)


def test_files_of_others_in_a_preset_folder_are_not_replaced(tmp_path):
    model = by_hand("autoencoder", compiled=False)
    gz.save(model, tmp_path / "mine")
    gz.save(model, tmp_path / "mine", overwrite=True)
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(gz.ZooError, match=r"holds other files than a preset's: thesis.txt; move them"):
        gz.save(model, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_weights_that_are_not_finite_are_not_exported(tmp_path, arrays):
    model = by_hand("autoencoder", compiled=False)
    model.decoder.set_weights([np.full_like(weight, np.nan) for weight in model.decoder.get_weights()])
    with pytest.raises(gz.ZooError, match=r"autoencoder: .* holds NaN or infinity"):
        gz.export(model, tmp_path, data=arrays)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"test": np.zeros((3, 28, 28, 1), "int64")}, r"`data` \(test\) must be images .* dtype int64"),
        (np.zeros((3, 28, 28, 1)) + 2, r"`data` \(test\) must be in \[0, 1\] or uint8. Received: \[2.0, 2.0\]"),
        (np.full((3, 28, 28, 1), np.nan), r"must be in \[0, 1\]"),
        (np.zeros((3, 8, 8, 1)), r"`data` must hold images of shape \(28, 28, 1\). Received: \(8, 8, 1\)"),
        ((np.zeros((3, 28, 28, 1)), np.zeros(2, int)), r"Labels of `data` \(test\) must be 3 integers"),
        ({"tset": np.zeros((3, 28, 28, 1))}, r"the keys train, test. Received: \['tset'\]"),
        ("mnits", "Did you mean mnist"),
        (
            ((np.zeros((3, 28, 28, 1)), np.zeros(3, int)), (np.zeros((3, 28, 28, 1)), np.zeros(3, int))),
            "must be images",
        ),
    ],
)
def test_bad_data_is_named(bad, complaint):
    with pytest.raises(gz.ZooError, match=complaint):
        gz.evaluate(by_hand("autoencoder", compiled=False), data=bad)


def test_bad_names_and_protocols_are_named(arrays, tmp_path):
    model = by_hand("autoencoder", compiled=False)
    for name in ("a/b", "", "..\\x", "a\nb"):
        with pytest.raises(gz.ZooError, match="`name` must be"):
            gz.export(model, tmp_path, name=name, data=arrays)
    with pytest.raises(gz.ZooError, match=r"`protocol`: unknown key `metrc`. Did you mean metric"):
        gz.evaluate(model, data=arrays, protocol={"metrc": "psnr"})
    with pytest.raises(gz.ZooError, match="`protocol` must be a dict"):
        gz.evaluate(model, data=arrays, protocol="psnr")
    with pytest.raises(gz.ZooError, match=r"`n_images` must be an integer >= 1. Received: 2.5"):
        gz.evaluate(model, data=arrays, n_images=2.5)
    images, labels = arrays["test"]
    with pytest.raises(gz.ZooError, match=r"labels in 0..9. Received: 1..10"):
        gz.evaluate(by_hand("classifier", compiled=False), data=(images, labels + 1))
    with pytest.raises(gz.ZooError, match=r"takes labels, and the test images of arrays:.* have none"):
        gz.evaluate(by_hand("conditional vae", compiled=False), data=arrays["test"][0])


def test_test_images_alone_leave_out_what_needs_others(arrays):
    with pytest.warns(UserWarning, match="Not measured: pca_squared_error: .*no split 'train'"):
        rows = gz.evaluate(by_hand("autoencoder", compiled=False), data=arrays["test"][0], verbose=False)
    assert {row["metric"] for row in rows} == {"squared_error", "psnr", "ssim"}
    assert arrays["test"][0].flags.writeable is data.arrays("mnist", "test")[0].flags.writeable  # as they were


# === Judges ===


def network(*, channels=1, side=28):
    images = keras.Input((side, side, channels))
    return keras.Model(images, keras.layers.Dense(5)(keras.layers.Flatten()(images)), name="eye")


def test_samples_of_images_of_ones_own_are_judged_by_components_or_by_a_judge(arrays, tmp_path):
    gan, eye = by_hand("gan", compiled=False), network()
    eye.save(tmp_path / "eye.keras")
    eye.export(tmp_path / "eye", verbose=False)
    given = {
        "pixels: 29 principal components of the test images": None,
        "5 features of eye (weights": eye,
        "5 features of eye.keras (weights": tmp_path / "eye.keras",
        "5 features of eye, given by the user": str(tmp_path / "eye"),
        "features of classifier_mnist (weights": "classifier_mnist",
    }
    values = {}
    for words, judge in given.items():
        rows = gz.evaluate(gan, data=arrays, judge=judge, n_images=30, **FEW)
        assert {"frechet_distance", "kernel_distance", "precision", "recall"} <= {row["metric"] for row in rows}
        assert words in rows[0]["protocol"]
        values[words] = {row["metric"]: row["value"] for row in rows}
    as_model, as_file, as_saved = (values[words] for words in list(values)[1:4])
    assert as_file == as_model
    assert as_saved == pytest.approx(as_model, rel=1e-4)
    with_labels = gz.evaluate(gan, data=arrays, judge="classifier_mnist", **FEW)
    assert "classes_covered" in {row["metric"] for row in with_labels}


def test_components_of_pixels_are_those_of_the_images():
    """The Frechet distance of pixels, from its definition: the components keep all of 5 images' differences."""
    from keras_genzoo import metrics

    real, fake = np.random.default_rng(0).random((2, 5, 2, 2, 1))
    judged = judges.features(None, "folder:x", real)
    mean, basis = metrics.pca(real, n_components=4)
    expected = metrics.frechet_distance(*((x.reshape(5, -1) - mean) @ basis for x in (real, fake)))
    found = metrics.frechet_distance(*(judged.classify(x)["features"] for x in (real, fake)))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("judge", "complaint"),
    [
        (lambda: network(side=8), r"`judge` 'eye' does not judge images of shape \(28, 28, 1\)"),
        (lambda: lambda images: np.ones((len(images), 3)), "gives no features that tell images apart"),
        (lambda: by_hand("vae", compiled=False), "is a VAE, which gives no features of images"),
        (lambda: "vae_mnist", "is a VAE, which gives no features of images"),
        (lambda: 3, "`judge` must be a keras.Model, a path, or a preset's name. Received: int"),
        (lambda: "nothing.keras", "`judge` 'nothing.keras' cannot be loaded"),
    ],
)
def test_a_judge_that_cannot_judge_is_named(judge, complaint, arrays):
    with pytest.raises(gz.ZooError, match=complaint):
        gz.evaluate(by_hand("gan", compiled=False), data=arrays, judge=judge(), **FEW)


def test_a_gan_on_a_folder_gets_numbers_from_the_command_line(tmp_path, capsys):
    from PIL import Image

    from keras_genzoo import cli

    (tmp_path / "mine").mkdir()
    for i, pixels in enumerate(data.arrays("mnist", "train")[0][:60]):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "mine" / f"{i}.png")
    gz.save(by_hand("gan"), tmp_path / "gan")
    evaluate = ["evaluate", str(tmp_path / "gan"), "--data", f"folder:{tmp_path / 'mine'}", "--n-samples", "20"]
    assert cli.main([*evaluate, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert any(row["metric"] == "frechet_distance" and row["protocol"].startswith("pixels: ") for row in rows)
    assert cli.main([*evaluate, "--write"]) == 2
    assert "--write stores numbers of the preset's own data" in capsys.readouterr().err


# === Exports ===


def test_a_saved_model_refuses_what_is_not_finite(arrays, tmp_path):
    path = gz.export(by_hand("autoencoder"), tmp_path, data=arrays)
    encode = tf.saved_model.load(str(path)).signatures["encode"]
    images = np.full((2, 28, 28, 1), 0.5, "float32")
    encode(images=tf.constant(images))
    images[1, 3, 3] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="`images` must be finite"):
        encode(images=tf.constant(images))


# === Full disks ===


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_keras_own_files_meet_a_full_disk_as_an_error(name, tmp_path, file_limit):
    model = by_hand("autoencoder")
    path = tmp_path / name
    save = model.save if name.endswith(".keras") else model.save_weights
    save(path)
    before = path.read_bytes()
    for limit in (1, len(before) // 2, len(before) - 1):
        with file_limit(limit), pytest.raises(gz.ZooError, match=r"Cannot write .*: File too large"):
            save(path)
        assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")] == [name]
    save(path)
