"""Bases of all models of the zoo: one configuration, one optimizer step, state that survives saving, endpoints, and
checked images at the door.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_genzoo import engine, parts
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike, DType, Shape, Tensor

_CHUNK = 512  # images per call of an endpoint: bounds the memory of `encode(60_000 images)`
_OF_EVERY_MODEL = ("self", "image_shape", "seed", "dtype", "name")  # constructor arguments that ZooModel keeps itself

OUTSIDE = 0.02  # share of the codes beyond each end of an axis in a picture

Count = parts.Count
ImageShape = tuple[Count, Count, Count]


class ZooModel(engine.Trainable, keras.Model):
    """Base of the zoo's models: a subclassed `keras.Model` with its own `train_step` and `test_step`.

    A subclass's constructor calls `super().__init__(...)`, then `self.configure(locals())`, and builds the networks.
    The subclass names its optimizers in `OPTIMIZERS`, its parts in `PARTS`, its losses in `LOSSES` and its abilities in
    `CAN`. It implements `train_step`, `test_step` and `endpoints`.

    Args:
        image_shape: `(height, width, channels)`, each >= 1.
        seed: Seed of the model's own random numbers, whose state is saved with the weights. None: a random one.
        dtype: Precision policy: "float32", "mixed_float16", "mixed_bfloat16"; None: Keras' global policy.
        name: Name of the model.

    Raises:
        ZooError: A bad `image_shape`.
    """

    OPTIMIZERS: ClassVar[dict[str, str]] = {"optimizer": "trainable_variables"}  # argument of compile -> its variables
    PARTS: ClassVar[dict[str, str]] = {}  # constructor argument -> kind of part
    CAN: ClassVar[frozenset[str]] = frozenset()  # abilities, such as "sample", "encode", "decode"
    STEP_COUNTS: ClassVar[tuple[str, ...]] = ()  # arguments that count training steps, "part.option" inside a part
    SEES_PIXELS = "encoder"  # attribute of the network whose first layer sees pixels
    MAKES_PIXELS = "decoder"  # attribute of the network whose last layer makes pixels
    is_denoising = False  # whether the model was trained to undo a `corruption`
    IMAGES = 1  # number of the first parts of a batch from fit that are images
    LOSSES: Sequence[str] = ("loss",)  # names that train_step and test_step report; the first is the one to watch
    UNTESTED: ClassVar[frozenset[str]] = frozenset()  # names of LOSSES that only training has

    def __init__(self, *, image_shape: Shape, seed: int | None = None, dtype: DType = None, name: str | None = None):
        # Keras' types are unknown to the checker, which then sees object's constructor.
        super().__init__(dtype=dtype, name=name)  # pyright: ignore[reportCallIssue]
        self.image_shape = _checked_shape(image_shape)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed, name="seed")
        self.train_steps = self.add_weight(
            shape=(), dtype=engine.COUNTER_DTYPE, initializer="zeros", trainable=False, name="train_steps"
        )
        self.preset: Any = None  # the Preset of this model, set by `zoo.build`
        self._trackers = {loss: keras.metrics.Mean(name=loss) for loss in self.LOSSES}
        self._endpoint_functions = {}
        self._config: dict[str, Any] = {}

    def configure(self, arguments: dict[str, Any]) -> None:
        """Checks a constructor's arguments by its annotations and keeps them for `get_config`.

        Those that are no parts become attributes, plain numbers of NumPy's among them.

        Args:
            arguments: `locals()` of the constructor, before it has any others.

        Raises:
            ZooError: A value that its annotation excludes.
        """
        options = {k: v for k, v in arguments.items() if k not in _OF_EVERY_MODEL and not k.startswith("__")}
        constructor = arguments["__class__"].__init__
        hidden = [key for key in _OF_EVERY_MODEL if key not in options]
        config = parts.plain(parts.bind(constructor, options, hidden=hidden, unchecked=tuple(self.PARTS)))
        self._config |= config
        for key, value in config.items():
            if key not in self.PARTS:
                setattr(self, key, value)

    # === To implement ===

    def endpoints(self) -> dict[str, keras.Model]:
        """The model's deterministic pieces: name -> Functional `keras.Model` with dict outputs.

        An export consists of them. Their names and tensors are the contract of an exported model in the README.
        """
        raise NotImplementedError

    def can(self, ability: str) -> bool:
        """Whether the model has an ability, such as "sample", "encode", "decode", "reconstruct" or "swap"."""
        return ability in self.CAN

    @property
    def is_conditional(self) -> bool:
        """Whether the model takes the class of each image, too."""
        return False

    # === Training ===

    def compile(
        self,
        optimizer: Any = None,
        *,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        **optimizers: Any,
    ) -> None:
        """Sets the optimizers, as `keras.Model.compile` does; the losses are the model's own.

        Args:
            optimizer: A Keras optimizer or its name. A model with several takes one keyword for each instead
                (`g_optimizer=..., d_optimizer=...`). Under "mixed_float16" each gets a loss scale of its own.
            run_eagerly, steps_per_execution, jit_compile: As in Keras.
            **optimizers: Optimizers of a model with several, by their names in `OPTIMIZERS`.

        Raises:
            TypeError: Other optimizers than the model's.
            ValueError: One optimizer was given twice.
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

    def get_compile_config(self) -> dict[str, Any]:
        optimizers = {key: keras.optimizers.serialize(getattr(self, key)) for key in self.OPTIMIZERS}
        return {**optimizers, **self._compile_args}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = dict(config)
        for key in self.OPTIMIZERS:
            config[key] = keras.optimizers.deserialize(config[key])
        self.compile(**config)

    def fit(self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, after a check of the images.

        Arrays are checked whole. For a `tf.data.Dataset` the check covers the declared shape and dtype, and the first
        batch.

        Args:
            x: Images, `(n, H, W, C)` in [0, 1], or a `tf.data.Dataset` of batches.
            y: Second part of the batches, such as labels; None: none, or part of the dataset.
            *args: Further arguments of `keras.Model.fit`.
            validation_data: Images, a tuple of x and y, or a dataset; None: no validation.
            **kwargs: Further arguments of `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ZooError: Images of a wrong shape, dtype or range, or with NaN.

        Example:
            >>> import keras_genzoo as gz
            >>> model = gz.load("ae2d_mnist")
            >>> images = gz.data.to_unit(gz.data.arrays("mnist", "train")[0][:256])
            >>> history = model.fit(images, batch_size=64, verbose=0)
        """
        for data, argument in ((x, "x"), (y if self.IMAGES > 1 else None, "y"), (validation_data, "validation_data")):
            self._check_training_data(data, argument)
        if engine.is_dataset(x):
            kwargs.setdefault("shuffle", False)  # a dataset orders itself; Keras would warn of its own default
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures the losses as `keras.Model.evaluate` does, after a check of the images.

        Args:
            x: Images or a dataset, as in `fit`.
            y: Second part of the batches, as in `fit`.
            *args: Further arguments of `keras.Model.evaluate`.
            **kwargs: Further arguments of `keras.Model.evaluate`.

        Returns:
            The losses, as `keras.Model.evaluate` does.

        Raises:
            ZooError: Images of a wrong shape, dtype or range, or with NaN.
        """
        if not engine.is_called_by_fit(kwargs):  # else `fit` has checked the images
            self._check_training_data(x, "x")
            self._check_training_data(y if self.IMAGES > 1 else None, "y")
        return super().evaluate(x, y, *args, **kwargs)

    def minimize(
        self,
        optimizer: keras.optimizers.Optimizer,
        loss_fn: Callable[[], tuple[Tensor, Any]],
        variables: Sequence,
        *,
        norm: str | None = None,
    ) -> tuple[Tensor, Any]:
        """One optimizer step: the only place with a gradient and loss scaling.

        Args:
            optimizer: Optimizer that owns `variables`.
            loss_fn: Function `() -> (losses, aux)`, losses `(batch,)`; their mean over the global batch is minimised.
            variables: Variables to move.
            norm: Name in `LOSSES` under which the gradient's norm is tracked; None: it is not tracked.

        Returns:
            `(losses, aux)` as `loss_fn` gave them.
        """

        def scaled_loss():
            losses, aux = loss_fn()
            return optimizer.scale_loss(ops.mean(losses) / engine.replicas()), (losses, aux)

        results, gradients = engine.value_and_gradients(scaled_loss, variables)
        if norm:
            squares = ops.stack([ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients])
            value = ops.sqrt(ops.sum(squares)) / optimizer.scale_loss(1.0)
            # Where the norm is not finite the loss scale was too high: the optimizer drops this step and lowers it.
            finite = ops.isfinite(value)
            self._trackers[norm].update_state(ops.where(finite, value, 0.0), sample_weight=ops.cast(finite, "float32"))
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return results

    def steps_per_update(self, optimizer: str) -> int:
        """Number of training steps for one step of an optimizer of `OPTIMIZERS`; 1 unless it moves less often."""
        return 1

    def track(self, **losses: Tensor) -> dict[str, Tensor]:
        """Adds losses to the running means at the end of a step.

        Args:
            **losses: Losses `(batch,)` by their names in `LOSSES`.

        Returns:
            All running means, by name.
        """
        for name, values in losses.items():
            self._trackers[name].update_state(values)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the losses, which Keras resets at each epoch."""
        return list(self._trackers.values())

    @staticmethod
    def images_of(batch: Any) -> Tensor:
        """The images of a batch from fit, which is `x` or `(x, y)`."""
        return keras.utils.unpack_x_y_sample_weight(batch)[0]

    # === State ===

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def get_config(self) -> dict[str, Any]:
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        shared = {"image_shape": list(self.image_shape), "seed": self.seed, "dtype": policy, "name": self.name}
        return {**shared, **parts.plain(self._config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ZooModel":
        config = cls.upgraded(dict(config))
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        return cls(**config)

    @classmethod
    def upgraded(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Constructor arguments in today's spelling, from a configuration that an older version may have written."""
        return config

    # Keras saves no SeedGenerator's state, so that a resumed run would repeat its noise: it is saved with the weights.
    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.own_state()):
            store[str(i)] = engine.array(variable)

    def load_own_variables(self, store: Any) -> None:
        state = self.own_state()
        if len(store.keys()) != len(state):
            raise ValueError(
                f"{self.name} holds {len(state)} variables of its own; the file has {len(store.keys())}. "
                "It was saved from another architecture."
            )
        for i, variable in enumerate(state):
            variable.assign(store[str(i)])

    def own_state(self) -> list:
        """The variables that are no layer's weights: the count of steps, and the states of all seed generators."""
        return [self.train_steps, *engine.random_states(self)]

    # === Use ===

    def run_endpoint(self, name: str, *values: np.ndarray) -> dict[str, np.ndarray]:
        """Runs an endpoint as a compiled function over arrays, in chunks.

        Args:
            name: Key of `endpoints()`.
            *values: Inputs in their order, arrays of one length.

        Returns:
            The outputs by name, NumPy arrays.

        Raises:
            KeyError: No endpoint of that name.
        """
        if not self._endpoint_functions:  # all at once: they share most of their layers, and are traced when called
            self._endpoint_functions = {key: _jitted(endpoint) for key, endpoint in self.endpoints().items()}
        function, n = self._endpoint_functions[name], len(values[0])
        chunks = [
            function(*(engine.tensor(value[i : i + _CHUNK]) for value in values)) for i in range(0, max(n, 1), _CHUNK)
        ]
        if len(chunks) == 1:
            return {key: engine.array(output) for key, output in chunks[0].items()}
        return {key: np.concatenate([engine.array(chunk[key]) for chunk in chunks]) for key in chunks[0]}

    def normal_noise(self, n: int, seed: int | None, size: int) -> np.ndarray:
        """Draws from N(0, I) with NumPy.

        NumPy's draws are the same whatever the backend, and they leave the state of training alone.

        Args:
            n: Number of draws, >= 1.
            seed: Seed, >= 0; the same integer gives the same draws. None: new ones each time.
            size: Length of a draw.

        Returns:
            `(n, size)` float32.

        Raises:
            ZooError: `n` is no count, or `seed` is negative or no integer.
        """
        check_count(n)
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ZooError(f"`seed` must be an integer >= 0, or None. Received: {seed!r}")
        return np.random.default_rng(seed).standard_normal((n, size), dtype="float32")

    def check_images(self, images: ArrayLike, argument: str = "images") -> np.ndarray:
        """Checks images as the function `check_images` does, against the model's `image_shape`.

        Args:
            images: Array or tensor of the user's.
            argument: Name of the images in errors.

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: Wrong shape, dtype or range, NaN, or no image; with the fix.
        """
        return check_images(images, self.image_shape, argument)

    def _check_training_data(self, data, argument):
        data = self._images_in(data, argument)
        if isinstance(data, (tuple, list)):
            for part in data[: self.IMAGES]:
                self._check_training_data(part, argument)
        elif isinstance(data, np.ndarray) or engine.is_tensor(data):
            self.check_images(data, argument)
        elif engine.is_dataset(data):
            # The declared shape and dtype first: reading a batch of a dataset of the wrong kind could be slow.
            for spec in self._image_parts(data.element_spec, argument):
                if spec.shape.rank is not None:
                    _check_shape_and_dtype(spec.shape, spec.dtype.name, self.image_shape, argument)
            for batch in data.take(1).as_numpy_iterator():
                for images in self._image_parts(batch, argument):
                    self.check_images(images, argument)

    def _image_parts(self, batch, argument):
        """The images of a dataset's batch, or their specs."""
        elements = (batch if isinstance(batch, tuple) else (batch,))[: self.IMAGES]
        return [self._images_in(element, argument) for element in elements]

    def _images_in(self, element, argument):
        """The images in an argument of `fit`; a model that takes more than images overrides this."""
        return element


class LatentModel(ZooModel):
    """A model that makes images of codes z, `latent_dim` numbers each."""

    latent_dim: int

    def normal_noise(self, n: int, seed: int | None, size: int | None = None) -> np.ndarray:
        """Draws from N(0, I) as `ZooModel.normal_noise` does.

        Args:
            n: Number of draws, >= 1.
            seed: Seed, >= 0; None: new draws each time.
            size: Length of a draw; None: `latent_dim`.

        Returns:
            `(n, size)` float32.

        Raises:
            ZooError: `n` is no count, or `seed` is negative or no integer.
        """
        return super().normal_noise(n, seed, size or self.latent_dim)

    def check_latents(self, z: ArrayLike) -> np.ndarray:
        """Codes as a float32 array `(n, latent_dim)`.

        Raises:
            ZooError: Wrong shape, NaN, or no code.
        """
        z = np.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.latent_dim or len(z) == 0:
            raise ZooError(f"`z` must have shape (n, {self.latent_dim}) with n >= 1. Received: shape {z.shape}")
        if not np.isfinite(z).all():
            raise ZooError("`z` must be finite. Received: NaN or infinity")
        return z.astype("float32", copy=False)


class CodingModel(LatentModel):
    """A model with an encoder: its endpoints `encode`, `decode` and `reconstruct` join images and codes."""

    CAN = frozenset({"encode", "decode", "reconstruct"})
    code = "z"  # output of the endpoint `encode` that stands for an image, in maps and in probes

    def codes(self, images: ArrayLike) -> np.ndarray:
        """One code per image in [0, 1], `(n, latent_dim)` float32."""
        return self.run_endpoint("encode", self.check_images(images))[self.code]

    def drawn_codes(self, images: ArrayLike, *, seed: int) -> np.ndarray:
        """One code per image as the decoder has it in training: a draw, where the encoder gives a density.

        Args:
            images: Images, `(n, H, W, C)`, in [0, 1].
            seed: Seed of the draws.

        Returns:
            `(n, latent_dim)` float32.
        """
        return self.codes(images)

    def decode(self, z: ArrayLike) -> np.ndarray:
        """The images of codes `(n, latent_dim)`: `(n, H, W, C)` float32."""
        return self.run_endpoint("decode", self.check_latents(z))["images"]

    def reconstruct(self, images: ArrayLike) -> np.ndarray:
        """Images in [0, 1] after a round trip through their codes: `(n, H, W, C)` float32."""
        return self.run_endpoint("reconstruct", self.check_images(images))["images"]

    def code_axis(self, i: int, images: ArrayLike, *, side: int) -> np.ndarray:
        """Values of one number of the code along an axis of a picture: even steps over most of the images' codes.

        Args:
            i: Index of the number.
            images: Images, `(n, H, W, C)`, in [0, 1].
            side: Number of values, >= 2.

        Returns:
            `(side,)` float64.
        """
        tail = 100 * OUTSIDE
        low, high = np.percentile(self.codes(images)[:, i], [tail, 100 - tail])
        return np.linspace(low, high, side)


def check_images(images: ArrayLike, image_shape: tuple[int, int, int], argument: str = "images") -> np.ndarray:
    """Images as a float32 array `(n, H, W, C)` in [0, 1].

    Args:
        images: Array or tensor of the user's.
        image_shape: `(height, width, channels)` of the model.
        argument: Name of the images in errors.

    Returns:
        `(n, H, W, C)` float32, in [0, 1].

    Raises:
        ZooError: Wrong shape, dtype or range, NaN, or no image; with the fix.
    """
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


def check_count(n: Any, argument: str = "n") -> int:
    """A count as an int.

    Args:
        n: The count.
        argument: Its name in errors.

    Raises:
        ZooError: It is no integer >= 1.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ZooError(f"`{argument}` must be an integer >= 1. Received: {n!r}")
    return int(n)


def _check_shape_and_dtype(shape, dtype, image_shape, argument):
    if len(shape) != 4 or tuple(shape)[1:] != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise ZooError(f"`{argument}` must have shape (n, {expected}). Received: {tuple(shape)}")
    if not dtype.startswith(("float", "bfloat")):
        raise ZooError(
            f"`{argument}` must be floating point in [0, 1]. Received: dtype {dtype}; "
            "use images.astype('float32') / 255 for 8-bit images"
        )


def _checked_shape(image_shape):
    shape = tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in shape):
        raise ZooError(f"`image_shape` must be (height, width, channels), each >= 1. Received: {image_shape}")
    height, width, channels = (int(side) for side in shape)
    return height, width, channels


def _jitted(endpoint):
    """An endpoint as a compiled function: a network of one input takes it alone, one of several a list."""
    return engine.jit((lambda *inputs: endpoint(list(inputs))) if len(endpoint.inputs) > 1 else endpoint)


def _is_scaled(optimizer):
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
