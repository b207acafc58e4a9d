"""Measures of a classifier for `evaluate`."""

from typing import Any

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


MEASURES = [classification]
