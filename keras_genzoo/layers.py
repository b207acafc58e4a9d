"""The few layers that Keras lacks, registered so that saved models find them."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_genzoo")
class GatedDense(keras.layers.Layer):
    """A dense layer times its own learned gate (Dauphin et al. 2017, eq. 1; the unit of Tomczak & Welling 2018).

        h(x) = (W x + b) * sigmoid(V x + c)

    Both products are one matrix product of twice the width.

    Args:
        units: Width of the output, >= 1.

    Shapes: `(batch, features)` -> `(batch, units)`, in the layer's compute dtype.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(2 * units, dtype=self.dtype_policy, name="dense")

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.built = True

    def call(self, inputs):
        value, gate = ops.split(self.dense(inputs), 2, axis=-1)
        return value * ops.sigmoid(gate)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("keras_genzoo")
class BentMap(keras.layers.Layer):
    """An affine map of codes, bent by a few units. It begins as the identity; whoever has it sets its weights.

        y = x K + b + tanh(x V + c) U

    Args:
        hidden_units: Columns of V, >= 1.

    Shapes: `(batch, size)` -> `(batch, size)`, always in float32. Weights, in order: K, b, V, c, U.
    """

    def __init__(self, hidden_units, **kwargs):
        super().__init__(**{"trainable": False, **kwargs, "dtype": "float32"})
        self.hidden_units = hidden_units

    def build(self, input_shape):
        size, hidden = input_shape[-1], self.hidden_units
        shapes = {
            "kernel": (size, size),
            "bias": (size,),
            "hidden_kernel": (size, hidden),
            "hidden_bias": (hidden,),
            "hidden_out": (hidden, size),
        }
        for name, shape in shapes.items():
            kind = "identity" if name == "kernel" else "zeros"
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=kind))
        self.built = True

    def call(self, x):
        hidden = ops.tanh(ops.matmul(x, self.hidden_kernel) + self.hidden_bias)
        return ops.matmul(x, self.kernel) + self.bias + ops.matmul(hidden, self.hidden_out)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "hidden_units": self.hidden_units}


class RealNVP(keras.layers.Layer):
    """An invertible map of vectors whose Jacobian has a known determinant (Dinh, Sohl-Dickstein & Bengio 2017).

    Affine coupling layers (eq. 7): half of the numbers, chosen anew in every layer, passes as it is and says how the
    other half is scaled and shifted.

        y_a = x_a,    y_b = x_b * exp(s(x_a)) + t(x_a),    log |det dy/dx| = sum s(x_a)

    It begins as the identity. Always in float32.

    Args:
        size: Numbers of a vector, >= 2.
        n_layers: Coupling layers, >= 1.
        units: Widths of the hidden ReLU layers that make s and t.
        context_size: Numbers of a context that s and t see, too; 0 for none.

    Example:
        >>> flow = RealNVP(40, n_layers=8, units=[128])
        >>> y, log_det = flow(x)                    # (batch, 40), (batch,)
        >>> x, minus_log_det = flow(y, inverse=True)
    """

    def __init__(self, size, *, n_layers, units, context_size=0, name=None):
        super().__init__(name=name, dtype="float32")
        if size < 2:
            raise ValueError(f"A RealNVP needs vectors of 2 numbers or more. Received: {size}")
        if n_layers < 1:
            raise ValueError(f"`n_layers` must be >= 1. Received: {n_layers}")
        self.size, self.kept = size, size // 2
        # Fixed by the layer's number: a trained flow finds the order it learned.
        self.orders = [np.random.default_rng(i).permutation(size) for i in range(n_layers)]
        self.stacks = []
        for i in range(n_layers):
            stack = [keras.layers.Dense(width, "relu", dtype="float32", name=f"hidden_{i}_{j}")
                     for j, width in enumerate(units)]  # fmt: skip
            moved = 2 * (size - self.kept)
            stack.append(keras.layers.Dense(moved, kernel_initializer="zeros", dtype="float32", name=f"out_{i}"))
            features = self.kept + context_size
            for layer in stack:
                layer.build((None, features))
                features = layer.units
            self.stacks.append(stack)
        self.built = True

    def call(self, x, context=None, inverse=False):
        """`(batch, size)` -> `(y, log_det)`: the image of x and log |det| of the map that was taken, `(batch,)`."""
        log_det = ops.zeros_like(x[:, 0])
        layers = list(zip(self.orders, self.stacks, strict=True))
        for order, stack in reversed(layers) if inverse else layers:
            x = ops.take(x, order, axis=1)
            kept, moved = x[:, : self.kept], x[:, self.kept :]
            h = kept if context is None else ops.concatenate([kept, context], axis=1)
            for layer in stack:
                h = layer(h)
            log_scale, shift = ops.split(h, [self.size - self.kept], axis=1)
            log_scale = _MOST * ops.tanh(log_scale / _MOST)  # or one step of training could overflow
            if inverse:
                moved = (moved - shift) * ops.exp(-log_scale)
                log_det -= ops.sum(log_scale, axis=1)
            else:
                moved = moved * ops.exp(log_scale) + shift
                log_det += ops.sum(log_scale, axis=1)
            x = ops.take(ops.concatenate([kept, moved], axis=1), np.argsort(order), axis=1)
        return x, log_det


_MOST = 3.0  # |log scale| of one coupling layer
