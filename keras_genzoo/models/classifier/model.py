"""A small classifier: no generative model, but the judge whose features and labels measure samples."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import keras
import numpy as np
from keras import ops
from pydantic import Field

from keras_genzoo import layers, networks
from keras_genzoo.errors import ZooError
from keras_genzoo.models import inputs
from keras_genzoo.models.base import ImageShape, ZooModel
from keras_genzoo.parts import Natural
from keras_genzoo.typing import ArrayLike, DType, Spec, Tensor


@keras.saving.register_keras_serializable("keras_genzoo")
class Classifier(ZooModel):
    """Images -> `features`, class `logits`, and with `n_factors` also `factors`, what an image was made from.

    The loss is the cross entropy of the classes, plus the mean squared error of the factors, each over its deviation
    among the training images: the network tells a factor in these units, less its mean, and `classify` in its own. A
    factor that is not known, NaN, costs nothing. `adapt` takes means and deviations from the training images.

    Args:
        image_shape: `(height, width, channels)`.
        n_classes: Number of classes, >= 2.
        network: Spec of a network with an output `features`, such as "cnn_classifier" or "mlp_classifier"; see
            `networks`.
        n_factors: Number of factors that are told of each image; 0: none. `fit` then takes
            `(images, {"labels": ..., "factors": ...})`.
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
        n_factors: Natural = 0,
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
            outputs={"logits": n_classes, **({"factors": n_factors} if n_factors else {})},
        )
        if n_factors:
            # The head tells factors in units of their deviations: its own would be as different as theirs, and the
            # error of the smallest would drive every step.
            self.factor_units = layers.Affine(name="factor_units")
            self.factor_units.build((None, n_factors))
            self.LOSSES = (*self.LOSSES, "factor_loss")
            self._trackers["factor_loss"] = keras.metrics.Mean(name="factor_loss")
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

    def adapt(self, factors: ArrayLike) -> None:
        """Takes the mean and the deviation of each factor, in units of which it is learned, from the training images.

        Args:
            factors: Factors, `(n, n_factors)`; NaN where one is not known.

        Raises:
            ZooError: The model has no factors, or these are of another number.
        """
        if not self.n_factors:
            raise ZooError("`adapt` takes factors, and this classifier has none (n_factors=0)")
        inputs.Part(inputs.factors(self.n_factors), factors, "factors").check()
        known = np.ma.masked_invalid(np.asarray(factors, "float64"))
        deviation = np.ma.filled(known.std(axis=0), 0.0)
        self.factor_units.scale.assign(np.where(deviation > 0, deviation, 1.0))
        self.factor_units.shift.assign(np.ma.filled(known.mean(axis=0), 0.0))

    def train_step(self, data: Any) -> dict[str, Tensor]:
        x, y, weights = self._parts(data)
        loss, others = self.minimize(
            self.optimizer, lambda: self._loss(x, y, training=True), self.trainable_variables, weights=weights
        )
        self.train_steps.assign_add(1)
        logs = self.track(loss=loss, **others, weights=weights)
        return logs | self.track_metrics(self._labels(y), lambda: self(x), weights)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        x, y, weights = self._parts(data)
        loss, others = self._loss(x, y, training=False)
        logs = self.track(loss=self.with_added_loss(loss), **others, weights=weights)
        return logs | self.track_metrics(self._labels(y), lambda: self(x), weights)

    def refuses_weights(self) -> str | None:
        return None

    def arranged(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        if y is None and isinstance(x, dict) and set(x) == {"images", "labels"}:  # a batch of fit
            x, y = x["images"], x["labels"]
        return super().arranged(x, y)

    def training_parts(self, x: Any, y: Any, weights: Any, names: Sequence[str]) -> list[inputs.Part]:
        if y is None:
            raise self._lacks_labels()
        images, *rest = super().training_parts(x, None, weights, names)
        return [images, *self._told_parts(y, names[1]), *rest]

    def _told_parts(self, y, argument):
        """The labels, and the factors beside them, for the check at the door."""
        if not self.n_factors:
            inputs.require_array(y, argument)
            return [inputs.Part(inputs.labels(self.n_classes), y, argument)]
        if not isinstance(y, dict) or set(y) != {"labels", "factors"}:
            received = f"a dict of {sorted(map(str, y))}" if isinstance(y, dict) else type(y).__name__
            raise ZooError(f"`{argument}` must be a dict of labels and factors. Received: {received}")
        kinds = {"labels": inputs.labels(self.n_classes), "factors": inputs.factors(self.n_factors)}
        return [inputs.Part(kind, y[key], f"{key}` of `{argument}") for key, kind in kinds.items()]

    def _loss(self, x, y, training):
        """The loss, `(batch,)`, and what else is told of it by name."""
        outputs, labels = self.network(x, training=training), ops.reshape(self._labels(y), (-1,))
        logits = outputs["logits"]
        accuracy = ops.cast(ops.equal(ops.argmax(logits, -1), ops.cast(labels, "int64")), "float32")
        loss = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if not self.n_factors:
            return loss, {"accuracy": accuracy}
        wanted = (ops.cast(y["factors"], "float32") - self.factor_units.shift) / self.factor_units.scale
        is_known = ops.logical_not(ops.isnan(wanted))
        error = ops.where(is_known, outputs["factors"] - ops.where(is_known, wanted, 0.0), 0.0)
        factor_loss = ops.mean(ops.square(error), axis=1)
        return loss + factor_loss, {"accuracy": accuracy, "factor_loss": factor_loss}

    def _labels(self, y):
        return y["labels"] if self.n_factors else y

    @staticmethod
    def _lacks_labels():
        return ZooError("A classifier trains on (images, labels). Received: images alone; load data with labels=True")

    def _parts(self, batch):
        """The parts of a batch: `(images, labels, weights)`, the labels `(batch,)`, or a dict of labels and factors."""
        x, y, weights = self.parts_of(batch)
        if y is None:
            raise self._lacks_labels()
        return x, y if self.n_factors else ops.reshape(y, (-1,)), weights

    def endpoints(self) -> dict[str, keras.Model]:
        images = self.network.inputs[0]
        outputs = self.network(images)
        if self.n_factors:
            outputs = outputs | {"factors": self.factor_units(outputs["factors"])}
        return {"classify": keras.Model(images, outputs, name="classify")}

    def classify(self, images: ArrayLike) -> dict[str, np.ndarray]:
        """Features and logits of images `(n, H, W, C)` in [0, 1].

        Returns:
            `{"features": (n, units), "logits": (n, n_classes)}`, float32; with `n_factors` also `"factors"`,
            `(n, n_factors)`.

        Raises:
            ZooError: Bad images.
        """
        return self.run_endpoint("classify", self.check_images(images))
