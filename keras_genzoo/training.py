"""Training of a preset, from fresh weights or from another preset's: seeds, schedules, checkpoints, resume."""

import hashlib
import importlib.util
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data, engine, files, models, origin, parts, presets, progress, zoo
from keras_genzoo.errors import ZooError, visible
from keras_genzoo.models.hooks import Hooks
from keras_genzoo.models.vital_signs import CURE, N_WATCHED, PATIENCE, VitalSigns
from keras_genzoo.presets import Preset
from keras_genzoo.typing import MOST_SEED, PathLike

_STATE = presets.STATE_FILE  # file of a partial run that names its checkpoint
_CHECK = "check"  # key of the state file: SHA-256 of the rest
_ADDED = ("data", "validation", "ended", "arrays", "sha256", _CHECK)  # keys that older state files lack
_MOST_EPOCHS = 1_000_000


def train(
    preset: str | Path | Preset,
    out: PathLike,
    *,
    data: str | Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    dtype: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    updates: Mapping[str, Any] | None = None,
    validation: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    patience: int | None = PATIENCE,
    overwrite: bool = False,
    checkpoint_every: int = 1,
    verbose: Any = "auto",
) -> Any:
    """Trains a preset's model and saves it as the preset folder `out`.

    The training begins with fresh weights, or with those of the preset that `training.start_from` names.

    While it runs, `OUT.partial/` holds a checkpoint of weights, optimizers and random state. The same call after an
    interruption goes on from there, and ends with the weights of an unbroken run. A family may draw pictures there,
    which stay in `out`: `monitor/` shows samples and curves of a watched GAN, `preview.png` both people of a face swap.
    One process at a time trains into `out`.

    Args:
        preset: Name or path of a preset, or a `presets.Preset`.
        out: Folder to write; it must not exist, unless `overwrite`.
        data: Name of a data set in place of the preset's, see `data.load`; "folder:PATH" for images of your own; two
            names for a family that trains on two.
        data_dir: Folder of data sets, see `data.load`.
        dtype: Precision policy, see `zoo.load`.
        epochs: Number of epochs in place of the preset's, >= 1; the schedule of the learning rate spans them.
        seed: Seed of the weights, the order of images and all noise, in place of the preset's.
        batch_size: Number of images per batch in place of the preset's, >= 1.
        learning_rate: Learning rate of every optimizer in place of the preset's, > 0.
        updates: Other keys of the preset and their values, such as `{"model.beta": 4}`.
        validation: Share of the training images, in (0, 1), that is drawn by the seed and held out; or images,
            `(images, labels)` or a dataset as `fit` takes them. The losses on them are measured after each epoch and
            stand in history.json as `val_loss` and so on. None: no validation.
        callbacks: Keras callbacks of your own. They keep no state over an interruption; where one stops the training,
            the model is saved as it is then.
        patience: Number of epochs in a row, >= 1, after which the training stops where the model shows a bad sign, such
            as outputs that do not depend on the inputs, see `VitalSigns`; None: it goes on, and its end warns.
        overwrite: Whether a preset folder at `out` is replaced once the training is complete.
        checkpoint_every: Epochs between checkpoints, >= 1.
        verbose: Verbosity of `keras.Model.fit`. Where stderr is no terminal, a line there says every half minute where
            the training is, unless it is 0.

    Returns:
        The trained model, compiled.

    Raises:
        ZooError: `out` exists, cannot be written or is being written by another process; a bad key or value; the
            partial run has another configuration or is damaged; or the training has ended early, by a loss that is not
            finite or by a callback of the family.

    Example:
        >>> import pathlib, tempfile
        >>> import keras_genzoo as gz
        >>> out = pathlib.Path(tempfile.mkdtemp(), "my_ring")
        >>> gan = gz.train("ring2d", out, epochs=1, verbose=0)
        >>> gz.load(out).sample(4, seed=0).shape
        (4, 1, 1, 2)
    """
    plan: Preset = preset if isinstance(preset, Preset) else presets.find(preset)
    presets.trust(plan)
    plan = _with_options(plan, updates, seed=seed, batch_size=batch_size, learning_rate=learning_rate)
    for argument, number in (("epochs", epochs), ("checkpoint_every", checkpoint_every)):
        if number is not None and number < 1:
            raise ZooError(f"`{argument}` must be >= 1. Received: {_short(number)}")
    known = {
        "epochs": plan.training.epochs or epochs,
        "batch_size": plan.training.batch_size,
        "optimizers": plan.training.optimizers,
    }
    unknown = [key for key, value in known.items() if not value]
    if unknown:
        raise ZooError(
            f"{plan.file}: `training` does not say its {', '.join(unknown)}, as of a model that was built by hand; "
            "give them as arguments, or write them there"
        )
    family_hooks = models.asked(plan.family, "hooks")
    if data is not None:
        plan = family_hooks.on_data(plan, (data,) if isinstance(data, str) else tuple(data))
    if epochs is not None:
        if "training.epochs" in (updates or {}):
            raise ZooError("`training.epochs` is given twice: by its own argument, and among the updates (--set)")
        plan = family_hooks.in_epochs(plan, epochs)
    plan, said = for_few_images(plan, given=set(updates or {}), data_dir=data_dir)
    callbacks = keras.tree.flatten(callbacks)
    _check(plan, validation, callbacks, patience)
    out = Path(out).expanduser().resolve()
    if not out.name:
        raise ZooError(f"`out` must be a folder to make. Received: {out}")
    with files.lock(out):
        if _is_finished(out, plan, dtype, validation):
            _remove_partial(out)
            return zoo.load(out, dtype=dtype)
        _check_out(out, overwrite=overwrite)
        return _trained(
            plan,
            out,
            validation,
            callbacks,
            said,
            data_dir=data_dir,
            dtype=dtype,
            patience=patience,
            every=checkpoint_every,
            verbose=verbose,
        )


def tensorboard(folder: PathLike) -> keras.callbacks.Callback:
    """A callback that logs a training for TensorBoard.

    Args:
        folder: Folder of the logs.

    Returns:
        A `keras.callbacks.TensorBoard`.

    Raises:
        ZooError: The folder cannot be written, or TensorBoard is not installed.
    """
    files.try_to_write(Path(folder) / "log")
    return keras.callbacks.TensorBoard(log_dir=str(folder), write_graph=False)


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Checks that a training may write a folder.

    Args:
        out: Folder to write.
        overwrite: Whether a preset folder there may be replaced.

    Raises:
        ZooError: Something else is there, or nothing can be written.
    """
    if os.path.exists(files.healed(out)):
        if not overwrite:
            raise ZooError(f"{out} exists; give another folder, or overwrite it (overwrite=True, --overwrite)")
        presets.check_replaceable(out)
    files.try_to_write(_partial(out) / _STATE)


def _trained(plan, out, validation, callbacks, said, *, data_dir, dtype, patience, every, verbose):
    """Trains a checked plan from its beginning, or from its checkpoint, and saves the model."""
    config, partial = plan.training, _partial(out)
    state = _read_state(partial, plan, dtype, _identity(validation))
    says = _Position(plan.name, config.epochs)
    with progress.saying(says.line, verbose=bool(verbose)):
        hooks = models.asked(plan.family, "hooks")(plan, data_dir=data_dir)
        hooks.validation = _share(validation)
        model, batches, steps_per_epoch = _prepared(plan, hooks, dtype, first_epoch=state["epoch"])
        for line in [*hooks.summary(model), *said]:
            progress.say(line, verbose=bool(verbose))
        _check_data(hooks.data_arrays(model), model, state, partial)
        _warn_of_short_run(model, config.epochs * steps_per_epoch)
        if state["epoch"]:
            zoo.load_weights(model, _checked(partial, state, state["weights"]))
        before, after = hooks.callbacks(model, partial, every=every)
        if state["hooks"] is not None:
            hooks.resume(state["hooks"], _read_arrays(partial, state))
        checkpoint = _Checkpoint(partial, state, config.epochs, every, hooks)
        signs = _vital_signs(plan, hooks, model, patience)
        says.start(model, state["epoch"], steps_per_epoch)
        model.fit(
            batches,
            epochs=state["epoch"] if state["ended"] else config.epochs,
            initial_epoch=state["epoch"],
            steps_per_epoch=steps_per_epoch,
            validation_data=_validation_batches(plan, hooks, model) if hooks.validation else validation,
            verbose=verbose,
            # The user's come before the checkpoint, which then holds what they have changed.
            callbacks=[*before, *callbacks, checkpoint, *([signs] if signs else ()), *after, says],
        )
        _tell_death(plan, model, signs, partial)
        trouble = hooks.trouble() or checkpoint.trouble
        if trouble:
            raise ZooError(
                f"Training of {plan.name} stopped at {trouble} in epoch {state['epoch'] + 1}; the last good weights "
                f"are in {partial}. Lower the learning rate in {plan.file}"
            )
        hooks.finish(model)
        trained = _record(plan, state["data"], model, state["epoch"], state["seconds"])
        zoo.save(
            model,
            out,
            history=state["history"],
            trained=trained,
            pictures=hooks.pictures(partial),
            overwrite=True,
        )
    _remove_partial(out)
    return model


def prepare(
    preset: Preset, *, data_dir: str | Path | None = None, dtype: str | None = None, first_epoch: int = 0
) -> tuple[Any, tf.data.Dataset, int]:
    """The model that `train` fits, seeded and compiled with schedules, and the batches that it fits to.

    Args:
        preset: A `presets.Preset`.
        data_dir: Folder of data sets, see `data.load`.
        dtype: Precision policy, see `zoo.load`.
        first_epoch: Epoch that the batches begin with, >= 0.

    Returns:
        `(model, batches, steps per epoch)`.

    Raises:
        ZooError: A bad key of the preset, or a data set that is missing.
    """
    presets.trust(preset)  # who trains asks for its data
    hooks = models.asked(preset.family, "hooks")(preset, data_dir=data_dir)
    return _prepared(preset, hooks, dtype, first_epoch=first_epoch)


def _prepared(preset: Preset, hooks: Hooks, dtype: str | None, *, first_epoch: int) -> tuple[Any, tf.data.Dataset, int]:
    config = preset.training
    keras.utils.set_random_seed(config.seed)
    model = zoo.build(preset, dtype=dtype)
    if config.start_from:
        zoo.load_weights(model, zoo.checked_weights(presets.find(config.start_from)))
        # The file also holds the other training's random state and its count of steps, by which a warm-up goes.
        model.seed_generator.state.assign(keras.random.SeedGenerator(config.seed).state)
        model.train_steps.assign(0)
    batches, steps_per_epoch = hooks.batches(model, first_epoch=first_epoch)
    hooks.begin(model, steps_per_epoch)
    total_steps, restart_step = config.epochs * steps_per_epoch, hooks.restart_step(steps_per_epoch)

    def scheduled_rate(config, path, every):
        schedule, options = parts.chosen("schedule", config.schedule, key=f"{path}.schedule", origin=preset.file)
        return schedule(
            learning_rate=config.learning_rate,
            total_steps=total_steps // every,
            restart_step=restart_step // every,
            **options,
        )

    zoo.compile_model(
        model,
        preset,
        learning_rate=scheduled_rate,
        steps_per_execution=_divisor(steps_per_epoch, config.steps_per_execution),
        jit_compile=config.jit_compile,
    )
    return model, batches, steps_per_epoch


class _Checkpoint(keras.callbacks.Callback):
    """Keeps one checkpoint: the weights file first, then the small state file that names it.

    It stops the training at the first loss that is not finite; Keras' TerminateOnNaN looks at `loss` only.

    Args:
        folder: Folder of the partial run.
        state: State of the run, as the state file has it.
        epochs: Epochs of the whole training.
        every: Epochs between checkpoints.
        hooks: The family's hooks.

    Attributes:
        trouble: Reason for which it has stopped the training; None: it has not.
    """

    trouble: str | None = None

    def __init__(self, folder: Path, state: dict[str, Any], epochs: int, every: int, hooks: Hooks):
        super().__init__()
        self.folder, self.state, self.epochs, self.every, self.hooks = folder, state, epochs, every, hooks
        self.last_time = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.hooks.ends_itself:
            return
        if not all(math.isfinite(value) for value in (logs or {}).values()):
            self._stop("a loss that is not finite")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.trouble or self.hooks.trouble():  # and the checkpoint keeps the last good weights
            return
        if not all(np.isfinite(weights).all() for weights in self.model.get_weights()):
            return self._stop("weights that are not finite")  # by its last step, which no loss has seen
        self.state["history"].append({key: float(value) for key, value in (logs or {}).items()})
        n_epochs, ended = epoch + 1, self.model.stop_training  # by a callback of the user's
        if n_epochs % self.every and n_epochs != self.epochs and not ended:
            return
        previous, time_now = (self.state["weights"], self.state["arrays"]), time.monotonic()
        arrays = self.hooks.arrays()
        self.state.update(
            epoch=n_epochs,
            ended=ended,
            weights=f"epoch{n_epochs}.weights.h5",
            arrays=f"epoch{n_epochs}.arrays.npz" if arrays else None,
            hooks=self.hooks.state(),
            sha256={},
        )
        self.state["seconds"] += time_now - self.last_time
        self.last_time = time_now
        self._write(self.state["weights"], self.model.save_weights)
        if arrays:
            # NumPy's types take every keyword for `allow_pickle`.
            self._write(self.state["arrays"], lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]
        files.write_json(self.folder / _STATE, {**self.state, _CHECK: _hash_of(self.state)}, indent=None)
        for name in previous:
            if name and name not in (self.state["weights"], self.state["arrays"]):
                (self.folder / name).unlink(missing_ok=True)

    def _write(self, name, write):
        """Writes a file of the checkpoint, and notes its hash."""
        with files.in_memory(self.folder / name) as file:
            write(file)
            self.state["sha256"][name] = hashlib.sha256(file.getbuffer()).hexdigest()

    def _stop(self, trouble):
        self.trouble, self.model.stop_training = trouble, True


class _Position(keras.callbacks.Callback):
    """The line that says where a training is.

    Args:
        name: Name of the preset.
        epochs: Epochs of the whole training.
    """

    def __init__(self, name: str, epochs: int):
        super().__init__()
        self.name, self.epochs = f"training {name}", epochs
        self.steps = self.done = self.first = 0
        self.losses: dict[str, float] = {}
        self.since = time.monotonic()

    def start(self, model: Any, epoch: int, steps: int) -> None:
        """The epochs begin now: that is when the time left is counted from."""
        self.loss, self.steps, self.since = model.LOSSES[0], steps, time.monotonic()
        self.first = self.done = epoch * steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.done = epoch * self.steps

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.done = self.done // self.steps * self.steps + min(batch + 1, self.steps - 1)
        self.losses = logs or {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.done = (epoch + 1) * self.steps

    def line(self, seconds: float) -> str:
        """The line; `seconds` have passed since the data were asked for."""
        if not self.steps:
            return f"{self.name}: {progress.duration(seconds)} of preparation so far"
        epoch = min(self.done // self.steps + 1, self.epochs)
        done, total = self.done - self.first, self.epochs * self.steps - self.first
        line = f"{self.name}: epoch {epoch} of {self.epochs}, step {self.done % self.steps} of {self.steps}"
        if self.loss in self.losses:
            line += f", {self.loss} {float(self.losses[self.loss]):.4g}"
        if not 0 < done < total:
            return line
        rate = done / (time.monotonic() - self.since)
        return f"{line}, {rate:.3g} steps/s, {progress.duration((total - done) / rate)} left"


def _with_options(plan, updates, *, seed, batch_size, learning_rate):
    """The preset with the user's values in the place of its own, checked by its schema."""
    given = {"training.seed": seed, "training.batch_size": batch_size}
    given |= {f"training.optimizers.{key}.learning_rate": learning_rate for key in plan.training.optimizers}
    given = {key: value for key, value in given.items() if value is not None}
    twice = sorted(set(given) & set(updates or {}))
    if twice:
        raise ZooError(f"`{twice[0]}` is given twice: by its own argument, and among the updates (--set)")
    given |= dict(updates or {})
    return presets.updated(plan, given) if given else plan


def for_few_images(
    plan: Preset, *, given: Collection[str] = (), data_dir: str | Path | None = None
) -> tuple[Preset, list[str]]:
    """A preset as `train` takes it for the number of its training images, by its `few_images`.

    Args:
        plan: A `presets.Preset`.
        given: Paths of the keys that the user has set, which stay.
        data_dir: Folder of data sets, see `data.load`.

    Returns:
        `(preset, lines)`; the lines say what was changed.

    Raises:
        ZooError, MissingDataError: As of `data.load`.
    """
    if not plan.few_images:
        return plan, []
    names = models.asked(plan.family, "hooks")(plan, data_dir=data_dir).data_names
    source = {"data_dir": data_dir, "image_shape": tuple(plan.model["image_shape"]), **plan.data.fitting}
    counts = {name: len(data.arrays(name, "train", **source)[0]) for name in names}
    name = min(counts, key=lambda name: counts[name])
    rule = next((rule for rule in plan.few_images if counts[name] < rule.below), None)
    changes = {key: value for key, value in rule.updates.items() if key not in given} if rule else {}
    if rule is None or not changes:
        return plan, []
    listed = ", ".join(f"{key} = {parts.shown(value)}" for key, value in changes.items())
    line = f"{visible(name)} has {counts[name]:,} training images, fewer than {rule.below:,}: {listed}"
    return presets.updated(plan, changes), [line]


def _check(plan, validation, callbacks, patience):
    """Checks what would fail only in the midst of a training."""
    config = plan.training
    if not 1 <= config.epochs <= _MOST_EPOCHS:
        raise ZooError(f"`epochs` must be in 1..{_MOST_EPOCHS:,}. Received: {_short(config.epochs)}")
    if not 0 <= config.seed <= MOST_SEED:
        raise ZooError(f"`seed` must be in 0..{MOST_SEED}. Received: {_short(config.seed)}")
    if isinstance(validation, (int, float)) and not 0 < validation < 1:
        raise ZooError(f"`validation` must be a share in (0, 1), or images. Received: {validation!r}")
    if patience is not None and patience < 1:
        raise ZooError(f"`patience` must be >= 1, or None for never (--patience 0). Received: {patience}")
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ZooError(f"`callbacks` must be Keras callbacks. Received: {_short(callback)}")
        if isinstance(callback, keras.callbacks.TensorBoard) and importlib.util.find_spec("tensorboard") is None:
            raise ZooError("TensorBoard is not installed: pip install 'keras-genzoo[tensorboard]'")


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} letters)"


def _share(validation):
    """The share of the training images that is held out."""
    return float(validation) if isinstance(validation, (int, float)) else 0.0


def _identity(validation):
    """What tells one validation from another in a state file; None: there is none."""
    if validation is None or isinstance(validation, (int, float)):
        return validation
    arrays = validation if isinstance(validation, (tuple, list)) else (validation,)
    if all(isinstance(array, np.ndarray) or engine.is_tensor(array) for array in arrays):
        return origin.data_hash(*map(np.asarray, arrays))
    return "a dataset"


def _validation_batches(plan, hooks, model):
    """The batches of the held-out share, the same in every epoch."""
    held = type(hooks)(plan, data_dir=hooks.data_dir)
    held.validation, held.is_validating = hooks.validation, True
    batches, n = held.batches(model, first_epoch=0)
    return engine.of_length(batches, n)


def _record(preset, data_hashes, model, epochs, seconds):
    """The entries of weights.json about a training."""
    start = preset.training.start_from
    weights = presets.find(start).record(presets.WEIGHTS_RECORD) if start else None
    return {
        "data": data_hashes,
        "start_from": {"name": start, "sha256": weights["sha256"]} if weights else None,
        "stages": [_stage(preset, model, epochs)],
        "seconds": _rounded(seconds),
    }


def _check_data(arrays, model, state, partial):
    """Refuses images of another shape than the model's, and other images than those that a run began with."""
    for name, (pixels, _) in arrays.items():
        if tuple(pixels.shape[1:]) != model.image_shape:
            raise ZooError(
                f"The images of {name} have the shape {pixels.shape[1:]}, and the model takes {model.image_shape}; "
                "give another data set, or change `model.image_shape`"
            )
    hashes = {name: origin.data_hash(*both) for name, both in arrays.items()}
    if state["data"] not in (None, hashes):
        raise ZooError(
            f"{partial} holds a run on other images: {', '.join(hashes)} has changed since; {_remedy(partial)}"
        )
    state["data"] = hashes


def _vital_signs(plan, hooks, model, patience):
    """The callback that notices a dead training, over images of all parts of the training set; None of one image."""
    pixels, labels = next(iter(hooks.data_arrays(model).values()))
    if len(pixels) < 2:
        return None
    rows = np.linspace(0, len(pixels) - 1, min(len(pixels), N_WATCHED)).astype(int)
    images = data.as_seen(pixels[rows], binarize=plan.data.binarize, seed=plan.training.seed)
    shown = labels[rows] if model.is_conditional and labels is not None else None
    return VitalSigns(images, shown, patience=patience)


def _tell_death(plan, model, signs, partial):
    """Raises the error of a training that has died, or warns of one that looks like it at its end."""
    if signs is None:
        return
    if signs.has_stopped:
        raise ZooError(
            f"Training of {plan.name} has died: for {signs.streak} epochs {signs.trouble}. Remove {partial}, and "
            f"{CURE}{model.cure}; patience=None goes on all the same"
        )
    if signs.trouble:
        warnings.warn(f"{plan.name} may have learned nothing: {signs.trouble}; {CURE}{model.cure}", stacklevel=4)


def _stage(preset, model, epochs):
    """The training as it ran, for tables: preset.yaml may change later, and a callback may have ended it."""
    config = preset.training
    return {
        "epochs": epochs,
        **config.model_dump(include={"batch_size", "seed", "start_from"}, exclude_none=True),
        "steps": int(model.train_steps.numpy()),
        "remarks": preset.section.in_words() if preset.section else [],
        "optimizers": {key: optimizer.model_dump() for key, optimizer in config.optimizers.items()},
    }


def _warn_of_short_run(model, steps):
    """Warns of a warm-up that is longer than the training: its count of steps was chosen for more images."""
    for path in model.STEP_COUNTS:
        count = model.preset.model
        for key in path.split("."):
            count = count.get(key) if isinstance(count, dict) else None
        if count and count > steps:
            warnings.warn(
                f"`model.{path}` is {count}, but this training has {steps} steps and will not come to its end; "
                f"raise the epochs, or lower it in a copy of {model.preset.file}",
                stacklevel=3,
            )


def _partial(out):
    """The folder of the checkpoint of a run that writes `out`."""
    return out.with_name(out.name + ".partial")


def _fresh_state(preset, dtype, validation):
    return {
        "digest": preset.digest(), "dtype": dtype, "data": None, "validation": validation, "epoch": 0, "ended": False,
        "weights": None, "arrays": None, "sha256": {}, "history": [], "seconds": 0.0, "hooks": None,
    }  # fmt: skip


def _read_state(partial: Path, preset: Preset, dtype: str | None, validation: Any) -> dict[str, Any]:
    """The state of an interrupted run of the same configuration, or a fresh one."""
    fresh = _fresh_state(preset, dtype, validation)
    if not (partial / _STATE).is_file():
        return fresh
    state = _stored_state(partial)
    if any(state.get(key) != fresh[key] for key in ("digest", "dtype", "validation")):
        raise ZooError(f"{partial} holds a run of another configuration; remove it, or train into another folder")
    return {**fresh, **state}


def _stored_state(partial):
    """The content of a state file, whose own hash is right."""
    path = partial / _STATE
    damaged = ZooError(f"{path} is damaged; {_remedy(partial)}")
    state = presets.read_record(path, remedy=_remedy(partial))
    check = state.pop(_CHECK, None)
    known = {"digest", "dtype", "epoch", "weights", "history", "seconds", "hooks"}
    is_older = check is None and set(state) == known and isinstance(state["weights"], str)
    if not is_older and (check != _hash_of(state) or set(state) != known | set(_ADDED) - {_CHECK}):
        raise damaged
    return state


def _hash_of(state):
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _remedy(partial):
    return f"remove {partial} to start again"


def _checked(partial, state, name):
    """The path of a file of the checkpoint, whose SHA-256 is that in the state file."""
    path, expected = partial / name, state["sha256"].get(name)
    try:
        is_whole = expected is None or files.sha256(path) == expected
    except OSError as error:
        raise ZooError(f"Cannot read {path} ({error.strerror or error}); {_remedy(partial)}") from None
    if not is_whole:
        raise ZooError(f"{path} is damaged: its SHA-256 is not that in {_STATE}; {_remedy(partial)}")
    return path


def _read_arrays(partial, state):
    """The arrays of the hooks in a checkpoint, by name."""
    if not state["arrays"]:
        return {}
    with np.load(_checked(partial, state, state["arrays"])) as stored:
        return dict(stored)


def _is_finished(out, preset, dtype, validation):
    """Whether `out` is this very run's, killed before its checkpoint was gone."""
    partial = _partial(out)
    if not ((files.healed(out) / presets.PRESET_FILE).is_file() and partial.is_dir()):
        return False
    try:
        weights = presets.find(out).record(presets.WEIGHTS_RECORD)
        came = weights["origin"]
        if came["preset_digest"] != preset.digest():
            return False
        if not (partial / _STATE).is_file():
            return not any(partial.iterdir())
        state = _read_state(partial, preset, dtype, validation)
        is_complete = state["ended"] or state["epoch"] == preset.training.epochs
        return is_complete and came["seconds"] == _rounded(state["seconds"])
    except (ZooError, KeyError, TypeError, AttributeError):
        return False


def _rounded(seconds):
    return round(seconds, 1)


def _remove_partial(out):
    """Removes the checkpoint of a finished run, its state file last: by that the next run knows what is left."""
    partial = _partial(out)
    for path in partial.iterdir() if partial.is_dir() else ():
        if path.name != _STATE:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def _divisor(steps: int, limit: int) -> int:
    """The largest divisor of `steps` up to a limit: Keras runs whole executions, and an epoch must end on its step."""
    return max(d for d in range(1, min(limit, steps) + 1) if steps % d == 0)
