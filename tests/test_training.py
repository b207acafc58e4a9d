"""train: what was stopped and goes on ends where an unbroken run ends, to the bit."""

import json

import keras
import numpy as np
import pytest
from helpers import GAN, PRESET, WATCHED_GAN, preset_of

import keras_genzoo as gz
from keras_genzoo import data, origin, presets, training
from keras_genzoo.errors import ZooError
from keras_genzoo.models.gan.hooks import GANHooks


@pytest.fixture
def few_images(monkeypatch):
    """The first 600 images of a split in place of all: an epoch of a convolution network in a moment."""
    whole = data.arrays
    monkeypatch.setattr(data, "arrays", lambda *a, **k: tuple(array[:600] for array in whole(*a, **k)))


class Stopped(Exception):
    """What a pulled plug looks like from inside."""


@pytest.mark.parametrize(
    ("text", "dtype"),
    [(PRESET, None), pytest.param(GAN, None, marks=pytest.mark.nightly), (WATCHED_GAN, "mixed_float16")],
)
def test_a_resumed_run_ends_with_the_same_weights(text, dtype, tmp_path, monkeypatch, few_images):
    preset = preset_of(text.replace("batch_size: 2000", "batch_size: 100"), tmp_path / "preset")
    unbroken = gz.train(preset, tmp_path / "unbroken", dtype=dtype, verbose=0)

    fit = type(unbroken).fit

    def fit_until_stopped(self, *arguments, callbacks, **keywords):
        def stop(batch, logs):
            if int(self.train_steps.numpy()) >= steps_before_stop:
                raise Stopped

        return fit(
            self,
            *arguments,
            callbacks=[*callbacks, keras.callbacks.LambdaCallback(on_train_batch_end=stop)],
            **keywords,
        )

    steps_before_stop = int(unbroken.train_steps.numpy()) // 3 + 2  # inside the second epoch
    with monkeypatch.context() as patch:
        patch.setattr(type(unbroken), "fit", fit_until_stopped)
        with pytest.raises(Stopped):
            gz.train(preset, tmp_path / "resumed", dtype=dtype, verbose=0)
    assert not (tmp_path / "resumed").exists()
    assert json.loads((tmp_path / "resumed.partial" / "state.json").read_text())["epoch"] == 1

    keras.utils.set_random_seed(99)  # the next process would not share this one's random state
    resumed = gz.train(preset, tmp_path / "resumed", dtype=dtype, verbose=0)
    assert not (tmp_path / "resumed.partial").exists()
    for a, b in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for key in resumed.OPTIMIZERS:
        ours, theirs = getattr(resumed, key).variables, getattr(unbroken, key).variables
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    np.testing.assert_array_equal(gz.load(tmp_path / "resumed").get_weights()[0], unbroken.get_weights()[0])


def test_a_partial_run_of_another_configuration_is_not_continued(tmp_path, monkeypatch):
    preset = preset_of(PRESET, tmp_path / "preset")
    with monkeypatch.context() as patch:
        patch.setattr("keras_genzoo.zoo.save", lambda *_, **__: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            gz.train(preset, tmp_path / "out", epochs=1, verbose=0)
    other = preset_of(PRESET.replace("latent_dim: 4", "latent_dim: 5"), tmp_path / "other")
    with pytest.raises(ZooError, match=r"out.partial holds a run of another configuration"):
        gz.train(other, tmp_path / "out", epochs=1, verbose=0)
    gz.train(preset, tmp_path / "out", epochs=1, verbose=0)  # the right one only has to be saved


@pytest.mark.nightly
def test_training_lowers_the_loss(tmp_path):
    preset = preset_of(
        PRESET.replace("2000", "500").replace("1e-3", "5e-3").replace("epochs: 3", "epochs: 6"), tmp_path / "preset"
    )
    gz.train(preset, tmp_path / "a", verbose=0)
    test = gz.data.load("mnist", "test", binarize="dynamic", batch_size=1000)
    before = gz.load(tmp_path / "a", weights=None).evaluate(test, verbose=0, return_dict=True)["loss"]
    after = gz.load(tmp_path / "a").evaluate(test, verbose=0, return_dict=True)["loss"]
    # 206 nats is what the best constant (each pixel's mean) reaches: below it, the codes carry something.
    assert before > 540
    assert after < 190


def test_a_preset_may_start_from_the_weights_of_another(tmp_path):
    first = preset_of(PRESET, tmp_path / "preset")
    trained = gz.train(first, tmp_path / "first", epochs=1, verbose=0)
    text = PRESET.replace("epochs:", f"start_from: {tmp_path / 'first'}\n  epochs:")
    model, _, steps = training.prepare(preset_of(text, tmp_path / "second"))
    for ours, theirs in zip(model.trainable_variables, trained.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert int(trained.train_steps.numpy()) == steps
    assert int(model.train_steps.numpy()) == 0  # a warm-up of the second preset begins with its first step
    fresh, _, _ = training.prepare(first)
    np.testing.assert_array_equal(model.seed_generator.state.numpy(), fresh.seed_generator.state.numpy())

    other = preset_of(text.replace("latent_dim: 4", "latent_dim: 5"), tmp_path / "other")
    with pytest.raises(ZooError, match="does not hold the weights of this VAE"):
        training.prepare(other)
    lost = preset_of(text.replace(str(tmp_path / "first"), "vae_mist"), tmp_path / "lost")
    with pytest.raises(ZooError, match="Unknown preset 'vae_mist'"):
        training.prepare(lost)


@pytest.mark.parametrize("text", [PRESET, GAN], ids=["vae", "gan"])
def test_a_loss_that_is_not_finite_stops_and_says_so(text, tmp_path, few_images):
    preset = preset_of(text.replace("1e-3", "1e30").replace("batch_size: 2000", "batch_size: 100"), tmp_path / "preset")
    with pytest.raises(ZooError, match=r"stopped at a loss that is not finite in epoch \d.*Lower the learning rate"):
        gz.train(preset, tmp_path / "out", verbose=0)
    assert not (tmp_path / "out").exists()


def test_bad_arguments(tmp_path):
    preset = preset_of(PRESET, tmp_path / "preset")
    with pytest.raises(ZooError, match="Unknown preset 'vae_mist'"):
        gz.train("vae_mist", tmp_path / "out")
    with pytest.raises(ZooError, match="exists"):
        gz.train(preset, tmp_path / "preset")
    with pytest.raises(ZooError, match=r"`epochs` must be >= 1. Received: 0"):
        gz.train(preset, tmp_path / "out", epochs=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="Cannot write"):
        gz.train(preset, tmp_path / "file" / "out", epochs=1, verbose=0)


def test_a_damaged_checkpoint_is_named(tmp_path):
    preset = preset_of(PRESET, tmp_path / "preset")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "state.json").write_text('{"epoch": 1')
    with pytest.raises(ZooError, match=r"state.json is not JSON .* remove .*out.partial"):
        gz.train(preset, tmp_path / "out")


def test_a_gan_learns_where_the_ink_is(tmp_path, monkeypatch):
    """A short real game: the samples' mean image comes closer to the digits' than half the way from its start."""
    text = GAN.replace("filters: [4, 4]", "filters: [16, 8]").replace("epochs: 3", "epochs: 1")
    preset = preset_of(text.replace("dropout: 0.2", "dropout: 0.0"), tmp_path / "preset")
    whole = data.arrays
    monkeypatch.setattr(data, "arrays", lambda *a, **k: tuple(array[:25_000] for array in whole(*a, **k)))
    real = data.to_unit(data.arrays("mnist", "test")[0]).mean(0)

    def distance(model):
        return np.linalg.norm(model.sample(1000, seed=0).mean(0) - real)

    before = distance(gz.load(preset.folder, weights=None))
    assert distance(gz.train(preset, tmp_path / "out", verbose=0)) < before / 2


def test_the_monitor_of_a_preset_watches_and_stops(tmp_path, few_images, monkeypatch):
    """Its pictures appear while the training runs, its images are not trained on, and it has the last word."""
    text = GAN + "gan: {monitor: {every: 2, action: stop, grace: 0, patience: 1}}\n"
    preset = preset_of(text, tmp_path / "preset")
    with (
        pytest.warns(UserWarning, match="GANMonitor at step 2: mode collapse"),
        pytest.raises(ZooError, match=r"Training of preset stopped at mode collapse in epoch 1"),
    ):
        gz.train(preset, tmp_path / "out", verbose=0)  # two steps in, all samples are one grey
    assert (tmp_path / "out.partial" / "monitor" / "samples.png").is_file()
    assert not (tmp_path / "out").exists()
    model, _, steps = training.prepare(preset)
    assert steps == (600 - 256) // 100
    watching = GANHooks(preset).monitor(model, None)
    assert watching.n_modes == 10
    assert (watching.holdout[0] == data.to_unit(data.arrays("mnist", "train")[0][-256:])).all()


def test_only_a_gan_is_watched(tmp_path):
    preset = tmp_path / "preset"
    preset.mkdir()
    (preset / "preset.yaml").write_text(PRESET + "gan: {monitor: {}}\n")
    with pytest.raises(ZooError, match="unknown key `gan`"):
        gz.train(preset, tmp_path / "out", verbose=0)


def test_weights_say_where_they_come_from(tmp_path, few_images):
    """The record of a training, and of one that starts from it; the start counts by the hash of its weights."""
    text = PRESET.replace("epochs: 3", "epochs: 1")
    gz.train(preset_of(text, tmp_path / "preset"), tmp_path / "first", verbose=0)
    record = json.loads((tmp_path / "first" / "weights.json").read_text())
    came = record["origin"]
    assert set(came["versions"]) == {"keras_genzoo", "keras", "tensorflow"}
    assert came["preset_digest"] == presets.find(tmp_path / "preset").digest()
    assert came["data"] == {"mnist": origin.data_hash(*data.arrays("mnist", "train"))}
    assert (came["dtype"], came["start_from"]) == ("float32", None)
    assert came["device"]
    assert came["commit"] == origin.commit()
    assert came["seconds"] > 0

    second = preset_of(text.replace("epochs:", f"start_from: {tmp_path / 'first'}\n  epochs:"), tmp_path / "second")
    gz.train(second, tmp_path / "then", verbose=0)
    came = json.loads((tmp_path / "then" / "weights.json").read_text())["origin"]
    assert came["start_from"] == {"name": str(tmp_path / "first"), "sha256": record["sha256"]}
    loaded = gz.load(tmp_path / "then")
    gz.save(loaded, tmp_path / "half", weights_dtype="float16")  # the same training, in a smaller file
    kept = json.loads((tmp_path / "half" / "weights.json").read_text())["origin"]
    assert kept == came
    assert (tmp_path / "half" / "history.json").read_text() == (tmp_path / "then" / "history.json").read_text()
    loaded.decoder.set_weights([weight + 1 for weight in loaded.decoder.get_weights()])
    gz.save(loaded, tmp_path / "changed")
    assert "seconds" not in json.loads((tmp_path / "changed" / "weights.json").read_text())["origin"]
    assert not (tmp_path / "changed" / "history.json").exists()

    before = second.digest()
    (tmp_path / "moved").mkdir()
    for file in (tmp_path / "first").iterdir():
        file.rename(tmp_path / "moved" / file.name)
    moved = second.with_updates(training={"start_from": str(tmp_path / "moved")})
    assert moved.digest() == before  # the same weights under another name
    record["sha256"] = "0" * 64
    (tmp_path / "moved" / "weights.json").write_text(json.dumps(record))
    assert moved.digest() != before
