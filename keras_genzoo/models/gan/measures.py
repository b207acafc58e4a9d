"""Measures of a GAN for `evaluate`."""

from typing import Any

import numpy as np

from keras_genzoo import judges, measures, metrics
from keras_genzoo.data import bundled, made
from keras_genzoo.evaluation import Test
from keras_genzoo.progress import working


def modes(model: Any, test: Test) -> list[dict[str, Any]]:
    """Modes among samples of points, beside the score of real points.

    Args:
        model: A `GAN` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json; none where the data is no mixture in the plane.
    """
    name, n = test.preset.data.name, test.protocol.n_samples
    if name not in made.MIXTURES:
        return []
    mixture = made.MIXTURES[name]
    rows = []
    for suffix, source, images in (
        ("", "samples", model.sample(n, seed=test.protocol.seed)),
        ("_of_data", "test points: what to expect of perfect samples", test.images[:n]),
    ):
        scores = metrics.mode_coverage(mixture.to_points(images), centres=mixture.centres, std=mixture.std)
        k, near = len(mixture.centres), "within 3 standard deviations of the nearest mode"
        for metric, unit, score in (
            ("modes", f"of {k}", f"modes with a point {near}"),
            ("high_quality", "", f"points {near}"),
            ("reverse_kl", "nats", f"KL(points per nearest mode || 1/{k} each)"),
        ):
            protocol = f"{len(images)} {source}; {score}"
            rows.append(test.row(f"{metric}{suffix}", scores[metric], unit, protocol, n=len(images)))
    return rows


def stacked_modes(model: Any, test: Test) -> list[dict[str, Any]]:
    """Modes of Stacked-MNIST that the judge of MNIST reads, colour by colour.

    Args:
        model: A `GAN` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json; none where the data is not Stacked-MNIST.
    """
    if test.preset.data.name != made.STACKED_MNIST:
        return []
    n = test.protocol.n_samples
    k = made.STACKED_CLASSES
    with working(f"judging {n} samples", verbose=test.verbose):
        judge = judges.load("mnist")
        images = model.sample(n, seed=test.protocol.seed)
        digits = [judge.classify(images[..., colour : colour + 1])["logits"].argmax(1) for colour in range(3)]
    counts = np.bincount(made.class_of_digits(*digits), minlength=k)
    digit_counts = np.bincount(bundled.mnist("mnist", "train")[1])
    reference = np.einsum("r,g,b->rgb", *3 * [digit_counts]).ravel()  # the colours are independent
    judged_by = f"{n} samples, each colour read by {judges.signature(judge)}"
    kl, floor = metrics.histogram_kl(counts, reference), (k - 1) / (2 * n)
    return [
        test.row("modes", int(np.sum(counts > 0)), f"of {k}", judged_by, n=n),
        test.row("reverse_kl", kl, "nats", f"KL(modes || triples of MNIST's digits); {judged_by}", n=n),
        test.row("reverse_kl_floor", floor, "nats", f"expected of {n} perfect samples: ({k} - 1) / 2n", n=n),
    ]


MEASURES = [measures.samples, modes, stacked_modes]
