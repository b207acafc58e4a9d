"""What the tests share: tiny models, one per family, and real MNIST images."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

TINY = {
    "autoencoder": {
        "latent_dim": 4,
        "encoder": {"name": "mlp_encoder", "units": [32], "activation": "relu"},
        "decoder": {"name": "mlp_decoder", "units": [32], "activation": "relu"},
    },
    "vae": {
        "latent_dim": 4,
        "encoder": {"name": "conv_encoder", "filters": [4, 8]},
        "decoder": {"name": "conv_decoder", "filters": [8, 4]},
    },
    "gan": {
        "latent_dim": 4,
        "generator": {"name": "dcgan_generator", "filters": [8, 4], "kernel_size": 4},
        "discriminator": {"name": "dcgan_discriminator", "filters": [4, 8], "kernel_size": 4},
    },
    "classifier": {
        "n_classes": 10,
        "network": {"name": "cnn_classifier", "filters": [4, 8], "units": 8, "dropout": 0.1},
    },
}


@pytest.fixture(scope="session")
def mnist():
    """The first 512 training images: float32 in [0, 1], `(512, 28, 28, 1)`."""
    from keras_genzoo import data

    return data.to_unit(data.arrays("mnist", "train")[0][:512])


@pytest.fixture
def tiny():
    """A function family -> compiled tiny model; keyword arguments go to the constructor."""
    from keras_genzoo import models

    def make(family, *, compiled=True, learning_rate=1e-3, **options):
        import keras

        model = models.get(family)(**{**TINY[family], "seed": 1, **options})
        if compiled:
            model.compile(**{key: keras.optimizers.Adam(learning_rate) for key in model.OPTIMIZERS})
        return model

    return make
