"""A training that has died is noticed in every family, and a live one is not."""

import numpy as np
import pytest
from helpers import DATA_DIR, TINY, build_tiny
from keras import ops

import keras_genzoo as gz
from keras_genzoo import layers, losses
from keras_genzoo.models import vital_signs

# Layer whose kernel carries the inputs on, in a network of each family, and the word for the dead part.
DEAD = {
    "autoencoder": ("decoder", "its call"),
    "vae": ("decoder", "its call"),
    "conditional vae": ("decoder", "its call"),
    "gan": ("generator", "generator"),
    "conditional gan": ("generator", "generator"),
    "classifier": ("network", "its call"),
    "face_swap": ("decoder_b", "decoder_b"),
}


def labels_for(name, n):
    return np.arange(n) % 10 if "conditional" in name else None


@pytest.mark.parametrize("name", DEAD)
def test_a_live_model_differs_and_a_dead_one_does_not(name, tiny, mnist):
    model = tiny(name, compiled=False)
    images, labels = mnist[:16], labels_for(name, 16)
    assert all(look.differs for look in vital_signs.looks(model, images, labels).values())
    network, part = DEAD[name]
    last = [layer for layer in getattr(model, network).layers if layer.weights][-1]
    kernel, *others = last.get_weights()
    last.set_weights([np.zeros_like(kernel), *others])
    assert not vital_signs.looks(model, images, labels)[part].differs


def test_codes_that_carry_nothing_are_no_better_than_the_mean_image(mnist):
    """Outputs that differ, and have nothing to do with the images; then those that know a little of them."""
    images, mean = mnist[:16], mnist[:16].mean(0)

    class Shown:
        outputs = np.random.default_rng(0).random((16, 28, 28, 1))

        def vital_outputs(self, images, labels):
            return {"its call": (self.outputs, images)}

    model = Shown()
    look = vital_signs.looks(model, images)["its call"]
    assert look.differs
    assert look.knows_nothing
    model.outputs = mean + 0.1 * (images - mean)
    assert not vital_signs.looks(model, images)["its call"].knows_nothing
    assert vital_signs.looks(model, np.zeros_like(images)) == {}  # of equal images nothing can be told


def fitted(model, images, signs, *, epochs):
    """Number of epochs of 50 steps each that a fit took."""
    tiled = np.tile(images, (50, 1, 1, 1))
    return len(model.fit(tiled, batch_size=len(images), epochs=epochs, callbacks=[signs], verbose=0).epoch)


def test_fit_stops_after_the_patience(tiny, mnist):
    model = tiny("autoencoder", fresh=True, compiled=False)
    model.trainable = False
    with pytest.warns(UserWarning, match="no trainable variable"):
        model.compile("adam")
    signs = gz.VitalSigns(mnist[:4], patience=3)
    assert fitted(model, mnist[:4], signs, epochs=6) == 4  # the first look has nothing to compare its error with
    assert signs.trouble == "its reconstructions are no better than the mean image (its call)"
    model.decoder.set_weights([np.zeros_like(weight) for weight in model.decoder.get_weights()])
    signs = gz.VitalSigns(mnist[:4], patience=2)
    assert len(model.fit(mnist[:4], epochs=5, callbacks=[signs], verbose=0).epoch) == 2  # few steps are enough
    assert (signs.streak, signs.trouble) == (2, "its outputs do not depend on its inputs (its call)")
    assert fitted(model, mnist[:4], gz.VitalSigns(mnist[:4], patience=None), epochs=4) == 4
    for bad in ({"images": mnist[:1]}, {"images": mnist[:4], "patience": 0}):
        with pytest.raises(gz.ZooError, match=r"`images`|`patience`"):
            gz.VitalSigns(**bad)


def test_a_slow_training_is_left_alone(tiny, mnist):
    model = tiny("autoencoder", learning_rate=1e-4)
    signs = gz.VitalSigns(mnist[:4], patience=1)
    assert fitted(model, mnist[:4], signs, epochs=3) == 3
    assert signs.trouble is None


def test_a_leashed_sigmoid_is_the_sigmoid_with_a_loss():
    logits = np.array([[-9.0, 0.0], [6.0, 2.0]], "float32")
    layer = layers.LeashedSigmoid(weight=0.5)
    np.testing.assert_allclose(layer(logits), 1 / (1 + np.exp(-logits)), rtol=1e-6)
    assert float(layer.losses[0]) == pytest.approx(0.5 * (4**2 + 1**2) / 4)
    free = layers.LeashedSigmoid(weight=0.0)
    free(logits)
    assert not free.losses
    again = layers.LeashedSigmoid.from_config(layer.get_config())
    assert (again.weight, again.reach) == (0.5, 5.0)


def test_a_leash_is_in_the_loss_of_a_face_swap(mnist):
    plain, leashed = (
        build_tiny("face_swap", decoder={**TINY["face_swap"]["decoder"], "leash": leash}, run_eagerly=True)
        for leash in (0.0, 2.0)
    )
    for model in (plain, leashed):
        for decoder in (model.decoder_a, model.decoder_b):
            kernel, bias = decoder.get_layer("images").get_weights()
            decoder.get_layer("images").set_weights([np.zeros_like(kernel), np.full_like(bias, 7.0)])
    losses = [m.test_on_batch(mnist[:8], mnist[8:16], return_dict=True)["loss"] for m in (plain, leashed)]
    assert losses[1] - losses[0] == pytest.approx(2 * 2.0 * (7 - 5) ** 2, rel=1e-5)  # of both decoders


def on_white(n):
    """Coloured discs of all sizes on white, as emoji are: uint8 `(n, 64, 64, 3)`, and the same ones as rings."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    discs, rings = np.full((2, n, 64, 64, 3), 255, "uint8")
    for disc, ring in zip(discs, rings, strict=True):
        centre, radius, colour = rng.uniform(26, 38, 2), rng.uniform(16, 28), rng.integers(0, 200, 3)
        distance = np.hypot(y - centre[0], x - centre[1])
        disc[distance < radius] = colour
        ring[(distance < radius) & (distance > radius / 2)] = colour
    return discs, rings


def folder_of(images, folder):
    from PIL import Image

    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return f"folder:{folder}"


def emoji(n):
    """The first n training emoji of two styles over white."""
    import io
    import json

    from PIL import Image

    places = DATA_DIR and [f"{DATA_DIR}/emoji/{style}.npz" for style in ("noto", "twemoji")]
    try:
        with open(f"{DATA_DIR}/emoji/emoji.json", encoding="utf-8") as file:
            rows = [i for i, entry in enumerate(json.load(file)) if entry["split"] == "train"][:n]
    except OSError:
        pytest.skip("the emoji are not here: KERAS_GENZOO_DATA names no folder with emoji/")
    styles = []
    for place in places:
        with np.load(place) as stored:
            data, offsets = stored["webp"].tobytes(), stored["offsets"]
        pictures = (Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]])).convert("RGBA") for i in rows)
        white = Image.new("RGBA", (64, 64), "white")
        styles.append([np.asarray(Image.alpha_composite(white, picture).convert("RGB")) for picture in pictures])
    return styles


@pytest.mark.nightly
@pytest.mark.parametrize("source", [on_white, emoji])
def test_the_recipe_learns_what_is_mostly_white(source, tmp_path):
    """Without a leash the decoders of this very run paint pure white from the second epoch on."""
    from keras_genzoo import models, presets, training

    names = tuple(folder_of(images, tmp_path / side) for side, images in zip("ab", source(200), strict=True))
    hooks = models.asked("face_swap", "hooks")
    plan = hooks.in_epochs(hooks.on_data(presets.find("faceswap_64"), names), 60)
    with pytest.warns(UserWarning, match="without guidance"):
        model, batches, steps = training.prepare(plan)
    images = gz.data.to_unit(gz.data.arrays(names[0], "train", image_shape=(64, 64, 3))[0][:32])
    model.fit(batches, epochs=12, steps_per_epoch=steps, verbose=0)
    assert all(look.differs and not look.knows_nothing for look in vital_signs.looks(model, images).values())
    shown = model.autoencode(images, of="a")
    assert swap_loss(images, shown) < 0.85 * swap_loss(images, np.ones_like(images))  # what pure white would cost
    assert np.std(shown, axis=0).mean() > 0.05


def swap_loss(images, shown):
    """The mean loss of reconstructions, as the recipe weighs it."""
    similarity = losses.structural_similarity(images, reconstruction=shown)
    return float(ops.mean(losses.mean_absolute_error(images, reconstruction=shown) + (1 - similarity) / 2))
