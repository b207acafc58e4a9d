"""1,852 emoji in three styles, 64 pixels a side, transparent; labels are Unicode's categories.

Image i of every style shows the same code point. Noto and Twemoji are bundled; Fluent comes from the folder of data
sets. A code point is in the test split in all styles or in none, by a hash of it.
"""

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.data import bundled, packed
from keras_genzoo.errors import MissingDataError, ZooError, nearest

NAME = "emoji"  # all styles, one after the other
PREFIX = f"{NAME}:"  # start of the names of some styles, such as "emoji:noto" or "emoji:noto+twemoji"
STYLES = ("noto", "twemoji", "fluent")
SPLITS = ("train", "test")
_FOLDER = bundled.BUNDLED / NAME
_BUNDLED_SHA256 = {
    "noto": "4bbe11df4642c73548f46a9c792f15fc6048e8d5ee06ebf53e9958b40118ac1c",
    "twemoji": "f8f59dacf95a42647ef3e0326d56ac489e0443e1692fb687de621c9157bc47e8",
}
_TABLE, _TABLE_SHA256 = "emoji.json.gz", "fe33bf05ad429f57399f521e22569f0694a7cac2bc8ae0a5b503caa5d4ee33a1"


def arrays(
    name: str,
    split: str,
    *,
    data_dir: str | None,
    image_shape: tuple[int, int, int] | None,
    ground: str | None = None,
    **_: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The images of some styles, one style after the other, each in the order of the code points.

    Args:
        name: "emoji" for all of `STYLES`, or such as "emoji:noto+twemoji".
        split: "train" (1,642 of each style) or "test" (210).
        data_dir: Folder of data sets; None: there is none.
        image_shape: Shape to which images are stretched, `(H, W, C)`; None: their own, `(64, 64, 3)`.
        ground: One of `packed.GROUNDS`; None: "white".

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`; int64 `(n,)`, numbers of `class_names`.

    Raises:
        ZooError: No such style or split, or a damaged file.
        MissingDataError: A style is neither bundled nor in the folder.
    """
    styles = styles_of(name)
    shape = tuple(image_shape) if image_shape else None
    images = [_images(_file(style, data_dir), split, ground or "white", shape) for style in styles]
    numbers = {name: number for number, name in enumerate(class_names())}
    categories = np.array([numbers[table()[row]["category"]] for row in rows_of(split)], "int64")
    return np.concatenate(images) if len(images) > 1 else images[0], np.tile(categories, len(styles))


def styles_of(name: str) -> tuple[str, ...]:
    """The styles that a name means.

    Raises:
        ZooError: An unknown style, or one that is named twice.
    """
    if name == NAME:
        return STYLES
    styles = tuple(name.removeprefix(PREFIX).split("+"))
    for style in styles:
        if style not in STYLES:
            raise ZooError(f"{NAME} has the styles {', '.join(STYLES)}. Received: {style!r}" + nearest(style, STYLES))
    if len(set(styles)) < len(styles):
        raise ZooError(f"Each style stands once in a name. Received: {name!r}")
    return styles


def here(data_dir: str | None) -> tuple[str, ...]:
    """The styles that are bundled or in a folder of data sets.

    Args:
        data_dir: Folder of data sets; None: there is none.
    """
    return tuple(
        style
        for style in STYLES
        if style in _BUNDLED_SHA256 or (data_dir and Path(data_dir, NAME, f"{style}.npz").is_file())
    )


def rows_of(split: str) -> np.ndarray:
    """The numbers of a split's code points in `table()`.

    Raises:
        ZooError: No such split.
    """
    if split not in SPLITS:
        raise ZooError(f"{NAME} has the splits {', '.join(SPLITS)}. Received: {split!r}")
    return np.array([i for i, entry in enumerate(table()) if entry["split"] == split])


def class_names() -> list[str]:
    """The categories, in the order of their labels."""
    return sorted({entry["category"] for entry in table()})


@functools.lru_cache(maxsize=1)
def table() -> list[dict[str, str]]:
    """What is known of each code point: `code`, `name`, `category`, `subcategory` and `split`."""
    return json.loads(gzip.decompress(packed.bundled(_FOLDER / _TABLE, _TABLE_SHA256).read_bytes()))


def _file(style, data_dir):
    path = Path(data_dir, NAME, f"{style}.npz") if data_dir else None
    if path and path.is_file():
        return path
    if style in _BUNDLED_SHA256:
        return packed.bundled(_FOLDER / f"{style}.npz", _BUNDLED_SHA256[style])
    raise MissingDataError(
        f"The style {style!r} of {NAME} is missing; looked for {Path(data_dir or 'DIR', NAME, style)}.npz. Put it "
        f"there, and set KERAS_GENZOO_DATA=DIR or give --data-dir; {' and '.join(_BUNDLED_SHA256)} are bundled"
    )


@functools.lru_cache(maxsize=8)
def _images(path, split, ground, image_shape):
    rows, stored = rows_of(split), packed.read(path)
    if len(stored["offsets"]) - 1 != len(table()):
        raise ZooError(f"{path} is damaged: it has not {len(table()):,} pictures; fetch it again")
    images = packed.laid(packed.decoded(stored, rows, path=path), ground, rows=rows)
    return packed.stretched(images, image_shape)
