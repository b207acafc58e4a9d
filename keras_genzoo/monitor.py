"""A callback that watches a GAN train, names what goes wrong, and acts as it was told.

A GAN's losses say nothing of its samples: they are two players' scores. What is watched instead are the samples (are
they as different from each other as real images are, and near all of them?) and the discriminator (has it won, does it
know the training images by heart, do its gradients explode?).
"""

import math
import warnings
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from keras_genzoo import metrics, plots
from keras_genzoo.errors import ZooError

ACTIONS = ("warn", "stop", "restore")
_LEAST_DIVERSITY = 0.5  # of the mean distance between two real images
_LEAST_COVERAGE = 0.5  # of the best that this run has had
_LEAST_MODES = 0.75  # of all
_WON = 0.999  # real images that D ranks above generated ones, of all pairs
_KNOWN_BY_HEART = 0.75  # training images that D ranks above held out ones, of all pairs; 0.5 is none
_EXPLODED = 100  # gradient norms, over the median of the run
_NOT_FINITE = "a loss that is not finite"
_NORMS = ("g_gradient_norm", "d_gradient_norm")


class GANMonitor(keras.callbacks.Callback):
    """Looks at a GAN every so many training steps of `fit`.

    Measured in a look, over `n` images each: `diversity`, the mean distance between two samples over that between two
    real images; `coverage` of held out images by samples (Naeem et al. 2020), over pixels; `modes`, if they can be
    told; `real_above_fake` and `train_above_holdout`, the chance that D ranks the first above the second; and the norms
    of both gradients, as the log of the epoch has them. Trouble is called by its name once it lasted `patience` looks:

    - "mode collapse": diversity below half of what is real, three quarters of the modes, or half the best coverage yet;
    - "the discriminator has won": it ranks 99.9 % of pairs of a real and a generated image right, and G learns no more;
    - "the discriminator knows its training images by heart": it ranks them above held out ones in 75 % of pairs;
    - "exploding gradients": a hundred times the median of the run. And at once: "a loss that is not finite".

    Args:
        train: Images the GAN is trained on, `(>= n, H, W, C)` float32 in [0, 1]; of a conditional GAN
            `(images, labels)`.
        holdout: As `train`, images it is not trained on.
        every: Training steps between looks, >= 1.
        action: On trouble: "warn"; "stop" training; or "restore" the weights and optimizers of the last look without
            trouble and multiply the learning rates by `factor`, at most `max_restores` times, then stop.
        patience: Looks in a row that must show the same trouble, >= 1.
        grace: First looks, which judge nothing: a fresh generator paints one grey.
        max_restores, factor: Of "restore"; factor in (0, 1).
        modes: A function from images `(n, H, W, C)` to the mode of each, `(n,)` integers in `range(n_modes)`, or -1 for
            none: a classifier's labels, say.
        n_modes: How many modes there are.
        out: Folder for `samples.png` and `curves.png`, drawn anew at each look; None: no pictures.
        n: Images of each kind per look. It must be a multiple of the GAN's `pack`.
        seed: Of the samples.

    Attributes:
        looks: One dict of numbers per look, with its `step`.
        troubles: `[(step, name)]` of all troubles that were called.

    Example:
        >>> monitor = GANMonitor(train_images, test_images, every=500, action="stop")
        >>> gan.fit(train_images, epochs=20, callbacks=[monitor])
    """

    def __init__(
        self,
        train,
        holdout,
        *,
        every=500,
        action: Literal["warn", "stop", "restore"] = "warn",
        patience=3,
        grace=3,
        max_restores=3,
        factor=0.5,
        modes=None,
        n_modes=None,
        out=None,
        n=256,
        seed=0,
    ):
        super().__init__()
        if action not in ACTIONS:
            raise ZooError(f"`action` must be one of {', '.join(ACTIONS)}. Received: {action!r}")
        for argument, value, least in (
            ("every", every, 1),
            ("patience", patience, 1),
            ("grace", grace, 0),
            ("max_restores", max_restores, 0),
            ("n", n, 10),
        ):
            if value < least:
                raise ZooError(f"`{argument}` must be >= {least}. Received: {value}")
        if not 0 < factor < 1:
            raise ZooError(f"`factor` must be in (0, 1). Received: {factor}")
        if (modes is None) != (n_modes is None):
            raise ZooError("`modes` and `n_modes` go together.")
        self.every, self.action, self.patience, self.grace = every, action, patience, grace
        self.max_restores, self.factor, self.modes, self.n_modes = max_restores, factor, modes, n_modes
        self.out, self.n, self.seed = None if out is None else Path(out), n, seed
        self.train, self.holdout = (self._checked(images, argument) for images, argument in
                                    ((train, "train"), (holdout, "holdout")))  # fmt: skip
        self.looks, self.troubles, self.restores = [], [], 0
        self._streaks, self._good = {}, None
        self._real_distance = _mean_distance(self.holdout[0])

    def state(self):
        """What a resumed run must know, as JSON takes it: see `resume`."""
        return {"looks": self.looks, "troubles": self.troubles, "restores": self.restores, "streaks": self._streaks}

    def resume(self, state):
        """Goes on from `state()` of a run that was interrupted."""
        self.looks, self.restores = list(state["looks"]), state["restores"]
        self.troubles = [tuple(trouble) for trouble in state["troubles"]]
        self._streaks = dict(state["streaks"])

    # === Called by Keras ===

    def on_train_begin(self, logs=None):
        if self.restores:  # of the run that is resumed; constant rates came back with the optimizers
            self._slow_down(self.factor**self.restores, constants=False)
        self._last = int(self.model.train_steps.numpy()) // self.every
        self._keep()

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.train_steps.numpy())
        if not all(math.isfinite(value) for value in (logs or {}).values()):
            if not self._streaks.get(_NOT_FINITE):  # else it has been said
                self._streaks[_NOT_FINITE] = 1
                self._act(_NOT_FINITE, step)
        elif step // self.every > self._last:
            self._last = step // self.every
            self.look(step, logs)

    # === Looking ===

    def look(self, step, logs=None):
        """Measures, draws, and acts on trouble that has lasted; called by `fit` every `every` steps."""
        samples = self.model.sample(self.n, seed=self.seed)
        row = {"step": step, **self._measured(samples, logs or {})}
        self.looks.append(row)
        if self.out is not None:
            plots.grid(samples[:64], self.out / "samples.png")
            plots.curves(self.looks, self.out / "curves.png")
        showing = self._showing(row) if len(self.looks) > self.grace else []
        self._streaks = {name: self._streaks.get(name, 0) + 1 for name in showing}
        lasting = [name for name, count in self._streaks.items() if count == self.patience]
        if lasting:
            self._act(lasting[0], step)
        elif not showing:
            self._keep()

    def _measured(self, samples, logs):
        fake_labels = self.model.classes_in_turn(self.n)
        of_train, of_holdout = (self.model.judge(images, labels) for images, labels in (self.train, self.holdout))
        of_fake = self.model.judge(self.model.sample(self.n, seed=self.seed, averaged=False), fake_labels)
        row = {
            "diversity": _mean_distance(samples) / self._real_distance,
            "coverage": metrics.precision_recall(_flat(self.holdout[0]), _flat(samples))["coverage"],
            "real_above_fake": _chance_above(of_holdout, of_fake),
            "train_above_holdout": _chance_above(of_train, of_holdout),
        }
        if self.modes is not None:
            seen = np.asarray(self.modes(samples))
            row["modes"] = len(np.unique(seen[seen >= 0]))
        row |= {key: logs[key] for key in _NORMS if key in logs}
        return {key: float(value) for key, value in row.items()}

    def _showing(self, row):
        """The names of the troubles that a look shows."""
        best = max(look["coverage"] for look in self.looks)
        collapsed = (
            row["diversity"] < _LEAST_DIVERSITY
            or row["coverage"] < _LEAST_COVERAGE * best
            or (self.modes is not None and row["modes"] < _LEAST_MODES * self.n_modes)
        )
        exploded = any(
            row[key] > _EXPLODED * np.median([look[key] for look in self.looks]) for key in _NORMS if key in row
        )
        found = {
            "mode collapse": collapsed,
            "the discriminator has won": row["real_above_fake"] > _WON,
            "the discriminator knows its training images by heart": row["train_above_holdout"] > _KNOWN_BY_HEART,
            "exploding gradients": exploded,
        }
        return [name for name, shown in found.items() if shown]

    # === Acting ===

    def _act(self, trouble, step):
        self.troubles.append((step, trouble))
        numbers = ""
        if self.looks:
            numbers = ": " + ", ".join(f"{key} {value:.3g}" for key, value in self.looks[-1].items() if key != "step")
        done = {"warn": "training goes on", "stop": "training stops"}.get(self.action)
        if self.action == "restore" and self.restores < self.max_restores:
            self.restores += 1
            for variable, value in self._good:
                variable.assign(value)
            self.model.reset_metrics()  # of what was undone
            self._slow_down(self.factor)
            self._streaks = {}
            done = f"back to the last good weights with learning rates times {self.factor:g} (restore {self.restores})"
        elif self.action != "warn":
            done = done or f"training stops after {self.restores} restores"
            self.model.stop_training = True
        warnings.warn(f"GANMonitor at step {step}: {trouble}{numbers}; {done}", stacklevel=2)

    def _keep(self):
        if self.action == "restore":
            # The steps that were taken stay taken, and what was slowed down slow.
            left = {id(self.model.train_steps)}
            variables = list(self.model.variables)
            for optimizer in self._optimizers():
                left |= {id(optimizer.iterations), id(optimizer._learning_rate)}
                variables += optimizer.variables
            kept = (variable for variable in variables if id(variable) not in left)
            self._good = [(variable, keras.ops.convert_to_numpy(variable).copy()) for variable in kept]

    def _optimizers(self):
        optimizers = (getattr(self.model, key) for key in self.model.OPTIMIZERS)
        return [getattr(optimizer, "inner_optimizer", optimizer) for optimizer in optimizers]

    def _slow_down(self, factor, *, constants=True):
        for optimizer in self._optimizers():
            rate = optimizer._learning_rate  # the schedule itself: `learning_rate` is its value
            if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
                optimizer.learning_rate = _Slowed(rate, factor)
            elif constants:
                rate.assign(rate * factor)
        self.model.make_train_function(force=True)  # which has the old schedule built in

    def _checked(self, images, argument):
        images, labels = images if isinstance(images, tuple) else (images, None)
        if len(images) < self.n:
            raise ZooError(f"`{argument}` must hold at least n={self.n} images. Received: {len(images)}")
        return np.asarray(images[: self.n], "float32"), None if labels is None else np.asarray(labels[: self.n])


class _Slowed(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a factor."""

    def __init__(self, schedule, factor):
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        return self.factor * self.schedule(step)

    def get_config(self):
        return {"schedule": self.schedule, "factor": self.factor}


def _flat(images):
    return images.reshape(len(images), -1).astype("float64")


def _mean_distance(images):
    """Mean Euclidean distance over all pairs of images."""
    flat = _flat(images)
    n = len(flat)
    return float(np.sqrt(metrics.squared_distances(flat, flat)).sum() / (n * (n - 1)))


def _chance_above(a, b):
    """The chance that a draw of a is above one of b, ties counting half: the area under the ROC curve."""
    difference = a[:, None] - b[None, :]
    return float(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))
