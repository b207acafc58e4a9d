"""A classifier that also tells what an image was made from: its loss, its doors, its training from a preset."""

import keras
import numpy as np
import pytest
from helpers import TINY, build_tiny

import keras_genzoo as gz
from keras_genzoo import data, judges, presets
from keras_genzoo.errors import ZooError

PRESET = """\
family: classifier
description: tiny
data: {name: shades, labels: true}
model:
  image_shape: [8, 8, 3]
  n_classes: 2
  n_factors: 2
  network: {name: cnn_classifier, filters: [8], units: 8}
training:
  epochs: 40
  batch_size: 20
  optimizers:
    optimizer: {name: adam, learning_rate: 1e-2}
evaluation: {metric: factor_r2}
"""


def _told(n, factors):
    return {"labels": np.arange(n) % 10, "factors": factors}


def _factored(**options):
    return build_tiny("classifier", n_factors=3, **options)


def test_the_loss_is_cross_entropy_and_the_error_of_the_known_factors(mnist):
    """Each error is over the factor's deviation; a factor that is not known costs nothing."""
    model = _factored()
    factors = np.random.default_rng(0).normal(size=(40, 3)).astype("float32") * [1, 10, 0.1]
    factors[::2, 1] = np.nan
    factors[0] = np.nan
    model.adapt(factors)
    deviation = np.nanstd(factors, axis=0)
    np.testing.assert_allclose(model.factor_units.scale, deviation, rtol=1e-5)
    np.testing.assert_allclose(model.factor_units.shift, np.nanmean(factors, axis=0), atol=1e-5)
    outputs, told = model.classify(mnist[:40]), _told(40, factors)
    shifted = outputs["logits"] - outputs["logits"].max(1, keepdims=True)
    entropy = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(40), told["labels"]]
    error = np.nan_to_num((outputs["factors"] - factors) / deviation) ** 2
    found = model.evaluate(mnist[:40], told, verbose=0, return_dict=True)
    assert found["factor_loss"] == pytest.approx(error.mean(), rel=1e-4)
    assert found["loss"] == pytest.approx(entropy.mean() + error.mean(), rel=1e-4)
    unknown = model.evaluate(mnist[:40], _told(40, np.full((40, 3), np.nan)), verbose=0, return_dict=True)
    assert unknown["factor_loss"] == 0
    assert unknown["loss"] == pytest.approx(entropy.mean(), rel=1e-4)


def test_unknown_factors_move_no_weight_of_their_head(mnist):
    model = _factored(compiled=False)
    model.compile("sgd")
    before = [weight.numpy() for weight in model.network.get_layer("factors").weights]
    history = model.fit(mnist[:40], _told(40, np.full((40, 3), np.nan)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for weight, old in zip(model.network.get_layer("factors").weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_deviations_are_saved(mnist, tmp_path):
    model = _factored()
    model.adapt([[1.0, 2.0, np.nan], [3.0, 2.0, 5.0]])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.factor_units.scale, [1, 1, 1])  # of 1 and 3; of what is always the same; of one
    np.testing.assert_allclose(again.factor_units.shift, [2, 2, 5])
    for key, value in model.classify(mnist[:4]).items():
        np.testing.assert_array_equal(again.classify(mnist[:4])[key], value)


@pytest.mark.parametrize(
    ("y", "complaint"),
    [
        (np.zeros(8, int), "must be a dict of labels and factors. Received: ndarray"),
        ({"labels": np.zeros(8, int)}, r"Received: a dict of \['labels'\]"),
        (_told(8, np.zeros((8, 2))), r"`factors` of `y` must have shape \(n, 3\)"),
        (_told(8, np.full((8, 3), np.inf)), "or NaN where a factor is not known. Received: infinity"),
        (_told(8, np.zeros((8, 3))) | {"labels": np.full(8, 10)}, r"must be labels in 0..9"),
        (None, "trains on"),
    ],
)
@pytest.mark.parametrize("door", ["fit", "evaluate", "train_on_batch"])
def test_bad_factors_stop_at_every_door(door, y, complaint, mnist):
    with pytest.raises(ZooError, match=complaint):
        getattr(_factored(), door)(mnist[:8], y)


def test_factors_of_any_units_are_learned_alike(mnist):
    """The head of a new model stands at the mean, whatever the units; so a step is the same but for the units."""
    standard = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    kernels = []
    for scale, shift in ((1.0, 0.0), (0.01, 7.0)):
        model = _factored(compiled=False)
        model.adapt(standard * scale + shift)
        model.compile("sgd")
        model.fit(mnist[:40], _told(40, standard * scale + shift), batch_size=40, shuffle=False, verbose=0)
        kernels.append(model.network.get_weights())
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_adapt_takes_factors_of_this_model():
    with pytest.raises(ZooError, match="this classifier has none"):
        build_tiny("classifier").adapt(np.zeros((4, 3)))
    with pytest.raises(ZooError, match=r"must have shape \(n, 3\)"):
        _factored().adapt(np.zeros((4, 2)))


@pytest.fixture
def shades(monkeypatch):
    """A data set of flat colours whose factors are red and green; every fifth image's are not known."""

    def parts(split):
        values = np.random.default_rng(split == "test").integers(0, 256, (200, 3)).astype("uint8")
        return values, (values[:, 2] > 127).astype("int64")

    def source(name, split, **_):
        values, labels = parts(split)
        return np.tile(values[:, None, None], (1, 8, 8, 1)), labels

    def factors(name, split, **_):
        known = parts(split)[0][:, :2] / np.float32(255)
        known[::5] = np.nan
        return known, ["red", "green"]

    monkeypatch.setitem(data.SOURCES._entries, "shades", source)
    monkeypatch.setitem(data._FACTORS, "shades", factors)


def test_a_preset_learns_factors_and_measures_them(shades, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "preset.yaml").write_text(PRESET, encoding="utf-8")
    model = gz.train(presets.find(tmp_path / "tiny"), tmp_path / "out", verbose=0)
    rows = {row["metric"]: row for row in gz.evaluate(model, verbose=False)}
    assert rows["factor_r2"]["value"] > 0.8
    assert rows["factor_r2"]["n"] == 160  # those that are known
    assert "mean over 2 factors" in rows["factor_r2"]["protocol"]
    assert rows["accuracy"]["value"] > 0.8
    told = model.classify(np.full((1, 8, 8, 3), 0.25, "float32"))["factors"]
    np.testing.assert_allclose(told, [[0.25, 0.25]], atol=0.15)


def test_an_emoji_has_no_factors_and_a_person_has():
    """The rows of "pictures" are those of its parts, in their order; without Fluent it says what is missing."""
    with pytest.raises(ZooError, match="fluent"):
        data.arrays("pictures", "train", data_dir="/nowhere")
    with pytest.warns(UserWarning, match="The emoji are without fluent"):
        images, labels = data.arrays("pictures", "test", data_dir="/nowhere")
    values, names = data.factors_of("pictures", "test", data_dir="/nowhere")
    n_emoji = 2 * 210
    assert len(images) == len(labels) == len(values) == n_emoji + 500
    np.testing.assert_array_equal(labels[n_emoji:], 9)
    assert data.is_bundled_part("pictures", "test", data_dir="/nowhere")
    assert np.isnan(values[:n_emoji]).all()
    np.testing.assert_array_equal(values[n_emoji:], data.factors_of("people", "test", data_dir="/nowhere")[0])
    assert len(names) == 26
    assert data.class_names("pictures") == [*data.class_names("emoji:noto"), "Person"]


# === Judges ===


def test_pixels_are_a_judge_that_can_be_asked_for(mnist):
    """Components of the pixels of real images, whatever the data set has of its own."""
    pixels = judges.features("pixels", "mnist", mnist[:100])
    found = pixels.classify(mnist[:10])["features"]
    assert found.shape == (10, 64)
    assert "64 principal components" in pixels.judged_by
    assert judges.features(None, "mnist", mnist[:100]).name == "classifier_mnist"


def test_a_judge_of_colour_takes_images_of_other_sizes(monkeypatch):
    """They are brought to its sides, and the protocol says so; grey and tiny ones it does not take."""
    judge = gz.Classifier(image_shape=(64, 64, 3), n_classes=2, seed=0, network=TINY["classifier"]["network"])
    monkeypatch.setattr(judges, "load", lambda name: judge)
    monkeypatch.setattr(judges, "signature", lambda judge: "a judge")
    monkeypatch.setattr(judges, "_has_colour", lambda: True)
    monkeypatch.setattr(judge, "preset", type("Named", (), {"name": judges.COLOUR}))
    large = np.random.default_rng(0).random((4, 1, 1, 3), "float32") * np.ones((4, 128, 128, 3), "float32")
    found = judges.features(None, "folder:photos", large)
    assert (found.name, found.judged_by) == (judges.COLOUR, "features of a judge at 64 pixels, not Inception-FID")
    features = judge.classify(large[:, :64, :64])["features"]
    assert np.ptp(features, axis=0).any()
    np.testing.assert_allclose(found.classify(large)["features"], features, atol=1e-5)
    for others in (large[:, :32, :32, :1], large[:, :16, :16]):
        assert judges.features(None, "folder:photos", others).name == judges.PIXELS
