"""train: what was stopped and goes on ends where an unbroken run ends, to the bit."""

import functools
import json
import re
import shutil

import keras
import numpy as np
import pytest
from helpers import GAN, PRESET, RESTORED_GAN, TINY_SWAP, WATCHED_GAN, preset_of
from PIL import Image

import keras_genzoo as gz
from keras_genzoo import data, files, models, origin, presets, training, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.models.gan.hooks import GANHooks
from keras_genzoo.provenance import write_image


@pytest.fixture
def few_images(monkeypatch):
    """The first 600 images of a split in place of all: an epoch of a convolution network in a moment."""
    whole = data.arrays
    monkeypatch.setattr(data, "arrays", lambda *a, **k: tuple(array[:600] for array in whole(*a, **k)))


class Stopped(Exception):
    """What a pulled plug looks like from inside."""


@pytest.mark.filterwarnings("ignore:GANMonitor")
@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param(PRESET, {}, marks=pytest.mark.nightly),
        (PRESET, {"validation": 0.1, "seed": 3, "updates": {"model.beta": 4}}),
        pytest.param(GAN, {}, marks=pytest.mark.nightly),
        pytest.param(WATCHED_GAN, {"dtype": "mixed_float16"}, marks=pytest.mark.nightly),
        (RESTORED_GAN, {}),
        pytest.param(
            RESTORED_GAN,
            {"updates": {"training.optimizers.g_optimizer.schedule": "cosine", "gan.monitor.factor": 0.9}},
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["vae", "vae with options", "gan", "watched gan in half precision", "restored gan", "and with a schedule"],
)
def test_a_resumed_run_ends_with_the_same_weights(text, options, tmp_path, monkeypatch, few_images):
    for name in ("curves", "grid"):  # pictures take longer than these trainings
        monkeypatch.setattr(f"keras_genzoo.plots.{name}", lambda *_, **__: None)
    preset = preset_of(text.replace("batch_size: 2000", "batch_size: 100"), tmp_path / "preset")
    unbroken = gz.train(preset, tmp_path / "unbroken", **options, verbose=0)

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
            gz.train(preset, tmp_path / "resumed", **options, verbose=0)
    assert not (tmp_path / "resumed").exists()
    assert json.loads((tmp_path / "resumed.partial" / "state.json").read_text())["epoch"] == 1

    keras.utils.set_random_seed(99)  # the next process would not share this one's random state
    resumed = gz.train(preset, tmp_path / "resumed", **options, verbose=0)
    assert not (tmp_path / "resumed.partial").exists()
    for a, b in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for key in resumed.OPTIMIZERS:
        ours, theirs = getattr(resumed, key).variables, getattr(unbroken, key).variables
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    np.testing.assert_array_equal(gz.load(tmp_path / "resumed").get_weights()[0], unbroken.get_weights()[0])
    for file in ("history.json", "golden.npz"):
        assert (tmp_path / "resumed" / file).read_bytes() == (tmp_path / "unbroken" / file).read_bytes()


def test_a_partial_run_of_another_configuration_is_not_continued(stopped, tmp_path):
    preset, partial = stopped
    other = preset.with_updates(model={**preset.model, "latent_dim": 5})
    with pytest.raises(ZooError, match=r"out.partial holds a run of another configuration"):
        gz.train(other, tmp_path / "out", verbose=0)
    gz.train(preset, tmp_path / "out", verbose=0)  # the right one only has to be saved
    assert not partial.exists()


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


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    preset = preset_of(PRESET.replace("epochs: 3", "epochs: 2").replace("2000", "300"), folder / "preset")
    whole = data.arrays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "arrays", lambda *a, **k: tuple(array[:600] for array in whole(*a, **k)))
        patch.setattr("keras_genzoo.zoo.save", lambda *_, **__: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            gz.train(preset, folder / "out", verbose=0)
    return preset, folder / "out.partial"


@pytest.fixture
def stopped(stopped_once, tmp_path, few_images):
    """A preset, and the partial run of two epochs of it that was killed just before its model was saved."""
    shutil.copytree(stopped_once[1], tmp_path / "out.partial")
    return stopped_once[0], tmp_path / "out.partial"


def test_a_damaged_checkpoint_is_named(stopped, tmp_path):
    """A bit that has flipped anywhere; what is no state; what is missing."""
    preset, partial = stopped
    stored = {path.name: path.read_bytes() for path in partial.iterdir()}
    assert set(stored) == {"state.json", "epoch2.weights.h5"}

    def refused(name, content, complaint):
        (partial / name).write_bytes(content)
        with pytest.raises(ZooError, match=rf"{name}.* {complaint}.*; remove .*out.partial to start again"):
            gz.train(preset, tmp_path / "out", verbose=0)
        (partial / name).write_bytes(stored[name])

    def flipped(content, i):
        return content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]

    weights, state = stored["epoch2.weights.h5"], stored["state.json"]
    for i in (0, len(weights) // 2, len(weights) - 1):
        refused("epoch2.weights.h5", flipped(weights, i), "is damaged: its SHA-256 is not that in state.json")
    for i in range(10, len(state) - 1, 97):
        refused("state.json", flipped(state, i), "(is damaged|is not JSON|key `.*` is missing|`.*` must be)")
    for content in (b'{"epoch": 1', b"[]", b"1", b"\xff\xfe", b'{"rows": null}', b"{}", b""):
        refused("state.json", content, "(is damaged|is not JSON|must hold a mapping|key `.*` is missing)")
    (partial / "epoch2.weights.h5").unlink()
    with pytest.raises(ZooError, match=r"Cannot read .*epoch2.weights.h5 \(No such file.*; remove"):
        gz.train(preset, tmp_path / "out", verbose=0)
    (partial / "epoch2.weights.h5").write_bytes(weights)
    gz.train(preset, tmp_path / "out", verbose=0)


def test_a_checkpoint_of_an_older_version_goes_on(stopped, tmp_path):
    preset, partial = stopped
    state = json.loads((partial / "state.json").read_text())
    older = ("digest", "dtype", "epoch", "weights", "history", "seconds", "hooks")
    (partial / "state.json").write_text(json.dumps({key: state[key] for key in older}))
    model = gz.train(preset, tmp_path / "out", verbose=0)
    assert int(model.train_steps.numpy()) == 2 * 2


def test_a_finished_run_whose_checkpoint_is_left_is_recognised(stopped, tmp_path, monkeypatch):
    """Killed at any moment of the removal, it is done; what another run has left is not taken for it."""
    preset, partial = stopped
    stored = {path.name: path.read_bytes() for path in partial.iterdir()}
    done = gz.train(preset, tmp_path / "out", verbose=0)
    monkeypatch.setattr("keras_genzoo.training._prepared", lambda *_, **__: pytest.fail("trained again"))
    for left in (list(stored), ["state.json"], []):
        partial.mkdir()
        for name in left:
            (partial / name).write_bytes(stored[name])
        again = gz.train(preset, tmp_path / "out", verbose=0)
        assert not partial.exists()
        np.testing.assert_array_equal(again.get_weights()[0], done.get_weights()[0])
    with pytest.raises(ZooError, match="out exists"):
        gz.train(preset, tmp_path / "out", verbose=0)
    partial.mkdir()
    (partial / "state.json").write_bytes(stored["state.json"])
    with pytest.raises(ZooError, match="out exists"):
        gz.train(preset, tmp_path / "out", epochs=1, verbose=0)
    assert partial.exists()


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, file_limit):
    preset = preset_of(PRESET, tmp_path / "preset")
    monkeypatch.setattr("keras_genzoo.training._prepared", lambda *_, **__: pytest.fail("began"))
    (tmp_path / "file").write_text("")
    for out, reason in ((tmp_path / "file" / "out", "Not a directory"), (tmp_path / ("a" * 300), "name too long")):
        with pytest.raises(ZooError, match=f"Cannot write .*{reason}"):
            gz.train(preset, out, verbose=0)
    with file_limit(0), pytest.raises(ZooError, match=r"Cannot write .*too large"):
        gz.train(preset, tmp_path / "out", verbose=0)
    with files.lock(tmp_path / "out"), pytest.raises(ZooError, match="out is being written by another process"):
        gz.train(preset, tmp_path / "out", verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "preset"]


def test_a_disk_that_fills_up_ends_a_training_that_goes_on_later(tmp_path, few_images, file_limit):
    preset = preset_of(PRESET, tmp_path / "preset")
    with file_limit(20_000), pytest.raises(ZooError, match=r"Cannot write .*out.partial.*: File too large"):
        gz.train(preset, tmp_path / "out", verbose=0)
    gz.train(preset, tmp_path / "out", verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "preset"]


# === Options ===


def test_options_take_the_place_of_the_presets_own(tmp_path, few_images):
    preset = preset_of(PRESET, tmp_path / "preset")
    updates = {"model.beta": 4, "model.encoder.units": [8], "training.optimizers.optimizer.schedule": "constant"}
    gz.train(preset, tmp_path / "out", epochs=1, seed=7, batch_size=50, learning_rate=2e-3, updates=updates, verbose=0)
    trained = presets.find(tmp_path / "out")
    assert (trained.training.seed, trained.training.batch_size) == (7, 50)
    assert trained.training.optimizers["optimizer"].learning_rate == 2e-3
    assert trained.training.optimizers["optimizer"].schedule == "constant"
    assert (trained.model["beta"], trained.model["encoder"]["units"]) == (4, [8])
    assert int(gz.load(tmp_path / "out").train_steps.numpy()) == 12
    assert presets.find(preset.folder).model.keys() == preset.model.keys()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"updates": {"model.betta": 4}}, "unknown key `model.betta`. Did you mean beta"),
        ({"updates": {"training.epoch": 4}}, "unknown key `training.epoch`. Did you mean epochs"),
        ({"updates": {"modl.beta": 4}}, "unknown key `modl`. Did you mean model"),
        ({"updates": {"model.latent_dim": "four"}}, "`model.latent_dim` must be an integer. Received: 'four'"),
        ({"updates": {"model.latent_dim.x": 4}}, "`model.latent_dim.x`: `model.latent_dim` has no keys"),
        ({"updates": {"model.beta": object()}}, "is no plain data"),
        ({"seed": -1}, "`training.seed` must be >= 0. Received: -1"),
        ({"seed": 2**32}, "`training.seed` must be <= 4,294,967,295"),
        ({"batch_size": 0}, "`training.batch_size` must be >= 1"),
        ({"learning_rate": 0.0}, "learning_rate` must be > 0"),
        ({"learning_rate": float("nan")}, "learning_rate`"),
        ({"epochs": 10**40}, "`epochs` must be in 1..1,000,000. Received: 1"),
        ({"checkpoint_every": 0}, "`checkpoint_every` must be >= 1. Received: 0"),
        ({"updates": {"training.epochs": 10**7}}, "`epochs` must be in 1..1,000,000"),
        ({"validation": 1.0}, "`validation` must be a share in"),
        ({"validation": 1e-9}, "A share of 1e-09 of 600 images leaves 600 and 0"),
        ({"callbacks": ["early"]}, "`callbacks` must be Keras callbacks. Received: 'early'"),
    ],
)
def test_bad_options_are_named(options, complaint, tmp_path, few_images):
    preset = preset_of(PRESET, tmp_path / "preset")
    with pytest.raises(ZooError, match=re.escape(complaint)):
        gz.train(preset, tmp_path / "out", verbose=0, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_a_resumed_run_keeps_its_options(stopped, tmp_path):
    for other in ({"seed": 1}, {"validation": 0.2}, {"updates": {"model.beta": 2}}, {"batch_size": 9}, {"epochs": 3}):
        with pytest.raises(ZooError, match=r"out.partial holds a run of another configuration"):
            gz.train(stopped[0], tmp_path / "out", verbose=0, **other)


@pytest.mark.parametrize("family", ["vae", pytest.param("gan", marks=pytest.mark.nightly), "labelled"])
def test_a_held_out_share_is_drawn_by_the_seed_and_never_trained_on(family, tmp_path, few_images, monkeypatch):
    text = PRESET.replace(", binarize: dynamic", ", labels: true" if family == "labelled" else "").replace("2000", "50")
    if family == "labelled":
        text = text.replace("latent_dim: 4", "latent_dim: 4\n  n_classes: 10")
    preset = preset_of(GAN if family == "gan" else text, tmp_path / "preset")
    seen = {}
    fit = keras.Model.fit

    def watched(self, batches, y, *, validation_data, steps_per_epoch, **options):
        images = [batch[0] if isinstance(batch, tuple) else batch for batch in batches.take(3 * steps_per_epoch)]
        seen["train"] = {image.tobytes() for batch in images for image in batch.numpy()}
        held = [batch[0] if isinstance(batch, tuple) else batch for batch in validation_data]
        seen["held"] = [image.tobytes() for batch in held for image in batch.numpy()]
        return fit(self, batches, y, validation_data=validation_data, steps_per_epoch=steps_per_epoch, **options)

    monkeypatch.setattr(keras.Model, "fit", watched)
    model = gz.train(preset, tmp_path / "out", epochs=2, validation=0.2, verbose=0)
    assert len(set(seen["held"])) == len(seen["held"]) == 120
    assert not set(seen["held"]) & seen["train"]
    assert len(seen["train"]) > 400
    pixels, labels = data.arrays("mnist", "train")
    rows = data.split_rows(600, 0.2, seed=0)[1]
    assert sorted(seen["held"]) == sorted(image.tobytes() for image in data.to_unit(pixels[rows]))
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert len(history) == 2
    name = f"val_{model.LOSSES[0]}"
    assert all(name in logs for logs in history)
    if family != "gan":  # whose critic's dropout and noise are drawn anew
        measured = model.evaluate(
            data.to_unit(pixels[rows]), labels[rows] if family == "labelled" else None, verbose=0, return_dict=True
        )
        assert measured["loss"] == pytest.approx(history[-1][name], rel=2e-2)


@pytest.mark.nightly
def test_both_people_of_a_face_swap_are_held_out_in_part(tmp_path, monkeypatch):
    preset = preset_of(TINY_SWAP.format(side=16, metric="squared_error"), tmp_path / "preset")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (80, 16, 16, 3), "uint8")):
            write_image(pixels, tmp_path / name / f"{i}.png")
    people = [f"folder:{tmp_path / name}" for name in ("a", "b")]
    aligned = []
    monkeypatch.setattr(gz.FaceSwap, "align", lambda self, *faces, **_: aligned.extend(map(len, faces)))
    gz.train(preset, tmp_path / "out", data=people, epochs=1, validation=0.25, verbose=0)
    shape = {"image_shape": (16, 16, 3)}
    expected = [n - round(n / 4) for n in (len(data.arrays(name, "train", **shape)[0]) for name in people)]
    assert aligned == expected
    (logs,) = json.loads((tmp_path / "out" / "history.json").read_text())
    assert logs["val_loss"] > 0


def test_executions_of_several_steps_measure_whole_epochs_too(tmp_path, few_images):
    text = PRESET.replace("batch_size: 2000", "batch_size: 30\n  steps_per_execution: 6").replace(
        ", binarize: dynamic", ""
    )
    model = gz.train(preset_of(text, tmp_path / "preset"), tmp_path / "out", epochs=1, validation=0.2, verbose=0)
    (logs,) = json.loads((tmp_path / "out" / "history.json").read_text())
    rows = data.split_rows(600, 0.2, seed=0)[1]
    measured = model.evaluate(data.to_unit(data.arrays("mnist", "train")[0][rows]), verbose=0, return_dict=True)
    assert logs["val_loss"] == pytest.approx(measured["loss"], rel=2e-2)


def test_validation_with_images_of_ones_own(tmp_path, few_images, mnist):
    preset = preset_of(PRESET.replace(", binarize: dynamic", ""), tmp_path / "preset")
    model = gz.train(preset, tmp_path / "out", epochs=1, validation=mnist[:100], verbose=0)
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert model.evaluate(mnist[:100], verbose=0, return_dict=True)["loss"] == pytest.approx(
        history[0]["val_loss"], rel=2e-2
    )


def test_callbacks_of_ones_own_may_end_the_training(tmp_path, few_images):
    """What they stop is saved as it is then, and not taken for a training that has failed."""
    preset = preset_of(PRESET, tmp_path / "preset")
    stopping = keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=1)
    model = gz.train(preset, tmp_path / "out", callbacks=[stopping], verbose=0)
    assert len(json.loads((tmp_path / "out" / "history.json").read_text())) == 2
    assert int(gz.load(tmp_path / "out").train_steps.numpy()) == int(model.train_steps.numpy()) == 2
    assert not (tmp_path / "out.partial").exists()


def test_overwrite_replaces_a_preset_at_the_end_and_nothing_else(tmp_path, few_images, monkeypatch):
    preset = preset_of(PRESET, tmp_path / "preset")
    gz.train(preset, tmp_path / "out", epochs=1, verbose=0)
    before = (tmp_path / "out" / "weights.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("keras_genzoo.zoo.save", lambda *_, **__: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            gz.train(preset, tmp_path / "out", epochs=2, overwrite=True, verbose=0)
    assert (tmp_path / "out" / "weights.json").read_text() == before
    gz.train(preset, tmp_path / "out", epochs=2, overwrite=True, verbose=0)
    assert int(gz.load(tmp_path / "out").train_steps.numpy()) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    with pytest.raises(ZooError, match="mine exists and is no preset folder"):
        gz.train(preset, tmp_path / "mine", epochs=1, overwrite=True, verbose=0)
    assert (tmp_path / "mine" / "note.txt").read_text() == "mine"


def test_tensorboard_logs_or_says_how_to_get_it(tmp_path, few_images, monkeypatch):
    preset = preset_of(PRESET, tmp_path / "preset")
    logs = tmp_path / "logs"
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ZooError, match=r"TensorBoard is not installed: pip install 'keras-genzoo\[tensorboard\]'"):
            gz.train(preset, tmp_path / "out", callbacks=[training.tensorboard(logs)], verbose=0)
    pytest.importorskip("tensorboard")
    gz.train(preset, tmp_path / "out", epochs=1, validation=0.1, callbacks=[training.tensorboard(logs)], verbose=0)
    assert {path.parent.name for path in logs.rglob("events.out.*")} == {"train", "validation"}


def test_weights_that_the_last_step_has_spoilt_are_in_no_checkpoint(tmp_path, few_images):
    """The losses are those before the step: they are finite."""
    preset = preset_of(PRESET, tmp_path / "preset")

    class Spoiler(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.decoder.weights[0].assign(self.model.decoder.weights[0] * np.nan)

    with pytest.raises(ZooError, match="stopped at weights that are not finite in epoch 2"):
        gz.train(preset, tmp_path / "out", callbacks=[Spoiler()], verbose=0)
    assert json.loads((tmp_path / "out.partial" / "state.json").read_text())["epoch"] == 1


def test_without_a_terminal_a_training_says_where_it_is(tmp_path, few_images, monkeypatch, capsys):
    monkeypatch.setattr("keras_genzoo.progress.EVERY", 0.02)
    preset = preset_of(PRESET.replace("2000", "20"), tmp_path / "preset")
    gz.train(preset, tmp_path / "out", epochs=2, verbose=2)
    told = capsys.readouterr().err
    assert re.search(r"^training preset: \d+ s of preparation so far$", told, re.MULTILINE)
    assert re.search(
        r"^training preset: epoch 2 of 2, step \d+ of 30, loss [\d.]+, [\d.]+ steps/s, \d+ s left$", told, re.MULTILINE
    )
    gz.train(preset, tmp_path / "quiet", epochs=1, verbose=0)
    assert "training" not in capsys.readouterr().err


@pytest.mark.nightly
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
    with pytest.warns(UserWarning, match="60 of the 600 images of mnist, a shuffled share of every class; 540"):
        model, batches, steps = training.prepare(preset)
    assert steps == (600 - 60) // 100
    watching = GANHooks(preset).monitor(model, None)
    assert watching.n_modes == 10
    images, labels = data.arrays("mnist", "train")
    number = {image.tobytes(): i for i, image in enumerate(data.to_unit(images))}
    apart, watched = ([number[image.tobytes()] for image in kind[0]] for kind in (watching.holdout, watching.train))
    assert len(set(apart)) == len(set(watched)) == 60
    assert not set(apart) & set(watched)
    for rows in (apart, watched):  # a tenth of each class
        np.testing.assert_allclose(np.bincount(labels[rows]), np.bincount(labels) / 10, atol=1)
    seen = {number[image.tobytes()] for batch in batches.take(60) for image in batch.numpy()}
    assert seen == set(range(600)) - set(apart)


@pytest.mark.filterwarnings("ignore:The monitor holds out")
def test_clusters_are_found_among_the_images_that_are_trained_on(tmp_path, few_images, monkeypatch):
    """Not among those that the monitor holds out; and weights to start from bring theirs along."""
    found = []
    monkeypatch.setattr(models.get("gan"), "adapt", lambda self, images: found.append(images))
    text = GAN.replace("latent_dim: 4", "latent_dim: 4\n  n_clusters: 3\n  conditioning: projection")
    preset = preset_of(text + "gan: {monitor: {every: 2, action: warn}}\n", tmp_path / "preset")
    _, batches, _ = training.prepare(preset)
    seen = {image.tobytes() for batch in batches.take(60) for image in batch.numpy()}
    assert {image.tobytes() for image in found[0]} == seen
    assert len(found[0]) == 540

    model = zoo.build(preset)
    model.cluster_centres.assign(np.ones(model.cluster_centres.shape))
    GANHooks(preset).begin(model, 5)
    assert len(found) == 1


def _pictures(folder, values):
    """A folder of 8 x 8 pictures, one for each grey value, by class."""
    for i, value in enumerate(values):
        path = folder / str(value // 128) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), int(value)).save(path)
    return f"folder:{folder}"


SMALL_GAN = WATCHED_GAN.replace("restore", "warn").replace("latent_dim: 4", "latent_dim: 4\n  image_shape: [8, 8, 1]")


def test_the_monitor_of_a_folder_holds_out_of_every_class_and_its_pictures_stay(tmp_path):
    """A sorted folder of two classes, of which the last images would all be of one."""
    name = _pictures(tmp_path / "photos", [*range(0, 128), *range(128, 256)])
    preset = preset_of(SMALL_GAN, tmp_path / "preset").with_updates(data={"name": name})
    n = len(data.arrays(name, "train", image_shape=(8, 8, 1))[0])
    with pytest.warns(UserWarning, match=f"holds out {n // 10} of the {n} images of folder:"):
        model = gz.train(preset, tmp_path / "out", epochs=1, verbose=0)
    watching = GANHooks(model.preset).monitor(model, None)
    for images in (watching.train[0], watching.holdout[0]):
        assert images.shape == (n // 10, 8, 8, 1)
        assert 0.4 < (images > 0.5).mean() < 0.6
    assert {file.name for file in (tmp_path / "out" / "monitor").iterdir()} == {"samples.png", "curves.png"}
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ([0] * 700, "No monitor on folder:.* images of `holdout` are all the same"),
        (range(40), "holds out 10 images, of at least 50. Received: .* in folder:.* take `gan.monitor` out of"),
    ],
)
@pytest.mark.filterwarnings("ignore:The monitor holds out")
def test_images_that_a_monitor_cannot_compare_are_refused(tmp_path, values, error):
    name = _pictures(tmp_path / "photos", values)
    preset = preset_of(SMALL_GAN, tmp_path / "preset").with_updates(data={"name": name})
    with pytest.raises(ZooError, match=error):
        gz.train(preset, tmp_path / "out", epochs=1, verbose=0)


def test_what_is_trained_on_is_said_before(tmp_path, few_images, capfd):
    """Once for each data set, also where no terminal is; `verbose=0` is silent."""
    preset = preset_of(PRESET, tmp_path / "preset")
    gz.train(preset, tmp_path / "out", epochs=1, verbose=2)
    assert capfd.readouterr().err.count("mnist: 600 images to train with, 10 classes\n") == 1
    gz.train(preset, tmp_path / "quiet", epochs=1, verbose=0)
    assert "mnist" not in capfd.readouterr().err


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


def test_a_training_that_has_died_stops_and_says_why(tmp_path, few_images, monkeypatch):
    """A decoder that gives the same for every code, as one whose sigmoids are at their end."""
    from keras_genzoo.models.autoencoder import Autoencoder

    text = PRESET.replace("family: vae", "family: autoencoder").replace(", binarize: dynamic", "")
    text = text.replace("epochs: 3", "epochs: 30").replace("batch_size: 2000", "batch_size: 10")
    preset = preset_of(text, tmp_path / "dying")
    built = Autoencoder.__init__

    @functools.wraps(built)  # whose signature presets are checked by
    def dead(self, **arguments):
        built(self, **arguments)
        self.decoder.set_weights([np.zeros_like(weight) for weight in self.decoder.get_weights()])
        self.decoder.trainable = False

    monkeypatch.setattr(Autoencoder, "__init__", dead)
    complaint = r"has died: for 2 epochs its outputs do not depend on its inputs \(its call\). Remove .*partial"
    with pytest.raises(ZooError, match=complaint):
        gz.train(preset, tmp_path / "out", patience=2, verbose=0)
    assert not (tmp_path / "out").exists()
    with pytest.warns(UserWarning, match="may have learned nothing: its outputs do not depend"):
        gz.train(preset, tmp_path / "short", epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="may have learned nothing"):
        gz.train(preset, tmp_path / "all", epochs=3, patience=None, verbose=0)


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    (tmp_path / "mine").mkdir()
    for i in range(20):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (28, 28), "uint8")).save(tmp_path / f"mine/{i}.png")
    text = PRESET.replace("{name: mnist, binarize: dynamic}", f"{{name: 'folder:{tmp_path / 'mine'}'}}")
    preset = preset_of(text, tmp_path / "preset")

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise Stopped

    with pytest.raises(Stopped):
        gz.train(preset, tmp_path / "out", callbacks=[Stop()], verbose=0)
    (tmp_path / "mine/3.png").unlink()
    with pytest.raises(ZooError, match=r"a run on other images: folder:.*mine has changed since; remove .*partial"):
        gz.train(preset, tmp_path / "out", verbose=0)


def test_contradictions_and_impossible_places_are_named(tmp_path, few_images):
    for options in ({"seed": 3, "updates": {"training.seed": 4}}, {"epochs": 1, "updates": {"training.epochs": 2}}):
        with pytest.raises(ZooError, match=r"`training.(seed|epochs)` is given twice"):
            gz.train("ring2d", tmp_path / "out", **options)
    with pytest.raises(ZooError, match=r"`out` must be a folder to make. Received: /"):
        gz.train("ring2d", "/")
    with pytest.raises(ZooError, match=r"images of mnist have the shape \(28, 28, 1\), .* takes \(1, 1, 2\)"):
        gz.train("ring2d", tmp_path / "out", data="mnist")
    with pytest.raises(ZooError, match=r"`patience` must be >= 1, or None for never \(--patience 0\)"):
        gz.train("ring2d", tmp_path / "out", patience=-1)
    assert not (tmp_path / "out").exists()
