import math

from keras import ops

from keras_genzoo import losses
from keras_genzoo.distributions import Likelihood
from keras_genzoo.parts import Positive


class Laplace(Likelihood):
    """p(x|z) = prod_i Laplace(x_i; sigmoid(l_i), scale) over the decoder's output l."""

    parameter_names = ("spread",)  # outputs of `decode` that determine p(x|z) together with the mean

    def __init__(self, *, scale: Positive = 0.1):  # checked: `likelihood: {name: laplace, scale: -1}` is refused
        super().__init__("laplace")
        self.scale = scale

    def log_prob(self, x, *, raw, training=False):
        deviation = ops.abs(ops.cast(x, "float32") - self.mean(raw))
        return -losses.sum_per_example(deviation / self.scale + math.log(2 * self.scale))

    def mean(self, raw):
        return ops.sigmoid(ops.cast(raw, "float32"))

    def parameters(self, raw):
        return {"spread": self.scale * ops.ones_like(ops.cast(raw, "float32"))}
