"""The endpoints of a face swap."""

from typing import Any

from keras_genzoo.models.contract import CODES, IMAGES, Endpoint


def contract(model: Any) -> dict[str, Endpoint]:
    """Endpoints by name."""
    return {
        "encode": Endpoint({"images": IMAGES}, {"z": CODES}),
        "swap_to_a": Endpoint({"images": IMAGES}, {"images": IMAGES}),
        "swap_to_b": Endpoint({"images": IMAGES}, {"images": IMAGES}),
    }
