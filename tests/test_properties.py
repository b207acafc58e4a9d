"""Laws that hold for every input, on inputs that nobody has chosen."""

import math
import re

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_genzoo import distributions, losses, metrics, presets
from keras_genzoo.layers import RealNVP
from keras_genzoo.models import FAMILIES

few = settings(max_examples=25)  # each builds a network, or takes milliseconds of TensorFlow

# === A preset is its text ===

positive = st.floats(min_value=0, exclude_min=True, max_value=1e300)
share = st.floats(min_value=0, max_value=1, exclude_max=True)
counts = st.integers(min_value=1, max_value=10**9)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20).filter(
    lambda word: not re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", word)  # see the test of those below
)
values = st.recursive(
    st.booleans() | st.integers(-(10**8), 10**8) | st.floats(-1e8, 1e8) | words,  # no network is larger
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
# What stands in a preset.yaml, as plain data: its sections, the family's own among them.
optimizers = st.fixed_dictionaries(
    {"name": words, "learning_rate": positive, "schedule": st.sampled_from(["constant", "cosine"])},
    optional={"beta_1": share, "weight_decay": positive, "nesterov": st.booleans()},
)
monitors = st.fixed_dictionaries(
    {},
    optional={
        "every": counts,
        "action": st.sampled_from(["warn", "stop", "restore"]),
        "patience": counts,
        "grace": st.integers(0, 100),
        "factor": st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True),
    },
)
trainings = st.fixed_dictionaries(
    {
        "epochs": counts,
        "batch_size": counts,
        "optimizers": st.dictionaries(words, optimizers, min_size=1, max_size=2),
    },
    optional={
        "seed": st.integers(0, 2**32),
        "start_from": words,
        "steps_per_execution": counts,
        "jit_compile": st.booleans(),
    },
)
sections = {
    "gan": st.fixed_dictionaries({}, optional={"monitor": monitors}),
    "face_swap": st.fixed_dictionaries({"other": words}, optional={"unwarped_epochs": st.integers(0, 100)}),
}


def contents(family):
    """Contents of a preset.yaml of a family."""
    own = {family: sections[family]} if family in sections else {}
    return st.fixed_dictionaries(
        {
            "format": st.just(presets.FORMAT),
            "family": st.just(family),
            "description": words,
            "data": st.fixed_dictionaries(
                {"name": words},
                optional={
                    "binarize": st.just("dynamic"),
                    "labels": st.booleans(),
                    "resize": st.sampled_from(["crop", "pad", "stretch"]),
                },
            ),
            "model": st.dictionaries(words, values, max_size=4),
            "training": trainings,
            "evaluation": st.fixed_dictionaries({"metric": words}, optional={"n_samples": st.integers(2, 10**6)}),
            **own,
        }
    )


everything = st.sampled_from(sorted(FAMILIES)).flatmap(contents)


@settings(max_examples=60)
@given(everything)
def test_a_preset_written_and_read_is_the_preset(content):
    preset = presets.parse(yaml.safe_dump(content), origin="content")
    again = presets.parse(presets.dump(preset), origin="dump")
    assert again == preset
    if preset.training.start_from is None:  # else the digest asks for the weights of a preset that is not there
        assert again.digest() == preset.digest()


@pytest.mark.parametrize("word", ["1e-4", "12e3", "-1E5", "+.5"])
def test_text_that_looks_like_a_number_stays_text(word):
    preset = presets.parse((presets.CONFIGS / "vae_mnist" / presets.PRESET_FILE).read_text(), origin="test")
    preset = preset.model_copy(update={"description": word})
    assert presets.parse(presets.dump(preset), origin="dump") == preset


# === Distributions and flows ===

seeds = st.integers(0, 2**32 - 1)
scales = st.floats(min_value=1e-3, max_value=10)


@given(seeds, st.integers(1, 60), scales, scales)
def test_no_gaussian_is_nearer_than_the_standard_normal_itself(seed, latent_dim, far, wide):
    """KL >= 0, of the whole code and of each number of it."""
    rng = np.random.default_rng(seed)
    z_mean, z_log_var = (scale * rng.standard_normal((20, latent_dim)).astype("float32") for scale in (far, wide))
    of_each = distributions.normal_kl_per_latent(z_mean=z_mean, z_log_var=z_log_var).numpy()
    # Of a Gaussian that is nearly N(0, 1), what is left of 1 - 1 is rounding.
    assert of_each.min() >= -1e-6
    kl = distributions.normal_kl(z_mean=z_mean, z_log_var=z_log_var).numpy()
    assert kl.min() >= -1e-6 * latent_dim
    np.testing.assert_allclose(kl, of_each.sum(axis=1), rtol=1e-4, atol=1e-5)


@few
@given(seeds, st.integers(2, 9), st.integers(1, 6), st.sampled_from([0, 3]))
def test_a_flow_there_and_back_is_nothing(seed, size, n_layers, context_size):
    rng = np.random.default_rng(seed)
    flow = RealNVP(size, n_layers=n_layers, units=[8], context_size=context_size)
    flow.set_weights([rng.normal(scale=0.4, size=w.shape) for w in flow.get_weights()])
    x = rng.standard_normal((12, size)).astype("float32")
    context = rng.standard_normal((12, context_size)).astype("float32") if context_size else None
    y, log_det = flow(x, context=context)
    back, minus_log_det = flow(y, context=context, inverse=True)
    # Each layer multiplies by a scale and takes it back: float32 keeps 7 digits of the largest number on the way.
    atol = 1e-5 * n_layers * max(1.0, float(np.abs(y).max()))
    np.testing.assert_allclose(back, x, atol=atol)
    np.testing.assert_allclose(minus_log_det, -log_det.numpy(), atol=atol)


# === Measures of likeness ===

sides = st.integers(11, 20)  # structural similarity looks through a window of 11


@st.composite
def pairs(draw):
    """Two batches of images in [0, 1], and one that is like neither."""
    rng = np.random.default_rng(draw(seeds))
    shape = (3, draw(sides), draw(sides), draw(st.sampled_from([1, 3])))
    return rng.random(shape, "float32"), rng.random(shape, "float32") ** draw(st.floats(0.2, 5))


@given(pairs())
def test_psnr_does_not_ask_which_is_the_original(images):
    a, b = images
    np.testing.assert_allclose(metrics.psnr(a, b), metrics.psnr(b, a), rtol=1e-6)
    assert np.all(np.isinf(metrics.psnr(a, a)))
    error = np.mean((a.astype("float64") - b) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(metrics.psnr(a, b), [-10 * math.log10(of) for of in error], rtol=1e-5)


@few
@given(pairs())
def test_structural_similarity_does_not_ask_either(images):
    a, b = images
    there, back = (losses.structural_similarity(x, reconstruction=y).numpy() for x, y in ((a, b), (b, a)))
    np.testing.assert_allclose(there, back, rtol=1e-4, atol=1e-6)
    assert np.all(there <= 1 + 1e-6)
    np.testing.assert_allclose(losses.structural_similarity(a, reconstruction=a), 1, atol=1e-4)
