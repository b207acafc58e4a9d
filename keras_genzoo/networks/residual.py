"""Residual networks of one spec for sides of 28 to 256 pixels: an autoencoder's two, and the two of R3GAN."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import keras
from keras import layers, ops
from pydantic import Field

from keras_genzoo.layers import BlurredDownsampling, MinibatchStddev, NearestUpsampling
from keras_genzoo.networks import common
from keras_genzoo.parts import Count
from keras_genzoo.typing import DType, Shape, Tensor

_SLOPE = 0.2  # slope of R3GAN's LeakyReLU below 0
_GROUP = 8  # channels of a group of GroupNorm, where that many divide the channels
# Channels of a map over the hidden units that weigh them (Hu, Shen & Sun 2018: 16, of wider maps), and the least units.
_SQUEEZE, _LEAST_UNITS = 4, 4

Patch = Literal[1, 2, 4]
Multipliers = Annotated[list[Count], Field(min_length=1)]
Blocks = Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]]


def residual_encoder(
    *,
    image_shape: Shape,
    outputs: Mapping[str, int],
    dtype: DType = None,
    base: Count = 32,
    multipliers: Multipliers,
    blocks: Blocks = 1,
    patch: Patch = 1,
    units: Sequence[int] = (),
    norm: Literal["group", "none"] = "none",
    activation: str = "silu",
    squeeze: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images -> residual blocks on maps of halved sides -> dense layers -> one linear head per output.

    A block is h + f(h), where f is twice norm, activation and 3x3 convolution (He et al. 2016, pre-activation). Its
    last convolution begins at 0, so that a new network passes its input on whatever its depth (Zhang, Dauphin & Ma
    2019).

    Args:
        image_shape: `(H, W, C)`; H and W divisible by patch * 2 ** (len(multipliers) - 1).
        outputs: Name of each head -> its size.
        dtype: Precision policy of the hidden layers.
        base: Channels that `multipliers` multiply.
        multipliers: Channels of each map over `base`; the first map has the sides of the image over `patch`, each other
            half the sides of the one before.
        blocks: Number of blocks on every map, or a list of one number per map.
        patch: Sides of the squares of pixels that become one place of the first map, 1, 2 or 4. With 2 a network costs
            about a quarter.
        units: Widths of dense layers before the heads.
        norm: Normalisation within the blocks: "group" for GroupNorm of 8 channels (Wu & He 2018), or "none".
        activation: Activation of the blocks and of the dense layers.
        squeeze: Whether each block weighs its channels by their means (Hu, Shen & Sun 2018, squeeze and excitation).

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)`, and name of each head -> `(batch, size)`.

    Raises:
        ValueError: The sides of the images do not divide, or `blocks` has another length than `multipliers`.
    """
    channels, counts = _plan(image_shape, base, multipliers, blocks, patch)
    images = keras.Input(image_shape, name="images")
    h = _stem(images, channels[0], patch, dtype)
    for i, (width, count) in enumerate(zip(channels, counts, strict=True)):
        if i:
            h = layers.Conv2D(width, 3, strides=2, padding="same", dtype=dtype, name=f"down_{i}")(h)
        for j in range(count):
            h = _block(h, norm, activation, squeeze, dtype, name=f"block_{i}_{j}")
    h = _activated(h, norm, activation, dtype, name="last")
    h = common.dense_stack(layers.Flatten(dtype=dtype)(h), units, activation, False, dtype)
    return images, common.heads(h, outputs)


def residual_decoder(
    *,
    latent_dim: int,
    image_shape: Shape,
    dtype: DType = None,
    base: Count = 32,
    multipliers: Multipliers,
    blocks: Blocks = 1,
    patch: Patch = 1,
    units: Sequence[int] = (),
    norm: Literal["group", "none"] = "none",
    activation: str = "silu",
    squeeze: bool = False,
) -> tuple[Tensor, Tensor]:
    """Codes -> dense layers -> residual blocks on maps of doubled sides -> raw pixels.

    It is a `residual_encoder` walked backwards, and takes the same spec. Sides double by the nearest neighbour and a
    convolution (Odena et al. 2016), which leaves no checkerboard, and which phones' GPUs and 4-bit files prefer.

    Args:
        latent_dim: Length of a code.
        image_shape: `(H, W, C)`; H and W divisible by patch * 2 ** (len(multipliers) - 1).
        dtype: Precision policy of the hidden layers.
        base, multipliers, blocks, patch, norm, activation, squeeze: As in `residual_encoder`, the largest map first.
        units: Widths of dense layers after the code, in the order in which it passes them.

    Returns:
        `(inputs, outputs)` of the network: `(batch, latent_dim)` and `(batch, H, W, C)`.

    Raises:
        ValueError: As `residual_encoder`.
    """
    channels, counts = _plan(image_shape, base, multipliers, blocks, patch)
    z = keras.Input((latent_dim,), name="z")
    h = common.dense_stack(z, units, activation, False, dtype)
    h = _first_map(h, image_shape, channels, patch, dtype)
    for i in reversed(range(len(channels))):
        if i < len(channels) - 1:
            h = NearestUpsampling(dtype=dtype, name=f"up_{i}_resize")(h)
            h = layers.Conv2D(channels[i], 3, padding="same", dtype=dtype, name=f"up_{i}")(h)
        for j in range(counts[i]):
            h = _block(h, norm, activation, squeeze, dtype, name=f"block_{i}_{j}")
    h = _activated(h, norm, activation, dtype, name="last")
    return z, _pixels(h, image_shape[-1], patch, name="raw")


def r3gan_generator(
    *,
    latent_dim: int,
    image_shape: Shape,
    dtype: DType = None,
    base: Count = 32,
    multipliers: Multipliers,
    blocks: Blocks = 1,
    patch: Patch = 1,
    expansion: Count = 1,
    group_size: Annotated[int, Field(ge=0)] = 0,
) -> tuple[Tensor, Tensor]:
    """The generator of R3GAN (Huang et al. 2024, section 4): residual, without any normalisation.

    A block is h + f(h), where f is a 1x1, a 3x3 and a 1x1 convolution with LeakyReLU(0.2) between them. The last begins
    at 0, and the others at He's deviation over the fourth root of the number of blocks (fix-up, Zhang, Dauphin & Ma
    2019), which takes the place of a norm. Sides double by linear interpolation. The last activation is a sigmoid, as
    images are in [0, 1].

    Args:
        latent_dim: Length of a code.
        image_shape: `(H, W, C)`; H and W divisible by patch * 2 ** (len(multipliers) - 1).
        dtype: Precision policy of the hidden layers.
        base: Channels that `multipliers` multiply.
        multipliers: Channels of each map over `base`, the largest map first, whose sides are those of the image over
            `patch`; each other has half the sides of the one before.
        blocks: Number of blocks on every map, or a list of one number per map.
        patch: Sides of the squares of pixels that one place of the largest map becomes, 1, 2 or 4.
        expansion: Channels of a block's 3x3 convolution over those of its map; the paper has 2.
        group_size: Channels of a group of the 3x3 convolution, as in ResNeXt; the paper has 16. 0: one group of all,
            which processors compute faster.

    Returns:
        `(inputs, outputs)` of the network: `(batch, latent_dim)` and `(batch, H, W, C)` in [0, 1].

    Raises:
        ValueError: The sides of the images or the groups do not divide, or `blocks` has another length than
            `multipliers`.
    """
    channels, counts = _plan(image_shape, base, multipliers, blocks, patch)
    fixed = _Fixup(sum(counts), expansion, group_size, dtype)
    z = keras.Input((latent_dim,), name="z")
    h = _first_map(z, image_shape, channels, patch, dtype)
    for i in reversed(range(len(channels))):
        if i < len(channels) - 1:
            # The 1x1 convolution comes first, as it then sees a quarter of the places; the two commute.
            h = _changed(h, channels[i], dtype, name=f"widen_{i}")
            h = layers.UpSampling2D(interpolation="bilinear", dtype=dtype, name=f"up_{i}")(h)
        for j in range(counts[i]):
            h = fixed.block(h, name=f"block_{i}_{j}")
    h = layers.LeakyReLU(_SLOPE, dtype=dtype)(h)
    h = _pixels(h, image_shape[-1], patch, name="pixels")
    return z, layers.Activation("sigmoid", dtype="float32", name="images")(h)


def r3gan_discriminator(
    *,
    image_shape: Shape,
    dtype: DType = None,
    base: Count = 32,
    multipliers: Multipliers,
    blocks: Blocks = 1,
    patch: Patch = 1,
    expansion: Count = 1,
    group_size: Annotated[int, Field(ge=0)] = 0,
    minibatch_stddev: bool = False,
) -> tuple[Tensor, Tensor]:
    """The discriminator of R3GAN (Huang et al. 2024, section 4), an `r3gan_generator` walked backwards.

    Sides halve by `layers.BlurredDownsampling`. The last map becomes one number per channel, by a learned weight at
    each place, and these become the logit.

    Args:
        image_shape: `(H, W, C)`; H and W divisible by patch * 2 ** (len(multipliers) - 1).
        dtype: Precision policy of the hidden layers.
        base, multipliers, blocks, patch, expansion, group_size: As in `r3gan_generator`.
        minibatch_stddev: Whether the last map has one more channel, the deviation over the batch, see
            `layers.MinibatchStddev`; R3GAN does without. A penalty of D's gradient then holds for a batch as a whole.

    Returns:
        `(inputs, outputs)` of the network: `(batch, H, W, C)` and `(batch,)`.

    Raises:
        ValueError: As `r3gan_generator`.
    """
    channels, counts = _plan(image_shape, base, multipliers, blocks, patch)
    fixed = _Fixup(sum(counts), expansion, group_size, dtype)
    images = keras.Input(image_shape, name="images")
    h = _stem(images, channels[0], patch, dtype)
    for i, width in enumerate(channels):
        if i:
            h = BlurredDownsampling(dtype=dtype, name=f"down_{i}")(h)
            h = _changed(h, width, dtype, name=f"widen_{i}")
        for j in range(counts[i]):
            h = fixed.block(h, name=f"block_{i}_{j}")
    h = layers.LeakyReLU(_SLOPE, dtype=dtype)(h)
    if minibatch_stddev:
        h = MinibatchStddev(dtype=dtype)(h)
    h = layers.DepthwiseConv2D(h.shape[1:3], use_bias=False, dtype=dtype, name="places")(h)
    return images, common.logit(h, "none")


class _Fixup:
    """Maker of residual blocks without norm, whose scale at the start depends on their number in the network.

    Args:
        n_blocks: Number of blocks of the network.
        expansion, group_size: As in `r3gan_generator`.
        dtype: Precision policy.
    """

    def __init__(self, n_blocks: int, expansion: int, group_size: int, dtype: DType):
        self.expansion, self.group_size, self.dtype = expansion, group_size, dtype
        gain = 2 / (1 + _SLOPE**2)  # of He's variance, for a LeakyReLU
        # Of three weight layers the last is 0: the others share the scale n_blocks ** -1/2 (Zhang et al., eq. 5).
        self.scale = gain * max(n_blocks, 1) ** -0.5

    def block(self, h: Tensor, *, name: str) -> Tensor:
        channels = h.shape[-1]
        inner = self.expansion * channels
        if self.group_size and inner % self.group_size:
            raise ValueError(f"`group_size` must divide the {inner} channels of {name!r}. Received: {self.group_size}")
        groups = inner // self.group_size if self.group_size else 1
        initializer = keras.initializers.VarianceScaling(self.scale, "fan_in", "truncated_normal")
        f = layers.LeakyReLU(_SLOPE, dtype=self.dtype)(h)
        f = layers.Conv2D(inner, 1, kernel_initializer=initializer, dtype=self.dtype, name=f"{name}_expand")(f)
        f = layers.LeakyReLU(_SLOPE, dtype=self.dtype)(f)
        f = layers.Conv2D(
            inner, 3, padding="same", groups=groups, kernel_initializer=initializer.clone(), dtype=self.dtype,
            name=f"{name}_conv",
        )(f)  # fmt: skip
        f = layers.LeakyReLU(_SLOPE, dtype=self.dtype)(f)
        f = layers.Conv2D(channels, 1, kernel_initializer="zeros", dtype=self.dtype, name=f"{name}_project")(f)
        return layers.Add(dtype=self.dtype, name=name)([h, f])


def _block(h, norm, activation, squeeze, dtype, *, name):
    """A residual block of the autoencoders."""
    channels = h.shape[-1]
    f = _activated(h, norm, activation, dtype, name=f"{name}_first")
    f = layers.Conv2D(channels, 3, padding="same", dtype=dtype, name=f"{name}_conv_0")(f)
    f = _activated(f, norm, activation, dtype, name=f"{name}_second")
    f = layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros", dtype=dtype, name=f"{name}_conv_1")(f)
    if squeeze:
        means = layers.GlobalAveragePooling2D(keepdims=True, dtype=dtype)(f)
        means = layers.Dense(max(channels // _SQUEEZE, _LEAST_UNITS), "relu", dtype=dtype, name=f"{name}_squeeze")(
            means
        )
        weights = layers.Dense(channels, "sigmoid", dtype=dtype, name=f"{name}_excite")(means)
        f = layers.Multiply(dtype=dtype)([f, weights])
    return layers.Add(dtype=dtype, name=name)([h, f])


def _activated(h, norm, activation, dtype, *, name):
    if norm not in ("group", "none"):
        raise ValueError(f"`norm` must be 'group' or 'none'. Received: {norm!r}")
    if norm == "group":
        channels = h.shape[-1]
        groups = channels // _GROUP if channels % _GROUP == 0 else 1
        h = layers.GroupNormalization(groups, dtype=dtype, name=f"{name}_norm")(h)
    return layers.Activation(activation, dtype=dtype)(h)


def _changed(h, channels, dtype, *, name):
    """The map with another number of channels."""
    if h.shape[-1] == channels:
        return h
    return layers.Conv2D(channels, 1, use_bias=False, dtype=dtype, name=name)(h)


def _stem(images, channels, patch, dtype):
    """The first map of images, whose squares overlap by half."""
    if patch == 1:
        return layers.Conv2D(channels, 3, padding="same", dtype=dtype, name="stem")(images)
    return layers.Conv2D(channels, 2 * patch, strides=patch, padding="same", dtype=dtype, name="stem")(images)


def _pixels(h, channels, patch, *, name):
    """Raw pixels of the largest map, in float32."""
    if patch == 1:
        return layers.Conv2D(channels, 3, padding="same", dtype="float32", name=name)(h)
    h = layers.Conv2D(patch**2 * channels, 3, padding="same", dtype="float32", name=name)(h)
    return ops.depth_to_space(h, patch)


def _first_map(h, image_shape, channels, patch, dtype):
    """Codes -> the smallest map."""
    height, width, _ = image_shape
    factor = patch * 2 ** (len(channels) - 1)
    return common.first_map(h, (height // factor, width // factor, channels[-1]), dtype)


def _plan(image_shape, base, multipliers, blocks, patch):
    """Channels and number of blocks of every map, the largest first."""
    if not multipliers:
        raise ValueError("`multipliers` must have at least one entry. Received: []")
    counts = [blocks] * len(multipliers) if isinstance(blocks, int) else list(blocks)
    if len(counts) != len(multipliers):
        raise ValueError(
            f"`blocks` must be a number, or a list of {len(multipliers)}, one for each of `multipliers`. "
            f"Received: {counts}"
        )
    height, width, _ = image_shape
    factor = patch * 2 ** (len(multipliers) - 1)
    if height % factor or width % factor:
        raise ValueError(
            f"`multipliers` has {len(multipliers)} entries and `patch` is {patch}, so image sides must be divisible "
            f"by {factor}. Received: image_shape={tuple(image_shape)}"
        )
    return [base * multiplier for multiplier in multipliers], counts
