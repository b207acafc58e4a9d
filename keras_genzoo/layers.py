"""The few layers that Keras lacks, registered so that saved models find them."""

import keras
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
