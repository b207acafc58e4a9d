"""The engine room: gradients by hand, and Keras' private attributes, which a new release may rename."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_genzoo
from keras_genzoo import engine

PACKAGE = Path(keras_genzoo.__file__).parent
MAY_SAY_TF = {"engine.py", "litert.py", "onnx_files.py", "saved_model.py"}  # and the data pipeline


def test_only_the_engine_the_pipeline_and_the_export_say_tensorflow():
    """Code, not annotations: a hook's signature may name `tf.data.Dataset`."""
    for path in PACKAGE.rglob("*.py"):
        if path.name in MAY_SAY_TF or path.parent.name == "data":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        annotations = {
            id(part)
            for node in ast.walk(tree)
            for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
            if annotation is not None
            for part in ast.walk(annotation)
        }
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in ("tf", "tensorflow")]
        used = [node.lineno for node in names if id(node) not in annotations]
        assert not used, f"{path}: lines {used} use TensorFlow; ask `engine`"


def test_value_and_gradients():
    """d(3 x^2 + y)/dx = 6 x, d/dy = 1; the rest comes back."""
    x, y = keras.Variable(2.0), keras.Variable(5.0)
    rest, gradients = engine.value_and_gradients(lambda: (3 * ops.square(x) + y, "rest"), [x, y])
    assert rest == "rest"
    np.testing.assert_allclose([float(g) for g in gradients], [12.0, 1.0])


def test_input_gradient_is_differentiated_once_more():
    """Of x^3 the gradient is 3 x^2; its square, 9 x^4, has the slope 36 x^3 in a factor of x."""
    scale = keras.Variable(1.0)

    def loss():
        values, gradient = engine.input_gradient(lambda x: scale * x[:, 0] ** 3, ops.convert_to_tensor([[2.0]]))
        np.testing.assert_allclose(values, [8.0])
        return ops.sum(ops.square(gradient)), None

    _, (slope,) = engine.value_and_gradients(loss, [scale])
    np.testing.assert_allclose(float(slope), 2 * 12.0**2)


@pytest.mark.parametrize("holds", [True, False])
def test_cond_assigns_in_one_branch_alone(holds):
    variable = keras.Variable(0.0)

    def step():
        variable.assign_add(1.0)
        return ops.convert_to_tensor(1.0)

    result = engine.jit(lambda p: engine.cond(p, step, lambda: ops.convert_to_tensor(0.0)))(tf.constant(holds))
    assert float(result) == float(variable.value) == float(holds)


def test_what_is_a_tensor_and_what_a_dataset():
    assert engine.is_tensor(tf.constant(1))
    assert not engine.is_tensor(np.zeros(1))
    assert engine.is_dataset(tf.data.Dataset.range(1))
    assert not engine.is_dataset([1])
    assert engine.replicas() == 1


# === Keras' private attributes: these fail where a release of Keras has moved one ===


def test_seed_generators_are_found_in_every_layer():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dropout(0.5, seed=3), keras.layers.GaussianNoise(0.1, seed=4)]
    )
    states = engine.random_states(model)
    assert len(states) == 2
    assert all(tuple(state.shape) == (2,) for state in states)


def test_the_learning_rate_comes_as_it_was_given():
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    assert engine.learning_rate_of(keras.optimizers.SGD(schedule)) is schedule
    rate = engine.learning_rate_of(keras.optimizers.SGD(0.5))
    rate.assign(0.25)
    assert float(rate.value) == 0.25


def test_fit_says_that_it_calls_evaluate():
    """Else validation images would be checked anew in every epoch."""
    calls = []

    class Spy(keras.Sequential):
        def evaluate(self, *arguments, **keywords):
            calls.append(engine.is_called_by_fit(keywords))
            return super().evaluate(*arguments, **keywords)

    model = Spy([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 1), "float32")
    model.fit(x, x, validation_data=(x, x), verbose=0)
    model.evaluate(x, x, verbose=0)
    assert calls == [True, False]


def test_float_operations_are_two_per_product():
    """5x5 kernels, 3 to 4 channels, stride 2 on 8x6: 12 places; then 48 numbers to 10."""
    images = keras.Input((8, 6, 3))
    h = keras.layers.Conv2D(4, 5, strides=2, padding="same", use_bias=False)(images)
    network = keras.Model(images, keras.layers.Dense(10, use_bias=False)(keras.layers.Flatten()(h)))
    assert engine.float_operations(network) == 2 * (12 * 25 * 3 * 4 + 48 * 10)
