"""keras_genzoo: pretrained, measured generative models for Keras 3, ready for a phone.

    import keras_genzoo as gz
    vae = gz.load("vae_mnist")
    images = vae.sample(64, seed=0)

Importing the package imports neither TensorFlow nor Keras; the first call that needs them does.
"""

import importlib

__version__ = "0.1.0"

_NAMES = {  # public name -> module that holds it
    "load": "zoo",
    "save": "zoo",
    "list_presets": "presets",
    "train": "training",
    "evaluate": "evaluation",
    "export": "exporting",
    "GANMonitor": "monitor",
    "ZooError": "errors",
}
_MODULES = (
    "cards",
    "data",
    "distributions",
    "errors",
    "evaluation",
    "exporting",
    "latents",
    "layers",
    "losses",
    "metrics",
    "models",
    "monitor",
    "networks",
    "plots",
    "presets",
    "samplers",
    "studies",
    "synthetic",
    "training",
    "zoo",
)

__all__ = ["__version__", *_NAMES, *_MODULES]


def __getattr__(name):
    if name in _NAMES:
        return getattr(importlib.import_module(f"keras_genzoo.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"keras_genzoo.{name}")
    raise AttributeError(f"module 'keras_genzoo' has no attribute {name!r}")


def __dir__():
    return __all__
