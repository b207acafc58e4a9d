"""The few layers that Keras lacks, registered so that saved models find them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_genzoo.typing import Shape, Tensor

_LEAST_BATCH_VARIANCE = 1e-8  # under the root, whose slope at 0 is infinite
_BLUR = (1, 3, 3, 1)  # the filter of linear interpolation to half the sides
_LARGEST_LOG_SCALE = 3.0  # bound of |s(x_a)|, without which one step of training could overflow


# Bounds of a flow, which makes its layers and their orders before any weight could be counted.
_DEEPEST_FLOW, _WIDEST_FLOW = 256, 1_000_000


@keras.saving.register_keras_serializable("keras_genzoo")
class GatedDense(keras.layers.Layer):
    """A dense layer times its own learned gate (Dauphin et al. 2017, eq. 1; the unit of Tomczak & Welling 2018).

        h(x) = (W x + b) * sigmoid(V x + c)

    Both products are one matrix product of twice the width.

    Shapes: `(batch, features)` -> `(batch, units)`, in the layer's compute dtype.

    Args:
        units: Width of the output, >= 1.
        **kwargs: Options of every Keras layer, such as `name` and `dtype`.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.layers import GatedDense
        >>> tuple(GatedDense(16)(np.zeros((8, 4), "float32")).shape)
        (8, 16)
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(2 * units, dtype=self.dtype_policy, name="dense")

    def build(self, input_shape: Shape) -> None:
        self.dense.build(input_shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        value, gate = ops.split(self.dense(inputs), 2, axis=-1)
        return value * ops.sigmoid(gate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("keras_genzoo")
class LeashedSigmoid(keras.layers.Layer):
    """The sigmoid, with a loss of its own that keeps its logits where it has a gradient.

        y = 1 / (1 + exp(-l)),    loss = weight * mean of max(|l| - reach, 0)^2

    Where most pixels are white, the first steps of an optimizer carry all logits upwards together. Past 17 the sigmoid
    is 1 in float32, its gradient is 0, and the network paints white from then on.

    Shapes: any, to the same.

    Args:
        weight: Weight of the loss, >= 0.
        reach: Size of a logit up to which it costs nothing; at 5 the sigmoid is 0.7 % from its end.
        **kwargs: Options of every Keras layer, such as `name` and `dtype`.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.layers import LeashedSigmoid
        >>> layer = LeashedSigmoid(weight=0.5, reach=5.0)
        >>> tuple(layer(np.full((2, 1), 7.0, "float32")).shape), float(layer.losses[0])
        ((2, 1), 2.0)
    """

    def __init__(self, *, weight: float, reach: float = 5.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.weight, self.reach = weight, reach
        self.built = True

    def call(self, logits: Tensor) -> Tensor:
        if self.weight:
            excess = ops.relu(ops.abs(ops.cast(logits, "float32")) - self.reach)
            self.add_loss(self.weight * ops.mean(ops.square(excess)))
        return ops.sigmoid(logits)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight, "reach": self.reach}


@keras.saving.register_keras_serializable("keras_genzoo")
class NearestUpsampling(keras.layers.Layer):
    """A map of twice the sides, each value four times.

    By concatenations and reshapes of at most four dimensions: XLA has no gradient of TensorFlow's own resizing, and
    phones' GPUs do not take the five dimensions of `keras.layers.UpSampling2D`.

    Shapes: `(batch, H, W, C)` -> `(batch, 2 H, 2 W, C)`.

    Args:
        **kwargs: Options of every Keras layer, such as `name` and `dtype`.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.layers import NearestUpsampling
        >>> np.array(NearestUpsampling()(np.array([[[[1.0], [2.0]]]], "float32")))[0, :, :, 0].tolist()
        [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """

    def call(self, inputs: Tensor) -> Tensor:
        _, height, width, channels = inputs.shape
        wide = ops.reshape(ops.concatenate([inputs, inputs], -1), (-1, height, 2 * width * channels))
        return ops.reshape(ops.concatenate([wide, wide], -1), (-1, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels)


@keras.saving.register_keras_serializable("keras_genzoo")
class BlurredDownsampling(keras.layers.Layer):
    """A map of half the sides, by the filter 1, 3, 3, 1 over 8 along each side (Zhang 2019).

    A mean of 2 x 2 values would let waves through that the small map cannot hold, and a stride all the more. Beyond the
    edge are zeros.

    Shapes: `(batch, H, W, C)` -> `(batch, H / 2, W / 2, C)`; H and W are even.

    Args:
        **kwargs: Options of every Keras layer, such as `name` and `dtype`.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.layers import BlurredDownsampling
        >>> np.array(BlurredDownsampling()(np.full((1, 6, 6, 1), 64.0, "float32")))[0, :, :, 0].tolist()
        [[49.0, 56.0, 49.0], [56.0, 64.0, 56.0], [49.0, 56.0, 49.0]]
    """

    def call(self, inputs: Tensor) -> Tensor:
        line = np.array(_BLUR, "float32") / sum(_BLUR)
        kernel = np.tile(np.outer(line, line)[:, :, None, None], (1, 1, inputs.shape[-1], 1))
        return ops.depthwise_conv(inputs, ops.cast(kernel, inputs.dtype), strides=2, padding="same")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, height // 2, width // 2, channels)


@keras.saving.register_keras_serializable("keras_genzoo")
class MinibatchStddev(keras.layers.Layer):
    """One more channel, which says how much the images of a batch differ (Karras et al. 2018, section 3).

    It is the standard deviation over the batch of every value, averaged over places and channels: one number for the
    whole batch, 0 for a batch of one image.

    Shapes: `(batch, H, W, C)` -> `(batch, H, W, C + 1)`.

    Args:
        **kwargs: Options of every Keras layer, such as `name` and `dtype`.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.layers import MinibatchStddev
        >>> x = np.array([0.0, 2.0], "float32").reshape(2, 1, 1, 1)
        >>> np.array(MinibatchStddev()(x))[:, 0, 0].round(3).tolist()
        [[0.0, 1.0], [2.0, 1.0]]
    """

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        variance = ops.mean(ops.square(x - ops.mean(x, axis=0, keepdims=True)), axis=0)
        deviation = ops.mean(ops.sqrt(variance + _LEAST_BATCH_VARIANCE)) - _LEAST_BATCH_VARIANCE**0.5
        plane = ops.cast(deviation, inputs.dtype) * ops.ones_like(inputs[..., :1])
        return ops.concatenate([inputs, plane], -1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return (batch, height, width, channels + 1)


@keras.saving.register_keras_serializable("keras_genzoo")
class Affine(keras.layers.Layer):
    """Each column of numbers times a scale, plus a shift: y = x * scale + shift.

    The map begins as the identity. It is not trainable: its owner sets the weights, such as the deviation and the mean
    of what a network tells in units of the deviation.

    Shapes: `(batch, size)` -> `(batch, size)`, always in float32. Weights, in order: scale, shift.

    Args:
        **kwargs: Options of every Keras layer but `dtype` and `trainable`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})

    def build(self, input_shape: Shape) -> None:
        size = input_shape[-1]
        self.scale = self.add_weight(name="scale", shape=(size,), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(size,), initializer="zeros")
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@keras.saving.register_keras_serializable("keras_genzoo")
class BentMap(keras.layers.Layer):
    """An affine map of codes plus a hidden layer of tanh units.

        y = x K + b + tanh(x V + c) U

    The map begins as the identity. It is not trainable by default: its owner computes the weights and sets them.

    Shapes: `(batch, size)` -> `(batch, size)`, always in float32. Weights, in order: K, b, V, c, U.

    Args:
        hidden_units: Number of tanh units, the columns of V, >= 1.
        **kwargs: Options of every Keras layer but `dtype`, such as `name` and `trainable`.
    """

    def __init__(self, hidden_units: int, **kwargs: Any):
        super().__init__(**{"trainable": False, **kwargs, "dtype": "float32"})
        self.hidden_units = hidden_units

    def build(self, input_shape: Shape) -> None:
        size, hidden = input_shape[-1], self.hidden_units
        self.kernel = self.add_weight(name="kernel", shape=(size, size), initializer="identity")
        self.bias = self.add_weight(name="bias", shape=(size,), initializer="zeros")
        self.hidden_kernel = self.add_weight(name="hidden_kernel", shape=(size, hidden), initializer="zeros")
        self.hidden_bias = self.add_weight(name="hidden_bias", shape=(hidden,), initializer="zeros")
        self.hidden_out = self.add_weight(name="hidden_out", shape=(hidden, size), initializer="zeros")
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        hidden = ops.tanh(ops.matmul(x, self.hidden_kernel) + self.hidden_bias)
        return ops.matmul(x, self.kernel) + self.bias + ops.matmul(hidden, self.hidden_out)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_units": self.hidden_units}


class RealNVP(keras.layers.Layer):
    """An invertible map of vectors whose Jacobian has a known determinant (Dinh, Sohl-Dickstein & Bengio 2017).

    It is a stack of affine coupling layers (eq. 7). Each passes one half of the numbers unchanged, and from it computes
    scale and shift of the other half; the halves are drawn anew in every layer.

        y_a = x_a,    y_b = x_b * exp(s(x_a)) + t(x_a),    log |det dy/dx| = sum s(x_a)

    The map begins as the identity. Always in float32.

    Args:
        size: Length of a vector, in 2..1,000,000.
        n_layers: Number of coupling layers, in 1..256.
        units: Widths of the hidden ReLU layers of s and t.
        context_size: Length of a second input of s and t, the context; 0 for none.
        name: Name of the layer.

    Raises:
        ValueError: `size` or `n_layers` is out of range.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.layers import RealNVP
        >>> flow = RealNVP(4, n_layers=2, units=[8])
        >>> y, log_det = flow(np.ones((3, 4), "float32"))  # (3, 4) and (3,)
        >>> x, minus_log_det = flow(y, inverse=True)  # the ones again, and -log_det
    """

    def __init__(
        self, size: int, *, n_layers: int, units: Sequence[int], context_size: int = 0, name: str | None = None
    ):
        super().__init__(name=name, dtype="float32")
        if not 2 <= size <= _WIDEST_FLOW:
            raise ValueError(f"A RealNVP takes vectors of 2 to {_WIDEST_FLOW:,} numbers. Received: {size}")
        if not 1 <= n_layers <= _DEEPEST_FLOW:
            raise ValueError(f"`n_layers` must be in 1..{_DEEPEST_FLOW}. Received: {n_layers}")
        self.size, self.kept = size, size // 2
        # The order follows from the layer's number alone, so that a loaded flow has the one it was trained with.
        self.orders = [np.random.default_rng(i).permutation(size) for i in range(n_layers)]
        self.stacks = []
        for i in range(n_layers):
            stack = [keras.layers.Dense(width, "relu", dtype="float32", name=f"hidden_{i}_{j}")
                     for j, width in enumerate(units)]  # fmt: skip
            width = 2 * (size - self.kept)  # s and t
            stack.append(keras.layers.Dense(width, kernel_initializer="zeros", dtype="float32", name=f"out_{i}"))
            features = self.kept + context_size
            for layer in stack:
                layer.build((None, features))
                features = layer.units
            self.stacks.append(stack)
        self.built = True

    def call(self, x: Tensor, context: Tensor | None = None, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """The map of each vector, or its inverse, and the logarithm of its volume change.

        Args:
            x: Vectors, `(batch, size)`.
            context: Second input of s and t, `(batch, context_size)`; None where `context_size` is 0.
            inverse: Whether to take the inverse map.

        Returns:
            `(y, log_det)`: the mapped vectors, `(batch, size)`, and log |det dy/dx|, `(batch,)`.
        """
        log_det = ops.zeros_like(x[:, 0])
        layers = list(zip(self.orders, self.stacks, strict=True))
        for order, stack in reversed(layers) if inverse else layers:
            x = ops.take(x, order, axis=1)
            x_a, x_b = x[:, : self.kept], x[:, self.kept :]
            h = x_a if context is None else ops.concatenate([x_a, context], axis=1)
            for layer in stack:
                h = layer(h)
            log_scale, shift = ops.split(h, [self.size - self.kept], axis=1)
            log_scale = _LARGEST_LOG_SCALE * ops.tanh(log_scale / _LARGEST_LOG_SCALE)
            if inverse:
                x_b = (x_b - shift) * ops.exp(-log_scale)
                log_det -= ops.sum(log_scale, axis=1)
            else:
                x_b = x_b * ops.exp(log_scale) + shift
                log_det += ops.sum(log_scale, axis=1)
            x = ops.take(ops.concatenate([x_a, x_b], axis=1), np.argsort(order), axis=1)
        return x, log_det
