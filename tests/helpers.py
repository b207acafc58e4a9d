"""What several test files share: tiny models that are traced once, presets, a VAE whose likelihood is known.

Nothing here imports Keras before it is needed: tests of text and tables need none.
"""

import contextlib
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
# Where other data than MNIST and the made ones lie; None where this machine has none.
DATA_DIR = os.environ.get("KERAS_GENZOO_DATA") or (SHARED if SHARED.is_dir() else None)

# === Tiny models ===

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
            "objective": {"name": "iwae", "n_draws": 3},
        },
    ),
    "vae with a vamp prior, learned sigma": (
        "vae",
        {"prior": {"name": "vamp", "n_components": 3}, "likelihood": {"name": "gaussian", "sigma": "learned"}},
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
            "augment": ["brightness", "contrast", "saturation", "translation", "cutout", "flip"],
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
    "gan told its clusters": (
        "gan",
        {"n_clusters": 3, "conditioning": "projection", "game": "relativistic", "discriminator": _UNNORMED},
    ),
    "conditional vae": ("vae", {"n_classes": 10, "likelihood": "discretized_logistic"}),
}

# A face swap's preset.yaml, to be given the side of its images and its headline.
TINY_SWAP = """\
family: face_swap
description: tiny
data: {{name: rendered_faces_a}}
model:
  image_shape: [{side}, {side}, 3]
  latent_dim: 4
  encoder: {{name: face_encoder, filters: [4, 4], channels: 4}}
  decoder: {{name: face_decoder, filters: [4]}}
training:
  epochs: 2
  batch_size: 16
  optimizers:
    optimizer: {{name: adam, learning_rate: 1e-3}}
evaluation: {{metric: {metric}}}
face_swap: {{other: rendered_faces_b, unwarped_epochs: 1}}
"""


def family_of(name):
    """The family of a name in TINY or VARIANTS."""
    return VARIANTS[name][0] if name in VARIANTS else name


def build_tiny(name, *, compiled=True, run_eagerly=False, learning_rate=1e-3, **options):
    """A tiny model of a family, or of a name in VARIANTS; keyword arguments go to the constructor."""
    import keras

    from keras_genzoo import models

    family = family_of(name)
    parts = VARIANTS[name][1] if name in VARIANTS else {}
    model = models.get(family)(**{**TINY[family], "seed": 1, **parts, **options})
    if "n_clusters" in parts:  # which it must know before it trains
        model.adapt(np.random.default_rng(0).random((32, *model.image_shape), "float32"))
    if compiled:
        optimizers = {key: keras.optimizers.Adam(learning_rate) for key in model.OPTIMIZERS}
        model.compile(**optimizers, run_eagerly=run_eagerly)
    return model


def variables_of(model):
    """Every variable that training changes: weights, counters, random state, optimizers, running means."""
    found = [*model.variables, *(variable for metric in model.metrics for variable in metric.variables)]
    for key in model.OPTIMIZERS:
        found += getattr(getattr(model, key, None), "variables", ())
    return list({id(variable): variable for variable in found}.values())


class TinyModels:
    """Tiny models that are built, compiled and traced once, and lent to one test after the other as new.

    What a test leaves in a model is put back: every variable, from weights to learning rates. A test that changes more
    than variables (another compile, an attribute) cannot spoil the next one's model: such a model is not lent again.
    """

    # What Keras itself notes on a model as it runs; the functions are what is worth keeping.
    OF_KERAS = frozenset(
        {
            *("train_function", "test_function", "predict_function", "history", "_eval_epoch_iterator", "_called"),
            *("stop_training", "stop_evaluating", "stop_predicting"),
        }
    )

    def __init__(self):
        self._kept = {}

    @contextlib.contextmanager
    def lent(self):
        """Context: the lender of one test."""
        lender = Lender(self._kept)
        try:
            yield lender
        finally:
            for key in lender.out:
                if not self._kept[key].is_as_it_was():
                    del self._kept[key]


class Lender:
    """As `build_tiny`, of kept models; with `fresh` it builds one of the test's own."""

    def __init__(self, kept):
        self._kept, self.out = kept, {}

    def __call__(self, name, *, fresh=False, **options):
        if fresh:
            return build_tiny(name, **options)
        kind = name, json.dumps(options, sort_keys=True)
        key = *kind, sum(taken[:2] == kind for taken in self.out)  # two models of a kind in one test are two
        if key not in self._kept:
            self._kept[key] = _Kept(name, options, place=key[2])
        self.out[key] = self._kept[key]
        self.out[key].put_back()
        return self.out[key].model

    def as_new(self, model):
        """Puts back what the test itself has changed since it was lent the model."""
        next(kept for kept in self.out.values() if kept.model is model).put_back()


class _Kept:
    def __init__(self, name, options, place):
        state = random.getstate()
        random.seed(place)  # Keras' initializers draw from it: the same start, whichever test comes first
        self.model = build_tiny(name, **options)
        random.setstate(state)
        self.values = [(variable, variable.numpy()) for variable in variables_of(self.model)]
        self.attributes = self._attributes()

    def _attributes(self):
        return {key: value for key, value in vars(self.model).items() if key not in TinyModels.OF_KERAS}

    def put_back(self):
        for variable, value in self.values:
            variable.assign(value)
        self.model.stop_training = False

    def is_as_it_was(self):
        now = self._attributes()
        return now.keys() == self.attributes.keys() and all(now[key] is value for key, value in self.attributes.items())


# === Presets ===

PRESET = """
family: vae
description: A tiny VAE for the tests.
data: {name: mnist, binarize: dynamic}
model:
  latent_dim: 4
  encoder: {name: mlp_encoder, units: [16]}
  decoder: {name: mlp_decoder, units: [16]}
training:
  epochs: 3
  batch_size: 2000
  optimizers:
    optimizer: {name: adam, learning_rate: 1e-3, schedule: cosine}
evaluation: {metric: nll, n_importance_samples: 3, n_samples: 100}
"""

GAN = """
family: gan
description: A tiny GAN for the tests.
data: {name: mnist}
model:
  latent_dim: 4
  generator: {name: dcgan_generator, filters: [4, 4], kernel_size: 4}
  discriminator: {name: dcgan_discriminator, filters: [4, 4], kernel_size: 4, dropout: 0.2}
training:
  epochs: 3
  batch_size: 100
  optimizers:
    g_optimizer: {name: adam, learning_rate: 1e-3, schedule: cosine, beta_1: 0.5}
    d_optimizer: {name: adam, learning_rate: 1e-3, beta_1: 0.5}
evaluation: {metric: frechet_distance, n_samples: 100}
"""

WATCHED_GAN = GAN + "gan: {monitor: {every: 2, action: restore}}\n"


# It collapses at every look, so that each restores what the last look without trouble has left: the start.
RESTORED_GAN = """
family: gan
description: A GAN of points that is restored again and again.
data: {name: ring2d}
model:
  image_shape: [1, 1, 2]
  latent_dim: 2
  generator: {name: mlp_generator, units: [16]}
  discriminator: {name: mlp_discriminator, units: [16]}
training:
  epochs: 4
  batch_size: 50
  optimizers:
    g_optimizer: {name: adam, learning_rate: 1e-2}
    d_optimizer: {name: adam, learning_rate: 1e-3}
evaluation: {metric: modes, n_samples: 100}
gan: {monitor: {every: 4, action: restore, grace: 1, patience: 2, max_restores: 100, factor: 0.9}}
"""


def preset_of(text, folder):
    """The text of a preset.yaml in a folder of its own, as a Preset."""
    from keras_genzoo import presets

    folder.mkdir(parents=True)
    (folder / "preset.yaml").write_text(text)
    return presets.find(folder)


_WEIGHTED = ("objective", "beta", "warmup_steps", "regularizer", "corruption")  # they shape no network


def each_graph(names):
    """Presets as parameters of a test of what their graphs do: nightly where an earlier one has the same networks."""
    from keras_genzoo import presets

    seen, parameters = [], []
    for name in names:
        preset = presets.find(name)
        graph = preset.family, {key: value for key, value in preset.model.items() if key not in _WEIGHTED}
        parameters.append(pytest.param(name, marks=[pytest.mark.nightly] if graph in seen else []))
        seen.append(graph)
    return parameters


# === Other processes ===


def run_python(code, *arguments, **options):
    """What a fresh interpreter prints, which runs `code`; the test fails with its last words where it fails."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# === The linear-Gaussian VAE, whose p(x) = N(b, W W^T + sigma^2 I) is known ===

SIGMA = 0.7
W_CORRELATED = np.array([[0.9, 0.4], [-0.3, 0.2], [0.5, 0.7], [0.2, -0.6], [0.0, 0.8]])
W_ORTHOGONAL = np.array([[0.9, 0.2], [-0.3, 0.6], [0.5, 0.0], [0.0, 0.0], [0.0, -1.1]])  # columns, with any lengths
OFFSET = np.array([0.5, -0.2, 0.1, 0.0, 0.3])
X = np.random.default_rng(11).normal(0.2, 0.9, (6, 1, 1, 5)).astype("float32")


def linear_vae(weight, *, mean_shift=0.0, variance_factor=1.0):
    """A VAE with decoder z -> W z + b and the best diagonal q(z|x), moved away by the last two arguments."""
    from keras_genzoo.models.vae import VAE

    vae = VAE(
        image_shape=(1, 1, 5), latent_dim=2, encoder={"name": "mlp_encoder", "units": []},
        decoder={"name": "mlp_decoder", "units": []}, seed=0,
        likelihood={"name": "gaussian", "sigma": SIGMA, "bounded": False},
    )  # fmt: skip
    precision = np.eye(2) + weight.T @ weight / SIGMA**2  # of p(z|x), the same for every x
    gain = np.linalg.solve(precision, weight.T) / SIGMA**2  # E[z|x] = gain (x - b)
    vae.decoder.get_layer("pixels").set_weights([weight.T, OFFSET])
    vae.encoder.get_layer("z_mean").set_weights([gain.T, mean_shift - gain @ OFFSET])
    log_var = np.log(variance_factor / np.diag(precision))
    vae.encoder.get_layer("z_log_var").set_weights([np.zeros((5, 2)), log_var])
    return vae, precision


def log_p(weight):
    """log p(x) of X in float64."""
    covariance = weight @ weight.T + SIGMA**2 * np.eye(5)
    centred = X.reshape(-1, 5).astype("float64") - OFFSET
    distance = (centred * np.linalg.solve(covariance, centred.T).T).sum(axis=1)
    return -0.5 * (5 * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + distance)


def posterior_gap(precision, *, mean_shift, variance_factor):
    """KL(q(z|x) || p(z|x)) = log p(x) - ELBO, in closed form."""
    variance = variance_factor / np.diag(precision)
    shift = np.full(2, mean_shift)
    trace, quadratic = (np.diag(precision) * variance).sum(), shift @ precision @ shift
    return 0.5 * (trace + quadratic - 2 - np.log(variance).sum() - np.linalg.slogdet(precision)[1])
