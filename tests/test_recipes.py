"""Recipes for a folder of one's own: they build, say what they change for few images, and draw while they train."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_genzoo as gz
from keras_genzoo import presets, zoo
from keras_genzoo.errors import ZooError

PICTURES = [name for name in presets.recipes() if not name.startswith("faceswap")]
SMALL = {
    "model.image_shape": [32, 32, 3], "model.latent_dim": 4, "training.batch_size": 8,
    "model.encoder": {"name": "residual_encoder", "patch": 4, "base": 4, "multipliers": [1, 2]},
    "model.decoder": {"name": "residual_decoder", "patch": 4, "base": 4, "multipliers": [1, 2]},
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """30 pictures of smooth colours."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(30):
        corners = Image.fromarray(rng.integers(0, 256, (3, 3, 3), "uint8"))
        corners.resize((40, 36), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    return f"folder:{folder}"


def test_there_is_a_recipe_of_each_kind():
    assert PICTURES == ["ae_64", "denoising_64", "gan_128", "gan_64", "vae_128", "vae_64"]


@pytest.mark.parametrize("name", PICTURES)
def test_every_recipe_builds_and_draws_an_image(name):
    preset = presets.find(name)
    model = zoo.build(preset)
    assert model.image_shape == (int(name.rpartition("_")[2]),) * 2 + (3,)
    for rule in preset.few_images:
        assert presets.updated(preset, rule.updates).content() != preset.content()
    if model.can("sample"):
        assert model.sample(1, seed=0).shape == (1, *model.image_shape)


@pytest.mark.parametrize(
    ("name", "pictures"),
    [("ae_64", ["reconstructions"]), ("denoising_64", ["reconstructions"]), ("vae_64", ["reconstructions", "samples"])],
)
def test_a_recipe_trains_on_few_pictures_says_so_and_draws(name, pictures, photos, tmp_path, capsys):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch:
                seen.extend(sorted(path.stem for path in (tmp_path / "out.partial" / "monitor").glob("*.png")))

    prior = {"model.prior": {"name": "realnvp", "n_layers": 2, "units": [8]}} if name == "vae_64" else {}
    model = gz.train(
        name,
        tmp_path / "out",
        data=photos,
        epochs=2,
        updates=SMALL | prior,
        callbacks=[Look()],
        verbose=2,
        patience=None,
    )
    assert seen == pictures  # while it trained
    assert sorted(path.stem for path in (tmp_path / "out" / "monitor").iterdir()) == pictures
    said = capsys.readouterr()
    line = "training images, fewer than 5,000: data.augment = ['flip', 'shift', 'colour']"
    assert line in said.out + said.err
    assert model.preset.data.augment == ["flip", "shift", "colour"]
    rows = {row["metric"]: row["value"] for row in gz.evaluate(model, verbose=False)}
    assert {"psnr", "ssim"} <= set(rows)
    with Image.open(tmp_path / "out" / "monitor" / "reconstructions.png") as picture:
        scale = 1 if picture.height < 200 else 2
        assert picture.height >= scale * 32 * (3 if name == "denoising_64" else 2)  # the noisy ones between


def test_what_the_user_sets_is_not_changed_for_few_images(photos, tmp_path):
    model = gz.train(
        "ae_64",
        tmp_path / "out",
        data=photos,
        epochs=1,
        updates={**SMALL, "data.augment": []},
        verbose=0,
        patience=None,
    )
    assert model.preset.data.augment == []


def test_enough_images_change_nothing(photos, tmp_path):
    updates = {**SMALL, "few_images": [{"below": 10, "updates": {"data.augment": ["flip"]}}]}
    model = gz.train("ae_64", tmp_path / "out", data=photos, epochs=1, updates=updates, verbose=0, patience=None)
    assert model.preset.data.augment == []


def test_a_rule_that_names_no_key_is_refused(photos, tmp_path):
    updates = {**SMALL, "few_images": [{"below": 100, "updates": {"data.augmment": ["flip"]}}]}
    with pytest.raises(ZooError, match=r"augmment.*Did you mean augment"):
        gz.train("ae_64", tmp_path / "out", data=photos, epochs=1, updates=updates, verbose=0)


def test_older_presets_have_the_digest_that_they_had():
    """Keys that are newer than a preset do not stand in what its digest is of."""
    content = presets.find("vae_mnist").content()
    assert "few_images" not in content
    assert set(content["data"]) == {"name", "binarize", "labels", "resize"}
