"""Networks that others have trained, as judges: what they are given, whose weights they have, what is refused."""

import sys

import keras
import numpy as np
import pytest

import keras_genzoo as gz
from keras_genzoo import judges, public_networks
from keras_genzoo.errors import ZooError


@pytest.fixture
def small(monkeypatch):
    """A layer that passes the mean of each channel, in the place of InceptionV3."""

    def build(*, include_top, pooling, weights, input_shape):
        assert (include_top, pooling) == (False, "avg")
        images = keras.Input(input_shape)
        model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
        model.given = weights
        return model

    monkeypatch.setattr(keras.applications, "InceptionV3", build)


def test_inception_takes_pictures_of_any_size_in_minus_one_to_one(small):
    images = np.array([0.0, 0.25, 1.0], "float32")[:, None, None, None] * np.ones((3, 20, 10, 3), "float32")
    images[..., 1] = 0.5
    name, network = public_networks.opened("inception")
    assert name == "InceptionV3 of keras.applications at 299 pixels"
    assert network.network.given == "imagenet"
    np.testing.assert_allclose(network(images), [[-1, 0, -1], [-0.5, 0, -0.5], [1, 0, 1]], atol=1e-5)
    np.testing.assert_allclose(network(images[..., :1]), [[-1] * 3, [-0.5] * 3, [1] * 3], atol=1e-5)
    assert public_networks.opened("inception:mine.h5")[1].network.given == "mine.h5"


def test_a_public_network_judges_samples_and_says_which_it_is(small, mnist):
    """As the command's `--judge inception` does; its protocol claims no published FID."""
    rows = gz.evaluate("gan_mnist", judge="inception", n_images=20, n_samples=20, verbose=False)
    row = next(row for row in rows if row["metric"] == "frechet_distance")
    assert row["protocol"].startswith("3 features of InceptionV3 of keras.applications at 299 pixels (weights ")
    assert "not the network of published FIDs" in row["protocol"]
    assert judges.features("inception", "mnist", mnist[:8]).classify(mnist[:2])["features"].shape == (2, 3)


@pytest.mark.parametrize(
    ("judge", "complaint"),
    [
        ("inception", r"`judge` 'inception' cannot be fetched: no route to host. .* judge='inception:PATH'"),
        ("inception:x.h5", "`judge` inception:x.h5 cannot be loaded, it must be a file of Keras' InceptionV3 without"),
    ],
)
def test_weights_that_do_not_come_are_named(judge, complaint, monkeypatch):
    def fail(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(ZooError, match=complaint):
        public_networks.opened(judge)


def test_a_missing_kerashub_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ZooError, match=r"pip install 'keras-genzoo\[dinov2\]'"):
        public_networks.opened("dinov2")


@pytest.mark.nightly
def test_inception_loads_weights_from_a_file(tmp_path, mnist):
    """The real network, with weights drawn here: its features through the judge are its own."""
    network = keras.applications.InceptionV3(include_top=False, pooling="avg", weights=None)
    network.save_weights(tmp_path / "inception.weights.h5")
    judge = judges.features(f"inception:{tmp_path / 'inception.weights.h5'}", "mnist", mnist[:4])
    images = np.repeat(mnist[:4], 3, axis=3)
    large = keras.ops.image.resize(images, (299, 299), interpolation="bilinear", antialias=True)
    found = judge.classify(mnist[:4])["features"]
    assert found.shape == (4, 2048)
    np.testing.assert_allclose(found, network(2 * large - 1), rtol=1e-4, atol=1e-6)
    with pytest.raises(ZooError, match="cannot be loaded, it must be a file of Keras' InceptionV3"):
        public_networks.opened(f"inception:{tmp_path / 'nothing.weights.h5'}")


@pytest.mark.nightly
def test_dinov2_loads_a_preset_of_kerashub_from_a_folder(tmp_path, mnist):
    keras_hub = pytest.importorskip("keras_hub", reason="needs the extra [dinov2]")
    options = {"patch_size": 14, "num_layers": 1, "hidden_dim": 32, "num_heads": 2, "intermediate_dim": 64}
    backbone = keras_hub.models.DINOV2Backbone(**options, image_shape=(224, 224, 3))
    backbone.save_to_preset(str(tmp_path / "dino"))
    name, network = public_networks.opened(f"dinov2:{tmp_path / 'dino'}")
    assert name == "DINOv2 of KerasHub at 224 pixels"
    found = network(mnist[:3])
    large = keras.ops.image.resize(np.repeat(mnist[:3], 3, axis=3), (224, 224), antialias=True)
    standard = (large - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found, backbone({"images": standard})[:, 0], rtol=1e-3, atol=1e-4)
    with pytest.raises(ZooError, match="must be a folder of a KerasHub preset"):
        public_networks.opened(f"dinov2:{tmp_path / 'nothing'}")
