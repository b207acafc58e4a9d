"""Training of a preset, from fresh weights or from another preset's: seeds, schedules, checkpoints, resume."""

import math
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_genzoo import files, models, origin, parts, presets, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.models.hooks import Hooks
from keras_genzoo.presets import Preset
from keras_genzoo.typing import PathLike

_STATE = "state.json"  # file of a partial run that names its checkpoint


def train(
    preset: str | Path | Preset,
    out: PathLike,
    *,
    data: str | Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    dtype: str | None = None,
    epochs: int | None = None,
    checkpoint_every: int = 1,
    verbose: Any = "auto",
) -> Any:
    """Trains a preset's model and saves it as the preset folder `out`.

    The training begins with fresh weights, or with those of the preset that `training.start_from` names.

    While it runs, `OUT.partial/` holds a checkpoint of weights, optimizers and random state. The same call after an
    interruption goes on from there, and ends with the weights of an unbroken run. A family may draw pictures there:
    `OUT.partial/monitor/` shows samples and curves of a watched GAN, `OUT.partial/preview.png` both people of a face
    swap.

    Args:
        preset: Name or path of a preset, or a `presets.Preset`.
        out: Folder to write; it must not exist.
        data: Name of a data set in place of the preset's, see `data.load`; "folder:PATH" for images of your own; two
            names for a family that trains on two.
        data_dir: Folder of data sets, see `data.load`.
        dtype: Precision policy, see `zoo.load`.
        epochs: Number of epochs in place of the preset's, >= 1; the schedule of the learning rate spans them.
        checkpoint_every: Epochs between checkpoints, >= 1.
        verbose: Verbosity of `keras.Model.fit`.

    Returns:
        The trained model, compiled.

    Raises:
        ZooError: `out` exists or cannot be written; the partial run has another configuration; or the training has
            ended early, by a loss that is not finite or by a callback of the family.

    Example:
        >>> import pathlib, tempfile
        >>> import keras_genzoo as gz
        >>> out = pathlib.Path(tempfile.mkdtemp(), "my_ring")
        >>> gan = gz.train("ring2d", out, epochs=1, verbose=0)
        >>> gz.load(out).sample(4, seed=0).shape
        (4, 1, 1, 2)
    """
    plan: Preset = preset if isinstance(preset, Preset) else presets.find(preset)
    out = Path(out).expanduser().resolve()
    if out.exists():
        raise ZooError(f"{out} exists; give another folder")
    family_hooks = models.asked(plan.family, "hooks")
    if data is not None:
        plan = family_hooks.on_data(plan, (data,) if isinstance(data, str) else tuple(data))
    if epochs is not None:
        if epochs < 1:
            raise ZooError(f"`epochs` must be >= 1. Received: {epochs}")
        plan = family_hooks.in_epochs(plan, epochs)
    config = plan.training
    partial = out.with_name(out.name + ".partial")
    state = _read_state(partial, plan, dtype)

    hooks = family_hooks(plan, data_dir=data_dir)
    model, batches, steps_per_epoch = _prepared(plan, hooks, dtype, first_epoch=state["epoch"])
    _warn_of_short_run(model, config.epochs * steps_per_epoch)
    if state["epoch"]:
        zoo.load_weights(model, partial / state["weights"])
    before, after = hooks.callbacks(model, partial, every=checkpoint_every)
    if state["hooks"] is not None:
        hooks.resume(state["hooks"])
    checkpoint = _Checkpoint(partial, state, config.epochs, checkpoint_every, hooks)
    model.fit(
        batches,
        epochs=config.epochs,
        initial_epoch=state["epoch"],
        steps_per_epoch=steps_per_epoch,
        verbose=verbose,
        callbacks=[*before, checkpoint, *after],
    )
    if state["epoch"] < config.epochs:
        raise ZooError(
            f"Training of {plan.name} stopped at {hooks.trouble() or 'a loss that is not finite'} in epoch "
            f"{state['epoch'] + 1}; the last good weights are in {partial}. Lower the learning rate in {plan.file}"
        )
    hooks.finish(model)
    zoo.save(model, out, history=state["history"], trained=_record(plan, hooks, model, state["seconds"]))
    shutil.rmtree(partial)
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
    """

    def __init__(self, folder: Path, state: dict[str, Any], epochs: int, every: int, hooks: Hooks):
        super().__init__()
        self.folder, self.state, self.epochs, self.every, self.hooks = folder, state, epochs, every, hooks
        self.last_time = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.hooks.ends_itself:
            return
        if not all(math.isfinite(value) for value in (logs or {}).values()):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.model.stop_training:  # and the checkpoint keeps the last good weights
            return
        self.state["history"].append({key: float(value) for key, value in (logs or {}).items()})
        n_epochs = epoch + 1
        if n_epochs % self.every and n_epochs != self.epochs:
            return
        previous, time_now = self.state["weights"], time.monotonic()
        self.state.update(epoch=n_epochs, weights=f"epoch{n_epochs}.weights.h5", hooks=self.hooks.state())
        self.state["seconds"] += time_now - self.last_time
        self.last_time = time_now
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.model.save_weights(self.folder / self.state["weights"])
        except OSError as error:
            raise files.cannot_write(self.folder, error) from None
        files.write_json(self.folder / _STATE, self.state, indent=None)
        if previous and previous != self.state["weights"]:
            (self.folder / previous).unlink(missing_ok=True)


def _record(preset, hooks, model, seconds):
    """The entries of weights.json about a training."""
    start = preset.training.start_from
    weights = presets.find(start).record(presets.WEIGHTS_RECORD) if start else None
    return {
        "data": {name: origin.data_hash(*arrays) for name, arrays in hooks.data_arrays(model).items()},
        "start_from": {"name": start, "sha256": weights["sha256"]} if weights else None,
        "stages": [_stage(preset, model)],
        "seconds": round(seconds, 1),
    }


def _stage(preset, model):
    """The training as it ran, for tables: preset.yaml may change later."""
    config = preset.training
    return {
        **config.model_dump(include={"epochs", "batch_size", "seed", "start_from"}, exclude_none=True),
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


def _read_state(partial: Path, preset: Preset, dtype: str | None) -> dict[str, Any]:
    """The state of an interrupted run of the same configuration, or a fresh one."""
    fresh = {"digest": preset.digest(), "dtype": dtype, "epoch": 0, "weights": None, "history": [], "seconds": 0.0,
             "hooks": None}  # fmt: skip
    path = partial / _STATE
    if not path.is_file():
        return fresh
    state = files.read_json(path, remedy=f"remove {partial} to start again")
    if (state["digest"], state["dtype"]) != (fresh["digest"], dtype):
        raise ZooError(f"{partial} holds a run of another configuration; remove it, or train into another folder")
    return {**fresh, **state}


def _divisor(steps: int, limit: int) -> int:
    """The largest divisor of `steps` up to a limit: Keras runs whole executions, and an epoch must end on its step."""
    return max(d for d in range(1, min(limit, steps) + 1) if steps % d == 0)
