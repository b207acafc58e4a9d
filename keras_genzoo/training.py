"""Training a preset from scratch, or from another's weights: seeds, schedules, checkpoints, resume."""

import json
import math
import os
import shutil
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_genzoo import plots, presets, synthetic, zoo
from keras_genzoo.data import as_seen, face_marks, full_name, stream, to_unit
from keras_genzoo.errors import ZooError
from keras_genzoo.models.face_swap import shared_factors
from keras_genzoo.monitor import GANMonitor

_STATE = "state.json"
_LEAST_FACES = 50  # of each person, to train a face swap with; hundreds are better
_WATCHED = 256  # images of a kind in each look of a monitor; as many of the training split are held out for it


def train(preset, out, *, data=None, data_dir=None, dtype=None, epochs=None, checkpoint_every=1, verbose="auto"):
    """Trains a preset's model and saves it as the preset folder `out`.

    It begins with fresh weights, or with those of the preset that `training.start_from` names.

    While it runs, `OUT.partial/` holds a checkpoint of weights, optimizers and random state. The same call after an
    interruption goes on from it and ends with the weights an unbroken run would have given. With a `monitor` in the
    preset, OUT.partial/monitor/ shows samples and curves of a GAN as it goes; of a face swap, OUT.partial/preview.png
    shows both people, drawn anew with every checkpoint.

    Args:
        preset: A preset's name or path, or a `presets.Preset`.
        out: Folder to write; it must not exist.
        data: In place of the preset's data: a name of `data.load`, such as "folder:PATH" for images of your own; of a
            face swap two of them, `(a, b)`.
        data_dir: See `data.load`.
        dtype: Precision policy, see `zoo.load`.
        epochs: In place of the preset's `training.epochs`, >= 1; the learning rate's course spans them.
        checkpoint_every: Epochs between checkpoints, >= 1.
        verbose: As in `keras.Model.fit`.

    Returns:
        The trained model, compiled.

    Raises:
        ZooError: `out` exists or cannot be written, the partial run is of another configuration, or a loss that is
            not finite or the monitor has ended the training.
    """
    if not isinstance(preset, presets.Preset):
        preset = presets.find(preset)
    out = Path(out).expanduser().resolve()
    if out.exists():
        raise ZooError(f"{out} exists; give another folder")
    if data is not None:
        preset = preset.model_copy(update={"data": preset.data.model_copy(update=_in_place(preset, data))})
    if epochs is not None:
        if epochs < 1:
            raise ZooError(f"`epochs` must be >= 1. Received: {epochs}")
        preset = preset.model_copy(update={"training": _in_epochs(preset.training, epochs)})
    config = preset.training
    partial = out.with_name(out.name + ".partial")
    state = _read_state(partial, preset, dtype)

    model, batches, steps_per_epoch = prepare(preset, data_dir=data_dir, dtype=dtype, first_epoch=state["epoch"])
    _warn_of_short_run(preset, config.epochs * steps_per_epoch)
    if state["epoch"]:
        zoo.load_weights(model, partial / state["weights"])
    monitor = _monitor(model, preset, partial / "monitor", data_dir)
    if monitor and state.get("monitor"):
        monitor.resume(state["monitor"])
    model.fit(
        batches,
        epochs=config.epochs,
        initial_epoch=state["epoch"],
        steps_per_epoch=steps_per_epoch,
        verbose=verbose,
        callbacks=[
            *([monitor] if monitor else []),
            _Checkpoint(partial, state, config.epochs, checkpoint_every, monitor),
            *([_Preview(model, partial, checkpoint_every, data_dir)] if preset.data.other else []),
        ],
    )
    if state["epoch"] < config.epochs:
        reason = monitor.troubles[-1][1] if monitor and monitor.troubles else "a loss that is not finite"
        raise ZooError(
            f"Training of {preset.name} stopped at {reason} in epoch {state['epoch'] + 1}; "
            f"the last good weights are in {partial}. Lower the learning rate in {preset.file}"
        )
    if preset.data.other:
        align(model, data_dir=data_dir)
    zoo.save(model, out, history=state["history"])
    shutil.rmtree(partial)
    return model


def align(model, *, data_dir=None):
    """`FaceSwap.align` with the training images of a preset's model, and their factors where the data has them."""
    images = [to_unit(zoo.arrays(model, "train", other=o, data_dir=data_dir)[0]) for o in (False, True)]
    factors = _factors(model, data_dir)
    model.align(*images, **({} if factors is None else {"factors_a": factors[0], "factors_b": factors[1]}))


def _factors(model, data_dir):
    """`shared_factors` of both people's training images, where their landmarks are known; else None."""
    config = model.preset.data
    where = {"data_dir": data_dir, "image_shape": model.image_shape, "resize": config.resize}
    landmarks, poses = zip(*(face_marks(name, "train", **where) for name in (config.name, config.other)), strict=True)
    if any(of is None or of.shape[1:] != landmarks[0].shape[1:] for of in landmarks):
        return None
    known = None if any(of is None for of in poses) else poses
    return shared_factors(landmarks, known, n_factors=model.n_factors or 3)


def _in_epochs(config, epochs):
    """A `TrainingConfig` of so many epochs, the same share of them unwarped."""
    unwarped = min(round(epochs * config.unwarped_epochs / config.epochs), epochs - 1)
    return config.model_copy(update={"epochs": epochs, "unwarped_epochs": unwarped})


def _in_place(preset, data):
    """`data` of `train` as keys of the preset's `data`."""
    names = (data,) if isinstance(data, str) else tuple(data)
    wanted = 1 if preset.data.other is None else 2
    if len(names) != wanted:
        raise ZooError(f"{preset.name} trains on {wanted} data set{'s' * (wanted > 1)}. Received: data={data!r}")
    return dict(zip(("name", "other"), map(full_name, names), strict=False))


def prepare(preset, *, data_dir=None, dtype=None, first_epoch=0):
    """What `train` fits: `(model, batches, steps_per_epoch)`, the model fresh, seeded and compiled with schedules."""
    config = preset.training
    keras.utils.set_random_seed(config.seed)
    model = zoo.build(preset, dtype=dtype)
    if preset.data.other:
        for other in (False, True):
            n = len(zoo.arrays(model, "train", other=other, data_dir=data_dir)[0])
            if n < _LEAST_FACES:
                name = preset.data.other if other else preset.data.name
                raise ZooError(
                    f"A face swap needs {_LEAST_FACES} training images of each person, better some hundreds. "
                    f"Received: {n} in {name}"
                )
    if config.start_from:
        zoo.load_weights(model, zoo.checked_weights(presets.find(config.start_from)))
        # A training of its own: with noise of its own, and a warm-up that begins with its first step.
        model.seed_generator.state.assign(keras.random.SeedGenerator(config.seed).state)
        model.train_steps.assign(0)
    factors = None
    if getattr(model, "n_factors", 0):
        factors = _factors(model, data_dir)
        if factors is None:
            warnings.warn(
                f"{preset.name} is trained without guidance, as {preset.data.name} and {preset.data.other} have no "
                "landmarks in common; `keras-genzoo faces extract` writes them into its files. Swaps will be less "
                "sharp",
                stacklevel=3,
            )
    batches, steps_per_epoch = stream(
        **preset.data.model_dump(),
        image_shape=model.image_shape,
        batch_size=config.batch_size,
        seed=config.seed,
        first_epoch=first_epoch,
        data_dir=data_dir,
        n_held_out=_WATCHED if config.monitor else 0,
        factors=factors,
    )
    unwarped_steps = config.unwarped_epochs * steps_per_epoch
    total_steps = config.epochs * steps_per_epoch
    if unwarped_steps:
        _check_unwarped(preset)
        model.warped_steps = total_steps - unwarped_steps  # the preset counts epochs, as it does not know the faces
    zoo.compile_model(
        model,
        preset,
        learning_rate=lambda c, every: _learning_rate(c, total_steps // every, unwarped_steps // every),
        steps_per_execution=_divisor(steps_per_epoch, config.steps_per_execution),
        jit_compile=config.jit_compile,
    )
    return model, batches, steps_per_epoch


def _monitor(model, preset, out, data_dir):
    """The monitor that the preset asks for, or None."""
    config = preset.training.monitor
    if config is None:
        return None
    if preset.family != "gan":
        raise ZooError(f"{preset.file}: `training.monitor` watches a gan. Received: the family {preset.family}")
    pixels, labels = zoo.arrays(model, "train", data_dir=data_dir)
    trained_on, held_out = slice(min(_WATCHED, len(pixels) - _WATCHED)), slice(-_WATCHED, None)
    images = [as_seen(pixels[part], binarize=preset.data.binarize) for part in (trained_on, held_out)]
    if model.n_classes:
        images = [(part, labels[where]) for part, where in zip(images, (trained_on, held_out), strict=True)]
    modes = {}
    if preset.data.name in synthetic.MIXTURES:
        mixture = synthetic.MIXTURES[preset.data.name]
        modes = {"modes": mixture.modes_of, "n_modes": len(mixture.centres)}
    elif preset.data.name in zoo.JUDGES:
        judge = zoo.load(zoo.JUDGES[preset.data.name], dtype="float32")
        modes = {"modes": lambda images: judge.classify(images)["logits"].argmax(1), "n_modes": len(np.unique(labels))}
    return GANMonitor(*images, **config.model_dump(), **modes, out=out, n=_WATCHED)


class _Checkpoint(keras.callbacks.Callback):
    """Keeps one checkpoint: the weights file first, then the small state file that names it.

    Stops at the first loss that is not finite (Keras' TerminateOnNaN knows only a loss called `loss`).
    """

    def __init__(self, folder, state, epochs, every, monitor=None):
        super().__init__()
        self.folder, self.state, self.epochs, self.every, self.monitor = folder, state, epochs, every, monitor

    def on_train_batch_end(self, batch, logs=None):
        if self.monitor and self.monitor.action == "restore":
            return  # it goes back to good weights, or stops
        if not all(math.isfinite(value) for value in (logs or {}).values()):
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training:  # keep what was good
            return
        self.state["history"].append({key: float(value) for key, value in (logs or {}).items()})
        done = epoch + 1
        if done % self.every and done != self.epochs:
            return
        previous = self.state["weights"]
        self.state.update(epoch=done, weights=f"epoch{done}.weights.h5")
        if self.monitor:
            self.state["monitor"] = self.monitor.state()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.model.save_weights(self.folder / self.state["weights"])
            aside = self.folder / f".{_STATE}"
            aside.write_text(json.dumps(self.state))
            os.replace(aside, self.folder / _STATE)
        except OSError as error:
            raise ZooError(f"Cannot write {self.folder}: {error.strerror or error}") from None
        if previous and previous != self.state["weights"]:
            (self.folder / previous).unlink(missing_ok=True)


class _Preview(keras.callbacks.Callback):
    """Draws held-out faces of both people through both decoders."""

    def __init__(self, model, folder, every, data_dir):
        super().__init__()
        self.folder, self.every = folder, every
        self.faces = [
            to_unit(zoo.arrays(model, "test", other=other, data_dir=data_dir)[0][:10]) for other in (False, True)
        ]

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 and self.folder.is_dir():
            plots.swaps(self.model, *self.faces, self.folder / "preview.png")


def _warn_of_short_run(preset, steps):
    """Step counts in a preset.yaml are of its own data: fewer images may never reach them."""
    regularizer = preset.model.get("regularizer") or {}
    for key, needed in (
        ("warmup_steps", preset.model.get("warmup_steps", 0)),
        ("warped_steps", preset.model.get("warped_steps", 0)),
        ("regularizer.anneal_steps", regularizer.get("anneal_steps", 0)),
    ):
        if needed > steps:
            warnings.warn(
                f"`model.{key}` is {needed}, but this training has {steps} steps and will not come to its end; "
                f"raise the epochs, or lower it in a copy of {preset.file}",
                stacklevel=3,
            )


def _read_state(partial, preset, dtype):
    fresh = {"digest": preset.digest(), "dtype": dtype, "epoch": 0, "weights": None, "history": []}
    path = partial / _STATE
    if not path.is_file():
        return fresh
    try:
        state = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ZooError(f"{path} is damaged ({error}); remove {partial} to start again") from None
    if (state["digest"], state["dtype"]) != (fresh["digest"], dtype):
        raise ZooError(f"{partial} holds a run of another configuration; remove it, or train into another folder")
    return state


def _check_unwarped(preset):
    config, warped_steps = preset.training, preset.model.get("warped_steps")
    if preset.family != "face_swap" or warped_steps or config.unwarped_epochs >= config.epochs:
        raise ZooError(
            f"{preset.file}: `training.unwarped_epochs` is for a face_swap without `model.warped_steps`, and fewer "
            f"than its epochs. Received: {config.unwarped_epochs} of {config.epochs} epochs, family: {preset.family}"
            + (f", warped_steps: {warped_steps}" if warped_steps else "")
        )


def _learning_rate(config, total_steps, unwarped_steps):
    if config.schedule == "constant":
        return config.learning_rate
    if not unwarped_steps:
        return keras.optimizers.schedules.CosineDecay(config.learning_rate, total_steps)
    warped_steps = total_steps - unwarped_steps
    return keras.optimizers.schedules.CosineDecayRestarts(
        config.learning_rate, warped_steps, t_mul=unwarped_steps / warped_steps, m_mul=0.5
    )


def _divisor(steps, wanted):
    """The largest divisor of `steps` up to `wanted`: Keras runs whole executions, and an epoch must end on its step."""
    return max(d for d in range(1, min(wanted, steps) + 1) if steps % d == 0)
