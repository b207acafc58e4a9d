"""Study of lines between codes, and of sums of codes."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_genzoo import judges, plots
from keras_genzoo.studies import common
from keras_genzoo.studies.common import Setting

_PAIRS = ((1, 7), (3, 8), (0, 6), (4, 9), (5, 3), (2, 7))  # digits at the ends of the lines
_N_IMAGES = 2_000  # test images whose codes are averaged; as many others are thickened
_GREYS = (0.2, 0.8)  # intensities between paper and ink
_SHARES = (20, 80)  # percentiles of the ink below which a digit is thin, above which it is bold
_RANK = 5  # rank by ink, from the least, of the digit of each class that is drawn


def interpolation(setting: Setting, *, steps: int = 9) -> tuple[list[dict], Figure]:
    """Straight lines between codes against those between pixels, and a direction of codes that thickens a digit.

    Args:
        setting: Setting of the study.
        steps: Images of a line, its ends among them, >= 3.

    Returns:
        `(rows, figure)`, rows of the judge's confidence, of grey pixels, and of ink.
    """
    judge = judges.load("mnist")
    model, images = common.pretrained("vae_mnist", _N_IMAGES)
    labels = common.digits(_N_IMAGES)[1]
    z = model.codes(images)
    rows, lines = _along_lines(model, judge, z, labels, steps, setting.seed)
    thick_rows, columns = _thickened(model, judge, z, images, labels)
    drawing, (left, right) = plots.figure(2, width=7, height=6.6)
    left.imshow(plots.canvas(np.concatenate(lines), columns=steps))
    left.set(title="between two digits: their codes (upper), their pixels (lower)")
    right.imshow(plots.canvas(np.stack(columns, 1).reshape(-1, *images.shape[1:]), columns=4))
    right.set(title="thin digits + 0, 0.5, 1, 1.5 x (bold - thin)")
    for panel in (left, right):
        panel.axis("off")
    return rows + thick_rows, drawing


def _along_lines(
    model: Any, judge: Any, z: np.ndarray, labels: np.ndarray, steps: int, seed: int
) -> tuple[list[dict], list[np.ndarray]]:
    """Rows, and the images of the lines: one between codes, then one between pixels, for each pair of digits."""
    rng = np.random.default_rng(seed)
    pairs = [(rng.choice(np.flatnonzero(labels == a)), rng.choice(np.flatnonzero(labels == b))) for a, b in _PAIRS]
    t = np.linspace(0, 1, steps)[:, None]
    rows, lines = [], []
    ends = model.decode(z)
    confidence, pictures = {"codes": [], "pixels": []}, {"codes": [], "pixels": []}
    for a, b in pairs:
        by_codes = model.decode(((1 - t) * z[a] + t * z[b]).astype("float32"))
        by_pixels = ((1 - t[..., None, None]) * ends[a] + t[..., None, None] * ends[b]).astype("float32")
        lines += [by_codes, by_pixels]
        for key, line in (("codes", by_codes), ("pixels", by_pixels)):
            pictures[key].append(line)
            logits = judge.classify(line)["logits"].astype("float64")
            p = np.exp(logits - logits.max(1, keepdims=True))
            confidence[key].append((p / p.sum(1, keepdims=True)).max(1))
    middle = slice(steps // 3, steps - steps // 3)
    for key, values in confidence.items():
        value = float(np.mean([line[middle] for line in values]))
        rows.append(
            {"what": f"classifier's confidence, middle third of a line between {key}", "value": round(value, 4)}
        )
        is_grey = [(line[middle] > _GREYS[0]) & (line[middle] < _GREYS[1]) for line in pictures[key]]
        share = float(np.mean([np.mean(pixels) for pixels in is_grey]))
        rows.append(
            {"what": f"pixels that are neither ink nor paper (0.2 to 0.8), there, {key}", "value": round(share, 4)}
        )
    return rows, lines


def _thickened(
    model: Any, judge: Any, z: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> tuple[list[dict], list[np.ndarray]]:
    """Rows, and columns of images: a thin digit of each class with more and more of the direction added."""
    ink = images.sum(axis=(1, 2, 3))
    bold, thin = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for c in range(10):  # by class: over all digits the direction would lead from the ones to the zeros
        low, high = np.percentile(ink[labels == c], _SHARES)
        bold |= (labels == c) & (ink > high)
        thin |= (labels == c) & (ink < low)
    direction = z[bold].mean(0) - z[thin].mean(0)
    # The images to thicken are none of those that were averaged.
    fresh, fresh_labels = (array[_N_IMAGES:] for array in common.digits(2 * _N_IMAGES))
    fresh_z = model.codes(fresh)
    indices = [
        np.flatnonzero(fresh_labels == c)[np.argsort(fresh[fresh_labels == c].sum(axis=(1, 2, 3)))[_RANK]]
        for c in range(10)
    ]
    columns = [model.decode((fresh_z[indices] + s * direction).astype("float32")) for s in (0.0, 0.5, 1.0, 1.5)]
    rows = []
    for s in (-1.0, 0.0, 1.0):
        decoded = model.decode((fresh_z + s * direction).astype("float32"))
        predictions = judge.classify(decoded)["logits"].argmax(1)
        rows.append(
            {
                "what": f"z {s:+g} x (mean code of bold digits - mean code of thin ones): ink, of {len(fresh)} images",
                "value": round(float(decoded.sum(axis=(1, 2, 3)).mean()), 2),
                "class kept": round(float(np.mean(predictions == fresh_labels)), 4),
            }
        )
    return rows, columns
