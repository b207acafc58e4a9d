"""The family `vae`: its model, its parts, its measures. Imported by name, so that its record costs nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_genzoo.models.vae.model import VAE

__all__ = ["VAE"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        return getattr(import_module("keras_genzoo.models.vae.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
