"""keras_genzoo: pretrained, measured generative models for Keras 3, ready for a phone.

    import keras_genzoo as gz
    vae = gz.load("vae_mnist")
    images = vae.sample(64, seed=0)

Importing the package imports neither TensorFlow nor Keras; the first call that needs them does.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_genzoo import (
        cards,
        choices,
        comparison,
        data,
        distributions,
        drawings,
        engine,
        errors,
        evaluation,
        explore,
        exporting,
        faces,
        files,
        films,
        flatbuffer,
        hub,
        inspecting,
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
        public_networks,
        registry,
        remote,
        samplers,
        studies,
        training,
        typing,
        zoo,
    )
    from keras_genzoo.comparison import compare
    from keras_genzoo.errors import ZooError
    from keras_genzoo.evaluation import evaluate
    from keras_genzoo.exporting import export
    from keras_genzoo.hub import push
    from keras_genzoo.inspecting import inspect
    from keras_genzoo.models.autoencoder import Autoencoder
    from keras_genzoo.models.classifier import Classifier
    from keras_genzoo.models.face_swap import FaceSwap
    from keras_genzoo.models.gan import GAN
    from keras_genzoo.models.gan.monitor import GANMonitor
    from keras_genzoo.models.vae import VAE
    from keras_genzoo.models.vital_signs import VitalSigns
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
    "VitalSigns": "models.vital_signs",
    "ZooError": "errors",
    "compare": "comparison",
    "evaluate": "evaluation",
    "export": "exporting",
    "inspect": "inspecting",
    "list_presets": "presets",
    "load": "zoo",
    "push": "hub",
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
    "VitalSigns",
    "ZooError",
    "__version__",
    "cards",
    "choices",
    "compare",
    "comparison",
    "data",
    "distributions",
    "drawings",
    "engine",
    "errors",
    "evaluate",
    "evaluation",
    "explore",
    "export",
    "exporting",
    "faces",
    "files",
    "films",
    "flatbuffer",
    "hub",
    "inspect",
    "inspecting",
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
    "public_networks",
    "push",
    "registry",
    "remote",
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


# === Classes that Keras' own loader finds ===

# Module of each class that a `.keras` file may name; a test compares it with the classes that register themselves.
_SERIALIZABLE = {
    "Affine": "layers",
    "Autoencoder": "models.autoencoder",
    "BentMap": "layers",
    "BlurredDownsampling": "layers",
    "Classifier": "models.classifier",
    "ClusterChoice": "models.gan.clusters",
    "FaceSwap": "models.face_swap",
    "GAN": "models.gan",
    "GatedDense": "layers",
    "LeashedSigmoid": "layers",
    "MinibatchStddev": "layers",
    "NearestUpsampling": "layers",
    "VAE": "models.vae",
}


class _Announced:
    """Place of a class in Keras' registry: `keras.saving.load_model` finds it there, and importing it can wait."""

    def __init__(self, name: str):
        self.__name__ = name

    def from_config(self, config: dict[str, Any]) -> Any:
        module = importlib.import_module(f"keras_genzoo.{_SERIALIZABLE[self.__name__]}")
        return getattr(module, self.__name__).from_config(config)


def _announce(keras: Any) -> None:
    for name in _SERIALIZABLE:
        keras.saving.get_custom_objects().setdefault(f"keras_genzoo>{name}", _Announced(name))


class _KerasFinder:
    """Finder on `sys.meta_path` that waits for the import of Keras, which the package itself does not import."""

    is_asking = False  # whether the other finders are being asked

    def find_spec(self, name: str, *_: Any) -> Any:
        if name != "keras" or self.is_asking:
            return None
        self.is_asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.is_asking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_announce(module):
                execute(module)
                _announce(module)

            spec.loader.exec_module = execute_and_announce
        return spec


if "keras" in sys.modules:
    _announce(sys.modules["keras"])
else:
    sys.meta_path.insert(0, _KerasFinder())  # pyright: ignore[reportArgumentType]
