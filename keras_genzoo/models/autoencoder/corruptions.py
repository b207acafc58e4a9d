"""Corruption processes q(x~|x) that denoising autoencoders undo (Vincent et al. 2008 and 2010), in `keras.ops`.

Every function turns clean images in [0, 1] into images in [0, 1], the range that a file can hold. The same integer seed
gives the same noise.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops, random

from keras_genzoo import parts
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import Spec, Tensor

_PROBABILITIES = ("masking", "salt_and_pepper")  # processes whose level is a probability
# Greatest changes of `affine` at level 1.
_MOST_TURN = math.radians(15)
_MOST_SCALING = 0.15  # deviation of the scale from 1, per axis
_MOST_SHEAR = 0.2
_MOST_SHIFT = 2 / 28  # in sides of the image: 2 pixels of MNIST


def gaussian(x: Tensor, *, level: Tensor, seed: int | keras.random.SeedGenerator) -> Tensor:
    """Additive isotropic Gaussian noise (Vincent et al. 2010, section 3.3), clipped to [0, 1] as a sensor clips.

        x~ = min(max(x + level * eps, 0), 1),    eps ~ N(0, I)

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        level: Standard deviation sigma before clipping, >= 0; a number, or one per image as `(batch, 1, 1, 1)`.
        seed: Seed of the noise, an int or a `keras.random.SeedGenerator`.

    Returns:
        float32 of x's shape, in [0, 1].

    Example:
        >>> from keras import ops
        >>> from keras_genzoo.models.autoencoder import corruptions
        >>> noisy = corruptions.gaussian(ops.full((2, 28, 28, 1), 0.5), level=0.25, seed=0)
        >>> round(float(ops.std(noisy)), 2)  # a little less than 0.25: clipped
        0.24
    """
    return ops.clip(x + level * random.normal(ops.shape(x), dtype="float32", seed=seed), 0.0, 1.0)


def masking(x: Tensor, *, level: Tensor, seed: int | keras.random.SeedGenerator) -> Tensor:
    """Masking noise (Vincent et al. 2008, section 2.3): each pixel becomes 0 with a given probability.

    The paper zeroes a fixed share of the numbers. Here each position is drawn on its own, and its channels are zeroed
    together.

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        level: Probability, in [0, 1]; a number, or one per image as `(batch, 1, 1, 1)`.
        seed: Seed of the noise, an int or a `keras.random.SeedGenerator`.

    Returns:
        float32 of x's shape, in [0, 1].
    """
    return ops.where(_uniform(x, seed) < level, 0.0, x)


def salt_and_pepper(x: Tensor, *, level: Tensor, seed: int | keras.random.SeedGenerator) -> Tensor:
    """Salt-and-pepper noise (Vincent et al. 2010, section 3.3): a pixel becomes 0 or 1, by a coin.

    Positions are drawn as in `masking`.

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        level: Probability of a change, in [0, 1]; a number, or one per image as `(batch, 1, 1, 1)`.
        seed: Seed of the noise, an int or a `keras.random.SeedGenerator`.

    Returns:
        float32 of x's shape, in [0, 1].
    """
    u = _uniform(x, seed)
    return ops.where(u < level / 2, 0.0, ops.where(u < level, 1.0, x))


def affine(x: Tensor, *, level: Tensor, seed: int | keras.random.SeedGenerator) -> Tensor:
    """A small random rotation, scaling, shear and shift: a corruption of the places of the pixels, not of their values.

    It is not from the papers, but of their kind. An encoder that undoes it gives nearly the same code to a digit and to
    the same digit in another slant, which helps a linear probe.

    A level of 1 draws uniformly up to 15 degrees, a scale of 1 +- 0.15 per axis, a shear of 0.2, and a shift of 2/28 of
    the side; smaller levels scale all of them. Pixels from outside the image are black.

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        level: Strength, >= 0; a number, or one per image as `(batch, 1, 1, 1)`.
        seed: Seed of the draws, an int or a `keras.random.SeedGenerator`.

    Returns:
        float32 of x's shape, in [0, 1].
    """
    batch, height, width = ops.shape(x)[:3]
    level = ops.reshape(ops.broadcast_to(level, (batch, 1, 1, 1)), (1, batch))
    u = level * random.uniform((6, batch), -1.0, 1.0, dtype="float32", seed=seed)
    angle, shear = _MOST_TURN * u[0], _MOST_SHEAR * u[3]
    scale_x, scale_y = 1 + _MOST_SCALING * u[1], 1 + _MOST_SCALING * u[2]
    # Output position -> input position, about the centre: (x, y) -> A (x - c) + c + shift.
    a = [scale_x * ops.cos(angle), shear - scale_y * ops.sin(angle), scale_x * ops.sin(angle), scale_y * ops.cos(angle)]
    cx, cy = (width - 1) / 2, (height - 1) / 2
    tx = cx - a[0] * cx - a[1] * cy + _MOST_SHIFT * width * u[4]
    ty = cy - a[2] * cx - a[3] * cy + _MOST_SHIFT * height * u[5]
    zero = ops.zeros_like(tx)
    transforms = ops.stack([a[0], a[1], tx, a[2], a[3], ty, zero, zero], axis=1)
    return ops.clip(ops.image.affine_transform(x, transforms, interpolation="bilinear", fill_mode="constant"), 0, 1)


CORRUPTIONS = {"affine": affine, "gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}


class Corruption(NamedTuple):
    """A corruption process with its range of levels.

    Attributes:
        function: The process, `(x, *, level, seed) -> x`.
        name: Name in `CORRUPTIONS`.
        level: `(low, high)`, the range of levels in training.
        options: Further options of the process.
    """

    function: Callable[..., Tensor]
    name: str
    level: tuple[float, float]
    options: dict[str, Any]

    @property
    def is_compilable(self) -> bool:
        """Whether XLA can compile the process; it has no op for the transform of `affine`."""
        return self.function is not affine

    @property
    def keeps_places(self) -> bool:
        """Whether pixels keep their places, so that clean and noisy images can be compared pixel by pixel."""
        return self.function is not affine

    def __call__(self, x: Tensor, *, seed: int | keras.random.SeedGenerator, level: float | None = None) -> Tensor:
        """Images corrupted, each at a level of its own, uniform in the range.

        Args:
            x: Images, `(batch, H, W, C)`, in [0, 1].
            seed: Seed of levels and noise, an int or a `keras.random.SeedGenerator`.
            level: Level of all images; None: draws from the range.

        Returns:
            float32 of x's shape, in [0, 1].

        Raises:
            ZooError: The level is out of its range.
        """
        low, high = self.level if level is None else _checked_level([level, level], self.name)
        levels = random.uniform((ops.shape(x)[0], 1, 1, 1), low, high, dtype="float32", seed=seed)
        # One int for both would draw levels and noise from the same numbers.
        noise_seed = seed + 1 if isinstance(seed, int) else seed
        return self.function(x, level=levels, seed=noise_seed, **self.options)


def build(spec: Spec) -> Corruption | None:
    """Builds the corruption that a spec describes.

    Args:
        spec: `{"name": a key of CORRUPTIONS, "level": [low, high]}`; None: no corruption.

    Returns:
        The corruption; None for None.

    Raises:
        ZooError: Unknown name or option, or a level out of its range.
    """
    if spec is None:
        return None
    function, options = parts.chosen("corruption", spec)
    name = spec if isinstance(spec, str) else spec["name"]
    return Corruption(function, name, _checked_level(options.pop("level"), name), options)


def _checked_level(level, name):
    """A range of levels as a tuple, once it is one."""
    limit = 1 if name in _PROBABILITIES else math.inf
    is_pair = isinstance(level, (list, tuple)) and len(level) == 2 and all(isinstance(v, (int, float)) for v in level)
    if not (is_pair and 0 <= level[0] <= level[1] <= limit and math.isfinite(level[1])):
        raise ZooError(
            f"`corruption.level` must be a range [low, high] with 0 <= low <= high"
            f"{' <= 1' if limit == 1 else ''}. Received: {level!r}"
        )
    low, high = level
    return low, high


def _uniform(x, seed):
    """One number in [0, 1) per position: `(batch, H, W, 1)`."""
    return random.uniform((*ops.shape(x)[:-1], 1), dtype="float32", seed=seed)
