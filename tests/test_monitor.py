"""The monitor: it names a collapse that is one, is quiet where all is well, and does what it was told."""

import warnings

import keras
import numpy as np
import pytest

from keras_genzoo import GANMonitor, data, models
from keras_genzoo.data import made
from keras_genzoo.errors import ZooError
from keras_genzoo.models.gan import monitor

RING = made.MIXTURES["ring2d"]


def ring_gan(g_rate, d_rate, **options):
    keras.utils.set_random_seed(0)
    gan = models.get("gan")(
        image_shape=(1, 1, 2),
        latent_dim=2,
        generator={"name": "mlp_generator", "units": [128, 128]},
        discriminator={"name": "mlp_discriminator", "units": [128, 128]},
        ema_decay=0.99,
        seed=0,
        **options,
    )
    g_optimizer, d_optimizer = (keras.optimizers.Adam(rate, beta_1=0.0) for rate in (g_rate, d_rate))
    gan.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer, steps_per_execution=50)
    return gan


def healthy():
    return ring_gan(1e-3, 1e-3, game="relativistic", r1=0.1, r2=0.1)


def doomed():
    """D hardly answers, so the best reply of G is one point, where D says "real" most: no matter how numbers round."""
    return ring_gan(5e-3, 1e-7, game="non_saturating")


def fit(gan, watching, *, steps=1200):
    batches, _ = data.stream("ring2d", batch_size=256)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gan.fit(batches, steps_per_epoch=100, epochs=steps // 100, verbose=0, callbacks=[watching])
    return [str(warning.message) for warning in told if "GANMonitor" in str(warning.message)]


@pytest.fixture(scope="module")
def points():
    return [data.arrays("ring2d", split)[0][:1000] for split in ("train", "test")]


def test_a_collapse_is_named(points, tmp_path):
    watching = GANMonitor(*points, every=200, grace=2, patience=2, out=tmp_path)
    told = fit(doomed(), watching)
    assert watching.troubles == [(800, "mode collapse")]  # the third and the fourth look
    assert len(told) == 1
    assert told[0].startswith("GANMonitor at step 800: mode collapse: diversity ")
    assert told[0].endswith("training goes on")
    assert [look["step"] for look in watching.looks] == [200, 400, 600, 800, 1000, 1200]
    assert max(look["diversity"] for look in watching.looks) < 0.1
    assert max(look["real_above_fake"] for look in watching.looks) < 0.1  # D is fooled, by one point
    for name in ("samples.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.nightly
def test_a_healthy_run_is_left_alone(points):
    watching = GANMonitor(*points, every=200, modes=RING.modes_of, n_modes=8, action="stop")
    gan = healthy()
    assert fit(gan, watching, steps=2000) == []
    assert watching.troubles == []
    assert int(gan.train_steps.numpy()) == 2000
    last = watching.looks[-1]
    assert last["modes"] == 8
    assert last["diversity"] == pytest.approx(1, abs=0.1)
    assert 0.3 < last["train_above_holdout"] < 0.7
    assert last["g_gradient_norm"] > 0
    assert last["d_gradient_norm"] > 0


def test_lost_modes_are_a_collapse(points):
    """Seven of eight are enough, five are not; far from each other as they are."""
    gan = healthy()
    watching = GANMonitor(*points, every=200, grace=0, patience=1, modes=RING.modes_of, n_modes=8)
    watching.set_model(gan)
    images, labels = data.arrays("ring2d", "train")
    for n_modes, called in ((7, False), (5, True)):
        gan.sample = lambda n, seed, averaged=True, n_modes=n_modes: images[labels < n_modes][:n]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watching.look(200)
        assert watching.looks[-1]["modes"] == n_modes
        assert any(name == "mode collapse" for _, name in watching.troubles) == called


def test_stop_stops(points):
    gan = doomed()
    told = fit(gan, GANMonitor(*points, every=200, grace=2, patience=2, action="stop"))
    assert int(gan.train_steps.numpy()) == 800
    assert told[0].endswith("training stops")


@pytest.mark.parametrize("scheduled", [False, True])
def test_restore_goes_back_with_smaller_steps(points, scheduled):
    gan = healthy()
    if scheduled:
        rate = keras.optimizers.schedules.CosineDecay(1e-3, 2000)
        gan.compile(g_optimizer=keras.optimizers.Adam(rate), d_optimizer=keras.optimizers.Adam(rate))
    watching = GANMonitor(*points, every=100, grace=0, patience=1, action="restore", max_restores=2, factor=0.5)
    fit(gan, watching, steps=100)
    good = [weight.copy() for weight in gan.get_weights()]
    slots = [variable.numpy().copy() for variable in gan.g_optimizer.variables]
    before = float(gan.g_optimizer.learning_rate)
    for i in (1, 2):
        for weight in gan.generator.weights:
            weight.assign(weight * np.nan)
        with pytest.warns(UserWarning, match=rf"not finite.*back to the last good weights.*\(restore {i}\)"):
            watching.on_train_batch_end(0, {"g_loss": float("nan")})
        watching.on_train_batch_end(0, {"g_loss": 1.0})
        watching._streaks = {}
        for weight, value in zip(gan.weights, good, strict=True):
            assert weight is gan.train_steps or (weight.numpy() == value).all()
        assert float(gan.g_optimizer.learning_rate) == pytest.approx(before * 0.5**i)
        assert float(gan.d_optimizer.learning_rate) == pytest.approx(before * 0.5**i)
    kept = [v.numpy() for v in gan.g_optimizer.variables]
    assert all((a == b).all() for a, b in zip(kept, slots, strict=True) if a.ndim)
    assert not gan.stop_training
    for weight in gan.generator.weights:
        weight.assign(weight * np.nan)
    with pytest.warns(UserWarning, match="back to the last good weights; training stops after 2 restores"):
        watching.on_train_batch_end(0, {"g_loss": float("nan")})
    assert gan.stop_training
    for weight, value in zip(gan.weights, good, strict=True):
        assert weight is gan.train_steps or (weight.numpy() == value).all()


class Spoiler(keras.callbacks.Callback):
    """Spoils a network at the end of some steps, as a step too long does; the losses are those before it."""

    def __init__(self, steps, network="generator"):
        super().__init__()
        self.steps, self.network = steps, network

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.train_steps.numpy()) in self.steps:
            for weight in getattr(self.model, self.network).weights:
                weight.assign(weight * np.nan)


@pytest.mark.parametrize("network", ["generator", pytest.param("discriminator", marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    ("max_restores", "every"),
    [(0, 1), pytest.param(1, 1, marks=pytest.mark.nightly), pytest.param(3, 1, marks=pytest.mark.nightly), (3, 5)],
)
def test_a_users_own_fit_never_ends_on_nan(points, network, max_restores, every):
    """Whether restores are left or not, the last step is the bad one or not, and a look falls on it or not."""
    gan = healthy()
    gan.compile(g_optimizer=keras.optimizers.Adam(1e-3), d_optimizer=keras.optimizers.Adam(1e-3))
    watching = GANMonitor(*points, every=every, grace=100, action="restore", max_restores=max_restores)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gan.fit(points[0], batch_size=250, epochs=2, verbose=0, callbacks=[Spoiler({2, 8}, network), watching])
    assert all(np.isfinite(weight).all() for weight in gan.get_weights())
    assert all(np.isfinite(v.numpy()).all() for v in (*gan.g_optimizer.variables, *gan.d_optimizer.variables))
    assert np.isfinite(gan.sample(4, seed=0)).all()
    assert watching.has_stopped == (max_restores < 2)
    assert len([warning for warning in told if "GANMonitor" in str(warning.message)]) == min(max_restores + 1, 2)


def test_good_weights_that_are_resumed_are_those_that_were_kept(points):
    """And not those of the checkpoint, in which the trouble may have begun."""
    first = GANMonitor(*points, action="restore")
    gan = healthy()
    first.set_model(gan)
    first.on_train_begin()
    good = [weight.copy() for weight in gan.get_weights()]
    fit(gan, keras.callbacks.Callback(), steps=100)
    second = GANMonitor(*points, action="restore")
    second.resume(first.state(), first.arrays())
    second.set_model(gan)
    second.on_train_begin()
    with pytest.warns(UserWarning, match="back to the last good weights"):
        second.on_train_batch_end(0, {"g_loss": float("nan")})
    for weight, value in zip(gan.weights, good, strict=True):
        assert weight is gan.train_steps or (weight.numpy() == value).all()


def test_a_second_fit_is_not_slowed_again(points):
    gan = healthy()
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 1_000_000)
    gan.compile(g_optimizer=keras.optimizers.Adam(rate), d_optimizer=keras.optimizers.Adam(rate))
    watching = GANMonitor(*points, action="restore")
    watching.set_model(gan)
    watching.on_train_begin()
    with pytest.warns(UserWarning, match="restore 1"):
        watching.on_train_batch_end(0, {"g_loss": float("nan")})
    watching.on_train_begin()
    assert float(gan.g_optimizer.learning_rate) == pytest.approx(0.5e-3)


def test_training_really_goes_on_with_the_smaller_steps(points):
    """The compiled step has the old rate built in, where it is a schedule."""
    gan = healthy()
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 1_000_000)
    gan.compile(g_optimizer=keras.optimizers.SGD(rate), d_optimizer=keras.optimizers.SGD(rate))

    class Slow(keras.callbacks.Callback):
        moved = ()

        def on_epoch_begin(self, epoch, logs=None):
            self.before = gan.discriminator.get_weights()

        def on_epoch_end(self, epoch, logs=None):
            pairs = zip(gan.discriminator.get_weights(), self.before, strict=True)
            self.moved = (*self.moved, max(np.abs(a - b).max() for a, b in pairs))
            if epoch == 0:
                watching._slow_down(1e-6)

    watching = GANMonitor(*points)
    slow = Slow()
    batches, _ = data.stream("ring2d", batch_size=256)
    gan.fit(batches, steps_per_epoch=5, epochs=2, verbose=0, callbacks=[watching, slow])
    assert 0 < slow.moved[1] < 1e-4 * slow.moved[0]


def test_watching_changes_nothing(points):
    """The looks draw from seeds of their own: the watched run ends with the weights of the unwatched one."""
    watched, unwatched = healthy(), healthy()
    fit(watched, GANMonitor(*points, every=50), steps=200)
    fit(unwatched, keras.callbacks.Callback(), steps=200)
    for a, b in zip(watched.get_weights(), unwatched.get_weights(), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("name", ["gan, packed and augmented, lazy r1", "conditional gan"])
def test_any_gan_can_be_watched(tiny, mnist, name):
    labels = data.arrays("mnist", "train")[1][: len(mnist)]
    images = (mnist, labels) if name == "conditional gan" else mnist
    watching = GANMonitor(images, images, every=1, n=20)
    gan = tiny(name)
    x, y = mnist[:40], (labels[:40] if name == "conditional gan" else None)
    gan.fit(x, y, batch_size=20, verbose=0, callbacks=[watching])
    assert len(watching.looks) == 2
    assert watching.looks[0]["train_above_holdout"] == 0.5  # the same images
    assert "g_gradient_norm" not in gan.evaluate(x, y, verbose=0, return_dict=True)


def test_a_resumed_monitor_remembers(points):
    first = GANMonitor(*points, every=200, grace=2, patience=2)
    gan = doomed()
    fit(gan, first, steps=600)
    second = GANMonitor(*points, every=200, grace=2, patience=2)
    second.resume(first.state())
    fit(gan, second, steps=200)
    assert second.troubles == [(800, "mode collapse")]
    assert len(second.looks) == 4


def test_a_resumed_run_goes_on_as_slowly(points):
    """Constant rates are saved with the optimizers, schedules are not."""
    state = {"looks": [], "troubles": [], "restores": 2, "streaks": {}}
    for rate, expected in ((1e-3, 1e-3), (keras.optimizers.schedules.CosineDecay(1e-3, 1000), 0.25e-3)):
        gan = healthy()
        gan.compile(g_optimizer=keras.optimizers.Adam(rate), d_optimizer=keras.optimizers.Adam(rate))
        watching = GANMonitor(*points, action="restore")
        watching.resume(state)
        watching.set_model(gan)
        watching.on_train_begin()
        assert float(gan.g_optimizer.learning_rate) == pytest.approx(expected)


def test_the_chance_that_one_is_above_the_other():
    assert monitor._chance_above(np.array([3.0, 4]), np.array([1.0, 2])) == 1
    assert monitor._chance_above(np.array([1.0, 3]), np.array([2.0, 3])) == (0 + 0 + 1 + 0.5) / 4
    square = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]).reshape(4, 1, 1, 2)
    assert monitor._mean_distance(square) == pytest.approx((4 + 2 * np.sqrt(2)) / 6)


def test_bad_input(points):
    for options, message in (
        ({"action": "pray"}, "`action` must be one of warn, stop, restore. Received: 'pray'"),
        ({"every": 0}, "`every` must be >= 1. Received: 0"),
        ({"factor": 1.0}, r"`factor` must be in \(0, 1\). Received: 1.0"),
        ({"modes": RING.modes_of}, "`modes` and `n_modes` go together"),
        ({"n": 2000}, "`train` must hold at least n=2000 images. Received: 1000"),
    ):
        with pytest.raises(ZooError, match=message):
            GANMonitor(*points, **options)
