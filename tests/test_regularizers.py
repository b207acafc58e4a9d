"""Regularizers: the codes they make, the penalties they add, and what they do to a model that is trained."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_genzoo import losses
from keras_genzoo.models.autoencoder import regularizers

Z = np.random.default_rng(0).standard_normal((32, 20)).astype("float32")
SPECS = {
    "none": None,
    "l1": {"name": "l1", "weight": 0.5},
    "kl": {"name": "kl", "rho": 0.05, "weight": 30.0},
    "k_sparse": {"name": "k_sparse", "k": 3, "alpha": 2.0},
    "contractive": {"name": "contractive", "weight": 3.0},
}


def _activate(name, z=Z, training=False):
    return ops.convert_to_numpy(regularizers.build(SPECS[name]).activate(ops.convert_to_tensor(z), training=training))


def test_k_sparse_keeps_the_k_largest_as_they_are():
    for training, k in ((True, 3), (False, 6)):
        code = _activate("k_sparse", training=training)
        kept = code != 0
        assert np.all(kept.sum(1) == k)
        np.testing.assert_array_equal(code[kept], Z[kept])
        assert np.all(np.where(kept, Z, np.inf).min(1) > np.where(kept, -np.inf, Z).max(1))


def test_k_sparse_keeps_all_where_alpha_k_is_more_than_there_are():
    code = regularizers.build({"name": "k_sparse", "k": 15, "alpha": 2.0}).activate(ops.convert_to_tensor(Z))
    np.testing.assert_array_equal(ops.convert_to_numpy(code), Z)


def test_k_sparse_anneals_from_all_to_k():
    """At half of the way, half of what is to go is gone; codes outside training do not anneal."""
    regularizer = regularizers.build({"name": "k_sparse", "k": 4, "anneal_steps": 10})
    z = ops.convert_to_tensor(Z)
    kept = [
        int((np.asarray(regularizer.activate(z, training=True, step=step))[0] != 0).sum()) for step in (0, 5, 10, 99)
    ]
    assert kept == [20, 12, 4, 4]
    assert (np.asarray(regularizer.activate(z, step=0)) != 0).sum() == 4 * len(Z)


def test_what_does_not_fit_the_model_is_refused(tiny):
    with pytest.raises(ValueError, match=r"`k` must be <= latent_dim = 4. Received: 9"):
        tiny("autoencoder", regularizer={"name": "k_sparse", "k": 9})
    with pytest.raises(ValueError, match="bfloat16 rounds away"):
        tiny("autoencoder", regularizer={"name": "contractive", "weight": 1.0}, dtype="mixed_bfloat16")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_images_of_other_float_types_are_taken(dtype, tiny, mnist):
    import tensorflow as tf

    model = tiny(
        "autoencoder",
        regularizer={"name": "contractive", "weight": 0.1},
        corruption={"name": "gaussian", "level": [0.0, 0.5]},
    )
    batches = tf.data.Dataset.from_tensor_slices(mnist[:32].astype(dtype)).batch(16)
    assert np.isfinite(model.fit(batches, verbose=0).history["loss"][0])


def test_l1_is_the_norm():
    np.testing.assert_allclose(losses.l1_activity(Z), np.abs(Z.astype("float64")).sum(1), rtol=2e-6)
    np.testing.assert_array_equal(_activate("l1"), np.maximum(Z, 0))


def test_kl_sparsity_is_the_divergence_of_coins():
    rho, z = 0.05, 1 / (1 + np.exp(-Z.astype("float64")))
    mean = z.mean(0)
    expected = np.sum(rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean)))
    np.testing.assert_allclose(losses.kl_sparsity(z.astype("float32"), rho=rho), np.full(32, expected), rtol=1e-5)


def test_kl_sparsity_is_zero_at_the_target_and_finite_at_the_ends():
    z = np.zeros((20, 4), "float32")
    z[0] = 1
    np.testing.assert_allclose(losses.kl_sparsity(z, rho=0.05), np.zeros(20), atol=1e-6)
    for value in (0.0, 1.0):
        assert np.all(np.isfinite(losses.kl_sparsity(np.full((8, 4), value, "float32"), rho=0.05)))


def test_contraction_of_a_linear_map_is_its_frobenius_norm():
    """E|W eps|^2 = ||W||_F^2 at any step, and the mean over many directions finds it."""
    rng = np.random.default_rng(1)
    w, x = rng.standard_normal((50, 8)), rng.random((4000, 50))
    eps = rng.standard_normal(x.shape)
    values = np.asarray(losses.contraction(x @ w, moved=(x + 0.01 * eps) @ w, step=0.01))
    assert abs(values.mean() - np.sum(w**2)) < 5 * values.std() / np.sqrt(len(values))


def test_contractive_penalty_of_a_sigmoid_layer_is_the_papers():
    """Rifai et al. 2011, the closed form of one sigmoid layer: sum_j (h_j (1 - h_j))^2 sum_i W_ij^2."""
    rng = np.random.default_rng(2)
    w, x = rng.standard_normal((49, 6)) * 0.3, rng.random((1, 7, 7, 1)).astype("float32")
    regularizer = regularizers.build({"name": "contractive", "weight": 2.0})

    def encode(images):
        return regularizer.activate(ops.reshape(images, (-1, 49)) @ ops.convert_to_tensor(w, "float32"))

    many = ops.convert_to_tensor(np.repeat(x, 8000, 0))
    z = encode(many)
    values = np.asarray(regularizer.penalty(z, x=many, encode=encode, seed=keras.random.SeedGenerator(0)))
    h = np.asarray(z[0], "float64")
    expected = 2.0 * np.sum((h * (1 - h)) ** 2 * np.sum(w**2, 0))
    # 5 standard errors, and the second-order term of a step of 0.01.
    assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(len(values)) + 0.01 * expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"name": "l2", "weight": 1.0},
            "`regularizer.name` must be one of contractive, k_sparse, kl, l1. Received: 'l2'",
        ),
        ({"name": "l1", "weight": 0.0}, "`weight` must be > 0. Received: 0.0"),
        ({"name": "kl", "rho": 1.5, "weight": 1.0}, r"`rho` must be in \(0, 1\). Received: 1.5"),
        ({"name": "k_sparse", "k": 0}, "`k` must be an integer >= 1. Received: 0"),
        ({"name": "k_sparse", "k": 5, "alpha": 0.5}, "`alpha` must be >= 1. Received: 0.5"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(ValueError, match=message):
        regularizers.build(spec)


# === In a model that is trained ===


@pytest.fixture(scope="module")
def trained(mnist):
    """Function: name of a spec -> (a small autoencoder trained under it, its history)."""
    done = {}

    def make(name):
        if name not in done:
            from keras_genzoo.models.autoencoder import Autoencoder

            keras.utils.set_random_seed(0)
            model = Autoencoder(
                latent_dim=32,
                encoder={"name": "mlp_encoder", "units": [64]},
                decoder={"name": "mlp_decoder", "units": [64]},
                regularizer=SPECS[name],
                seed=0,
            )
            model.compile(keras.optimizers.Adam(2e-3))
            done[name] = model, model.fit(mnist, epochs=30, batch_size=32, verbose=0).history
        return done[name]

    return make


@pytest.mark.parametrize("name", SPECS)
def test_the_loss_is_reconstruction_and_penalty(trained, name):
    _, history = trained(name)
    total = np.add(history["reconstruction_loss"], history["penalty"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-4)
    assert history["reconstruction_loss"][-1] < 0.6 * history["reconstruction_loss"][0]
    assert (history["penalty"][-1] > 0) == (name in ("l1", "kl", "contractive"))


def test_l1_silences_units_that_a_plain_relu_would_use(trained, mnist):
    code = trained("l1")[0].encode(mnist)
    plain = np.maximum(trained("none")[0].encode(mnist), 0)
    assert (code > 0).mean() < 0.6 * (plain > 0).mean()


def test_kl_brings_the_mean_activity_to_rho(trained, mnist):
    activity = trained("kl")[0].encode(mnist).mean()
    assert 0.03 < activity < 0.09
    assert trained("contractive")[0].encode(mnist).mean() > 0.2  # sigmoids too, with no word on activity


def test_k_sparse_codes_have_alpha_k_numbers(trained, mnist):
    assert np.all((trained("k_sparse")[0].encode(mnist) != 0).sum(1) == 6)


def test_contraction_flattens_the_encoder(trained, mnist):
    """The same noise moves a contractive code less, relative to how much different images move it."""

    def sensitivity(name):
        model = trained(name)[0]
        noise = 0.05 * np.random.default_rng(0).standard_normal(mnist.shape).astype("float32")
        z, moved = model.encode(mnist), model.encode(np.clip(mnist + noise, 0, 1))
        return np.mean((moved - z) ** 2) / z.var(0).mean()

    assert sensitivity("contractive") < sensitivity("kl")
