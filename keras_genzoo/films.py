"""Reads and writes films through ffmpeg: every frame at its own time, in the film's colours, beside its sound.

imageio-ffmpeg brings the program. Its own functions know no times of frames, no tags of colours and no exit status of
ffmpeg, so that the program is called here.
"""

import contextlib
import errno
import queue
import re
import signal
import subprocess
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from keras_genzoo import provenance
from keras_genzoo.errors import ZooError, visible
from keras_genzoo.typing import PathLike

_N_LAST_LINES, _N_CHARACTERS = 2, 160  # ffmpeg's last words in an error, at most
# Quality on x264's scale from 0 (lossless) to 51. No B-frames: with them, MP4 drops the duration of the last frame.
_ENCODER = ("-c:v", "libx264", "-crf", "10", "-bf", "0")
# Matrices of colours: ffmpeg's name of a tag -> that of its filter `scale`.
_MATRICES = {
    "bt709": "bt709", "fcc": "fcc", "bt470bg": "bt470", "smpte170m": "smpte170m", "smpte240m": "smpte240m",
    "bt2020nc": "bt2020",
}  # fmt: skip
_HD = (1280, 577)  # a film without tags that is so wide or so high is taken for BT.709, as players do; else for BT.601
_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}  # ffmpeg's name of a transfer function -> the usual one
_EXACT = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"  # without these `scale` is some levels off
# Codecs of sound that a container takes as they are (Matroska takes all); other sound is encoded anew.
_SOUND = {
    ".mp4": {"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"},
    ".mov": {"aac", "ac3", "alac", "eac3", "mp3", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"},
}
_SECOND = 1_000_000_000  # nanoseconds, the ticks of the stream that `Writer` sends
_UNKNOWN = "unknown"
# ffmpeg's messages.
_PREFIX = re.compile(r"\[(?:[^\]]* @ 0x\w+|info|warning|error|fatal)\] ")
_COMPLAINT = re.compile(r"\[(?:error|fatal)\] ")
_FRAME = re.compile(r"\bn: *\d+ pts: *(\S+) .*?duration: *(\S+) .*?fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+)")
_COLOURS = re.compile(r"color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)")
_TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
_DURATION = re.compile(r"Duration: (\d+):(\d+):([\d.]+)")
_RATE = re.compile(r"Video: .*?([\d.]+) fps")
_SOUND_CODEC = re.compile(r"Stream #\S+: Audio: (\w+)")
_DEPTH = re.compile(r"(?:p|p0|gray)(9|10|12|14|16)(?:le|be)$")


class Unreadable(ZooError):
    """A film, or a picture, that cannot be read."""


class Header(NamedTuple):
    """The form of a film.

    Attributes:
        size: Width and height of a frame in pixels, upright.
        time_base: Length of a tick in seconds; times are numbers of ticks.
        pixel_aspect: Width of a pixel over its height; None where the film does not say it.
        matrix: ffmpeg's name of the matrix of its colours: the one that it says, else the one that players assume.
        primaries: ffmpeg's name of its primaries, or "unknown".
        transfer: ffmpeg's name of its transfer function, or "unknown".
        tagged: Whether the film says its matrix.
        bits: Bits of a colour.
        n_frames: Number of frames, by duration and mean rate; None where these are unknown.
        sound: ffmpeg's names of the codecs of its sound.
    """

    size: tuple[int, int]
    time_base: Fraction
    pixel_aspect: Fraction | None
    matrix: str
    primaries: str
    transfer: str
    tagged: bool
    bits: int
    n_frames: int | None
    sound: tuple[str, ...]


class Frame(NamedTuple):
    """A frame of a film.

    Attributes:
        pixels: uint8 `(H, W, 3)`, upright.
        time: Ticks since the film's start.
        duration: Ticks until the next frame; 0 where the film does not say it.
    """

    pixels: np.ndarray
    time: int
    duration: int


def header(path: PathLike) -> Header:
    """Reads the form of a film. A film with more than 8 bits of a colour is announced by a warning.

    Args:
        path: Film.

    Returns:
        The header.

    Raises:
        Unreadable: No such file, or no film with a frame that can be read.
        ZooError: imageio-ffmpeg is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise Unreadable(f"{visible(path)} {'is no file' if path.exists() else 'does not exist'}")
    said: list[str] = []
    options = ["-map", "0:V:0", "-vf", "showinfo=checksum=0", "-frames:v", "1", "-f", "null", "-"]
    with _Process(["-i", _named(path), *options], listen=said.append) as process:
        failed = process.failure()
    found = [next(filter(None, map(pattern.search, said)), None) for pattern in (_FRAME, _COLOURS, _TIME_BASE)]
    frame, colours, time_base = found
    if failed or not (frame and colours and time_base):
        raise Unreadable(f"{visible(path)} is no readable film: {failed or 'it has no frame'}")
    aspect_width, aspect_height, width, height = map(int, frame.groups()[3:])
    matrix, primaries, transfer = colours.groups()
    tagged = matrix in _MATRICES
    if not tagged:
        matrix = "bt709" if width >= _HD[0] or height >= _HD[1] else "smpte170m"
    depth = _DEPTH.search(frame[3])
    form = Header(
        size=(width, height),
        time_base=Fraction(*map(int, time_base.groups())),
        pixel_aspect=Fraction(aspect_width, aspect_height) if aspect_width and aspect_height else None,
        matrix=matrix,
        primaries=primaries,
        transfer=transfer,
        tagged=tagged,
        bits=int(depth[1]) if depth else 8,
        n_frames=_n_frames("\n".join(said)),
        sound=tuple(match[1] for match in map(_SOUND_CODEC.search, said) if match),
    )
    if form.bits > 8 or transfer in _HDR:
        kind = f"HDR ({_HDR[transfer]}), " if transfer in _HDR else ""
        warnings.warn(
            f"{visible(path)} is {kind}{form.bits} bits a colour; its frames are taken as 8 bits"
            + (", without tone mapping: a film turned to SDR before gives better faces" if kind else ""),
            stacklevel=2,
        )
    return form


def _n_frames(said):
    duration, rate = _DURATION.search(said), _RATE.search(said)
    if not (duration and rate):
        return None
    seconds = sum(float(part) * unit for part, unit in zip(duration.groups(), (3600, 60, 1), strict=True))
    return round(seconds * float(rate[1]))


def frames(path: PathLike, form: Header, *, every: int = 1) -> Generator[Frame, None, None]:
    """Reads the frames of a film, upright, in RGB.

    A film that is damaged in the middle gives the frames that can be read, and a warning. An iteration that may stop
    before its end belongs into `contextlib.closing`, so that ffmpeg ends with it.

    Args:
        path: Film.
        form: Its header.
        every: Step from one frame to the next, >= 1.

    Yields:
        The frames.

    Raises:
        Unreadable: ffmpeg ended with an error.
    """
    chosen = f"select=not(mod(n\\,{every}))," if every > 1 else ""
    assumed = "" if form.tagged else f"in_color_matrix={_MATRICES[form.matrix]}:"
    filters = f"{chosen}showinfo=checksum=0,scale={assumed}{_EXACT},format=rgb24"
    described: queue.SimpleQueue[re.Match | None] = queue.SimpleQueue()

    def listen(line):
        if match := _FRAME.search(line):
            described.put(match)

    options = ["-map", "0:V:0", "-vf", filters, "-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    (width, height), earliest = form.size, 0
    with _Process(
        ["-copyts", "-i", _named(path), *options], listen=listen, at_end=lambda: described.put(None), stdout=True
    ) as process:
        while len(content := process.stdout.read(3 * width * height)) == 3 * width * height:
            match = described.get()
            if match is None:
                break
            # A frame without a time follows the last one. Two at one time would become one.
            time = max(int(match[1]) if match[1].lstrip("-").isdecimal() else earliest, earliest)
            earliest = time + 1
            duration = int(match[2]) if match[2].isdecimal() else 0
            yield Frame(np.frombuffer(content, "uint8").reshape(height, width, 3), time, duration)
        failed = process.failure()
    if failed:
        raise Unreadable(f"{visible(path)} cannot be read to its end: {failed}")
    if process.n_complaints:
        warnings.warn(
            f"{visible(path)} is damaged, and what can be read of it was used; ffmpeg has {process.n_complaints} "
            f"complaints, the last: {process.last[-1]}",
            stacklevel=2,
        )


class Writer:
    """Context that writes a film in H.264: frames at the times of a source's, with the source's sound.

    Args:
        path: File to write, as of `files.aside`.
        source: Film with the times and the sound.
        form: Header of the source. Size, colours and shape of the pixels are kept.
        arguments: More of ffmpeg's arguments.

    Attributes:
        n_frames: Number of frames that were written.

    Raises:
        OSError: ffmpeg ended with an error, such as a full disk; `files.aside` names the file.
    """

    def __init__(self, path: PathLike, source: PathLike, form: Header, arguments: list[str]):
        self.path, self.source, self.form, self.arguments = Path(path), source, form, arguments
        self._process: _Process | None = None
        self._first, self.n_frames = 0, 0

    def __enter__(self) -> "Writer":
        return self

    def write(self, pixels: np.ndarray, frame: Frame) -> None:
        """Writes a frame.

        Args:
            pixels: uint8 `(H, W, 3)`.
            frame: Frame of the source, whose time and duration it gets.
        """
        try:
            if self._process is None:
                self._process = self._begun(frame.time)
                self._process.stdin.write(_stream_header(self.form.size))
            time, duration = (
                round(ticks * self.form.time_base * _SECOND)
                for ticks in (
                    frame.time - self._first,
                    frame.duration,
                )
            )
            for part in _cluster(np.ascontiguousarray(pixels).data.cast("B"), time, duration):
                self._process.stdin.write(part)
            self.n_frames += 1
        except BrokenPipeError:  # ffmpeg has ended, and has said why
            self._finish("it ended early")

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._process is None:
            return
        if kind is None:
            self._finish()
        else:
            self._process.stop()

    def _begun(self, first):
        """ffmpeg, which waits for the first frame."""
        form = self.form
        self._first = first
        aspect = f",setsar={form.pixel_aspect.numerator}/{form.pixel_aspect.denominator}" if form.pixel_aspect else ""
        width, height = (side + side % 2 for side in form.size)  # H.264 that every player shows has even sides
        # A matrix of BT.709 that stands alone means all of BT.709; of a small film without tags nothing more is known.
        usual = "bt709" if form.matrix == "bt709" else _UNKNOWN
        primaries, transfer = (usual if tag == _UNKNOWN else tag for tag in (form.primaries, form.transfer))
        filters = (
            f"scale={width}:{height}:out_color_matrix={_MATRICES[form.matrix]}:out_range=tv:{_EXACT},format=yuv420p"
            f"{aspect},setparams=range=tv:colorspace={form.matrix}:color_primaries={primaries}:color_trc={transfer}"
        )
        takes = _SOUND.get(self.path.suffix.lower(), set(form.sound))
        codec = ["-c:a", "copy"] if takes.issuperset(form.sound) else ["-c:a", "aac", "-b:a", "192k"]
        return _Process(
            [
                # The stream to ffmpeg begins at 0; the film's pictures may begin later, and not with its sound.
                *("-copyts", "-itsoffset", f"{float(first * form.time_base):.9f}", "-f", "matroska", "-i", "-"),
                *(["-i", _named(self.source)] if form.sound else []),
                *("-map", "0:v", *(["-map", "1:a", *codec] if form.sound else [])),
                *("-vf", filters, *_ENCODER, "-fps_mode", "passthrough"),
                *("-enc_time_base", f"{form.time_base.numerator}/{form.time_base.denominator}"),
                *(*self.arguments, "-y", _named(self.path)),
            ],
            stdin=True,
        )

    def _finish(self, otherwise=None):
        assert self._process
        with self._process as process:
            failed = process.failure() or otherwise
        if failed:
            raise OSError(errno.EIO, f"ffmpeg failed: {failed}")


def remux(source: PathLike, path: PathLike) -> None:
    """Puts a film into another container; its pictures and its sound stay as they are.

    Args:
        source: Film.
        path: File to write, as of `files.aside`; its suffix names the container.

    Raises:
        OSError: ffmpeg ended with an error, such as a full disk; `files.aside` names the file.
    """
    options = ["-map", "0:V", "-map", "0:a?", "-c", "copy", "-y", _named(path)]
    with _Process(["-i", _named(source), *options]) as process:
        failed = process.failure()
    if failed:
        raise OSError(errno.EIO, f"ffmpeg failed: {failed}")


class _Process:
    """A run of ffmpeg, as a context that ends it. Its messages are read while it runs, else it would wait for that.

    Args:
        arguments: Arguments of ffmpeg.
        listen: Function of each line of its messages, called from a thread.
        at_end: Function that is called, from the thread, after the last line.
        stdin: Whether it is written to.
        stdout: Whether it is read from.
    """

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(
        self,
        arguments: list[str],
        *,
        listen: Callable[[str], Any] | None = None,
        at_end: Callable[[], Any] | None = None,
        stdin: bool = False,
        stdout: bool = False,
    ):
        program = provenance.ffmpeg()
        command = [program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *arguments]
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise ZooError(f"Cannot run {program}: {error.strerror}") from None
        self.stdin, self.stdout = self._popen.stdin, self._popen.stdout  # pyright: ignore
        self.last: deque[str] = deque(maxlen=_N_LAST_LINES)  # its last complaints
        self.n_complaints = 0
        self._thread = threading.Thread(target=self._read, args=(listen, at_end), daemon=True)
        self._thread.start()

    def _read(self, listen, at_end):
        for raw in self._popen.stderr:  # pyright: ignore
            line = raw.decode(errors="replace").strip()
            if listen:
                listen(line)
            if _COMPLAINT.search(line):
                self.n_complaints += 1
                self.last.append(visible(_PREFIX.sub("", line)))
        if at_end:
            at_end()

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def failure(self) -> str | None:
        """ffmpeg's last words where it ended with an error, once it has ended; None where it ended well."""
        if self.stdin:
            with contextlib.suppress(BrokenPipeError):  # the exit status says more
                self.stdin.close()
        status = self._popen.wait()
        self._thread.join()
        if status == 0:
            return None
        words = "; ".join(dict.fromkeys(self.last))[-_N_CHARACTERS:]
        ended = f"signal {_signal_name(-status)}" if status < 0 else f"exit status {status}"
        return f"{words} ({ended})" if words else ended

    def stop(self) -> None:
        """Kills ffmpeg if it still runs."""
        self._popen.kill()
        self._popen.wait()
        for stream in (self.stdin, self.stdout):  # what a script in ffmpeg's place has started ends by these
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._thread.join()
        self._popen.stderr.close()  # pyright: ignore


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _named(path):
    """A path as ffmpeg takes it, whatever it begins with: `-` would be an option, `http:` a host."""
    return f"file:{path}"


# === A stream of raw frames with their times ===
# Raw video has no times, so that frames go to ffmpeg in the least that Matroska asks for (RFC 9559).


def _element(identifier: str, content: bytes | int | str) -> bytes:
    if isinstance(content, int):
        content = content.to_bytes(8, "big")
    if isinstance(content, str):
        content = content.encode()
    return bytes.fromhex(identifier) + _length(len(content)) + content


def _length(n: int) -> bytes:
    return (1 << 56 | n).to_bytes(8, "big")


_ENDLESS = b"\x01" + 7 * b"\xff"  # the length of an element that goes on to the end of the stream


def _stream_header(size: tuple[int, int]) -> bytes:
    width, height = size
    video = _element("B0", width) + _element("BA", height) + _element("2EB524", "RGB\x18")  # 24 bits, red first
    track = _element("D7", 1) + _element("73C5", 1) + _element("83", 1)  # number, identifier, kind: pictures
    track += _element("22B59C", "und") + _element("86", "V_UNCOMPRESSED") + _element("E0", video)
    info = _element("1549A966", _element("2AD7B1", 1))  # a tick is a nanosecond
    tracks = _element("1654AE6B", _element("AE", track))
    return _element("1A45DFA3", _element("4282", "matroska")) + bytes.fromhex("18538067") + _ENDLESS + info + tracks


def _cluster(pixels: memoryview, time: int, duration: int) -> tuple[bytes | memoryview, ...]:
    """A cluster of one frame, in parts: what is before its pixels, these, and what is after them."""
    block = bytes.fromhex("81 0000 00")  # of track 1, at the cluster's time, without flags
    after = _element("9B", duration) if duration else b""
    before = bytes.fromhex("A1") + _length(len(block) + len(pixels)) + block
    group = bytes.fromhex("A0") + _length(len(before) + len(pixels) + len(after))
    content = _element("E7", time) + group
    cluster = bytes.fromhex("1F43B675") + _length(len(content) + len(before) + len(pixels) + len(after))
    return cluster + content + before, pixels, after
