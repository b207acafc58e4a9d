"""Anyone's images: folders of files of all kinds, and training on them as a user would."""

import ast
import json
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import keras_genzoo as gz
from keras_genzoo import cli, data, faces
from keras_genzoo.errors import MissingDataError, ZooError

GREY = (28, 28, 1)


def _draw(path, size=(40, 60), mode="RGB", value=128, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    Image.new(mode, size, value if bands == 1 else (value,) * bands).save(path, **options)
    return path


def _arrays(folder, split="train", shape=GREY, **options):
    return data.arrays(f"folder:{folder}", split, image_shape=shape, **options)


def _circle(folder):
    (folder / "odd.png").symlink_to(folder / "other.png")
    (folder / "other.png").symlink_to(folder / "odd.png")


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
        (lambda folder: None, {"path": "~nobody_at_all/photos"}, ZooError, "names no folder"),
        (lambda folder: None, {"path": "a\0b"}, ZooError, "names no folder"),
        (lambda folder: None, {"path": "a" * 5000}, ZooError, "does not exist|names no folder"),
        (_circle, {"path": "{folder}/odd.png"}, ZooError, "does not exist|names no folder"),
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
    options = dict(options)
    path = str(options.pop("path", folder)).format(folder=folder)
    with pytest.raises(error, match=message):
        _arrays(path, **options)


# === What is found below a folder ===


def _grey(folder, split="train"):
    """The grey levels of a split's images, and what is told about the folder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images, labels = _arrays(folder, split)
    told = "\n".join(str(warning.message) for warning in caught)
    return sorted(set(images[:, 0, 0, 0].tolist())), None if labels is None else sorted(set(labels.tolist())), told


def _drawn(folder, n=3, value=50, **options):
    for i in range(n):
        _draw(folder / f"{i}.png", (4, 4), value=value, **options)


def _to_nothing(folder):
    (folder / "odd.png").symlink_to("/nonexistent.png")


def _to_no_folder(folder):
    (folder / "odd").symlink_to("/nonexistent")


def _to_itself(folder):
    (folder / "odd").symlink_to(folder)


def _upwards(folder):
    (folder.parent / "beside").mkdir()
    _drawn(folder.parent / "beside", value=200)
    (folder / "odd").symlink_to(folder.parent)


def _twice(folder):
    _drawn(folder / "b")
    (folder / "odd").symlink_to(folder / "b")


def _pipe(folder):
    os.mkfifo(folder / "odd.png")


def _eps(folder):
    (folder / "odd.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


def _gif(folder):
    Image.new("L", (4, 4)).save(folder / "odd.png", "GIF")


def _cut(folder):
    (folder / "odd.png").write_bytes(_draw(folder / "whole.png", (200, 200), value=50).read_bytes()[:90])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_to_nothing, "a link to nothing"),
        (_circle, "Too many levels of symbolic links"),
        (_to_no_folder, "a link to nothing"),
        (_to_itself, "a link to a folder that it is in"),
        (_upwards, "a link to a folder that it is in"),
        (_twice, "a link to a folder that is read already"),
        (_pipe, "no regular file"),
        (_eps, "no PNG, JPEG or WebP image"),
        (_gif, "no PNG, JPEG or WebP image"),
        (_cut, "truncated"),
    ],
)
def test_what_is_no_image_is_named_and_skipped(tmp_path, make, reason):
    folder = tmp_path / "in" / "photos"
    _drawn(folder)
    make(folder)
    told = ""
    for split in ("train", "test"):  # each names what is its own
        grey, _, more = _grey(folder, split)
        assert grey == [50]
        told += more
    assert f"{folder / 'odd'}" in told
    assert reason in told


def test_a_folder_that_cannot_be_read_is_named_and_skipped(tmp_path, monkeypatch):
    _drawn(tmp_path)
    _drawn(tmp_path / "closed", value=99)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    grey, _, told = _grey(tmp_path)
    assert grey == [50]
    assert f"{tmp_path / 'closed'}: Permission denied" in told
    with pytest.raises(ZooError, match=r"Cannot read .*closed: Permission denied"):
        _arrays(tmp_path / "closed")


def test_linked_files_and_folders_are_followed(tmp_path):
    """As data sets are laid out that share their files: no image is copied, and none comes twice."""
    for name, value in (("a", 10), ("b", 20)):
        _drawn(tmp_path / "pool" / name, value=value)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "b").symlink_to(tmp_path / "pool" / "b")
    (photos / "a").mkdir()
    for i in range(3):
        (photos / "a" / f"{i}.png").symlink_to(tmp_path / "pool" / "a" / f"{i}.png")
    grey, labels, told = _grey(photos)
    assert (grey, labels, told) == ([10, 20], [0, 1], "")


def test_names_that_are_no_text_are_read_and_shown_escaped(tmp_path):
    """Bytes that are not UTF-8, and codes that a terminal would obey, in names of files, of classes, of the folder."""
    root = os.fsencode(tmp_path) + b"/M\xfcller"
    for number, name in enumerate((b"caf\xe9", b"z\x1b[31m")):
        os.makedirs(root + b"/" + name)
        for i in range(4):
            with open(root + b"/" + name + b"/\xe9\n%d.png" % i, "wb") as file:
                Image.new("L", (4, 4), 50 * (number + 1)).save(file, "PNG")
    with open(root + b"/caf\xe9/\x1b]0;x\x07.png", "wb") as file:
        file.write(b"broken")
    folder = Path(os.fsdecode(root))
    grey, labels, told = _grey(folder)
    assert (grey, labels) == ([50, 100], [0, 1])
    options = {"image_shape": GREY, "resize": "crop"}
    files = data.folder.readable_files(f"folder:{folder}", "train", **options)
    assert [50 if b"caf" in os.fsencode(file) else 100 for file in files] == _arrays(folder)[0][:, 0, 0, 0].tolist()
    line = data.summary(f"folder:{folder}", **options)
    assert "2 classes (caf" in line
    for text in (told.replace("\n", ""), line):
        assert text.isprintable()
        assert r"\x1b" in text

    name = data.full_name(f"folder:{folder}")
    assert name == f"folder:{tmp_path}/M\\xfcller"  # text that every file takes
    assert data.full_name(name) == name
    np.testing.assert_array_equal(_arrays(name.removeprefix("folder:"))[0], _arrays(folder)[0])


def test_what_holds_no_readable_image_takes_no_number(tmp_path):
    """Neither an empty class, nor one of broken files, nor what an archive of a Mac leaves; and in no split."""
    for split in ("train", "test"):
        for name, value in (("a", 10), ("z", 200)):
            _drawn(tmp_path / split / name, value=value)
        (tmp_path / split / "b_empty").mkdir()
        _drawn(tmp_path / split / "c_broken", n=1)
        (tmp_path / split / "c_broken" / "0.png").write_bytes(b"x")
        _drawn(tmp_path / split / "__MACOSX" / "a")
        (tmp_path / split / "._0.png").write_bytes(b"x")
    _drawn(tmp_path / "test" / "m_only_here", value=100)
    for split, numbers in (("train", [0, 2]), ("test", [0, 1, 2])):
        _, labels, told = _grey(tmp_path, split)
        assert labels == numbers
        assert "c_broken" in told
        assert "MACOSX" not in told
    (tmp_path / "train" / "stray.png").write_bytes(b"x")  # no image, so all images have a class
    assert _grey(tmp_path)[1] == [0, 2]


@pytest.mark.parametrize(
    ("train", "test", "validation"),
    [
        ("train", "test", None),
        ("Train", "Test", None),
        ("TRAIN", "TEST", None),
        ("training", "testing", None),
        ("train", None, "val"),
        ("Training", None, "Validation"),
        ("train", None, "valid"),
        ("train", "test", "val"),
    ],
)
def test_splits_by_any_of_their_names(tmp_path, train, test, validation):
    values = {}
    for value, folder in enumerate((train, test, validation)):
        if folder:
            values[folder] = 20 * value + 10
            for name in ("a", "b"):
                _drawn(tmp_path / folder / name, value=values[folder])
    assert _grey(tmp_path) == ([values[train]], [0, 1], "")
    assert _grey(tmp_path, "test") == ([values[test or validation]], [0, 1], "")
    if validation:
        assert _grey(tmp_path, "validation") == _grey(tmp_path, validation) == ([values[validation]], [0, 1], "")
    else:
        with pytest.raises(ZooError, match=r"has the splits train, test. Received: 'validation'"):
            _arrays(tmp_path, "validation")


def test_a_folder_of_train_alone_is_shared_out(tmp_path):
    for name in ("a", "b"):
        _drawn(tmp_path / "train" / name, n=20)
    counts = [len(_arrays(tmp_path, split)[0]) for split in ("train", "test")]
    assert sum(counts) == 40
    assert counts[1] >= 1
    assert _grey(tmp_path)[1] == [0, 1]


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("train/a", "val/a", "unsure/a"), "left out unsure/, beside the splits train/, val/"),
        (("train", "test", "."), "left out the images in no subfolder, beside the splits"),
        (("test", "cats"), "test/ counts as a class, not as a split"),
        (("photos/train", "photos/val"), "photos/train/, photos/val/ counts as a part of a class"),
        (("cats/train", "dogs/train"), "cats/train/, dogs/train/ counts as a part of a class"),
    ],
)
def test_splits_that_are_none_are_told(tmp_path, folders, told):
    for folder in folders:
        _drawn(tmp_path / folder)
    assert told in _grey(tmp_path)[2]


def test_two_folders_for_one_split_are_refused(tmp_path):
    for folder in ("train", "val", "valid"):
        _drawn(tmp_path / folder)
    with pytest.raises(ZooError, match="has val and valid for one split"):
        _arrays(tmp_path)


@pytest.mark.parametrize(
    ("folders", "line"),
    [
        (("a", "b"), r"9 images to train with, 1 to test with, 2 classes \(a, b\)"),
        (("train/a", "train/b", "val/a"), r"10 images to train with, 5 to test with, 5 to validate with, 2 classes"),
        (("one",), r"4 images to train with, 1 to test with, no classes"),
        (("a", "b", "."), r"no classes, as '\d.png' and others lie in no subfolder"),
        ([f"c{i:02}" for i in range(12)], r"12 classes \(c00, .* c09, ...\)"),
    ],
)
def test_the_line_about_a_folder(tmp_path, folders, line):
    for folder in folders:
        _drawn(tmp_path / folder, n=5)
    assert re.search(line, data.summary(f"folder:{tmp_path}", image_shape=GREY))


def test_labels_that_a_folder_has_not(tmp_path):
    for folder in ("a", "b", "."):
        _drawn(tmp_path / folder)
    with pytest.raises(ZooError, match="has no labels; they are its subfolders, where there are two and every image"):
        data.load(f"folder:{tmp_path}", "train", labels=True, image_shape=GREY)


def test_a_picture_that_changes_under_its_old_time_is_read_again(tmp_path):
    _draw(tmp_path / "a.png", value=10)
    assert _grey(tmp_path)[0] == [10]
    before = (tmp_path / "a.png").stat()
    _draw(tmp_path / "new.png", value=11)
    os.utime(tmp_path / "new.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new.png").rename(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size == before.st_size
    assert _grey(tmp_path)[0] == [11]


# === Colours ===


ADOBE_RGB = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)  # XYZ, under D50
SRGB = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)


def _profile(space, levels, primaries=ADOBE_RGB):
    """An ICC profile of primaries, or of grey, whose curve is a gamma or a table in [0, 1] (ICC.1:2001-04)."""

    def xyz(*values):
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))

    levels = [round(256 * levels)] if np.isscalar(levels) else np.round(65535 * levels).astype("int").tolist()
    curve = b"curv" + bytes(4) + struct.pack(f">I{len(levels)}H", len(levels), *levels)
    white = xyz(0.9642, 1, 0.8249)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78), b"wtpt": white}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, values in zip((b"r", b"g", b"b"), primaries, strict=True):
            tags |= {name + b"XYZ": xyz(*values), name + b"TRC": curve}
    start = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">2I", start + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s", start + len(content), b"none", 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + white[8:] + bytes(48) + table + content


ADOBE, LINEAR_GREY = _profile(b"RGB ", 563 / 256), _profile(b"GRAY", 1.0)
GREEN = (60, 200, 60)  # in Adobe RGB beyond what sRGB can show: there (-0.18, 0.59, 0.018) in linear light
GREEN_SRGB = (0, 201, 37)


@pytest.mark.parametrize(
    ("mode", "colour", "profile", "right"),
    [
        ("RGB", GREEN, ADOBE, GREEN_SRGB),
        ("RGBA", (*GREEN, 255), ADOBE, GREEN_SRGB),
        ("RGBA", (*GREEN, 128), ADOBE, (0, 101, 19)),
        ("P", GREEN, ADOBE, GREEN_SRGB),
        ("RGB", (77, 77, 77), ADOBE, (77, 77, 77)),  # greys are the same, but for the darkest
        ("L", 100, LINEAR_GREY, (168, 168, 168)),  # 1.055 * (100 / 255)^(1 / 2.4) - 0.055
        ("LA", (100, 255), LINEAR_GREY, (168, 168, 168)),
        ("LA", (100, 128), LINEAR_GREY, (84, 84, 84)),
        ("I;16", 100 * 257, LINEAR_GREY, (168, 168, 168)),
        ("I;16", 100 * 257, None, (100, 100, 100)),
        ("RGB", GREEN, None, GREEN),
        # Profiles that are damaged, or of other colours than the picture's, are ignored.
        ("RGB", GREEN, b"no profile", GREEN),
        ("RGB", GREEN, ADOBE[:200], GREEN),
        ("RGB", GREEN, bytes(3000), GREEN),
        ("RGB", GREEN, LINEAR_GREY, GREEN),
        ("L", 100, ADOBE, (100, 100, 100)),
        ("CMYK", (60, 200, 60, 10), ADOBE, (187, 53, 187)),
    ],
)
def test_colours_come_to_srgb(tmp_path, mode, colour, profile, right):
    """In folders and in pictures whose faces are swapped, alike."""
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image = Image.new("RGB", (8, 8), colour).quantize(4) if mode == "P" else Image.new(mode, (8, 8), colour)
    image.save(path, **({"quality": 100} if mode == "CMYK" else {}), **({"icc_profile": profile} if profile else {}))
    for pixels in (_arrays(tmp_path, shape=(8, 8, 3))[0][0], faces.read_picture(path)):
        np.testing.assert_allclose(pixels[4, 4], right, atol=1)
    if profile == ADOBE and len(set(right)) == 1:
        np.testing.assert_allclose(_arrays(tmp_path, shape=(8, 8, 1))[0], right[0], atol=1)


def test_a_profile_of_srgb_changes_no_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    x = np.linspace(0, 1, 1024)
    curve = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    written_by_hand = _profile(b"RGB ", curve, SRGB)  # its rounded numbers would move some pixels by a level
    for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), written_by_hand):
        Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(_arrays(tmp_path, shape=(32, 32, 3))[0][0], pixels)


def test_sixteen_bits_of_colour(tmp_path):
    """A PNG by hand, for Pillow writes none: each level k of 255 is 257 k of 65535."""
    level = np.arange(64, dtype="uint16") * 4
    pixels = np.stack([level, level[::-1], level], -1)[None].repeat(64, 0)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels * 257)
    head = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(_arrays(tmp_path, shape=(64, 64, 3))[0][0], pixels)


def test_pillow_is_told_which_formats_it_may_read():
    """Else a file's content decides, and one of the readers starts Ghostscript."""
    calls = [
        (path, node)
        for path in Path(gz.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open")
    ]
    assert len(calls) >= 2
    for path, node in calls:
        assert "formats" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


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
    """Train on a folder given by a relative path; the result is used from elsewhere, by another process.

    The first process' locale has ASCII alone, and the folder's name is UTF-8 all the same.
    """
    (tmp_path / "photos").rename(tmp_path / "Müller")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(*arguments, cwd, **environment):
        command = [sys.executable, "-m", "keras_genzoo.cli", *map(str, arguments)]
        environment = {**os.environ, **environment}
        return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", env=environment)

    train = ("train", "ae_mnist", "--data", "folder:Müller", "--epochs", 1, "--out", "mine")
    done = run(*train, cwd=tmp_path, **ascii_alone)
    assert done.returncode == 0, done.stderr
    assert "skipped 1 of " in done.stderr
    assert "zz_broken.jpg" in done.stderr
    assert re.search(r"ller: \d\d images to train with, \d to test with, no classes", done.stderr)
    assert f"name: folder:{tmp_path}/Müller\n" in (tmp_path / "mine" / "preset.yaml").read_text(encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run("evaluate", "../mine", "--json", cwd=elsewhere, LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["metric"] == "squared_error"
    monkeypatch.chdir(elsewhere)
    with pytest.raises(SystemExit) as stop:
        cli.main(["sample", "../mine", "--data", "folder:../Müller"])  # not --data-dir
    assert stop.value.code == 2
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert cli.main(["train", "ae_mnist", "--data", "folder:empty"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("keras-genzoo: error: ")
    assert "holds no image to train with" in told
    assert not (tmp_path / "runs").exists()
