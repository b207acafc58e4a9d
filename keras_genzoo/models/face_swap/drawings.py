"""Pictures of a face swap."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo import data, plots, provenance, zoo
from keras_genzoo.drawings import Request
from keras_genzoo.typing import PathLike


def showcase(request: Request) -> Path:
    """Draws held-out faces of both people through both decoders.

    Args:
        request: Preset, model, test images and file of the picture.

    Returns:
        The path of the file.
    """
    other = request.preset.section.other
    faces = data.to_unit(zoo.arrays(request.model, "test", name=other, data_dir=request.data_dir)[0])
    return swaps(request.model, request.test[0], faces, request.out)


def swaps(model: Any, images_a: np.ndarray, images_b: np.ndarray, path: PathLike, *, columns: int = 10) -> Path:
    """Draws six rows of faces: a, a through a's own decoder, a swapped to b; then b, b through its own, b swapped to a.

    The PNG's metadata mark its faces as made by a model, see `provenance`.

    Args:
        model: A `FaceSwap`.
        images_a: Faces of a, `(n, H, W, C)`, in [0, 1]; the first ones are drawn.
        images_b: Faces of b, likewise.
        path: PNG to write.
        columns: Greatest number of faces in a row, >= 1.

    Returns:
        The path of the file.

    Raises:
        ZooError: The file cannot be written.
    """
    columns = min(columns, len(images_a), len(images_b))
    a, b = images_a[:columns], images_b[:columns]
    rows = [
        *(a, model.autoencode(a, of="a"), model.swap(a, to="b")),
        *(b, model.autoencode(b, of="b"), model.swap(b, to="a")),
    ]
    pixels = plots.canvas(np.concatenate(rows), columns=columns).repeat(plots.SCALE, 0).repeat(plots.SCALE, 1)
    return provenance.write_image(np.round(255 * pixels).astype("uint8"), path)
