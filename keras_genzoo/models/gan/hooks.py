"""Hooks of a GAN's training: the monitor of its preset."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data, judges, zoo
from keras_genzoo.data import made
from keras_genzoo.models.gan.monitor import GANMonitor
from keras_genzoo.models.hooks import Hooks

_N_WATCHED = 256  # images of each kind in a look of a monitor; as many of the training split are held out for it


class GANHooks(Hooks):
    """The hooks of a GAN's training, which is watched where the preset has `gan: {monitor: ...}`."""

    _monitor: GANMonitor | None = None

    @property
    def config(self) -> Any:
        """The preset's `gan.monitor`; None: the training is not watched."""
        return self.preset.section and self.preset.section.monitor

    @property
    def ends_itself(self) -> bool:
        return bool(self.config) and self.config.action == "restore"  # the monitor restores good weights, or stops

    def batches(self, model: Any, *, first_epoch: int) -> tuple[tf.data.Dataset, int]:
        config = self.preset.training
        return data.stream(
            **self.preset.data.model_dump(),
            image_shape=model.image_shape,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            data_dir=self.data_dir,
            n_held_out=_N_WATCHED if self.config else 0,
            validation=self.validation,
            is_validating=self.is_validating,
        )

    def callbacks(
        self, model: Any, folder: Path, *, every: int
    ) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
        if self.config is None:
            return [], []
        self._monitor = self.monitor(model, folder / "monitor")
        return [self._monitor], []

    def monitor(self, model: Any, out: Path | None) -> GANMonitor:
        """The monitor of the preset.

        Args:
            model: A `GAN` with the preset.
            out: Folder of the monitor's pictures; None: no pictures.
        """
        pixels, labels = zoo.arrays(model, "train", data_dir=self.data_dir)
        splits = slice(min(_N_WATCHED, len(pixels) - _N_WATCHED)), slice(-_N_WATCHED, None)  # trained on, held out
        binarize = self.preset.data.binarize
        train, holdout = (data.as_seen(pixels[rows], binarize=binarize) for rows in splits)
        if model.is_conditional and labels is not None:
            train, holdout = ((images, labels[rows]) for images, rows in zip((train, holdout), splits, strict=True))
        modes, n_modes = self._modes(labels)
        return GANMonitor(
            train, holdout, **self.config.model_dump(), modes=modes, n_modes=n_modes, out=out, n=_N_WATCHED
        )

    def _modes(self, labels):
        """A function from images to the mode of each, and the number of modes; both None where modes are not known."""
        name = self.preset.data.name
        if name in made.MIXTURES:
            mixture = made.MIXTURES[name]
            return mixture.modes_of, len(mixture.centres)
        if judges.knows(name):
            judge = judges.load(name)
            return lambda images: judge.classify(images)["logits"].argmax(1), len(np.unique(labels))
        return None, None

    def state(self) -> Any:
        return self._monitor and self._monitor.state()

    def arrays(self) -> dict[str, np.ndarray]:
        return self._monitor.arrays() if self._monitor else {}

    def resume(self, state: Any, arrays: dict[str, np.ndarray]) -> None:
        if self._monitor:
            self._monitor.resume(state, arrays)

    def trouble(self) -> str | None:
        return self._monitor.troubles[-1][1] if self._monitor and self._monitor.has_stopped else None
