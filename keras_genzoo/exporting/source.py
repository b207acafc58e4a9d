"""A model to export: what all formats share, and what every exported file says of itself."""

import functools
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_genzoo import data as _data
from keras_genzoo import files, models, origin, presets, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.models.contract import Endpoint, Value
from keras_genzoo.presets import Preset

Arrays: TypeAlias = dict[str, np.ndarray]  # tensors of an endpoint, by name

CHECKED = 64  # number of images that an export is compared with Keras on
_CALIBRATION = 256  # number of training images that set the ranges of activations of 8 and 16 bits
_SEEDS = {"test": 0, "train": 1}  # seed of the codes beside the images of each split
_SCHEMA = 1  # version of the description
_NOTICE = "Images from this model are generated or reconstructed by a neural network."


class Source:
    """A model to export: its float32 twin, and what all formats share, each made when it is first needed.

    Args:
        model: The model.
        preset: Preset that says what the model and its data are.
        data_dir: Folder of data sets, see `data.load`.

    Attributes:
        model, preset: The arguments.
        twin: The model itself, or one with the same weights under a float32 policy: LiteRT converts graphs of mixed
            precision, but fails to run them.
    """

    def __init__(self, model: Any, preset: Preset, data_dir: str | Path | None):
        self.model, self.preset, self.data_dir = model, preset, data_dir
        self.twin = model
        if model.dtype_policy.name != "float32":
            self.twin = type(model).from_config({**model.get_config(), "dtype": "float32"})
            self.twin.set_weights(model.get_weights())

    @property
    def name(self) -> str:
        """Name of the export."""
        return self.preset.name

    @functools.cached_property
    def endpoints(self) -> dict[str, keras.Model]:
        """The twin's endpoints."""
        return self.twin.endpoints()

    @functools.cached_property
    def contract(self) -> dict[str, Endpoint]:
        """The meaning of the endpoints' tensors."""
        return models.asked(self.preset.family, "contract")(self.twin)

    @property
    def main(self) -> str:
        """The endpoint of a caller that names none: from images to images; else one of images; else the first."""
        for is_main in (_makes_images_of_images, _makes_images, lambda endpoint: True):
            found = next((name for name in self.endpoints if is_main(self.contract[name])), None)
            if found is not None:
                return found
        raise AssertionError("a model has an endpoint")

    @functools.cached_property
    def examples(self) -> dict[str, Arrays]:
        """Inputs of every endpoint on which formats are compared with Keras."""
        return self._inputs("test", CHECKED)

    @functools.cached_property
    def calibration(self) -> dict[str, Arrays]:
        """Inputs of every endpoint that set the ranges of activations."""
        return self._inputs("train", _CALIBRATION)

    @functools.cached_property
    def expected(self) -> dict[str, Arrays]:
        """Keras' outputs on the examples."""
        return {name: self.twin.run_endpoint(name, *tensors.values()) for name, tensors in self.examples.items()}

    def _inputs(self, split: str, count: int) -> dict[str, Arrays]:
        """Inputs of every endpoint: real images, their labels, and codes.

        Codes are draws of N(0, I) where the model samples, as a user's would be; else the codes of the images.
        """
        model, twin, endpoints, preset = self.model, self.twin, self.endpoints, self.preset
        kinds = {name: value.kind for endpoint in self.contract.values() for name, value in endpoint.inputs.items()}
        values = {}
        if {"images", "classes"} & set(kinds.values()):
            names = models.asked(preset.family, "hooks")(preset).data_names
            splits = [zoo.arrays(model, split, name=name, data_dir=self.data_dir, preset=preset) for name in names]
            images = np.concatenate([pixels[: count // len(names)] for pixels, _ in splits])  # equal parts of each
            by_kind = {"images": _data.as_seen(images, binarize=preset.data.binarize)}
            labels = splits[0][1]
            count = min(count, len(images))  # codes and labels beside the images are as many as these
            if "classes" in kinds.values():
                if labels is None:
                    raise ZooError(f"{self.name} takes labels, and the {split} images of {preset.data.name} have none")
                by_kind["classes"] = labels[:count].astype("int32")
            values = {name: by_kind[kind] for name, kind in kinds.items() if kind in by_kind}
        sizes = {
            tensor.name: tensor.shape[1] for e in endpoints.values() for tensor in e.inputs if len(tensor.shape) == 2
        }
        for name, kind in kinds.items():
            if kind == "noise" or (kind == "codes" and twin.can("sample")):
                values[name] = twin.normal_noise(count, _SEEDS[split], sizes[name])
            elif kind == "codes":
                values[name] = twin.codes(values["images"])
        return {
            name: {tensor.name: values[tensor.name] for tensor in endpoint.inputs}
            for name, endpoint in endpoints.items()
        }

    def description(self, batch: int | None) -> dict[str, Any]:
        """What an exported file says of itself, as plain data.

        Args:
            batch: Batch of the file; None: any.
        """
        preset = self.preset
        return {
            "keras_genzoo": _SCHEMA,
            "name": self.name,
            "family": preset.family,
            "description": preset.description,
            "license": preset.license if self._is_stored else None,  # a licence is of the stored weights
            "notice": _NOTICE,
            "preset_sha256": self._preset_hash,
            "weights_sha256": (preset.record(presets.WEIGHTS_RECORD) or {}).get("sha256") if self._is_stored else None,
            "main": self.main,
            "batch": batch,
            "endpoints": {name: self._tensors(name, batch) for name in self.endpoints},
            "versions": origin.versions(),
        }

    @property
    def _preset_hash(self):
        """The SHA-256 of preset.yaml; None without one, or where its folder is gone since."""
        path = self.preset._folder and self.preset._folder / presets.PRESET_FILE
        return files.sha256(path) if path and path.is_file() else None

    @functools.cached_property
    def _is_stored(self):
        return self.model.preset is not None and zoo.has_stored_weights(self.model)

    def _tensors(self, name, batch):
        """The inputs and outputs of an endpoint, as plain data."""
        endpoint, contract = self.endpoints[name], self.contract[name]
        inputs: Any = {tensor.name: tensor for tensor in endpoint.inputs}
        outputs: Any = endpoint.output
        return {
            "inputs": {key: self._tensor(tensor, contract.inputs[key], batch) for key, tensor in inputs.items()},
            "outputs": {key: self._tensor(tensor, contract.outputs[key], batch) for key, tensor in outputs.items()},
        }

    def _tensor(self, tensor, value: Value, batch):
        described: dict[str, Any] = {
            "kind": value.kind,
            "meaning": value.meaning,
            "shape": [batch, *tensor.shape[1:]],
            "dtype": keras.backend.standardize_dtype(tensor.dtype),
            "layout": value.layout,
            "range": None if value.range is None else list(value.range),
        }
        if value.kind == "classes" or value.layout == "(B, n_classes)":
            described["labels"] = self._class_names
            if value.kind == "classes":
                described["range"] = [0, self.twin.n_classes - 1]
        return described

    @functools.cached_property
    def _class_names(self):
        n = self.twin.n_classes
        data = self.preset.data
        names = _data.class_names(data.name, data_dir=self.data_dir, image_shape=self.twin.image_shape, **data.fitting)
        return names if names and len(names) == n else [str(number) for number in range(n)]


def _makes_images(endpoint: Endpoint) -> bool:
    return any(value.kind == "images" for value in endpoint.outputs.values())


def _makes_images_of_images(endpoint: Endpoint) -> bool:
    return _makes_images(endpoint) and any(value.kind == "images" for value in endpoint.inputs.values())
