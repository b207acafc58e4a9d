"""Optimizers and schedules of the learning rate that a preset.yaml names.

    optimizers:
      optimizer: {name: adamw, learning_rate: 1e-3, weight_decay: 0.01, schedule: cosine}

Every optimizer of Keras is known by its name in lower case, and takes the options of its constructor.
"""

import keras

from keras_genzoo.typing import Tensor

# Classes that need an optimizer to begin with.
_NOT_BY_NAME = [vars(keras.optimizers).get(name) for name in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")]
OPTIMIZERS = {  # class of each name
    name.lower(): optimizer
    for name, optimizer in vars(keras.optimizers).items()
    if isinstance(optimizer, type)
    and issubclass(optimizer, keras.optimizers.Optimizer)
    and optimizer not in _NOT_BY_NAME
}


def constant(*, learning_rate: float, total_steps: int, restart_step: int = 0) -> float:
    """The same learning rate in every step.

    Args:
        learning_rate: Rate, > 0.
        total_steps: Ignored.
        restart_step: Ignored.

    Returns:
        `learning_rate`.
    """
    return learning_rate


def cosine(
    *, learning_rate: float, total_steps: int, restart_step: int = 0, alpha: float = 0.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A half cosine from the learning rate down to a share of it (Loshchilov & Hutter 2017, eq. 5).

    Args:
        learning_rate: Rate of the first step, > 0.
        total_steps: Steps of the optimizer in the whole training, >= 1.
        restart_step: Step at which a second half cosine begins, from half the learning rate; 0: none.
        alpha: Share of the learning rate that is left at the end, in [0, 1].

    Returns:
        A Keras schedule.
    """
    if not restart_step:
        return keras.optimizers.schedules.CosineDecay(learning_rate, total_steps, alpha=alpha)
    return keras.optimizers.schedules.CosineDecayRestarts(
        learning_rate, restart_step, t_mul=(total_steps - restart_step) / restart_step, m_mul=0.5, alpha=alpha
    )


SCHEDULES = {"constant": constant, "cosine": cosine}


class Slowed(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a factor.

    Args:
        schedule: The schedule.
        factor: Factor, > 0.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, factor: float):
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Tensor) -> Tensor:
        return self.factor * self.schedule(step)

    def get_config(self) -> dict:
        return {"schedule": self.schedule, "factor": self.factor}
