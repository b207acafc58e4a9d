"""The pictures that come with the zoo: people with their factors, emoji on their grounds, and what folders share."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import DATA_DIR
from PIL import Image

import keras_genzoo as gz
from keras_genzoo import data, evaluation, presets
from keras_genzoo.data import augment, emoji, packed, people
from keras_genzoo.errors import MissingDataError, ZooError

HAS_PEOPLE = DATA_DIR is not None and Path(DATA_DIR, "people", "train.npz").is_file()
needs_people = pytest.mark.skipif(not HAS_PEOPLE, reason="the people are not here; set KERAS_GENZOO_DATA")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No folder of data sets but the one that a test names."""
    monkeypatch.delenv("KERAS_GENZOO_DATA", raising=False)


def _pack(path, pictures, **more):
    """A file of pictures, as `packed` reads it."""
    contents = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "WEBP", lossless=True, exact=True)
        contents.append(np.frombuffer(buffer.getvalue(), "uint8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0, *map(len, contents)])
    np.savez(path, webp=np.concatenate(contents), offsets=offsets, **more)


# === Emoji ===


def test_emoji_are_the_same_code_points_in_every_style():
    images, labels = data.arrays("emoji:noto", "test")
    assert images.shape == (210, 64, 64, 3)
    assert images.dtype == "uint8"
    assert data.arrays("emoji:noto", "train")[0].shape == (1642, 64, 64, 3)
    both, twice = data.arrays("emoji:twemoji+noto", "test")
    np.testing.assert_array_equal(both[210:], images)
    np.testing.assert_array_equal(twice, np.tile(labels, 2))
    assert (both[:210] != images).any(axis=(1, 2, 3)).all()  # each is drawn anew
    names = data.class_names("emoji:noto")
    assert names == sorted(names)
    assert len(names) == 9
    dolphin = next(i for i, row in enumerate(emoji.rows_of("test")) if emoji.table()[row]["name"] == "DOLPHIN")
    assert names[labels[dolphin]] == "Animals & Nature"


def test_splits_go_by_the_code_point_as_given():
    train, test = (set(emoji.rows_of(split)) for split in ("train", "test"))
    assert (len(train), len(test), train & test) == (1642, 210, set())
    assert {emoji.table()[row]["split"] for row in test} == {"test"}


def test_grounds_lie_behind_the_transparent_pixels_alone():
    on = {ground: data.arrays("emoji:noto", "test", ground=ground)[0] for ground in packed.GROUNDS}
    np.testing.assert_array_equal(data.arrays("emoji:noto", "test")[0], on["white"])
    stored = packed.read(packed.bundled(emoji._FOLDER / "noto.npz", emoji._BUNDLED_SHA256["noto"]))
    alpha = packed.decoded(stored, emoji.rows_of("test"), path="noto.npz")[..., 3]
    clear, solid = alpha == 0, alpha == 255
    assert (on["white"][clear] == 255).all()
    assert (on["black"][clear] == 0).all()
    np.testing.assert_array_equal(on["white"][solid], on["black"][solid])
    np.testing.assert_array_equal(on["white"][solid], on["drawn"][solid])
    grounds = {tuple(image[mask][0]) for image, mask in zip(on["drawn"], clear, strict=True) if mask.any()}
    assert len(grounds) > 150  # a colour of each picture's own
    np.testing.assert_array_equal(data.arrays("emoji:noto", "test", ground="drawn")[0], on["drawn"])


def test_half_transparent_pixels_are_mixed():
    images = np.array([[[[200, 100, 0, 51]]]], "uint8")  # a fifth
    np.testing.assert_array_equal(packed.laid(images, "white", rows=np.array([0])), [[[[244, 224, 204]]]])
    np.testing.assert_array_equal(packed.laid(images, "black", rows=np.array([0])), [[[[40, 20, 0]]]])


@pytest.mark.parametrize(
    ("name", "split", "complaint"),
    [
        ("emoji:notto", "train", r"styles noto, twemoji, fluent\. Received: 'notto'.*Did you mean noto"),
        ("emoji:", "train", "Received: ''"),
        ("emoji:noto+noto", "train", "Each style stands once in a name"),
        ("emoji:noto", "val", "emoji has the splits train, test. Received: 'val'"),
        ("people", "val", "people has the splits train, test. Received: 'val'"),
    ],
)
def test_unknown_styles_and_splits_are_named(name, split, complaint):
    with pytest.raises(ZooError, match=complaint):
        data.arrays(name, split)


@pytest.mark.parametrize("ground", ["grey", "", 3])
@pytest.mark.parametrize("name", ["emoji:noto", "mnist"])
def test_an_unknown_ground_is_named(name, ground):
    with pytest.raises(ZooError, match="`ground` must be one of white, black, drawn, or None"):
        data.arrays(name, "test", ground=ground)


def test_a_style_that_is_not_here_says_where_it_belongs(tmp_path):
    for name in ("emoji", "emoji:fluent"):
        with pytest.raises(MissingDataError, match=rf"looked for {tmp_path}/emoji/fluent\.npz.*are bundled"):
            data.arrays(name, "train", data_dir=tmp_path)
    _pack(tmp_path / "emoji" / "fluent.npz", [np.zeros((4, 4, 4), "uint8")] * 3)
    with pytest.raises(ZooError, match=r"fluent\.npz is damaged: it has not 1,852 pictures"):
        data.arrays("emoji:fluent", "train", data_dir=tmp_path)


# === People ===


def test_the_bundled_people_serve_a_test_and_say_that_they_are_few():
    with pytest.warns(UserWarning, match="500 bundled test images, not all 2,000"):
        images, labels = data.arrays("people", "test")
    assert (images.shape, labels) == ((500, 64, 64, 3), None)
    with pytest.raises(MissingDataError, match=r"'people' is missing; looked for DIR/people/train\.npz"):
        data.arrays("people", "train")


@pytest.mark.filterwarnings("ignore:The people are|Not measured|ae may have")
def test_numbers_of_the_bundled_people_are_under_their_name(tmp_path):
    """They do not replace those of all, which a folder of data sets has."""
    small = {"image_shape": (64, 64, 3), "latent_dim": 4, "encoder": {"name": "mlp_encoder", "units": [4]}}
    model = gz.Autoencoder(**small, decoder={"name": "mlp_decoder", "units": [4]})
    model.compile("adam")
    gz.save(model, tmp_path / "ae", data="people")
    model = gz.load(tmp_path / "ae")
    rows = gz.evaluate(model, n_images=20, verbose=False)
    assert {row["split"] for row in rows} == {evaluation.BUNDLED_PART}
    with pytest.raises(ZooError, match="was measured on the bundled part of people alone"):
        evaluation.write(model.preset, rows)
    if HAS_PEOPLE:
        assert not data.is_bundled_part("people", "test", data_dir=DATA_DIR)
    mine = gz.evaluate(model, data=np.zeros((8, 64, 64, 3), "float32"), verbose=False)
    assert {row["split"] for row in mine} == {"test"}


def test_people_come_with_their_factors():
    """A factor is what an image shows: the colour in the corner is the background's."""
    values, names = data.factors_of("people", "test")
    assert values.shape == (500, 26)
    assert names[:3] == ["yaw", "pitch", "roll"]
    with pytest.warns(UserWarning, match="bundled"):
        images, rows = next(iter(data.load("people", "test", factors=True, batch_size=500)))
    np.testing.assert_array_equal(rows, values)
    background = values[:, [names.index(f"background_{colour}") for colour in "rgb"]]
    corner = np.asarray(images)[:, 0, 0]
    assert all(np.corrcoef(background[:, i], corner[:, i])[0, 1] > 0.95 for i in range(3))


def test_factors_are_refused_where_none_are_known():
    with pytest.raises(ZooError, match="The factors of mnist are not known; those of people, pictures are"):
        data.load("mnist", "test", factors=True)
    with pytest.raises(ZooError, match="`labels` or with `factors`, not with both"):
        data.load("people", "test", factors=True, labels=True)


def test_pictures_take_another_shape():
    assert data.arrays("emoji:twemoji", "test", image_shape=(32, 48, 1))[0].shape[1:] == (32, 48, 1)
    with pytest.warns(UserWarning, match="bundled"):
        assert data.arrays("people", "test", image_shape=(96, 96, 3))[0].shape[1:] == (96, 96, 3)


@needs_people
def test_all_people_are_read_where_they_are():
    images, _ = data.arrays("people", "test", data_dir=DATA_DIR)
    assert images.shape == (2000, 64, 64, 3)
    with pytest.warns(UserWarning, match="bundled"):
        np.testing.assert_array_equal(images[:500], data.arrays("people", "test")[0])
    np.testing.assert_array_equal(
        data.factors_of("people", "test", data_dir=DATA_DIR)[0][:500], data.factors_of("people", "test")[0]
    )


# === Damaged files, folders ===


@pytest.mark.parametrize("damage", ["cut", "offsets", "picture"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "people" / "test.npz"
    _pack(path, [np.full((4, 4, 3), i, "uint8") for i in range(3)], factors=np.zeros((3, 26), "float32"))
    assert data.arrays("people", "test", data_dir=tmp_path)[0].shape == (3, 4, 4, 3)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        stored = dict(np.load(path))
        stored["offsets" if damage == "offsets" else "webp"][1:] = 7
        np.savez(path, **stored)
    people._images.cache_clear()
    with pytest.raises(ZooError, match=r"test\.npz is damaged: .*; fetch it again"):
        data.arrays("people", "test", data_dir=tmp_path)
    people._images.cache_clear()


@pytest.mark.parametrize(("ground", "colour"), [(None, 0), ("black", 0), ("white", 255)])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_a_folder_lays_transparent_pictures_on_the_ground(tmp_path, ground, colour, resize):
    picture = np.zeros((8, 4, 4), "uint8")
    picture[:4] = [10, 20, 30, 255]
    for i in range(3):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    images, _ = data.arrays(f"folder:{tmp_path}", "train", image_shape=(8, 8, 3), resize=resize, ground=ground)
    # Transparent below; a magnified edge rings by some levels.
    np.testing.assert_allclose(images[:, -1].astype(int), colour, atol=0 if resize == "pad" else 8)
    if resize == "pad":
        assert (images[:, :, 0] == colour).all()  # beside it, too


def test_a_folders_drawn_ground_goes_by_the_files_name(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for i in range(4):
            Image.fromarray(np.zeros((4, 4, 4), "uint8")).save(tmp_path / folder / f"{i}.png")
    a, b = (
        data.arrays(f"folder:{tmp_path / folder}", "train", image_shape=(4, 4, 3), ground="drawn")[0]
        for folder in ("a", "b")
    )
    np.testing.assert_array_equal(a, b)
    assert len({tuple(image[0, 0]) for image in a}) == len(a)


def test_a_preset_says_its_ground(tmp_path):
    plan = presets.updated(presets.find("ae_mnist"), {"data.name": "emoji:noto", "data.ground": "drawn"})
    assert plan.data.ground == "drawn"
    with pytest.raises(ZooError, match="ground"):
        presets.updated(plan, {"data.ground": "grey"})


def test_the_bundled_table_is_the_whole_one():
    shared = Path(DATA_DIR or "nowhere", "emoji", "emoji.json")
    if not shared.is_file():
        pytest.skip("the original table is not here; set KERAS_GENZOO_DATA")
    assert emoji.table() == json.loads(shared.read_text(encoding="utf-8"))


# === Augmentation ===


def _raw(n=64, shape=(16, 32, 3)):
    return np.random.default_rng(0).random((n, *shape), "float32")


def _run(name, x, seed=1):
    return augment.AUGMENTATIONS[name](tf.constant(x), tf.constant([seed, 0], "int64")).numpy()


def test_flips_mirror_about_half_of_the_images():
    x = _raw(400)
    flipped = _run("flip", x)
    mirrored = (flipped == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 0.4 < mirrored.mean() < 0.6
    np.testing.assert_array_equal(flipped[~mirrored], x[~mirrored])


def test_shifts_reach_a_sixteenth_and_the_edge_goes_on():
    x = _raw(200)
    found = set()
    for image, shifted in zip(x, _run("shift", x), strict=True):
        fits = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-2, -1, 0, 1, 2)
            if np.array_equal(
                np.pad(image, ((1, 1), (2, 2), (0, 0)), "edge")[1 - down : 17 - down, 2 - right : 34 - right], shifted
            )
        ]
        assert len(fits) == 1
        found.update(fits)
    assert len(found) == 15  # every shift


def test_colours_stay_in_range_and_near():
    x = _raw(200)
    changed = _run("colour", x)
    assert changed.min() >= 0
    assert changed.max() <= 1
    means = changed.mean(axis=(1, 2, 3)) - x.mean(axis=(1, 2, 3))
    assert 0.05 < np.abs(means).max() < 0.11  # the brightness
    spread = changed.std(axis=(1, 2, 3)) / x.std(axis=(1, 2, 3))
    assert 0.6 < spread.min() < 0.9
    assert 1.1 < spread.max() < 1.5


def test_augmented_batches_are_a_function_of_seed_epoch_and_batch():
    """A resumed run sees what an unbroken one saw; each epoch draws anew; a held-out share stays as it is."""
    options = {"batch_size": 30, "augment": ["flip", "shift", "colour"], "seed": 3}
    whole, n = data.stream("emoji:noto", **options)
    later, _ = data.stream("emoji:noto", **options, first_epoch=1)
    epochs = list(whole.take(2 * n).as_numpy_iterator())
    for a, b in zip(epochs[n:], later.take(n).as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(a, b)
    plain = next(iter(data.stream("emoji:noto", batch_size=30, seed=3)[0])).numpy()
    assert (np.abs(epochs[0] - plain).max(axis=(1, 2, 3)) > 0).all()  # the same order, other pixels
    held, _ = data.stream("emoji:noto", **options, validation=0.1, is_validating=True)
    same, _ = data.stream("emoji:noto", batch_size=30, seed=3, validation=0.1, is_validating=True)
    np.testing.assert_array_equal(next(iter(held)), next(iter(same)))


def test_what_is_not_shuffled_is_not_augmented():
    a, b = (next(iter(data.load("emoji:noto", "test", augment=names))) for names in ((), ["flip", "colour"]))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"augment": ["flop"]}, "Received: 'flop'. Did you mean flip"),
        ({"augment": ["flip", "flip"]}, "stands once"),
        ({"augment": "flip"}, "must be a list of flip, shift, colour"),
        ({"augment": ["flip"], "factors": True}, "give one of them"),
    ],
)
def test_bad_augmentations_are_named(options, complaint):
    with pytest.raises(ZooError, match=complaint):
        data.load("people", "test", **options)
