"""Bases of all models of the zoo: one configuration, one optimizer step, state that survives saving, endpoints."""

import functools
import inspect
import os
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_genzoo import engine, files, networks, parts
from keras_genzoo.errors import ZooError
from keras_genzoo.models import inputs
from keras_genzoo.models.doors import Doors
from keras_genzoo.typing import ArrayLike, DType, Shape, Tensor

_CHUNK = 512  # images per call of an endpoint: bounds the memory of `encode(60_000 images)`
_OF_EVERY_MODEL = ("self", "image_shape", "seed", "dtype", "name")  # constructor arguments that ZooModel keeps itself

OUTSIDE = 0.02  # share of the codes beyond each end of an axis in a picture

_IN_MAKING: list[Any] = []  # the models whose constructors are running

Count = parts.Count
ImageShape = tuple[Count, Count, Count]


class ZooModel(engine.Trainable, Doors):
    """Base of the zoo's models: a subclassed `keras.Model` with its own `train_step` and `test_step`.

    A subclass's constructor calls `super().__init__(...)`, then `self.configure(locals())`, and builds the networks.
    The subclass names its optimizers in `OPTIMIZERS`, its parts in `PARTS`, its losses in `LOSSES` and its abilities in
    `CAN`. It implements `train_step`, `test_step` and `endpoints`.

    Args:
        image_shape: `(height, width, channels)`, each >= 1.
        seed: Seed of the initial weights and of the model's own random numbers, whose state is saved with the weights.
            None: a random one.
        dtype: Precision policy: "float32", "mixed_float16", "mixed_bfloat16"; None: Keras' global policy.
        name: Name of the model.

    Raises:
        ZooError: A bad `image_shape`, or Keras' image data format is "channels_first".
    """

    PARTS: ClassVar[dict[str, str]] = {}  # constructor argument -> kind of part
    CAN: ClassVar[frozenset[str]] = frozenset()  # abilities, such as "sample", "encode", "decode"
    STEP_COUNTS: ClassVar[tuple[str, ...]] = ()  # arguments that count training steps, "part.option" inside a part
    SEES_PIXELS = "encoder"  # attribute of the network whose first layer sees pixels
    MAKES_PIXELS = "decoder"  # attribute of the network whose last layer makes pixels
    is_denoising = False  # whether the model was trained to undo a `corruption`
    REFUSES_METRICS: str | None = "its steps compare no reconstruction with an image"  # why compile takes no metrics
    LOSSES: Sequence[str] = ("loss",)  # names that train_step and test_step report; the first is the one to watch
    _born_frozen: Sequence[int] = ()
    cure = ""  # what helps a training of this family that has died, the end of a sentence; "": nothing of its own
    UNTESTED: ClassVar[frozenset[str]] = frozenset()  # names of LOSSES that only training has

    def __init__(self, *, image_shape: Shape, seed: int | None = None, dtype: DType = None, name: str | None = None):
        # Keras' types are unknown to the checker, which then sees object's constructor.
        super().__init__(dtype=dtype, name=name)  # pyright: ignore[reportCallIssue]
        if keras.config.image_data_format() != "channels_last":
            raise ZooError(
                "The zoo's images are (n, H, W, C), and Keras' image data format is 'channels_first'; call "
                "keras.config.set_image_data_format('channels_last') before a model is made"
            )
        self.image_shape = _checked_shape(image_shape)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ZooError(f"`seed` must be an integer >= 0, or None. Received: {seed!r}")
        self.seed = seed = None if seed is None else int(seed)
        if seed is not None:
            random.seed(seed)  # from which Keras' initializers draw; `_seeding` undoes it
        self.seed_generator = engine.SeedGenerator(seed, name="seed")
        self.train_steps = self.add_weight(
            shape=(), dtype=engine.COUNTER_DTYPE, initializer="zeros", trainable=False, name="train_steps"
        )
        self.preset: Any = None  # the Preset of this model, set by `zoo.build`
        self._trackers = {loss: keras.metrics.Mean(name=loss) for loss in self.LOSSES}
        self._endpoint_functions = {}
        self._config: dict[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _seeding(cls.__init__)
        for step in {"train_step", "test_step"} & set(vars(cls)):
            setattr(cls, step, _waiting(getattr(cls, step)))

    def configure(self, arguments: dict[str, Any]) -> None:
        """Checks a constructor's arguments by its annotations and keeps them for `get_config`.

        Those that are no parts become attributes, plain numbers of NumPy's among them.

        Args:
            arguments: `locals()` of the constructor, before it has any others.

        Raises:
            ZooError: A value that its annotation excludes.
        """
        options = {k: v for k, v in arguments.items() if k not in _OF_EVERY_MODEL and not k.startswith("__")}
        options = {k: networks.plain(v) for k, v in options.items()}
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
        loss: Any = None,
        *,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        **optimizers: Any,
    ) -> None:
        """Sets the optimizers, as `keras.Model.compile` does; the losses are the model's own.

        Args:
            optimizer: A Keras optimizer or its name. A model with several takes one keyword for each instead
                (`g_optimizer=..., d_optimizer=...`). Under "mixed_float16" each gets a loss scale of its own.
            loss: Refused, with the reason.
            metrics: Keras metrics of target and reconstruction, such as `["mse"]`; of labels and logits for a
                classifier. They cost one more pass through the networks in each step.
            weighted_metrics: Metrics that go by `sample_weight`.
            run_eagerly, steps_per_execution, jit_compile: As in Keras.
            **optimizers: Optimizers of a model with several, by their names in `OPTIMIZERS`.

        Raises:
            TypeError: Other optimizers than the model's, or a `loss`.
            ValueError: One optimizer was given twice.
            ZooError: Metrics of a model that takes none, or a subclass whose `compute_loss` would not be called.
        """
        name = type(self).__name__
        for key, value in (("loss", loss), ("loss_weights", optimizers.pop("loss_weights", None))):
            if value is not None:
                raise TypeError(
                    f"{name}.compile takes no `{key}`: the losses are the model's own ({', '.join(self.LOSSES)}); its "
                    "constructor's arguments choose them, a subclass's train_step replaces them"
                )
        if (metrics or weighted_metrics) and self.REFUSES_METRICS:
            raise ZooError(f"{name}.compile takes no `metrics`: {self.REFUSES_METRICS}")
        taken = [name for name in _names_of((metrics, weighted_metrics)) if name in self._trackers]
        if taken:
            raise ZooError(f"A metric must not be named as one of the model's losses. Received: {', '.join(taken)}")
        self._refuse_unused_loss()
        if optimizer is not None:
            optimizers["optimizer"] = optimizer
        if set(optimizers) != set(self.OPTIMIZERS):
            raise TypeError(
                f"{name}.compile takes the optimizers {list(self.OPTIMIZERS)}. Received: {sorted(optimizers)}"
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
        super().compile(
            optimizer=prepared.get("optimizer"),
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **self._compile_args,
        )
        self._has_metrics = bool(metrics or weighted_metrics)
        for key, value in prepared.items():
            if key != "optimizer":
                setattr(self, key, value)
            value.build(getattr(self, self.OPTIMIZERS[key]))  # before loading, or their state would be skipped
        if not any(getattr(self, variables) for variables in self.OPTIMIZERS.values()):
            warnings.warn(f"{self.name} has no trainable variable: training will move nothing", stacklevel=2)

    def _refuse_unused_loss(self):
        """Refuses a subclass whose own loss would be dropped in silence."""
        cls = type(self)
        if cls.compute_loss is not keras.Model.compute_loss and not _defines(cls, "train_step", above="compute_loss"):
            raise ZooError(
                f"{cls.__name__} overrides compute_loss, which the zoo's train_step does not call: its losses are "
                f"{', '.join(self.LOSSES)}. Override train_step and test_step, or add a term by a layer's add_loss"
            )

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        optimizers = {key: keras.optimizers.serialize(getattr(self, key)) for key in self.OPTIMIZERS}
        of_keras = super().get_compile_config() if self._has_metrics else {}
        metrics = {key: of_keras[key] for key in ("metrics", "weighted_metrics") if key in of_keras}
        return {**optimizers, **metrics, **self._compile_args}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = dict(config)
        for key in self.OPTIMIZERS:
            config[key] = keras.optimizers.deserialize(config[key])
        for key in ("metrics", "weighted_metrics"):
            if key in config:
                config[key] = keras.saving.deserialize_keras_object(config[key])
        self.compile(**config)

    def minimize(
        self,
        optimizer: keras.optimizers.Optimizer,
        loss_fn: Callable[[], tuple[Tensor, Any]],
        variables: Sequence,
        *,
        weights: Tensor | None = None,
        layers: Sequence[keras.layers.Layer] = (),
        norm: str | None = None,
    ) -> tuple[Tensor, Any]:
        """One optimizer step: the only place with a gradient and loss scaling.

        Args:
            optimizer: Optimizer that owns `variables`.
            loss_fn: Function `() -> (losses, aux)`, losses `(batch,)`; their mean over the global batch is minimised.
            variables: Variables to move; without any, nothing moves.
            weights: Weight of each example, `(batch,)`; the weighted mean is minimised. None: all the same.
            layers: Layers whose own losses, from regularizers and `add_loss`, are minimised besides; none: the whole
                model.
            norm: Name in `LOSSES` under which the gradient's norm is tracked; None: it is not tracked.

        Returns:
            `(losses, aux)` as `loss_fn` gave them; the layers' own losses are added to each of the losses.
        """

        def scaled_loss():
            losses, aux = loss_fn()
            if weights is None:
                loss = ops.mean(losses) / engine.replicas()
            else:
                share = _column(weights)
                loss = _quotient(ops.sum(share * losses), engine.summed_over_replicas(ops.sum(share)))
            added = self.added_loss(*layers)
            if added is not None:
                loss, losses = loss + added / engine.replicas(), losses + added
            return optimizer.scale_loss(loss), (losses, aux)

        if not variables:  # a frozen network: its loss is told, and nothing moves
            return scaled_loss()[1]
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

    def added_loss(self, *layers: keras.layers.Layer) -> Tensor | None:
        """The sum of the losses that layers have of their own, from regularizers, `add_loss` and activity regularizers.

        Args:
            *layers: Layers; none: the whole model.

        Returns:
            A scalar float32; None where there are none.
        """
        added = [ops.sum(ops.cast(loss, "float32")) for layer in layers or (self,) for loss in layer.losses]
        return sum(added[1:], added[0]) if added else None

    def with_added_loss(self, losses: Tensor, *layers: keras.layers.Layer) -> Tensor:
        """Losses of a test step, as a training step tells them: with the layers' own losses added to each.

        Args:
            losses: Losses `(batch,)`.
            *layers: Layers; none: the whole model.

        Returns:
            Losses `(batch,)`; the same tensor where the layers have no losses of their own.
        """
        added = self.added_loss(*layers)
        return losses if added is None else losses + added

    def track(self, *, weights: Tensor | None = None, **losses: Tensor) -> dict[str, Tensor]:
        """Adds losses to the running means at the end of a step.

        Args:
            weights: Weight of each example, `(batch,)`; None: all the same.
            **losses: Losses `(batch,)` by their names in `LOSSES`.

        Returns:
            All running means, by name.
        """
        share = None if weights is None else _column(weights)
        for name, values in losses.items():
            self._trackers[name].update_state(values, sample_weight=share)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def track_metrics(self, y: Tensor, y_pred: Callable[[], Tensor], weights: Tensor | None) -> dict[str, Tensor]:
        """Adds a batch to the metrics of `compile`.

        Args:
            y: Targets.
            y_pred: Function to what is compared with them, which is called where there are metrics.
            weights: Weight of each example; None: all the same.

        Returns:
            Their running means by name; none where `compile` was given no metrics.
        """
        if not self._has_metrics:
            return {}
        results = self.compute_metrics(None, y, y_pred(), None if weights is None else _column(weights))
        return {key: value for key, value in results.items() if key not in self._trackers}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the losses, which Keras resets at each epoch, and the metrics of `compile`."""
        own = list(self._trackers.values())
        known = {id(metric) for metric in (*own, engine.own_loss_metric(self))}
        return [*own, *(metric for metric in super().metrics if id(metric) not in known)]

    # === State ===

    def build(self, input_shape: Any = None) -> None:
        if not self.built:
            self._born_frozen = self._frozen()
        self.built = True

    def get_config(self) -> dict[str, Any]:
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        shared = {"image_shape": list(self.image_shape), "seed": self.seed, "dtype": policy, "name": self.name}
        frozen = self._frozen()
        freezing = {} if frozen == self._born_frozen else {"frozen": list(frozen)}
        return {**shared, **parts.plain(self._config), **freezing}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ZooModel":
        config = cls.upgraded(dict(config))
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        frozen = config.pop("frozen", None)
        model = cls(**config)
        if frozen is not None:
            for i, layer in enumerate(engine.layers_of(model)):
                layer.trainable = i not in frozen  # each before the layers in it, which it would thaw
        return model

    def _frozen(self):
        """The places of the layers that are not trainable, among all layers."""
        return tuple(i for i, layer in enumerate(engine.layers_of(self)) if not layer.trainable)

    def __reduce__(self) -> tuple:
        function, arguments = super().__reduce__()
        return _with_preset, (function, arguments, self.preset)  # Keras' own copies know no preset

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

    # === Keras' own ways out ===

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves as `keras.Model.save` does. A `.keras` file is made in memory and written aside: where a disk is full,
        that is an error, and HDF5 would end the process.

        Args:
            filepath: Path of the file.
            overwrite: Whether a file that exists is replaced unasked.
            **kwargs: Further arguments of `keras.Model.save`.

        Raises:
            ZooError: The file cannot be written; an older one stays.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ZooError(f"Models of the zoo are saved as .keras files. Received: {str(filepath)!r}")
        if overwrite and not kwargs and _is_local(filepath, ".keras"):
            with files.in_memory(Path(filepath).expanduser()) as file:
                super().save(file)
        else:
            super().save(filepath, overwrite=overwrite, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves as `keras.Model.save_weights` does, by way of memory as `save`.

        Args:
            filepath: Path of the file, `.weights.h5`.
            overwrite: Whether a file that exists is replaced unasked.
            **kwargs: Further arguments of `keras.Model.save_weights`.

        Raises:
            ZooError: The file cannot be written; an older one stays.
        """
        if overwrite and not kwargs and _is_local(filepath, ".weights.h5"):
            with files.in_memory(Path(filepath).expanduser()) as file:
                super().save_weights(file)
        else:
            super().save_weights(filepath, overwrite=overwrite, **kwargs)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the layers, as `keras.Model.summary` does, each with the shape of its output."""
        self.show_shapes()
        super().summary(*args, **kwargs)

    def show_shapes(self) -> None:
        """Calls every layer on symbols, from which Keras learns their shapes."""
        self.endpoints()

    def export(self, filepath: Any, *args: Any, input_signature: Any = None, **kwargs: Any) -> None:
        """Exports `call` as `keras.Model.export` does; `keras_genzoo.export` writes and checks all endpoints instead.

        Args:
            filepath: Path to write.
            *args: Further arguments of `keras.Model.export`.
            input_signature: Inputs of `call`; None: those of the model, with a free batch size.
            **kwargs: Further arguments of `keras.Model.export`.
        """
        if input_signature is None:
            input_signature = [
                keras.InputSpec(dtype=kind.dtype, shape=(None, *kind.shape), name=name)
                for name, kind in self.call_kinds.items()
            ]
        super().export(filepath, *args, input_signature=input_signature, **kwargs)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a model whose layers Keras has changed could not be loaded from its configuration again.

        Raises:
            ZooError: Always, with the way to an 8-bit file.
        """
        raise ZooError(
            f"{self.name}.quantize is not supported: the quantised layers could not be saved and loaded. "
            "keras_genzoo.export(model, DIR, format='litert', quantize='int8') writes an 8-bit file"
        )

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

    def vital_outputs(
        self, images: np.ndarray, labels: np.ndarray | None = None
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """The outputs by which `vital_signs.VitalSigns` sees whether the model's training still lives.

        Args:
            images: A few images, `(n, H, W, C)` in [0, 1].
            labels: Their labels, for a conditional model.

        Returns:
            Name -> `(outputs, targets)`, the targets None where the outputs are no reconstructions.
        """
        values = [images, labels][: len(self.call_kinds)]
        return {"its call": (engine.array(self(*values)), images if self.can("reconstruct") else None)}

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
        return inputs.check(inputs.codes(self.latent_dim), z, "z").astype("float32", copy=False)


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
    return inputs.check(inputs.images(image_shape), images, argument).astype("float32", copy=False)


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


def _names_of(metrics):
    """The names of metrics in lists and dicts, as far as they are known before they are built."""
    flat = [metric for metric in keras.tree.flatten(metrics) if metric is not None]
    return [metric if isinstance(metric, str) else getattr(metric, "name", None) for metric in flat]


def _is_local(path, suffix):
    """Whether a path is one of this machine's files of a kind, and no folder or address such as "gs://..."."""
    return isinstance(path, (str, os.PathLike)) and str(path).endswith(suffix) and "://" not in str(path)


def _waiting(step):
    """A step of which nothing happens before its batch is there: one that the door refuses is not counted."""

    @functools.wraps(step)
    def waiting(self, data):
        with engine.after(data):
            return step(self, data)

    return waiting


def _seeding(constructor):
    """A constructor that gives Python's random numbers their state back at its end, if the model has a seed of its own.

    Whoever gives a `seed` then gets the same initial weights each time, and the program its own random numbers.
    """

    @functools.wraps(constructor)
    def seeding(self, *args, **kwargs):
        if any(model is self for model in _IN_MAKING):  # a subclass's constructor has called this one
            return constructor(self, *args, **kwargs)
        state = random.getstate()
        _IN_MAKING.append(self)
        try:
            return constructor(self, *args, **kwargs)
        finally:
            _IN_MAKING.pop()
            if getattr(self, "seed", None) is not None:
                random.setstate(state)

    # Keras reads the arguments off the function itself.
    seeding.__signature__ = inspect.signature(constructor)  # pyright: ignore[reportAttributeAccessIssue]
    return seeding


def _with_preset(function, arguments, preset):
    """A copied or unpickled model, with the preset of the one that it was made from."""
    model = function(*arguments)
    model.preset = preset
    return model


def _column(weights):
    """Weights `(batch,)` or `(batch, 1)` as `(batch,)` float32."""
    return ops.cast(ops.reshape(weights, (-1,)), "float32")


def _quotient(numerator, denominator):
    """A quotient, 0 where both are 0: examples that weigh nothing move nothing."""
    is_zero = ops.equal(denominator, 0.0)
    return ops.where(is_zero, 0.0 * numerator, numerator / ops.where(is_zero, 1.0, denominator))


def _defines(cls, method, *, above):
    """Whether a class defines a method where it defines the other one, or further down the line of inheritance."""
    line = cls.__mro__
    place = next(i for i, ancestor in enumerate(line) if above in vars(ancestor))
    return any(method in vars(ancestor) for ancestor in line[: place + 1])
