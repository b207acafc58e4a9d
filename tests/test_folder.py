"""Anyone's images: folders of files of all kinds, and training on them as a user would."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import keras_genzoo as gz
from keras_genzoo import cli, data
from keras_genzoo.errors import MissingDataError, ZooError

GREY = (28, 28, 1)


def _draw(path, size=(40, 60), mode="RGB", value=128, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    Image.new(mode, size, value if bands == 1 else (value,) * bands).save(path, **options)
    return path


def _arrays(folder, split="train", shape=GREY, **options):
    return data.arrays(f"folder:{folder}", split, image_shape=shape, **options)


def test_any_size_format_and_channels(tmp_path):
    _draw(tmp_path / "a.png", (10, 300))
    _draw(tmp_path / "b.JPG", (640, 480), value=40)
    _draw(tmp_path / "c.webp", (28, 28), value=200)
    _draw(tmp_path / "d.png", mode="L", value=70)
    _draw(tmp_path / "e.png", mode="1", value=1)
    _draw(tmp_path / "f.jpeg", mode="CMYK", value=0)
    deep = np.full((30, 30), 150 * 257, "uint16")
    Image.fromarray(deep).save(tmp_path / "g.png")  # 16 bits
    _draw(tmp_path / "h.gif")  # a kind that is not read, and not complained of
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (train, labels), (test, _) = _arrays(tmp_path), _arrays(tmp_path, "test")
    assert (train.shape, train.dtype, labels) == ((6, *GREY), "uint8", None)
    grey = np.sort(np.concatenate([train, test]).mean((1, 2, 3)))
    np.testing.assert_allclose(grey, [40, 70, 128, 150, 200, 255, 255], atol=2)
    assert _arrays(tmp_path, shape=(16, 24, 3))[0].shape == (6, 16, 24, 3)


def test_crop_pad_and_stretch(tmp_path):
    """A picture three times as wide as high: white in the middle third, black at both sides."""
    picture = np.zeros((30, 90), "uint8")
    picture[:, 30:60] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    crop, pad, stretch = (_arrays(tmp_path, resize=how)[0][0, ..., 0] / 255 for how in ("crop", "pad", "stretch"))
    assert crop.mean() > 0.97
    assert pad[:9].max() == pad[-9:].max() == 0
    assert 0.08 < pad.mean() < 0.14
    assert stretch.mean() == pytest.approx(1 / 3, abs=0.02)
    assert stretch[0, 13:15].min() > 0.9


def test_alpha_is_laid_on_black_and_exif_turns(tmp_path):
    clear = np.full((28, 28, 4), 255, "uint8")
    clear[:, :14, 3] = 0  # the left half is transparent, whatever colour hides there
    Image.fromarray(clear).save(tmp_path / "a.png")
    left, right = np.split(_arrays(tmp_path)[0][0, ..., 0], 2, axis=1)
    assert left.max() == 0
    assert right.min() == 255

    picture = np.zeros((40, 40), "uint8")
    picture[:20] = 255  # white above; the camera was held so that this is its right side
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(
        tmp_path / "b" / "t.png" if (tmp_path / "b").mkdir() else tmp_path / "b/t.png", exif=exif
    )
    turned = _arrays(tmp_path / "b")[0][0, ..., 0]
    assert turned[:, 20:].min() > 200
    assert turned[:, :8].max() < 50


def test_broken_files_are_named_and_skipped(tmp_path):
    good = _draw(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    whole = _draw(tmp_path / "x.png", (200, 200), value=77).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "x.png").unlink()
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for name in ("good", "broken", "cut"):
        (tmp_path / f"{name}.png").rename(tmp_path / "train" / f"{name}.png")
    with pytest.warns(UserWarning, match=r"skipped 2 of 3 files") as caught:
        images, _ = _arrays(tmp_path)
    assert len(images) == 1
    assert all(str(tmp_path / "train" / name) in str(caught[0].message) for name in ("broken.png", "cut.png"))
    assert good.name not in str(caught[0].message)


def test_folders_train_and_test_are_the_splits(tmp_path):
    for split, count in (("train", 12), ("test", 3)):
        for i in range(count):
            _draw(tmp_path / split / f"{i:02}.png", value=10 * i)
    assert [len(_arrays(tmp_path, split)[0]) for split in ("train", "test")] == [12, 3]


def _values(folder, split):
    return set(_arrays(folder, split)[0][:, 0, 0, 0].tolist())


def test_held_out_files_are_never_trained_on(tmp_path):
    """Nor when others come: a file's side depends on its name alone. And a changed folder is read again."""
    for i in range(100):
        _draw(tmp_path / f"{i:03}.png", value=i)
    train, test = _values(tmp_path, "train"), _values(tmp_path, "test")
    assert train | test == set(range(100))
    assert not train & test
    assert 3 <= len(test) <= 20
    for i in range(100, 193):  # 93: as many as move every place, also modulo ten
        _draw(tmp_path / f"{i - 150:+04}.png", value=i)  # names that sort before the others
    assert train <= _values(tmp_path, "train")
    assert test <= _values(tmp_path, "test")
    _draw(tmp_path / "000.png", value=255)
    assert 255 in _values(tmp_path, "train") | _values(tmp_path, "test")


def test_two_images_are_one_for_each_split(tmp_path):
    _draw(tmp_path / "a.png", value=1)
    _draw(tmp_path / "b.png", value=2)
    assert [len(_values(tmp_path, split)) for split in ("train", "test")] == [1, 1]


def test_a_relative_path_is_of_the_folder_one_is_in(tmp_path, monkeypatch):
    for name, value in (("one", 10), ("two", 200)):
        _draw(tmp_path / name / "photos" / "a.png", value=value)
        monkeypatch.chdir(tmp_path / name)
        assert _arrays("photos")[0].max() == value


def test_subfolders_are_classes_with_one_number_in_both_splits(tmp_path):
    for i in range(4):
        for name in ("c", "b", "a"):
            _draw(tmp_path / "train" / name / f"{i}.png", value=100 * "abc".index(name))
    for name in ("c", "b"):  # nobody of class a
        _draw(tmp_path / "test" / name / "0.png", value=100 * "abc".index(name))
    for split, count in (("train", 12), ("test", 2)):
        images, labels = _arrays(tmp_path, split)
        assert labels.dtype == "int64"
        assert len(labels) == count
        np.testing.assert_array_equal(images[:, 0, 0, 0] // 100, labels)


def test_damaged_metadata_does_not_lose_the_picture(tmp_path):
    """An EXIF block whose tags cannot be written again, which Pillow's own transposing trips over."""
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = np.zeros((28, 28), "uint8")
    picture[:14] = 255
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    assert _arrays(tmp_path)[0][0, 20:, :, 0].min() == 255  # turned round


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda folder: None, {}, ZooError, r"holds no image to train with \(.png, .jpg, .jpeg, .webp\)"),
        (lambda folder: (folder / "a.png").write_bytes(b"x"), {}, ZooError, "holds no readable image to train with"),
        (lambda folder: folder.rmdir(), {}, MissingDataError, "does not exist"),
        (lambda folder: _draw(folder / "a.png"), {"split": "valid"}, ZooError, "splits train, test. Received: 'valid'"),
        (lambda folder: _draw(folder / "a.png"), {"split": "test"}, ZooError, "no image to test with"),
        (lambda folder: _draw(folder.parent / "x.png"), {"path": ""}, ZooError, "names no folder"),
        (lambda folder: _draw(folder / "a.png"), {"shape": None}, ZooError, "needs `image_shape`"),
        (lambda folder: _draw(folder / "a.png"), {"shape": (28, 28, 2)}, ZooError, "1 or 3 channels"),
        (
            lambda folder: _draw(folder / "a.png"),
            {"resize": "squash"},
            ZooError,
            "crop, pad, stretch. Received: 'squash'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*skipped")
def test_bad_input(tmp_path, make, options, error, message):
    folder = tmp_path / "images"
    folder.mkdir()
    make(folder)
    with pytest.raises(error, match=message):
        _arrays(options.pop("path", folder), **options)


# === As a user trains on them ===


@pytest.fixture
def photos(tmp_path, mnist):
    """40 pictures of digits in colour, larger than the model takes, and one that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(mnist[:40]):
        picture = Image.fromarray((255 * image[..., 0]).astype("uint8")).resize((64, 48)).convert("RGB")
        picture.save(folder / f"{i:02}.{('png', 'jpg', 'webp')[i % 3]}")
    (folder / "zz_broken.jpg").write_bytes(b"no image")
    return folder


@pytest.mark.filterwarnings("ignore:.*skipped", "ignore:.*will not come to its end")
@pytest.mark.parametrize("name", ["ae_mnist", "vae_mnist", "dcgan_mnist"])
def test_every_family_trains_on_a_folder_and_loads_back(tmp_path, photos, name):
    out = tmp_path / "mine"
    gz.train(name, out, data=f"folder:{photos}", epochs=1, verbose=0)
    model = gz.load(out)
    assert model.preset.data.name == f"folder:{photos}"
    assert int(model.train_steps.numpy()) == 1  # fewer images than a batch
    images = data.to_unit(gz.zoo.arrays(model, "test")[0])
    assert len(images) + len(gz.zoo.arrays(model, "train")[0]) == 40
    if hasattr(model, "reconstruct"):
        assert model.reconstruct(images).shape == images.shape
        rows = {row["metric"]: row for row in gz.evaluate(model, n_importance_samples=2, n_samples=10)}
        assert rows[model.preset.evaluation.metric]["n"] == len(images)


def test_a_run_too_short_for_its_warm_up_is_told(tmp_path, photos):
    with pytest.warns(UserWarning, match=r"`model.warmup_steps` is 5000, but this training has 1 steps"):
        gz.train("vae_mnist", tmp_path / "v", data=f"folder:{photos}", epochs=1, verbose=0)


def test_codes_of_classes_in_folders_are_probed(tmp_path, mnist):
    """Files come sorted by class; the probe must not take the first third for the whole."""
    from keras_genzoo import data as bundled

    labels = bundled.arrays("mnist", "train")[1][:400]
    for i, image in enumerate(mnist[:400]):
        path = tmp_path / "digits" / str(labels[i]) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * image[..., 0]).astype("uint8")).save(path)
    gz.train("ae_mnist", tmp_path / "mine", data=f"folder:{tmp_path / 'digits'}", epochs=1, verbose=0)
    rows = {row["metric"]: row["value"] for row in gz.evaluate(tmp_path / "mine")}
    assert rows["pixels_knn_error"] < 0.5
    assert rows["pixels_linear_probe_error"] < 0.5


def test_the_command_line(tmp_path, photos, monkeypatch, capsys):
    """Train on a folder given by a relative path; the result is used from elsewhere, by another process."""

    def run(*arguments, cwd):
        command = [sys.executable, "-m", "keras_genzoo.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True)

    done = run("train", "ae_mnist", "--data", "folder:photos", "--epochs", 1, "--out", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "skipped 1 of " in done.stderr
    assert "zz_broken.jpg" in done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run("evaluate", "../mine", "--json", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["metric"] == "squared_error"
    monkeypatch.chdir(elsewhere)
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "../mine", "--data", "folder:../photos"])  # not --data-dir
    assert stop.value.code == 2
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert cli.main(["train", "ae_mnist", "--data", "folder:empty"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("keras-genzoo: error: ")
    assert "holds no image to train with" in told
    assert not (tmp_path / "runs").exists()
