"""Measures of a VAE for `evaluate`: its likelihood by importance weighting, and its samples."""

import contextlib
import hashlib
import math
import time
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_genzoo import distributions, engine, files, judges, losses, measures, metrics, samplers
from keras_genzoo.data.bundled import STATIC_MNIST
from keras_genzoo.errors import ZooError
from keras_genzoo.evaluation import Test, standard_error
from keras_genzoo.presets import DataConfig
from keras_genzoo.progress import track, working

# Images and draws of one call of importance weighting. With a constant number memory does not grow with k. 500 decoded
# images fit into the caches of a processor; it takes 10,000 to fill a GPU.
_CHUNK, _CHUNK_ON_GPU = (10, 50), (20, 500)
_NOISE_PER_IMAGE = 1000  # counts of the generator between two images: no draw comes twice for k up to 5 million
_SEED_BITS = 32  # bits of each of the two numbers of a generator's state
_KEEP_SECONDS = 30  # least time between two writes of a partial estimate
_LEAST_FITTED = 1000  # number of training images to which a mixture is fitted
_FITTED_PER_SAMPLE = 6  # training images per sample: all 60,000 of MNIST for the 10,000 samples of a card


def likelihood(model: Any, test: Test) -> list[dict[str, Any]]:
    """-log p(x) by importance weighting, the ELBO and its two sides, and the latents in use.

    Args:
        model: A `VAE` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json.
    """
    images, labels, protocol = test.images, test.labels if model.is_conditional else None, test.protocol
    k = protocol.n_importance_samples
    images_are = _binarization(test.preset.data) + (", given the label" if model.is_conditional else "")

    def on_resume(seconds):
        test.seconds_before += seconds

    log_p, elbo = importance_weighted(
        model, images, labels=labels, n_samples=k, seed=protocol.seed, verbose=test.verbose, resume=True,
        on_resume=on_resume,
    )  # fmt: skip
    q = model.encode(images, labels)
    with working("kl", verbose=test.verbose):
        kl, kl_protocol = _kl(model, q, images, labels, protocol.seed)
    rows = [
        test.row("nll", -log_p.mean(), "nats", f"importance-weighted bound, {k} samples of q(z|x), {images_are}"),
        test.row("elbo", elbo.mean(), "nats", f"mean of {k} samples of q(z|x), {images_are}"),
        test.row("kl", kl, "nats", kl_protocol),
        test.row("reconstruction_loss", -elbo.mean() - kl, "nats", "-E_q[log p(x|z)] = -elbo - kl"),
    ]
    if test.has(2, "nll_standard_error and active_units"):
        n_active, protocol = metrics.active_units(q.z_mean), "latents with variance of z_mean over test images > 0.01"
        rows.insert(1, test.row("nll_standard_error", standard_error(log_p), "nats", "over test images"))
        rows.append(test.row("active_units", n_active, f"of {model.latent_dim}", protocol))
    if model.likelihood.is_discrete:  # the bits of a density would depend on the unit of grey
        n_dimensions = images[0].size  # a pixel of three colours has three
        value = -log_p.mean() / (n_dimensions * math.log(2))
        rows.append(test.row("bits_per_dim", value, "bits", f"nll / ({n_dimensions} dimensions x log 2)"))
    return rows


def samples(model: Any, test: Test) -> list[dict[str, Any]]:
    """Scores of samples by the judge of the data set: samples of the prior, and of a mixture fitted to the codes.

    Args:
        model: A `VAE` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json; none of a data set whose modes are counted.
    """
    if not measures.are_judged(test):
        return []
    judged = measures.Judged(model, test)
    has_mixture = not model.is_conditional and judged.train_pixels is not None
    return [*judged.rows(), *(_mixture(model, test, judged) if has_mixture else ())]


def _mixture(model, test, judged):
    """Distances of samples whose z are drawn from a mixture of Gaussians."""
    if not metrics.scikit_learn_is_here():
        warnings.warn("No mixture was fitted to the codes: pip install 'keras-genzoo[probes]'", stacklevel=2)
        return []
    n, seed = judged.n, judged.seed
    with working("fitting a mixture to the codes", verbose=test.verbose):
        pixels = judged.train_pixels[: max(_FITTED_PER_SAMPLE * n, _LEAST_FITTED)]
        mixture = samplers.fit_mixture(model, test.as_seen(pixels), seed=seed)
        classified = judged.judge.classify(mixture.sample(n, seed=seed))
    images = f"samples of a mixture of {mixture.n_components} Gaussians, fitted to z~q(z|x)"
    return judged.distances(classified, "_mixture", images)


def _binarization(config: DataConfig) -> str:
    """The test images' grey levels, in the words of a protocol."""
    if config.binarize:
        return "dynamic binarisation, the test images drawn once"
    return "static binarisation (Larochelle & Murray 2011)" if config.name == STATIC_MNIST else "grey levels"


def _kl(model, q, images, labels, seed):
    """KL(q(z|x) || p(z)) in closed form where it has one, else estimated: `(nats, protocol)`."""
    if model.has_closed_kl:
        kl = engine.array(distributions.normal_kl(z_mean=q.z_mean, z_log_var=q.z_log_var))
        return kl.astype("float64").mean(), "KL(q(z|x) || p(z)), closed form"
    generator = keras.random.SeedGenerator(seed)
    n_images, n_draws = _CHUNK
    kl = engine.jit(lambda x, y: ops.mean(model.kl_estimate(x, n_samples=n_draws, seed=generator, labels=y), axis=0))
    chunks = range(0, len(images), n_images)
    total = sum(float(ops.sum(kl(*_chunk(images, labels, start, n_images)))) for start in chunks)
    return total / len(images), f"KL(q(z|x) || p(z)) = E_q[log q(z|x) - log p(z)], mean of {n_draws} samples"


def importance_weighted(
    model: Any,
    images: np.ndarray,
    *,
    n_samples: int,
    seed: int,
    labels: np.ndarray | None = None,
    verbose: bool = False,
    resume: bool = False,
    on_resume: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) by importance weighting (Burda et al. 2016, eq. 8), and the ELBO from the same draws.

    Runs in chunks of images and of draws, accumulated by log-sum-exp: memory does not grow with either.

    Args:
        model: A `VAE`.
        images: Images as the likelihood takes them, `(n, H, W, C)` float32.
        n_samples: Number of draws per image, >= 1.
        seed: Seed of the draws.
        labels: Classes of the images, `(n,)` integers, for a conditional model, whose result is log p(x|y).
        verbose: Whether to show progress, on a terminal.
        resume: Whether to write the partial estimate into the user's cache folder every half minute. The next call with
            the same weights, images, draws and seed then goes on from there.
        on_resume: Function that is told the seconds which the part took that is gone on with.

    Returns:
        `(log_p, elbo)`, each `(n,)` float64, nats per image.
    """
    generator = keras.random.SeedGenerator(seed)

    @engine.jit
    def chunk(n, x, y):
        weights = model.log_weights(x, n_samples=n, seed=generator, labels=y)
        return losses.importance_weighted_bound(weights) + math.log(n), ops.sum(weights, axis=0)

    n_images, n_draws = _CHUNK_ON_GPU if engine.has_gpu() else _CHUNK
    partial = _Partial(model, images, labels, n_samples, seed, (n_images, n_draws)) if resume else None
    log_p, elbo, n_done = partial.read() if partial else (np.full(len(images), -np.inf), np.zeros(len(images)), 0)
    if partial and on_resume:
        on_resume(partial.seconds)
    for start in track(range(n_done, len(images), n_images), "importance weighting", verbose=verbose):
        rows = slice(start, start + n_images)
        inputs = _chunk(images, labels, start, n_images)
        # Noise is a function of seed and image, so that a resumed estimate is the unbroken one.
        generator.state.assign([seed % 2**_SEED_BITS, start * _NOISE_PER_IMAGE % 2**_SEED_BITS])
        for first_draw in range(0, n_samples, n_draws):
            log_sum, total = chunk(min(n_draws, n_samples - first_draw), *inputs)
            log_p[rows] = np.logaddexp(log_p[rows], engine.array(log_sum))
            elbo[rows] += engine.array(total)
        if partial:
            partial.keep(log_p, elbo, min(start + n_images, len(images)))
    if partial:
        partial.remove()
    return log_p - math.log(n_samples), elbo / n_samples


def _chunk(images, labels, start, n):
    """n images and their labels as tensors."""
    rows = slice(start, start + n)
    return engine.tensor(images[rows]), None if labels is None else engine.tensor(labels[rows], "int32")


class _Partial:
    """A partial estimate: a file in the user's cache folder, named by a hash of the estimate's arguments."""

    def __init__(self, model, images, labels, n_samples, seed, chunk):
        digest = hashlib.sha256(repr((model.get_config(), n_samples, seed, *chunk)).encode())
        for array in (images, labels, *model.get_weights()):
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        self.path = files.cache() / f"nll-{digest.hexdigest()[:16]}.npz"
        self.n_images, self.started_at = len(images), time.monotonic()
        self.written_at, self.seconds = self.started_at, 0.0

    def read(self):
        """`(log_p, elbo, number of images done)`, from the file or fresh."""
        try:
            with np.load(self.path) as stored:
                self.seconds = float(stored["seconds"])
                return stored["log_p"], stored["elbo"], int(stored["n_done"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return np.full(self.n_images, -np.inf), np.zeros(self.n_images), 0

    def keep(self, log_p, elbo, n_done):
        """Writes the file, aside first; at most every half minute, and not where the folder cannot be written."""
        if time.monotonic() - self.written_at < _KEEP_SECONDS:
            return
        self.written_at = time.monotonic()
        with contextlib.suppress(ZooError), files.aside(self.path) as temporary:
            seconds = self.seconds + self.written_at - self.started_at
            np.savez(temporary, log_p=log_p, elbo=elbo, n_done=n_done, seconds=seconds)

    def remove(self):
        """Removes the file of an estimate that is complete."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def reconstruction(model: Any, test: Test) -> list[dict[str, Any]]:
    """Squared error, PSNR and SSIM of reconstructions of images of one's own.

    Args:
        model: A `VAE`.
        test: The test.

    Returns:
        Rows of metrics.json; none of MNIST and the like, whose cards are of likelihoods.
    """
    return [] if test.preset.data.name in judges.GREY else measures.reconstruction(model, test)


MEASURES = [likelihood, samples, reconstruction]
