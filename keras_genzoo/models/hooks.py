"""Hooks: a family's additions to a training, which `training.train` calls for every family alike."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import Preset


class Hooks:
    """The hooks of one training. This class adds nothing: one data set, streamed.

    Args:
        preset: Preset that is trained.
        data_dir: See `data.load`.
    """

    ends_itself = False  # whether a callback acts on losses that are not finite
    validation = 0.0  # share of the training images that is held out
    is_validating = False  # whether `batches` are of the held-out images

    def __init__(self, preset: Preset, *, data_dir: str | Path | None = None):
        self.preset, self.data_dir = preset, data_dir

    @property
    def data_names(self) -> tuple[str, ...]:
        """The data sets that the preset trains on."""
        return (self.preset.data.name,)

    # === Presets, before a training ===

    @classmethod
    def on_data(cls, preset: Preset, names: tuple[str, ...]) -> Preset:
        """The preset with other data sets.

        Args:
            preset: A preset.
            names: Names of data sets, as many as the family trains on.

        Raises:
            ZooError: More or fewer names than the family trains on.
        """
        if len(names) != 1:
            raise cls.wrong_count(preset, "1 data set", names)
        return preset.with_updates(data={"name": data.full_name(names[0])})

    @staticmethod
    def wrong_count(preset: Preset, expected: str, names: tuple[str, ...]) -> ZooError:
        """The error of a preset that is given too few or too many data sets."""
        received = names[0] if len(names) == 1 else names
        return ZooError(f"{preset.name} trains on {expected}. Received: data={received!r}")

    @classmethod
    def in_epochs(cls, preset: Preset, epochs: int) -> Preset:
        """The preset with another number of epochs.

        Args:
            preset: A preset.
            epochs: Number of epochs, >= 1.
        """
        return preset.with_updates(training={"epochs": epochs})

    # === Hooks in the order of a training ===

    def batches(self, model: Any, *, first_epoch: int) -> tuple[tf.data.Dataset, int]:
        """The stream of batches: of the images that are not held out, or of those that are; see `validation`.

        Args:
            model: The model, not compiled yet.
            first_epoch: Epoch to begin with, >= 0.

        Returns:
            `(dataset, batches per epoch)`, see `data.stream`.
        """
        config = self.preset.training
        return data.stream(
            **self.preset.data.model_dump(),
            image_shape=model.image_shape,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            data_dir=self.data_dir,
            validation=self.validation,
            is_validating=self.is_validating,
        )

    def summary(self, model: Any) -> list[str]:
        """Lines about the data, which are shown before the training.

        Args:
            model: The model.
        """
        source = {"data_dir": self.data_dir, "image_shape": model.image_shape, **self.preset.data.fitting}
        return [data.summary(name, **source) for name in self.data_names]

    def begin(self, model: Any, steps_per_epoch: int) -> None:
        """Prepares the model before it is compiled.

        Args:
            model: The model.
            steps_per_epoch: Batches per epoch.
        """

    def restart_step(self, steps_per_epoch: int) -> int:
        """Training step at which the learning rate's course begins again; 0: it has one course."""
        return 0

    def callbacks(
        self, model: Any, folder: Path, *, every: int
    ) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
        """Keras callbacks of the training.

        Args:
            model: The compiled model, with the weights of the run so far.
            folder: Folder for pictures, which exists while the training runs.
            every: Epochs between two checkpoints.

        Returns:
            `(callbacks before the checkpoint is written, callbacks after it)`.
        """
        return [], []

    def state(self) -> Any:
        """State of the callbacks as JSON takes it, for a checkpoint; None: they have none."""
        return None

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the callbacks that go with `state()` into a checkpoint, by name."""
        return {}

    def resume(self, state: Any, arrays: dict[str, np.ndarray]) -> None:
        """Puts the callbacks into a `state()` and its `arrays()`; called after `callbacks`."""

    def trouble(self) -> str | None:
        """Reason for which a callback has stopped the training; None: none has."""
        return None

    def finish(self, model: Any) -> None:
        """Completes the trained model before it is saved."""

    @staticmethod
    def pictures(folder: Path) -> list[Path]:
        """The files and folders in the folder of `callbacks` that the finished run keeps.

        Args:
            folder: Folder of the pictures.
        """
        return []

    def data_arrays(self, model: Any) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """The training images and labels of each data set, for the record of the weights."""
        return {name: zoo.arrays(model, "train", name=name, data_dir=self.data_dir) for name in self.data_names}
