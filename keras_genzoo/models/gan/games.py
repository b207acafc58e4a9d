"""The adversarial games of a GAN: a loss of the discriminator and a loss of the generator.

game: relativistic
game: {name: non_saturating, label_smoothing: 0.1}
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

from pydantic import Field

from keras_genzoo import losses
from keras_genzoo.typing import Tensor

Smoothing = Annotated[float, Field(ge=0, lt=0.5)]


class Game(NamedTuple):
    """The two sides of an adversarial game: functions of `real_logits` and `fake_logits`, `(batch,)` -> `(batch,)`.

    Attributes:
        discriminator: Loss of the discriminator.
        generator: Loss of the generator.
        pairs: Whether the generator's loss needs the logits of real images.
    """

    discriminator: Callable[..., Tensor]
    generator: Callable[..., Tensor]
    pairs: bool = False


def minimax(*, label_smoothing: Smoothing = 0.0) -> Game:
    """The game of Goodfellow et al. 2014, eq. 1.

    Args:
        label_smoothing: One-sided label smoothing, in [0, 0.5): the discriminator's target for real images is
            1 - label_smoothing (Salimans et al. 2016, section 3.4).
    """
    return Game(_smoothed(label_smoothing), _of_fakes(losses.minimax_generator_loss))


def non_saturating(*, label_smoothing: Smoothing = 0.0) -> Game:
    """The game whose generator keeps its gradient where D is far better (Goodfellow et al. 2014, section 3).

    Args:
        label_smoothing: One-sided label smoothing, as in `minimax`.
    """
    return Game(_smoothed(label_smoothing), _of_fakes(losses.non_saturating_generator_loss))


def least_squares() -> Game:
    """The least squares game (Mao et al. 2017, eq. 9)."""
    return Game(losses.least_squares_discriminator_loss, _of_fakes(losses.least_squares_generator_loss))


def wasserstein() -> Game:
    """The Wasserstein game (Arjovsky, Chintala & Bottou 2017), whose critic must be Lipschitz."""
    return Game(losses.wasserstein_critic_loss, _of_fakes(losses.wasserstein_generator_loss))


def hinge() -> Game:
    """The hinge game (Miyato et al. 2018, eq. 16 and 17)."""
    return Game(losses.hinge_discriminator_loss, _of_fakes(losses.wasserstein_generator_loss))


def relativistic() -> Game:
    """The relativistic paired game (Jolicoeur-Martineau 2019, eq. 7): D compares a real with a generated image."""
    return Game(
        lambda *, real_logits, fake_logits: losses.relativistic_loss(wins=real_logits, loses=fake_logits),
        lambda *, real_logits, fake_logits: losses.relativistic_loss(wins=fake_logits, loses=real_logits),
        pairs=True,
    )


GAMES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "hinge": hinge,
    "relativistic": relativistic,
}


def _smoothed(label_smoothing):
    if not label_smoothing:
        return losses.discriminator_loss
    return lambda **logits: losses.discriminator_loss(**logits, real_target=1 - label_smoothing)


def _of_fakes(loss):
    return lambda *, real_logits, fake_logits: loss(fake_logits=fake_logits)
