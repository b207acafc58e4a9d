"""Hooks of a face swap's training: two data sets, guidance by landmarks, unwarped epochs, a preview, `align`."""

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import data, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.models.face_swap import codes, drawings, landmarks
from keras_genzoo.models.hooks import Hooks
from keras_genzoo.presets import Preset

_LEAST_FACES = 50  # training images of each person; hundreds are better
_LEAST_FACTORS = codes.BENT  # number of factors by which a model without a reader is aligned
_PREVIEW = "preview.png"
_N_PREVIEWED = 10  # faces of each person in a preview


class FaceSwapHooks(Hooks):
    """The hooks of a training on two people's faces."""

    _factors: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def data_names(self) -> tuple[str, ...]:
        """The data sets of the two people; one, of a model that was built by hand."""
        section = self.preset.section
        return (self.preset.data.name,) if section is None else (self.preset.data.name, section.other)

    @classmethod
    def on_data(cls, preset: Preset, names: tuple[str, ...]) -> Preset:
        if len(names) != 2:
            raise cls.wrong_count(preset, "2 data sets", names)
        first, second = map(data.full_name, names)
        return preset.with_updates(data={"name": first}, section={"other": second})

    @classmethod
    def in_epochs(cls, preset: Preset, epochs: int) -> Preset:
        """The preset with another number of epochs, of which the same share is unwarped.

        Args:
            preset: A preset.
            epochs: Number of epochs, >= 1.
        """
        share = preset.section.unwarped_epochs / preset.training.epochs
        unwarped = min(round(epochs * share), epochs - 1)
        return preset.with_updates(training={"epochs": epochs}, section={"unwarped_epochs": unwarped})

    def batches(self, model: Any, *, first_epoch: int) -> tuple[tf.data.Dataset, int]:
        self._check_unwarped()
        self._check_counts(model)
        if model.n_factors:
            self._factors = factors_of(model, self.data_names, self.data_dir)
            if self._factors is None and not self.is_validating:
                warnings.warn(
                    f"{self.preset.name} is trained without guidance, as {' and '.join(self.data_names)} have no "
                    "landmarks in common; `keras-genzoo faces extract` writes them into its files. Swaps will be less "
                    "sharp",
                    stacklevel=4,
                )
        config = self.preset.training
        batches, steps_per_epoch = data.stream(
            self.data_names,
            **self.preset.data.model_dump(exclude={"name"}),
            image_shape=model.image_shape,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            data_dir=self.data_dir,
            targets=self._factors,
            validation=self.validation,
            is_validating=self.is_validating,
            paired=bool(model.pairing),
        )
        if self._factors is not None:
            batches = batches.map(
                lambda a, b: tuple({"images": images, "factors": factors} for images, factors in (a, b))
            )
        return batches, steps_per_epoch

    def begin(self, model: Any, steps_per_epoch: int) -> None:
        unwarped = self.preset.section.unwarped_epochs
        if unwarped:  # the preset counts epochs, because the number of faces, and so of steps, depends on the data
            model.warped_steps = (self.preset.training.epochs - unwarped) * steps_per_epoch

    def restart_step(self, steps_per_epoch: int) -> int:
        unwarped = self.preset.section.unwarped_epochs
        return (self.preset.training.epochs - unwarped) * steps_per_epoch if unwarped else 0

    def callbacks(
        self, model: Any, folder: Path, *, every: int
    ) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
        return [], [_Preview(faces_of(model, "test", data_dir=self.data_dir), folder, every)]

    def finish(self, model: Any) -> None:
        if not model.pairing:  # else the codes of a pair have learned to lie together
            align(model, data_dir=self.data_dir, validation=self.validation)

    @staticmethod
    def pictures(folder: Path) -> list[Path]:
        return [folder / _PREVIEW]

    def _check_unwarped(self):
        config, warped_steps = self.preset.training, self.preset.model.get("warped_steps")
        unwarped = self.preset.section.unwarped_epochs
        if unwarped and (warped_steps or unwarped >= config.epochs):
            raise ZooError(
                f"{self.preset.file}: `face_swap.unwarped_epochs` must be fewer than `training.epochs`, and without "
                f"`model.warped_steps`. Received: {unwarped} of {config.epochs} epochs"
                + (f", warped_steps: {warped_steps}" if warped_steps else "")
            )

    def _check_counts(self, model):
        for name in self.data_names:
            n = len(zoo.arrays(model, "train", name=name, data_dir=self.data_dir)[0])
            if n < _LEAST_FACES:
                raise ZooError(
                    f"A face swap needs {_LEAST_FACES} training images of each person, better some hundreds. "
                    f"Received: {n} in {name}"
                )


def faces_of(model: Any, split: str, *, data_dir: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The faces of both people of a preset's model.

    Args:
        model: A `FaceSwap` with a preset.
        split: "train" or "test".
        data_dir: See `data.load`.

    Returns:
        `(faces_a, faces_b)`, each `(n, H, W, C)` float32 in [0, 1].
    """
    preset = model.preset
    faces_a, faces_b = (
        data.to_unit(zoo.arrays(model, split, name=name, data_dir=data_dir)[0])
        for name in (preset.data.name, preset.section.other)
    )
    return faces_a, faces_b


def align(model: Any, *, data_dir: str | Path | None = None, validation: float = 0.0) -> None:
    """`FaceSwap.align` with the training images of a preset's model, and their factors where the data has them.

    Args:
        model: A `FaceSwap` with a preset.
        data_dir: See `data.load`.
        validation: Share of the images that the training has held out, see `data.stream`.
    """
    names = model.preset.data.name, model.preset.section.other
    factors_a, factors_b = factors_of(model, names, data_dir) or (None, None)
    people = list(zip(faces_of(model, "train", data_dir=data_dir), (factors_a, factors_b), strict=True))
    if validation:
        for i, (faces, factors) in enumerate(people):
            rows = data.split_rows(len(faces), validation, seed=model.preset.training.seed + i)[0]
            people[i] = faces[rows], None if factors is None else factors[rows]
    (faces_a, factors_a), (faces_b, factors_b) = people
    model.align(faces_a, faces_b, factors_a=factors_a, factors_b=factors_b)


def factors_of(model: Any, names: tuple[str, ...], data_dir: str | Path | None) -> tuple[np.ndarray, np.ndarray] | None:
    """`codes.shared_factors` of both people's training images.

    Args:
        model: A `FaceSwap` with a preset.
        names: Data sets of the two people.
        data_dir: See `data.load`.

    Returns:
        `(factors_a, factors_b)`, each `(n, k)` float32; None where their landmarks are not known, or differ in number.
    """
    source = {"data_dir": data_dir, "image_shape": model.image_shape, **model.preset.data.fitting}
    marks = [landmarks.of_data(name, "train", **source) for name in names]
    points = [array for array, _ in marks if array is not None]
    poses = [array for _, array in marks if array is not None]
    if len(points) < len(marks) or len({array.shape[1:] for array in points}) > 1:
        return None
    known_poses = poses if len(poses) == len(marks) else None
    return codes.shared_factors(points, known_poses, n_factors=model.n_factors or _LEAST_FACTORS)


class _Preview(keras.callbacks.Callback):
    """Draws held-out faces of both people through both decoders."""

    def __init__(self, faces, folder, every):
        super().__init__()
        self.faces_a, self.faces_b = (images[:_N_PREVIEWED] for images in faces)
        self.folder, self.every = folder, every

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 and self.folder.is_dir():
            drawings.swaps(self.model, self.faces_a, self.faces_b, self.folder / _PREVIEW)
