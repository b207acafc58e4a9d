"""Networks that others have trained on photographs, as judges: `judge="inception"` and `judge="dinov2"`.

Both take pictures of any size, grey ones as three equal channels. Their weights are fetched once, or given as a file:
`judge="inception:PATH"`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_genzoo import engine
from keras_genzoo.errors import ZooError, reason

_INCEPTION_SIDE, _DINO_SIDE = 299, 224  # pixels
_DINO = "dinov2_small"  # preset of KerasHub
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, by which DINOv2 goes
_AT_ONCE = 32  # images in a call


class Network:
    """A function of images to features, with weights that can be named by their hash.

    Args:
        network: A Keras model.
        side: Sides to which images are brought, in pixels.
        prepare: Function of images in [0, 1] to what the model takes.
        pick: Function of the model's output to features `(n, d)`.
    """

    def __init__(self, network: Any, side: int, prepare: Callable[[Any], Any], pick: Callable[[Any], Any]):
        self.network, self.side, self.prepare, self.pick = network, side, prepare, pick

    def get_weights(self) -> list[np.ndarray]:
        """The weights of the network."""
        return self.network.get_weights()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images `(n, H, W, C)` in [0, 1], `(n, d)`."""
        parts = []
        for i in range(0, len(images), _AT_ONCE):
            part = images[i : i + _AT_ONCE]
            if part.shape[3] == 1:
                part = np.repeat(part, 3, axis=3)
            size = (self.side, self.side)
            part = keras.ops.image.resize(part, size, interpolation="bilinear", antialias=True)
            parts.append(engine.array(self.pick(self.network(self.prepare(part), training=False))))
        return np.concatenate(parts)


def asked(judge: Any) -> bool:
    """Whether a `judge` names one of these networks."""
    return isinstance(judge, str) and judge.partition(":")[0] in _OPENERS


def opened(judge: str) -> tuple[str, Network]:
    """A network by name.

    Args:
        judge: "inception" or "dinov2"; with weights of one's own as "inception:PATH", a file of Keras' InceptionV3
            without its top, or "dinov2:PATH", a folder of KerasHub's `DINOV2Backbone.save_to_preset`.

    Returns:
        `(name for protocols, network)`.

    Raises:
        ZooError: The weights cannot be read or fetched, or KerasHub is missing.
    """
    name, _, path = judge.partition(":")
    return _OPENERS[name](path)


def _inception(path):
    try:
        network = keras.applications.InceptionV3(
            include_top=False, pooling="avg", weights=path or "imagenet", input_shape=(_INCEPTION_SIDE,) * 2 + (3,)
        )
    except Exception as error:  # of many types, where the file is another's or no network answers
        raise _unreadable("inception", path, error, "a file of Keras' InceptionV3 without its top") from error
    name = f"InceptionV3 of keras.applications at {_INCEPTION_SIDE} pixels"
    return name, Network(network, _INCEPTION_SIDE, lambda images: 2 * images - 1, lambda features: features)


def _dinov2(path):
    try:
        import keras_hub  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise ZooError("`judge` 'dinov2' is a network of KerasHub: pip install 'keras-genzoo[dinov2]'") from None
    try:
        network = keras_hub.models.DINOV2Backbone.from_preset(path or _DINO, image_shape=(_DINO_SIDE,) * 2 + (3,))
    except Exception as error:
        raise _unreadable("dinov2", path, error, "a folder of a KerasHub preset") from error
    name = f"{_DINO if not path else 'DINOv2'} of KerasHub at {_DINO_SIDE} pixels"
    return name, Network(
        network, _DINO_SIDE, lambda images: {"images": (images - _MEAN) / _DEVIATION}, lambda tokens: tokens[:, 0]
    )


def _unreadable(name, path, error, kind):
    if path:
        return ZooError(f"`judge` {name}:{path} cannot be loaded, it must be {kind}: {reason(error)}")
    return ZooError(
        f"`judge` {name!r} cannot be fetched: {reason(error)}. Without a network give its weights, {kind}: "
        f"judge='{name}:PATH'"
    )


_OPENERS = {"inception": _inception, "dinov2": _dinov2}
