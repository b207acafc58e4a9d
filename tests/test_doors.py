"""The doors of a model: what users bring in Keras' idioms is honoured, or refused by name."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import TINY, build_tiny, family_of, run_python
from keras import ops

import keras_genzoo as gz
from keras_genzoo import data, models
from keras_genzoo.models.vae import VAE

EVERY = ["autoencoder", "vae", "conditional vae", "gan", "conditional gan", "face_swap", "classifier"]
WEIGHTED = ["autoencoder", "vae", "conditional vae", "face_swap", "classifier"]
RECONSTRUCTING = ["autoencoder", "vae"]


class Batches(keras.utils.PyDataset):
    """Arrays in batches of 32, as users write them."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0]) // 32

    def __getitem__(self, i):
        batch = tuple(array[32 * i : 32 * (i + 1)] for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(32)


@pytest.fixture(scope="module")
def digits(mnist):
    """64 images and their labels."""
    return mnist[:64], data.arrays("mnist", "train")[1][:64]


@pytest.fixture(scope="module")
def noisy(mnist):
    return np.clip(mnist[:64] + np.random.default_rng(0).normal(0, 0.3, mnist[:64].shape), 0, 1).astype("float32")


def beside(name, digits):
    """What goes with the images of a family: labels, the other person's images, or nothing."""
    images, labels = digits
    if name == "classifier" or "conditional" in name:
        return (labels,)
    return (images[::-1],) if name == "face_swap" else ()


def trainable(model):
    return [ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]


def moved(model, before):
    return max(np.abs(now - old).max() for now, old in zip(trainable(model), before, strict=True))


# === y ===


@pytest.mark.parametrize("family", RECONSTRUCTING)
def test_images_as_y_are_the_target_at_every_door(family, tiny, digits, noisy):
    clean, _ = digits
    model = tiny(family, run_eagerly=True)
    doors = {
        "arrays": lambda: model.fit(noisy, clean, shuffle=False, verbose=0),
        "tuples": lambda: model.fit(dataset(noisy, clean), verbose=0),
        "PyDataset": lambda: model.fit(Batches(noisy, clean), shuffle=False, verbose=0),
        "generator": lambda: model.fit((batch for batch in Batches(noisy, clean)), verbose=0),
        "steps": lambda: [model.train_on_batch(*batch) for batch in Batches(noisy, clean)],
        "noise alone": lambda: model.fit(noisy, shuffle=False, verbose=0),
    }
    ends = {}
    for door, enter in doors.items():
        tiny.as_new(model)
        enter()
        ends[door] = np.concatenate([value.ravel() for value in trainable(model)])
    other = ends.pop("noise alone")
    for door, end in ends.items():
        np.testing.assert_allclose(end, ends["arrays"], atol=1e-6, err_msg=door)
    assert np.abs(ends["arrays"] - other).max() > 1e-3


def test_evaluate_compares_with_the_target(tiny, digits, noisy):
    clean, _ = digits
    model = tiny("autoencoder", run_eagerly=True)
    by_hand = np.sum((model.reconstruct(noisy) - clean) ** 2, axis=(1, 2, 3)).mean()
    measured = {
        "arrays": model.evaluate(noisy, clean, verbose=0, return_dict=True)["loss"],
        "tuples": model.evaluate(dataset(noisy, clean), verbose=0, return_dict=True)["loss"],
        "PyDataset": model.evaluate(Batches(noisy, clean), verbose=0, return_dict=True)["loss"],
        "batch": model.test_on_batch(noisy, clean, return_dict=True)["loss"],
        "validation": model.fit(
            noisy[:32] * 0, sample_weight=np.zeros(32), validation_data=(noisy, clean), verbose=0
        ).history["val_loss"][0],
    }
    assert measured == pytest.approx(dict.fromkeys(measured, by_hand), rel=1e-5)


@pytest.mark.parametrize("family", RECONSTRUCTING)
def test_y_is_a_target_or_labels_and_nothing_else(family, tiny, digits):
    images, labels = digits
    model = tiny(family, run_eagerly=True)
    plain = model.evaluate(images, verbose=0)
    assert model.evaluate(images, labels, verbose=0) == plain  # integer labels are left aside
    for bad in (images[..., 0], images.reshape(64, -1), labels + 0.5, images * 255):
        for door in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
            with pytest.raises(ValueError, match="`y` must be"):
                door(images, bad)
        with pytest.raises(ValueError, match="`y` must be"):
            model.fit(dataset(images, bad), verbose=0)


@pytest.mark.parametrize("name", ["gan", "conditional gan", "conditional vae", "classifier"])
def test_target_images_are_refused_where_nothing_is_reconstructed(name, tiny, digits):
    images, _ = digits
    for door in (tiny(name).fit, tiny(name).evaluate):
        with pytest.raises(ValueError, match=r"takes no target images|must be labels"):
            door(images, images)


# === Weights ===


@pytest.mark.parametrize("name", WEIGHTED)
def test_examples_without_weight_move_nothing_at_any_door(name, tiny, digits):
    images, *others = digits[0], *beside(name, digits)
    model, none = tiny(name, run_eagerly=True), np.zeros(64)
    y = others or [images if name in RECONSTRUCTING else None]
    doors = {
        "fit": lambda: model.fit(images, *others, sample_weight=none, verbose=0),
        "tuples": lambda: model.fit(dataset(images, *y, none), verbose=0),
        "PyDataset": lambda: model.fit(Batches(images, *y, none), verbose=0),
        "batch": lambda: model.train_on_batch(images, *y, sample_weight=none),
    }
    if len(y[0].shape) == 1:
        doors["class_weight"] = lambda: model.fit(images, *y, class_weight=dict.fromkeys(range(10), 0.0), verbose=0)
    for door, enter in doors.items():
        before = trainable(model)
        enter()
        assert moved(model, before) == 0, door


@pytest.mark.parametrize("name", WEIGHTED)
def test_half_the_weights_give_the_mean_of_that_half(name, tiny, digits):
    images, *others = digits[0], *beside(name, digits)
    model, half = tiny(name, run_eagerly=True), np.repeat([1.0, 0.0], 32)
    y = others or [images]
    expected = model.evaluate(images[:32], *(value[:32] for value in others), verbose=0, return_dict=True)
    measured = {
        "arrays": model.evaluate(images, *others, sample_weight=half, verbose=0, return_dict=True),
        "tuples": model.evaluate(dataset(images, *y, half), verbose=0, return_dict=True),
        "batch": model.test_on_batch(images[:32], *(v[:32] for v in y), sample_weight=half[:32], return_dict=True),
    }
    for door, losses in measured.items():
        assert losses == pytest.approx(expected, rel=1e-5), door


def test_a_weighted_step_is_the_step_of_those_that_weigh(tiny, digits, noisy):
    """SGD on images whose second half weighs nothing, and on the first half alone: the same step."""
    steps = []
    for n, weights in ((64, np.repeat([2.0, 0.0], 32)), (32, None)):
        model = tiny("autoencoder", fresh=True, compiled=False)
        model.compile(keras.optimizers.SGD(1e-4))
        start = trainable(model)
        model.train_on_batch(noisy[:n], digits[0][:n], sample_weight=weights)
        steps.append(np.concatenate([(a - b).ravel() for a, b in zip(start, trainable(model), strict=True)]))
    assert np.abs(steps[1]).max() > 1e-5
    np.testing.assert_allclose(*steps, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("name", ["gan", "conditional gan"])
def test_a_gan_refuses_weights_by_name(name, tiny, digits):
    images, *others = digits[0], *beside(name, digits)
    model, one = tiny(name), np.ones(64)
    y = others or [digits[1]]
    for argument, enter in {
        "sample_weight": lambda: model.fit(images, *y, sample_weight=one, verbose=0),
        "class_weight": lambda: model.fit(images, *y, class_weight={0: 1.0}, verbose=0),
    }.items():
        with pytest.raises(ValueError, match=f"takes no `{argument}`: a real image's weight"):
            enter()
    for enter in (
        lambda: model.evaluate(images, *y, sample_weight=one, verbose=0),
        lambda: model.fit(dataset(images, *y, one), verbose=0),
        lambda: model.train_on_batch(images, *y, sample_weight=one),
        lambda: model.test_on_batch(images, *y, sample_weight=one),
    ):
        with pytest.raises(ValueError, match="takes no `sample_weight`"):
            enter()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("autoencoder", {"regularizer": {"name": "kl", "rho": 0.1, "weight": 1.0}}),
        ("vae", {"objective": "beta_tc"}),
    ],
)
def test_a_loss_of_the_whole_batch_cannot_be_weighted(family, options, tiny, digits):
    with pytest.raises(ValueError, match=r"takes no `sample_weight`: the .* whole batch"):
        tiny(family, **options).fit(digits[0], sample_weight=np.ones(64), verbose=0)


def test_weights_of_classes_need_classes(tiny, digits):
    images, _ = digits
    for name, y in (("autoencoder", images), ("autoencoder", None), ("face_swap", images)):
        with pytest.raises(ValueError, match="`class_weight` goes with integer labels"):
            tiny(name).fit(images, y, class_weight={0: 1.0}, verbose=0)


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (-np.ones(64), "must be >= 0. Received: -1"),
        (np.full(64, np.nan), "must be finite"),
        (np.full(64, 1e38), "must have a sum that float32 holds"),
        (np.ones(32), "All parts must have as many examples. Received: 64 of `.*`, 32 of"),
        (np.ones(1), "Received: 64 of `.*`, 1 of"),
        (np.ones((64, 2)), r"must have shape \(n,\). Received: \(64, 2\)"),
    ],
)
def test_weights_that_would_be_misread_are_refused(weights, complaint, tiny, digits):
    images, labels = digits
    model = tiny("classifier", run_eagerly=True)
    before = trainable(model)
    for enter in (
        lambda: model.fit(images, labels, sample_weight=weights, verbose=0),
        lambda: model.evaluate(images, labels, sample_weight=weights, verbose=0),
        lambda: model.train_on_batch(images, labels, sample_weight=weights),
        lambda: model.fit(tf.data.Dataset.from_tensors((images, labels, weights)), verbose=0),
    ):
        with pytest.raises(gz.ZooError, match=complaint):
            enter()
    assert moved(model, before) == 0
    with pytest.raises(gz.ZooError):
        model.fit(images, labels, validation_data=(images, labels, weights), verbose=0)


def test_no_part_stands_for_all_examples(tiny, digits):
    images, labels = digits
    for name, y in (("autoencoder", images[:1]), ("face_swap", images[:1]), ("classifier", labels[:1])):
        model = tiny(name, run_eagerly=True)
        for enter in (
            lambda model=model, y=y: model.train_on_batch(images, y),
            lambda model=model, y=y: model.test_on_batch(images, y),
            lambda model=model, y=y: model.evaluate(images, y, verbose=0),
            lambda model=model, y=y: model.fit(tf.data.Dataset.from_tensors((images, y)), verbose=0),
            lambda model=model, y=y: model.fit(((x, y) for x in [images]), verbose=0),
        ):
            with pytest.raises(gz.ZooError, match=r"as many examples. Received: 64 of `x`, 1 of `y`"):
                enter()


def test_a_y_of_several_parts_is_refused(tiny, digits):
    images, labels = digits
    model = tiny("autoencoder")
    for y in ({"images": images}, (images, labels)):
        for enter in (lambda y=y: model.evaluate(images, y), lambda y=y: model.fit(dataset(images, y))):
            with pytest.raises(gz.ZooError, match=r"`y` must be one array. Received: a (dict of \['images'\]|tuple)"):
                enter()
    with pytest.raises(gz.ZooError, match="`x` is missing"):
        model.fit()


@pytest.mark.parametrize("bad", [{0: float("nan")}, {0: -1.0}, [1.0, 2.0], {0: "many"}])
def test_bad_weights_of_classes_are_refused(bad, tiny, digits):
    for enter in (tiny("classifier").fit, tiny("classifier").train_on_batch):
        with pytest.raises(gz.ZooError, match="`class_weight` must be a dict of classes and weights >= 0"):
            enter(*digits, class_weight=bad)


def test_validation_may_be_a_dict(tiny, digits):
    images, labels = digits
    both, none = {"images": images, "labels": labels}, dict.fromkeys(range(10), 0.0)
    for name in ("conditional vae", "classifier"):
        model = tiny(name, run_eagerly=True)
        history = model.fit(both, validation_data=both, class_weight=none, verbose=0).history
        measured = model.evaluate(images, labels, verbose=0, return_dict=True)
        assert history["val_loss"][0] == pytest.approx(measured["loss"])


# === Values ===


SPOILT = {
    "0-255": (lambda x: x * 255, r"must be in \[0, 1\].*divide"),
    "uint8": (lambda x: (x * 255).astype("uint8"), r"dtype uint8.*255"),
    "nan": (lambda x: np.where(x > 0.9, np.nan, x).astype("float32"), "finite"),
    "side": (lambda x: x[:, :14], "must have shape"),
    "rank": (lambda x: x[..., 0], r"must have shape \(n, 28, 28, 1\). Received: \((64|32|None), 28, 28\)"),
    "negative": (lambda x: x - 1, r"must be in \[0, 1\]. Received: \[-1, 0\]"),
    "empty": (lambda x: x[:0], "empty"),
}


def image_doors(model, digits, name):
    """Every way by which images come into a model that trains: door -> function of images."""
    others = beside(name, digits)
    good = digits[0], *others
    doors = {
        "fit": lambda x: model.fit(x, *others, verbose=0),
        "list": lambda x: model.fit([x], *others, verbose=0),
        "tensor": lambda x: model.fit(tf.constant(x), *others, verbose=0),
        "dataset": lambda x: model.fit(dataset(x, *others), verbose=0),
        "PyDataset": lambda x: model.fit(Batches(x, *others), verbose=0),
        "generator": lambda x: model.fit((batch for batch in Batches(x, *others)), verbose=0),
        "validation": lambda x: model.fit(*good, validation_data=(x, *others), verbose=0),
        "evaluate": lambda x: model.evaluate(x, *others, verbose=0),
        "evaluate PyDataset": lambda x: model.evaluate(Batches(x, *others), verbose=0),
        "evaluate dataset": lambda x: model.evaluate(dataset(x, *others), verbose=0),
        "train_on_batch": lambda x: model.train_on_batch(x, *others),
        "test_on_batch": lambda x: model.test_on_batch(x, *others),
    }
    if family_of(name) != "gan":  # which predicts from codes
        labels = others if "conditional" in name else ()
        doors |= {
            "call": lambda x: model(x, *labels),
            "call by name": lambda x: model(images=x, **({"labels": labels[0]} if labels else {})),
            "call list": lambda x: model([x, *labels]),
            "predict": lambda x: model.predict((x, *labels) if labels else x, verbose=0),
            "predict list": lambda x: model.predict([x, *labels], verbose=0),
            "predict PyDataset": lambda x: model.predict(Batches(x, *labels), verbose=0),
            "predict generator": lambda x: model.predict((b for b in Batches(x, *labels)), verbose=0),
            "predict dataset": lambda x: model.predict(dataset(x, *labels), verbose=0),
            "predict_on_batch": lambda x: model.predict_on_batch((x, *labels) if labels else x),
        }
    for use in ("encode", "reconstruct", "classify", "swap"):
        if hasattr(model, use):
            arguments = {"to": "a"} if use == "swap" else {"labels": others[0]} if "conditional" in name else {}
            doors[use] = lambda x, use=use, arguments=arguments: getattr(model, use)(x, **arguments)
    if name == "face_swap":
        doors["fit, second"] = lambda x: model.fit(digits[0][: len(x)], x, verbose=0)
    return doors


def kinds_at_doors():
    """Every family at all doors with one kind of bad images; three of them with all kinds, the others at night."""
    few = ("vae", "face_swap", "classifier")  # images alone, of two people, with labels
    for name in EVERY:
        for spoilt in SPOILT:
            nightly = spoilt != "0-255" and name not in few
            yield pytest.param(name, spoilt, marks=[pytest.mark.nightly] if nightly else [])


@pytest.mark.parametrize(("name", "spoilt"), kinds_at_doors())
def test_bad_images_stop_at_every_door(name, spoilt, tiny, digits):
    spoil, complaint = SPOILT[spoilt]
    model, bad = tiny(name, run_eagerly=True), spoil(digits[0])
    doors = image_doors(model, digits, name)
    if spoilt != "0-255":  # one kind at all doors, all kinds at the two ways of looking
        few = ("fit",) if spoilt == "empty" else ("fit", "dataset", "PyDataset", "encode", "classify")
        doors = {door: doors[door] for door in few if door in doors}
    before = trainable(model)
    for door, enter in doors.items():
        with pytest.raises(gz.ZooError, match=complaint):
            enter(bad)
        assert door.startswith("validation") or moved(model, before) == 0, door
        before = trainable(model)


def test_a_bad_batch_is_met_before_its_step(tiny, digits):
    """The second of two batches is bad: the first one's step is taken, and no other, in a compiled function, too."""
    images = digits[0].copy()
    images[40] *= 255
    model = tiny("vae")
    model.train_on_batch(images[:32])
    one_step = trainable(model)
    tiny.as_new(model)
    with pytest.raises(gz.ZooError, match=r"`x` must be in \[0, 1\]. Received: \[0, 255\]"):
        model.fit(dataset(images), shuffle=False, verbose=0)
    assert moved(model, one_step) < 1e-6
    tiny.as_new(model)
    start = trainable(model)
    with pytest.raises(gz.ZooError, match=r"`x` must be in \[0, 1\]. Received: \[0, 255\]"):
        model.fit(Batches(images), shuffle=False, verbose=0)  # whose batches are fetched ahead
    assert min(moved(model, start), moved(model, one_step)) < 1e-6


@pytest.mark.parametrize("shape", [None, (None, None, None, 1)])
def test_a_dataset_that_declares_no_shape_is_looked_at(shape, tiny, digits):
    model = tiny("autoencoder", run_eagerly=True)

    def batches(images):
        spec = tf.TensorSpec(shape, tf.float32)
        return tf.data.Dataset.from_generator(lambda: iter(np.split(images, 2)), output_signature=spec)

    assert model.evaluate(batches(digits[0]), verbose=0) == pytest.approx(model.evaluate(digits[0], verbose=0))
    with pytest.raises(gz.ZooError, match=r"must have shape \(n, 28, 28, 1\). Received: \(32, 14, 28, 1\)"):
        model.evaluate(batches(digits[0][:, ::2]), verbose=0)


BAD_LABELS = {
    "above": (lambda y: y + 10, r"must be labels in 0\.\.9. Received: 1\d\.\.19"),
    "below": (lambda y: y - 1, r"must be labels in 0\.\.9. Received: -1\.\."),
    "one-hot": (lambda y: np.eye(10)[y], r"one-hot labels take labels.argmax\(1\)"),
    "float": (lambda y: y.astype("float32"), "Received: dtype float32"),
    "fraction": (lambda y: y + 0.5, "Received: dtype float64"),
}


@pytest.mark.parametrize("bad", BAD_LABELS)
@pytest.mark.parametrize("name", ["classifier", "conditional vae", "conditional gan"])
def test_bad_labels_stop_at_every_door(name, bad, tiny, digits):
    spoil, complaint = BAD_LABELS[bad]
    images, labels = digits
    model, y = tiny(name, run_eagerly=True), spoil(labels)
    before = trainable(model)
    for enter in (
        lambda: model.fit(images, y, verbose=0),
        lambda: model.fit(dataset(images, y), verbose=0),
        lambda: model.fit(Batches(images, y), verbose=0),
        lambda: model.fit({"images": images, "labels": y}, verbose=0),
        lambda: model.evaluate(images, y, verbose=0),
        lambda: model.train_on_batch(images, y),
        lambda: model.test_on_batch(images, y),
    ):
        with pytest.raises(gz.ZooError, match=complaint):
            enter()
    assert moved(model, before) == 0
    with pytest.raises(gz.ZooError, match=complaint):
        model.fit(images, labels, validation_data=(images, y), verbose=0)


def test_labels_in_a_column_are_labels(tiny, digits):
    images, labels = digits
    for name in ("classifier", "conditional vae"):
        model = tiny(name, run_eagerly=True)
        assert model.evaluate(images, labels[:, None], verbose=0) == model.evaluate(images, labels, verbose=0)


# === compile ===


def test_losses_are_the_models_own(tiny):
    with pytest.raises(TypeError, match=r"Autoencoder.compile takes no `loss`: the losses are the model's own"):
        tiny("autoencoder", compiled=False).compile("adam", loss="mse")
    with pytest.raises(gz.ZooError, match=r"GAN.compile takes no `metrics`: a generated image has no real one"):
        tiny("gan", compiled=False).compile(g_optimizer="adam", d_optimizer="adam", metrics=["mse"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly if name == "face_swap" else []) for name in WEIGHTED]
)
def test_metrics_compare_reconstructions_with_images(name, tiny, digits, tmp_path):
    images, *others = digits[0], *beside(name, digits)
    model = tiny(name, fresh=True, compiled=False)
    if name == "classifier":
        metric, y_pred = (
            keras.metrics.SparseTopKCategoricalAccuracy(3, name="of_three"),
            model.predict(images, verbose=0),
        )
        expected = float(metric(others[0], y_pred))
        metric.reset_state()
    else:
        pairs = [(images, *others)] if "conditional" in name else [(images,)]
        shown = [model.predict(pair if len(pair) > 1 else pair[0], verbose=0) for pair in pairs]
        metric, y = "mse", [images]
        if name == "face_swap":
            y, shown = [images, *others], [model.autoencode(images, of="a"), model.autoencode(*others, of="b")]
        expected = float(np.mean((np.concatenate(y) - np.concatenate(shown)) ** 2))
    model.compile("adam", metrics=[metric], weighted_metrics=[keras.metrics.MeanMetricWrapper(_first, name="mine")]
                  if name == "autoencoder" else None, run_eagerly=True)  # fmt: skip
    logs = model.evaluate(images, *others, verbose=0, return_dict=True)
    key = "of_three" if name == "classifier" else "mse"
    assert logs[key] == pytest.approx(expected, rel=1e-5)
    history = model.fit(images, *others, validation_data=(images, *others), verbose=0).history
    assert {key, f"val_{key}", *model.LOSSES} <= set(history)
    if name != "autoencoder":  # whose own metric is a function that only this file knows
        model.save(tmp_path / "m.keras")
        again = keras.saving.load_model(tmp_path / "m.keras")
        assert again.evaluate(images, *others, verbose=0, return_dict=True)[key] == pytest.approx(
            model.evaluate(images, *others, verbose=0, return_dict=True)[key]
        )


def _first(y, y_pred):
    return ops.abs(y - y_pred)[:, 0, 0, 0]


@pytest.mark.parametrize("name", [name for name in EVERY if name != "conditional gan"])  # whose norm sets its kernels
def test_layers_own_losses_are_in_the_loss(name, tiny, digits):
    """A regularizer of weights and one of activities, in a network of each family."""
    images, *others = digits[0], *beside(name, digits)
    model = tiny(name, fresh=True, compiled=False)
    network = model.network if name == "classifier" else model.discriminator if "gan" in name else model.encoder
    layer = next(layer for layer in network.layers if getattr(layer, "kernel", None) is not None)
    optimizers = {key: keras.optimizers.SGD(1e-3) for key in model.OPTIMIZERS}
    model.compile(**optimizers, run_eagerly=True)
    key = "d_loss" if "gan" in name else "loss"
    plain = model.test_on_batch(images, *others, return_dict=True)[key]
    layer.kernel.regularizer = keras.regularizers.L2(30.0)
    squares = 30 * float(ops.sum(ops.square(layer.kernel)))
    assert squares > 0.1
    assert model.test_on_batch(images, *others, return_dict=True)[key] == pytest.approx(plain + squares, rel=1e-4)
    for _ in range(5):
        model.train_on_batch(images, *others)
    shrunk = 30 * float(ops.sum(ops.square(layer.kernel)))
    assert shrunk < 0.9 * squares  # the regularizer's gradient draws it down
    plain = model.test_on_batch(images, *others, return_dict=True)[key]
    layer.activity_regularizer = keras.regularizers.L1(0.1)
    assert model.test_on_batch(images, *others, return_dict=True)[key] > plain + 1e-3
    assert model.train_on_batch(images, *others, return_dict=True)[key] > 0


def test_a_subclass_may_have_a_constructor_of_its_own(digits):
    class Own(VAE):
        def __init__(self, gamma=2.0, **kwargs):
            super().__init__(**kwargs)
            self.gamma = gamma

    for model in (Own(**TINY["vae"]), Own(3.0, **TINY["vae"], seed=np.int64(3))):
        model.compile("adam", run_eagerly=True)
        model.fit(digits[0], verbose=0)
    assert type(model.seed) is int
    for bad in (-1, 1.5, "a", True):
        with pytest.raises(gz.ZooError, match="`seed` must be an integer >= 0, or None"):
            VAE(**TINY["vae"], seed=bad)


def test_keras_habits_that_do_not_go_here_are_named(tiny, tmp_path):
    model = tiny("vae", fresh=True, compiled=False)
    with pytest.raises(TypeError, match=r"VAE.compile takes no `loss`: the losses are"):
        model.compile("adam", "mse")
    with pytest.raises(gz.ZooError, match=r"A metric must not be named as one of the model's losses. Received: loss"):
        model.compile("adam", metrics=[keras.metrics.MeanSquaredError(name="loss")])
    with pytest.raises(gz.ZooError, match=r"are saved as .keras files. Received: '.*v.h5'"):
        model.save(tmp_path / "v.h5")
    gan = tiny("gan", run_eagerly=True)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="g_loss", mode="min")
    for callbacks in (plateau, [[plateau]]):
        with pytest.raises(gz.ZooError, match="ReduceLROnPlateau works on"):
            gan.fit(np.zeros((4, 28, 28, 1), "float32"), callbacks=callbacks)


def test_an_own_compute_loss_is_not_dropped(tiny):
    class Own(VAE):
        def compute_loss(self, *args, **kwargs):
            return 0.0

    class Honest(Own):
        def train_step(self, data):
            return super().train_step(data)

    with pytest.raises(gz.ZooError, match="Own overrides compute_loss, which the zoo's train_step does not call"):
        Own(**TINY["vae"]).compile("adam")
    Honest(**TINY["vae"]).compile("adam")  # whoever writes the step decides what it calls


# === Ways out ===


@pytest.mark.parametrize("name", ["conditional vae", "conditional gan"])
def test_a_conditional_model_predicts_from_pairs_dicts_and_batches(name, tiny, digits):
    images, labels = digits
    model = tiny(name, run_eagerly=True)
    first = np.ones((64, 4), "float32") if family_of(name) == "gan" else images
    key = "z" if family_of(name) == "gan" else "images"
    expected = ops.convert_to_numpy(model(first, labels))
    for x in ((first, labels), [first, labels], {key: first, "labels": labels}, dataset(first, labels),
              Batches(first, labels)):  # fmt: skip
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-6)
    for x in (first, dataset(first), Batches(first)):
        with pytest.raises(gz.ZooError, match=f"takes {key} and labels. Received: {key} alone"):
            model.predict(x, verbose=0)
    with pytest.raises(gz.ZooError, match=r"a dict of .*'target'"):
        model.predict({key: first, "target": labels}, verbose=0)
    with pytest.raises(gz.ZooError, match=r"must be labels in 0\.\.9"):
        model.predict((first, labels + 10), verbose=0)


def test_a_gan_predicts_from_codes(tiny):
    model = tiny("gan", run_eagerly=True)
    for enter in (lambda z: model.predict(z, verbose=0), model, model.predict_on_batch):
        assert enter(np.zeros((2, 4), "float32")).shape == (2, 28, 28, 1)
        with pytest.raises(gz.ZooError, match=r"`z` must have shape \(n, 4\)"):
            enter(np.zeros((2, 5), "float32"))
        with pytest.raises(gz.ZooError, match="`z` must be finite"):
            enter(np.full((2, 4), np.nan, "float32"))


@pytest.mark.parametrize("name", [*EVERY, "vae of two levels", "vae with a flow prior and posterior, iwae"])
def test_summary_knows_every_layer(name, tiny):
    lines = []
    tiny(name, compiled=False).summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    assert "Total params" in text
    assert "?" not in text
    assert "unbuilt" not in text
    assert "functional_" not in text


@pytest.mark.parametrize("name", ["vae", "conditional gan"])
def test_keras_export_works_with_and_without_a_call(name, tiny, digits, tmp_path):
    model = tiny(name, compiled=False)
    images, labels = digits
    values = [images[:3]] if name == "vae" else [np.ones((3, 4), "float32"), labels[:3].astype("int32")]
    for folder in ("before", "after"):
        model.export(tmp_path / folder, verbose=False)
        served = tf.saved_model.load(tmp_path / folder)
        expected = model(*values)
        np.testing.assert_allclose(served.serve(*map(tf.constant, values)), expected, atol=1e-5)


def test_quantize_says_what_to_do(tiny):
    with pytest.raises(gz.ZooError, match=r"export\(model, DIR, format='litert', quantize='int8'\)"):
        tiny("vae", compiled=False).quantize("int8")


# === State ===


@pytest.mark.parametrize("name", EVERY)
def test_an_uncompiled_model_is_saved_copied_and_cloned(name, tiny, tmp_path):
    model = tiny(name, compiled=False)
    model.preset = "what it came from"
    model.save(tmp_path / "u.keras")
    again = {
        ".keras": gz.load(tmp_path / "u.keras"),
        "deepcopy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
    }
    for way, other in again.items():
        assert not other.compiled
        for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=way)
    assert again["deepcopy"].preset == again["pickle"].preset == "what it came from"
    for other in (keras.models.clone_model(model), keras.models.model_from_json(model.to_json())):
        assert type(other) is type(model)
        assert [w.shape for w in other.weights] == [w.shape for w in model.weights]
    model.preset = None


def test_freezing_survives_with_the_optimizers_state(tiny, digits, tmp_path):
    model = tiny("vae", fresh=True, compiled=False)
    n_all = len(model.trainable_variables)
    model.encoder.trainable = False
    model.decoder.layers[1].trainable = False
    model.compile("adam", run_eagerly=True)
    model.fit(digits[0], verbose=0)
    model.save(tmp_path / "f.keras")
    for again in (gz.load(tmp_path / "f.keras"), copy.deepcopy(model)):
        assert len(again.trainable_variables) == len(model.trainable_variables) < n_all
        assert [v.path for v in again.trainable_variables] == [v.path for v in model.trainable_variables]
        for a, b in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a, b)
        frozen = [w.copy() for w in again.encoder.get_weights()]
        again.fit(digits[0], verbose=0)
        for a, b in zip(again.encoder.get_weights(), frozen, strict=True):
            np.testing.assert_array_equal(a, b)
    assert "frozen" not in tiny("gan", compiled=False).get_config()  # whose average never trains


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_gan_with_a_frozen_network_trains_the_other(network, tiny, digits):
    model = tiny("gan", fresh=True, compiled=False)
    getattr(model, network).trainable = False
    model.compile(g_optimizer="adam", d_optimizer="adam", run_eagerly=True)
    before = {name: getattr(model, name).get_weights()[0].copy() for name in ("generator", "discriminator")}
    model.fit(digits[0], verbose=0)
    for name, kernel in before.items():
        assert np.array_equal(kernel, getattr(model, name).get_weights()[0]) == (name == network)


def test_a_wholly_frozen_model_says_so(tiny, digits):
    model = tiny("classifier", fresh=True, compiled=False)
    model.trainable = False
    with pytest.warns(UserWarning, match="has no trainable variable"):
        model.compile("adam", run_eagerly=True)
    model.fit(*digits, verbose=0)


@pytest.mark.parametrize(
    "first",
    ["import keras, keras_genzoo", pytest.param("import keras_genzoo, keras", marks=pytest.mark.nightly)],
)
def test_keras_finds_the_classes_of_a_file_whatever_was_imported_first(first, tiny, tmp_path):
    tiny("vae").save(tmp_path / "v.keras")
    load = f"keras.saving.load_model({str(tmp_path / 'v.keras')!r})"
    assert run_python(f"{first}; m = {load}; print(type(m).__name__, m.compiled)").split() == ["VAE", "True"]


def test_every_class_that_registers_itself_is_announced():
    for name in models.FAMILIES:
        models.get(name)
    registered = {
        name.partition(">")[2]: type(value).__name__
        for name, value in keras.saving.get_custom_objects().items()
        if name.startswith("keras_genzoo>")
    }
    assert set(registered) == set(gz._SERIALIZABLE)
    for name, module in gz._SERIALIZABLE.items():
        assert hasattr(__import__(f"keras_genzoo.{module}", fromlist=[name]), name)


@pytest.mark.parametrize("name", EVERY)
def test_the_seed_is_that_of_the_weights(name):
    import random

    random.seed(3)
    expected = random.random()
    random.seed(3)
    a, b, c = (build_tiny(name, compiled=False, seed=seed) for seed in (7, 7, 8))
    assert random.random() == expected  # the program's own random numbers go on where they were
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(not np.array_equal(x, y) for x, y in zip(a.get_weights()[2:], c.get_weights()[2:], strict=True))


def test_a_failing_constructor_leaves_the_programs_random_numbers_alone():
    import random

    random.seed(3)
    expected = random.random()
    random.seed(3)
    with pytest.raises(gz.ZooError):
        VAE(**{**TINY["vae"], "encoder": "nothing"}, seed=5)
    assert random.random() == expected


def test_channels_first_is_refused_by_name(tiny):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(gz.ZooError, match=r"'channels_first'; call keras.config.set_image_data_format"):
            build_tiny("vae")
    finally:
        keras.config.set_image_data_format("channels_last")


# === GANs ===


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau(monitor="g_loss", mode="min"),
        keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3),
        keras.callbacks.SwapEMAWeights(),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_of_one_optimizer_are_refused_in_a_line(callback, tiny, digits):
    with pytest.raises(gz.ZooError, match=f"^{type(callback).__name__} works on `model.optimizer`, and a GAN has"):
        tiny("gan").fit(digits[0], callbacks=[callback], verbose=0)


def test_the_same_callbacks_work_with_one_optimizer(tiny, digits):
    model = tiny("autoencoder", fresh=True, compiled=False)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), run_eagerly=True)
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss"),
    ]
    history = model.fit(digits[0], epochs=2, validation_data=digits[0], callbacks=callbacks, verbose=0).history
    assert history["learning_rate"] == [1.0, 0.5]


@pytest.mark.parametrize("n", [33, 1])
def test_packs_need_not_divide_the_last_batch(n, tiny, digits):
    model = tiny("gan, packed and augmented, lazy r1", run_eagerly=True)
    logs = model.fit(digits[0][:n], batch_size=32, verbose=0).history
    assert all(np.isfinite(value).all() for value in logs.values())
    assert np.isfinite(model.evaluate(digits[0][:n], batch_size=32, verbose=0)).all()


STRATEGY = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, keras_genzoo as gz
from keras_genzoo import engine
import sys; sys.path.insert(0, "tests")
from helpers import build_tiny

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    generator = engine.SeedGenerator(5)
    gan = build_tiny("gan", n_critic=2)
draws = strategy.run(lambda: keras.random.normal((3,), seed=generator))
a, b = (np.array(value) for value in strategy.experimental_local_results(draws))
print("same noise" if np.array_equal(a, b) else "noise of its own")
alone = keras.random.normal((3,), seed=engine.SeedGenerator(5))
print("first as alone" if np.array_equal(a, alone) else "first differs")
try:
    gan.fit(np.zeros((8, 28, 28, 1), "float32"), verbose=0)
except gz.ZooError as error:
    print(error)
"""


def test_under_a_strategy_noise_differs_and_n_critic_is_refused():
    said = run_python(STRATEGY)
    assert "noise of its own\nfirst as alone" in said
    assert "`n_critic` must be 1 under a strategy of several devices. Received: 2" in said
