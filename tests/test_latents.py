"""Priors and posteriors against numerical integration, and Jacobians taken by automatic differentiation."""

import math

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_genzoo import distributions, losses, parts
from keras_genzoo.layers import RealNVP

SPECS = {
    "standard_normal": None,
    "realnvp": {"name": "realnvp", "n_layers": 3, "units": [8]},
    "vamp": {"name": "vamp", "n_components": 3},
    "hierarchical": {"name": "hierarchical", "top_dim": 1, "units": [8]},
    "hierarchical over realnvp": {
        "name": "hierarchical",
        "top_dim": 2,
        "units": [8],
        "top": {"name": "realnvp", "n_layers": 2, "units": [8]},
    },
    "hierarchical with a flow below": {
        "name": "hierarchical",
        "top_dim": 1,
        "units": [8],
        "flow": {"n_layers": 3, "units": [8]},
    },
}
_DEEPER = ("hierarchical over realnvp", "hierarchical with a flow below")  # a RealNVP takes two numbers or more


def _stirred(layer, scale=0.4, seed=0):
    """The layer with random weights: many begin as the identity, where a wrong sign would not show."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(scale=scale, size=w.shape).astype("float32") for w in layer.get_weights()])
    return layer


def _encode(images):
    """Stands in for an encoder: `(K, 1, 1, 2)` -> Gaussians in two dimensions."""
    flat = ops.reshape(images, (-1, 2))
    return {"z_mean": 6 * flat - 3, "z_log_var": flat - 1.5}


def _prior(name, latent_dim=2):
    return _stirred(
        parts.build(
            "prior", SPECS[name] or "standard_normal", latent_dim=latent_dim, encode=_encode, image_shape=(1, 1, 2)
        ),
        scale=0.5,
    )


def _log_det(function, value):
    """log |det| of d function / d value, per example, by automatic differentiation."""
    value = tf.constant(value, "float32")
    with tf.GradientTape() as tape:
        tape.watch(value)
        result = function(value)
    return np.linalg.slogdet(tape.batch_jacobian(result, value).numpy().astype("float64"))[1]


# === The flow ===


@pytest.mark.parametrize("context_size", [0, 3])
@pytest.mark.parametrize("size", [2, 5])
def test_realnvp_is_inverted_and_knows_its_determinant(size, context_size):
    rng = np.random.default_rng(0)
    flow = _stirred(RealNVP(size, n_layers=4, units=[8, 8], context_size=context_size))
    x = rng.standard_normal((20, size)).astype("float32")
    context = rng.standard_normal((20, context_size)).astype("float32") if context_size else None
    y, log_det = flow(x, context=context)
    assert np.abs(y - x).max() > 0.3
    back, minus_log_det = flow(y, context=context, inverse=True)
    np.testing.assert_allclose(back, x, atol=2e-5)
    np.testing.assert_allclose(minus_log_det, -log_det.numpy(), atol=2e-5)
    np.testing.assert_allclose(log_det, _log_det(lambda v: flow(v, context=context)[0], x), atol=2e-5)
    if context_size:
        assert np.abs(flow(x, context=context + 1)[0] - y).max() > 0.01


def test_realnvp_begins_as_the_identity():
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")
    y, log_det = RealNVP(6, n_layers=5, units=[8])(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(log_det, np.zeros(4))


def test_realnvp_moves_every_number():
    flow = _stirred(RealNVP(7, n_layers=3, units=[8]))
    x = np.random.default_rng(0).standard_normal((50, 7)).astype("float32")
    assert (np.abs(flow(x)[0] - x).max(axis=0) > 0.05).all()


# === Priors ===


@pytest.mark.parametrize("name", [name for name in SPECS if name not in _DEEPER])
def test_a_prior_integrates_to_one_in_the_plane(name):
    side = np.linspace(-25, 25, 1001)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype("float32")
    density = np.exp(_prior(name)(grid).numpy().astype("float64")).reshape(1001, 1001)
    total = np.trapezoid(np.trapezoid(density, side), side)
    assert total == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", SPECS)
def test_draws_of_a_prior_have_its_density(name):
    """By the change of variables for maps of noise; the mixture's first two moments by its log_prob on a grid."""
    latent_dim = 3 if name in _DEEPER else 2
    prior = _prior(name, latent_dim)
    rng = np.random.default_rng(1)
    if name != "vamp":
        noise = rng.standard_normal((30, prior.noise_dim)).astype("float32")
        expected = distributions.normal_log_prob(noise) - _log_det(lambda e: prior(e, from_noise=True), noise)
        np.testing.assert_allclose(prior(prior(noise, from_noise=True)), expected, atol=1e-4)
        return
    assert prior.noise_dim == 3
    z = prior(rng.standard_normal((200_000, 3)).astype("float32"), from_noise=True).numpy().astype("float64")
    side = np.linspace(-14, 14, 561)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    density = np.exp(prior(grid.reshape(-1, 2).astype("float32")).numpy().astype("float64")).reshape(561, 561)
    mean = [np.trapezoid(np.trapezoid(density * grid[..., i], side), side) for i in (0, 1)]
    second = [np.trapezoid(np.trapezoid(density * grid[..., i] ** 2, side), side) for i in (0, 1)]
    error = z.std(axis=0) / math.sqrt(len(z))
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - mean), 5 * error)
    np.testing.assert_array_less(np.abs((z**2).mean(axis=0) - second), 5 * (z**2).std(axis=0) / math.sqrt(len(z)))


def test_vamp_prior_is_the_mixture_of_its_components():
    """Matrix products against the sum as it is written, in float64, far from every component, too."""
    prior = _prior("vamp")
    z_mean, z_log_var = (value.numpy().astype("float64") for value in prior.components())
    z = np.random.default_rng(0).normal(scale=4, size=(50, 2))
    log_probs = -0.5 * (math.log(2 * math.pi) + z_log_var + (z[:, None] - z_mean) ** 2 / np.exp(z_log_var)).sum(axis=2)
    expected = np.log(np.exp(log_probs).mean(axis=1))
    np.testing.assert_allclose(prior(z.astype("float32")), expected, rtol=1e-4, atol=1e-4)


def test_vamp_prior_draws_every_component_equally_often():
    prior = _prior("vamp")
    noise = np.zeros((30_000, 3), "float32")
    noise[:, 2] = np.random.default_rng(0).standard_normal(30_000)  # the spread is 0: what is left is the choice
    means, counts = np.unique(prior(noise, from_noise=True).numpy(), axis=0, return_counts=True)
    np.testing.assert_allclose(means, np.unique(prior.components()[0].numpy(), axis=0), atol=1e-6)
    np.testing.assert_allclose(counts / 30_000, [1 / 3] * 3, atol=0.015)


# === Posteriors ===

POSTERIORS = {
    "diagonal": None,
    "flow": {"name": "flow", "n_layers": 3, "units": [8], "context_dim": 2},
    "hierarchical": {"name": "hierarchical", "top_dim": 2, "units": [8], "context_dim": 2},
}


def _posterior(name, n=20):
    """A posterior over 4 latents, and what an encoder might say of n images."""
    posterior = parts.build("posterior", POSTERIORS[name] or "diagonal", latent_dim=4)
    rng = np.random.default_rng(0)
    encoded = {key: rng.normal(size=(n, size)).astype("float32") for key, size in posterior.heads.items()}
    posterior(encoded, np.zeros((n, 4), "float32"))
    return _stirred(posterior), encoded


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_knows_the_density_of_its_draws(name):
    posterior, encoded = _posterior(name)
    noise = np.random.default_rng(1).standard_normal((20, 4)).astype("float32")
    z, log_q = posterior(encoded, noise)
    assert (z.shape, log_q.shape) == ((20, 4), (20,))
    expected = distributions.normal_log_prob(noise) - _log_det(lambda e: posterior(encoded, e)[0], noise)
    np.testing.assert_allclose(log_q, expected, atol=1e-4)


def test_a_diagonal_posterior_is_the_gaussian_of_its_heads():
    posterior, encoded = _posterior("diagonal")
    noise = np.random.default_rng(1).standard_normal((20, 4)).astype("float32")
    z, log_q = posterior(encoded, noise)
    np.testing.assert_allclose(z, encoded["z_mean"] + np.exp(encoded["z_log_var"] / 2) * noise, rtol=1e-6)
    expected = distributions.normal_log_prob(z, mean=encoded["z_mean"], log_var=encoded["z_log_var"])
    np.testing.assert_allclose(log_q, expected, atol=1e-4)


@pytest.mark.parametrize("name", POSTERIORS)
def test_the_gaussian_that_stands_for_a_posterior_has_the_draw_of_no_noise_for_a_mean(name):
    posterior, encoded = _posterior(name)
    gaussian = posterior.gaussian(encoded)
    assert gaussian["z_mean"].shape == gaussian["z_log_var"].shape == (20, 4)
    np.testing.assert_allclose(gaussian["z_mean"], posterior(encoded, np.zeros((20, 4), "float32"))[0], atol=1e-5)


@pytest.mark.parametrize("name", POSTERIORS)
def test_what_the_encoder_says_matters(name):
    posterior, encoded = _posterior(name)
    noise = np.random.default_rng(1).standard_normal((20, 4)).astype("float32")
    z = posterior(encoded, noise)[0]
    for key in posterior.heads:
        assert np.abs(posterior({**encoded, key: encoded[key] + 1}, noise)[0] - z).max() > 0.01, key


# === The bound of a model with such parts ===


@pytest.mark.parametrize(
    "name",
    [
        "vae with a flow prior and posterior, iwae",
        pytest.param("vae with a vamp prior, learned sigma", marks=pytest.mark.nightly),
        pytest.param("vae of two levels", marks=pytest.mark.nightly),
    ],
)
def test_every_vae_bounds_the_same_log_p_whatever_its_posterior(name, tiny, mnist):
    """log p(x) by many draws of q(z|x), and by many more of the prior, which knows no posterior: they must agree."""
    likelihood = {"name": "gaussian", "sigma": 1.0, **({"bounded": False} if "vamp" in name else {})}
    vae = tiny(name, compiled=False, image_shape=(4, 4, 1), likelihood=likelihood)
    for part in (vae.prior, vae.posterior, vae.decoder, vae.encoder):
        if part.weights:
            _stirred(part, scale=0.2)
    x = tf.constant(mnist[:5, 12:16, 12:16])
    log_weights = vae.log_weights(x, n_samples=100_000, seed=0)
    by_posterior = losses.importance_weighted_bound(log_weights).numpy()
    noise = np.random.default_rng(0).standard_normal((400_000, vae.prior.noise_dim)).astype("float32")
    raw = vae.decoder(vae.prior(noise, from_noise=True))

    def relative_error(logs):
        weights = np.exp(logs - logs.max())
        return weights.std() / weights.mean() / math.sqrt(len(weights))

    for i in range(5):
        log_p_x = vae.likelihood.log_prob(tf.tile(x[i : i + 1], (400_000, 1, 1, 1)), raw=raw).numpy().astype("float64")
        by_prior = np.log(np.exp(log_p_x - log_p_x.max()).mean()) + log_p_x.max()
        errors = relative_error(log_p_x), relative_error(log_weights[:, i].numpy().astype("float64"))
        assert max(errors) < 0.02
        assert by_posterior[i] == pytest.approx(by_prior, abs=5 * math.hypot(*errors))


# === Bad input ===


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"prior": {"name": "flat"}}, "`prior.name` must be one of"),
        ({"posterior": {"name": "flat"}}, "`posterior.name` must be one of"),
        ({"prior": {"name": "vamp", "n_components": 0}}, "`n_components` must be >= 1. Received: 0"),
        ({"prior": {"name": "realnvp", "n_layers": 0}}, "`n_layers` must be in 1..256. Received: 0"),
        ({"prior": {"name": "realnvp"}, "latent_dim": 1}, "takes vectors of 2 to 1,000,000 numbers. Received: 1"),
        ({"prior": {"name": "hierarchical", "top_dim": 4, "units": [8]}}, r"`top_dim` must be in 1..3"),
        ({"posterior": {"name": "hierarchical", "top_dim": 0, "units": [8]}}, r"`top_dim` must be in 1..3"),
        (
            {"prior": {"name": "hierarchical", "top_dim": 2, "units": [8], "top": {"name": "vamp"}}},
            "`prior.top`: the prior 'vamp' does not fit here: it needs encode",
        ),
        ({"prior": {"name": "vamp"}, "n_classes": 10}, "'vamp' prior knows no labels"),
        ({"prior": {"name": "vamp"}, "posterior": {"name": "flow"}}, "'vamp' prior is a mixture of diagonal"),
        (
            {"objective": {"name": "elbo", "free_bits": 0.5}, "prior": {"name": "realnvp"}},
            "`objective` 'elbo' with these options needs",
        ),
        (
            {"objective": {"name": "iwae", "free_bits": 0.5}},
            "unknown key `objective.free_bits`. Did you mean|unknown key",
        ),
        ({"objective": {"name": "elbo", "free_bits": -0.5}}, "`objective.free_bits` must be >= 0. Received: -0.5"),
        ({"objective": {"name": "beta_tc", "n_draws": 2}}, "unknown key `objective.n_draws`"),
        (
            {"objective": "elbow"},
            r"`objective` must be one of beta_tc, elbo, iwae. Received: 'elbow'. Did you mean elbo\?",
        ),
        ({"objective": {"name": "iwae", "n_draws": 0}}, "`objective.n_draws` must be >= 1. Received: 0"),
        ({"n_classes": -1}, "`n_classes` must be >= 0. Received: -1"),
        (
            {"likelihood": {"name": "gaussian", "sigma": "large"}},
            "`sigma` must be > 0 and finite, 'learned' or 'optimal'",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, complaint, tiny):
    with pytest.raises(ValueError, match=complaint):
        tiny("vae", compiled=False, **options)
