"""Hooks of a GAN's training: the monitor of its preset."""

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data, judges, zoo
from keras_genzoo.data import made
from keras_genzoo.errors import ZooError, visible
from keras_genzoo.models.gan.monitor import LEAST_IMAGES, GANMonitor
from keras_genzoo.models.hooks import Hooks

_MOST_WATCHED = 256  # images of each kind in a look of a monitor; as many of the training split are held out for it
_MOST_SHARE = 10  # a monitor holds out one image of so many at most,
_LEAST_SHARE = 5  # and one of so many where its least number of images is more than that
_TOLD_SHARE = 100  # less than one image of so many is held out without a warning
_PICTURES = "monitor"  # folder


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
        if self._is_told(model):
            warnings.warn(self._held_out_line(model), stacklevel=2)
        return data.stream(
            **self.preset.data.model_dump(),
            image_shape=model.image_shape,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            data_dir=self.data_dir,
            n_held_out=self._n_held_out(model),
            validation=self.validation,
            is_validating=self.is_validating,
        )

    def summary(self, model: Any) -> list[str]:
        is_quiet = self.config and not self._is_told(model)
        return super().summary(model) + ([self._held_out_line(model)] if is_quiet else [])

    def begin(self, model: Any, steps_per_epoch: int) -> None:
        if not model.n_clusters or model.is_adapted:
            return  # weights to start from bring their clusters along
        config = self.preset.training
        pixels, labels = zoo.arrays(model, "train", data_dir=self.data_dir)
        chosen = data.streamed_rows(
            self.preset.data.name, len(pixels), labels=labels, seed=config.seed,
            n_held_out=self._n_held_out(model), validation=self.validation,
        )  # fmt: skip
        pixels = data.rows.in_memory(data.rows.part(pixels, chosen), seed=config.seed)
        model.adapt(data.as_seen(pixels, binarize=self.preset.data.binarize, seed=config.seed))

    def callbacks(
        self, model: Any, folder: Path, *, every: int
    ) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
        if self.config is None:
            return [], []
        self._monitor = self.monitor(model, folder / _PICTURES)
        return [self._monitor], []

    @staticmethod
    def pictures(folder: Path) -> list[Path]:
        return [folder / _PICTURES]

    def monitor(self, model: Any, out: Path | None) -> GANMonitor:
        """The monitor of the preset.

        Args:
            model: A `GAN` with the preset.
            out: Folder of the monitor's pictures; None: no pictures.
        """
        pixels, labels = zoo.arrays(model, "train", data_dir=self.data_dir)
        n, seed = self._n_held_out(model), self.preset.training.seed
        apart = data.held_out(len(pixels), n, labels=labels, seed=seed)  # as `data.stream` leaves them out
        rest = np.delete(np.arange(len(pixels)), apart)
        watched = rest[data.held_out(len(rest), n, labels=None if labels is None else labels[rest], seed=seed)]
        splits = watched, apart
        binarize = self.preset.data.binarize
        train, holdout = (data.as_seen(pixels[rows], binarize=binarize) for rows in splits)
        if model.is_conditional and labels is not None:
            train, holdout = ((images, labels[rows]) for images, rows in zip((train, holdout), splits, strict=True))
        modes, n_modes = self._modes(labels)
        try:
            return GANMonitor(train, holdout, **self.config.model_dump(), modes=modes, n_modes=n_modes, out=out, n=n)
        except ZooError as error:
            raise ZooError(f"No monitor on {self.preset.data.name}: {error}") from None

    def _n_held_out(self, model):
        """The number of images that are held out for the monitor, whole packs: a tenth of a small data set."""
        if not self.config:
            return 0
        n_images = self._n_images(model)
        least = -(-LEAST_IMAGES // model.pack) * model.pack
        if n_images < _LEAST_SHARE * least:
            raise ZooError(
                f"A monitor holds out {least} images, of at least {_LEAST_SHARE * least}. Received: {n_images} in "
                f"{self.preset.data.name}; add images, or take `gan.monitor` out of {self.preset.file}"
            )
        return max(least, min(_MOST_WATCHED, n_images // _MOST_SHARE) // model.pack * model.pack)

    def _n_images(self, model):
        return len(zoo.arrays(model, "train", data_dir=self.data_dir)[0])

    def _is_told(self, model):
        """Whether so large a share is held out that it is worth a warning."""
        return self._n_held_out(model) * _TOLD_SHARE > self._n_images(model)

    def _held_out_line(self, model):
        n, n_images = self._n_held_out(model), self._n_images(model)
        return (
            f"The monitor holds out {n} of the {n_images:,} images of {visible(self.preset.data.name)}, a shuffled "
            f"share of every class; {n_images - n:,} are trained on"
        )

    def _modes(self, labels):
        """A function from images to the mode of each, and the number of modes; both None where modes are not known."""
        name = self.preset.data.name
        if name in made.MIXTURES:
            mixture = made.MIXTURES[name]
            return mixture.modes_of, len(mixture.centres)
        if judges.knows(name) and labels is not None:
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
