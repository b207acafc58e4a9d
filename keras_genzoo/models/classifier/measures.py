"""Measures of a classifier for `evaluate`."""

from typing import Any

import numpy as np

from keras_genzoo import data
from keras_genzoo.errors import ZooError
from keras_genzoo.evaluation import Test
from keras_genzoo.models import inputs


def classification(model: Any, test: Test) -> list[dict[str, Any]]:
    """Share of the test images that are classified right.

    Args:
        model: A `Classifier` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json.

    Raises:
        ZooError: The test images have no labels.
    """
    if test.labels is None:
        raise ZooError(f"Accuracy needs labels, and the test images of {test.preset.data.name} have none")
    inputs.check(inputs.labels(model.n_classes), test.labels, "labels of the test images")
    is_right = model.classify(test.images)["logits"].argmax(1) == test.labels
    return [test.row("accuracy", is_right.mean(), "", "fraction of test images classified right")]


def factors(model: Any, test: Test) -> list[dict[str, Any]]:
    """Share of the factors' variance that is told from the test images, averaged over the factors.

    Args:
        model: A `Classifier` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json; none of a model without factors.
    """
    if not model.n_factors:
        return []
    known, names = data.factors_of(test.preset.data.name, "test", data_dir=test.data_dir)
    known = known[: len(test.images)]
    rows = ~np.isnan(known).any(axis=1)
    error = known[rows] - model.classify(test.images[rows])["factors"]
    shares = 1 - np.mean(error**2, axis=0) / np.var(known[rows], axis=0)
    worst = int(np.argmin(shares))
    protocol = f"R^2, mean over {len(names)} factors of the test images that have them; least of {names[worst]}: "
    return [test.row("factor_r2", shares.mean(), "", f"{protocol}{shares[worst]:.3f}", n=int(rows.sum()))]


MEASURES = [classification, factors]
