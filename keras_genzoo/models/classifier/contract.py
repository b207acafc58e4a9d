"""The endpoint of a classifier."""

from typing import Any

from keras_genzoo.models.contract import IMAGES, Endpoint, numbers


def contract(model: Any) -> dict[str, Endpoint]:
    """Endpoints by name."""
    outputs = {
        "features": numbers("(B, units)", "features of each image"),
        "logits": numbers("(B, n_classes)", "logits of the classes"),
    }
    if model.n_factors:
        outputs["factors"] = numbers("(B, n_factors)", "what each image was made from")
    return {"classify": Endpoint({"images": IMAGES}, outputs)}
