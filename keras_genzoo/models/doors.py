"""The doors of a model: `fit`, `evaluate`, `predict`, their steps for one batch, and the call.

Whatever comes in is arranged and checked here, in one way at every door.
"""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_genzoo import engine
from keras_genzoo.errors import ZooError
from keras_genzoo.models import inputs
from keras_genzoo.typing import Tensor

_FIT, _EVALUATE = (inspect.signature(function) for function in (keras.Model.fit, keras.Model.evaluate))
_NEEDS_ONE_OPTIMIZER = ("ReduceLROnPlateau", "LearningRateScheduler", "SwapEMAWeights")  # Keras' callbacks


class Doors(keras.Model):
    """Base of the zoo's models that checks what comes in; `ZooModel` adds the rest.

    Attributes:
        image_shape: `(height, width, channels)`.
    """

    OPTIMIZERS: ClassVar[dict[str, str]] = {"optimizer": "trainable_variables"}  # argument of compile -> its variables
    takes_targets = False  # whether y may be images, which reconstructions are then compared with
    image_shape: tuple[int, int, int]

    # === What comes in ===

    def refuses_weights(self) -> str | None:
        """The reason for which examples cannot be weighted, the end of an error's line; None: they can be."""
        return "its steps weight no example"

    @property
    def call_kinds(self) -> dict[str, inputs.Kind]:
        """The inputs of `call` and `predict`, in their order: name -> kind."""
        return {"images": inputs.images(self.image_shape)}

    def arranged(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """x and y of what a user gives or a batch holds: a dict or a pair of the inputs of `call` is both of them.

        Args:
            x: Array, list of one array, dict or pair of the inputs; or what a dataset declares of them.
            y: Second part; None: there is none, or it is in x.

        Returns:
            `(x, y)`.

        Raises:
            ZooError: A dict of other keys, or a list of more arrays than the model has inputs.
        """
        x, y, names = inputs.as_array(x), inputs.as_array(y), list(self.call_kinds)
        if isinstance(x, dict):
            if set(x) != set(names) and not (y is not None and list(x) == names[:1]):
                raise ZooError(f"`x` must be an array or a dict of {names}. Received: a dict of {sorted(map(str, x))}")
            values = [inputs.as_array(x[name]) for name in names if name in x]
        elif isinstance(x, (list, tuple)):
            values = list(x)
            if len(values) != len(names):
                raise ZooError(
                    f"`x` must be one array of all examples. Received: a {type(x).__name__} of {len(values)}; "
                    "np.stack makes one array of it"
                )
        else:
            return x, y
        if len(values) > 1 and y is not None:
            raise ZooError(f"`x` holds {' and '.join(names)} already. Received: `y` besides")
        return values[0], values[1] if len(values) > 1 else y

    def parts_of(self, batch: Any) -> tuple[Any, Any, Any]:
        """The parts of a batch from fit: `(x, y, sample_weight)`, None where there is none."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        return *self.arranged(x, y), weights

    def training_parts(self, x: Any, y: Any, weights: Any, names: Sequence[str]) -> list[inputs.Part]:
        """The parts of a batch of `fit` or `evaluate`, for the check at the door.

        Args:
            x: First part, `arranged`: an array, a tensor, or what a dataset declares.
            y: Second part; None: none.
            weights: Third part; None: none.
            names: Names of the three in errors.

        Raises:
            ZooError: A part that the model cannot take.
        """
        found = [inputs.Part(inputs.images(self.image_shape), x, names[0])]
        for value, name in ((x, names[0]), (y, names[1])):
            if value is not None:
                inputs.require_array(value, name)
        if y is not None and self.takes_targets and inputs.are_images(y):
            found.append(inputs.Part(inputs.images(self.image_shape), y, names[1]))
        elif y is not None and inputs.are_images(y):
            raise ZooError(f"{type(self).__name__} takes no target images. Received: `{names[1]}` of shape {y.shape}")
        elif y is not None:
            found.append(inputs.Part(inputs.left_aside(), y, names[1]))
        return [*found, *self._weight_parts(weights, names[2])]

    def _weight_parts(self, weights, name):
        if weights is None:
            return []
        self._require_weights(name)
        inputs.require_array(weights, name)
        return [inputs.Part(inputs.weights(), weights, name)]

    def _require_weights(self, name):
        reason = self.refuses_weights()
        if reason:
            raise ZooError(f"{type(self).__name__} takes no `{name}`: {reason}")

    def call_values(self, x: Any, y: Any = None) -> list[Any]:
        """The inputs of `call` in their order, without their check.

        Args:
            x: Array, list, pair or dict, see `arranged`.
            y: Second input; None: in x, or none.

        Raises:
            ZooError: An input is missing, or x is a dict of other keys.
        """
        values, kinds = list(self.arranged(x, y)), self.call_kinds
        if len(kinds) == 1:
            return values[:1]
        first, second = kinds
        if values[1] is None:
            raise ZooError(f"{type(self).__name__} with n_classes takes {first} and {second}. Received: {first} alone")
        return values

    def _check_call(self, values):
        """Checks the inputs of `call`, as far as they have values."""
        for (name, kind), value in zip(self.call_kinds.items(), values, strict=True):
            if inputs.is_array(value) and not engine.is_symbolic(value):
                inputs.Part(kind, value, name).check()

    def _entering(self, x, y, weights, complaints, names=("x", "y", "sample_weight")):
        """x, y and weights as Keras takes them, arrays checked and other sources watched."""

        def parts_of(batch):
            return self.training_parts(*self.parts_of(batch), names)

        if not _has_values(x):
            return inputs.watched(x, parts_of, complaints), y, weights
        x, y = self.arranged(x, y)
        weights = inputs.as_array(weights)
        found = self.training_parts(x, y, weights, names)
        for part in found:
            part.check()
        inputs.check_lengths(found)
        # Keras drops the weights of examples without y: it is x, then.
        return x, x if y is None and weights is not None else y, weights

    def _check_class_weight(self, class_weight, x, y):
        """Refuses weights of classes where there are no classes, which Keras would read from images."""
        if class_weight is None:
            return
        self._require_weights("class_weight")
        values = list(class_weight.values()) if isinstance(class_weight, dict) else None
        if values is None or not all(isinstance(v, (int, float, np.number)) and 0 <= v < np.inf for v in values):
            raise ZooError(f"`class_weight` must be a dict of classes and weights >= 0. Received: {class_weight!r}")
        if engine.is_dataset(x):
            y = self.parts_of(x.element_spec)[1]
        elif isinstance(x, keras.utils.PyDataset):
            y = self.parts_of(x[0])[1]
        elif _has_values(x):
            y = self.arranged(x, y)[1]
        else:
            raise ZooError("`class_weight` does not go with a generator; give it `sample_weight` as a third part")
        if y is None or isinstance(y, dict) or inputs.are_images(y):
            received = "no `y`" if y is None else "images as `y`"
            raise ZooError(f"`class_weight` goes with integer labels as `y`. Received: {received}; use `sample_weight`")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        first, *second = self.call_kinds
        if not args and first in kwargs:
            args = (kwargs.pop(first),)
        if args and not engine.is_symbolic(args[0]) and _has_values(args[0]):
            x, *rest = args
            by_name = [kwargs.pop(name) for name in second if name in kwargs]
            y = rest.pop(0) if rest and second else next(iter(by_name), None)
            values = self.call_values(x, y)
            self._check_call(values)
            args = (*values, *rest)
        return super().__call__(*args, **kwargs)

    def images_of(self, batch: Any) -> Tensor:
        """The images of a batch from fit, which is `x` or `(x, y)`."""
        return self.parts_of(batch)[0]

    # === Doors ===

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, after a check of what comes in.

        Arrays are checked whole. A `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator is checked by its
        declared shapes and dtypes, and batch by batch as it is read.

        Args:
            x: Images, `(n, H, W, C)` in [0, 1], or a source of batches. A conditional model takes a dict of `images`
                and `labels`, too.
            y: Second part of the batches. Of an autoencoder or an unconditional VAE, target images, which are to be
                reconstructed from x; labels are left aside. Of a conditional model or a classifier, labels. None: none,
                or part of the batches.
            *args: Further arguments of `keras.Model.fit`.
            **kwargs: Further arguments of `keras.Model.fit`. `sample_weight` and `class_weight` weight the loss of each
                example: a step minimises the weighted mean.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ZooError: Images, labels or weights of a wrong shape, dtype or range, or with NaN; weights or targets of a
                model that takes none; a callback that the model has no place for.

        Example:
            >>> import keras_genzoo as gz
            >>> model = gz.load("ae2d_mnist")
            >>> images = gz.data.to_unit(gz.data.arrays("mnist", "train")[0][:256])
            >>> history = model.fit(images, batch_size=64, verbose=0)
        """
        if x is None:
            raise ZooError("`x` is missing: give images, or a source of batches")
        given = _FIT.bind(self, x, y, *args, **kwargs).arguments
        given.pop("self")
        self._check_callbacks(given.get("callbacks"))
        with inputs.Complaints() as complaints:
            self._check_class_weight(given.get("class_weight"), x, y)
            given["x"], given["y"], given["sample_weight"] = self._entering(
                x, y, given.get("sample_weight"), complaints
            )
            validation = given.get("validation_data")
            if validation is not None:
                names = ("validation_data",) * 3
                if isinstance(validation, dict):
                    entered = self._entering(validation, None, None, complaints, names)
                    given["validation_data"] = _without_end(entered)
                elif isinstance(validation, (tuple, list)):
                    x, y, weights = (*validation, None, None)[:3]
                    given["validation_data"] = _without_end(self._entering(x, y, weights, complaints, names))
                else:
                    given["validation_data"] = self._entering(validation, None, None, complaints, names)[0]
            if engine.is_dataset(given["x"]):
                given.setdefault("shuffle", False)  # a dataset orders itself; Keras would warn of its own default
            return super().fit(given.pop("x"), **given)

    def _check_callbacks(self, callbacks):
        """Refuses Keras' callbacks that work on `model.optimizer`, where the model has others."""
        if "optimizer" in self.OPTIMIZERS:
            return
        for callback in keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or ()):
            for cls in _NEEDS_ONE_OPTIMIZER:
                if isinstance(callback, getattr(keras.callbacks, cls)):
                    raise ZooError(
                        f"{cls} works on `model.optimizer`, and a {type(self).__name__} has "
                        f"{' and '.join(self.OPTIMIZERS)}; give them a schedule as learning rate"
                        + ("; samples come from an average of the weights already" if "EMA" in cls else "")
                    )

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures the losses as `keras.Model.evaluate` does, after a check of what comes in.

        Args:
            x: Images or a source of batches, as in `fit`.
            y: Second part of the batches, as in `fit`.
            *args: Further arguments of `keras.Model.evaluate`.
            **kwargs: Further arguments of `keras.Model.evaluate`. With `sample_weight`, losses are weighted means.

        Returns:
            The losses, as `keras.Model.evaluate` does.

        Raises:
            ZooError: As in `fit`.
        """
        if engine.is_called_by_fit(kwargs):  # `fit` has checked what comes in
            return super().evaluate(x, y, *args, **kwargs)
        given = _EVALUATE.bind(self, x, y, *args, **kwargs).arguments
        given.pop("self")
        rest = given.pop("kwargs", {})
        with inputs.Complaints() as complaints:
            given["x"], given["y"], given["sample_weight"] = self._entering(
                x, y, given.get("sample_weight"), complaints
            )
            return super().evaluate(given.pop("x"), **given, **rest)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs of `call`, as `keras.Model.predict` gives them, after a check of what comes in.

        Args:
            x: Images, `(n, H, W, C)` in [0, 1]; codes of a GAN; of a conditional model a pair or a dict of these and
                `labels`; or a source of batches, whose second part is the labels.
            *args: Further arguments of `keras.Model.predict`.
            **kwargs: Further arguments of `keras.Model.predict`.

        Returns:
            A NumPy array.

        Raises:
            ZooError: An input is missing, or of a wrong shape, dtype or range, or with NaN.
        """

        def parts_of(batch):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            kinds = self.call_kinds.items()
            return [inputs.Part(kind, v, k) for (k, kind), v in zip(kinds, self.call_values(x, y), strict=True)]

        with inputs.Complaints() as complaints:
            if not _has_values(x):
                return super().predict(inputs.watched(x, parts_of, complaints), *args, **kwargs)
            values = self.call_values(x)
            self._check_call(values)
            return super().predict(values[0] if len(values) == 1 else tuple(values), *args, **kwargs)

    def predict_step(self, data: Any) -> Any:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(*self.call_values(x, y))

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One training step, as `keras.Model.train_on_batch` takes it, after a check of what comes in; see `fit`."""
        self._check_class_weight(class_weight, x, y)
        x, y, sample_weight = self._entering(x, y, sample_weight, inputs.Complaints())
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The losses of one batch, as `keras.Model.test_on_batch` gives them, after a check of what comes in."""
        x, y, sample_weight = self._entering(x, y, sample_weight, inputs.Complaints())
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs of `call` for one batch, after a check of what comes in; see `predict`."""
        values = self.call_values(x)
        self._check_call(values)
        return super().predict_on_batch(values[0] if len(values) == 1 else tuple(values))


def _has_values(x):
    """Whether an argument holds its examples itself, and is no source of batches."""
    return inputs.is_array(x) or isinstance(x, (list, tuple, dict))


def _without_end(values):
    """A tuple without the Nones at its end; its first element where nothing else is left."""
    x, y, weights = values
    if weights is not None:
        return x, y, weights
    return x if y is None else (x, y)
