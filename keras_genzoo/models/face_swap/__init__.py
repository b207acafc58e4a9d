"""The family `face_swap`: its model, its parts, its measures. Imported by name, so that its record costs nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_genzoo.models.face_swap.model import FaceSwap

__all__ = ["FaceSwap"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        return getattr(import_module("keras_genzoo.models.face_swap.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
