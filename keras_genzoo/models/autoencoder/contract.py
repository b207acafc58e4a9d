"""The endpoints of an autoencoder."""

from typing import Any

from keras_genzoo.models.contract import CODES, IMAGES, Endpoint


def contract(model: Any) -> dict[str, Endpoint]:
    """Endpoints by name."""
    return {
        "encode": Endpoint({"images": IMAGES}, {"z": CODES}),
        "decode": Endpoint({"z": CODES}, {"images": IMAGES}),
        "reconstruct": Endpoint({"images": IMAGES}, {"images": IMAGES}),
    }
