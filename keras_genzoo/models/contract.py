"""The contract of an exported model: its endpoints, and the meaning of their tensors."""

from typing import NamedTuple


class Value(NamedTuple):
    """A tensor of an endpoint.

    Attributes:
        kind: "images", "codes", "noise", "classes", or "numbers".
        layout: Axes, such as "(B, H, W, C)".
        meaning: Content, in words.
        range: Least and greatest value; None: no bounds.
    """

    kind: str
    layout: str
    meaning: str
    range: tuple[float, float] | None = None


class Endpoint(NamedTuple):
    """The tensors of an endpoint.

    Attributes:
        inputs: Name of each input -> its value, in their order.
        outputs: Name of each output -> its value.
    """

    inputs: dict[str, Value]
    outputs: dict[str, Value]


IMAGES = Value("images", "(B, H, W, C)", "images", (0.0, 1.0))
CODES = Value("codes", "(B, latent_dim)", "codes")
NOISE = Value("noise", "(B, noise_dim)", "draws of N(0, I)")
CLASSES = Value("classes", "(B,)", "class of each image")
LOG_PROB = Value("numbers", "(B,)", "log-probability in nats")


def numbers(layout: str, meaning: str) -> Value:
    """A value without bounds that is none of the others.

    Args:
        layout: Axes, such as "(B, latent_dim)".
        meaning: Content, in words.
    """
    return Value("numbers", layout, meaning)
