"""Emoji in all styles and people who do not exist, together: what the judge of colour learns from.

Labels 0 to 8 are the emoji's categories, and 9 means a person. Factors are the people's; an emoji has none.
"""

import warnings
from typing import Any

import numpy as np

from keras_genzoo.data import emoji, people

NAME = "pictures"
_PERSON = "Person"  # name of the class after the emoji's


def arrays(
    name: str, split: str, *, data_dir: str | None, image_shape: tuple[int, int, int] | None, **asked: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The images of a split: all emoji of `emoji.STYLES`, then the people.

    Args:
        name: "pictures".
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
        image_shape: Shape to which images are stretched; None: `(64, 64, 3)`.
        **asked: `ground` of the emoji, see `emoji.arrays`.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`, and int64 `(n,)`, numbers of `class_names`. Where a style is not here,
        the test images are of the others, and a warning says so.

    Raises:
        ZooError: No such split, or a damaged file.
        MissingDataError: A part is not here.
    """
    source = {"data_dir": data_dir, "image_shape": image_shape, **asked}
    styles = _styles(split, data_dir)
    missing = [style for style in emoji.STYLES if style not in styles]
    if missing:
        warnings.warn(f"The emoji are without {' and '.join(missing)}, which is not in the package", stacklevel=3)
    pictures, labels = emoji.arrays(emoji.PREFIX + "+".join(styles), split, **source)
    faces, _ = people.arrays(people.NAME, split, **source)
    persons = np.full(len(faces), class_names().index(_PERSON), "int64")
    return np.concatenate([pictures, faces]), np.concatenate([labels, persons])


def class_names() -> list[str]:
    """The emoji's categories, and "Person"."""
    return [*emoji.class_names(), _PERSON]


def factors(name: str, split: str, *, data_dir: str | None) -> tuple[np.ndarray, list[str]]:
    """The factors of `people.factors`, one row for each image of `arrays`; NaN of an emoji.

    Args:
        name: "pictures".
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.

    Returns:
        `(values, names)`: float32 `(n, 26)`, and the names of the columns.

    Raises:
        ZooError, MissingDataError: As `arrays`.
    """
    known, names = people.factors(people.NAME, split, data_dir=data_dir)
    n = len(_styles(split, data_dir)) * len(emoji.rows_of(split))
    return np.concatenate([np.full((n, known.shape[1]), np.nan, "float32"), known]), names


def is_bundled_part(split: str, *, data_dir: str | None) -> bool:
    """Whether `arrays` gives bundled images of a split alone.

    Args:
        split: "train" or "test".
        data_dir: Folder of data sets; None: there is none.
    """
    return _styles(split, data_dir) != emoji.STYLES or people.is_bundled_part(split, data_dir=data_dir)


def _styles(split, data_dir):
    """The styles of a split: of "test" those that are here, as a part serves to plot and to export."""
    return emoji.here(data_dir) if split == "test" else emoji.STYLES
