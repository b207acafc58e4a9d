"""distributions.py against closed forms and numerical integrals; a VAE whose likelihood is known exactly."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from helpers import W_CORRELATED, W_ORTHOGONAL, X, linear_vae, log_p, posterior_gap

from keras_genzoo import distributions, losses

RTOL = 2e-6  # float32 sums of a few dozen terms
LOG_2PI = math.log(2 * math.pi)


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# === Normal ===


def test_normal_log_prob_against_closed_form():
    x, mean, log_var = _normal(5, 3, 4), _normal(5, 3, 4, seed=1), _normal(5, 3, 4, seed=2)
    terms = LOG_2PI + log_var.astype("float64") + (x.astype("float64") - mean) ** 2 / np.exp(log_var.astype("float64"))
    value = distributions.normal_log_prob(x, mean=mean, log_var=log_var)
    assert (value.shape, value.dtype) == ((5,), "float32")
    np.testing.assert_allclose(value, -0.5 * terms.sum(axis=(1, 2)), rtol=RTOL)


def test_normal_log_prob_known_values():
    x = np.array([[0.0, 0.0], [1.0, 2.0]], "float32")
    # N(0, I) by default: -log 2 pi at 0, and |x|^2 / 2 = 5/2 less at (1, 2).
    np.testing.assert_allclose(distributions.normal_log_prob(x), [-LOG_2PI, -LOG_2PI - 2.5], rtol=2e-7)
    # A scalar mean and log-variance hold for every pixel: N(1, 4 I) at (1, 2).
    np.testing.assert_allclose(
        distributions.normal_log_prob(x, mean=1.0, log_var=math.log(4.0))[1], -LOG_2PI - math.log(4) - 0.125, rtol=2e-7
    )


def test_normal_log_prob_of_half_precision_is_computed_in_float32():
    x = np.full((1, 1000), 16.0, "float16")  # the sum of squares, 256,000, is beyond float16
    value = distributions.normal_log_prob(x, mean=np.zeros_like(x), log_var=np.zeros_like(x))
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, [-500 * (LOG_2PI + 256)], rtol=RTOL)


@pytest.mark.parametrize(
    ("z_mean", "log_var", "expected"),
    [
        ([0.0] * 10, 0.0, 0.0),
        ([3.0], 0.0, 4.5),  # |m|^2 / 2
        ([0.0], math.log(10), ((10 - 1) - math.log(10)) / 2),
        ([0.0] * 10, math.log(100), 10 * ((100 - 1) - math.log(100)) / 2),  # a sum over latents, not their mean
        ([1.0, -2.0], math.log(0.25), (1 + 4 + 2 * (0.25 - 1 + math.log(4))) / 2),
    ],
)
def test_normal_kl_of_known_gaussians(z_mean, log_var, expected):
    z_mean = np.array([z_mean, z_mean], "float32")
    z_log_var = np.full_like(z_mean, log_var)
    value = distributions.normal_kl(z_mean=z_mean, z_log_var=z_log_var)
    assert (value.shape, value.dtype) == ((2,), "float32")
    np.testing.assert_allclose(value, [expected] * 2, rtol=3e-7)
    per_latent = distributions.normal_kl_per_latent(z_mean=z_mean, z_log_var=z_log_var)
    assert per_latent.shape == z_mean.shape
    np.testing.assert_allclose(np.sum(per_latent, axis=1), [expected] * 2, rtol=5e-7)


@pytest.mark.parametrize(("mean", "log_var"), [(0.7, -1.3), (-2.0, 0.8), (0.0, -4.0)])
def test_normal_kl_against_numerical_integration(mean, log_var):
    """E_q[log q(z) - log p(z)] in one dimension; the trapezoid rule is exact to 1e-12 on a Gaussian."""
    sigma = math.exp(log_var / 2)
    z = np.linspace(mean - 12 * sigma, mean + 12 * sigma, 20_001)
    log_q = -0.5 * (LOG_2PI + log_var + ((z - mean) / sigma) ** 2)
    log_p = -0.5 * (LOG_2PI + z**2)
    integral = np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
    value = distributions.normal_kl(z_mean=np.float32([[mean]]), z_log_var=np.float32([[log_var]]))
    np.testing.assert_allclose(value, [integral], rtol=1e-6)


def test_normal_kl_against_monte_carlo():
    """The package's own sample, log_prob and kl agree with each other: an error in one of the three shows here."""
    n, dim = 200_000, 3
    z_mean, z_log_var = (np.tile(_normal(1, dim, seed=s), (n, 1)) for s in (1, 2))
    z = distributions.normal_sample(z_mean=z_mean, z_log_var=z_log_var, seed=0)
    draws = distributions.normal_log_prob(z, mean=z_mean, log_var=z_log_var) - distributions.normal_log_prob(z)
    standard_error = float(np.std(draws)) / math.sqrt(n)
    assert standard_error < 0.01
    kl = float(distributions.normal_kl(z_mean=z_mean[:1], z_log_var=z_log_var[:1])[0])
    assert np.mean(draws, dtype="float64") == pytest.approx(kl, abs=4 * standard_error)


def test_normal_kl_is_zero_at_the_standard_normal_only():
    zeros = np.zeros((1, 40), "float32")
    np.testing.assert_array_equal(distributions.normal_kl(z_mean=zeros, z_log_var=zeros), [0.0])
    # One latent of 40 a little off: KL is m^2 / 2 = 5e-5, or about v^2 / 4 = 2.5e-5 for either sign of v.
    off = np.zeros((4, 40), "float32")
    off[range(4), 7] = [0.01, -0.01, 0.01, -0.01]
    still = np.zeros((2, 40), "float32")
    kl = distributions.normal_kl(z_mean=np.concatenate([off[:2], still]), z_log_var=np.concatenate([still, off[2:]]))
    np.testing.assert_allclose(kl, [5e-5, 5e-5, 2.5e-5, 2.5e-5], rtol=0.02)


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e-2, 1.0, 10.0])
def test_normal_kl_is_never_negative(scale):
    z_log_var = scale * _normal(2000, 1)
    assert np.min(distributions.normal_kl(z_mean=np.zeros_like(z_log_var), z_log_var=z_log_var)) >= 0


def test_normal_sample_moments():
    n = 100_000
    z_mean, z_log_var = np.float32([1.5, -2.0]), np.float32([math.log(4.0), math.log(0.09)])
    z = distributions.normal_sample(
        z_mean=np.tile(z_mean, (n, 1)), z_log_var=np.tile(z_log_var, (n, 1)), seed=0
    ).numpy()
    sigma = np.array([2.0, 0.3])
    assert (z.shape, z.dtype) == ((n, 2), "float32")
    # Standard errors: of a mean sigma / sqrt n, of a deviation sigma / sqrt 2n, of a correlation 1 / sqrt n.
    np.testing.assert_allclose(z.mean(axis=0, dtype="float64"), z_mean, atol=4 * sigma.max() / math.sqrt(n))
    np.testing.assert_allclose(z.std(axis=0, dtype="float64") / sigma, [1, 1], atol=4 / math.sqrt(2 * n))
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / math.sqrt(n)
    assert abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < 4 / math.sqrt(n)  # rows draw their own noise
    standard = (z[:, 0] - 1.5) / 2
    assert (standard**4).mean(dtype="float64") == pytest.approx(3, abs=4 * math.sqrt(96 / n))  # Gaussian, not uniform


def test_normal_sample_repeats_for_an_int_and_moves_on_for_a_generator():
    import keras

    arguments = {"z_mean": np.zeros((3, 2), "float32"), "z_log_var": np.zeros((3, 2), "float32")}
    draw = distributions.normal_sample
    np.testing.assert_array_equal(draw(**arguments, seed=5), draw(**arguments, seed=5))
    assert (draw(**arguments, seed=5).numpy() != draw(**arguments, seed=6).numpy()).all()
    generator = keras.random.SeedGenerator(5)
    assert (draw(**arguments, seed=generator).numpy() != draw(**arguments, seed=generator).numpy()).all()


def test_normal_sample_is_reparameterised():
    """dz/dmean = 1 and dz/dlog_var = (z - mean) / 2: a draw that cuts the gradient trains no encoder."""
    z_mean, z_log_var = tf.constant(_normal(4, 3)), tf.constant(_normal(4, 3, seed=1))
    with tf.GradientTape() as tape:
        tape.watch([z_mean, z_log_var])
        z = distributions.normal_sample(z_mean=z_mean, z_log_var=z_log_var, seed=0)
    by_mean, by_log_var = tape.gradient(z, [z_mean, z_log_var])
    np.testing.assert_array_equal(by_mean, np.ones((4, 3)))
    np.testing.assert_allclose(by_log_var, (z - z_mean) / 2, atol=1e-6)


# === Likelihoods ===


def test_bernoulli_sums_to_one():
    raw = np.float32([-3.0, 0.4, 1.7])
    images = np.array(list(itertools.product([0, 1], repeat=3)), "float32")
    log_prob = distributions.Bernoulli().log_prob(images, raw=np.tile(raw, (8, 1)))
    assert (log_prob.shape, log_prob.dtype) == ((8,), "float32")
    assert np.exp(log_prob).sum(dtype="float64") == pytest.approx(1, abs=1e-6)
    p = 1 / (1 + np.exp(-raw.astype("float64")))
    np.testing.assert_allclose(np.exp(log_prob), np.where(images == 1, p, 1 - p).prod(axis=1), rtol=RTOL)


def test_bernoulli_mean_and_logits():
    mean = distributions.Bernoulli().mean(np.array([[-100.0, 0.0, 2.0, 100.0]], "float16"))
    assert mean.dtype == "float32"
    np.testing.assert_allclose(mean, [[0.0, 0.5, 1 / (1 + math.exp(-2)), 1.0]], atol=1e-7)
    told = distributions.Bernoulli()(np.array([[-100.0, 2.0]], "float32"))
    assert set(told) == {"images", "logits"}
    np.testing.assert_array_equal(told["logits"], [[-100.0, 2.0]])  # where the mean is 0 to the last bit


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("sigma", [0.05, 0.7])
def test_gaussian_integrates_to_one(sigma, bounded):
    likelihood = distributions.Gaussian(sigma=sigma, bounded=bounded)
    raw = 0.3
    mean = 1 / (1 + math.exp(-raw)) if bounded else raw
    x = np.linspace(mean - 12 * sigma, mean + 12 * sigma, 4001)
    density = np.exp(likelihood.log_prob(x[:, None].astype("float32"), raw=np.full((4001, 1), raw, "float32")))
    density = density.astype("float64")
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-5)
    assert np.trapezoid(density * x, x) == pytest.approx(mean, abs=1e-5)
    assert np.trapezoid(density * (x - mean) ** 2, x) == pytest.approx(sigma**2, rel=1e-4)


def test_gaussian_sums_over_pixels():
    likelihood = distributions.Gaussian(sigma=0.5, bounded=False)
    x = np.zeros((1, 2, 2, 1), "float32")
    # 4 pixels, each log N(0; 1, 1/4) = -log(2 pi)/2 + log 2 - 2.
    np.testing.assert_allclose(
        likelihood.log_prob(x, raw=np.ones_like(x)), [4 * (-LOG_2PI / 2 + math.log(2) - 2)], rtol=RTOL
    )


def test_gaussian_mean_and_scale():
    raw = np.array([[-100.0, 0.0, 100.0]], "float16")
    bounded, free = distributions.Gaussian(sigma=1), distributions.Gaussian(sigma=0.1, bounded=False)
    np.testing.assert_allclose(bounded.mean(raw), [[0.0, 0.5, 1.0]], atol=1e-7)  # bounded unless told otherwise
    np.testing.assert_array_equal(free.mean(raw), raw.astype("float32"))
    assert bounded.mean(raw).dtype == free.mean(raw).dtype == "float32"
    np.testing.assert_allclose(bounded(raw)["scale"], np.full((1, 3), 1.0), rtol=1e-6)
    np.testing.assert_allclose(free(raw)["scale"], np.full((1, 3), 0.1), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0, -0.25, float("nan"), float("inf"), "wide", True])
def test_gaussian_refuses_sigma(sigma):
    with pytest.raises(ValueError, match=rf"`sigma` must be > 0 and finite, .*Received: {sigma!r}"):
        distributions.Gaussian(sigma=sigma)


@pytest.mark.parametrize("logit", [-30.0, -3.0, -1.2, -0.2, -0.05, 0.0, 1e-4, 0.0999, 0.1001, 0.7, 2.0, 60.0])
def test_continuous_bernoulli_is_a_density_with_the_mean_it_tells(logit):
    x = np.linspace(0, 1, 40_001)
    likelihood = distributions.ContinuousBernoulli()
    raw = np.full((40_001, 1), logit, "float32")
    log_density = likelihood.log_prob(x[:, None].astype("float32"), raw=raw).numpy()
    density = np.exp(log_density.astype("float64"))
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-5)
    assert float(likelihood.mean(raw)[0, 0]) == pytest.approx(np.trapezoid(density * x, x), abs=1e-5)


def test_continuous_bernoulli_branches_meet_and_have_finite_gradients():
    logits = tf.constant(np.concatenate([np.linspace(-0.11, 0.11, 2001), [-100.0, 100.0]]).astype("float32"))
    x = logits.numpy().astype("float64")
    with np.errstate(invalid="ignore"):
        exact = np.where(np.abs(x) < 1e-7, math.log(2), np.log(x / np.tanh(x / 2)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        values = distributions.continuous_bernoulli_log_normalizer(logits)
    np.testing.assert_allclose(values, exact, rtol=3e-7)
    gradient = tape.gradient(values, logits)
    slope = np.where(np.abs(x) < 1e-7, 0, 1 / x - 1 / np.sinh(x))
    np.testing.assert_allclose(gradient, slope, atol=2e-5)


@pytest.mark.parametrize(("location", "scale"), [(0.5, 0.1), (0.0, 0.01), (1.0, 1.0), (0.321, 4.1e-4), (0.9, 0.03)])
def test_discretized_logistic_levels_sum_to_one(location, scale):
    levels = (np.arange(256) / 255).astype("float32")[:, None]
    arguments = {"location": np.full_like(levels, location), "log_scale": np.full_like(levels, math.log(scale))}
    log_prob = distributions.discretized_logistic_log_prob(levels, **arguments).numpy().astype("float64")
    assert np.isfinite(log_prob).all()
    # A scale below a level's width: (x - m) / s is rounded to 6e-8 x 2,500.
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-3 if scale < 1e-3 else 1e-5)
    mean = float(distributions.discretized_logistic_mean(**arguments)[0, 0])
    assert mean == pytest.approx((np.exp(log_prob) * levels[:, 0]).sum(), abs=0.5 / 255)


def test_discretized_logistic_against_its_definition():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 3, 3, 1)) / 255
    location, log_scale = rng.random(x.shape), rng.uniform(-4, 0, x.shape)

    def cdf(value):
        return 1 / (1 + np.exp(-(value - location) / np.exp(log_scale)))

    above, below = np.where(x == 1, 1, cdf(x + 0.5 / 255)), np.where(x == 0, 0, cdf(x - 0.5 / 255))
    value = distributions.discretized_logistic_log_prob(x, location=location, log_scale=log_scale)
    np.testing.assert_allclose(value, np.log(above - below).sum(axis=(1, 2, 3)), rtol=1e-4)


def test_discretized_logistic_splits_the_decoders_channels():
    likelihood = distributions.DiscretizedLogistic()
    raw = np.random.default_rng(0).normal(scale=3, size=(2, 4, 4, 6)).astype("float32")
    told = likelihood(raw)
    assert {key: value.shape for key, value in told.items()} == dict.fromkeys(
        ("images", "location", "scale"), (2, 4, 4, 3)
    )
    levels = np.round(255 * np.random.default_rng(1).random((2, 4, 4, 3))) / 255
    np.testing.assert_allclose(  # what is told is enough to compute the likelihood again
        likelihood.log_prob(levels, raw=raw),
        distributions.discretized_logistic_log_prob(levels, location=told["location"], log_scale=np.log(told["scale"])),
        rtol=1e-4,
    )


def test_learned_sigma_comes_to_the_root_mean_square():
    """The likelihood is best where sigma^2 is the mean squared error: the gradient is 0 there, and points there."""
    likelihood = distributions.Gaussian(sigma="learned", bounded=False)
    assert [v.shape for v in likelihood.trainable_variables] == [()]
    x = 0.3 * _normal(50, 6, 6, 1)
    best = math.log(float((x.astype("float64") ** 2).mean()))
    for log_var, sign in ((best, 0), (best + 1, -1), (best - 1, 1)):
        likelihood.log_var.assign(log_var)
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(likelihood.log_prob(x, raw=np.zeros_like(x)))
        slope = float(tape.gradient(value, likelihood.log_var.value))
        assert (abs(slope) < 1e-3) if sign == 0 else (slope * sign > 1)


def test_optimal_sigma_is_each_batchs_and_is_remembered():
    likelihood = distributions.Gaussian(sigma="optimal", bounded=False)
    assert likelihood.trainable_variables == []
    x = 0.3 * _normal(50, 6, 6, 1)
    variance = float((x.astype("float64") ** 2).mean())
    in_training = likelihood.log_prob(x, raw=np.zeros_like(x), training=True)
    best = distributions.normal_log_prob(x, mean=0.0, log_var=math.log(variance))
    np.testing.assert_allclose(in_training, best, rtol=1e-5)
    for _ in range(1000):
        likelihood.log_prob(x, raw=np.zeros_like(x), training=True)
    np.testing.assert_allclose(likelihood.log_prob(x, raw=np.zeros_like(x)), best, atol=2e-3)
    np.testing.assert_allclose(likelihood(np.zeros_like(x))["scale"], np.full(x.shape, math.sqrt(variance)), rtol=1e-3)
    perfect = likelihood.log_prob(np.zeros_like(x), raw=np.zeros_like(x), training=True)
    assert np.isfinite(perfect).all()


# === The linear-Gaussian VAE, whose p(x) = N(b, W W^T + sigma^2 I) is known ===

# "diagonal": exact but for the diagonal covariance. "wrong": the mean is off and the variance twice too large.
POSTERIORS = {
    "diagonal": {"mean_shift": 0.0, "variance_factor": 1.0},
    "wrong": {"mean_shift": 0.3, "variance_factor": 2.0},
}


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_bounds_oflinear_vae(posterior):
    """ELBO = log p - KL(q || p(z|x)) < IW-10 < IW-1000 < log p, and IW-5000 is log p but for its standard error."""
    vae, precision = linear_vae(W_CORRELATED, **POSTERIORS[posterior])
    truth, gap = log_p(W_CORRELATED), posterior_gap(precision, **POSTERIORS[posterior])
    n = 50_000
    log_weights = vae.log_weights(X, n_samples=n, seed=3).numpy()
    assert (log_weights.shape, log_weights.dtype) == ((n, 6), "float32")

    def bound(k):
        """Mean and standard error of the k-sample bound over n / k groups of draws."""
        groups = log_weights.reshape(k, n // k * 6)
        values = losses.importance_weighted_bound(groups).numpy().reshape(n // k, 6).astype("float64")
        return values.mean(axis=0), values.std(axis=0) / math.sqrt(n // k)

    elbo, elbo_error = bound(1)
    iw_10, iw_10_error = bound(10)
    iw_1000, iw_1000_error = bound(1000)
    assert gap > 0.02  # the case is a case
    assert elbo_error.max() < 0.01
    np.testing.assert_array_less(np.abs(elbo - (truth - gap)), 4 * elbo_error)
    # Over groups of the same draws Jensen's inequality holds exactly; 1e-5 is float32's rounding.
    assert (elbo + 1e-5 < iw_10).all()
    assert (iw_10 + 1e-5 < iw_1000).all()
    assert (iw_10 <= truth + 4 * iw_10_error).all()
    assert (iw_1000 <= truth + 4 * iw_1000_error).all()

    # A fresh draw of 5000; by the delta method its standard error is the weights' relative one.
    log_weights = vae.log_weights(X, n_samples=5000, seed=4).numpy().astype("float64")
    weights = np.exp(log_weights - log_weights.max(axis=0))
    error = weights.std(axis=0) / weights.mean(axis=0) / math.sqrt(5000)
    assert error.max() < 0.02
    estimate = losses.importance_weighted_bound(log_weights).numpy()
    np.testing.assert_array_less(np.abs(estimate - truth), 4 * error)


def test_exact_posterior_makes_every_weight_log_p():
    """p(x, z) / q(z|x) = p(x) whatever z: any slip in likelihood, prior, posterior or axis order shows at once."""
    vae, precision = linear_vae(W_ORTHOGONAL)
    assert abs(W_ORTHOGONAL[:, 0] @ W_ORTHOGONAL[:, 1]) == pytest.approx(0, abs=1e-12)
    assert posterior_gap(precision, mean_shift=0.0, variance_factor=1.0) == pytest.approx(0, abs=1e-12)
    log_weights = vae.log_weights(X, n_samples=200, seed=0).numpy()
    # Three float32 sums of up to about 10 nats, whose spacing there is 1e-6.
    np.testing.assert_allclose(log_weights, np.tile(log_p(W_ORTHOGONAL), (200, 1)), rtol=0, atol=1e-5)


def test_exact_posterior_makes_the_loss_minus_log_p_on_average():
    """The loss that `test_step` reports has the KL in closed form: its mean is -log p(x), its draws still vary."""
    vae, _ = linear_vae(W_ORTHOGONAL)
    vae.compile("adam")
    n = 20_000
    images = np.repeat(X[:1], n, axis=0)
    logs = {key: float(value) for key, value in vae.test_step(images).items()}  # X is not in [0, 1]: no door takes it
    # -log p(x|z) varies with z by about 1 nat (two latents); 0.04 is more than 5 standard errors.
    assert logs["loss"] == pytest.approx(-log_p(W_ORTHOGONAL)[0], abs=0.04)
    assert logs["loss"] == pytest.approx(logs["reconstruction_loss"] + logs["kl_loss"], rel=1e-6)


def test_log_weights_repeat_for_an_int_seed():
    vae, _ = linear_vae(W_CORRELATED)
    first = vae.log_weights(X, n_samples=4, seed=1).numpy()
    np.testing.assert_array_equal(first, vae.log_weights(X, n_samples=4, seed=1))
    assert (first != vae.log_weights(X, n_samples=4, seed=2).numpy()).all()
    assert (first[0] != first[1]).all()  # every sample has its own draw
