"""The tools of several studies: the setting, a VAE to train, a pretrained one, MNIST's test images."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_genzoo import data, zoo
from keras_genzoo.choices import AS_THE_PRESET as AS_THE_PRESET
from keras_genzoo.errors import ZooError
from keras_genzoo.models.vae import VAE
from keras_genzoo.progress import working

_BATCH_SIZE = 100
_STEPS_PER_EPOCH = 600  # all training images of MNIST
_LEARNING_RATE = 1e-3  # rate of the first step
_UNITS = [300, 300]  # widths of the dense layers


class Setting(NamedTuple):
    """The arguments of a study.

    Attributes:
        epochs: Epochs of each training; `AS_THE_PRESET`; None where nothing is trained.
        seed: Seed of networks, noise and draws.
        verbose: Whether progress is shown.
        partial: File of the finished runs, from which an interrupted study goes on.
        jobs: Number of processes that train.
    """

    epochs: int | str | None
    seed: int
    verbose: bool
    partial: Path
    jobs: int

    @property
    def n_epochs(self) -> int:
        """Epochs of each training, as a number.

        Raises:
            ZooError: The setting has none.
        """
        if not isinstance(self.epochs, int):
            raise ZooError(f"This study needs a number of epochs. Received: {self.epochs!r}")
        return self.epochs


def model(setting: Setting, *, latent_dim: int, **options: Any) -> VAE:
    """A compiled VAE of gated dense layers, for MNIST in batches of 100.

    Args:
        setting: Setting of the study; the learning rate falls to 0 in its epochs.
        latent_dim: Size of the code, >= 1.
        **options: Further arguments of `VAE`.

    Returns:
        The model.
    """
    vae = VAE(
        latent_dim=latent_dim,
        encoder={"name": "mlp_encoder", "units": _UNITS, "gated": True},
        decoder={"name": "mlp_decoder", "units": _UNITS, "gated": True},
        seed=setting.seed,
        **options,
    )
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, _STEPS_PER_EPOCH * setting.n_epochs)
    vae.compile(keras.optimizers.Adam(schedule), steps_per_execution=20)
    return vae


def fit(vae: VAE, setting: Setting, title: str, binarize: str | None = "dynamic") -> dict[str, list]:
    """Trains a VAE on MNIST.

    Args:
        vae: A VAE of `model`.
        setting: Setting of the study.
        title: Text beside the spinner.
        binarize: See `data.load`.

    Returns:
        The losses of every epoch, by name.
    """
    batches, steps = data.stream("mnist", batch_size=_BATCH_SIZE, binarize=binarize, seed=setting.seed)
    with working(f"training: {title}", verbose=setting.verbose):
        return vae.fit(batches, steps_per_epoch=steps, epochs=setting.epochs, verbose=0).history


def pretrained(name: str, n: int) -> tuple[Any, np.ndarray]:
    """A preset of binarised MNIST and test images for it.

    Args:
        name: Name of the preset.
        n: Number of images, the first ones.

    Returns:
        `(model, images)`: the trained model, and `(n, 28, 28, 1)` as `evaluate` takes them.
    """
    return zoo.load(name), digits(n)[0]


def digits(n: int, *, binarize: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Test images of MNIST and their labels.

    Args:
        n: Number of images, the first ones.
        binarize: Whether the images are binarised, as `evaluate` does it.

    Returns:
        `(images, labels)`: `(n, 28, 28, 1)` float32, in [0, 1], and `(n,)` integers.
    """
    pixels, labels = data.arrays("mnist", "test")
    assert labels is not None  # the bundled file has them
    return data.as_seen(pixels, binarize="dynamic" if binarize else None)[:n], labels[:n]
