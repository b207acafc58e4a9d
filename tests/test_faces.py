"""Faces in real files: found, cut out, swapped, put back; what is passed over, and what outputs say of themselves."""

import json
import os
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY_SWAP
from PIL import Image, ImageCms

from keras_genzoo import cli, engine, faces, presets, provenance, training
from keras_genzoo.errors import ZooError
from keras_genzoo.models.face_swap.hooks import FaceSwapHooks

FOLDER = Path(__file__).parent / "faces"  # eight rendered images of people who do not exist, four of each
BOX = (60, 40)  # where a face is put in a picture, from the left and the top
SIDE = 128


def picture(name="a0", size=(260, 220)):
    """A grey picture with one rendered face in it, uint8 `(H, W, 3)`."""
    image = Image.new("RGB", size, (120, 130, 140))
    with Image.open(FOLDER / f"{name}.png") as face:
        image.paste(face.resize((SIDE, SIDE)), BOX)
    return np.asarray(image)


def one_face(pixels):
    """In place of the detector, where finding is not the matter: the face of `picture`, where it is."""
    return [faces.Face(points=faces.TEMPLATE * SIDE + BOX, size=90.0, certainty=1.0)]


def no_face(pixels):
    return []


class Painter:
    """In place of a trained model: faces become plain, a dark grey to "a" and green to "b"."""

    image_shape = (64, 64, 3)

    def swap(self, images, *, to):
        assert images.dtype == "float32"
        assert images.shape[1:] == self.image_shape
        return np.broadcast_to(np.float32([0.1, 0.6, 0.1] if to == "b" else [0.2, 0.2, 0.2]), images.shape)


@pytest.fixture(scope="module")
def detect():
    pytest.importorskip("mtcnn")
    return faces.detector()


# === Finding and cutting out ===


@pytest.mark.parametrize("name", ["a0", "b0"])
def test_the_detector_finds_rendered_faces_where_they_are(name, detect):
    (face,) = detect(picture(name))
    x, y = face.points.mean(0)
    assert BOX[0] < x < BOX[0] + SIDE
    assert BOX[1] < y < BOX[1] + SIDE
    assert face.points[0, 0] < face.points[1, 0]  # the picture's left eye first
    assert face.points[:2, 1].max() < face.points[2, 1] < face.points[3:, 1].min()  # eyes, nose, mouth
    assert 40 < face.size < SIDE
    assert face.certainty > 0.9


def test_nothing_is_found_where_there_is_nothing(detect):
    assert detect(np.full((120, 120, 3), 127, "uint8")) == []
    assert detect(np.zeros((8, 8, 3), "uint8")) == []


@pytest.mark.parametrize("degrees", [0, 20, -35])
@pytest.mark.parametrize("size", [64, 256])
def test_a_crop_is_upright_whatever_the_picture_does(degrees, size):
    """A picture turned about, larger and shifted, with its points: the same crop, but for resampling."""
    pixels, points = picture(), one_face(None)[0].points
    straight = faces.cut_out(pixels, points, size).astype("float64")
    image = Image.fromarray(pixels).resize((520, 440), Image.Resampling.BICUBIC)
    turned = np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC, expand=True))
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # y points down
    moved = (2 * points - [260, 220]) @ turn.T + np.array(turned.shape[1::-1]) / 2
    crop = faces.cut_out(turned, moved, size).astype("float64")
    middle = slice(size // 5, -size // 5)
    assert np.abs(crop - straight)[middle, middle].mean() < 4
    assert np.corrcoef(crop[middle, middle].ravel(), straight[middle, middle].ravel())[0, 1] > 0.98


@pytest.mark.filterwarnings("ignore:.*skipped 1 of 8 files")
def test_extract_writes_faces_and_counts_what_it_passes_over(tmp_path, detect, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    Image.fromarray(picture()).save(source / "colour.jpg")
    Image.fromarray(picture()).convert("L").save(source / "deep" / "grey.png")
    rgba = Image.fromarray(picture()).convert("RGBA")
    rgba.save(source / "alpha.png")
    sideways = Image.fromarray(picture()).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to see it upright
    sideways.save(source / "rotated.jpg", exif=exif)
    Image.fromarray(np.concatenate([picture("a0"), picture("b0")], 1)).save(source / "two.png")
    Image.fromarray(picture()).resize((65, 55)).save(source / "tiny.png")
    Image.new("RGB", (100, 100)).save(source / "empty.png")
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    assert cli.main(["faces", "extract", str(source), str(out), "--size", "64"]) == 0
    done = capsys.readouterr()
    assert done.out.strip() == str(out)
    assert sorted(file.name for file in out.iterdir()) == [
        "alpha.png", "colour.png", "deep_grey.png", "rotated.png", "two.png",
    ]  # fmt: skip
    for part in ("written: 5", "pictures: 8", "several faces: 1", "broken: 1"):
        assert part in done.err
    counts = faces.extract(source, tmp_path / "all", every=True, detect=detect, verbose=False)
    assert counts["written"] == 6
    assert counts["no face"] + counts["tiny face"] == 2
    assert (tmp_path / "all" / "two_2.png").is_file()
    upright = np.asarray(Image.open(out / "colour.png").convert("L"), "float64")
    for other in ("alpha", "deep_grey", "rotated"):
        seen = np.asarray(Image.open(out / f"{other}.png").convert("L"), "float64")
        assert seen.shape == (64, 64)
        assert np.corrcoef(seen.ravel(), upright.ravel())[0, 1] > 0.9, other  # grey, it is found a bit elsewhere


def test_extracted_faces_carry_their_points(tmp_path):
    """As they lie in the crop: of two pictures of one face, one larger and shifted, the same."""
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / "in.png")
    Image.fromarray(pixels).resize((520, 440)).save(tmp_path / "large.png")
    moved = one_face(None)[0].points
    moved[2] += [7, -3]
    found = {}
    for name, points in (("in", moved), ("large", 2 * moved)):
        face = faces.Face(points=points, size=90.0, certainty=1.0)
        counts = faces.extract(tmp_path / f"{name}.png", tmp_path / "out", size=64, detect=lambda _, face=face: [face])
        assert counts["written"] == 1
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            found[name] = np.array(json.loads(image.text["face_landmarks"])["points"])
    np.testing.assert_allclose(found["in"], found["large"], atol=2e-4)
    np.testing.assert_allclose(found["in"].mean(0), faces.TEMPLATE.mean(0), atol=1e-3)
    off = found["in"] - faces.TEMPLATE
    assert np.hypot(*off.T).argmax() == 2  # the nose that was moved aside


@pytest.mark.nightly
def test_a_face_swap_of_extracted_faces_is_guided_by_their_points(folders, tmp_path):
    """And of others is not, which is said."""
    preset = folders / "mine" / "preset.yaml"
    preset.write_text(preset.read_text().replace("  latent_dim: 4", "  latent_dim: 4\n  n_factors: 5"))
    where = [f"folder:{folders / side}" for side in "ab"]
    with pytest.warns(UserWarning, match="trained without guidance, as folder:.* no landmarks in common"):
        model = training.train(folders / "mine", tmp_path / "blind", data=where, verbose=0)
    assert not any(np.any(weight) for weight in model.map_to_b.get_weights()[2:])
    rng = np.random.default_rng(0)
    extracted = []
    for side in "ab":
        files = sorted((folders / side).iterdir())
        for file in files:
            points = faces.TEMPLATE * 16 + rng.normal(0, 0.5, (5, 2))
            face = faces.Face(points=points, size=90.0, certainty=1.0)
            faces.extract(file, tmp_path / side, size=32, detect=lambda _, face=face: [face], verbose=False)
        extracted.append(f"folder:{tmp_path / side}")
    model = training.train(folders / "mine", tmp_path / "guided", data=extracted, verbose=0)
    history = json.loads((tmp_path / "guided" / "history.json").read_text())
    assert all(epoch["loss_factors"] > 0 for epoch in history)
    assert any(np.any(weight) for weight in model.map_to_b.get_weights()[2:])


# === Swapping and putting back ===


def test_a_swap_changes_the_face_and_nothing_around_it():
    pixels, points = picture(), one_face(None)[0].points
    result = faces.put_back(Painter(), pixels, points, to="b", colour_match=False)
    assert result.shape == pixels.shape
    assert result.dtype == "uint8"
    x, y = (faces.TEMPLATE[2] * SIDE + BOX).astype(int)  # the nose
    np.testing.assert_allclose(result[y, x], np.array([0.1, 0.6, 0.1]) * 255, atol=2)
    outside = np.ones(pixels.shape[:2], bool)
    outside[BOX[1] : BOX[1] + SIDE, BOX[0] : BOX[0] + SIDE] = False
    np.testing.assert_array_equal(result[outside], pixels[outside])
    # The edge is soft: between what was and what is painted no step as large as the change itself.
    change = np.abs(result.astype("float64") - pixels).sum(-1)[y]
    assert np.abs(np.diff(change)).max() < 0.5 * change.max()


def test_colours_are_matched_to_what_was_there():
    pixels, points = picture(), one_face(None)[0].points
    mask = faces.soft_mask(64)
    seen, matched, plain = (
        (faces.cut_out(image, points, 64) * mask).sum((0, 1)) / mask.sum()
        for image in (
            pixels,
            faces.put_back(Painter(), pixels, points, to="b"),
            faces.put_back(Painter(), pixels, points, to="b", colour_match=False),
        )
    )
    assert np.abs(matched - seen).max() < 0.3 * np.abs(plain - seen).max()


def test_a_model_that_changes_nothing_changes_nothing():
    class Mirror(Painter):
        def swap(self, images, *, to):
            return images

    pixels, points = picture(), one_face(None)[0].points
    result = faces.put_back(Mirror(), pixels, points, to="a")
    assert np.abs(result.astype("float64") - pixels).mean() < 1  # of 255: resampled there and back
    assert np.corrcoef(result.ravel(), pixels.ravel())[0, 1] > 0.995


@pytest.mark.filterwarnings("ignore:.*skipped 1 of 3 files")
def test_a_folder_is_swapped_file_by_file(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    for name in ("one.png", "deep/two.jpg"):
        Image.fromarray(picture()).save(source / name)
    (source / "broken.png").write_bytes(b"\x89PNG")
    counts = faces.swap(Painter(), source, out, detect=one_face, verbose=False)
    assert counts == {"written": 2, "faces": 2, "no face": 0, "tiny face": 0, "several faces": 0, "broken": 1}
    for name in ("one.png", "deep/two.jpg"):
        assert provenance.read(out / name)["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"
    counts = faces.swap(Painter(), source, tmp_path / "still", detect=no_face, verbose=False)
    assert (counts["faces"], counts["no face"], counts["written"]) == (0, 2, 2)
    untouched = np.asarray(Image.open(tmp_path / "still" / "one.png"))
    np.testing.assert_array_equal(untouched, picture())  # no mark on a picture that nobody changed
    assert provenance.read(tmp_path / "still" / "one.png")["digital_source_type"] is None


def test_the_visible_mark_can_be_turned_off_and_the_other_not(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "in.png")
    seen, plain = tmp_path / "seen.png", tmp_path / "plain.png"
    faces.swap(Painter(), tmp_path / "in.png", seen, detect=one_face, verbose=False)
    faces.swap(Painter(), tmp_path / "in.png", plain, detect=one_face, visible=False, verbose=False)
    corners = [np.asarray(Image.open(file))[-16:, :16].astype("float64") for file in (seen, plain)]
    np.testing.assert_array_equal(corners[1], picture()[-16:, :16])
    assert corners[0].min() < 60  # the plate
    assert corners[0].max() > 200  # the letters
    for file in (seen, plain):
        assert provenance.read(file)["digital_source_type"]


# === Films ===


@pytest.fixture
def film(tmp_path):
    """Twelve frames, of which four have no face: grey."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "film.mp4"
    writer = imageio_ffmpeg.write_frames(str(path), (260, 220), fps=10, macro_block_size=2)
    writer.send(None)
    for i in range(12):
        writer.send(np.ascontiguousarray(picture() if i < 8 else np.full((220, 260, 3), 90, "uint8")))
    writer.close()
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_film_is_swapped_frame_by_frame(film, suffix, tmp_path):
    import imageio_ffmpeg

    def detect(pixels):
        return one_face(pixels) if pixels.std() > 15 else []

    out = tmp_path / f"out{suffix}"
    counts = faces.swap(Painter(), film, out, detect=detect, colour_match=False, visible=False, verbose=False)
    assert (counts["written"], counts["faces"], counts["no face"]) == (12, 8, 4)
    assert provenance.read(out)["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert provenance.read(film)["digital_source_type"] is None
    frames = imageio_ffmpeg.read_frames(str(out))
    assert next(frames)["size"] == (260, 220)
    frames = [np.frombuffer(frame, "uint8").reshape(220, 260, 3) for frame in frames]
    assert len(frames) == 12
    x, y = (faces.TEMPLATE[2] * SIDE + BOX).astype(int)
    assert np.abs(frames[0][y, x] - np.array([25, 153, 25])).max() < 25  # green, as far as the codec keeps it
    assert np.abs(frames[11].astype("float64") - 90).max() < 12


@pytest.mark.parametrize(("content", "complaint"), [(b"no film at all", "no readable film"), (b"", "no readable film")])
def test_a_broken_film_is_told(content, complaint, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(ZooError, match=complaint):
        faces.swap(Painter(), tmp_path / "bad.mp4", tmp_path / "out.mp4", detect=one_face, verbose=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.mp4"]


# === Provenance ===


@pytest.mark.parametrize("suffix", provenance.IMAGES)
def test_the_mark_survives_saving_in_every_format(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    provenance.write_image(picture(), path)
    assert provenance.read(path) == {"digital_source_type": "compositeWithTrainedAlgorithmicMedia", "c2pa": None}
    shown = np.asarray(Image.open(path).convert("RGB"), "float64")
    assert np.abs(shown - picture()).mean() < 3


def test_the_mark_is_xmp_that_others_read(tmp_path):
    """An XML parser that knows nothing of us finds the property in its namespace."""
    from xml.etree import ElementTree

    provenance.write_image(picture(), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        root = ElementTree.fromstring(image.info["xmp"].decode().split("?>", 1)[1].rsplit("<?", 1)[0])
    (description,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    said = description.attrib["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"]
    assert said == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def test_faces_check_reads_it_back(tmp_path, capsys):
    provenance.write_image(picture(), tmp_path / "made.png")
    Image.fromarray(picture()).save(tmp_path / "real.png")
    assert cli.main(["faces", "check", str(tmp_path / "made.png")]) == 0
    assert "compositeWithTrainedAlgorithmicMedia" in capsys.readouterr().out
    assert cli.main(["faces", "check", str(tmp_path / "made.png"), str(tmp_path / "real.png")]) == 1
    assert "real.png: says nothing of its making" in capsys.readouterr().out
    for file, complaint in (
        ("no.png", "does not exist"),
        ("x.txt", "Provenance is read of"),
        ("bad.png", "no readable"),
    ):
        if file != "no.png":
            (tmp_path / file).write_text("text")
        assert cli.main(["faces", "check", str(tmp_path / file)]) == 2
        assert complaint in capsys.readouterr().err


@pytest.fixture(scope="module")
def credential(tmp_path_factory):
    """A certificate of a test authority, and its key, as C2PA asks for them."""
    pytest.importorskip("c2pa")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to sign with")
    folder = tmp_path_factory.mktemp("credential")
    (folder / "leaf.cnf").write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=emailProtection\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "leaf"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    openssl(
        "req", "-x509", "-new", "-key", "ca.key", "-subj", "/O=test/CN=authority", "-days", "30", "-out", "ca.pem",
        "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    openssl("req", "-new", "-key", "leaf.key", "-subj", "/O=test/CN=signer", "-out", "leaf.csr")
    openssl(
        "x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
        "-extfile", "leaf.cnf", "-out", "leaf.pem",
    )  # fmt: skip
    (folder / "chain.pem").write_bytes((folder / "leaf.pem").read_bytes() + (folder / "ca.pem").read_bytes())
    return folder / "chain.pem", folder / "leaf.key"


def test_a_signed_manifest_is_valid_and_notices_a_change(credential, tmp_path):
    import c2pa

    path = tmp_path / "x.jpg"
    provenance.write_image(picture(), path, credential=credential)
    assert provenance.read(path)["c2pa"] == "Valid"
    with c2pa.Reader(path) as reader:
        manifests = json.loads(reader.json())
    assert provenance.SOURCE_TYPE in json.dumps(manifests)
    content = bytearray(path.read_bytes())
    content[-200] ^= 0xFF
    path.write_bytes(content)
    assert provenance.read(path)["c2pa"] == "Invalid"


def test_a_signed_film(credential, film, tmp_path):
    out = tmp_path / "out.mp4"
    faces.swap(Painter(), film, out, detect=one_face, credential=credential, verbose=False)
    said = provenance.read(out)
    assert said == {"digital_source_type": "compositeWithTrainedAlgorithmicMedia", "c2pa": "Valid"}


def test_a_bad_certificate_leaves_nothing_behind(tmp_path):
    pytest.importorskip("c2pa")
    (tmp_path / "bad.pem").write_text("no certificate")
    for credential, complaint in (
        ((tmp_path / "bad.pem", tmp_path / "bad.pem"), "Cannot sign with"),
        ((tmp_path / "none.pem", tmp_path / "bad.pem"), "Cannot read .*none.pem"),
    ):
        with pytest.raises(ZooError, match=complaint):
            provenance.write_image(picture(), tmp_path / "x.png", credential=credential)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pem"]


# === Bad input ===


def test_bad_input_is_named(tmp_path, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "in.png")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "none").mkdir()
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    for source, out, complaint in (
        ("missing.png", "out.png", "does not exist"),
        ("missing.mp4", "out.mp4", "does not exist"),
        ("notes.txt", "out.png", "is no picture and no film"),
        ("none", "out", "holds no picture"),
        ("bad.png", "out.png", "no readable picture"),
        ("in.png", "out.gif", "An image is written as"),
    ):
        with pytest.raises(ZooError, match=complaint):
            faces.swap(Painter(), tmp_path / source, tmp_path / out, detect=one_face, verbose=False)
    with pytest.raises(ZooError, match=r"`to` must be 'a' or 'b'. Received: 'c'"):
        faces.swap(Painter(), tmp_path / "in.png", tmp_path / "out.png", to="c", detect=one_face)
    with pytest.raises(ZooError, match=r"`size` must be >= 32 pixels. Received: 8"):
        faces.extract(tmp_path / "in.png", tmp_path / "out", size=8, detect=one_face)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ZooError, match="No space left"):
        faces.swap(Painter(), tmp_path / "in.png", tmp_path / "out.png", detect=one_face, verbose=False)
    assert sorted(tmp_path.iterdir()) == before


def test_missing_extras_say_what_to_install(monkeypatch, tmp_path):
    import sys

    for module, use in (
        ("mtcnn", faces.detector),
        ("imageio_ffmpeg", provenance.ffmpeg),
        ("c2pa", lambda: provenance.sign(tmp_path / "x.png", ("a", "b"))),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ZooError, match=r"pip install 'keras-genzoo\[(faces|c2pa)\]'"):
            use()


# === Output never replaces input ===


def content(folder):
    """Every file below a folder, with its bytes."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures, files beside it, and links to both by which they have other names."""
    for name in ("in/one.png", "in/deep/two.png", "in/deep/in/one.png", "x.png", "x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture()).save(tmp_path / name)
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "soft.png").symlink_to("x.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "x.png")
    return tmp_path


@pytest.mark.parametrize(
    ("job", "source", "out", "complaint"),
    [
        ("swap", "in", "in", "is, or is in, the folder to read"),
        ("extract", "in", "in", "is, or is in, the folder to read"),
        ("swap", "in", "link", "is, or is in, the folder to read"),
        ("extract", "link", "in", "is, or is in, the folder to read"),
        ("swap", "in", "in/out", "is, or is in, the folder to read"),
        ("extract", "in", "link/new/out", "is, or is in, the folder to read"),
        ("swap", "in", "in/../in", "is, or is in, the folder to read"),
        ("swap", "in/deep", "in", "one.png would be replaced"),  # in/deep/in/one.png would become in/in/one.png
        ("swap", "in/deep/in", "in", "one.png would be replaced"),
        ("extract", "in/deep/in", "in", "one.png would be replaced"),
        ("swap", "x.png", "x.png", "is a file to read"),
        ("swap", "x.png", "soft.png", "is a file to read"),
        ("swap", "soft.png", "x.png", "is a file to read"),
        ("swap", "x.png", "hard.png", "is a file to read"),
        ("swap", "x.png", "in/../x.png", "is a file to read"),
        ("extract", "x.png", ".", "is the folder of"),
        ("extract", "x.jpg", "in/..", "is the folder of"),  # it would become x.png
        ("swap", "in", "x.png", "is a file, and .* a folder"),
    ],
)
def test_output_never_replaces_input(job, source, out, complaint, pictures, monkeypatch, capsys):
    monkeypatch.chdir(pictures)
    (pictures / "in" / "in").mkdir()
    Image.fromarray(picture()).save(pictures / "in" / "in" / "one.png")
    before = content(pictures)
    monkeypatch.setattr(faces, "detector", lambda: one_face)
    monkeypatch.setattr(cli, "loaded", lambda name: Swapping())
    assert cli.main(["faces", job, *(["mine"] if job == "swap" else []), source, out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(complaint, line)
    assert content(pictures) == before


class Swapping(Painter):
    def can(self, what):
        return what == "swap"


def test_a_film_never_replaces_itself(film, tmp_path):
    (tmp_path / "same.mp4").hardlink_to(film)
    before = film.read_bytes()
    for out in (film, tmp_path / "same.mp4"):
        with pytest.raises(ZooError, match="is a file to read"):
            faces.swap(Painter(), film, out, detect=one_face, verbose=False)
    with pytest.raises(ZooError, match="is the folder of"):
        faces.extract(film, tmp_path, detect=one_face, verbose=False)
    assert film.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["film.mp4", "same.mp4"]


def test_a_link_in_the_output_folder_that_leads_to_an_input_is_seen(pictures):
    """Halfway, too: the squares of `extract` are known one after the other."""
    (pictures / "out").mkdir()
    (pictures / "out" / "one.png").symlink_to(pictures / "in" / "deep" / "two.png")
    before = content(pictures)
    for job in (faces.extract, lambda *paths, **options: faces.swap(Painter(), *paths, **options)):
        with pytest.raises(ZooError, match=r"out/one.png is a (picture|file) to read"):
            job(pictures / "in", pictures / "out", detect=one_face, verbose=False)
        (pictures / "out" / "deep_in_one.png").unlink(missing_ok=True)
        (pictures / "out" / "deep_two.png").unlink(missing_ok=True)
    assert content(pictures) == before


def test_output_around_input_is_fine_where_nothing_is_replaced(pictures):
    counts = faces.extract(pictures / "in" / "deep", pictures / "in", detect=one_face, verbose=False)
    assert counts["written"] == 2
    assert {file.name for file in (pictures / "in").iterdir()} == {"deep", "one.png", "two.png", "in_one.png"}


# === Names ===


def two_faces(pixels):
    return 2 * one_face(pixels)


def test_squares_of_one_name_get_different_ones(tmp_path):
    source = tmp_path / "in"
    names = (
        "x.png", "x.jpg", "x.JPEG", "x_2.png", "X.webp", "a/b.png", "a_b.png", "a/b_2.png", "a_b_png.png",
        "caf\u00e9.png", "cafe\u0301.png",
    )  # fmt: skip
    for i, name in enumerate(names):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture() - np.uint8(i)).save(source / name)
    for every in (False, True):
        out = tmp_path / str(every)
        counts = faces.extract(source, out, size=32, every=every, detect=two_faces, verbose=False)
        assert counts["written"] == len(list(out.iterdir())) == len(names) * (1 + every)
        folded = {unicodedata.normalize("NFC", file.name).casefold() for file in out.iterdir()}
        assert len(folded) == counts["written"]  # also where case and spelling of accents do not count
        means = sorted(round(np.asarray(Image.open(file)).mean(), 1) for file in out.iterdir())
        assert len(set(means)) == len(names)  # a square of each picture
        again = faces.extract(source, out, size=32, every=every, detect=two_faces, verbose=False)
        assert again["written"] == len(list(out.iterdir()))  # the same names once more


# === Broken files and pictures without a face ===


def test_broken_files_are_named(tmp_path, monkeypatch, capsys):
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(picture()).save(source / "fine.png")
    (source / "no\x1b[2Jimage.png").write_bytes(b"\x89PNG")
    (source / "gone.png").symlink_to("/nowhere/at/all.png")
    os.mkfifo(source / "pipe.jpg")
    (source / "folder.png").mkdir()
    (source / "page.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (source / "._fine.png").write_bytes(b"of a Mac")
    monkeypatch.setattr(faces, "detector", lambda: one_face)
    monkeypatch.setattr(cli, "loaded", lambda name: Swapping())
    for job in (["extract"], ["swap", "mine"]):
        assert cli.main(["faces", *job, str(source), str(tmp_path / job[0])]) == 0
        said = capsys.readouterr().err
        assert "skipped 4 of 5 files:" in said
        assert "page.png is no readable picture: no PNG, JPEG or WebP image" in said
        assert r"no\x1b[2Jimage.png is no readable picture: no PNG, JPEG or WebP image" in said
        assert "gone.png is no readable picture: a link that leads nowhere" in said
        assert "pipe.jpg is no readable picture: no regular file" in said
        assert "\x1b" not in said
        assert "written: 1" in said
        assert "broken: 4" in said
    for job in (faces.extract, lambda *paths, **options: faces.swap(Painter(), *paths, **options)):
        with pytest.raises(ZooError, match=r"pipe.jpg is no readable picture: no regular file"):
            job(source / "pipe.jpg", tmp_path / "out.jpg", detect=one_face, verbose=False)


@pytest.mark.parametrize(("name", "out"), [("x.png", "y.png"), ("x.jpg", "y.jpeg"), ("x.webp", "y.WEBP")])
def test_a_picture_without_a_face_is_copied_as_it_is(name, out, tmp_path):
    """With all that is in it: another size would be a new encoding, and a profile of colours would be lost."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture()).save(tmp_path / name, exif=exif, icc_profile=profile)
    counts = faces.swap(Painter(), tmp_path / name, tmp_path / out, detect=no_face, verbose=False)
    assert (counts["written"], counts["copied"], counts["no face"]) == (1, 1, 1)
    assert (tmp_path / out).read_bytes() == (tmp_path / name).read_bytes()
    counts = faces.swap(Painter(), tmp_path / name, tmp_path / "other.png", detect=no_face, verbose=False)
    assert counts.get("copied", 0) == (name == "x.png")
    assert provenance.read(tmp_path / "other.png")["digital_source_type"] is None
    counts = faces.swap(Painter(), tmp_path / name, tmp_path / "changed.png", detect=one_face, verbose=False)
    assert "copied" not in counts
    assert provenance.read(tmp_path / "changed.png")["digital_source_type"]


# === Training from folders ===


@pytest.fixture
def folders(tmp_path):
    """A preset, and 70 noisy copies of the rendered faces of each person in folders `a` and `b`."""
    rng = np.random.default_rng(0)
    for side in "ab":
        (tmp_path / side).mkdir()
        for i in range(70):
            pixels = np.asarray(Image.open(FOLDER / f"{side}{i % 4}.png").resize((16, 16)), "int16")
            noisy = np.clip(pixels + rng.integers(-9, 9, pixels.shape), 0, 255).astype("uint8")
            Image.fromarray(noisy).save(tmp_path / side / f"{i}.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "preset.yaml").write_text(TINY_SWAP.format(side=16, metric="psnr_of_a"))
    return tmp_path


def test_train_from_folders_swap_and_measure(folders, capsys, monkeypatch):
    arguments = ["train", str(folders / "mine"), "--out", str(folders / "out")]
    where = ["--data-a", str(folders / "a"), "--data-b", str(folders / "b")]
    drawn = []
    monkeypatch.setattr(
        "keras_genzoo.models.face_swap.drawings.swaps",
        lambda model, a, b, path: drawn.append((len(a), len(b), path.name)) or path.write_bytes(b"picture"),
    )
    assert cli.main([*arguments, *where]) == 0
    assert len(drawn) == 2
    assert {name for *_, name in drawn} == {"preview.png"}
    assert (folders / "out" / "preview.png").is_file()  # it stays when the training is done
    capsys.readouterr()
    assert cli.main(["evaluate", str(folders / "out"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["metric"] for row in rows] == ["psnr_of_a", "ssim_of_a", "psnr_of_b", "ssim_of_b"]
    assert cli.main(["evaluate", str(folders / "out"), "--json", "--n-images", "3"]) == 0
    assert {row["n"] for row in json.loads(capsys.readouterr().out)} == {3}
    Image.fromarray(picture()).save(folders / "in.png")
    monkeypatch.setattr(faces, "detector", lambda: one_face)
    swap = ["faces", "swap", str(folders / "out"), str(folders / "in.png"), str(folders / "swapped.png"), "--to", "a"]
    assert cli.main(swap) == 0
    assert "faces: 1" in capsys.readouterr().err
    assert cli.main(["faces", "check", str(folders / "swapped.png")]) == 0


def test_the_last_epochs_are_unwarped_and_have_a_course_of_their_own(folders):
    preset = presets.find(folders / "mine")
    preset = FaceSwapHooks.on_data(preset, tuple(f"folder:{folders / side}" for side in "ab"))
    optimizers = {"optimizer": presets.OptimizerConfig(learning_rate=1e-3, schedule="cosine")}
    preset = preset.with_updates(training={"epochs": 5, "optimizers": optimizers})

    def prepared(unwarped_epochs):
        return training.prepare(preset.with_updates(section={"unwarped_epochs": unwarped_epochs}))

    model, _, steps = prepared(unwarped_epochs=2)
    assert model.warped_steps == 3 * steps
    rate = engine.learning_rate_of(model.optimizer)
    at = [float(rate(epoch * steps)) for epoch in (0, 1.5, 2.999, 3.001, 4, 4.999)]
    np.testing.assert_allclose(at, [1e-3, 5e-4, 0, 5e-4, 2.5e-4, 0], atol=1e-7)
    model, _, _ = prepared(unwarped_epochs=0)
    assert model.warped_steps == 0
    longer = FaceSwapHooks.in_epochs(preset.with_updates(section={"unwarped_epochs": 2}), 10)
    assert (longer.training.epochs, longer.section.unwarped_epochs) == (10, 4)
    shorter = FaceSwapHooks.in_epochs(longer, 1)
    assert (shorter.training.epochs, shorter.section.unwarped_epochs) == (1, 0)
    with pytest.raises(ZooError, match=r"must be fewer than `training.epochs`.* Received: 5 of 5 epochs"):
        prepared(unwarped_epochs=5)
    text = presets.dump(presets.find("ae2d_mnist")) + "face_swap: {other: mnist, unwarped_epochs: 1}\n"
    with pytest.raises(ZooError, match="unknown key `face_swap`"):
        presets.parse(text, origin="mine")


@pytest.mark.nightly
def test_an_unbroken_run_and_a_resumed_one_end_alike(folders, monkeypatch):
    data = [f"folder:{folders / side}" for side in "ab"]
    training.train(folders / "mine", folders / "whole", data=data, verbose=0)
    keep = training._Checkpoint.on_epoch_end

    def interrupted(self, epoch, logs=None):
        keep(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Checkpoint, "on_epoch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(folders / "mine", folders / "halves", data=data, verbose=0)
    monkeypatch.setattr(training._Checkpoint, "on_epoch_end", keep)
    training.train(folders / "mine", folders / "halves", data=data, verbose=0)
    from keras_genzoo import zoo

    for a, b in zip(*(zoo.load(folders / n).get_weights() for n in ("whole", "halves")), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data-a", "a"], "--data-a and --data-b go together"),
        (["--data-a", "a", "--data-b", "b", "--data", "mnist"], "--data-a and --data-b go together"),
        (["--data-a", "a", "--data-b", "none"], "does not exist"),
        (["--data-a", "a", "--data-b", "empty"], "holds no image"),
        (
            ["--data-a", "a", "--data-b", "five"],
            "needs 50 training images of each person.* Received: 4 in folder:.*five",
        ),
        (["--data", "mnist"], "trains on 2 data sets. Received: data='mnist'"),
    ],
)
def test_bad_folders_are_named(arguments, complaint, folders, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    (folders / "five").mkdir()
    for i in range(5):
        shutil.copy(folders / "a" / f"{i}.png", folders / "five")
    assert cli.main(["train", "./mine", "--out", "out", *arguments]) == 2
    assert re.search(complaint, capsys.readouterr().err)
    assert not (folders / "out").exists()
