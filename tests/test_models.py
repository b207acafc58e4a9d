"""Conformance of every model family, and what is particular to each."""

import itertools
import json

import keras
import numpy as np
import pytest
from helpers import TINY, VARIANTS, build_tiny, family_of, variables_of
from keras import ops

from keras_genzoo import engine, losses, models
from keras_genzoo.errors import ZooError
from keras_genzoo.models.base import ZooModel
from keras_genzoo.models.gan import clusters

FAMILIES = [*sorted(models.FAMILIES), *VARIANTS]
SAMPLERS = ("vae", "gan", *VARIANTS)
LABELLED = ("classifier", "conditional vae", "conditional gan")
# Games of differences: what is added to every logit changes nothing.
STILL = {
    "gan, relativistic with r1 and r2": "logit/bias",
    "gan, wasserstein with gradient penalty": "logit/bias",
    "gan told its clusters": "logit/bias",
}


def batch_of(family, mnist, n=64):
    """What `fit` takes for a family: images, images and labels, or images of two people with what is known of them."""
    images = mnist[:n]
    if family == "face_swap":
        factors = np.random.default_rng(0).standard_normal((n, 3)).astype("float32")
        return {"images": images, "factors": factors}, {"images": images[::-1], "factors": factors[::-1]}
    return (images, np.arange(n) % 10) if family in LABELLED else (images,)


def inputs_of(endpoint, mnist, n):
    """Something to run an endpoint on: images, labels, codes and noise."""
    rng = np.random.default_rng(0)
    kinds = {
        1: lambda _: np.arange(n, dtype="int32") % 10,
        2: lambda tensor: rng.normal(size=(n, tensor.shape[1])).astype("float32"),
        4: lambda _: mnist[:n],
    }
    return [kinds[len(tensor.shape)](tensor) for tensor in endpoint.inputs]


def state_of(model):
    """Everything training changes: weights, counters, random state, optimizers."""
    optimizers = [getattr(model, key) for key in model.OPTIMIZERS]
    return [ops.convert_to_numpy(v) for of in (model, *optimizers) for v in of.variables]


def assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_every_family_has_a_tiny_model():
    assert set(TINY) == set(models.FAMILIES)


@pytest.fixture(scope="module")
def sgd_step(mnist):
    """A function `(family, policy)`: how far one step of SGD moves all variables, from the same start."""
    starts, full = {}, {}

    def step(family, policy):
        if (family, policy) in full:
            return full[family, policy]
        # Linear in the step: no noise (dropout) may differ between policies.
        options = {"network": {**TINY["classifier"]["network"], "dropout": 0.0}} if family == "classifier" else {}
        model = build_tiny(family, compiled=False, dtype=policy, **options)
        model.set_weights(starts.setdefault(family, model.get_weights()))
        optimizers = {key: keras.optimizers.SGD(1e-3) for key in model.OPTIMIZERS}
        if policy == "mixed_float16":  # far below the default, whose first steps overflow and are skipped
            wrap = keras.optimizers.LossScaleOptimizer  # at 64 the conditional VAE's did from 20 of 3,000 starts
            optimizers = {key: wrap(value, initial_scale=8.0) for key, value in optimizers.items()}
        model.compile(**optimizers, run_eagerly=True)
        before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        model.fit(*batch_of(family, mnist), epochs=1, batch_size=64, shuffle=False, verbose=0)
        after = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        assert all(v.dtype == np.float32 for v in after)
        moved = np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)])
        if policy == "float32":
            full[family, policy] = moved
        return moved

    return step


@pytest.mark.parametrize("family", FAMILIES)
class TestConformance:
    def test_is_registered_and_rebuilds_from_json(self, family, tiny):
        model = tiny(family, compiled=False)
        assert isinstance(model, ZooModel)
        assert type(model) is models.get(family_of(family))
        config = json.loads(json.dumps(model.get_config()))
        twin = type(model).from_config(config)
        assert twin.get_config() == model.get_config()
        assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]

    def test_train_and_test_steps_report_the_same_names(self, family, tiny, mnist):
        model = tiny(family)
        data = batch_of(family, mnist)
        history = model.fit(*data, validation_data=data, epochs=1, batch_size=32, verbose=0).history
        measured = [
            name for name in model.LOSSES if not name.endswith("gradient_norm")
        ]  # where nothing moves, no norms
        assert set(history) == {*model.LOSSES, *(f"val_{name}" for name in measured)}
        assert all(np.isfinite(values).all() for values in history.values())

    def test_validation_does_not_change_training(self, family, tiny, mnist):
        model, data, ends = tiny(family), batch_of(family, mnist), []
        for validation in (data, None):
            tiny.as_new(model)
            model.fit(*data, validation_data=validation, epochs=2, batch_size=32, shuffle=False, verbose=0)
            ends.append(state_of(model))
        assert_same(*ends)

    def test_every_trainable_variable_moves(self, family, tiny, mnist):
        model = tiny(family)
        before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        model.fit(*batch_of(family, mnist), epochs=2, batch_size=32, verbose=0)
        for variable, old in zip(model.trainable_variables, before, strict=True):
            moved = not np.array_equal(ops.convert_to_numpy(variable), old)
            assert moved != variable.path.endswith(STILL.get(family, "nothing")), f"{variable.path}: moved {moved}"

    def test_keras_file_keeps_everything_and_training_goes_on_the_same(self, family, tiny, mnist, tmp_path):
        model = tiny(family, run_eagerly=True)  # of graphs the same is tested where `train` is resumed
        data = batch_of(family, mnist)
        model.fit(*data, epochs=1, batch_size=32, shuffle=False, verbose=0)
        model.save(tmp_path / "model.keras")
        reloaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same(state_of(reloaded), state_of(model))
        for one in (model, reloaded):
            one.fit(*data, epochs=1, batch_size=32, shuffle=False, verbose=0)
        assert_same(state_of(reloaded), state_of(model))
        assert int(model.train_steps.numpy()) == 4

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision_takes_the_float32_step(self, family, dtype, sgd_step):
        """One step of SGD: a forgotten loss scale would divide it by the scale, a doubled one multiply it."""
        full, mixed = sgd_step(family, "float32"), sgd_step(family, dtype)
        ratio = np.linalg.norm(mixed) / np.linalg.norm(full)
        cosine = mixed @ full / np.linalg.norm(mixed) / np.linalg.norm(full)
        assert 0.9 < ratio < 1.1
        # bfloat16 keeps 8 bits, and each sum of products cancels differently on another processor: over three to eight
        # batches of each family its step was up to 17 degrees off.
        assert cosine > (0.97 if dtype == "mixed_float16" else 0.9)

    def test_no_variable_is_int32(self, family, tiny):
        """TensorFlow keeps those in the processor's memory even beside a GPU, where XLA does not reach."""
        assert "int32" not in {str(v.dtype) for v in variables_of(tiny(family))}

    def test_mixed_float16_gives_each_optimizer_its_own_loss_scale(self, family, tiny):
        model = tiny(family, dtype="mixed_float16")
        optimizers = [getattr(model, key) for key in model.OPTIMIZERS]
        assert all(isinstance(o, keras.optimizers.LossScaleOptimizer) for o in optimizers)
        assert len({id(o.dynamic_scale) for o in optimizers}) == len(optimizers)

    def test_outputs_are_float32_whatever_the_policy(self, family, tiny, mnist):
        model = tiny(family, dtype="mixed_bfloat16", compiled=False)
        for name, endpoint in model.endpoints().items():
            for output in model.run_endpoint(name, *inputs_of(endpoint, mnist, 2)).values():
                assert output.dtype == np.float32
                assert len(output) == 2

    def test_endpoints_are_deterministic_and_do_not_depend_on_the_batch(self, family, tiny, mnist):
        model = tiny(family, compiled=False)
        for name, endpoint in model.endpoints().items():
            values = inputs_of(endpoint, mnist, 8)
            whole, again = (model.run_endpoint(name, *values) for _ in range(2))
            part = model.run_endpoint(name, *(value[:3] for value in values))
            for key in whole:
                np.testing.assert_array_equal(whole[key], again[key])
                np.testing.assert_allclose(whole[key][:3], part[key], atol=1e-5)

    def test_endpoints_are_those_of_the_contract(self, family, tiny):
        """General rooms make examples and reports from the contract alone."""
        model = tiny(family, compiled=False)
        contract = models.asked(family_of(family), "contract")(model)
        endpoints = model.endpoints()
        assert set(contract) == set(endpoints)
        for name, endpoint in endpoints.items():
            assert list(contract[name].inputs) == [tensor.name for tensor in endpoint.inputs]
            assert set(contract[name].outputs) == set(endpoint.output)
            for tensor in endpoint.inputs:
                assert (contract[name].inputs[tensor.name].kind == "classes") == (len(tensor.shape) == 1)

    def test_compile_names_the_optimizers_it_takes(self, family, tiny):
        model = tiny(family, compiled=False)
        with pytest.raises(TypeError, match="takes the optimizers"):
            model.compile(x_optimizer="adam")
        with pytest.raises(TypeError, match="takes the optimizers"):
            model.compile()


@pytest.mark.parametrize("family", SAMPLERS)
class TestSampling:
    def test_seed_decides(self, family, tiny):
        model = tiny(family, compiled=False)
        a, b, c = model.sample(5, seed=3), model.sample(5, seed=3), model.sample(5, seed=4)
        assert a.shape == (5, 28, 28, 1)
        assert a.dtype == np.float32
        assert a.min() >= 0
        assert a.max() <= 1
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
        assert not np.array_equal(model.sample(5), model.sample(5))

    @pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
    def test_n_must_be_a_count(self, family, n, tiny):
        with pytest.raises(ValueError, match="`n` must be an integer >= 1"):
            tiny(family, compiled=False).sample(n)

    def test_bad_codes_are_refused(self, family, tiny):
        model = tiny(family, compiled=False)
        decode = model.generate if family_of(family) == "gan" else model.decode
        for bad in (np.zeros((2, 5)), np.zeros(4), np.zeros((0, 4))):
            with pytest.raises(ValueError, match=r"`z` must have shape \(n, 4\)"):
                decode(bad)
        with pytest.raises(ValueError, match="finite"):
            decode(np.full((1, 4), np.nan))


def test_vae_losses_are_nats_per_image(tiny, mnist):
    """An untrained Bernoulli VAE with zero decoder weights says 1/2 to every pixel: 784 log 2 nats."""
    vae = tiny("vae")
    vae.decoder.set_weights([np.zeros_like(w) for w in vae.decoder.get_weights()])
    vae.encoder.set_weights([np.zeros_like(w) for w in vae.encoder.get_weights()])
    measured = vae.evaluate(mnist[:100], batch_size=33, verbose=0, return_dict=True)
    np.testing.assert_allclose(measured["reconstruction_loss"], 784 * np.log(2), rtol=1e-5)
    assert measured["kl_loss"] == 0
    np.testing.assert_allclose(measured["loss"], measured["reconstruction_loss"] + measured["kl_loss"], rtol=1e-6)


def test_vae_warm_up_is_linear_and_saved(tiny, mnist, tmp_path):
    vae = tiny("vae", beta=2.0, warmup_steps=8)
    assert float(vae.kl_weight()) == 0
    vae.fit(mnist[:64], batch_size=32, epochs=2, verbose=0)
    assert float(vae.kl_weight()) == pytest.approx(1.0)
    vae.save_weights(tmp_path / "w.weights.h5")
    again = tiny("vae", beta=2.0, warmup_steps=8)
    again.load_weights(tmp_path / "w.weights.h5")
    assert float(again.kl_weight()) == pytest.approx(1.0)
    vae.fit(mnist[:64], batch_size=32, epochs=5, verbose=0)
    assert float(vae.kl_weight()) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("family", "options", "complaint"),
    [
        ("vae", {"beta": -1.0}, "`beta` must be >= 0. Received: -1"),
        ("vae", {"warmup_steps": -1}, "`warmup_steps` must be >= 0"),
        ("vae", {"likelihood": "poisson"}, "`likelihood` must be one of"),
        ("vae", {"likelihood": {"name": "gaussian", "sigma": 0.0}}, "`sigma` must be > 0"),
        ("vae", {"latent_dim": 0}, "`latent_dim` must be"),
        ("vae", {"image_shape": (28, 28)}, "`image_shape` must be"),
        ("autoencoder", {"reconstruction": "l7"}, "`reconstruction` must be"),
        ("autoencoder", {"regularizer": {"name": "l9"}}, "`regularizer.name` must be one of"),
        ("autoencoder", {"corruption": {"name": "fog", "level": [0, 1]}}, "`corruption.name` must be one of"),
        ("gan", {"game": "chess"}, "`game` must be one of hinge, .*Received: 'chess'"),
        ("gan", {"r1": 1.0}, "BatchNorm in the discriminator mixes the images of a batch"),
        ("gan", {"gradient_penalty": -1.0}, "`gradient_penalty` must be >= 0. Received: -1"),
        ("gan", {"n_critic": 0}, "`n_critic` must be >= 1. Received: 0"),
        ("gan", {"pack": 2, "n_classes": 10}, "`pack` stacks images of any class"),
        ("gan", {"game": {"name": "hinge", "label_smoothing": 0.1}}, "unknown key `game.label_smoothing`"),
        (
            "gan",
            {"game": {"name": "minimax", "label_smoothing": 0.5}},
            "`game.label_smoothing` must be < 0.5. Received: 0.5",
        ),
        ("gan", {"weight_clip": 0.01, "r2": 1.0}, "both bound the slope of D"),
        ("gan", {"penalty_interval": 4}, "`penalty_interval` needs a penalty"),
        ("gan", {"pack": 2, "n_clusters": 4}, "`pack` stacks images of any class"),
        ("gan", {"n_classes": 10, "n_clusters": 4}, "`n_clusters` takes the place of labels"),
        ("gan", {"n_clusters": 1}, "`n_clusters` must be 0, or at least 2"),
        ("gan", {"n_clusters": 4, "latent_dim": 1}, "`n_clusters` must be 0, or at least 2 with a `latent_dim` of"),
        ("gan", {"conditioning": "film"}, "`conditioning` must be 'concat' or 'projection'"),
        ("gan", {"augment": ["flop"]}, "`augment` must be one of brightness, .*Received: 'flop'"),
        ("gan", {"ema_decay": 1.0}, r"`ema_decay` must be < 1. Received: 1"),
    ],
)
def test_bad_arguments_are_named(family, options, complaint, tiny):
    with pytest.raises(ValueError, match=complaint):
        tiny(family, compiled=False, **options)


NOISE = {"name": "gaussian", "level": [0.2, 0.6]}


def test_a_denoiser_sees_noise_and_is_asked_for_the_clean_image(tiny, mnist):
    """The loss by hand: what `corrupt` shows, against the clean images."""
    model = tiny("autoencoder", corruption=NOISE, run_eagerly=True)
    logs = model.evaluate(mnist[:32], batch_size=32, verbose=0, return_dict=True)
    seen = model.corrupt(mnist[:32], seed=0)  # validation's noise is that of seed 0
    by_hand = np.sum((model.reconstruct(seen) - mnist[:32]) ** 2, axis=(1, 2, 3)).mean()
    assert logs["loss"] == pytest.approx(by_hand, rel=1e-5)
    assert logs == model.evaluate(mnist[:32], batch_size=32, verbose=0, return_dict=True)


def test_corruption_is_part_of_training_not_of_the_data(tiny, mnist):
    """Every step draws its own noise, from the state that is saved with the weights; images stay as they were."""
    model, images = tiny("autoencoder", corruption=NOISE, run_eagerly=True), mnist[:32].copy()
    before = np.array(model.seed_generator.state)
    model.fit(images, batch_size=16, epochs=1, verbose=0)
    assert np.any(np.array(model.seed_generator.state) != before)
    np.testing.assert_array_equal(images, mnist[:32])
    assert np.any(model.corrupt(images, seed=1) != model.corrupt(images, seed=2))
    assert model.corrupt(images, level=0.0) == pytest.approx(images)


def test_denoising_learns_to_denoise(tiny, mnist):
    model = tiny("autoencoder", learning_rate=3e-3, latent_dim=32, corruption=NOISE)
    model.fit(mnist, batch_size=32, epochs=20, verbose=0)
    noisy = model.corrupt(mnist, level=0.5, seed=3)
    error = np.mean((model.reconstruct(noisy) - mnist) ** 2)
    assert error < 0.4 * np.mean((noisy - mnist) ** 2)


@pytest.mark.parametrize(
    "regularizer",
    [
        {"name": "l1", "weight": 0.1},
        {"name": "kl", "rho": 0.1, "weight": 1.0},
        {"name": "k_sparse", "k": 2, "alpha": 1.5, "anneal_steps": 3},
        {"name": "contractive", "weight": 0.1},
    ],
    ids=lambda spec: spec["name"],
)
def test_constrained_autoencoders_save_and_go_on(regularizer, tiny, mnist, tmp_path):
    """A .keras file brings constraint, noise, optimizer and random state back: the next epoch is the same."""
    from keras_genzoo import zoo

    eagerly = regularizer["name"] != "k_sparse"  # which changes from step to step: it must do so in a graph, too
    model = tiny("autoencoder", regularizer=regularizer, corruption=NOISE, run_eagerly=eagerly)
    model.fit(mnist[:64], batch_size=16, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    again = zoo.load(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.encode(mnist[:8]), model.encode(mnist[:8]))
    logs = [m.fit(mnist[:64], batch_size=16, shuffle=False, verbose=0).history for m in (model, again)]
    for key, value in logs[0].items():
        np.testing.assert_allclose(logs[1][key], value, rtol=1e-5)


def test_a_plain_autoencoder_does_not_corrupt(tiny, mnist):
    with pytest.raises(ZooError, match="no `corruption`"):
        tiny("autoencoder", compiled=False).corrupt(mnist[:1])


def test_gaussian_vae_exports_its_scale(tiny):
    vae = tiny("vae", compiled=False, likelihood={"name": "gaussian", "sigma": 0.25})
    decoded = vae.run_endpoint("decode", np.zeros((3, 4), "float32"))
    assert decoded["scale"].shape == decoded["images"].shape == (3, 28, 28, 1)
    assert np.all(decoded["scale"] == 0.25)
    assert decoded["images"].min() >= 0
    assert decoded["images"].max() <= 1


def test_prior_log_prob_is_the_standard_normals(tiny):
    z = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    measured = tiny("vae", compiled=False).run_endpoint("prior_log_prob", z)["log_prob"]
    np.testing.assert_allclose(measured, -0.5 * (z**2).sum(1) - 2 * np.log(2 * np.pi), rtol=1e-5)


# === Conditional VAEs ===


def test_labels_reach_encoder_and_decoder(tiny, mnist):
    vae = tiny("conditional vae", compiled=False)
    images, zeros, ones = mnist[:4], np.zeros(4, int), np.ones(4, int)
    assert np.any(vae.encode(images, zeros).z_mean != vae.encode(images, ones).z_mean)
    z = np.zeros((4, 4), "float32")
    assert np.any(vae.decode(z, zeros) != vae.decode(z, ones))
    assert np.any(vae.reconstruct(images, zeros) != vae.reconstruct(images, ones))
    np.testing.assert_array_equal(vae.codes(images, ones), vae.encode(images, ones).z_mean)
    np.testing.assert_array_equal(vae.sample(20, seed=0), vae.sample(20, seed=0, labels=np.arange(20) % 10))


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (None, r"needs `labels`: 4 integers in 0..9"),
        ([0, 1, 2], r"`labels` must be 4 integers. Received: shape \(3,\)"),
        ([0.0, 1.0, 2.0, 3.0], r"`labels` must be 4 integers. Received: .*dtype float64"),
        ([0, 1, 2, 10], r"`labels` must be in 0..9. Received: 0..10"),
        ([-1, 1, 2, 3], r"`labels` must be in 0..9. Received: -1..3"),
    ],
)
def test_bad_labels_are_refused(labels, complaint, tiny, mnist):
    vae = tiny("conditional vae", compiled=False)
    uses = [lambda: vae.encode(mnist[:4], labels), lambda: vae.decode(np.zeros((4, 4)), labels)]
    if labels is not None:  # else all classes in turn
        uses.append(lambda: vae.sample(4, labels=labels))
    for use in uses:
        with pytest.raises(ZooError, match=complaint):
            use()


def test_labels_where_there_are_none(tiny, mnist):
    with pytest.raises(ZooError, match="knows no classes"):
        tiny("vae", compiled=False).sample(2, labels=[0, 1])
    with pytest.raises(ValueError, match="needs images and labels"):
        tiny("conditional vae").fit(mnist[:32], verbose=0)


def test_objectives_are_what_they_say(tiny, mnist):
    """One batch's losses by hand from the model's own weights, with the draws that the model makes."""
    x = (mnist[:16] > 0.5).astype("float32")
    iwae = tiny("vae", objective={"name": "iwae", "n_draws": 7}, run_eagerly=True)
    seed = keras.random.SeedGenerator(0)
    seed.state.assign(iwae.seed_generator.state)
    by_hand = -losses.importance_weighted_bound(iwae.log_weights(ops.convert_to_tensor(x), n_samples=7, seed=seed))
    measured = iwae.evaluate(x, batch_size=16, verbose=0, return_dict=True)
    assert measured["loss"] == pytest.approx(float(ops.mean(by_hand)), rel=1e-5)
    assert measured["loss"] < measured["reconstruction_loss"] + measured["kl_loss"]

    free = tiny("vae", objective={"name": "elbo", "free_bits": 2.0}, run_eagerly=True)
    measured = free.evaluate(x, batch_size=16, verbose=0, return_dict=True)
    q = free.encode(x)
    kl = 0.5 * (q.z_mean**2 + np.exp(q.z_log_var) - 1 - q.z_log_var)
    assert measured["kl_loss"] == pytest.approx(kl.sum(1).mean(), rel=1e-3)
    paid = np.maximum(2.0, kl.mean(0)).sum()
    assert measured["loss"] == pytest.approx(measured["reconstruction_loss"] + paid, rel=1e-5)

    # At beta 1 the three parts of the KL add up to one draw's estimate of it.
    plain = tiny("vae")
    parts, heavy = (tiny("vae", objective="beta_tc", beta=beta, run_eagerly=True) for beta in (1.0, 5.0))
    for model in (parts, heavy):
        model.set_weights(plain.get_weights())
    logs = [model.evaluate(x, batch_size=16, verbose=0, return_dict=True) for model in (plain, parts, heavy)]
    assert logs[0]["reconstruction_loss"] == pytest.approx(logs[1]["reconstruction_loss"], rel=1e-6)
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], abs=2)
    # What beta 5 adds is four times the total correlation of the very draws, by the estimate as it is written.
    seed = keras.random.SeedGenerator(0)
    seed.state.assign(heavy.seed_generator.state)
    draws = heavy._draw(ops.convert_to_tensor(x), None, 1, seed=seed, training=False)
    z, q = ops.convert_to_numpy(draws.z[0]).astype("float64"), heavy.encode(x)
    pairs = -0.5 * (
        np.log(2 * np.pi) + q.z_log_var + (z[:, None] - q.z_mean[None]) ** 2 / np.exp(q.z_log_var.astype("float64"))
    )
    log_nm = np.log(16 * 60_000)
    correlation = np.log(np.exp(pairs.sum(2)).sum(1)) - log_nm - (np.log(np.exp(pairs).sum(1)) - log_nm).sum(1)
    assert logs[2]["loss"] - logs[1]["loss"] == pytest.approx(4 * correlation.mean(), rel=1e-3)


@pytest.mark.parametrize("game", ["minimax", "non_saturating"])
def test_gan_step_is_the_game_as_written(game, tiny, mnist):
    """One SGD step by `fit` equals the two gradient steps of the algorithm, taken by hand."""
    import tensorflow as tf

    rate = 0.1
    discriminator = {"name": "dcgan_discriminator", "filters": [4, 8], "kernel_size": 4, "norm": "none"}
    gan = tiny("gan", compiled=False, game=game, discriminator=discriminator)
    by_hand = tiny("gan", compiled=False, game=game, discriminator=discriminator)
    by_hand.set_weights(gan.get_weights())
    eagerly = game == "minimax"  # and the other as a graph
    optimizers = {key: keras.optimizers.SGD(rate) for key in gan.OPTIMIZERS}
    gan.compile(**optimizers, run_eagerly=eagerly)
    gan.fit(mnist[:16], batch_size=16, shuffle=False, verbose=0)

    real = ops.convert_to_tensor(mnist[:16])
    z = keras.random.normal((16, 4), seed=by_hand.seed_generator)
    fake = by_hand.generator(z, training=True)
    statistics = [ops.convert_to_numpy(v) for v in by_hand.generator.non_trainable_variables]
    with tf.GradientTape() as tape:
        value = ops.mean(
            ops.log(ops.sigmoid(by_hand.discriminator(real))) + ops.log(1 - ops.sigmoid(by_hand.discriminator(fake)))
        )
    gradients = tape.gradient(value, [v.value for v in by_hand.discriminator.trainable_variables])
    for variable, gradient in zip(by_hand.discriminator.trainable_variables, gradients, strict=True):
        variable.assign_add(rate * gradient)  # D ascends V
    with tf.GradientTape() as tape:
        d_fake = ops.sigmoid(by_hand.discriminator(by_hand.generator(z, training=True)))
        loss = ops.mean(ops.log(1 - d_fake)) if game == "minimax" else -ops.mean(ops.log(d_fake))
    gradients = tape.gradient(loss, [v.value for v in by_hand.generator.trainable_variables])
    for variable, gradient in zip(by_hand.generator.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    for variable, value in zip(by_hand.generator.non_trainable_variables, statistics, strict=True):
        variable.assign(value)  # the model ran G once, this test twice
    for network in ("discriminator", "generator"):
        ours, theirs = getattr(gan, network).get_weights(), getattr(by_hand, network).get_weights()
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("penalty", ["r1", "r2", "gradient_penalty", "lazy r1"])
def test_penalties_are_of_the_discriminators_own_gradient(penalty, tiny, mnist):
    """D's loss against finite differences of D: the slope along the gradient's own direction is its norm."""
    name = penalty.removeprefix("lazy ")
    discriminator = {"name": "mlp_discriminator", "units": [16], "activation": "tanh"}
    plain = tiny("gan", compiled=False, discriminator=discriminator)
    gan = tiny("gan", compiled=False, discriminator=discriminator, **{name: 2.0, "penalty_interval": 1})
    if penalty.startswith("lazy"):
        gan = tiny("gan", compiled=False, discriminator=discriminator, r1=2.0, penalty_interval=3)
    gan.set_weights(plain.get_weights())
    real = fake = ops.convert_to_tensor(mnist[:6])  # the same, so that every point between them is known
    added = ops.convert_to_numpy(gan._d_loss(real, fake, None)[0] - plain._d_loss(real, fake, None)[0])
    gradient = ops.convert_to_numpy(engine.input_gradient(gan.discriminator, real)[1])
    norm = np.sqrt((gradient**2).sum(axis=(1, 2, 3)))
    step = 1e-2 * gradient / norm[:, None, None, None]
    slope = (gan.discriminator(mnist[:6] + step) - gan.discriminator(mnist[:6] - step)) / 2e-2
    np.testing.assert_allclose(slope, norm, rtol=1e-2)
    expected = 2.0 * (norm - 1) ** 2 if name == "gradient_penalty" else norm**2
    if penalty.startswith("lazy"):
        expected = 3 * expected
        gan.train_steps.assign(1)  # not due
        assert np.all(gan._d_loss(real, fake, None)[0] == plain._d_loss(real, fake, None)[0])
    np.testing.assert_allclose(added, expected, rtol=1e-3, atol=1e-6)


def test_penalties_keep_the_discriminator_in_float32(tiny):
    gan = tiny("gan, relativistic with r1 and r2", compiled=False, dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in gan.discriminator.layers} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in gan.generator.layers}


def test_n_critic_moves_the_generator_every_so_many_steps(tiny, mnist):
    gan = tiny("gan", n_critic=3, discriminator={"name": "mlp_discriminator", "units": [8]})
    weights = []
    for _ in range(6):
        weights.append(gan.generator.get_weights()[0])
        gan.fit(mnist[:16], batch_size=16, verbose=0)
    weights.append(gan.generator.get_weights()[0])
    moved = [bool(np.any(a != b)) for a, b in itertools.pairwise(weights)]
    assert moved == [False, False, True, False, False, True]
    assert int(gan.g_optimizer.iterations) == 2
    assert int(gan.d_optimizer.iterations) == 6


def test_weights_are_clipped(tiny, mnist):
    discriminator = {"name": "mlp_discriminator", "units": [8]}
    gan = tiny("gan", game="wasserstein", weight_clip=0.01, discriminator=discriminator, run_eagerly=True)
    gan.fit(mnist[:64], batch_size=16, verbose=0)
    assert all(np.abs(w).max() <= 0.01 for w in gan.discriminator.get_weights())
    assert np.abs(gan.generator.get_weights()[0]).max() > 0.01


def test_packed_discriminators_see_images_together(tiny, mnist):
    """One logit for each pair, and each image of the pair moves it; a pair's channels are its images."""
    gan = tiny("gan, packed and augmented, lazy r1", compiled=False)
    logits = gan._judged(ops.convert_to_tensor(mnist[:6]), None, training=False)
    assert logits.shape == (3,)
    for i in range(6):
        changed = mnist[:6].copy()
        changed[i] = 1 - changed[i]
        other = gan._judged(ops.convert_to_tensor(changed), None, training=False)
        assert list(np.flatnonzero(ops.convert_to_numpy(other != logits))) == [i // 2]
    by_hand = np.concatenate([mnist[0:6:2], mnist[1:6:2]], axis=-1)
    np.testing.assert_allclose(gan.discriminator(by_hand), logits, rtol=1e-5, atol=1e-6)


def test_the_first_number_of_a_code_chooses_the_cluster():
    """Each cluster is chosen with its own probability, by where a normal draw falls."""
    shares = np.array([0.5, 0.2, 0.3])
    bounds = clusters.bounds(shares)
    np.testing.assert_allclose(bounds, [0, 0.52440], atol=1e-4)  # quantiles of 0.5 and 0.7
    draws = np.array([-3, -1e-6, 0, 0.52, 0.53, 9], "float32")[:, None]
    told = ops.convert_to_numpy(clusters.one_hot(ops.convert_to_tensor(draws), bounds))
    np.testing.assert_array_equal(told, np.eye(3)[[0, 0, 1, 1, 2, 2]])
    many = np.random.default_rng(0).normal(size=(20_000, 1)).astype("float32")
    np.testing.assert_allclose(np.mean(clusters.one_hot(many, bounds), axis=0), shares, atol=0.01)


def test_thumbnails_are_means_over_squares():
    images = np.random.default_rng(0).random((3, 56, 28, 2), "float32")
    by_hand = images.reshape(3, 14, 4, 7, 4, 2).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(clusters.thumbnails(ops.convert_to_tensor(images)), by_hand, atol=1e-6)
    assert clusters.size((56, 28, 2)) == 14 * 7 * 2
    assert clusters.size((15, 40, 1)) == 15 * 40  # an odd side stays


def test_a_gan_with_clusters_finds_them_and_keeps_them(tiny, mnist, tmp_path):
    """Three flat greys: k-means finds them, however many images each has; and a file holds what was found."""
    greys = np.repeat(np.array([0.1, 0.5, 0.9], "float32"), [60, 30, 10])
    images = greys[:, None, None, None] + 0.01 * mnist[:100]
    gan = tiny("gan told its clusters")
    gan.adapt(images)
    found = ops.convert_to_numpy(gan._kinds(ops.convert_to_tensor(images), None))
    order = found[[0, 60, 90]]
    np.testing.assert_array_equal(found, np.repeat(order, [60, 30, 10]))
    z = np.random.default_rng(0).normal(size=(5000, 4)).astype("float32")
    told = np.mean(clusters.one_hot(z[:, :1], gan.cluster_choice.bounds), axis=0)
    np.testing.assert_allclose(told[order], [0.6, 0.3, 0.1], atol=0.02)
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    np.testing.assert_array_equal(again.generate(z[:8]), gan.generate(z[:8]))
    np.testing.assert_array_equal(again.judge(images[::20]), gan.judge(images[::20]))
    with pytest.raises(ZooError, match="`n_clusters` must be <= 2, the number of different images"):
        gan.adapt(np.stack([mnist[0], mnist[1], mnist[0]]))


def test_the_first_number_of_a_code_does_nothing_else(tiny):
    gan = tiny("gan told its clusters", compiled=False)
    gan.cluster_choice.bounds.assign([-1.0, 1.0])
    z = np.zeros((4, 4), "float32")
    z[:, 0] = [-0.9, 0.9, 1.1, -1.1]
    same, also, other, third = gan.generate(z)
    np.testing.assert_array_equal(same, also)
    assert (other != same).any()
    assert (third != same).any()


def test_a_gan_with_clusters_does_not_train_before_it_knows_them(mnist):
    options = {**TINY["gan"], "n_clusters": 3}
    gan = models.get("gan")(**options)
    gan.compile(g_optimizer="adam", d_optimizer="adam")
    for train in (lambda: gan.fit(mnist[:32], verbose=0), lambda: gan.train_on_batch(mnist[:32])):
        with pytest.raises(ZooError, match=r"call adapt\(images\) before fit"):
            train()
    with pytest.raises(ZooError, match="this one has none"):
        models.get("gan")(**TINY["gan"]).adapt(mnist)


def test_gan_average_follows_the_generator(tiny, mnist):
    gan = tiny("gan", ema_decay=0.5, learning_rate=1e-2, run_eagerly=True)
    initial = gan.ema_generator.get_weights()
    gan.fit(mnist[:32], batch_size=32, verbose=0)  # one step: decay min(0.5, 2/11)
    for average, start, now in zip(gan.ema_generator.get_weights(), initial, gan.generator.get_weights(), strict=True):
        np.testing.assert_allclose(average, start + (1 - 2 / 11) * (now - start), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(gan.predict(np.zeros((2, 4)), verbose=0), gan.generate(np.zeros((2, 4), "float32")))


def test_gan_refuses_one_optimizer_for_both(tiny):
    shared = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="optimizer of its own"):
        tiny("gan", compiled=False).compile(g_optimizer=shared, d_optimizer=shared)


def test_overflow_skips_the_step_and_lowers_the_scale(tiny, mnist):
    gan = tiny("gan", compiled=False, dtype="mixed_float16")
    scaled = [keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**60) for _ in range(2)]
    gan.compile(g_optimizer=scaled[0], d_optimizer=scaled[1])
    before = [ops.convert_to_numpy(v) for v in gan.discriminator.trainable_variables]
    gan.fit(mnist[:32], batch_size=32, verbose=0)
    for variable, old in zip(gan.discriminator.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), old)
    assert all(float(o.dynamic_scale) < 2.0**60 for o in scaled)


def test_classifier_needs_labels(tiny, mnist):
    with pytest.raises(ValueError, match="labels=True"):
        tiny("classifier").fit(mnist[:32], verbose=0)


@pytest.mark.parametrize(
    ("family", "loss"),
    [
        ("autoencoder", "loss"),
        ("vae", "loss"),
        pytest.param("classifier", "loss", marks=pytest.mark.nightly),
    ],
)
def test_a_short_training_lowers_the_loss_on_unseen_images(family, loss, tiny):
    from keras_genzoo import data

    # The KL term of an untrained decoder first collapses the code: the VAE's floor without learning is about 206.
    model = tiny(family, learning_rate=3e-3)
    labels = family == "classifier"
    train = data.load("mnist", "train", labels=labels, batch_size=100).take(200)
    test = data.load("mnist", "test", labels=labels, batch_size=100).take(10)
    before = model.evaluate(test, verbose=0, return_dict=True)[loss]
    model.fit(train, verbose=0)
    after = model.evaluate(test, verbose=0, return_dict=True)[loss]
    assert after < 0.6 * before


def test_iw_weights_average_to_the_elbo(tiny, mnist):
    """E_q[log w] is the ELBO: the analytic KL and the sampled weights must agree."""
    vae = tiny("vae", compiled=False)
    x = ops.convert_to_tensor((mnist[:8] > 0.5).astype("float32"))
    weights = ops.convert_to_numpy(vae.log_weights(x, n_samples=2000, seed=1))
    assert weights.shape == (2000, 8)
    q = vae.encode(ops.convert_to_numpy(x))
    rng = np.random.default_rng(0)
    z = (q.z_mean + np.exp(q.z_log_var / 2) * rng.normal(size=(2000, 8, 4))).reshape(-1, 4).astype("float32")
    raw = vae.decoder.predict(z, batch_size=4000, verbose=0).reshape(2000, 8, 28, 28, 1)
    log_likelihood = np.stack([-ops.convert_to_numpy(losses.binary_cross_entropy(x, logits=r)) for r in raw]).mean(0)
    kl = 0.5 * (q.z_mean**2 + np.exp(q.z_log_var) - 1 - q.z_log_var).sum(1)
    error = weights.std(0) / np.sqrt(2000)
    assert np.all(np.abs(weights.mean(0) - (log_likelihood - kl)) < 6 * error + 1e-3)
