"""What every model of the zoo shares: tape and loss scaling in one place, state that survives saving, endpoints,
and checked images at the door.
"""

import json
import math
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.errors import ZooError

_CHUNK = 512  # images per call of an endpoint: bounds the memory of `encode(60_000 images)`


class ZooModel(keras.Model):
    """Base of the zoo's models: a subclassed `keras.Model` with its own `train_step` and `test_step`.

    A subclass builds its networks in the constructor, names its optimizers in `OPTIMIZERS`, lists its losses in
    `LOSSES`, and implements `train_step`, `test_step`, `endpoints` and `get_config`.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Seed of the model's own random numbers, whose state is saved with the weights. None draws one.
        dtype: Precision policy: "float32", "mixed_float16", "mixed_bfloat16"; None takes Keras' global policy.
        name: Name of the model.
    """

    # Argument of compile -> attribute that holds the variables it moves.
    OPTIMIZERS: ClassVar = {"optimizer": "trainable_variables"}
    IMAGES = 1  # how many of the first parts of a batch from fit are images
    LOSSES = ("loss",)  # what train_step and test_step report; the first is what a user watches

    def __init__(self, *, image_shape, seed=None, dtype=None, name=None):
        super().__init__(dtype=dtype, name=name)
        self.image_shape = _check_image_shape(image_shape)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed, name="seed")
        self.train_steps = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="train_steps"
        )
        self.preset = None  # the Preset this model came from, set by zoo.load
        self._trackers = {loss: keras.metrics.Mean(name=loss) for loss in self.LOSSES}
        self._endpoint_functions = {}

    # === To implement ===

    def endpoints(self):
        """The model's deterministic pieces: name -> Functional `keras.Model` with dict outputs.

        They are what export ships (names and tensors: the contract of an exported model in the README).
        """
        raise NotImplementedError

    # === Training ===

    def compile(self, optimizer=None, *, run_eagerly=False, steps_per_execution=1, jit_compile="auto", **optimizers):
        """Sets the optimizers, as `keras.Model.compile` does; the losses are the model's own.

        Args:
            optimizer: A Keras optimizer or its name. A model with several takes one keyword for each instead
                (`g_optimizer=..., d_optimizer=...`). Under "mixed_float16" each gets a loss scale of its own.
            run_eagerly, steps_per_execution, jit_compile: As in Keras.
        """
        if optimizer is not None:
            optimizers["optimizer"] = optimizer
        if set(optimizers) != set(self.OPTIMIZERS):
            raise TypeError(
                f"{type(self).__name__}.compile takes the optimizers {list(self.OPTIMIZERS)}. "
                f"Received: {sorted(optimizers)}"
            )
        self._compile_args = {
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        # Keras would wrap and build only an optimizer called `optimizer`: every one is treated alike here. Without
        # the wrapper and `scale_loss`, mixed_float16 steps would be divided by the loss scale silently.
        prepared = {}
        for key, value in optimizers.items():
            value = keras.optimizers.get(value)
            if self.dtype_policy.name == "mixed_float16" and not _is_scaled(value):
                value = keras.optimizers.LossScaleOptimizer(value, name=f"{key}_loss_scale")
            prepared[key] = value
        if len({id(value) for value in prepared.values()}) < len(prepared):
            raise ValueError(
                f"Each of {list(self.OPTIMIZERS)} must be an optimizer of its own; one object was given twice."
            )
        super().compile(optimizer=prepared.get("optimizer"), **self._compile_args)
        for key, value in prepared.items():
            if key != "optimizer":
                setattr(self, key, value)
            value.build(getattr(self, self.OPTIMIZERS[key]))  # before loading, or their state would be skipped

    def get_compile_config(self):
        optimizers = {key: keras.optimizers.serialize(getattr(self, key)) for key in self.OPTIMIZERS}
        return {**optimizers, **self._compile_args}

    def compile_from_config(self, config):
        config = dict(config)
        for key in self.OPTIMIZERS:
            config[key] = keras.optimizers.deserialize(config[key])
        self.compile(**config)

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """As `keras.Model.fit`, once the images have been looked at: wrong shape, dtype, range or NaN is an error.

        Arrays are checked whole; of a `tf.data.Dataset` what it declares, and its first batch.
        """
        for data, argument in ((x, "x"), (y if self.IMAGES > 1 else None, "y"), (validation_data, "validation_data")):
            self._check_training_data(data, argument)
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # a dataset orders itself; Keras would warn of its own default
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.evaluate`, with the images checked as in `fit`."""
        if "_use_cached_eval_dataset" not in kwargs:  # Keras' own call in `fit`, which has checked
            self._check_training_data(x, "x")
            self._check_training_data(y if self.IMAGES > 1 else None, "y")
        return super().evaluate(x, y, *args, **kwargs)

    def minimize(self, optimizer, loss_fn, variables, *, norm=None):
        """One optimizer step: the only place with a gradient tape and loss scaling.

        Args:
            optimizer: The optimizer that owns `variables`.
            loss_fn: `() -> (losses, aux)`, losses `(batch,)`; their mean over the global batch is minimised.
            variables: The variables to move.
            norm: The name in `LOSSES` under which the gradient's norm is tracked; None: it is not.

        Returns:
            `(losses, aux)` as `loss_fn` gave them.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable.value)
            losses, aux = loss_fn()
            scaled = optimizer.scale_loss(ops.mean(losses) / replicas)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        if norm:
            squares = ops.stack([ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients])
            value = ops.sqrt(ops.sum(squares)) / optimizer.scale_loss(1.0)
            finite = ops.isfinite(
                value
            )  # else the loss scale was too high: the optimizer drops this step and lowers it
            self._trackers[norm].update_state(ops.where(finite, value, 0.0), sample_weight=ops.cast(finite, "float32"))
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return losses, aux

    def steps_per_update(self, optimizer):
        """Training steps for one step of an optimizer of `OPTIMIZERS`: 1 but where one moves less often."""
        return 1

    @staticmethod
    def input_gradient(function, x):
        """`(function(x), d sum(function(x)) / dx)`: per example, the gradient of its own output where no layer mixes
        examples. To be taken inside `minimize`, whose tape differentiates it once more.
        """
        x = ops.cast(x, "float32")
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = function(x)
            total = ops.sum(values)  # inside the tape, or there would be nothing to differentiate
        return values, tape.gradient(total, x)

    def track(self, **losses):
        """Adds per-example losses to the running means and returns all means, for the end of a step."""
        for name, values in losses.items():
            self._trackers[name].update_state(values)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    @property
    def metrics(self):
        return list(self._trackers.values())

    @staticmethod
    def images_of(batch):
        """The images of a batch from fit: `x`, or the first of `(x, y)`."""
        return keras.utils.unpack_x_y_sample_weight(batch)[0]

    # === Labels, of a conditional model: one with `n_classes` > 0 ===

    n_classes = 0

    def images_and_labels(self, batch):
        """The images of a batch from fit and their labels, int32; None where the model knows no classes."""
        x, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if not self.n_classes:
            return x, None
        if labels is None:
            raise ZooError(f"{type(self).__name__} with n_classes needs images and labels. Received: images alone")
        return x, ops.cast(ops.reshape(labels, (-1,)), "int32")

    def with_labels(self, z, labels):
        """Codes with their labels behind them, one-hot: `(n, latent_dim + n_classes)`."""
        if not self.n_classes:
            return z
        return ops.concatenate([z, ops.one_hot(labels, self.n_classes, dtype="float32")], axis=1)

    def label_painter(self):
        """The layer that paints a label as one more channel, for `with_label_channel`."""
        height, width, _ = self.image_shape
        layer = keras.layers.Dense(height * width, dtype="float32", name="label_plane")
        layer.build((None, self.n_classes))
        return layer

    def with_label_channel(self, images, labels):
        """Images with their labels as one more channel, painted by `self.label_plane`: `(n, H, W, C + 1)` float32."""
        plane = self.label_plane(ops.one_hot(labels, self.n_classes, dtype="float32"))
        plane = ops.reshape(plane, (-1, *self.image_shape[:2], 1))
        return ops.concatenate([ops.cast(images, "float32"), plane], axis=-1)

    def classes_in_turn(self, n):
        """n labels 0, 1, 2, ... and round again; None where the model knows no classes."""
        return np.arange(n) % self.n_classes if self.n_classes else None

    def checked_labels(self, labels, n):
        """`[labels]` as an int32 array of n classes, or `[]` where the model knows none; a ZooError on others."""
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

    # === State ===

    def build(self, input_shape=None):
        self.built = True

    def get_config(self):
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        return {"image_shape": list(self.image_shape), "seed": self.seed, "dtype": policy, "name": self.name}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        return cls(**config)

    # Keras saves no SeedGenerator state, so that a resumed run would repeat its noise: keep it with the weights.
    def save_own_variables(self, store):
        for i, variable in enumerate(self._own_state()):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        state = self._own_state()
        if len(store.keys()) != len(state):
            raise ValueError(
                f"{self.name} holds {len(state)} variables of its own; the file has {len(store.keys())}. "
                "It was saved from another architecture."
            )
        for i, variable in enumerate(state):
            variable.assign(store[str(i)])

    def _own_state(self):
        generators = [
            generator for layer in self._flatten_layers() for generator in getattr(layer, "_seed_generators", ())
        ]
        return [self.train_steps, *(generator.state for generator in generators)]

    # === Use ===

    def run_endpoint(self, name, *values):
        """Runs an endpoint as a compiled function over arrays, in chunks; returns a dict of NumPy arrays."""
        if name not in self._endpoint_functions:
            endpoint = self.endpoints()[name]
            # A network of one input takes it alone, one of several a list.
            called = (lambda *inputs: endpoint(list(inputs))) if len(endpoint.inputs) > 1 else endpoint
            self._endpoint_functions[name] = tf.function(called, reduce_retracing=True)
        function = self._endpoint_functions[name]
        n = len(values[0])
        if n <= _CHUNK:
            return {key: output.numpy() for key, output in function(*map(tf.constant, values)).items()}
        chunks = [function(*(tf.constant(value[i : i + _CHUNK]) for value in values)) for i in range(0, n, _CHUNK)]
        return {key: np.concatenate([chunk[key].numpy() for chunk in chunks]) for key in chunks[0]}

    def normal_noise(self, n, seed, size=None):
        """n draws from N(0, I), a NumPy array `(n, latent_dim)`, or of `size`; the same for the same integer seed.

        NumPy's, not Keras': they are the same whatever the backend, and drawing does not touch training's state.
        """
        check_count(n)
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ZooError(f"`seed` must be an integer >= 0, or None. Received: {seed!r}")
        return np.random.default_rng(seed).standard_normal((n, size or self.latent_dim), dtype="float32")

    def check_images(self, images, argument="images"):
        """Images as a float32 array `(n, H, W, C)` in [0, 1], or a ZooError that says what is wrong with them."""
        return check_images(images, self.image_shape, argument)

    def check_latents(self, z):
        """Codes as a float32 array `(n, latent_dim)`, or a ZooError."""
        z = np.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.latent_dim or len(z) == 0:
            raise ZooError(f"`z` must have shape (n, {self.latent_dim}) with n >= 1. Received: shape {z.shape}")
        if not np.isfinite(z).all():
            raise ZooError("`z` must be finite. Received: NaN or infinity")
        return z.astype("float32", copy=False)

    def _check_training_data(self, data, argument):
        data = self._images_in(data, argument)
        if isinstance(data, (tuple, list)):
            for part in data[: self.IMAGES]:
                self._check_training_data(part, argument)
        elif isinstance(data, (np.ndarray, tf.Tensor)):
            self.check_images(data, argument)
        elif isinstance(data, tf.data.Dataset):
            # The declared shape and dtype first: reading a batch of a dataset of the wrong kind could be slow.
            for spec in self._image_parts(data.element_spec, argument):
                if spec.shape.rank is not None:
                    _check_shape_and_dtype(spec.shape, spec.dtype.name, self.image_shape, argument)
            for batch in data.take(1).as_numpy_iterator():
                for images in self._image_parts(batch, argument):
                    self.check_images(images, argument)

    def _image_parts(self, batch, argument):
        """The images of a dataset's batch, or their specs."""
        parts = (batch if isinstance(batch, tuple) else (batch,))[: self.IMAGES]
        return [self._images_in(part, argument) for part in parts]

    def _images_in(self, part, argument):
        """The images in a part of what `fit` is given: the part itself, but where a model takes more than images."""
        return part


class CodingModel(ZooModel):
    """A model whose endpoints `decode` and `reconstruct` turn codes, and images by way of codes, into images."""

    code = "z"  # which output of the endpoint `encode` stands for an image: in maps, in probes

    def codes(self, images):
        """One code per image in [0, 1], `(n, latent_dim)` float32: z, or a VAE's z_mean."""
        return self.run_endpoint("encode", self.check_images(images))[self.code]

    def decode(self, z):
        """The images of codes `(n, latent_dim)`; of a VAE, the mean of p(x|z): `(n, H, W, C)` float32."""
        return self.run_endpoint("decode", self.check_latents(z))["images"]

    def reconstruct(self, images):
        """Images in [0, 1] after a round trip through their codes (of a VAE, z_mean): `(n, H, W, C)` float32."""
        return self.run_endpoint("reconstruct", self.check_images(images))["images"]


def check_images(images, image_shape, argument="images"):
    """Images as a float32 array `(n, H, W, C)` in [0, 1]; a ZooError names what is wrong and the fix."""
    images = np.asarray(images)
    _check_shape_and_dtype(images.shape, images.dtype.name, image_shape, argument)
    if len(images) == 0:
        raise ZooError(f"`{argument}` is empty; at least one image is needed.")
    low, high = float(images.min()), float(images.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ZooError(f"`{argument}` must be finite. Received: NaN or infinity")
    if low < 0 or high > 1:
        raise ZooError(f"`{argument}` must be in [0, 1]. Received: [{low:g}, {high:g}]; divide 8-bit images by 255")
    return images.astype("float32", copy=False)


def check_count(n, argument="n"):
    """n as an int >= 1, or a ZooError."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ZooError(f"`{argument}` must be an integer >= 1. Received: {n!r}")
    return int(n)


def check_spec(spec):
    """A network spec as plain JSON data, copied, so that a config never shares state with its model."""
    return json.loads(json.dumps(spec))


def _check_shape_and_dtype(shape, dtype, image_shape, argument):
    if len(shape) != 4 or tuple(shape)[1:] != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise ZooError(f"`{argument}` must have shape (n, {expected}). Received: {tuple(shape)}")
    if not dtype.startswith(("float", "bfloat")):
        raise ZooError(
            f"`{argument}` must be floating point in [0, 1]. Received: dtype {dtype}; "
            "use images.astype('float32') / 255 for 8-bit images"
        )


def _check_image_shape(image_shape):
    shape = tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(side, int) and side >= 1 for side in shape):
        raise ZooError(f"`image_shape` must be (height, width, channels), each >= 1. Received: {image_shape}")
    return shape


def _is_scaled(optimizer):
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
