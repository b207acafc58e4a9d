"""The family `classifier`: its model, its parts, its measures. Imported by name, so that its record costs nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_genzoo.models.classifier.model import Classifier

__all__ = ["Classifier"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        return getattr(import_module("keras_genzoo.models.classifier.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
