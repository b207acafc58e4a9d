"""keras_genzoo: pretrained, measured generative models for Keras 3, ready for a phone.

    import keras_genzoo as gz
    vae = gz.load("vae_mnist")
    images = vae.sample(64, seed=0)

Importing the package imports neither TensorFlow nor Keras; the first call that needs them does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_genzoo import (
        cards,
        choices,
        data,
        distributions,
        drawings,
        engine,
        errors,
        evaluation,
        exporting,
        faces,
        files,
        judges,
        layers,
        losses,
        measures,
        metrics,
        models,
        networks,
        optimizers,
        origin,
        parts,
        plots,
        presets,
        progress,
        provenance,
        registry,
        samplers,
        studies,
        training,
        typing,
        zoo,
    )
    from keras_genzoo.errors import ZooError
    from keras_genzoo.evaluation import evaluate
    from keras_genzoo.exporting import export
    from keras_genzoo.models.autoencoder import Autoencoder
    from keras_genzoo.models.classifier import Classifier
    from keras_genzoo.models.face_swap import FaceSwap
    from keras_genzoo.models.gan import GAN
    from keras_genzoo.models.gan.monitor import GANMonitor
    from keras_genzoo.models.vae import VAE
    from keras_genzoo.presets import list_presets
    from keras_genzoo.training import train
    from keras_genzoo.zoo import load, save

__version__ = "0.1.0"

_NAMES = {  # module of each public name
    "Autoencoder": "models.autoencoder",
    "Classifier": "models.classifier",
    "FaceSwap": "models.face_swap",
    "GAN": "models.gan",
    "GANMonitor": "models.gan.monitor",
    "VAE": "models.vae",
    "ZooError": "errors",
    "evaluate": "evaluation",
    "export": "exporting",
    "list_presets": "presets",
    "load": "zoo",
    "save": "zoo",
    "train": "training",
}

__all__ = [
    "GAN",
    "VAE",
    "Autoencoder",
    "Classifier",
    "FaceSwap",
    "GANMonitor",
    "ZooError",
    "__version__",
    "cards",
    "choices",
    "data",
    "distributions",
    "drawings",
    "engine",
    "errors",
    "evaluate",
    "evaluation",
    "export",
    "exporting",
    "faces",
    "files",
    "judges",
    "layers",
    "list_presets",
    "load",
    "losses",
    "measures",
    "metrics",
    "models",
    "networks",
    "optimizers",
    "origin",
    "parts",
    "plots",
    "presets",
    "progress",
    "provenance",
    "registry",
    "samplers",
    "save",
    "studies",
    "train",
    "training",
    "typing",
    "zoo",
]  # fmt: skip

# Public modules, imported when they are first named. A type checker reads `__all__` only if it is written out.
_MODULES = tuple(name for name in __all__ if name != "__version__" and name not in _NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"keras_genzoo.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"keras_genzoo.{name}")
    raise AttributeError(f"module 'keras_genzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
