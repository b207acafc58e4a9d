"""Pictures: image grids, reconstructions, filters, latent maps, decoded planes, training curves."""

import math
import statistics
from pathlib import Path

import numpy as np

from keras_genzoo import provenance
from keras_genzoo.errors import ZooError

_POINT = (1, 1, 2)  # the shape of an image that is a point
_POINTS_SHOWN = 2_500
_GAP, _SCALE = 2, 2  # pixels between images, and of the picture per pixel of an image


def grid(images, path, *, columns=None):
    """Writes images as one PNG, left to right and top to bottom, pixel for pixel (twice enlarged).

    Args:
        images: `(n, H, W, C)` in [0, 1], C of 1 or 3; or points, `(n, 1, 1, 2)`, which are drawn as such.
        path: File to write, `.png`.
        columns: Images per row; None: a square.

    Returns:
        The path.
    """
    if np.shape(images)[1:] == _POINT:
        return points([("", images)], path)
    return write_png(canvas(images, columns=columns).repeat(_SCALE, 0).repeat(_SCALE, 1), path)


def canvas(images, *, columns=None):
    """The pixels of `grid`, not enlarged: `(rows, columns, 3)` float32 in [0, 1]."""
    images = np.asarray(images, "float32")
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    pixels = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 0.25, "float32")
    for i, image in enumerate(images):
        top, left = (_GAP + (i // columns) * (height + _GAP), _GAP + (i % columns) * (width + _GAP))
        pixels[top : top + height, left : left + width] = np.clip(image if channels == 3 else image.repeat(3, -1), 0, 1)
    return pixels


def showcase(model, images, path, *, labels=None, columns=16, seed=0):
    """A preset's picture: four rows of samples where the model samples; then, where it reconstructs, two times a row of
    images above their reconstructions. Of a face swap see `swaps`.

    Args:
        model: A model of the zoo.
        images: `(n, H, W, C)` in [0, 1]; `2 * columns` from all over them are reconstructed, of fewer whole rows.
        labels: Of a conditional model, `(n,)` integers; its samples are then columns of one class each.
    """
    if tuple(model.image_shape) == _POINT:
        n = min(len(images), _POINTS_SHOWN)
        return points([("data", images[:n]), (f"{n} samples", model.sample(n, seed=seed))], path)
    columns = columns if labels is None else model.n_classes
    columns = min(columns, len(images))
    parts = [model.sample(4 * columns, seed=seed)] if hasattr(model, "sample") else []
    if hasattr(model, "reconstruct"):
        parts.append(_reconstructed(model, images, labels, columns, seed, rows=2))
    return grid(np.concatenate(parts), path, columns=columns)


def swaps(model, images_a, images_b, path, *, columns=10):
    """Six rows of faces: a, a by a's own decoder, a swapped to b; b, b by b's own, b swapped to a. The PNG says that
    faces in it are made, see `provenance`.

    Args:
        model: A `FaceSwap`.
        images_a, images_b: `(n, H, W, C)` in [0, 1] of both people; the first ones are shown.
    """
    columns = min(columns, len(images_a), len(images_b))
    a, b = images_a[:columns], images_b[:columns]
    rows = [
        *(a, model.autoencode(a, of="a"), model.swap(a, to="b")),
        *(b, model.autoencode(b, of="b"), model.swap(b, to="a")),
    ]
    pixels = canvas(np.concatenate(rows), columns=columns).repeat(_SCALE, 0).repeat(_SCALE, 1)
    return provenance.write_image(np.round(255 * pixels).astype("uint8"), path)


def points(panels, path):
    """Points of the plane, one panel per set of them, in the coordinates of their square.

    Args:
        panels: `[(title, images (n, 1, 1, 2) in [0, 1])]`, see `synthetic.Mixture`.
    """
    drawing, axes = figure(len(panels), width=4.5, height=4.7)
    for panel, (title, images) in zip(axes, panels, strict=True):
        scatter(panel, np.reshape(images, (-1, 2)), None)
        panel.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return save(drawing, path)


def reconstructions(model, images, path, *, labels=None, columns=16, seed=0):
    """Rows of images above their reconstructions; of a denoising autoencoder images, noisy images, denoised ones.

    Args:
        model: A model with `reconstruct`.
        images: `(n, H, W, C)` in [0, 1]; eight rows from all over them are shown.
        labels: Of a conditional model, `(n,)` integers.
        seed: Of the noise.
    """
    columns = min(columns, len(images))
    return grid(_reconstructed(model, images, labels, columns, seed, rows=8), path, columns=columns)


def _reconstructed(model, images, labels, columns, seed, *, rows):
    if len(images) > rows * columns:  # many data sets are sorted by class: the first ones would be of one
        chosen = np.linspace(0, len(images) - 1, rows * columns).astype(int)
        images, labels = images[chosen], None if labels is None else labels[chosen]
    parts = []
    for start in range(0, len(images) - columns + 1, columns):
        clean = images[start : start + columns]
        parts.append(clean)
        seen = clean
        if getattr(model, "corruption", None):
            seen = model.corrupt(clean, level=model.corruption["level"][1], seed=seed + start)
            parts.append(seen)
        known = () if labels is None else (labels[start : start + columns],)
        parts.append(model.reconstruct(seen, *known))
    return np.concatenate(parts)


def filters(model, path, *, n=100):
    """The weights of the first layer that sees pixels, one picture per unit, the strongest first; grey is 0.

    Of an encoder or a discriminator: what each unit looks for. Each picture is scaled by its own largest weight.

    Args:
        n: How many units to show, at most.
    """
    return _weights(model, getattr(model, "encoder", None) or model.discriminator, path, n, axis=0)


def atoms(model, path, *, n=100):
    """The weights of the last layer, which makes the pixels, one picture per unit, the strongest first; grey is 0.

    Of a decoder or a generator: what each unit paints. Arguments as in `filters`.
    """
    return _weights(model, getattr(model, "decoder", None) or model.generator, path, n, axis=1)


def _weights(model, network, path, n, *, axis):
    """Pictures of the first kernel with pixels going in (axis 0), or of the last with pixels coming out (axis 1)."""
    height, width, channels = model.image_shape
    kernels = [weight.numpy() for weight in network.weights if weight.name == "kernel"]
    for kernel in kernels if axis == 0 else reversed(kernels):
        if kernel.ndim == 4 and kernel.shape[2] == channels:  # in of a convolution, out of a transposed one
            images = kernel.transpose(3, 0, 1, 2)
        elif kernel.ndim == 2 and kernel.shape[axis] == height * width * channels:
            images = (kernel.T if axis == 0 else kernel).reshape(-1, height, width, channels)
        else:
            continue
        break
    else:
        raise ZooError(f"{model.name} has no layer of weights over pixels to show")
    flat = np.abs(images).reshape(len(images), -1)
    chosen = np.argsort(-np.linalg.norm(flat, axis=1), kind="stable")[:n]
    scaled = 0.5 + 0.5 * images[chosen] / np.maximum(flat.max(1)[chosen], 1e-12)[:, None, None, None]
    if channels not in (1, 3):
        scaled = scaled.mean(-1, keepdims=True)
    enlarge = max(1, 28 // scaled.shape[1])  # of a convolution's few pixels
    return grid(scaled.repeat(enlarge, 1).repeat(enlarge, 2), path)


def latent_map(codes, labels, path):
    """Maps of codes coloured by class, one panel per model.

    Args:
        codes: `[(title, codes (n, latent_dim))]`. Of more than two numbers, the first two principal components.
        labels: `(n,)` integers; None: one colour.
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
        # Nearly all: a few far codes would shrink the rest to a blot.
        for values, limit in zip(z.T, (panel.set_xlim, panel.set_ylim), strict=True):
            low, high = np.percentile(values, [0.2, 99.8])
            limit(low - 0.05 * (high - low), high + 0.05 * (high - low))
        panel.set(title=title, xlabel=names[0], ylabel=names[1])
    if labels is not None:
        legend = panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=4, frameon=False)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
    return save(drawing, path)


def scatter(panel, z, labels, *, size=4):
    """Points `(n, 2)` coloured by class; one colour where `labels` is None."""
    from matplotlib import colormaps

    for i, value in enumerate([None] if labels is None else np.unique(labels)):
        these = slice(None) if value is None else labels == value
        name = None if value is None else str(value)
        panel.scatter(*z[these].T, s=size, color=colormaps["tab10"](i % 10), alpha=0.5, linewidths=0, label=name)


def manifold(model, images, path, *, side=20):
    """The plane of a two-dimensional code, decoded on a grid; z[0] grows to the right, z[1] upwards.

    Of a VAE, between the quantiles 0.02 and 0.98 of the prior N(0, 1), equally likely steps apart. Of an autoencoder,
    which has no prior, even steps over the middle 96 % of the codes of `images`.

    Args:
        model: A model with `decode` and `latent_dim` 2.
        images: `(n, H, W, C)` in [0, 1]; a VAE needs none.
        side: Images per side.
    """
    if model.latent_dim != 2:
        raise ZooError(f"A decoded plane needs latent_dim 2. Received: {model.name} with {model.latent_dim}")
    if hasattr(model, "sample"):
        axis = [statistics.NormalDist().inv_cdf(p) for p in np.linspace(0.02, 0.98, side)]
        axes = [axis, axis]
    else:
        axes = [np.linspace(*np.percentile(values, [2, 98]), side) for values in model.codes(images).T]
    z = np.array([(x, y) for y in axes[1][::-1] for x in axes[0]], "float32")
    return grid(model.decode(z), path, columns=side)


def traversal(model, images, path, *, rows=10, columns=11):
    """What each number of a VAE's code does: from the left to the right it goes from -3 to 3, the others stay.

    The rows are the numbers that vary most over the images, the most first; their start is the code of the first image.

    Args:
        model: A VAE, not conditional.
        images: `(n, H, W, C)` in [0, 1].
        rows: Numbers of the code to show, at most.
    """
    if not hasattr(model, "likelihood") or model.n_classes:
        raise ZooError(f"A traversal needs a VAE that no label changes. Received: {model.name}")
    codes = model.codes(images)
    most = np.argsort(-codes.var(axis=0), kind="stable")[:rows]
    z = np.repeat(codes[:1], len(most) * columns, axis=0).reshape(len(most), columns, -1)
    for row, j in zip(z, most, strict=True):
        row[:, j] = np.linspace(-3, 3, columns)
    return grid(model.decode(z.reshape(-1, z.shape[-1])), path, columns=columns)


def curves(history, path):
    """Losses by epoch, one panel each; or whatever was noted, by its `step`.

    Args:
        history: A list of dicts, one per epoch: a preset's history.json. Or with a `step` in each: `GANMonitor.looks`.
    """
    # A part that is 0 throughout (no penalty) or equals the loss says nothing.
    series = {key: [logs[key] for logs in history] for key in history[0]}
    shown = {
        key: values for key, values in series.items() if key == "loss" or (any(values) and values != series.get("loss"))
    }
    steps = shown.pop("step", None)
    drawing, panels = figure(len(shown), width=4.8, height=3.6, columns=4)
    for panel, (key, values) in zip(panels, shown.items(), strict=True):
        panel.plot(steps or range(1, len(values) + 1), values, marker="." if len(values) < 50 else None)
        # The first epochs' fall would flatten all that follows.
        if min(values) > 0 and max(values) > 3 * min(values):
            panel.set_yscale("log")
        panel.set(title=key, xlabel="training step" if steps else "epoch")
        panel.grid(alpha=0.3, which="both")
    return save(drawing, path)


def figure(n, *, width, height, columns=None):
    """A figure and its n panels, `columns` (all) side by side. Not pyplot's: a notebook's settings stay as they are."""
    from matplotlib.figure import Figure

    columns = min(n, columns or n)
    rows = math.ceil(n / columns)
    drawing = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = drawing.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[n:]:
        panel.remove()
    return drawing, panels[:n]


def save(drawing, path):
    """Writes a `figure`; a ZooError where the file cannot be written."""
    return _write(path, lambda path: drawing.savefig(path, dpi=110))


def write_png(pixels, path):
    """Writes `(H, W, 3)` floats in [0, 1] as a PNG, small; a ZooError where the file cannot be written."""
    from PIL import Image  # an import that only pictures need

    pixels = np.round(255 * np.clip(pixels, 0, 1)).astype("uint8")
    grey = np.all(pixels == pixels[..., :1])
    image = Image.fromarray(pixels[..., 0] if grey else pixels)
    return _write(path, lambda path: image.save(path, format="PNG", optimize=True))


def _write(path, write):
    """Lets `write` make the file, its folder first; returns the path."""
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except (OSError, ValueError) as error:
        raise ZooError(f"Cannot write {path}: {error}") from None
    return path
