"""Labels of a conditional model: their form in networks, and the check of a user's labels."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_genzoo.errors import ZooError
from keras_genzoo.models import inputs
from keras_genzoo.models.base import ZooModel
from keras_genzoo.typing import ArrayLike, Tensor


class Labelled(ZooModel):
    """Base of a model that may be conditional: with `n_classes` > 0 its networks take the label of each image."""

    n_classes: int
    label_plane: keras.layers.Layer

    @property
    def is_conditional(self) -> bool:
        """Whether the model takes labels."""
        return self.n_classes > 0

    @property
    def n_kinds(self) -> int:
        """The number of kinds of images that the networks are told; 0: they are told none."""
        return self.n_classes

    def images_and_labels(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """The images and the labels of a batch from fit.

        Args:
            batch: Images, `(images, labels)`, or a dict of both.

        Returns:
            `(images, labels)`, the labels int32 `(batch,)`; None where the model takes none.

        Raises:
            ZooError: A conditional model received no labels.
        """
        x, labels, _ = self.parts_of(batch)
        if not self.n_classes:
            return x, None
        if labels is None:
            raise self._lacks_labels()
        return x, ops.cast(ops.reshape(labels, (-1,)), "int32")

    def _lacks_labels(self):
        return ZooError(f"{type(self).__name__} with n_classes needs images and labels. Received: images alone")

    @property
    def call_kinds(self) -> dict[str, inputs.Kind]:
        return super().call_kinds | ({"labels": inputs.labels(self.n_classes)} if self.n_classes else {})

    def training_parts(self, x: Any, y: Any, weights: Any, names: Sequence[str]) -> list[inputs.Part]:
        if not self.n_classes:
            return super().training_parts(x, y, weights, names)
        if y is None:
            raise self._lacks_labels()
        inputs.require_array(y, names[1])
        images, *rest = super().training_parts(x, None, weights, names)
        return [images, inputs.Part(inputs.labels(self.n_classes), y, names[1]), *rest]

    def with_labels(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Codes with their labels appended.

        Args:
            z: Codes, `(n, latent_dim)`.
            labels: Classes, `(n,)` integers; None where the model takes none.

        Returns:
            `(n, latent_dim + n_kinds)`, the labels one-hot.
        """
        if not self.n_kinds:
            return z
        return ops.concatenate([z, ops.one_hot(labels, self.n_kinds, dtype="float32")], axis=1)

    def label_painter(self) -> keras.layers.Layer:
        """The layer that paints a label as one more channel, for `with_label_channel`."""
        height, width, _ = self.image_shape
        layer = keras.layers.Dense(height * width, dtype="float32", name="label_plane")
        layer.build((None, self.n_kinds))
        return layer

    def with_label_channel(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images with their labels as one more channel, painted by `self.label_plane`.

        Args:
            images: Images, `(n, H, W, C)`.
            labels: Classes, `(n,)` integers.

        Returns:
            `(n, H, W, C + 1)` float32.
        """
        plane = self.label_plane(ops.one_hot(labels, self.n_kinds, dtype="float32"))
        plane = ops.reshape(plane, (-1, *self.image_shape[:2], 1))
        return ops.concatenate([ops.cast(images, "float32"), plane], axis=-1)

    def classes_in_turn(self, n: int) -> np.ndarray | None:
        """n labels that count 0, 1, 2 and so on, and begin again; None where the model takes none."""
        return np.arange(n) % self.n_classes if self.n_classes else None

    def checked_labels(self, labels: ArrayLike | None, n: int) -> list[np.ndarray]:
        """The labels as inputs of an endpoint.

        Args:
            labels: Classes, `(n,)` integers in `range(n_classes)`; None where the model takes none.
            n: Number of images or codes.

        Returns:
            `[labels]`, int32; `[]` where the model takes none.

        Raises:
            ZooError: Labels are missing, too many, of another type, or out of range.
        """
        if not self.n_classes:
            if labels is not None:
                raise ZooError("This model knows no classes; `labels` goes with a conditional one")
            return []
        if labels is None:
            raise ZooError(f"A conditional model needs `labels`: {n} integers in 0..{self.n_classes - 1}")
        labels = np.asarray(labels)
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            raise ZooError(f"`labels` must be {n} integers. Received: shape {labels.shape}, dtype {labels.dtype}")
        if labels.min() < 0 or labels.max() >= self.n_classes:
            raise ZooError(f"`labels` must be in 0..{self.n_classes - 1}. Received: {labels.min()}..{labels.max()}")
        return [labels.astype("int32")]
