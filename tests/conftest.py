"""What the tests share: tiny models, one per family and more for what a family can be, and real MNIST images."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command has it: the same sums, and sooner

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
    "face_swap": {
        "image_shape": (28, 28, 1),
        "latent_dim": 4,
        "encoder": {"name": "face_encoder", "filters": [4, 8], "channels": 4},
        "decoder": {"name": "face_decoder", "filters": [4]},
        "n_factors": 3,
    },
    "classifier": {
        "n_classes": 10,
        "network": {"name": "cnn_classifier", "filters": [4, 8], "units": 8, "dropout": 0.1},
    },
}
_UNNORMED = {"name": "dcgan_discriminator", "filters": [4, 8], "kernel_size": 4, "norm": "none"}
# What a family becomes with other parts: name -> family and the options that make it.
VARIANTS = {
    "vae with a flow prior and posterior, iwae": (
        "vae",
        {
            "prior": {"name": "realnvp", "n_layers": 2, "units": [8]},
            "posterior": {"name": "flow", "n_layers": 2, "units": [8], "context_dim": 3},
            "objective": "iwae",
            "n_draws": 3,
        },
    ),
    "vae with a vamp prior, learned sigma": (
        "vae",
        {"prior": {"name": "vamp", "n_components": 3}, "likelihood": "gaussian", "sigma": "learned"},
    ),
    "vae of two levels": (
        "vae",
        {
            "prior": {
                "name": "hierarchical",
                "top_dim": 2,
                "units": [8],
                "top": {"name": "realnvp", "n_layers": 2, "units": [8]},
                "flow": {"n_layers": 2, "units": [8]},
            },
            "posterior": {"name": "hierarchical", "top_dim": 2, "units": [8], "context_dim": 3},
        },
    ),
    "gan, relativistic with r1 and r2": (
        "gan",
        {"game": "relativistic", "r1": 1.0, "r2": 1.0, "discriminator": _UNNORMED},
    ),
    "gan, wasserstein with gradient penalty": (
        "gan",
        {
            "game": "wasserstein",
            "gradient_penalty": 10.0,
            "n_critic": 2,
            "generator": {"name": "mlp_generator", "units": [8], "batch_norm": True},
            "discriminator": {"name": "mlp_discriminator", "units": [8], "maxout": 2},
        },
    ),
    "gan, packed and augmented, lazy r1": (
        "gan",
        {
            "pack": 2,
            "r1": 1.0,
            "penalty_interval": 2,
            "augment": ["brightness", "contrast", "translation", "cutout"],
            "discriminator": _UNNORMED,
        },
    ),
    "conditional gan": (
        "gan",
        {
            "n_classes": 10,
            "conditioning": "projection",
            "discriminator": {**_UNNORMED, "norm": "spectral"},
        },
    ),
    "conditional vae": ("vae", {"n_classes": 10, "likelihood": "discretized_logistic"}),
}

# A face swap's preset.yaml, to be given the side of its images and its headline.
TINY_SWAP = """\
family: face_swap
description: tiny
data: {{name: rendered_faces_a, other: rendered_faces_b}}
model:
  image_shape: [{side}, {side}, 3]
  latent_dim: 4
  encoder: {{name: face_encoder, filters: [4, 4], channels: 4}}
  decoder: {{name: face_decoder, filters: [4]}}
training:
  epochs: 2
  unwarped_epochs: 1
  batch_size: 16
  optimizers:
    optimizer: {{name: adam, learning_rate: 1e-3}}
evaluation: {{metric: {metric}}}
"""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Every test, and the fixtures that it is the first to ask for, begins with the same random state: none passes or
    fails by the luck of its networks' start.
    """
    import keras

    keras.utils.set_random_seed(0)


_WEIGHTED = ("objective", "n_draws", "beta", "warmup_steps", "regularizer", "corruption")  # they shape no network


def each_graph(names):
    """Presets as parameters of a test of what their graphs do: slow where an earlier one has the same networks."""
    from keras_genzoo import presets

    seen, parameters = [], []
    for name in names:
        preset = presets.find(name)
        graph = preset.family, {key: value for key, value in preset.model.items() if key not in _WEIGHTED}
        parameters.append(pytest.param(name, marks=[pytest.mark.slow] if graph in seen else []))
        seen.append(graph)
    return parameters


def family_of(name):
    """The family of a name in TINY or VARIANTS."""
    return VARIANTS[name][0] if name in VARIANTS else name


@pytest.fixture(scope="session")
def mnist():
    """The first 512 training images: float32 in [0, 1], `(512, 28, 28, 1)`."""
    from keras_genzoo import data

    return data.to_unit(data.arrays("mnist", "train")[0][:512])


@pytest.fixture
def tiny():
    """A function family, or name of VARIANTS -> compiled tiny model; keyword arguments go to the constructor."""
    from keras_genzoo import models

    def make(name, *, compiled=True, learning_rate=1e-3, **options):
        import keras

        family = family_of(name)
        parts = VARIANTS[name][1] if name in VARIANTS else {}
        model = models.get(family)(**{**TINY[family], "seed": 1, **parts, **options})
        if compiled:
            model.compile(**{key: keras.optimizers.Adam(learning_rate) for key in model.OPTIMIZERS})
        return model

    return make
