"""Corruption processes q(x~|x) that denoising autoencoders undo (Vincent et al. 2008 and 2010), in `keras.ops`.

Every function takes clean images in [0, 1] and gives images in [0, 1]: what a file can hold. `level` is a number, or
one per image as `(batch, 1, 1, 1)`; the same `seed` gives the same noise.
"""

import math

from keras import ops, random


def gaussian(x, *, level, seed):
    """Additive isotropic Gaussian noise (Vincent et al. 2010, section 3.3), clipped to [0, 1] as a sensor clips.

        x~ = min(max(x + level * eps, 0), 1),    eps ~ N(0, I)

    Args:
        x: `(batch, H, W, C)` in [0, 1].
        level: The standard deviation sigma before clipping, >= 0.
        seed: An int or a `keras.random.SeedGenerator`.

    Returns:
        float32 of x's shape, in [0, 1].

    Example:
        >>> noisy = corruptions.gaussian(images, level=0.5, seed=0)
    """
    return ops.clip(x + level * random.normal(ops.shape(x), dtype="float32", seed=seed), 0.0, 1.0)


def masking(x, *, level, seed):
    """Masking noise (Vincent et al. 2008, section 2.3): each pixel is 0 with probability `level`, in [0, 1].

    Arguments and result as in `gaussian`. The paper zeroes a fixed share of the numbers; here each position is drawn
    for itself, and its channels share the fate.
    """
    return ops.where(_uniform(x, seed) < level, 0.0, x)


def salt_and_pepper(x, *, level, seed):
    """Salt-and-pepper noise (Vincent et al. 2010, section 3.3): with probability `level` a pixel is 0 or 1, by a coin.

    Arguments and result as in `gaussian`; positions are drawn as in `masking`.
    """
    u = _uniform(x, seed)
    return ops.where(u < level / 2, 0.0, ops.where(u < level, 1.0, x))


def affine(x, *, level, seed):
    """A small random rotation, scaling, shear and shift: a corruption of where the pixels are, not of what they are.

    Not of the papers, but of their kind: an encoder that undoes it gives nearly the same code to a digit and the same
    digit written with another slant, which is what a linear probe needs.

    Arguments and result as in `gaussian`. A level of 1 draws uniformly up to 15 degrees, a scale of 1 +- 0.15 per axis,
    a shear of 0.2, and a shift of 2/28 of the side; smaller levels scale all of them. What comes from outside is black.
    """
    batch, height, width = ops.shape(x)[:3]
    level = ops.reshape(ops.broadcast_to(level, (batch, 1, 1, 1)), (1, batch))
    u = level * random.uniform((6, batch), -1.0, 1.0, dtype="float32", seed=seed)
    angle, scale_x, scale_y, shear = math.radians(15) * u[0], 1 + 0.15 * u[1], 1 + 0.15 * u[2], 0.2 * u[3]
    # Output position -> input position, about the centre: (x, y) -> A (x - c) + c + shift.
    a = [scale_x * ops.cos(angle), shear - scale_y * ops.sin(angle), scale_x * ops.sin(angle), scale_y * ops.cos(angle)]
    cx, cy = (width - 1) / 2, (height - 1) / 2
    tx = cx - a[0] * cx - a[1] * cy + 2 / 28 * width * u[4]
    ty = cy - a[2] * cx - a[3] * cy + 2 / 28 * height * u[5]
    zero = ops.zeros_like(tx)
    transforms = ops.stack([a[0], a[1], tx, a[2], a[3], ty, zero, zero], axis=1)
    return ops.clip(ops.image.affine_transform(x, transforms, interpolation="bilinear", fill_mode="constant"), 0, 1)


CORRUPTIONS = {"affine": affine, "gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}


def apply(spec, x, *, seed):
    """Images corrupted as a spec says, each at a level of its own, uniform in the spec's range.

    Args:
        spec: `{"name": a key of CORRUPTIONS, "level": [low, high]}`.
        x: `(batch, H, W, C)` in [0, 1].
        seed: An int or a `keras.random.SeedGenerator`.
    """
    low, high = spec["level"]
    level = random.uniform((ops.shape(x)[0], 1, 1, 1), low, high, dtype="float32", seed=seed)
    # One int for both would draw levels and noise from the same numbers.
    return CORRUPTIONS[spec["name"]](x, level=level, seed=seed + 1 if isinstance(seed, int) else seed)


def brightness(x, *, seed):
    """Adds one number in [-0.5, 0.5) to each image (DiffAugment, Zhao et al. 2020)."""
    return x + random.uniform((ops.shape(x)[0], 1, 1, 1), -0.5, 0.5, dtype="float32", seed=seed)


def contrast(x, *, seed):
    """Scales each image about its mean by 0.5 to 1.5 (DiffAugment)."""
    factor = random.uniform((ops.shape(x)[0], 1, 1, 1), 0.5, 1.5, dtype="float32", seed=seed)
    mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
    return mean + factor * (x - mean)


def translation(x, *, seed):
    """Moves each image by up to an eighth of its sides in whole pixels, zeros moving in (DiffAugment)."""
    (batch, height, width) = ops.shape(x)[:3]
    u = random.uniform((2, batch), dtype="float32", seed=seed)
    shifts = []
    for size, draw in zip((height, width), (u[0], u[1]), strict=True):
        most = (size + 4) // 8
        shifts.append(ops.cast(draw * (2 * most + 1), "int32") - most)
    for axis, size, shift in zip((1, 2), (height, width), shifts, strict=True):
        index = ops.arange(size)[None, :] - shift[:, None]
        inside = ops.logical_and(index >= 0, index < size)
        shape = (batch, size, 1, 1) if axis == 1 else (batch, 1, size, 1)
        # A matrix of 0 and 1 per image: a gather along one axis has no batched form in keras.ops.
        picks = ops.one_hot(ops.clip(index, 0, size - 1), size, dtype="float32")
        x = ops.einsum("bij,bjwc->biwc" if axis == 1 else "bij,bhjc->bhic", picks, x)
        x = x * ops.reshape(ops.cast(inside, "float32"), shape)
    return x


def cutout(x, *, seed):
    """Sets a square of half the sides, centred anywhere in each image, to 0 (DiffAugment)."""
    (batch, height, width) = ops.shape(x)[:3]
    u = random.uniform((2, batch, 1), dtype="float32", seed=seed)
    hidden = []
    for size, draw in zip((height, width), (u[0], u[1]), strict=True):
        centre = ops.floor(draw * size)
        hidden.append(ops.abs(ops.cast(ops.arange(size), "float32")[None, :] - centre) < size / 4)
    square = ops.logical_and(hidden[0][:, :, None, None], hidden[1][:, None, :, None])
    return ops.where(square, 0.0, x)


AUGMENTATIONS = {"brightness": brightness, "contrast": contrast, "translation": translation, "cutout": cutout}


def diff_augment(x, policies, *, seed):
    """Images under every policy in turn, each image with draws of its own; gradients flow through all of them.

    Args:
        x: `(batch, H, W, C)`.
        policies: Keys of `AUGMENTATIONS`; of none, x comes back as it is.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        float32, shaped like x; not clipped to [0, 1], or gradients would stop there.
    """
    for policy in policies:
        x = AUGMENTATIONS[policy](ops.cast(x, "float32"), seed=seed)
    return x


def warped_pair(x, *, warp, tint, seed, weights=None, strength=1.0):
    """A picture of a face, moved and tinted at random, and the same picture warped: a target and what is seen of it.

    The augmentation of the first face swaps: flipped by a coin, turned by up to 10 degrees, scaled and shifted by up to
    5 %, each channel's contrast and brightness changed; then the points of a grid of 5 x 5 are drawn away by Gaussian
    noise, and everything between them follows. Beyond the border the outermost pixels go on.

    Args:
        x: `(batch, H, W, C)` in [0, 1].
        warp: Standard deviation of the grid's points, as a share of the image's sides, >= 0.
        tint: By how much contrast changes at most, and brightness by half as much, >= 0.
        seed: A `keras.random.SeedGenerator`.
        weights: Of pixels, `(batch, H, W, 1)`, which move as the target does; or None.
        strength: A scalar in [0, 1], by which everything but flip and shift is lessened. At 0 shifts are of whole
            pixels, and seen and target show the pixels of x as they are: resampling is what blurs a turned target.

    Returns:
        `(seen, target, weights)`, float32 in [0, 1], shaped as given.
    """
    x = ops.cast(x, "float32")
    batch, height, width, channels = ops.shape(x)
    u = random.uniform((5, batch, 1, 1), -1.0, 1.0, dtype="float32", seed=seed)
    angle, scale, mirror = strength * math.radians(10) * u[0], 1 + strength * 0.05 * u[1], ops.sign(u[4])
    rows = ops.linspace(-0.5, 0.5, height)[None, :, None]
    columns = ops.linspace(-0.5, 0.5, width)[None, None, :] * mirror
    # Where each pixel of the target comes from, in sides of the image from its centre.
    shifts = [_whole(0.05 * u[2], height, strength), _whole(0.05 * u[3], width, strength)]
    from_rows = scale * (ops.cos(angle) * rows + ops.sin(angle) * columns) + shifts[0]
    from_columns = scale * (ops.cos(angle) * columns - ops.sin(angle) * rows) + shifts[1]
    push = strength * warp * random.normal((batch, _GRID, _GRID, 2), dtype="float32", seed=seed)
    push = ops.einsum("bhlc,wl->bhwc", ops.einsum("hk,bklc->bhlc", _between(height), push), _between(width))
    colour = strength * random.uniform((2, batch, 1, 1, channels), -tint, tint, dtype="float32", seed=seed)

    tinted = ops.clip(0.5 + (1 + colour[0]) * (x - 0.5) + colour[1] / 2, 0, 1)
    target = _resampled(tinted, from_rows, from_columns)
    seen = _resampled(tinted, from_rows + push[..., 0], from_columns + push[..., 1])
    return seen, target, None if weights is None else _resampled(weights, from_rows, from_columns)


_GRID = 5


def _whole(shift, size, strength):
    """A shift in sides of the image, drawn to the nearest of whole pixels as far as strength is short of 1."""
    whole = ops.round(shift * (size - 1)) / (size - 1)
    return whole + strength * (shift - whole)


def _between(size):
    """How much of each of `_GRID` points is in each of `size` pixels between them, linearly: `(size, _GRID)`."""
    places = ops.linspace(0.0, _GRID - 1.0, size)
    return ops.maximum(0.0, 1 - ops.abs(places[:, None] - ops.arange(_GRID, dtype="float32")[None, :]))


def _resampled(x, rows, columns):
    """Images at the places `(batch, H, W)` in sides of the image from its centre, bilinearly."""
    batch, height, width, channels = ops.shape(x)
    rows = ops.clip((rows + 0.5) * (height - 1), 0, height - 1)
    columns = ops.clip((columns + 0.5) * (width - 1), 0, width - 1)
    top = ops.minimum(ops.floor(rows), height - 2)
    left = ops.minimum(ops.floor(columns), width - 2)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    first = ops.cast(top, "int32") * width + ops.cast(left, "int32")
    first = first + ops.reshape(ops.arange(batch) * (height * width), (-1, 1, 1))
    pixels = ops.reshape(ops.cast(x, "float32"), (-1, channels))

    def row(start):
        return (1 - right) * ops.take(pixels, start, axis=0) + right * ops.take(pixels, start + 1, axis=0)

    return (1 - down) * row(first) + down * row(first + width)


def check_spec(spec):
    """A corruption spec once name and range are right, or None for None; else a ValueError."""
    if spec is None:
        return None
    if set(spec) != {"name", "level"} or spec["name"] not in list(CORRUPTIONS):
        raise ValueError(
            f"`corruption` must have the keys name (one of {sorted(CORRUPTIONS)}) and level. Received: {spec}"
        )
    level = spec["level"]
    limit = 1 if spec["name"] in ("masking", "salt_and_pepper") else math.inf  # those two are probabilities
    numbers = isinstance(level, (list, tuple)) and len(level) == 2 and all(isinstance(v, (int, float)) for v in level)
    if not (numbers and 0 <= level[0] <= level[1] <= limit and math.isfinite(level[1])):
        raise ValueError(
            f"`corruption.level` must be a range [low, high] with 0 <= low <= high"
            f"{' <= 1' if limit == 1 else ''}. Received: {level!r}"
        )
    return spec


def _uniform(x, seed):
    """One number in [0, 1) per position: `(batch, H, W, 1)`."""
    return random.uniform((*ops.shape(x)[:-1], 1), dtype="float32", seed=seed)
