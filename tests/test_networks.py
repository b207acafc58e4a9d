"""networks/ and layers.py: shapes, precision, parameters counted by hand, refused specs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_genzoo as gz
from keras_genzoo import networks
from keras_genzoo.errors import ZooError
from keras_genzoo.layers import BlurredDownsampling, GatedDense, MinibatchStddev

HEADS = {"outputs": {"z_mean": 2, "z_log_var": 2}}
CODES = {"latent_dim": 2}
SQUARE = (8, 8, 1)

# case -> (spec, what the model decides, all parameters, trainable ones), counted by hand for 8x8x1 images.
CASES = {
    # 64*3+3, two heads of 3*2+2
    "mlp_encoder": ({"name": "mlp_encoder", "units": [3]}, HEADS, 195 + 16, 211),
    # 64*6+6: value and gate, then the heads
    "mlp_encoder gated": ({"name": "mlp_encoder", "units": [3], "gated": True}, HEADS, 390 + 16, 406),
    # two heads of 64*2+2
    "mlp_encoder linear": ({"name": "mlp_encoder", "units": []}, HEADS, 260, 260),
    # 2*3+3, 3*5+5, 5*64+64
    "mlp_decoder": ({"name": "mlp_decoder", "units": [3, 5]}, CODES, 9 + 20 + 384, 413),
    # 2*6+6, 3*10+10, 5*64+64
    "mlp_decoder gated": ({"name": "mlp_decoder", "units": [3, 5], "gated": True}, CODES, 18 + 40 + 384, 442),
    # 2*64+64
    "mlp_decoder linear": ({"name": "mlp_decoder", "units": []}, CODES, 192, 192),
    # 16*1*2+2, 16*2*3+3, then heads of 2*2*3 features
    "conv_encoder": ({"name": "conv_encoder", "filters": [2, 3]}, HEADS, 34 + 99 + 52, 185),
    # the same two, 12*4+4: value and gate, then the heads
    "conv_encoder gated": (
        {"name": "conv_encoder", "filters": [2, 3], "units": [2], "gated": True}, HEADS, 34 + 99 + 52 + 12, 197
    ),
    # 2*12+12 onto 2x2x3, 16*3*2+2, 16*2*1+1
    "conv_decoder": ({"name": "conv_decoder", "filters": [3, 2]}, CODES, 36 + 98 + 33, 167),
    # 2*12 onto 2x2x3, BatchNorm 4*3, 25*3*2, BatchNorm 4*2, 25*2*1+1; half of each BatchNorm is statistics
    "dcgan_generator": ({"name": "dcgan_generator", "filters": [3, 2]}, CODES, 24 + 12 + 150 + 8 + 51, 235),
    # 25*1*2+2, 25*2*3+3, BatchNorm 4*3 (not after the first), 12+1; half of the BatchNorm is statistics
    "dcgan_discriminator": (
        {"name": "dcgan_discriminator", "filters": [2, 3], "dropout": 0.3}, {}, 52 + 153 + 12 + 13, 224
    ),
    "dcgan_discriminator none": (
        {"name": "dcgan_discriminator", "filters": [2, 3], "norm": "none"}, {}, 52 + 153 + 13, 218
    ),
    # and one vector per layer: 2, 3, 1
    "dcgan_discriminator spectral": (
        {"name": "dcgan_discriminator", "filters": [2, 3], "norm": "spectral"}, {}, 52 + 153 + 13 + 6, 218
    ),
    # 2*3+3, BatchNorm 4*3, half of it statistics, 3*64+64
    "mlp_generator": ({"name": "mlp_generator", "units": [3], "batch_norm": True}, CODES, 9 + 12 + 256, 271),
    # 25*1*2+2, 25*2*3+3, 12*2+2 for z, 2*8+8 back onto 2x2x2, 9*2*8+8 for twice the sides
    "face_encoder": (
        {"name": "face_encoder", "filters": [2, 3], "channels": 2}, CODES, 52 + 153 + 26 + 24 + 152, 407
    ),
    # 9*2*12+12 for twice the sides, 25*3*1+1
    "face_decoder": ({"name": "face_decoder", "filters": [3]}, {"feature_shape": (4, 4, 2)}, 228 + 76, 304),
    # 64*6+6: two pieces per unit, 3+1
    "mlp_discriminator": (
        {"name": "mlp_discriminator", "units": [3], "maxout": 2, "dropout": 0.2}, {}, 390 + 4, 394
    ),
    # 64*(1+2*2) inputs: x, two sines, two cosines; 320*3+3, 3+1
    "mlp_discriminator with waves": (
        {"name": "mlp_discriminator", "units": [3], "frequencies": 2}, {}, 963 + 4, 967
    ),
    # 64*3+3, 3+1, and one vector per layer: 3, 1
    "mlp_discriminator spectral": (
        {"name": "mlp_discriminator", "units": [3], "norm": "spectral"}, {}, 195 + 4 + 4, 199
    ),
    # 9*1*2, BatchNorm 8, 9*2*2, BatchNorm 8, 32*3+3, 3*4+4; half of each BatchNorm is statistics
    "cnn_classifier": (
        {"name": "cnn_classifier", "filters": [2], "units": 3, "dropout": 0.1}, {"outputs": {"logits": 4}},
        18 + 8 + 36 + 8 + 99 + 16, 177,
    ),
    # stem 9*1*2+2, block 2*(9*2*2+2), down 9*2*4+4, block 2*(9*4*4+4), heads of 4*4*4 features
    "residual_encoder": (
        {"name": "residual_encoder", "base": 2, "multipliers": [1, 2]}, HEADS, 20 + 76 + 76 + 296 + 260, 728
    ),
    # and five norms, two of each block and the last, of 2 numbers per channel; 2*4+4 and 4*2+2, 4*4+4 and 4*4+4
    "residual_encoder normed": (
        {"name": "residual_encoder", "base": 2, "multipliers": [1, 2], "norm": "group", "squeeze": True}, HEADS,
        728 + 8 + 16 + 8 + 22 + 40, 822,
    ),
    # a stem of 4x4 kernels 16*1*2+2, no block, down 9*2*4+4, two blocks, 2*2*4 features to 3 units, heads 3*2+2
    "residual_encoder patched": (
        {"name": "residual_encoder", "base": 2, "multipliers": [1, 2], "blocks": [0, 2], "patch": 2, "units": [3]},
        HEADS, 34 + 76 + 592 + 51 + 16, 769,
    ),
    # 2*64+64 onto 4x4x4, block, up 9*4*2+2, block, 9*2*1+1
    "residual_decoder": (
        {"name": "residual_decoder", "base": 2, "multipliers": [1, 2]}, CODES, 192 + 296 + 74 + 76 + 19, 657
    ),
    # 2*16+16 onto 2x2x4, block, up, block, 9*2*4+4 for squares of 2x2 pixels
    "residual_decoder patched": (
        {"name": "residual_decoder", "base": 2, "multipliers": [1, 2], "patch": 2}, CODES, 48 + 296 + 74 + 76 + 76, 570
    ),
    # 2*64+64 onto 4x4x4, block 4*4+4, 9*4*4+4, 4*4+4, narrower 4*2, block 2*2+2, 9*2*2+2, 2*2+2, 9*2*1+1
    "r3gan_generator": (
        {"name": "r3gan_generator", "base": 2, "multipliers": [1, 2]}, CODES, 192 + 188 + 8 + 50 + 19, 457
    ),
    # 2*16+16 onto 2x2x4, block 4*8+8, 9*2*8+8 in groups of 2, 8*4+4, narrower, block 2*4+4, 9*2*4+4, 4*2+2, 9*2*4+4
    "r3gan_generator grouped": (
        {"name": "r3gan_generator", "base": 2, "multipliers": [1, 2], "patch": 2, "expansion": 2, "group_size": 2},
        CODES, 48 + 228 + 8 + 98 + 76, 458,
    ),
    # stem, block, wider 2*4, block, a weight per place and channel 4*4*4, logit 4+1
    "r3gan_discriminator": (
        {"name": "r3gan_discriminator", "base": 2, "multipliers": [1, 2]}, {}, 20 + 50 + 8 + 188 + 64 + 5, 335
    ),
    # with one more channel at the end: 4*4*5, 5+1
    "r3gan_discriminator deviating": (
        {"name": "r3gan_discriminator", "base": 2, "multipliers": [1, 2], "minibatch_stddev": True}, {},
        20 + 50 + 8 + 188 + 80 + 6, 352,
    ),
}  # fmt: skip


INPUT = {  # of the builders whose input is not images
    **dict.fromkeys(("mlp_decoder", "conv_decoder", "dcgan_generator", "mlp_generator"), "z"),
    **dict.fromkeys(("residual_decoder", "r3gan_generator"), "z"),
    "face_decoder": "features",
}


def _build(case, *, image_shape=SQUARE, dtype=None):
    spec, shapes, *_ = CASES[case]
    if "feature_shape" in shapes:  # half as wide as the images
        shapes = {"feature_shape": (image_shape[0] // 2, image_shape[1] // 2, 2)}
    return networks.build(spec, dtype=dtype, name=spec["name"], image_shape=image_shape, **shapes)


def _inputs(network, n=3, seed=0):
    return np.random.default_rng(seed).random((n, *network.inputs[0].shape[1:])).astype("float32")


def _expected_outputs(case, n, image_shape):
    name = CASES[case][0]["name"]
    if name == "face_encoder":
        return {"z": (n, 2), "features": (n, image_shape[0] // 2, image_shape[1] // 2, 2)}
    if name.endswith("_encoder"):
        return {"z_mean": (n, 2), "z_log_var": (n, 2)}
    if name == "cnn_classifier":
        return {"features": (n, 3), "logits": (n, 4)}
    return {"only": (n,) if name.endswith("_discriminator") else (n, *image_shape)}


def _as_dict(outputs):
    return outputs if isinstance(outputs, dict) else {"only": outputs}


def _inner_layers(network):
    """The layers with weights of their own, out of their spectral normalisation."""
    found = [layer.layer if isinstance(layer, layers.SpectralNormalization) else layer for layer in network.layers]
    return [layer for layer in found if layer.weights]


# === What holds for every builder ===


def test_cases_cover_every_builder():
    assert {spec["name"] for spec, *_ in CASES.values()} == set(networks.BUILDERS)
    assert {name: function.__name__ for name, function in networks.BUILDERS.items()} == {
        name: name for name in networks.BUILDERS
    }


@pytest.mark.parametrize("image_shape", [SQUARE, (4, 12, 3)])
@pytest.mark.parametrize("case", CASES)
def test_shapes(case, image_shape):
    """An oblong image in colour shows a swapped height and width, or a forgotten channel."""
    network = _build(case, image_shape=image_shape)
    assert network.name == CASES[case][0]["name"]
    seen = {"z": (2,), "images": image_shape, "features": (image_shape[0] // 2, image_shape[1] // 2, 2)}
    assert network.inputs[0].shape[1:] == seen[network.inputs[0].name]
    assert network.inputs[0].name == INPUT.get(case.split()[0], "images")
    outputs = _as_dict(network(_inputs(network)))
    assert {key: tuple(value.shape) for key, value in outputs.items()} == _expected_outputs(case, 3, image_shape)
    assert all(np.isfinite(value).all() for value in outputs.values())


@pytest.mark.parametrize("case", CASES)
def test_parameters_as_counted_by_hand(case):
    network = _build(case)
    trainable = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
    assert (network.count_params(), trainable) == CASES[case][2:]


@pytest.mark.parametrize("case", CASES)
def test_every_variable_takes_part(case):
    """A gradient reaches every trainable variable: no layer is built and then left out of the graph."""
    network = _build(case)
    with tf.GradientTape() as tape:
        outputs = _as_dict(network(_inputs(network), training=True))
        total = sum(tf.reduce_sum(value * value) for value in outputs.values())
    gradients = tape.gradient(total, [variable.value for variable in network.trainable_variables])
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("globally", [False, True])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_hidden_layers_compute_in_half_and_outputs_in_float32(case, policy, globally):
    before = keras.config.dtype_policy()
    try:
        if globally:
            keras.config.set_dtype_policy(policy)
        network = _build(case, dtype=None if globally else policy)
    finally:
        keras.config.set_dtype_policy(before)
    outputs = _as_dict(network(_inputs(network)))
    assert {keras.backend.standardize_dtype(value.dtype) for value in outputs.values()} == {"float32"}
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    # These layers make the outputs; everything before them runs in half precision.
    last = {"z", "z_mean", "z_log_var", "pixels", "raw", "images", "logit", "logits", "features"}
    computed = {layer.name: layer.compute_dtype for layer in _inner_layers(network)}
    half = policy.removeprefix("mixed_")
    assert computed == {name: "float32" if name in last else half for name in computed}
    assert half in computed.values() or "linear" in case
    # Close to float32 with the same weights: 8 bits of mantissa through 4 layers of these sizes.
    full = _build(case, dtype="float32")
    full.set_weights(network.get_weights())
    for key, value in _as_dict(full(_inputs(full))).items():
        np.testing.assert_allclose(outputs[key], value, atol=0.05 * float(np.max(np.abs(value))) + 0.01)


@pytest.mark.parametrize("case", [case for case in CASES if "deviating" not in case])
def test_one_image_does_not_depend_on_the_others(case):
    network = _build(case)
    inputs = _inputs(network, 5)
    together, alone = _as_dict(network(inputs)), _as_dict(network(inputs[2:3]))
    for key, value in alone.items():
        np.testing.assert_allclose(together[key][2:3], value, rtol=1e-5, atol=1e-6)


def test_a_spec_is_read_not_changed():
    spec = {"units": [3], "name": "mlp_encoder", "gated": True}
    before = json.dumps(spec)
    networks.build(spec, image_shape=SQUARE, **HEADS)
    assert json.dumps(spec) == before


# === Refused specs ===


@pytest.mark.parametrize("spec", [{"name": "resnet"}, {"units": [3]}])
def test_unknown_name_lists_the_known(spec):
    with pytest.raises(ValueError, match=r"`network\.name` must be one of") as error:
        networks.build(spec, image_shape=SQUARE, **HEADS)
    assert all(name in str(error.value) for name in networks.BUILDERS)
    assert repr(spec.get("name")) in str(error.value)


def test_unknown_option_is_refused():
    with pytest.raises(ZooError, match=r"unknown key `network.unitz`. Did you mean units\?"):
        networks.build({"name": "mlp_encoder", "units": [3], "unitz": [3]}, image_shape=SQUARE, **HEADS)


@pytest.mark.parametrize("image_shape", [(12, 8, 1), (8, 12, 3), (28, 28, 1)])
@pytest.mark.parametrize("name", ["conv_decoder", "dcgan_generator"])
def test_sides_that_cannot_be_reached_by_doubling_are_refused(name, image_shape):
    spec = {"name": name, "filters": [4, 3, 2]}
    with pytest.raises(ValueError, match="divisible by 8") as error:
        networks.build(spec, latent_dim=2, image_shape=image_shape)
    assert str(image_shape) in str(error.value)
    assert "3 entries" in str(error.value)
    networks.build(spec, latent_dim=2, image_shape=(8, 16, 3))


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "dcgan_discriminator", "filters": [2]},
        {"name": "cnn_classifier", "filters": [2], "units": 3},
    ],
)
@pytest.mark.parametrize("dropout", [-0.1, 1.5])
def test_dropout_out_of_range_is_refused(spec, dropout):
    shapes = {"outputs": {"logits": 4}} if spec["name"] == "cnn_classifier" else {}
    with pytest.raises(ValueError, match=str(dropout)):
        networks.build({**spec, "dropout": dropout}, image_shape=SQUARE, **shapes)


def test_discriminator_refuses_to_drop_everything():
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\)\. Received: 1"):
        networks.build({"name": "dcgan_discriminator", "filters": [2], "dropout": 1.0}, image_shape=SQUARE)


# === What single builders promise ===


@pytest.mark.parametrize("name", ["mlp_encoder", "mlp_decoder"])
def test_activation_and_gate_reach_the_hidden_layers(name):
    shapes = {**(HEADS if name == "mlp_encoder" else CODES), "image_shape": SQUARE}
    plain = networks.build({"name": name, "units": [3, 4], "activation": "tanh"}, **shapes)
    gated = networks.build({"name": name, "units": [3, 4], "gated": True}, **shapes)
    hidden = [layer for layer in plain.layers if layer.name.startswith("hidden_")]
    assert [(layer.units, layer.activation.__name__) for layer in hidden] == [(3, "tanh"), (4, "tanh")]
    hidden = [layer for layer in gated.layers if layer.name.startswith("hidden_")]
    assert [(type(layer), layer.units) for layer in hidden] == [(GatedDense, 3), (GatedDense, 4)]


@pytest.mark.parametrize("case", ["mlp_encoder", "mlp_encoder gated", "conv_encoder"])
def test_heads_are_linear(case):
    """z_mean and z_log_var must reach every real number: no activation of the last layer."""
    network = _build(case)
    for head in ("z_mean", "z_log_var"):
        assert network.get_layer(head).activation.__name__ == "linear"


@pytest.mark.parametrize("case", ["mlp_decoder", "conv_decoder"])
def test_decoders_give_raw_pixels(case):
    """Logits have no bounds: shifting the last bias shifts every output by as much."""
    network = _build(case)
    last = network.get_layer("pixels" if case == "mlp_decoder" else "raw")
    before = network(_inputs(network)).numpy()
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias - 40])
    np.testing.assert_allclose(network(_inputs(network)), before - 40, atol=1e-4)


def test_conv_decoder_activates_its_projection():
    spec = {"name": "conv_decoder", "filters": [3, 2], "activation": "tanh"}
    network = networks.build(spec, image_shape=SQUARE, **CODES)
    activations = [layer.activation.__name__ for layer in network.layers if hasattr(layer, "activation")]
    assert activations == ["linear", "tanh", "tanh", "linear"]  # project, its activation, deconv_0, raw


def test_generator_gives_intensities():
    network = _build("dcgan_generator")
    images = network(100 * _inputs(network, 64) - 50).numpy()
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.1  # neither saturated everywhere nor constant


def test_generator_keeps_batch_statistics_in_training_only():
    network = _build("dcgan_generator")
    z = _inputs(network, 16)
    statistics = [variable.numpy() for variable in network.non_trainable_variables]
    network(z, training=False)
    for variable, before in zip(network.non_trainable_variables, statistics, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)
    network(z, training=True)
    moved = [
        bool((variable.numpy() != before).any())
        for variable, before in zip(network.non_trainable_variables, statistics, strict=True)
    ]
    assert all(moved)


@pytest.mark.parametrize(("norm", "mixes"), [("none", False), ("spectral", False), ("batch", True)])
def test_only_batch_norm_mixes_a_batch_in_training(norm, mixes):
    """A discriminator with BatchNorm sees its images together: real and fake ones must come in two batches."""
    spec = {"name": "dcgan_discriminator", "filters": [2, 3], "norm": norm}
    network = networks.build(spec, image_shape=SQUARE)
    images = _inputs(network, 6)
    weights = network.get_weights()
    together = network(images, training=True)
    network.set_weights(weights)  # every pass in training moves the power iteration on: start it at the same place
    difference = np.abs(network(images[:3], training=True) - together[:3]).max()
    assert (difference > 1e-3) if mixes else (difference < 1e-6)


def test_discriminator_normalises_all_convolutions_but_the_first():
    """As Radford et al. 2016 do: BatchNorm on every layer made their samples oscillate."""
    network = networks.build({"name": "dcgan_discriminator", "filters": [2, 3, 4]}, image_shape=SQUARE)
    order = [type(layer).__name__ for layer in network.layers[1:]]
    block = ["Conv2D", "BatchNormalization", "LeakyReLU"]
    assert order == ["Conv2D", "LeakyReLU", *block, *block, "Flatten", "Dense", "Reshape"]


def test_waves_of_an_mlp_discriminator():
    """What its first layer sees of the values 0, 1/2, 5/8, moved to -1, 0, 1/4: themselves, and waves of 1 and 2 pi."""
    spec = {"name": "mlp_discriminator", "units": [1], "frequencies": 2, "activation": "linear"}
    network = networks.build(spec, image_shape=(1, 3, 1))
    seen = keras.Model(network.inputs, network.get_layer("hidden_0").input)(np.reshape([0, 0.5, 0.625], (1, 1, 3, 1)))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        seen[0], [-1, 0, 0.25, 0, 0, half, -1, 1, half, 0, 0, 1, 1, 1, 0], atol=1e-6
    )  # x, sin pi x, cos pi x, sin 2 pi x, cos 2 pi x


def test_mlp_discriminators_refuse_what_they_cannot_do():
    for options, complaint in (
        ({"norm": "batch"}, r"`network.norm` must be 'spectral' or 'none'. Received: 'batch'"),
        ({"maxout": 0}, r"`maxout` must be >= 1. Received: 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\). Received: 1.0"),
        ({"frequencies": -1}, r"`frequencies` must be in 0..20. Received: -1"),
    ):
        with pytest.raises(ValueError, match=complaint):
            networks.build({"name": "mlp_discriminator", "units": [3], **options}, image_shape=SQUARE)


def test_discriminator_refuses_an_unknown_norm():
    with pytest.raises(ValueError, match=r"`network.norm` must be 'batch', 'spectral' or 'none'\. Received: 'layer'"):
        networks.build({"name": "dcgan_discriminator", "filters": [2], "norm": "layer"}, image_shape=SQUARE)


def test_spectral_norm_bounds_every_layer():
    """Miyato et al. 2018: W / sigma(W), sigma by power iteration, in every layer, the last included."""
    network = _build("dcgan_discriminator spectral")
    images = _inputs(network)
    for layer in _inner_layers(network):
        layer.kernel.assign(3 * layer.kernel + 0.1)
    for _ in range(30):
        network(images, training=True)
    wrapped = [layer for layer in network.layers if isinstance(layer, layers.SpectralNormalization)]
    assert len(wrapped) == 3
    for layer in wrapped:
        kernel = layer.layer.kernel.numpy()
        assert np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("case", ["dcgan_discriminator", "cnn_classifier"])
def test_dropout_is_for_training_only(case):
    network = _build(case)
    rates = [layer.rate for layer in network.layers if isinstance(layer, layers.Dropout)]
    assert set(rates) == {CASES[case][0]["dropout"]}
    images = _inputs(network, 32)

    def run(training):
        outputs = network(images, training=training)
        return np.asarray(outputs["logits"] if isinstance(outputs, dict) else outputs)

    np.testing.assert_array_equal(run(False), run(False))
    assert (run(True) != run(True)).any()


def test_classifier_halves_the_image_once_per_pair():
    spec = {"name": "cnn_classifier", "filters": [2, 3], "units": 5}
    network = networks.build(spec, image_shape=(28, 28, 1), outputs={"logits": 4})
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    assert [layer.output.shape[1:] for layer in convolutions] == [(28, 28, 2), (14, 14, 2), (14, 14, 3), (7, 7, 3)]


def test_classifier_features_are_those_the_logits_read():
    network = _build("cnn_classifier")
    outputs = network(_inputs(network))
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose(outputs["features"] @ kernel + bias, outputs["logits"], atol=1e-6)
    assert np.min(outputs["features"]) >= 0  # after their ReLU


# === Residual networks ===

ONE_SPEC = {"base": 2, "multipliers": [1, 1, 2, 2, 2]}


@pytest.mark.parametrize("side", [32, 48, 64, 96, 128, 192, 256])
def test_one_spec_serves_every_size(side):
    shape = (side, side, 3)
    sizes = {
        "residual_encoder": HEADS, "residual_decoder": CODES, "r3gan_generator": CODES, "r3gan_discriminator": {},
    }  # fmt: skip
    for name, decided in sizes.items():
        network = networks.build({"name": name, **ONE_SPEC}, image_shape=shape, **decided)
        outputs = _as_dict(network(_inputs(network, 2)))
        made = {"only": (2, *shape)} if decided is CODES else {"z_mean": (2, 2), "z_log_var": (2, 2)}
        assert {key: tuple(value.shape) for key, value in outputs.items()} == (made if decided else {"only": (2,)})


@pytest.mark.parametrize("name", ["residual_encoder", "residual_decoder", "r3gan_generator", "r3gan_discriminator"])
def test_a_new_network_is_the_same_however_many_blocks_it_has(name):
    """Each block begins as h + 0, by its last convolution."""
    decided = {"residual_encoder": HEADS, "r3gan_discriminator": {}}.get(name, CODES)
    few, many = (
        networks.build({"name": name, "base": 4, "multipliers": [1, 2], "blocks": n}, image_shape=SQUARE, **decided)
        for n in (1, 6)
    )
    blocks = {layer.name for layer in many.layers if layer.name.startswith("block_")}
    for layer in few.layers:
        if layer.weights and layer.name not in blocks:
            many.get_layer(layer.name).set_weights(layer.get_weights())
    inputs = _inputs(few)
    for a, b in zip(_as_dict(few(inputs)).values(), _as_dict(many(inputs)).values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_fixup_shares_the_scale_among_the_blocks():
    """Zhang et al. 2019: with the last of m = 3 layers at 0, the others shrink by L ** (-1 / (2 m - 2)) = L ** -1/4."""
    deviations = []
    for n in (1, 16):
        spec = {"name": "r3gan_discriminator", "base": 64, "multipliers": [1], "blocks": n}
        kernel = networks.build(spec, image_shape=SQUARE).get_layer("block_0_0_conv").get_weights()[0]
        deviations.append(kernel.std())
    assert deviations[0] == pytest.approx(np.sqrt(2 / 1.04 / (9 * 64)), rel=0.02)
    assert deviations[0] / deviations[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"multipliers": [1, 2, 4, 8, 8]}, r"divisible by 16\. Received: image_shape=\(8, 8, 1\)"),
        ({"multipliers": [1, 2, 4], "patch": 4}, "3 entries and `patch` is 4, so image sides must be divisible by 16"),
        ({"multipliers": [1, 2], "blocks": [1]}, r"`blocks` must be a number, or a list of 2, .*Received: \[1\]"),
        ({"multipliers": []}, "multipliers"),
        ({"multipliers": [1], "patch": 3}, "patch"),
        ({"multipliers": [1], "group_size": 5}, r"`group_size` must divide the 32 channels of 'block_0_0'.*: 5"),
    ],
)
def test_residual_specs_that_do_not_fit_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        networks.build({"name": "r3gan_discriminator", **options}, image_shape=SQUARE)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.nightly)])  # compiles for long
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_residual_networks_train_in_every_precision(policy, jit_compile):
    spec = {"base": 4, "multipliers": [1, 2]}
    images = np.random.default_rng(0).random((8, 8, 8, 3), "float32")
    vae = gz.VAE(
        image_shape=(8, 8, 3), latent_dim=2, seed=0, dtype=policy, likelihood="gaussian",
        encoder={"name": "residual_encoder", "norm": "group", "squeeze": True, **spec},
        decoder={"name": "residual_decoder", **spec},
    )  # fmt: skip
    gan = gz.GAN(
        image_shape=(8, 8, 3), latent_dim=2, seed=0, dtype=policy, game="relativistic", r1=0.1, r2=0.1,
        generator={"name": "r3gan_generator", **spec, "expansion": 2, "group_size": 2},
        discriminator={"name": "r3gan_discriminator", **spec, "minibatch_stddev": True},
    )  # fmt: skip
    vae.compile("adam", jit_compile=jit_compile)
    gan.compile(g_optimizer="adam", d_optimizer="adam", jit_compile=jit_compile)
    for model in (vae, gan):
        before = [weight.numpy() for weight in model.trainable_variables]
        logs = model.fit(images, batch_size=4, epochs=10, verbose=0).history  # a loss scale takes some to fall
        assert all(np.isfinite(values).all() for values in logs.values())
        still = [
            weight.path for weight, old in zip(model.trainable_variables, before, strict=True)
            if (weight.numpy() == old).all()
        ]  # fmt: skip
        assert set(still) <= {"logit/bias"}  # which this game's pairs cancel


def test_blurred_downsampling_is_the_filter_1_3_3_1():
    x = np.random.default_rng(0).random((2, 6, 10, 3)).astype("float32")
    padded, line = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), np.array([1, 3, 3, 1]) / 8
    expected = sum(
        line[i] * line[j] * padded[:, i : i + 5 : 2, j : j + 9 : 2] for i in range(4) for j in range(4)
    )  # fmt: skip
    np.testing.assert_allclose(BlurredDownsampling()(x), expected, atol=1e-6)


def test_minibatch_stddev_tells_a_collapsed_batch():
    rng = np.random.default_rng(0)
    different, same = rng.normal(size=(64, 4, 4, 2)), np.tile(rng.normal(size=(1, 4, 4, 2)), (64, 1, 1, 1))
    for images, expected in ((different, np.mean(np.std(different, axis=0))), (same, 0)):
        outputs = MinibatchStddev()(images.astype("float32")).numpy()
        np.testing.assert_allclose(outputs[..., :2], images, atol=1e-6)
        np.testing.assert_allclose(outputs[..., 2], expected, atol=1e-4)


# === GatedDense ===


def _gated(units=3, features=4, **kwargs):
    layer = GatedDense(units, **kwargs)
    layer.build((None, features))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=(features, 2 * units)), rng.normal(size=2 * units)])
    return layer


def test_gated_dense_is_its_formula():
    layer = _gated()
    x = np.random.default_rng(1).normal(size=(7, 4)).astype("float32")
    kernel, bias = layer.get_weights()
    value, gate = x @ kernel[:, :3] + bias[:3], x @ kernel[:, 3:] + bias[3:]
    outputs = layer(x)
    assert outputs.dtype == "float32"
    np.testing.assert_allclose(outputs, value / (1 + np.exp(-gate.astype("float64"))), rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape((None, 4)) == (None, 3)
    assert keras.KerasTensor((None, 4)).shape[:1] + layer(keras.KerasTensor((None, 4))).shape[1:] == (None, 3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_gated_dense_follows_its_policy(policy):
    layer = _gated(dtype=policy)
    assert layer(np.ones((2, 4), "float32")).dtype == policy.removeprefix("mixed_")
    assert layer.dense.compute_dtype == policy.removeprefix("mixed_")
    assert {variable.dtype for variable in layer.weights} == {"float32"}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_gated_dense_survives_its_config(policy):
    layer = _gated(dtype=policy, name="gate", trainable=False)
    twin = GatedDense.from_config(json.loads(json.dumps(layer.get_config())))
    assert (twin.units, twin.name, twin.dtype_policy.name, twin.trainable) == (3, "gate", policy, False)
    twin.build((None, 4))
    twin.set_weights(layer.get_weights())
    x = np.random.default_rng(1).normal(size=(7, 4)).astype("float32")
    np.testing.assert_array_equal(twin(x), layer(x))
    assert keras.saving.get_registered_name(GatedDense) == "keras_genzoo>GatedDense"  # the name in saved files


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_gated_dense_survives_a_keras_file(tmp_path, dtype):
    network = _build("mlp_decoder gated", dtype=dtype)
    network.save(tmp_path / "network.keras")
    twin = keras.saving.load_model(tmp_path / "network.keras")
    assert [layer.units for layer in twin.layers if isinstance(layer, GatedDense)] == [3, 5]
    z = _inputs(network)
    np.testing.assert_array_equal(twin(z), network(z))


def test_unit_norm_holds_while_training(tiny, mnist):
    decoder = {"name": "mlp_decoder", "units": [], "unit_norm": True}
    model = tiny("autoencoder", decoder=decoder, learning_rate=0.1, run_eagerly=True)
    model.fit(mnist[:64], batch_size=16, verbose=0)
    norms = np.linalg.norm(model.decoder.get_layer("pixels").kernel.numpy(), axis=1)
    np.testing.assert_allclose(norms, np.ones(4), atol=1e-5)
    free = tiny("autoencoder", decoder={**decoder, "unit_norm": False}, learning_rate=0.1, run_eagerly=True)
    free.fit(mnist[:64], batch_size=16, verbose=0)
    assert np.ptp(np.linalg.norm(free.decoder.get_layer("pixels").kernel.numpy(), axis=1)) > 0.01


# === Doubling a map's sides ===


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("name", ["conv_decoder", "dcgan_generator"])
def test_maps_are_doubled_either_way(name, upsampling):
    network = networks.build(
        {"name": name, "filters": [8, 4], "upsampling": upsampling}, latent_dim=3, image_shape=(12, 8, 2), dtype=None
    )
    kinds = {type(layer).__name__ for layer in network.layers}
    assert ("Conv2DTranspose" in kinds) == (upsampling == "transposed")
    assert network(np.zeros((5, 3), "float32")).shape == (5, 12, 8, 2)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_resized_map_learns(jit_compile, mnist):
    """Also compiled by XLA, which has no gradient of TensorFlow's own resizing."""
    decoder = {"name": "conv_decoder", "filters": [8, 4], "upsampling": "resize", "kernel_size": 3}
    model = gz.Autoencoder(
        image_shape=(28, 28, 1),
        latent_dim=8,
        encoder={"name": "conv_encoder", "filters": [4, 8]},
        decoder=decoder,
        seed=0,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
    losses = model.fit(mnist[:256], epochs=5, batch_size=64, verbose=0).history["loss"]
    assert losses[-1] < 0.95 * losses[0]


def test_a_resized_map_is_what_a_gpu_takes(tmp_path, mnist):
    """No transposed convolution, no tensor of five dimensions."""
    decoder = {"name": "conv_decoder", "filters": [8, 4], "upsampling": "resize"}
    encoder = {"name": "conv_encoder", "filters": [4, 8]}
    model = gz.Autoencoder(image_shape=(28, 28, 1), latent_dim=8, encoder=encoder, decoder=decoder, seed=0)
    found = gz.inspect(gz.export(model, tmp_path, format="litert", data=mnist[:64], name="resized"))
    assert found["gpu"] == []
    assert "TRANSPOSE_CONV" not in found["endpoints"]["reconstruct"]["ops"]


def test_another_upsampling_is_refused():
    with pytest.raises(ValueError, match=r"`upsampling` must be 'transposed' or 'resize'\. Received: 'shuffle'"):
        networks.conv_decoder(latent_dim=2, image_shape=(8, 8, 1), filters=[4], upsampling="shuffle")


def test_a_face_encoder_keeps_colours_if_it_is_told_to():
    """Two flat colours and a change of contrast are one face to it, and two drawings."""
    spec = {"name": "face_encoder", "filters": [4], "channels": 2}
    images = _inputs(_build("face_encoder"), n=2)
    recoloured = 0.5 * images + 0.25
    for normalize, same in ((True, True), (False, False)):
        network = networks.build(
            {**spec, "normalize": normalize}, name="encoder", image_shape=SQUARE, latent_dim=8
        )  # fmt: skip
        z, other = (np.asarray(network(x)["z"]) for x in (images, recoloured))
        assert np.allclose(z, other, atol=0.05 * np.abs(z).max()) == same
