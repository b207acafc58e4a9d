"""Pictures of a preset by their kind, as `keras-genzoo plot` draws them, and pictures of its samples.

The record of a family lists its kinds of pictures.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo import data, files, models, plots, presets, samplers, zoo
from keras_genzoo.choices import FIRST
from keras_genzoo.choices import kinds as kinds
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import Preset
from keras_genzoo.progress import working
from keras_genzoo.typing import PathLike


class Request:
    """A request for a picture: the preset, its model and its test images, each loaded when it is first needed.

    Args:
        preset: The preset.
        out: File to write.
        data_dir: Folder of data sets, see `data.load`.
        beside: Another preset, for a second panel; None: none.
    """

    def __init__(self, preset: Preset, out: PathLike, data_dir: str | Path | None, beside: Preset | None):
        self.preset, self.out, self.data_dir, self.beside = preset, out, data_dir, beside

    @functools.cached_property
    def model(self) -> Any:
        """The preset's trained model."""
        return zoo.load(self.preset.folder)

    @functools.cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Test images, float32 in [0, 1], and their labels; None where the data has none."""
        pixels, labels = zoo.arrays(self.model, "test", data_dir=self.data_dir)
        return data.to_unit(pixels), labels

    @property
    def classes(self) -> np.ndarray | None:
        """The labels of the test images where the model is conditional; else None."""
        return self.test[1] if self.model.is_conditional else None


def draw(
    preset: Preset,
    kind: str = FIRST,
    out: PathLike | None = None,
    *,
    data_dir: str | Path | None = None,
    beside: Preset | None = None,
) -> Path:
    """Draws a picture of a preset over the test images of its data.

    Args:
        preset: A trained preset.
        kind: One of `kinds()` that the preset's family draws.
        out: PNG to write; None: NAME.png for the showcase, else NAME_KIND.png.
        data_dir: Folder of data sets, see `data.load`.
        beside: Another preset, for a second panel of "latent"; None: none.

    Returns:
        The path.

    Raises:
        ZooError: The family has no such picture, or the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> import keras_genzoo as gz
        >>> out = pathlib.Path(tempfile.mkdtemp(), "curves.png")
        >>> gz.drawings.draw(gz.presets.find("ae2d_mnist"), "curves", out).name
        'curves.png'
    """
    if beside is not None and kind != "latent":
        raise ZooError(f"--beside goes with --kind latent. Received: --kind {kind}")
    if kind not in models.record(preset.family).drawings:
        raise ZooError(f"{preset.name} is of the family {preset.family}, which has nothing for --kind {kind}")
    function = models.drawing(preset.family, kind)
    out = out or (f"{preset.name}.png" if kind == FIRST else f"{preset.name}_{kind}.png")
    files.try_to_write_file(out)
    return function(Request(preset, out, data_dir, beside))


def samples(
    model: Any,
    n: int = 64,
    out: PathLike | None = None,
    *,
    seed: int = 0,
    label: int | None = None,
    mixture: int | None = None,
    data_dir: str | Path | None = None,
    verbose: bool = True,
) -> Path:
    """Draws samples of a model as one picture; all classes of a conditional model in turn, in a column each.

    Args:
        model: A model with a preset.
        n: Number of images, >= 1.
        out: PNG to write; None: NAME_samples.png.
        seed: Seed of the codes, >= 0.
        label: Class of all images, for a conditional model; None: all classes in turn.
        mixture: Number of Gaussians, >= 1, that are fitted to the codes of the training images; the samples' codes come
            from them, not from the prior. None: from the prior.
        data_dir: Folder of data sets, see `data.load`; for `mixture`.
        verbose: Whether a spinner is shown during the fit, on a terminal.

    Returns:
        The path.

    Raises:
        ZooError: A model without a prior, a label for a model without classes, a bad number, or a file that cannot be
            written.

    Example:
        >>> import pathlib, tempfile
        >>> import keras_genzoo as gz
        >>> out = pathlib.Path(tempfile.mkdtemp(), "sixteen.png")
        >>> gz.drawings.samples(gz.load("vae_mnist"), 16, out).name
        'sixteen.png'
    """
    preset = zoo.require_preset(model)
    out = out or f"{preset.name}_samples.png"
    files.try_to_write_file(out)
    columns = None
    if mixture is not None:
        pixels = zoo.arrays(model, "train", data_dir=data_dir)[0]
        images = data.as_seen(data.rows.in_memory(pixels), binarize=preset.data.binarize)
        with working("Fitting the mixture", verbose=verbose):
            sampler = samplers.fit_mixture(model, images, n_components=mixture, seed=seed)
        pictures = sampler.sample(n, seed=seed)
    elif not model.can("sample"):
        raise ZooError(
            f"{preset.name} is of the family {preset.family}, which has no prior to sample from; "
            "with codes, it takes --mixture"
        )
    elif label is None:
        pictures, columns = model.sample(n, seed=seed), plots.class_columns(model)
    elif model.is_conditional:
        pictures = model.sample(n, seed=seed, labels=[label] * n)
    else:
        raise ZooError(f"--label goes with a conditional model. Received: {preset.name}")
    return plots.grid(pictures, out, columns=columns)


# === Pictures of more than one family ===


def showcase(request: Request) -> Path:
    """Samples where the model samples, then test images above their reconstructions where it reconstructs."""
    return plots.showcase(request.model, request.test[0], request.out, labels=request.classes)


def reconstructions(request: Request) -> Path:
    """Eight rows of test images above their reconstructions."""
    return plots.reconstructions(request.model, request.test[0], request.out, labels=request.classes)


def filters(request: Request) -> Path:
    """The weights of the first layer."""
    return plots.filters(request.model, request.out)


def atoms(request: Request) -> Path:
    """The weights of the last layer."""
    return plots.atoms(request.model, request.out)


def latent(request: Request) -> Path:
    """The codes of the test images coloured by class; those of another preset beside them."""
    panels = [(request.preset.name, _codes(request))]
    if request.beside:
        other = Request(request.beside, request.out, request.data_dir, None)
        has_codes = "latent" in models.record(other.preset.family).drawings
        if not has_codes or other.preset.data.name != request.preset.data.name:
            raise ZooError(
                f"--beside needs a preset with codes of {request.preset.data.name}. Received: {other.preset.name}"
            )
        panels.append((other.preset.name, _codes(other)))
    return plots.latent_map(panels, request.test[1], request.out)


def manifold(request: Request) -> Path:
    """The plane of a two-dimensional code, decoded."""
    return plots.manifold(request.model, request.test[0], request.out)


def traversal(request: Request) -> Path:
    """Each number of a code from -3 to 3."""
    return plots.traversal(request.model, request.test[0], request.out)


def curves(request: Request) -> Path:
    """The losses of training."""
    history = request.preset.record(presets.HISTORY_FILE)
    if not history:
        raise ZooError(f"{request.preset.folder} has no {presets.HISTORY_FILE}; `keras-genzoo train` writes one")
    return plots.curves(history, request.out)


def _codes(request: Request) -> np.ndarray:
    labels = () if request.classes is None else (request.classes,)
    return request.model.codes(request.test[0], *labels)
