"""A callback that watches the training of a GAN, names its troubles, and warns, stops or restores.

The losses of a GAN do not measure its samples: they are the scores of two players. The monitor therefore looks at the
samples (are they as different from each other as real images are, and near all of them?) and at the discriminator (does
it tell real from generated images without fail, does it rank training images above unseen ones, do its gradients
explode?).
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from keras_genzoo import engine, metrics, plots
from keras_genzoo.errors import ZooError
from keras_genzoo.optimizers import Slowed
from keras_genzoo.typing import ArrayLike, PathLike

ACTIONS = ("warn", "stop", "restore")
_LEAST_DIVERSITY = 0.5  # share of the mean distance between two real images
_LEAST_COVERAGE = 0.5  # share of the best coverage in this run
_LEAST_MODES = 0.75  # share of all modes
_WON = 0.999  # share of pairs in which D ranks the real image above the generated one
_MEMORISED = 0.75  # share of pairs in which D ranks the training image above the held out one; 0.5 is chance
_EXPLODED = 100  # gradient norm over the median of the run
LEAST_IMAGES = 10  # images of each kind in a look
_N_SHOWN = 64  # samples in a picture
_NOT_FINITE = "a loss that is not finite"
_WEIGHTS_NOT_FINITE = "weights that are not finite"
_NORMS = ("g_gradient_norm", "d_gradient_norm")  # names of the losses that are gradient norms


class GANMonitor(keras.callbacks.Callback):
    """Looks at a GAN every so many training steps of `fit`.

    A look measures, over `n` images of each kind: `diversity`, the mean distance between two samples over that between
    two real images; `coverage` of held out images by samples (Naeem et al. 2020), over pixels; the number of `modes`,
    where a function of them is given; `real_above_fake` and `train_above_holdout`, the chance that D ranks the first
    above the second; and the norms of both gradients, as the log of the epoch has them. A trouble is named once it has
    lasted `patience` looks:

    - "mode collapse": a diversity below a half, less than three quarters of the modes, or less than half of the best
      coverage so far;
    - "the discriminator has won": it ranks 99.9 % of pairs of a real and a generated image right, so that the generator
      learns no more;
    - "the discriminator knows its training images by heart": it ranks them above held out ones in 75 % of pairs;
    - "exploding gradients": a norm a hundred times the median of the run;
    - "a loss that is not finite", or weights that are not, which are named at once.

    Args:
        train: Images of the training, `(>= n, H, W, C)` float32 in [0, 1]; for a conditional GAN `(images, labels)`.
        holdout: Images that are not in the training, likewise.
        every: Training steps between two looks, >= 1.
        action: Action on trouble: "warn"; "stop" the training; or "restore" the weights and optimizers of the last look
            without trouble and multiply the learning rates by `factor`, at most `max_restores` times, then stop with
            those weights.
        patience: Number of looks in a row that must show the same trouble, >= 1.
        grace: Number of first looks that judge nothing, >= 0: a fresh generator's samples are all of one grey.
        max_restores: Greatest number of restores, >= 0.
        factor: Factor of the learning rates at each restore, in (0, 1).
        modes: Function from images `(n, H, W, C)` to the mode of each, `(n,)` integers in `range(n_modes)`, or -1 for
            no mode; for example the labels of a classifier. None: modes are not counted.
        n_modes: Number of modes; None where `modes` is None.
        out: Folder for `samples.png` and `curves.png`, drawn anew at each look; None: no pictures.
        n: Number of images of each kind in a look, >= 10 and a multiple of the GAN's `pack`.
        seed: Seed of the samples.

    Attributes:
        looks: One dict of numbers per look, with its `step`.
        troubles: `[(step, name)]` of all troubles that were named.
        has_stopped: Whether the last of them has stopped the training.

    Raises:
        ZooError: An argument out of range, or fewer than `n` images.

    Example:
        >>> import keras_genzoo as gz
        >>> points = gz.data.arrays("ring2d", "train")[0]
        >>> gan = gz.GAN(image_shape=(1, 1, 2), latent_dim=2, generator={"name": "mlp_generator", "units": [16]},
        ...              discriminator={"name": "mlp_discriminator", "units": [16]})
        >>> gan.compile(g_optimizer="adam", d_optimizer="adam")
        >>> monitor = gz.GANMonitor(points[:1_000], points[-1_000:], every=5, action="stop")
        >>> history = gan.fit(points[:1_280], batch_size=128, callbacks=[monitor], verbose=0)
        >>> [look["step"] for look in monitor.looks]
        [5, 10]
    """

    def __init__(
        self,
        train: ArrayLike | tuple[ArrayLike, ArrayLike],
        holdout: ArrayLike | tuple[ArrayLike, ArrayLike],
        *,
        every: int = 500,
        action: Literal["warn", "stop", "restore"] = "warn",
        patience: int = 3,
        grace: int = 3,
        max_restores: int = 3,
        factor: float = 0.5,
        modes: Callable[[np.ndarray], ArrayLike] | None = None,
        n_modes: int | None = None,
        out: PathLike | None = None,
        n: int = 256,
        seed: int = 0,
    ):
        super().__init__()
        if action not in ACTIONS:
            raise ZooError(f"`action` must be one of {', '.join(ACTIONS)}. Received: {action!r}")
        for argument, value, minimum in (
            ("every", every, 1),
            ("patience", patience, 1),
            ("grace", grace, 0),
            ("max_restores", max_restores, 0),
            ("n", n, LEAST_IMAGES),
        ):
            if value < minimum:
                raise ZooError(f"`{argument}` must be >= {minimum}. Received: {value}")
        if not 0 < factor < 1:
            raise ZooError(f"`factor` must be in (0, 1). Received: {factor}")
        if (modes is None) != (n_modes is None):
            raise ZooError("`modes` and `n_modes` go together.")
        self.every, self.action, self.patience, self.grace = every, action, patience, grace
        self.max_restores, self.factor, self.modes, self.n_modes = max_restores, factor, modes, n_modes
        self.out, self.n, self.seed = None if out is None else Path(out), n, seed
        # Images and their labels; None without labels.
        self.train, self.holdout = self._checked(train, "train"), self._checked(holdout, "holdout")
        self.looks: list[dict[str, float]] = []
        self.troubles: list[tuple[int, str]] = []
        self.has_stopped = False
        self.restores = 0
        self._streaks: dict[str, int] = {}  # trouble -> number of looks in a row that show it
        self._is_undone = False  # whether a restore has just undone steps that the epoch's means are over
        self._good: list[np.ndarray] = []  # values of `_kept_variables` at the last look without trouble
        self._is_resumed = False
        if (self.holdout[0] == self.holdout[0][:1]).all():
            raise ZooError(
                f"The {n} images of `holdout` are all the same, so that samples cannot be compared with them; give "
                "images that differ"
            )
        self._real_distance = _mean_distance(self.holdout[0])

    def state(self) -> dict[str, Any]:
        """The monitor's state as JSON takes it, from which a resumed run goes on with `arrays()`; see `resume`."""
        return {"looks": self.looks, "troubles": self.troubles, "restores": self.restores, "streaks": self._streaks}

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights and optimizer states of the last look without trouble; none where nothing is restored."""
        return {str(i): value for i, value in enumerate(self._good)}

    def resume(self, state: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Goes on from the `state()` and the `arrays()` of a run that was interrupted.

        Args:
            state: The state, read from JSON.
            arrays: The arrays; None or none: the weights that the run goes on from are the first good ones.
        """
        # JSON has null for a number that is not finite.
        self.looks = [
            {key: math.nan if value is None else value for key, value in look.items()} for look in state["looks"]
        ]
        self.restores = state["restores"]
        self.troubles = [(step, name) for step, name in state["troubles"]]
        self._streaks = dict(state["streaks"])
        self._good = [arrays[str(i)] for i in range(len(arrays))] if arrays else []
        self._is_resumed = True

    # === Called by Keras ===

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._last = int(self.model.train_steps.numpy()) // self.every
        if self._is_resumed:
            for _ in range(self.restores):  # schedules are slowed again, constant rates came with the optimizers
                self._slow_down(self.factor, constants=False)
        if not (self._is_resumed and self._good):
            self._keep()
        self._is_resumed = False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        step = int(self.model.train_steps.numpy())
        if not all(math.isfinite(value) for value in (logs or {}).values()):
            self._act_once(_NOT_FINITE, step)
        elif step // self.every > self._last:
            self._last = step // self.every
            self.look(step, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not self.model.stop_training and not self._is_sound():
            self._act_once(_WEIGHTS_NOT_FINITE, int(self.model.train_steps.numpy()))

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._is_undone:  # the means are over steps that a restore has undone; an epoch that ends on one keeps them
            self._is_undone = False
            self.model.reset_metrics()

    # === Looking ===

    def look(self, step: int, logs: dict[str, float] | None = None) -> None:
        """Measures, draws, and acts on trouble that has lasted; called by `fit` every `every` steps.

        Args:
            step: Training step.
            logs: Running means of the epoch, with the gradients' norms.
        """
        if not self._is_sound():
            return self._act_once(_WEIGHTS_NOT_FINITE, step)
        samples = self.model.sample(self.n, seed=self.seed)
        row = {"step": step, **self._measured(samples, logs or {})}
        self.looks.append(row)
        if self.out is not None:
            plots.grid(samples[:_N_SHOWN], self.out / "samples.png", columns=plots.class_columns(self.model))
            plots.curves(self.looks, self.out / "curves.png")
        showing = self._showing(row) if len(self.looks) > self.grace else []
        self._streaks = {name: self._streaks.get(name, 0) + 1 for name in showing}
        lasting = [name for name, count in self._streaks.items() if count == self.patience]
        if lasting:
            self._act(lasting[0], step)
        elif not showing:
            self._keep()

    def _is_sound(self):
        """Whether all weights are finite. A step may have spoilt them that no loss has seen yet."""
        return all(map(_is_finite, self.model.get_weights()))

    def _measured(self, samples, logs):
        """The numbers of a look, by name; `samples` come from the averaged generator, D judges the one in training."""
        fake_labels = self.model.classes_in_turn(self.n)
        fake = self.model.sample(self.n, seed=self.seed, averaged=False)
        train_logits, holdout_logits = self.model.judge(*self.train), self.model.judge(*self.holdout)
        fake_logits = self.model.judge(fake, fake_labels)
        row = {
            "diversity": _mean_distance(samples) / self._real_distance,
            "coverage": metrics.precision_recall(_flat(self.holdout[0]), _flat(samples))["coverage"],
            "real_above_fake": _chance_above(holdout_logits, fake_logits),
            "train_above_holdout": _chance_above(train_logits, holdout_logits),
        }
        if self.modes is not None:
            modes = np.asarray(self.modes(samples))
            row["modes"] = len(np.unique(modes[modes >= 0]))
        row |= {key: logs[key] for key in _NORMS if key in logs}
        return {key: float(value) for key, value in row.items()}

    def _showing(self, row):
        """The names of the troubles that a look shows."""
        best = max(look["coverage"] for look in self.looks)
        collapsed = (
            row["diversity"] < _LEAST_DIVERSITY
            or row["coverage"] < _LEAST_COVERAGE * best
            or (self.n_modes is not None and row["modes"] < _LEAST_MODES * self.n_modes)
        )
        exploded = any(
            row[key] > _EXPLODED * np.median([look[key] for look in self.looks]) for key in _NORMS if key in row
        )
        shown_by_name = {
            "mode collapse": collapsed,
            "the discriminator has won": row["real_above_fake"] > _WON,
            "the discriminator knows its training images by heart": row["train_above_holdout"] > _MEMORISED,
            "exploding gradients": exploded,
        }
        return [name for name, is_shown in shown_by_name.items() if is_shown]

    # === Acting ===

    def _act_once(self, trouble, step):
        """Acts on a trouble that does not pass by itself."""
        if not self._streaks.get(trouble):
            self._streaks[trouble] = 1
            self._act(trouble, step)

    def _act(self, trouble, step):
        """Warns of a trouble, and stops the training or restores good weights."""
        self.troubles.append((step, trouble))
        numbers = ""
        if self.looks:
            numbers = ": " + ", ".join(f"{key} {value:.3g}" for key, value in self.looks[-1].items() if key != "step")
        outcome = {"warn": "training goes on", "stop": "training stops"}.get(self.action)
        if self.action == "restore":
            for variable, value in zip(self._kept_variables(), self._good, strict=True):
                variable.assign(value)
            self._is_undone = True
        if self.action == "restore" and self.restores < self.max_restores:
            self.restores += 1
            self._slow_down(self.factor)
            self._streaks = {}
            outcome = (
                f"back to the last good weights with learning rates times {self.factor:g} (restore {self.restores})"
            )
        elif self.action != "warn":
            outcome = outcome or f"back to the last good weights; training stops after {self.restores} restores"
            self.model.stop_training = self.has_stopped = True
        warnings.warn(f"GANMonitor at step {step}: {trouble}{numbers}; {outcome}", stacklevel=2)

    def _keep(self):
        """Copies the weights and the optimizers' states, for a restore, unless there is one that is not finite."""
        if self.action == "restore":
            values = [engine.array(variable).copy() for variable in self._kept_variables()]
            if not self._good or all(map(_is_finite, values)):
                self._good = values

    def _kept_variables(self):
        """The variables that a restore puts back: all but the counts of steps and the learning rates, lowered by it."""
        excluded = {id(self.model.train_steps)}
        variables = list(self.model.variables)
        for optimizer in self._optimizers():
            excluded |= {id(optimizer.iterations), id(engine.learning_rate_of(optimizer))}
            variables += optimizer.variables
        return [variable for variable in variables if id(variable) not in excluded]

    def _optimizers(self):
        """The model's optimizers, without their loss scales."""
        optimizers = (getattr(self.model, key) for key in self.model.OPTIMIZERS)
        return [getattr(optimizer, "inner_optimizer", optimizer) for optimizer in optimizers]

    def _slow_down(self, factor, *, constants=True):
        """Multiplies the learning rates by a factor: schedules, and where `constants` also constant rates."""
        is_scheduled = False
        for optimizer in self._optimizers():
            rate = engine.learning_rate_of(optimizer)
            if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
                optimizer.learning_rate = Slowed(rate, factor)
                is_scheduled = True
            elif constants:
                rate.assign(rate * factor)
        if is_scheduled:
            self.model.make_train_function(force=True)  # the compiled step contains the old schedule

    def _checked(self, images, argument):
        """The first n images and their labels, or None."""
        images, labels = images if isinstance(images, tuple) else (images, None)
        if len(images) < self.n:
            raise ZooError(f"`{argument}` must hold at least n={self.n} images. Received: {len(images)}")
        return np.asarray(images[: self.n], "float32"), None if labels is None else np.asarray(labels[: self.n])


def _is_finite(array):
    """Whether an array has finite numbers only; bfloat16, which NumPy does not know, as float32."""
    return bool(np.isfinite(np.asarray(array, "float32") if array.dtype.kind not in "fiub" else array).all())


def _flat(images):
    """Images as rows, `(n, H W C)` float64."""
    return images.reshape(len(images), -1).astype("float64")


def _mean_distance(images):
    """Mean Euclidean distance over all pairs of images."""
    flat = _flat(images)
    n = len(flat)
    return float(np.sqrt(metrics.squared_distances(flat, flat)).sum() / (n * (n - 1)))


def _chance_above(a, b):
    """The chance that a number of a is above one of b, ties counting half: the area under the ROC curve."""
    difference = a[:, None] - b[None, :]
    return float(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))
