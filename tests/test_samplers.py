"""The ex-post mixture: draws where the codes are."""

import numpy as np
import pytest

import keras_genzoo as gz
from keras_genzoo import data, samplers
from keras_genzoo.errors import ZooError

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def images():
    return data.to_unit(data.arrays("mnist", "train")[0][:3000])


@pytest.mark.parametrize("name", ["ae_mnist", "vae_mnist"])
def test_draws_lie_where_the_codes_do(name, images):
    """The codes of drawn images have the mean and the covariance of the codes of real ones, within a third."""
    model = gz.load(name)
    sampler = samplers.fit_mixture(model, images, n_components=3)
    drawn = sampler.sample(2000, seed=0)
    assert drawn.shape == (2000, 28, 28, 1)
    assert drawn.dtype == np.float32
    z = model.codes(images)
    seen = model.codes(drawn)
    spread = z.std(axis=0)
    used = spread > 0.3 * spread.max()
    assert np.abs(seen.mean(axis=0) - z.mean(axis=0))[used].max() < 0.4 * spread.max()
    assert 0.5 < (seen.std(axis=0) / spread)[used].mean() < 1.5


def test_the_seed_decides_and_components_are_mixed(images, tiny):
    """Codes in two clouds far apart, so that every draw tells which component it is of."""
    model, seen = tiny("autoencoder", compiled=False), []
    clouds = np.random.default_rng(0).normal(size=(300, 4)) + np.repeat([[10], [-10]], 150, axis=0)
    model.codes = lambda _: clouds.astype("float32")
    sampler = samplers.fit_mixture(model, images[:300], n_components=2)
    np.testing.assert_array_equal(sampler.sample(5, seed=1), sampler.sample(5, seed=1))
    assert np.any(sampler.sample(5, seed=1) != sampler.sample(5, seed=2))
    decode = model.decode
    model.decode = lambda z: seen.append(z) or decode(z)
    sampler.sample(200, seed=0)
    component = seen[0].mean(axis=1) > 0
    assert 0.3 < component.mean() < 0.7
    assert np.sum(component[1:] != component[:-1]) > 50  # one component after the other would change once


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("conditional vae", {}, "needs a model with codes that no label changes"),
        ("gan", {}, "needs a model with codes"),
        ("vae", {"n_components": 40}, "`n_components` must be <= the number of images, 30. Received: 40"),
    ],
)
def test_bad_input(name, arguments, complaint, tiny, images):
    with pytest.raises(ZooError, match=complaint):
        samplers.fit_mixture(tiny(name, compiled=False), images[:30], **arguments)


def test_n_must_be_a_count(tiny, images):
    sampler = samplers.fit_mixture(tiny("vae", compiled=False), images[:30], n_components=2)
    with pytest.raises(ZooError, match=r"`n` must be an integer >= 1. Received: 0"):
        sampler.sample(0)
