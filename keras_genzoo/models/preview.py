"""Pictures of a model that encodes and decodes, drawn while it trains: test images, their reconstructions, samples."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_genzoo import data, plots, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.models.hooks import Hooks

_FOLDER = "monitor"
_COLUMNS = 8  # images in a row
_LEAST_SIDE = 32  # pixels of images that are worth a look in every epoch


class PreviewHooks(Hooks):
    """The hooks of a training whose reconstructions are drawn after every epoch, where the images are pictures."""

    def callbacks(
        self, model: Any, folder: Path, *, every: int
    ) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
        if min(model.image_shape[:2]) < _LEAST_SIDE:
            return [], []
        try:
            pixels, labels = zoo.arrays(model, "test", data_dir=self.data_dir)
        except ZooError:  # a data set without a test split
            pixels, labels = zoo.arrays(model, "train", data_dir=self.data_dir)
        images = data.as_seen(pixels[:_COLUMNS], binarize=self.preset.data.binarize)
        shown = None if labels is None or not model.is_conditional else labels[:_COLUMNS]
        return [], [Preview(images, shown, folder / _FOLDER, every)]

    @staticmethod
    def pictures(folder: Path) -> list[Path]:
        return [folder / _FOLDER]


class Preview(keras.callbacks.Callback):
    """Draws `reconstructions.png`, and `samples.png` of a model that samples.

    The first picture has test images above what the model makes of them; of a denoiser also the noisy ones in between.

    Args:
        images: Test images, `(n, H, W, C)`.
        labels: Classes of the images, for a conditional model; None: none.
        folder: Folder of the pictures, whose parent exists while the training runs.
        every: Epochs between two pictures.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, folder: Path, every: int):
        super().__init__()
        self.images, self.labels, self.folder, self.every = images, labels, folder, every

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every or not self.folder.parent.is_dir():
            return
        self.folder.mkdir(exist_ok=True)
        model: Any = self.model
        labels = () if self.labels is None else (self.labels,)
        rows = [self.images]
        if model.is_denoising:
            rows.append(model.corrupt(self.images, seed=0))
        rows.append(model.reconstruct(rows[-1], *labels))
        plots.grid(np.concatenate(rows), self.folder / "reconstructions.png", columns=len(self.images))
        if model.can("sample"):
            samples = model.sample(_COLUMNS**2, seed=0)
            plots.grid(samples, self.folder / "samples.png", columns=_COLUMNS)
