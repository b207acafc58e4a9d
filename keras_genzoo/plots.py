"""Pictures: image grids, reconstructions, filters, latent maps, decoded planes, training curves."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_genzoo import files
from keras_genzoo.errors import ZooError
from keras_genzoo.typing import PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALE = 2  # pixels of the picture, per side, for one of an image
_GAP = 2  # pixels between images
_GAP_GREY = 0.25  # intensity between images
_POINT = (1, 1, 2)  # shape of an image that is a point
_POINTS_SHOWN = 2_500  # number of points in a panel
_SHOWN_SIDE = 28  # pixels per side up to which small kernels are enlarged
_ROWS_SHOWN = 8  # rows of images in a picture of reconstructions
_TAIL = 0.2  # percent of the codes beyond each end of a map's axis
_STEEP = 3  # ratio of the largest to the smallest loss from which the axis is logarithmic
_DPI = 110  # pixels per inch of a figure


def grid(images: np.ndarray, path: PathLike, *, columns: int | None = None) -> Path:
    """Writes images as one PNG, left to right and top to bottom, each pixel as `SCALE` x `SCALE`.

    Args:
        images: Images, `(n, H, W, C)`, in [0, 1], C of 1 or 3; or points, `(n, 1, 1, 2)`, which are drawn as points.
        path: File to write, `.png`.
        columns: Images per row; None: a square.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from keras_genzoo import plots
        >>> plots.grid(np.zeros((4, 28, 28, 1)), pathlib.Path(tempfile.mkdtemp(), "black.png")).name
        'black.png'
    """
    if np.shape(images)[1:] == _POINT:
        return points([("", images)], path)
    return write_png(canvas(images, columns=columns).repeat(SCALE, 0).repeat(SCALE, 1), path)


def canvas(images: np.ndarray, *, columns: int | None = None) -> np.ndarray:
    """The pixels of `grid`, not enlarged.

    Args:
        images: Images, `(n, H, W, C)`, in [0, 1], C of 1 or 3.
        columns: Images per row; None: a square.

    Returns:
        `(rows, columns, 3)` float32, in [0, 1].
    """
    images = np.asarray(images, "float32")
    n, height, width, channels = images.shape
    columns = min(int(n), columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    pixels = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _GAP_GREY, "float32")
    for i, image in enumerate(images):
        top, left = (_GAP + (i // columns) * (height + _GAP), _GAP + (i % columns) * (width + _GAP))
        pixels[top : top + height, left : left + width] = np.clip(image if channels == 3 else image.repeat(3, -1), 0, 1)
    return pixels


def class_columns(model: Any) -> int | None:
    """Images per row in a picture of a model whose samples show all classes in turn: a column for each class.

    Args:
        model: A model of the zoo.

    Returns:
        The number of classes; None where the model takes none.
    """
    return model.n_classes if model.is_conditional else None


def showcase(
    model: Any,
    images: np.ndarray,
    path: PathLike,
    *,
    labels: np.ndarray | None = None,
    columns: int = 16,
    seed: int = 0,
) -> Path:
    """A preset's picture: four rows of samples, then two rows of images, each above a row of their reconstructions.

    A model that does not sample has no samples there, and one that does not reconstruct no reconstructions. A model of
    points gets one panel of data and one of samples.

    Args:
        model: A model of the zoo.
        images: Images, `(n, H, W, C)`, in [0, 1]; `2 * columns` of them are reconstructed, or one row where there are
            fewer.
        path: File to write, `.png`.
        labels: Labels for a conditional model, `(n,)` integers; each column then shows one class.
        columns: Images per row; a conditional model has one per class.
        seed: Seed of the samples and of the noise.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    if tuple(model.image_shape) == _POINT:
        n = min(len(images), _POINTS_SHOWN)
        return points([("data", images[:n]), (f"{n} samples", model.sample(n, seed=seed))], path)
    columns = class_columns(model) or min(columns, len(images))
    parts = [model.sample(4 * columns, seed=seed)] if model.can("sample") else []
    if model.can("reconstruct"):
        parts.append(_reconstructed(model, images, labels, columns, seed, rows=2))
    return grid(np.concatenate(parts), path, columns=columns)


def points(panels: Sequence[tuple[str, np.ndarray]], path: PathLike) -> Path:
    """Points of the plane, one panel per set, in the coordinates of their square; see `data.made.Mixture`.

    Args:
        panels: Titles and points, `[(title, images)]`, the images `(n, 1, 1, 2)` in [0, 1].
        path: File to write.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    drawing, axes = figure(len(panels), width=4.5, height=4.7)
    for panel, (title, images) in zip(axes, panels, strict=True):
        scatter(panel, np.reshape(images, (-1, 2)), None)
        panel.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return save(drawing, path)


def reconstructions(
    model: Any,
    images: np.ndarray,
    path: PathLike,
    *,
    labels: np.ndarray | None = None,
    columns: int = 16,
    seed: int = 0,
) -> Path:
    """Eight rows of images above their reconstructions; for a denoising model also a row of noisy images in between.

    Args:
        model: A model with `reconstruct`.
        images: Images, `(n, H, W, C)`, in [0, 1]; those shown are evenly spaced among them.
        path: File to write, `.png`.
        labels: Labels for a conditional model, `(n,)` integers; each column then shows one class.
        columns: Images per row; a conditional model has one per class.
        seed: Seed of the noise.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    columns = class_columns(model) or min(columns, len(images))
    return grid(_reconstructed(model, images, labels, columns, seed, rows=_ROWS_SHOWN), path, columns=columns)


def _reconstructed(
    model: Any, images: np.ndarray, labels: np.ndarray | None, columns: int, seed: int, *, rows: int
) -> np.ndarray:
    """Rows of images, of noisy ones where the model denoises, and of reconstructions, `(n, H, W, C)`."""
    missing = np.zeros(len(images), bool)
    if labels is not None:
        (classes,) = model.checked_labels(labels[: len(images)], len(images))
        indices = _one_of_each(classes, columns, rows)
        images, labels, missing = images[indices], np.arange(len(indices)) % columns, indices < 0
    elif len(images) > rows * columns:  # a sorted data set would show its first class alone
        images = images[np.linspace(0, len(images) - 1, rows * columns).astype(int)]
    parts = []
    for start in range(0, len(images) - columns + 1, columns):
        row = slice(start, start + columns)
        shown = [images[row]]
        if model.is_denoising:
            shown.append(model.corrupt(shown[0], level=model.corruption.level[1], seed=seed + start))
        shown.append(model.reconstruct(shown[-1], *(() if labels is None else (labels[row],))))
        if labels is not None:
            is_empty = missing[row][:, None, None, None]
            shown = [np.where(is_empty, np.float32(_GAP_GREY), pictures) for pictures in shown]
        parts += shown
    return np.concatenate(parts)


def _one_of_each(labels: np.ndarray, n_classes: int, rows: int) -> np.ndarray:
    """Indices of images in rows of one of each class, evenly spaced among its images; -1 where it has no more."""
    rows = min(rows, np.bincount(labels).max())
    table = np.full((rows, n_classes), -1)
    for c in range(n_classes):
        of_class = np.flatnonzero(labels == c)
        shown = np.linspace(0, len(of_class) - 1, min(rows, len(of_class))).astype(int)
        table[: len(shown), c] = of_class[shown]
    return table.ravel()


def filters(model: Any, path: PathLike, *, n: int = 100) -> Path:
    """The weights of the first layer on pixels, one picture per unit, sorted by their norm; grey is 0.

    The layer belongs to an encoder or a discriminator, and a picture shows the pattern that its unit responds to. Each
    picture is scaled by its own largest weight.

    Args:
        model: A model of the zoo.
        path: File to write, `.png`.
        n: Number of units to show, at most.

    Returns:
        The path.

    Raises:
        ZooError: The network has no layer of weights on pixels, or the file cannot be written.
    """
    return _weights(model, getattr(model, model.SEES_PIXELS), path, n, axis=0)


def atoms(model: Any, path: PathLike, *, n: int = 100) -> Path:
    """The weights of the last layer, whose outputs are pixels, one picture per unit, sorted by their norm; grey is 0.

    The layer belongs to a decoder or a generator, and a picture shows the pattern that its unit adds. Each picture is
    scaled by its own largest weight.

    Args:
        model: A model of the zoo.
        path: File to write, `.png`.
        n: Number of units to show, at most.

    Returns:
        The path.

    Raises:
        ZooError: The network has no layer of weights on pixels, or the file cannot be written.
    """
    return _weights(model, getattr(model, model.MAKES_PIXELS), path, n, axis=1)


def _weights(model: Any, network: Any, path: PathLike, n: int, *, axis: int) -> Path:
    """Pictures of the first kernel with pixels for inputs (axis 0), or of the last with pixels for outputs (axis 1)."""
    images = _pictures_of_weights(network, model.image_shape, axis)
    if images is None:
        raise ZooError(f"{model.name} has no layer of weights over pixels to show")
    flat = np.abs(images).reshape(len(images), -1)
    indices = np.argsort(-np.linalg.norm(flat, axis=1), kind="stable")[:n]
    scaled = 0.5 + 0.5 * images[indices] / np.maximum(flat.max(1)[indices], 1e-12)[:, None, None, None]
    if scaled.shape[-1] not in (1, 3):
        scaled = scaled.mean(-1, keepdims=True)
    factor = max(1, _SHOWN_SIDE // scaled.shape[1])  # for the few pixels of a convolution
    return grid(scaled.repeat(factor, 1).repeat(factor, 2), path)


def _pictures_of_weights(network: Any, image_shape: tuple[int, int, int], axis: int) -> np.ndarray | None:
    """The weights of the layer on pixels, `(units, H, W, C)`; None where there is no such layer."""
    height, width, channels = image_shape
    kernels = [np.asarray(weight) for weight in network.weights if weight.name == "kernel"]
    for kernel in kernels if axis == 0 else reversed(kernels):
        # The third axis is a convolution's inputs, and a transposed convolution's outputs.
        if kernel.ndim == 4 and kernel.shape[2] == channels:
            return kernel.transpose(3, 0, 1, 2)
        if kernel.ndim == 2 and kernel.shape[axis] == height * width * channels:
            return (kernel.T if axis == 0 else kernel).reshape(-1, height, width, channels)
    return None


def latent_map(codes: Sequence[tuple[str, np.ndarray]], labels: np.ndarray | None, path: PathLike) -> Path:
    """Maps of codes coloured by class, one panel per model.

    Args:
        codes: Titles and codes, `[(title, z)]`, z `(n, latent_dim)`. A map of more than two numbers shows their first
            two principal components.
        labels: Labels, `(n,)` integers; None: one colour.
        path: File to write.

    Returns:
        The path.

    Raises:
        ZooError: Codes of one number, or a file that cannot be written.
    """
    drawing, panels = figure(len(codes), width=6.4, height=6)
    for panel, (title, z) in zip(panels, codes, strict=True):
        names = ("z[0]", "z[1]")
        if z.shape[1] > 2:
            centred = z - z.mean(0)
            z = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
            names = ("first principal component", "second principal component")
        elif z.shape[1] < 2:
            raise ZooError(f"{title} has codes of one number; a map needs two")
        scatter(panel, z, labels)
        # The axes leave a few far codes out, which would shrink all others to a blot.
        for values, limit in zip(z.T, (panel.set_xlim, panel.set_ylim), strict=True):
            low, high = np.percentile(values, [_TAIL, 100 - _TAIL])
            limit(low - 0.05 * (high - low), high + 0.05 * (high - low))
        panel.set(title=title, xlabel=names[0], ylabel=names[1])
    if labels is not None:
        legend = panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=4, frameon=False)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
    return save(drawing, path)


def scatter(panel: Any, z: np.ndarray, labels: np.ndarray | None, *, size: float = 4) -> None:
    """Draws points coloured by class.

    Args:
        panel: A panel of `figure`.
        z: Points, `(n, 2)`.
        labels: Labels, `(n,)` integers; None: one colour.
        size: Area of a point, in square points of print.
    """
    from matplotlib import colormaps

    for i, value in enumerate([None] if labels is None else np.unique(labels)):
        rows = slice(None) if value is None else labels == value
        name = None if value is None else str(value)
        panel.scatter(*z[rows].T, s=size, color=colormaps["tab10"](i % 10), alpha=0.5, linewidths=0, label=name)


def manifold(model: Any, images: np.ndarray, path: PathLike, *, side: int = 20) -> Path:
    """The plane of a two-dimensional code, decoded on a grid; z[0] grows to the right, z[1] upwards.

    The grid of a VAE lies between the quantiles 0.02 and 0.98 of its prior N(0, 1), in steps of equal probability. An
    autoencoder has no prior; its grid has equal steps over the middle 96 % of the codes of `images`.

    Args:
        model: A model with `decode` and `latent_dim` 2.
        images: Images, `(n, H, W, C)`, in [0, 1]; a VAE does not use them.
        path: File to write, `.png`.
        side: Images per side.

    Returns:
        The path.

    Raises:
        ZooError: A code of more or fewer than two numbers, or a file that cannot be written.
    """
    if model.latent_dim != 2:
        raise ZooError(f"A decoded plane needs latent_dim 2. Received: {model.name} with {model.latent_dim}")
    axes = [np.array(model.code_axis(i, images, side=side)) for i in range(2)]
    z = np.array([(x, y) for y in axes[1][::-1] for x in axes[0]], "float32")
    return grid(model.decode(z), path, columns=side)


def traversal(model: Any, images: np.ndarray, path: PathLike, *, rows: int = 10, columns: int = 11) -> Path:
    """The effect of each number of a VAE's code: along a row one number goes from -3 to 3 and the others stay.

    The rows are the numbers with the largest variance over the images, in that order. All begin with the code of the
    first image.

    Args:
        model: A VAE, not conditional.
        images: Images, `(n, H, W, C)`, in [0, 1].
        path: File to write, `.png`.
        rows: Number of rows, at most.
        columns: Images per row.

    Returns:
        The path.

    Raises:
        ZooError: Another model, or a file that cannot be written.
    """
    if not model.can("traverse"):
        raise ZooError(f"A traversal needs a VAE that no label changes. Received: {model.name}")
    codes = model.codes(images)
    indices = np.argsort(-codes.var(axis=0), kind="stable")[:rows]
    z = np.repeat(codes[:1], len(indices) * columns, axis=0).reshape(len(indices), columns, -1)
    for row, j in zip(z, indices, strict=True):
        row[:, j] = np.linspace(-3, 3, columns)
    return grid(model.decode(z.reshape(-1, z.shape[-1])), path, columns=columns)


def curves(history: Sequence[dict[str, float]], path: PathLike) -> Path:
    """Curves of losses or of other numbers over time, one panel each.

    Args:
        history: Numbers by name, one dict per epoch, as in history.json; or one dict per look, with its training step
            under "step", as in `GANMonitor.looks`.
        path: File to write.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    # In a file a number that was not finite is null.
    series = {key: [math.nan if logs[key] is None else logs[key] for logs in history] for key in history[0]}
    # A loss that is 0 throughout, such as a missing penalty, or equals the total has no panel.
    series = {
        key: values for key, values in series.items() if key == "loss" or (any(values) and values != series.get("loss"))
    }
    steps = series.pop("step", None)
    drawing, panels = figure(len(series), width=4.8, height=3.6, columns=4)
    for panel, (key, values) in zip(panels, series.items(), strict=True):
        panel.plot(steps or range(1, len(values) + 1), values, marker="." if len(values) < 50 else None)
        # A linear axis would show the steep first epochs, and a flat line after them.
        if min(values) > 0 and max(values) > _STEEP * min(values):
            panel.set_yscale("log")
        panel.set(title=key, xlabel="training step" if steps else "epoch")
        panel.grid(alpha=0.3, which="both")
    return save(drawing, path)


def figure(n: int, *, width: float, height: float, columns: int | None = None) -> tuple["Figure", np.ndarray]:
    """A figure of n panels. It is not pyplot's, so that a notebook's settings stay as they are.

    Args:
        n: Number of panels, >= 1.
        width: Width of a panel, in inches.
        height: Height of a panel, in inches.
        columns: Panels per row; None: all.

    Returns:
        `(figure, panels)`, the panels an array `(n,)` of Matplotlib's `Axes`.
    """
    from matplotlib.figure import Figure

    columns = min(n, columns or n)
    rows = math.ceil(n / columns)
    drawing = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = drawing.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[n:]:
        panel.remove()
    return drawing, panels[:n]


def save(drawing: "Figure", path: PathLike) -> Path:
    """Writes a figure.

    Args:
        drawing: A figure of `figure`.
        path: File to write; its ending is the format.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    return _write(path, lambda path: drawing.savefig(path, dpi=_DPI))


def write_png(pixels: np.ndarray, path: PathLike) -> Path:
    """Writes pixels as a PNG, small: grey where all colours are equal.

    Args:
        pixels: Pixels, `(H, W, 3)`, in [0, 1].
        path: File to write.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    from PIL import Image  # an import that only pictures need

    pixels = np.round(255 * np.clip(pixels, 0, 1)).astype("uint8")
    is_grey = np.all(pixels == pixels[..., :1])
    image = Image.fromarray(pixels[..., 0] if is_grey else pixels)
    return _write(path, lambda path: image.save(path, format="PNG", optimize=True))


def _write(path: PathLike, write: Callable[[Path], Any]) -> Path:
    """Calls `write` with a temporary file that takes the path's place; returns the path."""
    path = Path(path).expanduser()
    try:
        with files.aside(path) as temporary:
            write(temporary)
    except ValueError as error:
        raise error if isinstance(error, ZooError) else files.cannot_write(path, error) from None
    return path
