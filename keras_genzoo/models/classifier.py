"""A small classifier: not a generative model, but the judge whose features and labels measure them."""

import keras
from keras import ops

from keras_genzoo import networks
from keras_genzoo.models.base import ZooModel, check_count, check_spec


@keras.saving.register_keras_serializable("keras_genzoo")
class Classifier(ZooModel):
    """Images -> `features` and class `logits`.

    Args:
        image_shape: `(height, width, channels)`.
        n_classes: >= 2.
        network: Spec of a network with a `features` output, e.g. `{"name": "cnn_classifier", ...}`; see `networks`.
        seed, dtype, name: See `ZooModel`.
    """

    LOSSES = ("loss", "accuracy")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        n_classes: int,
        network: dict,
        seed: int | None = None,
        dtype=None,
        name: str | None = "classifier",
    ):
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self._config = {"n_classes": check_count(n_classes, "n_classes"), "network": check_spec(network)}
        self.network = networks.build(
            network,
            name="network",
            dtype=self.dtype_policy,
            image_shape=self.image_shape,
            outputs={"logits": n_classes},
        )
        self.build()

    def call(self, images, training=False):
        """Class logits, `(n, n_classes)` float32."""
        return self.network(images, training=training)["logits"]

    def train_step(self, data):
        x, y = self._images_and_labels(data)
        loss, accuracy = self.minimize(
            self.optimizer, lambda: self._loss(x, y, training=True), self.trainable_variables
        )
        self.train_steps.assign_add(1)
        return self.track(loss=loss, accuracy=accuracy)

    def test_step(self, data):
        loss, accuracy = self._loss(*self._images_and_labels(data), training=False)
        return self.track(loss=loss, accuracy=accuracy)

    def _loss(self, x, y, training):
        logits = self(x, training=training)
        accuracy = ops.cast(ops.equal(ops.argmax(logits, -1), ops.cast(y, "int64")), "float32")
        return ops.sparse_categorical_crossentropy(y, logits, from_logits=True), accuracy

    @staticmethod
    def _images_and_labels(data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        if y is None:
            raise ValueError(
                "A classifier trains on (images, labels). Received images only; load data with labels=True"
            )
        return x, y

    def endpoints(self):
        images = self.network.inputs[0]
        return {"classify": keras.Model(images, self.network(images), name="classify")}

    def classify(self, images):
        """`{"features": (n, units), "logits": (n, n_classes)}` float32 of images in [0, 1]."""
        return self.run_endpoint("classify", self.check_images(images))

    def get_config(self):
        return {**super().get_config(), **self._config}
