"""Image grids. Arrays in, pictures out."""

import math
from pathlib import Path

import numpy as np

from keras_genzoo.errors import ZooError

_GAP, _SCALE = 2, 2  # pixels between images, and of the picture per pixel of an image


def grid(images, path, *, columns=None):
    """Writes images as one PNG, left to right and top to bottom, pixel for pixel (twice enlarged).

    Args:
        images: `(n, H, W, C)` in [0, 1], C of 1 or 3.
        path: File to write, `.png`.
        columns: Images per row; None: a square.

    Returns:
        The path.
    """
    images = np.asarray(images, "float32")
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 0.25, "float32")
    for i, image in enumerate(images):
        top, left = (_GAP + (i // columns) * (height + _GAP), _GAP + (i % columns) * (width + _GAP))
        canvas[top : top + height, left : left + width] = np.clip(image if channels == 3 else image.repeat(3, -1), 0, 1)
    return write_png(canvas.repeat(_SCALE, 0).repeat(_SCALE, 1), path)


def showcase(model, images, path, *, columns=16, seed=0):
    """A preset's picture: four rows of samples where the model samples; then, where it reconstructs, two rows of
    images, each above its reconstruction.

    Args:
        model: A model of the zoo.
        images: At least `2 * columns` images in [0, 1], which the model reconstructs.
    """
    parts = []
    if hasattr(model, "sample"):
        parts.append(model.sample(4 * columns, seed=seed))
    if hasattr(model, "reconstruct"):
        chosen = images[: 2 * columns]
        reconstructions = model.reconstruct(chosen)
        for row in (slice(0, columns), slice(columns, None)):
            parts += [chosen[row], reconstructions[row]]
    return grid(np.concatenate(parts), path, columns=columns)


def write_png(pixels, path):
    """Writes `(H, W, 3)` floats in [0, 1] as a PNG; a ZooError where the file cannot be written."""
    from matplotlib.image import imsave  # half a second of import that only pictures need

    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, pixels)
    except (OSError, ValueError) as error:
        raise ZooError(f"Cannot write {path}: {error}") from None
    return path
