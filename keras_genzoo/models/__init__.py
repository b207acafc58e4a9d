"""The model families. Strings, so that listing them imports nothing."""

import importlib

MODELS = {
    "autoencoder": "keras_genzoo.models.autoencoder:Autoencoder",
    "vae": "keras_genzoo.models.vae:VAE",
    "gan": "keras_genzoo.models.gan:GAN",
    "face_swap": "keras_genzoo.models.face_swap:FaceSwap",
    "classifier": "keras_genzoo.models.classifier:Classifier",
}


def get(family):
    """The model class of a family name (a key of `MODELS`), imported now."""
    module, _, name = MODELS[family].partition(":")
    return getattr(importlib.import_module(module), name)
