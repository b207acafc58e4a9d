"""Judges: the classifiers of the zoo whose features and labels measure samples of a data set."""

from typing import Any

from keras_genzoo import presets, zoo

JUDGES = {"mnist": "classifier_mnist", "fashion_mnist": "classifier_fashion_mnist"}  # preset of each data set's judge


def knows(data: str) -> bool:
    """Whether a data set has a judge."""
    return data in JUDGES


def load(data: str) -> Any:
    """The judge of a data set, in float32."""
    return zoo.load(JUDGES[data], dtype="float32")


def signature(judge: Any) -> str:
    """The judge's name and the start of its weights' SHA-256, for protocols: another judge gives other distances."""
    sha256 = judge.preset.record(presets.WEIGHTS_RECORD)["sha256"][:12]
    return f"{judge.preset.name} (sha256 {sha256})"
