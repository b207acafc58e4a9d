"""A small classifier: no generative model, but the judge whose features and labels measure samples."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import keras
import numpy as np
from keras import ops
from pydantic import Field

from keras_genzoo import networks
from keras_genzoo.errors import ZooError
from keras_genzoo.models import inputs
from keras_genzoo.models.base import ImageShape, ZooModel
from keras_genzoo.typing import ArrayLike, DType, Spec, Tensor


@keras.saving.register_keras_serializable("keras_genzoo")
class Classifier(ZooModel):
    """Images -> `features` and class `logits`.

    Args:
        image_shape: `(height, width, channels)`.
        n_classes: Number of classes, >= 2.
        network: Spec of a network with an output `features`, such as "cnn_classifier" or "mlp_classifier"; see
            `networks`.
        seed, dtype, name: See `ZooModel`.
    """

    LOSSES = ("loss", "accuracy")
    REFUSES_METRICS = None
    PARTS: ClassVar = {"network": "network"}
    CAN = frozenset({"classify"})

    def __init__(
        self,
        *,
        image_shape: ImageShape = (28, 28, 1),
        n_classes: Annotated[int, Field(ge=2)],
        network: Spec,
        seed: int | None = None,
        dtype: DType = None,
        name: str | None = "classifier",
    ):
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.configure(locals())
        self.network = networks.build(
            network,
            key="network",
            name="network",
            dtype=self.dtype_policy,
            image_shape=self.image_shape,
            outputs={"logits": n_classes},
        )
        self.build()

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Logits of the classes.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            training: Whether dropout and batch statistics are on.

        Returns:
            `(n, n_classes)` float32.
        """
        return self.network(images, training=training)["logits"]

    def train_step(self, data: Any) -> dict[str, Tensor]:
        x, y, weights = self._parts(data)
        loss, accuracy = self.minimize(
            self.optimizer, lambda: self._loss(x, y, training=True), self.trainable_variables, weights=weights
        )
        self.train_steps.assign_add(1)
        logs = self.track(loss=loss, accuracy=accuracy, weights=weights)
        return logs | self.track_metrics(y, lambda: self(x), weights)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        x, y, weights = self._parts(data)
        loss, accuracy = self._loss(x, y, training=False)
        logs = self.track(loss=self.with_added_loss(loss), accuracy=accuracy, weights=weights)
        return logs | self.track_metrics(y, lambda: self(x), weights)

    def refuses_weights(self) -> str | None:
        return None

    def arranged(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        if y is None and isinstance(x, dict) and set(x) == {"images", "labels"}:  # a batch of fit
            x, y = x["images"], x["labels"]
        return super().arranged(x, y)

    def training_parts(self, x: Any, y: Any, weights: Any, names: Sequence[str]) -> list[inputs.Part]:
        if y is None:
            raise self._lacks_labels()
        inputs.require_array(y, names[1])
        images, *rest = super().training_parts(x, None, weights, names)
        return [images, inputs.Part(inputs.labels(self.n_classes), y, names[1]), *rest]

    def _loss(self, x, y, training):
        logits = self(x, training=training)
        accuracy = ops.cast(ops.equal(ops.argmax(logits, -1), ops.cast(y, "int64")), "float32")
        return ops.sparse_categorical_crossentropy(y, logits, from_logits=True), accuracy

    @staticmethod
    def _lacks_labels():
        return ZooError("A classifier trains on (images, labels). Received: images alone; load data with labels=True")

    def _parts(self, batch):
        """The parts of a batch: `(images, labels, weights)`, the labels `(batch,)`."""
        x, y, weights = self.parts_of(batch)
        if y is None:
            raise self._lacks_labels()
        return x, ops.reshape(y, (-1,)), weights

    def endpoints(self) -> dict[str, keras.Model]:
        images = self.network.inputs[0]
        return {"classify": keras.Model(images, self.network(images), name="classify")}

    def classify(self, images: ArrayLike) -> dict[str, np.ndarray]:
        """Features and logits of images `(n, H, W, C)` in [0, 1].

        Returns:
            `{"features": (n, units), "logits": (n, n_classes)}`, float32.

        Raises:
            ZooError: Bad images.
        """
        return self.run_endpoint("classify", self.check_images(images))
