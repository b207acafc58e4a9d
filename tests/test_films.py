"""Films through `faces.swap`: times, sound, colours, shape; full disks and broken programs; what is left behind."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_faces import Painter, no_face

from keras_genzoo import cli, faces, films, provenance
from keras_genzoo.errors import ZooError

pytest.importorskip("imageio_ffmpeg")
RED = (62, 102, 239)
SYNTHETIC = "compositeWithTrainedAlgorithmicMedia"


def ffmpeg(*arguments):
    """What ffmpeg says, which made or read a file."""
    command = [provenance.ffmpeg(), "-hide_banner", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    return done.stdout + done.stderr


def made(path, *, size="64x48", seconds=1, rate=30, colour=None, filters="null", sound=None, options=()):
    """A film at `path`: a moving picture, or one colour, after ffmpeg's filters."""
    picture = f"color=c=0x{bytes(colour).hex()}:" if colour else "testsrc2="
    inputs = ["-f", "lavfi", "-i", f"{picture}s={size}:d={seconds}:r={rate}{',format=rgb24' if colour else ''}"]
    if sound:
        inputs += ["-f", "lavfi", "-i", f"sine=d={seconds}", "-c:a", sound]
    ffmpeg(*inputs, "-vf", filters, "-fps_mode", "vfr", "-g", "5", *options, path)
    assert path.stat().st_size
    return path


def packets(path, kind="v"):
    """`[(time, checksum)]` of a film's packets, times in seconds, in the order of these."""
    said = ffmpeg("-v", "error", "-copyts", "-i", path, "-map", f"0:{kind}:0", "-c", "copy", "-f", "framecrc", "-")
    numerator, denominator = map(int, re.search(r"#tb 0: (\d+)/(\d+)", said).groups())
    rows = [line.split(",") for line in said.splitlines() if re.match(r"0, ", line)]
    tick = numerator / denominator
    return sorted((int(row[2]) * tick, row[5].strip()) for row in rows)


def length(path):
    """The duration that a player shows, in seconds."""
    hours, minutes, seconds = re.search(r"Duration: (\d+):(\d+):([\d.]+)", ffmpeg("-i", path)).groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def last_pixel(path, matrix):
    """The colour of the first frame's last pixel, by a matrix that is not read from the file."""
    raw = path.with_suffix(".raw")
    filters = f"scale=in_color_matrix={matrix}:flags=accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24"
    ffmpeg("-i", path, "-vf", filters, "-frames:v", "1", "-f", "rawvideo", raw)
    return np.fromfile(raw, "uint8")[-3:]


def one_corner(pixels):
    """In place of the detector: a face of 34 pixels in the corner, so that a film counts as changed."""
    return [faces.Face(points=faces.TEMPLATE * 8 + 2, size=34.0, certainty=1.0)]


def swapped(source, out, **options):
    return faces.swap(Painter(), source, out, detect=one_corner, visible=False, verbose=False, **options)


# === Times and sound ===


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("seconds", "rate", "filters"),
    [
        (10, 30, r"select=mod(n\,10)"),  # every tenth frame is missing
        (3, 60, r"select=lt(n\,20)+gt(n\,150)+not(mod(n\,31))"),  # a screen's recording: long stills
        (2, 25, "setpts=PTS+0.5/TB"),  # the pictures begin after the sound
        (1, "30000/1001", "null"),
    ],
)
@pytest.mark.parametrize("sound", ["aac", None])
def test_every_frame_keeps_its_time_and_the_sound_too(sound, seconds, rate, filters, suffix, tmp_path):
    source = made(tmp_path / f"in{suffix}", seconds=seconds, rate=rate, filters=filters, sound=sound)
    out = tmp_path / f"out{suffix}"
    before = packets(source)
    assert swapped(source, out)["written"] == len(before)
    after = packets(out)
    frame = 1 / eval(str(rate))
    times = [[time for time, _ in packets] for packets in (before, after)]
    np.testing.assert_allclose(*times, atol=0.0011)  # Matroska's tick is a millisecond
    assert abs(length(out) - length(source)) <= frame
    if sound:
        assert packets(out, "a") == packets(source, "a")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_long_last_frame_stays_long(suffix, tmp_path):
    """As a recording of a screen on which nothing moves any more."""
    short, source, out = (tmp_path / f"{name}{suffix}" for name in ("short", "in", "out"))
    made(short, seconds=0.3, rate=10, options=("-bf", "0"))
    ffmpeg("-i", short, "-c", "copy", "-bsf:v", r"setts=duration=if(eq(N\,2)\,2.8/TB\,DURATION)", source)
    assert length(source) == pytest.approx(3, abs=0.01)
    swapped(source, out)
    assert length(out) == pytest.approx(3, abs=0.01)
    assert len(packets(out)) == 3


def test_sound_that_a_container_does_not_take_is_encoded_anew(tmp_path):
    source = made(tmp_path / "in.mkv", sound="pcm_s16le")
    for suffix, codec in ((".mp4", "aac"), (".mov", "pcm_s16le"), (".mkv", "pcm_s16le")):
        swapped(source, tmp_path / f"out{suffix}")
        assert f"Audio: {codec}" in ffmpeg("-i", tmp_path / f"out{suffix}")
        assert abs(length(tmp_path / f"out{suffix}") - 1) < 1 / 30


# === Colours and shape ===


@pytest.mark.parametrize(
    ("size", "matrix", "tag", "said"),
    [
        ("1280x720", "bt709", "bt709", "tv, bt709,"),
        ("1280x720", "bt709", None, "tv, bt709,"),  # HD without tags: BT.709, as players take it
        ("1280x720", "bt601", "smpte170m", "tv, smpte170m/"),
        ("64x48", "bt601", None, "tv, smpte170m/"),  # a small film without tags: BT.601
        ("64x48", "bt709", "bt709", "tv, bt709,"),
        ("64x48", "bt2020", "bt2020nc", "tv, bt2020nc/"),
    ],
)
def test_colours_stay_and_the_film_says_its_matrix(size, matrix, tag, said, tmp_path):
    filters = f"format=rgb24,scale=out_color_matrix={matrix}:flags=accurate_rnd+full_chroma_int,format=yuv420p"
    filters += f",setparams=colorspace={tag or 'unknown'}:color_primaries=unknown:color_trc=unknown"
    out = tmp_path / "out.mp4"
    source = made(tmp_path / "in.mp4", size=size, seconds=0.1, colour=RED, filters=filters)
    assert bool(re.search(", (bt|smpte)", ffmpeg("-i", source))) == bool(tag)
    seen = []

    def detect(pixels):
        seen.append(pixels[-1, -1])
        return one_corner(pixels)

    faces.swap(Painter(), source, out, detect=detect, visible=False, verbose=False)
    np.testing.assert_allclose(seen[0], RED, atol=1)
    np.testing.assert_allclose(last_pixel(out, matrix), RED, atol=1)
    assert said in ffmpeg("-i", out)


def test_full_range_is_read_as_such(tmp_path):
    filters = "format=rgb24,scale=out_color_matrix=bt601:out_range=pc:flags=accurate_rnd,format=yuvj420p"
    source = made(tmp_path / "in.mp4", seconds=0.1, colour=(250, 250, 250), filters=filters)
    assert "yuvj420p(pc" in ffmpeg("-i", source)
    swapped(source, tmp_path / "out.mp4")
    np.testing.assert_allclose(last_pixel(tmp_path / "out.mp4", "bt601"), 250, atol=1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pixels_keep_their_shape_and_a_turned_film_is_turned_once(suffix, tmp_path):
    wide = made(tmp_path / f"wide{suffix}", seconds=0.2, filters="setsar=4/3")
    swapped(wide, tmp_path / f"wide_out{suffix}")
    assert "SAR 4:3" in ffmpeg("-i", tmp_path / f"wide_out{suffix}")
    plain = made(tmp_path / f"plain{suffix}", seconds=0.2, filters="setsar=4/3,drawbox=w=32:color=white:t=fill")
    turned = tmp_path / f"turned{suffix}"
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", turned)
    swapped(turned, tmp_path / f"turned_out{suffix}")
    said = ffmpeg("-i", tmp_path / f"turned_out{suffix}")
    assert "48x64 [SAR 3:4" in said
    assert "rotation" not in said
    both = (turned, tmp_path / f"turned_out{suffix}")
    before, after = (next(films.frames(path, films.header(path))).pixels for path in both)
    assert np.abs(before[:, 16:].astype("float64") - after[:, 16:]).mean() < 6
    assert np.abs(after[2:30].mean() - after[-30:-2].mean()) > 60  # the white half is above or below, not at a side


def test_odd_sides_become_even(tmp_path):
    source = made(tmp_path / "in.mkv", size="66x50", seconds=0.2, filters="crop=65:49:0:0:exact=1,format=yuv444p")
    assert "65x49" in ffmpeg("-i", source)
    swapped(source, tmp_path / "out.mp4")
    assert "66x50" in ffmpeg("-i", tmp_path / "out.mp4")


DEEP = "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc="


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (f"{DEEP}smpte2084", r"is HDR \(PQ\), 10 bits a colour"),
        (f"{DEEP}arib-std-b67", r"is HDR \(HLG\), 10 bits a colour"),
        ("format=yuv420p10le", "is 10 bits a colour"),
    ],
)
def test_a_film_of_more_than_8_bits_is_announced_in_a_line(filters, said, tmp_path, capsys, monkeypatch):
    source = made(tmp_path / "in.mkv", seconds=0.2, filters=filters)
    with pytest.warns(UserWarning, match=said) as caught:
        swapped(source, tmp_path / "out.mkv")
    assert len(caught) == 1
    monkeypatch.setattr(faces, "detector", lambda: one_corner)
    assert cli.main(["faces", "extract", str(source), str(tmp_path / "faces")]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower()]
    assert re.match(f"keras-genzoo: warning: .*{said}", line)


# === No face ===


def test_a_film_without_a_face_is_copied_as_it_is(tmp_path):
    source = made(tmp_path / "in.mp4", seconds=0.5, sound="aac")
    counts = faces.swap(Painter(), source, tmp_path / "out.mp4", detect=no_face, verbose=False)
    assert (counts["written"], counts["faces"], counts["no face"], counts["copied"]) == (15, 0, 15, 1)
    assert (tmp_path / "out.mp4").read_bytes() == source.read_bytes()
    assert provenance.read(tmp_path / "out.mp4")["digital_source_type"] is None
    faces.swap(Painter(), source, tmp_path / "out.mkv", detect=no_face, verbose=False)  # another container
    for kind in "va":
        assert len(packets(source, kind)) == len(packets(tmp_path / "out.mkv", kind))
    assert provenance.read(tmp_path / "out.mkv")["digital_source_type"] is None
    assert "h264" in ffmpeg("-i", tmp_path / "out.mkv")


# === Faces of films ===


def test_a_face_may_come_late(tmp_path):
    """The frames before it are looked at once, and written."""
    source, looked = made(tmp_path / "in.mp4", seconds=0.5), []

    def detect(pixels):
        looked.append(pixels.copy())
        return one_corner(pixels) if len(looked) > 9 else []

    counts = faces.swap(Painter(), source, tmp_path / "out.mp4", detect=detect, visible=False, verbose=False)
    assert (counts["written"], counts["faces"], counts["no face"]) == (15, 6, 9)
    assert len(looked) == 16  # the first face is found twice
    np.testing.assert_array_equal(looked[9], looked[10])
    np.testing.assert_allclose([time for time, _ in packets(tmp_path / "out.mp4")], np.arange(15) / 30, atol=1e-3)
    assert provenance.read(tmp_path / "out.mp4")["digital_source_type"] == SYNTHETIC


def test_faces_of_a_film_are_cut_out_of_every_nth_frame(tmp_path, capsys, monkeypatch):
    source = made(tmp_path / "walk.mp4", rate=10, filters=r"select=mod(n\,4)")
    assert len(packets(source)) == 7
    counts = faces.extract(source, tmp_path / "out", size=32, every_frame=3, detect=one_corner, verbose=False)
    assert (counts["written"], counts["pictures"]) == (3, 3)
    assert sorted(os.listdir(tmp_path / "out")) == [f"walk_{i:06}.png" for i in (0, 3, 6)]
    with Image.open(tmp_path / "out" / "walk_000003.png") as image:
        assert "face_landmarks" in image.text
    monkeypatch.setattr(faces, "detector", lambda: one_corner)
    command = ["faces", "extract", str(source), str(tmp_path / "all"), "--size", "32", "--every-frame"]
    assert cli.main([*command, "1"]) == 0
    assert "written: 7, pictures: 7" in capsys.readouterr().err
    assert cli.main([*command, "0"]) == 2
    assert "`every_frame` must be >= 1. Received: 0" in capsys.readouterr().err


def test_a_folder_may_hold_films_and_pictures(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    made(source / "walk.mp4", rate=10)
    Image.fromarray(np.full((60, 60, 3), 90, "uint8")).save(source / "walk.png")
    (source / "bad.mov").write_bytes(b"no film")
    with pytest.warns(UserWarning, match=r"skipped 1 of 3 files:\n.*bad.mov is no readable film: .*Invalid data"):
        counts = faces.extract(source, tmp_path / "cut", size=32, detect=one_corner, verbose=False)
    assert (counts["written"], counts["broken"]) == (2, 1)
    assert sorted(os.listdir(tmp_path / "cut")) == ["walk_000000.png", "walk_png.png"]
    with pytest.warns(UserWarning, match="bad.mov"):
        counts = swapped(source, tmp_path / "out")
    assert (counts["written"], counts["faces"], counts["broken"]) == (11, 11, 1)
    for name in ("walk.mp4", "walk.png"):
        assert provenance.read(tmp_path / "out" / name)["digital_source_type"] == SYNTHETIC


# === Full disks and broken programs ===


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if done.returncode:
        pytest.skip("only root mounts a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


NOISE = "noise=alls=100:allf=t"


def test_a_full_disk_is_an_error_and_the_old_film_stays(small_disk, tmp_path, capsys, monkeypatch):
    source = made(tmp_path / "in.mp4", size="320x240", seconds=0.5, filters=NOISE)
    (small_disk / "out.mp4").write_bytes(b"old")
    for suffix in (".mp4", ".mkv"):
        with pytest.raises(ZooError, match=rf"Cannot write .*out{suffix}: ffmpeg failed: .*No space left on device"):
            swapped(source, small_disk / f"out{suffix}")
        with pytest.raises(ZooError, match=r"Cannot write .*No space left on device"):  # a copy
            faces.swap(Painter(), source, small_disk / f"out{suffix}", detect=no_face, verbose=False)
    monkeypatch.setattr(faces, "detector", lambda: one_corner)
    monkeypatch.setattr(cli, "loaded", lambda name: SwapModel())
    assert cli.main(["faces", "swap", "mine", str(source), str(small_disk / "out.mp4")]) == 2
    assert re.fullmatch(r"keras-genzoo: error: Cannot write .*No space left on device.*\n", capsys.readouterr().err)
    assert os.listdir(small_disk) == ["out.mp4"]
    assert (small_disk / "out.mp4").read_bytes() == b"old"


class SwapModel(Painter):
    def can(self, what):
        return what == "swap"


def test_pictures_on_a_full_disk_are_an_error_too(small_disk, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), "uint8")).save(tmp_path / "in.png")
    (small_disk / "in.png").write_bytes(b"old")
    (small_disk / "full").write_bytes(bytes(200_000))
    whole = [faces.Face(points=faces.TEMPLATE * 300, size=200.0, certainty=1.0)]
    for job in (
        lambda: swapped(tmp_path / "in.png", small_disk / "in.png"),
        lambda: faces.swap(Painter(), tmp_path / "in.png", small_disk / "in.png", detect=no_face),
        lambda: faces.extract(tmp_path / "in.png", small_disk, size=300, detect=lambda _: whole),
    ):
        with pytest.raises(ZooError, match=r"Cannot write .*in.png: No space left on device"):
            job()
    assert sorted(os.listdir(small_disk)) == ["full", "in.png"]
    assert (small_disk / "in.png").read_bytes() == b"old"


# In other processes, `faces` without the seconds of TensorFlow's import, which films do not need.
ALONE = """
import sys, time, types, unittest.mock
sys.modules["tensorflow"] = unittest.mock.MagicMock()
import numpy as np
from keras_genzoo import faces
model = types.SimpleNamespace(image_shape=(64, 64, 3), swap=lambda images, to: images)
seen = []
def detect(pixels):
    seen.append(None)
    if len(seen) == 20:
        print("working", flush=True)
    if len(seen) >= 20:
        time.sleep(float(sys.argv[3]))
    return [faces.Face(points=faces.TEMPLATE * 8 + 2, size=34.0, certainty=1.0)]
"""
SWAP = ALONE + "faces.swap(model, sys.argv[1], sys.argv[2], detect=detect)"
EXTRACT = ALONE + "faces.extract(sys.argv[1], sys.argv[2], detect=detect, every_frame=1)"


def alone(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_limit_of_file_size_is_an_error(tmp_path):
    """As `ulimit -f` sets it: the system ends ffmpeg by a signal."""
    source = made(tmp_path / "in.mp4", size="320x240", seconds=1, filters=NOISE)
    (tmp_path / "out.mp4").write_bytes(b"old")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    with alone(limit + SWAP, source, tmp_path / "out.mp4", 0) as process:
        said = process.communicate()[1]
    assert process.returncode == 1
    assert re.search(r"Error: Cannot write .*out.mp4: ffmpeg failed: .*(SIGXFSZ|File too large)", said)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("part", "ending", "complaint"),
    [
        ("libx264", "echo '[x @ 0x1] [error] it broke' >&2; exit 7", r"Cannot write .*it broke \(exit status 7\)"),
        ("libx264", "cat >/dev/null; exit 7", r"Cannot write .*exit status 7"),
        ("libx264", "kill -9 $$", r"Cannot write .*signal SIGKILL"),
        ("rawvideo", "REAL; exit 3", r"in.mp4 cannot be read to its end: exit status 3"),
        ("rawvideo", "REAL | head -c 30000; kill -9 $$", r"in.mp4 cannot be read to its end: .*signal SIGKILL"),
    ],
)
def test_the_exit_status_of_ffmpeg_is_read(part, ending, complaint, tmp_path, monkeypatch):
    source = made(tmp_path / "in.mp4")
    (tmp_path / "out.mp4").write_bytes(b"old")
    program = tmp_path / "ffmpeg"
    real = f'"{provenance.ffmpeg()}" "$@"'
    program.write_text(f'#!/bin/sh\ncase "$*" in *{part}*) {ending.replace("REAL", real)};; esac\nexec {real}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(provenance, "ffmpeg", lambda: str(program))
    with pytest.raises(ZooError, match=complaint):
        swapped(source, tmp_path / "out.mp4")
    assert sorted(os.listdir(tmp_path)) == ["ffmpeg", "in.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old"


def test_a_film_damaged_in_the_middle_is_told(tmp_path):
    source = made(tmp_path / "in.mkv", size="320x240", filters=NOISE)
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    source.write_bytes(content)
    with pytest.warns(UserWarning, match=r"in.mkv is damaged, and what can be read of it was used; ffmpeg has \d+"):
        swapped(source, tmp_path / "out.mkv")


def test_no_program_is_told(tmp_path, monkeypatch):
    source = made(tmp_path / "in.mp4", seconds=0.2)
    monkeypatch.setattr(provenance, "ffmpeg", lambda: str(tmp_path / "none"))
    with pytest.raises(ZooError, match=r"Cannot run .*none: No such file"):
        swapped(source, tmp_path / "out.mp4")


@pytest.mark.parametrize(("code", "written"), [(SWAP, 0), (EXTRACT, 19)])
def test_sigterm_leaves_nothing_behind(code, written, tmp_path):
    source, out = made(tmp_path / "in.mp4", size="320x240", seconds=2), tmp_path / "out" / "new.mp4"
    with alone(code, source, out, 9) as process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    left = [file.name for file in out.parent.rglob("*") if file.is_file()]
    assert sorted(left) == [f"in_{i:06}.png" for i in range(written)]
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process that has just ended
            assert str(tmp_path).encode() not in file.read_bytes()


def test_a_program_that_has_a_way_of_its_own_to_end_keeps_it(tmp_path):
    source, before = made(tmp_path / "in.mp4", seconds=0.2), signal.getsignal(signal.SIGTERM)
    own = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGTERM, own)
    try:
        faces.swap(
            Painter(), source, tmp_path / "out.mp4", verbose=False,
            detect=lambda pixels: [] if signal.getsignal(signal.SIGTERM) is own else 1 / 0,
        )  # fmt: skip
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    swapped(source, tmp_path / "again.mp4")
    assert signal.getsignal(signal.SIGTERM) == before
