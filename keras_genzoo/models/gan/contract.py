"""The endpoint of a GAN."""

from typing import Any

from keras_genzoo.models.contract import CLASSES, IMAGES, NOISE, Endpoint


def contract(model: Any) -> dict[str, Endpoint]:
    """Endpoints by name; a conditional GAN takes `labels` after z."""
    labels = {"labels": CLASSES} if model.is_conditional else {}
    return {"generate": Endpoint({"z": NOISE, **labels}, {"images": IMAGES})}
