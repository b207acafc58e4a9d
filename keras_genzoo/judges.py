"""Judges: networks whose features, and labels where they have any, measure samples of a data set.

MNIST and Fashion-MNIST have classifiers of the zoo. Where the preset `COLOUR` is installed, pictures in colour have
one, too, and images of other sizes are brought to its sides. Of other images a user may give a network; without one,
features are principal components of the pixels, and every protocol says so.
"""

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_genzoo import engine, metrics, presets, public_networks, zoo
from keras_genzoo.data import made
from keras_genzoo.errors import ZooError, reason
from keras_genzoo.typing import PathLike

GREY = {"mnist": "classifier_mnist", "fashion_mnist": "classifier_fashion_mnist"}  # preset of each data set's judge
COLOUR = "classifier_pictures"  # preset of the judge of pictures in colour
_OF_COLOUR = ("pictures", "people", "emoji")  # data sets that it was trained on, "emoji:..." among them
_COUNTED = (*made.MIXTURES, made.STACKED_MNIST)  # data sets whose modes are counted instead
PIXELS = "pixels"  # judge that is no network
_LEAST_SIDE = 32  # pixels of an image's side that the judge of colour can use
_MOST_COMPONENTS = 64  # principal components of pixels
_AT_ONCE = 256  # images per call of a user's network


def knows(name: str) -> bool:
    """Whether a data set has a judge of the zoo."""
    return name in GREY or (name.partition(":")[0] in _OF_COLOUR and _has_colour())


def counts(name: str) -> bool:
    """Whether the modes of a data set are known and counted, so that no features are needed."""
    return name in _COUNTED


def load(name: str) -> Any:
    """The judge of a data set, in float32."""
    return zoo.load(GREY.get(name, COLOUR), dtype="float32")


def signature(judge: Any) -> str:
    """The judge's name and the start of its weights' SHA-256, for protocols: another judge gives other distances."""
    sha256 = judge.preset.record(presets.WEIGHTS_RECORD)["sha256"][:12]
    return f"{judge.preset.name} (sha256 {sha256})"


class Features:
    """The features of images, by whatever judges them.

    Args:
        name: Name of the judge.
        judged_by: Description of the features, for protocols.
        function: Function of images `(n, H, W, C)` in [0, 1] to a dict with `features` `(n, d)`, and with `logits`
            `(n, classes)` where the judge tells classes.
    """

    def __init__(self, name: str, judged_by: str, function: Any):
        self.name, self.judged_by, self.classify = name, judged_by, function


def features(judge: Any, data_name: str, real: np.ndarray) -> Features:
    """The judge of a data set's samples.

    Args:
        judge: A user's judge: a `keras.Model` from images to features, the path of a `.keras` file or a SavedModel
            folder, the name or path of a preset that classifies, "inception" or "dinov2" (see `public_networks`), or
            "pixels", their principal components. None: the zoo's, or else components of pixels.
        data_name: Name of the data set.
        real: Real images, `(n, H, W, C)` in [0, 1].

    Raises:
        ZooError: The judge does not take such images, or gives no features.
    """
    if judge is None and (knows(data_name) or is_colour(real)):
        model = load(data_name)
        side = "" if real.shape[1:] == model.image_shape else f" at {model.image_shape[0]} pixels"
        judged_by = f"features of {signature(model)}{side}, not Inception-FID"
        return Features(model.preset.name, judged_by, lambda images: model.classify(_resized(images, model)))
    if judge is None or judge == PIXELS:
        return _components(real)
    name, model = _opened(judge)
    if hasattr(model, "classify"):  # a classifier of the zoo
        return Features(name, f"features of {_named(name, model)}, not Inception-FID", model.classify)

    def classify(images):
        parts = [_as_features(model(images[i : i + _AT_ONCE])) for i in range(0, len(images), _AT_ONCE)]
        return {"features": np.concatenate(parts)}

    try:
        found = classify(real[:_AT_ONCE])["features"]
    except Exception as error:  # whatever a user's network raises
        raise ZooError(f"`judge` {name!r} does not judge images of shape {real.shape[1:]}: {reason(error)}") from error
    if not np.isfinite(found).all() or (len(found) > 1 and not np.ptp(found, axis=0).any()):
        raise ZooError(f"`judge` {name!r} gives no features that tell images apart: NaN, or the same for all")
    origin = (
        "not the network of published FIDs" if public_networks.asked(judge) else "given by the user, not Inception-FID"
    )
    judged_by = f"{found.shape[1]} features of {_named(name, model)}, {origin}"
    return Features(name, judged_by, classify)


def is_colour(images: np.ndarray) -> bool:
    """Whether the judge of colour takes images: three channels, and sides of which it sees something."""
    return images.shape[3] == 3 and min(images.shape[1:3]) >= _LEAST_SIDE and _has_colour()


def _has_colour():
    """Whether the judge of colour is here: without it, features are components of pixels."""
    return COLOUR in presets.names()


def _resized(images, model):
    """Images at the judge's sides, each side scaled on its own."""
    size = model.image_shape[:2]
    if images.shape[1:3] == size:
        return images
    parts = [
        engine.array(keras.ops.image.resize(images[i : i + _AT_ONCE], size, antialias=True))
        for i in range(0, len(images), _AT_ONCE)
    ]
    return np.clip(np.concatenate(parts), 0, 1)


def _components(real):
    flat = real.reshape(len(real), -1)
    n = min(_MOST_COMPONENTS, len(flat) - 1, flat.shape[1])
    if n < 1:
        raise ZooError(f"Features of pixels take 2 test images (`n_images`). Received: {len(flat)}")
    mean, basis = metrics.pca(real, n_components=n)

    def classify(images):
        return {"features": (images.reshape(len(images), -1) - mean) @ basis}

    judged_by = f"pixels: {n} principal components of the test images, no network's features"
    return Features(PIXELS, judged_by, classify)


def _opened(judge: Any) -> tuple[str, Any]:
    """The name of a user's judge, and the model or function."""
    if public_networks.asked(judge):
        return public_networks.opened(judge)
    if isinstance(judge, keras.Model):
        if hasattr(judge, "can") and not judge.can("classify"):
            raise ZooError(f"`judge` {judge.name!r} is a {type(judge).__name__}, which gives no features of images")
        return judge.name, judge
    if not isinstance(judge, (str, Path)):
        if callable(judge):
            return getattr(judge, "__name__", type(judge).__name__), judge
        raise ZooError(f"`judge` must be a keras.Model, a path, or a preset's name. Received: {type(judge).__name__}")
    path = Path(judge).expanduser()
    if path.suffix == ".keras":
        return path.name, _keras_file(path)
    if (path / "saved_model.pb").is_file():
        return path.name, engine.saved_function(path)
    model = zoo.load(judge, dtype="float32")
    if not model.can("classify"):
        raise ZooError(f"`judge` {str(judge)!r} is a {type(model).__name__}, which gives no features of images")
    return model.preset.name, model


def _keras_file(path: PathLike) -> Any:
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # of all types
        raise ZooError(f"`judge` {str(path)!r} cannot be loaded: {reason(error)}") from error


def _as_features(outputs):
    """What a network gives, as `(n, d)` NumPy features."""
    if isinstance(outputs, dict):
        outputs = outputs.get("features", next(iter(outputs.values())))
    elif isinstance(outputs, (list, tuple)):
        outputs = outputs[0]
    array = engine.array(outputs)
    return array.reshape(len(array), -1).astype("float64")


def _named(name, model):
    """A judge's name, with the start of a hash of its weights."""
    if not hasattr(model, "get_weights"):
        return name
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return f"{name} (weights {digest.hexdigest()[:12]})"
