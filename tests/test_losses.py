"""losses.py against closed forms, computed in NumPy's float64, and against what the papers say of them."""

import inspect
import math

import numpy as np
import pytest
import tensorflow as tf

from keras_genzoo import losses
from keras_genzoo.models.gan.games import GAMES

# A sum of n float32 terms, each rounded to 6e-8 of itself: these tests sum 784 at most, in pairs or blocks.
RTOL = 2e-6


def _rng(seed=0):
    return np.random.default_rng(seed)


def _images(seed=0, batch=6, shape=(7, 5, 2)):
    return _rng(seed).random((batch, *shape)).astype("float32")


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def _gradient(function, value):
    """d sum(function(value)) / d value."""
    value = tf.constant(value, "float32")
    with tf.GradientTape() as tape:
        tape.watch(value)
        total = tf.reduce_sum(function(value))
    return tf.convert_to_tensor(tape.gradient(total, value)).numpy()


# Every loss as (function, arguments): what holds for all of them is tested over this table.
LOSSES = {
    "squared_error": lambda s: (losses.squared_error, {"x": _images(s), "reconstruction": _images(s + 1)}),
    "mean_absolute_error": lambda s: (
        losses.mean_absolute_error,
        {"x": _images(s, shape=(12, 13, 2)), "reconstruction": _images(s + 1, shape=(12, 13, 2))},
    ),
    "structural_similarity": lambda s: (
        losses.structural_similarity,
        {"x": _images(s, shape=(12, 13, 2)), "reconstruction": _images(s + 1, shape=(12, 13, 2))},
    ),
    "binary_cross_entropy": lambda s: (
        losses.binary_cross_entropy,
        {"x": _images(s), "logits": 4 * _images(s + 1) - 2},
    ),
    "l1_activity": lambda s: (losses.l1_activity, {"z": _images(s, shape=(9,)) - 0.5}),
    "contraction": lambda s: (
        losses.contraction,
        {"z": _images(s, shape=(9,)), "moved": _images(s + 1, shape=(9,)), "step": 0.5},
    ),
    "negative_elbo": lambda s: (
        losses.negative_elbo,
        {"reconstruction_loss": 90 * _images(s, shape=()), "kl_loss": 25 * _images(s + 1, shape=()), "beta": 0.5},
    ),
    "importance_weighted_bound": lambda s: (
        losses.importance_weighted_bound,
        {"log_weights": (9 * _images(s, shape=(4,)) - 95).T},
    ),
    "iwae_loss": lambda s: (losses.iwae_loss, {"log_weights": (9 * _images(s, shape=(4,)) - 95).T}),
    "discriminator_loss": lambda s: (
        losses.discriminator_loss,
        {"real_logits": 6 * _images(s, shape=()) - 3, "fake_logits": 6 * _images(s + 1, shape=()) - 3},
    ),
    "least_squares_discriminator_loss": lambda s: (
        losses.least_squares_discriminator_loss,
        {"real_logits": 6 * _images(s, shape=()) - 3, "fake_logits": 6 * _images(s + 1, shape=()) - 3},
    ),
    "wasserstein_critic_loss": lambda s: (
        losses.wasserstein_critic_loss,
        {"real_logits": 6 * _images(s, shape=()) - 3, "fake_logits": 6 * _images(s + 1, shape=()) - 3},
    ),
    "hinge_discriminator_loss": lambda s: (
        losses.hinge_discriminator_loss,
        {"real_logits": 6 * _images(s, shape=()) - 3, "fake_logits": 6 * _images(s + 1, shape=()) - 3},
    ),
    "least_squares_generator_loss": lambda s: (
        losses.least_squares_generator_loss,
        {"fake_logits": 6 * _images(s, shape=()) - 3},
    ),
    "wasserstein_generator_loss": lambda s: (
        losses.wasserstein_generator_loss,
        {"fake_logits": 6 * _images(s, shape=()) - 3},
    ),
    "relativistic_loss": lambda s: (
        losses.relativistic_loss,
        {"wins": 6 * _images(s, shape=()) - 3, "loses": 6 * _images(s + 1, shape=()) - 3},
    ),
    "gradient_penalty": lambda s: (losses.gradient_penalty, {"gradients": _images(s) - 0.5}),
    "squared_norm": lambda s: (losses.squared_norm, {"gradients": _images(s) - 0.5}),
    "minimax_generator_loss": lambda s: (
        losses.minimax_generator_loss,
        {"fake_logits": 6 * _images(s, shape=()) - 3},
    ),
    "non_saturating_generator_loss": lambda s: (
        losses.non_saturating_generator_loss,
        {"fake_logits": 6 * _images(s, shape=()) - 3},
    ),
}


def _call(name, transform=lambda key, value: value, seed=0):
    function, arguments = LOSSES[name](seed)
    arguments = {key: transform(key, value) for key, value in arguments.items()}
    return function(**{k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()})


def _over_batch(change):
    """Applies `change` to an argument's batch axis: the last of log_weights, the first of everything else."""

    def transform(key, value):
        if not isinstance(value, np.ndarray):
            return value
        return change(value.T).T if key == "log_weights" else change(value)

    return transform


# === What holds for every loss ===


def test_table_covers_every_loss():
    """A new loss must enter the table above, and with it the tests of this section."""
    functions = {
        name
        for name, value in vars(losses).items()
        if inspect.isfunction(value) and value.__module__ == losses.__name__ and not name.startswith("_")
    }
    # Of the batch, not of each example: kl_sparsity (tests/test_regularizers.py), and the two tested below.
    assert functions - {"sum_per_example", "kl_sparsity", "free_bits", "kl_decomposition"} == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_one_float32_per_example(name):
    value = _call(name)
    assert value.shape == (6,)
    assert value.dtype == "float32"


@pytest.mark.parametrize("name", LOSSES)
def test_float16_inputs_are_computed_in_float32(name):
    """Mixed precision may hand over half-precision tensors; only the inputs may be rounded, not the arithmetic."""
    half = _call(name, lambda key, value: value.astype("float16") if isinstance(value, np.ndarray) else value)
    rounded = _call(
        name, lambda key, value: value.astype("float16").astype("float32") if isinstance(value, np.ndarray) else value
    )
    assert half.dtype == "float32"
    np.testing.assert_allclose(half, rounded, rtol=RTOL)


def test_sums_beyond_float16_do_not_overflow():
    # 784 pixels of 100 nats are 78,400; float16 ends at 65,504.
    logits = tf.fill((1, 28, 28, 1), tf.constant(100.0, "float16"))
    np.testing.assert_array_equal(losses.binary_cross_entropy(tf.zeros_like(logits), logits=logits), [78400.0])
    pixels = tf.fill((1, 28, 28, 1), tf.constant(10.0, "float16"))
    np.testing.assert_array_equal(losses.squared_error(pixels, reconstruction=tf.zeros_like(pixels)), [78400.0])


@pytest.mark.parametrize("name", LOSSES)
def test_permuting_the_batch_permutes_the_loss(name):
    order = _rng(3).permutation(6)
    np.testing.assert_allclose(_call(name, _over_batch(lambda v: v[order])), _call(name).numpy()[order], rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_an_example_changes_only_its_own_loss(name):
    def replace_example_2(values):
        values = values.copy()
        values[2] = 0.75 * values[2] + 0.1
        return values

    changed = _call(name, _over_batch(replace_example_2)).numpy() != _call(name).numpy()
    np.testing.assert_array_equal(changed, [False, False, True, False, False, False])


@pytest.mark.parametrize("name", LOSSES)
def test_two_tensors_cannot_be_swapped_by_position(name):
    function, arguments = LOSSES[name](0)
    with pytest.raises(TypeError, match="positional argument"):
        function(*list(arguments.values())[:2], None)
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    assert len(positional) <= 1


def test_sum_per_example():
    values = np.arange(24, dtype="float32").reshape(2, 3, 4)
    np.testing.assert_array_equal(losses.sum_per_example(values), [66, 210])
    np.testing.assert_array_equal(losses.sum_per_example(values[:, 0, 0]), [0, 12])  # nothing left to sum


# === Reconstruction ===


def test_squared_error_known_value():
    x = np.array([[[[1.0], [0.0]]], [[[0.5], [0.25]]]], "float32")
    reconstruction = np.array([[[[0.0], [0.5]]], [[[0.5], [0.75]]]], "float32")
    # 1 + 1/4 and 0 + 1/4: a sum over the pixels of each image, neither their mean nor half of it.
    np.testing.assert_array_equal(losses.squared_error(x, reconstruction=reconstruction), [1.25, 0.25])


def test_squared_error_against_numpy():
    x, r = _images(0), _images(1)
    expected = ((x.astype("float64") - r) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(losses.squared_error(x, reconstruction=r), expected, rtol=RTOL)


def test_binary_cross_entropy_against_numpy():
    x, logits = _images(0), 16 * _images(1) - 8
    p = _sigmoid(logits)
    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(losses.binary_cross_entropy(x, logits=logits), expected, rtol=RTOL)


def test_binary_cross_entropy_at_logit_0_is_log_2_per_pixel_whatever_the_target():
    x = np.array([[0.0] * 8, [1.0] * 8, [0.3] * 8], "float32")
    np.testing.assert_allclose(
        losses.binary_cross_entropy(x, logits=np.zeros_like(x)), [8 * math.log(2)] * 3, rtol=2e-7
    )


@pytest.mark.parametrize(("x", "logit", "expected"), [(0, -1e4, 0), (0, 1e4, 1e4), (1, -1e4, 1e4), (1, 1e4, 0)])
def test_binary_cross_entropy_at_extreme_logits_is_exact(x, logit, expected):
    """A clipped or log(sigmoid) form gives 16, infinity or NaN here."""
    images = np.full((2, 3), x, "float32")
    logits = np.full((2, 3), logit, "float32")
    np.testing.assert_array_equal(losses.binary_cross_entropy(images, logits=logits), [3 * expected] * 2)
    gradient = _gradient(lambda logits: losses.binary_cross_entropy(images, logits=logits), logits)
    np.testing.assert_array_equal(gradient, np.full((2, 3), (logit > 0) - x))


def test_binary_cross_entropy_gradient_is_sigmoid_minus_x():
    x, logits = _images(0), 30 * _images(1) - 15
    gradient = _gradient(lambda logits: losses.binary_cross_entropy(x, logits=logits), logits)
    np.testing.assert_allclose(gradient, _sigmoid(logits) - x, atol=2e-7)


# === Bounds ===


@pytest.mark.parametrize(("beta", "expected"), [(0.0, [80.0, 0.5]), (1.0, [104.0, 2.0]), (4.0, [176.0, 6.5])])
def test_negative_elbo(beta, expected):
    arguments = {"reconstruction_loss": np.float32([80.0, 0.5]), "kl_loss": np.float32([24.0, 1.5])}
    np.testing.assert_array_equal(losses.negative_elbo(**arguments, beta=beta), expected)
    if beta == 1.0:
        np.testing.assert_array_equal(losses.negative_elbo(**arguments), expected)


def _log_mean_exp(log_weights):
    log_weights = np.asarray(log_weights, "float64")
    top = log_weights.max(axis=0)
    return top + np.log(np.exp(log_weights - top).mean(axis=0))


@pytest.mark.parametrize("level", [0.0, -90.0, -1e4, 1e4])
def test_importance_weighted_bound_against_numpy(level):
    """exp(-1e4) is 0 and exp(1e4) infinite in any float: the sum must stay in the log domain."""
    log_weights = (level + _rng().normal(0, 3, (50, 7))).astype("float32")
    bound = losses.importance_weighted_bound(log_weights).numpy()
    # The result is rounded to float32 at its own size: 1e-3 at 1e4.
    np.testing.assert_allclose(bound, _log_mean_exp(log_weights), rtol=1.2e-7, atol=2e-6)


def test_importance_weighted_bound_of_known_weights():
    # log mean(1, 3) = log 2; a weight of 0 (-inf) still counts in the mean.
    log_weights = np.log(np.array([[1.0, 4.0], [3.0, 1e-45]], "float64"))
    log_weights[1, 1] = -np.inf
    np.testing.assert_allclose(
        losses.importance_weighted_bound(log_weights.astype("float32")), [math.log(2), math.log(2)], rtol=2e-7
    )


def test_importance_weighted_bound_of_one_sample_is_the_sample():
    log_weights = np.array([[-1e4, -84.25, 0.0, 3.5]], "float32")
    np.testing.assert_array_equal(losses.importance_weighted_bound(log_weights), log_weights[0])


def test_importance_weighted_bound_rises_with_k():
    """Burda et al. 2016, theorem 1, over groups of the same weights, where it holds without sampling error."""
    log_weights = _rng().normal(-90, 2, 1024).astype("float32")
    means = []
    for k in (1, 2, 8, 64, 1024):
        means.append(losses.importance_weighted_bound(log_weights.reshape(-1, k).T).numpy().mean(dtype="float64"))
    assert (np.diff(means) > 0.01).all()
    # log E[w] of a log-normal is mu + sigma^2 / 2 = -88; 1024 draws of this one are within sqrt((e^4 - 1) / 1024).
    assert means[0] == pytest.approx(-90, abs=4 * 2 / 32)
    assert means[-1] == pytest.approx(-88, abs=4 * math.sqrt(math.expm1(4) / 1024))


# === The GAN's game ===


def test_iwae_loss_has_the_gradient_of_detached_normalised_weights():
    """-sum_j w_j log_weights_j with w_j held constant (Burda et al. 2016, eq. 14)."""
    log_weights = 8 * _rng(1).standard_normal((5, 7)).astype("float32") - 90
    weights = np.exp(log_weights.astype("float64") - log_weights.max(0))
    weights /= weights.sum(0)
    np.testing.assert_allclose(_gradient(losses.iwae_loss, log_weights), -weights, atol=1e-6)
    # Whatever the level: exp(-20,000) is 0 and exp(20,000) infinite in float32.
    for level in (-20_000, 20_000):
        value = losses.iwae_loss(tf.constant(log_weights + level))
        np.testing.assert_allclose(value, losses.iwae_loss(tf.constant(log_weights)) - level, rtol=1e-6)


# === Free bits and the parts of a KL ===


def test_free_bits_raise_only_latents_below_the_minimum():
    kl = np.float32([[0.1, 0.2, 0.0], [0.3, 5.8, 0.0]])  # means 0.2, 3, 0: the minimum is of the mean, not of each
    np.testing.assert_allclose(losses.free_bits(kl, minimum=0.5), [0.5 + 3 + 0.5] * 2, rtol=1e-6)
    np.testing.assert_allclose(losses.free_bits(kl, minimum=0.0), [0.2 + 3] * 2, rtol=1e-6)
    gradient = _gradient(lambda value: losses.free_bits(value, minimum=0.5)[0], kl)
    np.testing.assert_allclose(gradient, [[0, 0.5, 0]] * 2)  # what is below gets none


def _pairs(z, mean, log_var):
    """log N(z_i; mean_k, log_var_k) per latent, `(M, M, D)` in float64."""
    centred = z[:, None] - mean[None]
    return -0.5 * (np.log(2 * np.pi) + log_var + centred**2 / np.exp(log_var))


def test_kl_decomposition_adds_up_and_is_the_estimate_as_written():
    rng = _rng(0)
    m, n = 6, 1000
    z, mean, log_var = (rng.standard_normal((m, 3)) for _ in range(3))
    pairs = _pairs(z, mean, log_var)
    log_q, log_p = np.einsum("iij->i", pairs), -0.5 * (z**2 + np.log(2 * np.pi)).sum(1)
    parts = losses.kl_decomposition(pairs, log_q=log_q, log_p=log_p, dataset_size=n)
    assert all(part.shape == (m,) and part.dtype == "float32" for part in parts)
    np.testing.assert_allclose(sum(part.numpy() for part in parts), log_q - log_p, rtol=1e-4, atol=1e-4)
    log_q_z = np.log(np.exp(pairs.sum(2)).sum(1) / (n * m))
    log_prod = np.log(np.exp(pairs).sum(1) / (n * m)).sum(1)
    for part, expected in zip(parts, (log_q - log_q_z, log_q_z - log_prod, log_prod - log_p), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-4)


def test_kl_decomposition_of_codes_that_are_known():
    """With the batch for the data set and q(z|x) = q(z): no mutual information; a correlation of codes is one of the
    middle term alone, and its size is known: -1/2 log(1 - r^2).
    """
    rng = _rng(0)
    m, r, spread = 1500, 0.9, 0.3
    mean = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], size=m)
    log_var = np.full((m, 2), 2 * math.log(spread))
    z = mean + spread * rng.standard_normal((m, 2))
    pairs = _pairs(z, mean, log_var)
    log_q, log_p = np.einsum("iij->i", pairs), -0.5 * (z**2 + np.log(2 * np.pi)).sum(1)
    information, correlation, dimensions = (
        float(np.mean(part)) for part in losses.kl_decomposition(pairs, log_q=log_q, log_p=log_p, dataset_size=1)
    )
    # q(z) is N(0, [[1, r], [r, 1]] + spread^2 I), but for the mixture's being finite.
    variance = 1 + spread**2
    assert correlation == pytest.approx(-0.5 * math.log(1 - (r / variance) ** 2), abs=0.05)
    assert dimensions == pytest.approx(2 * 0.5 * (variance - 1 - math.log(variance)), abs=0.05)
    entropy = 0.5 * math.log((variance**2 - r**2) / spread**4)  # I(x; z): of q(z) less that of q(z|x)
    assert information == pytest.approx(entropy, abs=0.1)
    one_cloud = _pairs(z[:, :1], np.zeros((m, 1)), np.zeros((m, 1)))  # every image says the same of z
    nothing = losses.kl_decomposition(one_cloud, log_q=one_cloud[:, 0, 0], log_p=one_cloud[:, 0, 0], dataset_size=1)
    for part in nothing:
        np.testing.assert_allclose(part, np.zeros(m), atol=1e-4)


def test_game_at_indifferent_discriminator():
    """D = 1/2: V = -log 4 (Goodfellow et al. 2014, theorem 1), and the generators' losses are -log 2 and log 2."""
    zeros = np.zeros(3, "float32")
    value = -losses.discriminator_loss(real_logits=zeros, fake_logits=zeros).numpy()
    np.testing.assert_allclose(value, [-math.log(4)] * 3, rtol=2e-7)
    np.testing.assert_allclose(losses.minimax_generator_loss(fake_logits=zeros), [-math.log(2)] * 3, rtol=2e-7)
    np.testing.assert_allclose(losses.non_saturating_generator_loss(fake_logits=zeros), [math.log(2)] * 3, rtol=2e-7)


def test_game_against_numpy():
    real, fake = 10 * _images(0, shape=()) - 5, 10 * _images(1, shape=()) - 5
    d_real, d_fake = _sigmoid(real), _sigmoid(fake)
    tolerance = {"rtol": RTOL, "atol": 1e-7}
    np.testing.assert_allclose(
        losses.discriminator_loss(real_logits=real, fake_logits=fake), -np.log(d_real) - np.log(1 - d_fake), **tolerance
    )
    np.testing.assert_allclose(losses.minimax_generator_loss(fake_logits=fake), np.log(1 - d_fake), **tolerance)
    np.testing.assert_allclose(losses.non_saturating_generator_loss(fake_logits=fake), -np.log(d_fake), **tolerance)


def test_game_at_extreme_logits_is_exact():
    real, fake = np.array([1e4, 1e4, -1e4, -1e4], "float32"), np.array([1e4, -1e4, 1e4, -1e4], "float32")
    np.testing.assert_array_equal(
        losses.discriminator_loss(real_logits=real, fake_logits=fake), np.float32([1e4, 0, 2e4, 1e4])
    )
    np.testing.assert_array_equal(losses.minimax_generator_loss(fake_logits=fake), np.float32([-1e4, 0, -1e4, 0]))
    np.testing.assert_array_equal(losses.non_saturating_generator_loss(fake_logits=fake), np.float32([0, 1e4, 0, 1e4]))


def test_minimax_saturates_where_non_saturating_does_not():
    """While D rejects every fake (logit -20): d/dl log(1 - s(l)) = -s(l), d/dl -log s(l) = s(l) - 1."""
    fake = np.float32([-20.0])
    minimax = _gradient(lambda logits: losses.minimax_generator_loss(fake_logits=logits), fake)
    non_saturating = _gradient(lambda logits: losses.non_saturating_generator_loss(fake_logits=logits), fake)
    np.testing.assert_allclose(minimax, [-_sigmoid(-20)], rtol=1e-5)  # -2e-9
    np.testing.assert_allclose(non_saturating, [-1.0], rtol=1e-7)


@pytest.mark.parametrize("game", GAMES)
def test_every_game_pulls_the_same_way(game):
    """D raises real logits and lowers fake ones, G raises fake ones; at a start where no side has won."""
    real, fake = np.float32([0.3, 0.6]), np.float32([0.1, 0.4])
    sides = GAMES[game]()
    by_real = _gradient(lambda v: sides.discriminator(real_logits=v, fake_logits=fake), real)
    by_fake = _gradient(lambda v: sides.discriminator(real_logits=real, fake_logits=v), fake)
    by_g = _gradient(lambda v: sides.generator(real_logits=real, fake_logits=v), fake)
    assert (by_real < 0).all()
    assert (by_fake > 0).all()
    assert (by_g < 0).all()


def test_games_of_known_logits():
    """By hand at D(x) = 0.5 and D(G(z)) = -2."""
    logits = {"real_logits": np.float32([0.5]), "fake_logits": np.float32([-2.0])}
    expected = {
        "minimax": (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-2)), -math.log1p(math.exp(-2))),
        "non_saturating": (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-2)), math.log1p(math.exp(2))),
        "least_squares": (0.5 * 0.25 + 0.5 * 4, 0.5 * 9),
        "wasserstein": (-2.5, 2.0),
        "hinge": (0.5, 2.0),
        "relativistic": (math.log1p(math.exp(-2.5)), math.log1p(math.exp(2.5))),
    }
    assert set(expected) == set(GAMES)
    for game, (discriminator, generator) in expected.items():
        assert float(GAMES[game]().discriminator(**logits)[0]) == pytest.approx(discriminator, rel=1e-6)
        assert float(GAMES[game]().generator(**logits)[0]) == pytest.approx(generator, rel=1e-6)


def test_hinge_stops_at_its_margin():
    real, fake = np.float32([1.5, 0.5]), np.float32([-3.0, 0.0])
    np.testing.assert_allclose(losses.hinge_discriminator_loss(real_logits=real, fake_logits=fake), [0.0, 1.5])


def test_smoothed_labels_are_best_where_d_says_the_target():
    """One-sided: the loss of real images is least at D(x) = 0.9, that of generated ones as it was."""
    logit = math.log(9)
    slope = _gradient(
        lambda v: losses.discriminator_loss(real_logits=v, fake_logits=0 * v, real_target=0.9),
        np.float32([logit - 1, logit, logit + 1]),
    )
    assert slope[0] < -0.01 < slope[1] < 0.01 < slope[2]
    assert slope[1] == pytest.approx(0, abs=1e-6)
    fake = np.float32([-3.0, 2.0])
    apart = [
        losses.discriminator_loss(real_logits=0 * fake, fake_logits=fake, real_target=t).numpy() for t in (1.0, 0.9)
    ]
    np.testing.assert_allclose(apart[0], apart[1], rtol=1e-6)  # at logit 0 the target does not matter


def test_gradient_penalty_is_of_the_norm_per_example():
    gradients = np.zeros((3, 2, 2, 1), "float32")
    gradients[0, 0] = [[3], [4]]
    gradients[1, 0, 0] = 1
    np.testing.assert_allclose(losses.gradient_penalty(gradients), [16, 0, 1], atol=1e-5)
    np.testing.assert_allclose(losses.squared_norm(gradients), [25, 1, 0])
    assert np.isfinite(_gradient(losses.gradient_penalty, gradients)).all()  # at 0 the root's slope is infinite


def test_optimum_of_the_game():
    """D* = p / (p + q) minimises the discriminator's loss, and V(D*) = -log 4 + 2 JSD(p || q) (theorem 1)."""
    # Batches in which the symbols 0..3 come exactly as often as p and q say: the batch mean is the expectation.
    p, q = np.array([1, 2, 3, 4]) / 10, np.array([5, 3, 1, 1]) / 10
    real, fake = np.repeat(range(4), [1, 2, 3, 4]), np.repeat(range(4), [5, 3, 1, 1])

    def loss(logits):
        return losses.discriminator_loss(real_logits=tf.gather(logits, real), fake_logits=tf.gather(logits, fake)) / 10

    logits = np.zeros(4, "float32")
    for _ in range(80):  # the loss is convex in the logits, its curvature at most (p + q) / 4
        logits -= 6 * _gradient(loss, logits)
    np.testing.assert_allclose(_sigmoid(logits), p / (p + q), atol=1e-5)

    mixture = (p + q) / 2
    jensen_shannon = 0.5 * (p * np.log(p / mixture)).sum() + 0.5 * (q * np.log(q / mixture)).sum()
    value = -loss(tf.constant(np.log(p / q), "float32")).numpy().sum()
    assert value == pytest.approx(-math.log(4) + 2 * jensen_shannon, rel=1e-6)
