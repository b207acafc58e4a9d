"""Keras models of a user's own as networks: taken, trained, saved, loaded, or refused with the shapes."""

import copy

import keras
import numpy as np
import pytest
from keras import layers

import keras_genzoo as gz
from keras_genzoo import networks, parts


def encoder(*sizes, activation=None):
    images = keras.Input((28, 28, 1))
    h = layers.Dense(8, activation="relu")(layers.Flatten()(images))
    outputs = [layers.Dense(size, activation=activation)(h) for size in sizes]
    return keras.Model(images, outputs if len(outputs) > 1 else outputs[0], name="mine")


def decoder(n=4, activation=None):
    return keras.Sequential([keras.Input((n,)), layers.Dense(784, activation=activation), layers.Reshape((28, 28, 1))],
                            name="my_decoder")  # fmt: skip


def pixels(activation, n=4):
    z = keras.Input((n,))
    h = layers.Reshape((28, 28, 1))(layers.Dense(784)(z))
    return keras.Model(z, layers.Conv2D(1, 3, padding="same", activation=activation)(h), name="my_pixels")


def judge(shape=(28, 28, 1), activation=None):
    images = keras.Input(shape)
    return keras.Model(images, layers.Dense(1, activation=activation)(layers.Flatten()(images)), name="my_judge")


def classifier():
    images = keras.Input((28, 28, 1))
    features = layers.Dense(6)(layers.Flatten()(images))
    return keras.Model(images, {"logits": layers.Dense(10)(features), "features": features}, name="my_classifier")


BUILT = {
    "autoencoder": lambda: gz.Autoencoder(latent_dim=4, encoder=encoder(4), decoder=decoder()),
    "vae": lambda: gz.VAE(latent_dim=4, encoder=encoder(4, 4), decoder=pixels(None)),
    "conditional vae": lambda: gz.VAE(
        latent_dim=4, n_classes=10, encoder={"name": "mlp_encoder", "units": [8]}, decoder=decoder(14)
    ),
    "gan": lambda: gz.GAN(latent_dim=4, generator=pixels("sigmoid"), discriminator=judge()),
    "classifier": lambda: gz.Classifier(n_classes=10, network=classifier()),
}


@pytest.mark.parametrize("name", BUILT)
def test_a_preset_folder_holds_own_networks(name, tmp_path):
    model = BUILT[name]()
    gz.save(model, tmp_path / "mine")
    again = gz.load(tmp_path / "mine")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", BUILT)
def test_a_model_of_own_networks_trains_is_saved_and_loaded(name, mnist, tmp_path):
    model = BUILT[name]()
    optimizers = dict.fromkeys(model.OPTIMIZERS, "adam")
    model.compile(**optimizers, run_eagerly=True)
    labels = (np.arange(32) % 10,) if name in ("classifier", "conditional vae") else ()
    before = model.get_weights()
    model.fit(mnist[:32], *labels, verbose=0)
    assert any(not np.array_equal(a, b) for a, b in zip(before[1:], model.get_weights()[1:], strict=True))
    model.save(tmp_path / "m.keras")
    for again in (gz.load(tmp_path / "m.keras"), copy.deepcopy(model)):
        assert type(again) is type(model)
        for endpoint in model.endpoints():
            values = [np.ones((2, *tensor.shape[1:]), "float32") for tensor in model.endpoints()[endpoint].inputs]
            values = [v.astype("int32") if v.ndim == 1 else v for v in values]
            for key, value in model.run_endpoint(endpoint, *values).items():
                np.testing.assert_array_equal(again.run_endpoint(endpoint, *values)[key], value)
        again.fit(mnist[:32], *labels, verbose=0)


def test_the_average_of_an_own_generator_has_weights_of_its_own():
    gan = BUILT["gan"]()
    generator, average = gan.generator.weights, gan.ema_generator.weights
    assert not {id(v) for v in generator} & {id(v) for v in average}
    for a, b in zip(generator, average, strict=True):
        np.testing.assert_array_equal(a, b)


class Unsaid(keras.Model):
    def __init__(self, size):
        super().__init__()
        self.dense = layers.Dense(size)

    def call(self, images):
        return self.dense(keras.ops.reshape(images, (-1, 784)))


def behind_a_reshape(activation):
    return keras.Sequential([keras.Input((4,)), layers.Dense(784, activation=activation), layers.Reshape((28, 28, 1))])


def with_softmax():
    images = keras.Input((28, 28, 1))
    return keras.Model(images, layers.Softmax()(layers.Dense(10)(layers.Flatten()(images))), name="soft")


UNFIT = {
    "gives values in .* as behind a sigmoid, and a decoder gives raw pixels": lambda: gz.Autoencoder(
        latent_dim=4, encoder=encoder(4), decoder=behind_a_reshape("sigmoid")
    ),
    "gives values of .*, and images are in": lambda: gz.GAN(
        latent_dim=4, generator=behind_a_reshape("tanh"), discriminator=judge()
    ),
    "gives probabilities, and a classifier gives logits": lambda: gz.Classifier(n_classes=10, network=with_softmax()),
    r"`encoder`: 'mine' must have an output of shape \(None, 5\). Received: \(None, 4\)": lambda: gz.Autoencoder(
        latent_dim=5, encoder=encoder(4), decoder=decoder(5)
    ),
    r"must have the outputs z_mean \(batch, 4\), z_log_var \(batch, 4\). Received: 1 of shape": lambda: gz.VAE(
        latent_dim=4, encoder=encoder(4), decoder=decoder()
    ),
    r"`decoder`: 'my_decoder' does not take inputs of shape \(None, 4\)": lambda: gz.Autoencoder(
        latent_dim=4, encoder=encoder(4), decoder=decoder(3)
    ),
    "ends with the activation 'sigmoid', and a decoder gives raw pixels": lambda: gz.Autoencoder(
        latent_dim=4, encoder=encoder(4), decoder=pixels("sigmoid")
    ),
    r"ends with the activation 'linear', and images are in \[0, 1\]": lambda: gz.GAN(
        latent_dim=4, generator=pixels(None), discriminator=judge()
    ),
    "ends with the activation 'tanh'": lambda: gz.GAN(latent_dim=4, generator=pixels("tanh"), discriminator=judge()),
    "ends with the activation 'sigmoid', and a discriminator gives logits": lambda: gz.GAN(
        latent_dim=4, generator=pixels("sigmoid"), discriminator=judge(activation="sigmoid")
    ),
    r"`encoder`: 'mine' does not take inputs of shape \(None, 8, 8, 1\)": lambda: gz.VAE(
        latent_dim=4, encoder=encoder(4, 4), decoder=decoder(), image_shape=(8, 8, 1)
    ),
    "The Unsaid .* cannot be saved": lambda: gz.Autoencoder(latent_dim=4, encoder=Unsaid(4), decoder=decoder()),
    "`encoder` of this family must be a spec": lambda: gz.FaceSwap(latent_dim=4, encoder=encoder(4), decoder=decoder()),
}


@pytest.mark.parametrize("complaint", UNFIT)
def test_a_network_that_does_not_fit_is_refused_with_the_shapes(complaint):
    with pytest.raises(gz.ZooError, match=complaint):
        UNFIT[complaint]()


def test_a_described_network_of_a_stranger_is_built_safely():
    spec = networks.plain(encoder(4))
    again = networks.build(spec, key="encoder", image_shape=(28, 28, 1), outputs={"z": 4})
    assert again.output["z"].shape == (None, 4)
    images = keras.Input((28, 28, 1))
    unsafe = keras.Model(images, layers.Lambda(lambda x: keras.ops.mean(x, axis=(1, 2)))(images))
    evil = {"name": parts.OWN, "config": keras.saving.serialize_keras_object(unsafe)}
    for bad in (evil, {"name": parts.OWN}, {"name": parts.OWN, "config": {"class_name": "Popen", "config": {}}}):
        with pytest.raises(gz.ZooError, match="`encoder"):
            networks.build(bad, key="encoder", image_shape=(28, 28, 1), outputs={"z": 1})
