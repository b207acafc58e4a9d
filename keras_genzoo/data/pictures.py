"""Emoji in all styles and people who do not exist, together: what the judge of colour learns from.

Labels 0 to 8 are the emoji's categories, and 9 means a person. Factors are the people's; an emoji has none.
"""

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
        `(images, labels)`: uint8 `(n, H, W, C)`, and int64 `(n,)`, numbers of `class_names`.

    Raises:
        ZooError: No such split, or a damaged file.
        MissingDataError: A part is not here.
    """
    source = {"data_dir": data_dir, "image_shape": image_shape, **asked}
    pictures, labels = emoji.arrays(emoji.NAME, split, **source)
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
    n = len(emoji.STYLES) * len(emoji.rows_of(split))
    return np.concatenate([np.full((n, known.shape[1]), np.nan, "float32"), known]), names
