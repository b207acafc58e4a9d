"""Every headline number, measured again from the weights that lie in the zoo: a card is true of this very code."""

import re

import numpy as np
import pytest
from helpers import DATA_DIR

import keras_genzoo as gz
from keras_genzoo import presets
from keras_genzoo.errors import MissingDataError
from keras_genzoo.models.vae.measures import importance_weighted

pytestmark = pytest.mark.nightly

NAMES = presets.names()
# Headline -> how far it may be off when it is measured as it was: the same images, draws and seeds on another
# processor, which adds in another order. Counts may lose a sample or two that lie on an edge.
TOLERANCE = {
    "squared_error": {"rel": 1e-4},
    "denoised_psnr_0.5": {"rel": 1e-4},
    "linear_probe_error": {"abs": 5e-4},  # of 10,000 images five; the optimizer of the probe stops where it likes
    "accuracy": {"abs": 2e-4},
    "class_accuracy": {"abs": 2e-4},
    "frechet_distance": {"rel": 1e-3},
    "modes": {"abs": 0},
    "swap_psnr": {"abs": 0.01},
}
_FEW_DRAWS, _FEW_IMAGES = 10, 50


def measured(name, **arguments):
    """Metric -> value of a preset, measured now."""
    try:
        rows = gz.evaluate(name, data_dir=DATA_DIR, verbose=False, **arguments)
    except MissingDataError as error:
        pytest.skip(str(error))
    return {row["metric"]: row["value"] for row in rows}


def stored_of(name):
    """Metric -> row of metrics.json."""
    return {row["metric"]: row for row in presets.find(name).record(presets.METRICS_FILE)["rows"]}


HEADLINES = {name: presets.find(name).evaluation.metric for name in NAMES}
LIKELIHOODS = [name for name, metric in HEADLINES.items() if metric == "nll"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LIKELIHOODS])
def test_a_headline_is_measured_again(name):
    metric, stored = HEADLINES[name], stored_of(name)
    cheap = {} if metric == "linear_probe_error" else {"n_probe_images": 100}
    if presets.find(name).family == "vae":  # whose headline is of samples, not of a likelihood
        cheap["n_importance_samples"] = 1
    found = measured(name, **cheap)
    assert found[metric] == pytest.approx(stored[metric]["value"], **TOLERANCE[metric])
    if metric == "modes":
        assert found["reverse_kl"] == pytest.approx(stored["reverse_kl"]["value"], rel=0.02)
        if "high_quality" in stored:
            assert found["high_quality"] == pytest.approx(stored["high_quality"]["value"], abs=2 / 2500)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_is_measured_again(name):
    """Not by 5,000 draws for each of 10,000 images: the ELBO of all of them by a few draws, and by how much many draws
    raise it for a few. Both are means over images, and must meet the card within four standard errors.
    """
    stored = {metric: row["value"] for metric, row in stored_of(name).items()}
    protocol = stored_of(name)["nll"]["protocol"]
    n_draws, seed = int(re.search(r"(\d+) samples of q", protocol)[1]), stored_of(name)["nll"]["seed"]
    model = gz.load(name)
    try:
        pixels = gz.zoo.arrays(model, "test", data_dir=DATA_DIR)[0]
    except MissingDataError as error:
        pytest.skip(str(error))
    images = gz.data.as_seen(pixels, binarize=model.preset.data.binarize, seed=seed)
    _, elbo = importance_weighted(model, images, n_samples=_FEW_DRAWS, seed=seed)
    _, again = importance_weighted(model, images, n_samples=_FEW_DRAWS, seed=seed + 1)
    # Of one image's estimate; of their mean it is what other draws would change.
    draws_error = np.std(elbo - again, ddof=1) / np.sqrt(2 * len(images))
    assert draws_error < 2e-3 * abs(stored["elbo"])  # else the next line would say little
    both = (elbo.mean() + again.mean()) / 2
    assert both == pytest.approx(stored["elbo"], abs=4 * draws_error + 1e-4 * abs(stored["elbo"]))

    few = images[:: len(images) // _FEW_IMAGES]  # from all over the file: the first of a file are not like the others
    log_p, elbo_of_few = importance_weighted(model, few, n_samples=n_draws, seed=seed)
    raised = log_p - elbo_of_few
    error = np.hypot(raised.std(ddof=1) / np.sqrt(len(few)), draws_error)
    assert error < 0.01 * stored["nll"]
    assert -both - raised.mean() == pytest.approx(stored["nll"], abs=4 * error)
    # And by themselves, as far as fifty images tell.
    alone = stored["nll_standard_error"] * np.sqrt(len(images) / len(few))
    assert -log_p.mean() == pytest.approx(stored["nll"], abs=4 * alone)
