"""Hooks of a classifier's training: factors beside the labels."""

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import data
from keras_genzoo.errors import ZooError
from keras_genzoo.models.hooks import Hooks


class ClassifierHooks(Hooks):
    """The hooks of a classifier, which with `n_factors` also learns what the images were made from."""

    def batches(self, model: Any, *, first_epoch: int) -> tuple[tf.data.Dataset, int]:
        if not model.n_factors:
            return super().batches(model, first_epoch=first_epoch)
        config, source = self.preset.training, self.preset.data
        options = source.model_dump(exclude={"labels"})
        _, labels = self.data_arrays(model)[source.name]
        if labels is None:
            raise ZooError(f"{source.name} has no labels, and {self.preset.name} learns labels and factors")
        batches, n = data.stream(
            **options,
            image_shape=model.image_shape,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            data_dir=self.data_dir,
            targets=[np.concatenate([labels[:, None].astype("float32"), self._factors()], axis=1)],
            validation=self.validation,
            is_validating=self.is_validating,
        )
        return batches.map(lambda x, y: (x, {"labels": ops.cast(y[:, 0], "int32"), "factors": y[:, 1:]})), n

    def begin(self, model: Any, steps_per_epoch: int) -> None:
        if model.n_factors:
            model.adapt(self._factors())

    def _factors(self):
        return data.factors_of(self.preset.data.name, "train", data_dir=self.data_dir)[0]
