"""The seeded cases: mutated presets, damaged weights, JSON of something else, command lines."""

import json
import random
import re
from pathlib import Path

from keras_genzoo import choices, files, presets

# Values that a number, a name or a list of a preset.yaml is replaced by.
VALUES = [
    *(
        "2020-13-45",
        "0x_",
        "!!int abc",
        "!!python/name:os.system",
        "&a [*a]",
        "*a",
        "[" * 2000,
        "9" * 5000,
        "1e9",
        "010",
    ),
    *(
        "1000000000",
        "1e9",
        "-1",
        "0",
        "null",
        "true",
        "no",
        "''",
        "[]",
        "{}",
        "[[]]",
        "{a: {b: {c: 1}}}",
        ".nan",
        "-.inf",
    ),
    *(
        "1e400",
        "1.5",
        "'1'",
        "[1, 2, 3]",
        "[-1]",
        "[0, 0, 0]",
        "[100000000, 100000000, 3]",
        "99999999",
        "\x00",
        "\x1b[2J",
    ),
    *(
        "'\\u202e'",
        '"\\e]0;x\\a"',
        "!!binary abc",
        "? a",
        "|",
        "x" * 3000,
        "é" * 60,
        "{name: x}",
        "{name: [1]}",
        "{1: 2}",
    ),
    *("{name: mlp_encoder, units: [99999999]}", "{name: mlp_encoder, units: [1, 1e9]}", "vae", "\x1b[2J"),
]
JSON = [
    *(b"\xff\xfe", b"", b"[]", b"1", b"null", b"{", b'"x"', b'{"rows": null}', b'{"rows": [1]}', b'{"rows": [{}]}'),
    *(b"[" * 50_000, b"1" * 5000, b"NaN", b"[NaN]", b"[[]]", b'[{"loss": null}]', b'[{"loss": "x"}]', b'[{"": {}}]'),
    *(b'{"bytes": -1, "sha256": 3}', b'{"bytes": 1e400}', b'{"epoch": "x"}', b'{"origin": []}', b'{"\\ud800": 1}'),
]
NUMBERS = ["0", "-1", "1", "9" * 12, "9" * 400, "9" * 5000, "1.5", "x", "", "nan", "0x10", "\u0661"]
PATHS = ["x" * 300, "/proc/x/y", "a\x1b[2J", "caf\udce9", "", ".", "/", "/dev/null", "~nobody/x", "a/" * 3000]
NAMES = ["vae_mist", "./nowhere", "", "/", "..", "x" * 5000, "\x1b[2J", "caf\udce9", "./tiny", "tiny", "/dev/null/x"]
OPTIONS = {  # of each command that can be told at once to be wrong: option -> values
    "info": {"--json": None},
    "sample": {"-n": NUMBERS, "--seed": NUMBERS, "--label": NUMBERS, "--mixture": NUMBERS, "--out": PATHS},
    "plot": {"--kind": [*choices.kinds(), "x"], "--beside": NAMES, "--out": PATHS},
    "evaluate": {"--n-images": NUMBERS, "--n-samples": NUMBERS, "--n-importance-samples": NUMBERS},
    "export": {"--out": PATHS, "--format": ["litert", "x"], "--quantize": ["int8", "x"]},
    "study": {"--epochs": ["0", "-1", "9" * 30, "x"]},
    "list": {"--json": None, "--jsn": None},
    "faces": {"--size": NUMBERS, "--to": ["c"]},
    "": {"--version": None, "--help": None},
}


def preset(number: int, seed: int) -> bytes:
    """The text of a preset of the zoo, once or twice mutated."""
    draw = random.Random(f"preset {seed} {number}")
    folders = [presets.CONFIGS / name for name in presets.names()]
    text = (draw.choice(folders) / presets.PRESET_FILE).read_bytes()
    mutations = (*[_with_number] * 6, *[_with_value] * 3, _without_line, _with_bytes, _doubled, _cut)
    for _ in range(draw.choice((1, 1, 2))):
        text = draw.choice(mutations)(text, draw)
    return text


def _with_value(text, draw):
    lines = text.decode(errors="replace").splitlines()
    i = draw.randrange(len(lines))
    key, colon, _ = lines[i].partition(":")
    lines[i] = f"{key}{colon or ':'} {draw.choice(VALUES)}"
    return "\n".join(lines).encode(errors="replace")


def _with_number(text, draw):
    """A size or a rate of the model is another one, which may well be good."""
    places = list(re.finditer(rb"(?<=[ \[:])\d+(?=[,\]}\n])", text))
    if not places:
        return text
    place = draw.choice(places)
    return text[: place.start()] + draw.choice((b"1", b"2", b"3", b"8", b"33", b"100", b"7.5")) + text[place.end() :]


def _without_line(text, draw):
    lines = text.splitlines()
    del lines[draw.randrange(len(lines))]
    return b"\n".join(lines) or b"x"


def _doubled(text, draw):
    lines = text.splitlines()
    i = draw.randrange(len(lines))
    return b"\n".join([*lines[:i], *[lines[i]] * draw.choice((2, 300)), *lines[i:]])


def _with_bytes(text, draw):
    text = bytearray(text)
    for _ in range(draw.choice((1, 3, 30))):
        text[draw.randrange(len(text))] = draw.randrange(256)
    return bytes(text)


def _cut(text, draw):
    return text[: draw.randrange(1, len(text) + 1)]


def damaged(whole: bytes, number: int, seed: int) -> bytes:
    """A file with a flipped bit, other bytes at its head, a hole, or without its end."""
    draw = random.Random(f"weights {seed} {number}")
    data, kind = bytearray(whole), draw.choice(("flip", "flip", "head", "hole", "cut"))
    place = draw.randrange(len(data))
    if kind == "flip":
        data[place] ^= 1 << draw.randrange(8)
    elif kind == "head":
        for _ in range(3):
            data[draw.randrange(min(len(data), 6000))] = draw.randrange(256)
    elif kind == "hole":
        end = min(place + draw.randrange(1, 400), len(data))
        data[place:end] = bytes(end - place)
    else:
        del data[place:]
    return bytes(data)


def record(number: int, seed: int) -> tuple[str, bytes]:
    """The name of a JSON file, and its content: something else, or its own once damaged."""
    draw = random.Random(f"record {seed} {number}")
    file = draw.choice((presets.WEIGHTS_RECORD, presets.METRICS_FILE, presets.HISTORY_FILE, "state.json"))
    source = presets.CONFIGS / "vae_mnist" / file
    if source.is_file() and draw.random() < 0.4:
        return file, _with_bytes(source.read_bytes(), draw)
    return file, draw.choice(JSON)


def command(number: int, seed: int) -> list[str]:
    """The arguments of a command line, of which at least one is no good."""
    draw = random.Random(f"command {seed} {number}")
    name = draw.choice(list(OPTIONS))
    arguments = [name] if name else []
    if name in ("info", "sample", "plot", "evaluate", "export"):
        arguments.append(draw.choice(NAMES))
    elif name == "study":
        arguments += [draw.choice(("beta", "x")), "--epochs", draw.choice(OPTIONS["study"]["--epochs"])]
    elif name == "faces":
        arguments += [draw.choice(("extract", "swap", "check", "x")), *draw.choices(PATHS, k=draw.randrange(4))]
    for option in draw.sample(list(OPTIONS[name]), k=draw.randrange(len(OPTIONS[name]) + 1)):
        values = OPTIONS[name][option]
        arguments += [option] if values is None else [option, draw.choice(values)]
    return arguments


def with_right_hash(folder: Path) -> None:
    """Brings the record of a preset folder up to its weights, as who damages on purpose would."""
    file = folder / presets.WEIGHTS_FILE
    content = json.loads((folder / presets.WEIGHTS_RECORD).read_text(encoding="utf-8"))
    content |= {"bytes": file.stat().st_size, "sha256": files.sha256(file)}
    (folder / presets.WEIGHTS_RECORD).write_text(json.dumps(content), encoding="utf-8")
