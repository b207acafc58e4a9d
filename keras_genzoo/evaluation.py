"""A model and its preset's protocol -> rows of metrics.json, on test images the model never saw."""

import contextlib
import hashlib
import json
import math
import os
import subprocess
import time
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import __version__, data, distributions, losses, metrics, presets, samplers, synthetic, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.progress import track, working

_CLASSES = 10
_LEAST_PROBED = 100  # training images
_NOISE_LEVELS = (0.1, 0.25, 0.5)  # at which denoisers are measured
# Images and draws of one call of importance weighting: constant memory whatever k, and what fits the caches; a GPU is
# only filled by more.
_CHUNK, _CHUNK_ON_GPU = (10, 50), (20, 500)


def evaluate(
    model,
    *,
    data_dir=None,
    n_images=None,
    n_importance_samples=None,
    n_samples=None,
    n_probe_images=None,
    verbose=True,
):
    """Measures a model on the test split with its preset's protocol.

    Args:
        model: A preset's name or path, or a model from `load`, trained on or not.
        data_dir: See `data.load`.
        n_images: Test images to use, the first n; None: all.
        n_importance_samples: Of the likelihood estimate; None: the preset's.
        n_samples: Generated images to judge; None: the preset's.
        n_probe_images: Training images that probes of the codes learn from; None: the preset's.
        verbose: Show progress, on a terminal.

    Returns:
        Rows `{metric, value, n, split, seed, protocol, unit, commit}`; the headline first.

    Example:
        >>> keras_genzoo.evaluate("ae_mnist")[0]["value"]       # squared error per image
    """
    if not isinstance(model, keras.Model):
        model = zoo.load(model)
    overridden = {
        "n_importance_samples": n_importance_samples,
        "n_samples": n_samples,
        "n_probe_images": n_probe_images,
    }
    for argument, value in {"n_images": n_images, **overridden}.items():
        if value is not None and value < 1:
            raise ZooError(f"`{argument}` must be >= 1. Received: {value}")
    preset = zoo.require_preset(model)
    protocol = preset.evaluation.model_copy(
        update={key: value for key, value in overridden.items() if value is not None}
    )
    pixels, labels = zoo.arrays(model, "test", data_dir=data_dir)
    test = _Test(preset, pixels, labels, protocol, n_images, data_dir, verbose)
    with _whole_float32():
        rows = [row for measure in _MEASURES[preset.family] for row in measure(model, test)]
    if not rows:
        raise ZooError(f"There is nothing to measure a {preset.family} by on {preset.data.name}: no judge knows it")
    rows.sort(key=lambda row: row["metric"] != protocol.metric)
    commit = _commit()
    return [{**row, "commit": commit} for row in rows]


@contextlib.contextmanager
def _whole_float32():
    """Without TensorFloat-32, which a GPU otherwise multiplies in: a card's numbers are those of float32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def write(preset, rows):
    """Writes rows as the preset's metrics.json, tied to its weights by their SHA-256; aside, then renamed."""
    content = {
        "preset": preset.name,
        "weights_sha256": (preset.record(presets.WEIGHTS_RECORD) or {}).get("sha256"),
        "rows": rows,
    }
    path = preset.folder / presets.METRICS_FILE
    try:
        aside = path.with_name(f".{path.name}")
        aside.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(aside, path)
    except OSError as error:
        raise ZooError(f"Cannot write {path}: {error.strerror or error}") from None
    return path


class _Test:
    """What a measure needs: the test images and the protocol, and rows in one shape."""

    def __init__(self, preset, pixels, labels, protocol, n_images, data_dir, verbose):
        self.preset, self.protocol = preset, protocol
        self.pixels, self.labels = pixels[:n_images], None if labels is None else labels[:n_images]
        self.n_images, self.data_dir, self.verbose = n_images, data_dir, verbose

    @property
    def images(self):
        """Test images as the preset takes them; binarised once, with the protocol's seed, where it says so."""
        return self.as_seen(self.pixels)

    def as_seen(self, pixels):
        """uint8 images as the preset's model takes them."""
        return data.as_seen(pixels, binarize=self.preset.data.binarize, seed=self.protocol.seed)

    def row(self, metric, value, unit, protocol, *, n=None, split="test"):
        return {
            "metric": metric,
            "value": _rounded(value),
            "n": len(self.pixels) if n is None else n,
            "split": split,
            "seed": self.protocol.seed,
            "protocol": protocol,
            "unit": unit,
        }


def _reconstruction(model, test):
    images = test.images
    reconstructions = model.reconstruct(images)
    squared_error = np.sum((images - reconstructions).astype("float64") ** 2, axis=(1, 2, 3))
    train = data.to_unit(zoo.arrays(model, "train", data_dir=test.data_dir)[0])
    rows = [
        test.row("squared_error", squared_error.mean(), "per image", "sum over pixels of (x - r)^2, x in [0, 1]"),
        test.row("psnr", metrics.psnr(images, reconstructions).mean(), "dB", "mean over images"),
    ]
    d = model.latent_dim
    if d < train[0].size:  # else PCA loses nothing, and says nothing
        value = metrics.pca_squared_error(train, images, n_components=d)
        protocol = f"PCA with {d} components fitted on the training images: the linear code of that size"
        rows.append(test.row("pca_squared_error", value, "per image", protocol))
    return rows


def _denoising(model, test):
    """PSNR of what a denoiser makes of noisy images, and of the noisy images themselves."""
    if model.corruption is None or model.corruption["name"] == "affine":  # which moves pixels: PSNR says nothing of it
        return []
    rows = []
    for level in _NOISE_LEVELS:
        noisy = model.corrupt(test.images, level=level, seed=test.protocol.seed)
        for what, images in (("denoised", model.reconstruct(noisy)), ("noisy", noisy)):
            protocol = f"{model.corruption['name']} corruption of level {level:g}, clipped to [0, 1]; mean over images"
            psnr = metrics.psnr(test.images, images).mean()
            rows.append(test.row(f"{what}_psnr_{level:g}", psnr, "dB", protocol))
    return rows


def _probes(model, test):
    """Test errors of simple classifiers on the codes, beside raw pixels and PCA of the same size."""
    if test.labels is None:
        return []
    if not metrics.scikit_learn_is_here():
        warnings.warn("The codes were not probed: pip install 'keras-genzoo[probes]'", stacklevel=2)
        return []
    pixels, labels = zoo.arrays(model, "train", data_dir=test.data_dir)
    n = test.protocol.n_probe_images
    if min(n, len(pixels)) < _LEAST_PROBED or len(np.unique(labels[:n])) < 2:
        warnings.warn(f"The codes were not probed: that takes {_LEAST_PROBED} images of two classes", stacklevel=2)
        return []
    train, labels, images = data.to_unit(pixels[:n]), labels[:n], test.images
    flat = [x.reshape(len(x), -1) for x in (train, images)]
    mean, basis = metrics.pca(train, n_components=model.latent_dim)
    features = {
        "code": [model.codes(x) for x in (train, images)],
        "pca": [(x - mean) @ basis for x in flat],
        "pixels": flat,
    }
    on = features["code"][1] != 0
    rows = [
        test.row("active_fraction", on.mean(), "", "of the code's numbers, not 0"),
        test.row(
            "silent_units", int(np.sum(on.mean(0) < 1e-3)), f"of {model.latent_dim}", "not 0 for less than 1 in 1,000"
        ),
    ]
    for name, (train, images) in features.items():
        # The baselines are the same for every preset of a data set and a size.
        key = (name, *(hashlib.sha256(np.ascontiguousarray(x)).digest() for x in (train, images, labels, test.labels)))
        with working(f"probing {name}", verbose=test.verbose):
            result = _BASELINES.get(key) or _probe(train, images, labels, test.labels)
        if name != "code":
            _BASELINES[key] = result
        linear, c, knn = result
        prefix = "" if name == "code" else f"{name}_"
        what = f"on {name} ({train.shape[1]} numbers) of {len(train):,} training images"
        rows += [
            test.row(f"{prefix}linear_probe_error", linear, "", f"logistic regression {what}, C={c:g}"),
            test.row(f"{prefix}knn_error", knn, "", f"5 nearest neighbours {what}"),
        ]
    return rows


_BASELINES = {}


def _probe(train, test, train_labels, test_labels):
    linear, c = metrics.linear_probe_error(train, test, train_labels=train_labels, test_labels=test_labels)
    knn = metrics.knn_error(train, test, train_labels=train_labels, test_labels=test_labels)
    return linear, c, knn


def _likelihood(model, test):
    images, labels, protocol = test.images, test.labels if model.n_classes else None, test.protocol
    k = protocol.n_importance_samples
    what = _binarization(test.preset.data) + (", given the label" if model.n_classes else "")
    log_p, elbo = importance_weighted(
        model, images, labels=labels, n_samples=k, seed=protocol.seed, verbose=test.verbose, resume=True
    )
    n_pixels = images[0].size
    q = model.encode(images, labels)
    with working("kl", verbose=test.verbose):
        kl, kl_protocol = _kl(model, q, images, labels, protocol.seed)
    rows = [
        test.row("nll", -log_p.mean(), "nats", f"importance-weighted bound, {k} samples of q(z|x), {what}"),
        test.row("nll_standard_error", log_p.std(ddof=1) / math.sqrt(len(log_p)), "nats", "over test images"),
        test.row("elbo", elbo.mean(), "nats", f"mean of {k} samples of q(z|x), {what}"),
        test.row("kl", kl, "nats", kl_protocol),
        test.row("reconstruction_loss", -elbo.mean() - kl, "nats", "-E_q[log p(x|z)] = -elbo - kl"),
        test.row(
            "active_units",
            metrics.active_units(q.z_mean),
            f"of {model.latent_dim}",
            "latents with variance of z_mean over test images > 0.01",
        ),
    ]
    if model.likelihood.name in _DISCRETE:  # of a density, bits would depend on the unit of grey
        value = -log_p.mean() / (n_pixels * math.log(2))
        rows.append(test.row("bits_per_dim", value, "bits", f"nll / ({n_pixels} pixels x log 2)"))
    return rows


_DISCRETE = ("bernoulli", "discretized_logistic")


def _binarization(config):
    if config.binarize:
        return "dynamic binarisation, the test images drawn once"
    return "static binarisation (Larochelle & Murray 2011)" if config.name == data.STATIC_MNIST else "grey levels"


def _kl(model, q, images, labels, seed):
    """KL(q(z|x) || p(z)) in closed form where it has one, else estimated: `(nats, how)`."""
    if model.has_closed_kl:
        kl = ops.convert_to_numpy(distributions.normal_kl(z_mean=q.z_mean, z_log_var=q.z_log_var))
        return kl.astype("float64").mean(), "KL(q(z|x) || p(z)), closed form"
    generator = keras.random.SeedGenerator(seed)
    n_images, n_draws = _CHUNK
    kl = tf.function(lambda x, y: ops.mean(model.kl_estimate(x, n_samples=n_draws, seed=generator, labels=y), axis=0))
    chunks = range(0, len(images), n_images)
    total = sum(float(ops.sum(kl(*_chunk(images, labels, start, n_images)))) for start in chunks)
    return total / len(images), f"KL(q(z|x) || p(z)) = E_q[log q(z|x) - log p(z)], mean of {n_draws} samples"


def importance_weighted(model, images, *, n_samples, seed, labels=None, verbose=False, resume=False):
    """log p(x) by importance weighting (Burda et al. 2016, eq. 8), and the ELBO from the same draws.

    Runs in chunks of images and of draws, accumulated by log-sum-exp: memory does not grow with either.

    Args:
        model: A `VAE`.
        images: `(n, H, W, C)` float32, as the likelihood takes them.
        n_samples: Draws per image, >= 1.
        seed: Integer.
        labels: Of a conditional model, `(n,)` integers: then it is log p(x|y).
        verbose: Show progress, on a terminal.
        resume: Keep what is done in the user's cache folder, every half minute, and go on from there when the same
            estimate (weights, images, draws and seed) is asked for again.

    Returns:
        `(log_p, elbo)`, each `(n,)` float64, nats per image.
    """
    generator = keras.random.SeedGenerator(seed)

    @tf.function(reduce_retracing=True)
    def chunk(n, x, y):
        weights = model.log_weights(x, n_samples=n, seed=generator, labels=y)
        return losses.importance_weighted_bound(weights) + math.log(n), ops.sum(weights, axis=0)

    n_images, n_draws = _CHUNK_ON_GPU if tf.config.list_physical_devices("GPU") else _CHUNK
    partial = _Partial(model, images, labels, n_samples, seed, (n_images, n_draws)) if resume else None
    log_p, elbo, n_done = partial.read() if resume else (np.full(len(images), -np.inf), np.zeros(len(images)), 0)
    for start in track(range(n_done, len(images), n_images), "importance weighting", verbose=verbose):
        here = slice(start, start + n_images)
        inputs = _chunk(images, labels, start, n_images)
        # Noise is a function of seed and image, so that a resumed estimate is the unbroken one.
        generator.state.assign([seed % 2**32, start * _NOISE_PER_IMAGE % 2**32])
        for done in range(0, n_samples, n_draws):
            log_sum, total = chunk(min(n_draws, n_samples - done), *inputs)
            log_p[here] = np.logaddexp(log_p[here], ops.convert_to_numpy(log_sum))
            elbo[here] += ops.convert_to_numpy(total)
        if resume:
            partial.keep(log_p, elbo, min(start + n_images, len(images)))
    if resume:
        partial.remove()
    return log_p - math.log(n_samples), elbo / n_samples


_NOISE_PER_IMAGE = 1000  # counts of the generator between two images: no draw comes twice for k up to 5 million


def _chunk(images, labels, start, n):
    """n images and their labels as tensors."""
    here = slice(start, start + n)
    return tf.constant(images[here]), None if labels is None else tf.constant(labels[here], "int32")


class _Partial:
    """The part of an estimate that is done: a file in the user's cache folder, named after what it estimates."""

    def __init__(self, model, images, labels, n_samples, seed, chunk):
        digest = hashlib.sha256(repr((model.get_config(), n_samples, seed, *chunk)).encode())
        for array in (images, labels, *model.get_weights()):
            digest.update(b"" if array is None else np.ascontiguousarray(array))
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.path = cache / "keras_genzoo" / f"nll-{digest.hexdigest()[:16]}.npz"
        self.n_images, self.kept = len(images), time.monotonic()

    def read(self):
        """`(log_p, elbo, images done)`, from the file or fresh."""
        try:
            with np.load(self.path) as stored:
                return stored["log_p"], stored["elbo"], int(stored["n_done"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return np.full(self.n_images, -np.inf), np.zeros(self.n_images), 0

    def keep(self, log_p, elbo, n_done):
        """Writes the file, aside first; at most every half minute, and not where the folder cannot be written."""
        if time.monotonic() - self.kept < _KEEP_SECONDS:
            return
        self.kept = time.monotonic()
        aside = self.path.with_name(f".{os.getpid()}.{self.path.name}")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(aside, log_p=log_p, elbo=elbo, n_done=n_done)
            os.replace(aside, self.path)

    def remove(self):
        """Removes the file of an estimate that is complete."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


_KEEP_SECONDS = 30


def _modes(model, test):
    """Of points, the modes among them, beside what real points score."""
    name, n = test.preset.data.name, test.protocol.n_samples
    if name not in synthetic.MIXTURES:
        return []
    mixture = synthetic.MIXTURES[name]
    rows = []
    for suffix, whose, images in (
        ("", "samples", model.sample(n, seed=test.protocol.seed)),
        ("_of_data", "test points: what to expect of perfect samples", test.images[:n]),
    ):
        found = metrics.mode_coverage(mixture.to_points(images), centres=mixture.centres, std=mixture.std)
        what = f"{len(images)} {whose}; "
        k, near = len(mixture.centres), "within 3 standard deviations of the nearest mode"
        for metric, unit, protocol in (
            ("modes", f"of {k}", f"modes with a point {near}"),
            ("high_quality", "", f"points {near}"),
            ("reverse_kl", "nats", f"KL(points per nearest mode || 1/{k} each)"),
        ):
            rows.append(test.row(f"{metric}{suffix}", found[metric], unit, what + protocol, n=len(images)))
    return rows


def _stacked_modes(model, test):
    """Of Stacked-MNIST, the modes that the judge of MNIST reads, colour by colour."""
    if test.preset.data.name != synthetic.STACKED_MNIST:
        return []
    name, n = zoo.JUDGES["mnist"], test.protocol.n_samples
    k = synthetic.STACKED_CLASSES
    with working(f"judging {n} samples", verbose=test.verbose):
        judge = zoo.load(name, dtype="float32")
        images = model.sample(n, seed=test.protocol.seed)
        digits = [judge.classify(images[..., colour : colour + 1])["logits"].argmax(1) for colour in range(3)]
    counts = np.bincount(100 * digits[0] + 10 * digits[1] + digits[2], minlength=k)
    of_a_digit = np.bincount(data.arrays("mnist", "train")[1])
    reference = np.einsum("r,g,b->rgb", *3 * [of_a_digit]).ravel()  # the colours are independent
    sha256 = judge.preset.record(presets.WEIGHTS_RECORD)["sha256"][:12]
    judged_by = f"{n} samples, each colour read by {name} (sha256 {sha256})"
    kl, floor = metrics.histogram_kl(counts, reference), (k - 1) / (2 * n)
    return [
        test.row("modes", int(np.sum(counts > 0)), f"of {k}", judged_by, n=n),
        test.row("reverse_kl", kl, "nats", f"KL(modes || triples of MNIST's digits); {judged_by}", n=n),
        test.row("reverse_kl_floor", floor, "nats", f"expected of {n} perfect samples: ({k} - 1) / 2n", n=n),
    ]


def _samples(model, test):
    name = zoo.JUDGES.get(test.preset.data.name)
    if name is None:
        return []
    n, seed = test.protocol.n_samples, test.protocol.seed
    pixels = zoo.arrays(model, "train", data_dir=test.data_dir)[0]
    with working(f"judging {n} samples", verbose=test.verbose):
        judge = zoo.load(name, dtype="float32")
        chosen = np.random.default_rng(seed).permutation(len(pixels))[:n]
        real, train, fake = (
            judge.classify(images)
            for images in (data.to_unit(test.pixels), data.to_unit(pixels[chosen]), model.sample(n, seed=seed))
        )
    sha256 = judge.preset.record(presets.WEIGHTS_RECORD)["sha256"][:12]  # a distance means nothing without it
    judged_by = f"features of {name} (sha256 {sha256}), not Inception-FID"
    rows = []

    def compare(judged, suffix, whose):
        for metric in ("frechet_distance", "kernel_distance"):
            value = getattr(metrics, metric)(real["features"], judged["features"])
            protocol = f"{judged_by}; {n} {whose} vs {len(test.pixels)} test images"
            rows.append(test.row(f"{metric}{suffix}", value, "", protocol, n=n))

    def neighbours(judged, suffix, whose):
        k = min(5, n - 1, len(test.pixels) - 1)
        found = metrics.precision_recall(real["features"], judged["features"], n_neighbors=k)
        for metric, value in found.items():
            protocol = f"{judged_by}; {n} {whose}, {len(test.pixels)} test images, {k} nearest neighbours"
            rows.append(test.row(f"{metric}{suffix}", value, "", protocol, n=n))

    compare(fake, "", "samples")
    compare(train, "_floor", "training images")
    neighbours(fake, "", "samples")
    neighbours(train, "_of_train", "training images: what to expect of perfect samples")
    if model.preset.family == "vae" and not model.n_classes:
        if metrics.scikit_learn_is_here():
            with working("fitting a mixture to the codes", verbose=test.verbose):
                # All of MNIST for the 10,000 samples of a card; fewer where fewer samples are asked for.
                mixture = samplers.fit_mixture(model, test.as_seen(pixels[: max(6 * n, 1000)]), seed=seed)
                judged = judge.classify(mixture.sample(n, seed=seed))
            compare(judged, "_mixture", f"samples of a mixture of {mixture.n_components} Gaussians, fitted to z~q(z|x)")
        else:
            warnings.warn("No mixture was fitted to the codes: pip install 'keras-genzoo[probes]'", stacklevel=2)
    seen = fake["logits"].argmax(1)
    kl = metrics.label_histogram_kl(seen, reference=test.labels, n_classes=_CLASSES)
    covered = len(np.unique(seen))
    rows += [
        test.row("classes_covered", covered, f"of {_CLASSES}", f"classes {name} sees among the samples", n=n),
        test.row("label_histogram_kl", kl, "nats", f"KL(classes {name} sees || labels of the test images)", n=n),
    ]
    if model.n_classes:
        asked = model.classes_in_turn(n)  # as `sample` asks for them
        right = np.mean(seen == asked)
        rows.append(test.row("class_accuracy", right, "", f"samples in which {name} sees the class asked for", n=n))
        ratios = metrics.class_diversity(
            real["features"], fake["features"], real_labels=test.labels, fake_labels=asked, n_classes=_CLASSES
        )
        for metric, c in (("least", np.nanargmin(ratios)), ("greatest", np.nanargmax(ratios))):
            protocol = f"of all classes, that of {c}: spread of its samples over that of its test images; {judged_by}"
            rows.append(test.row(f"{metric}_class_diversity", ratios[c], "", protocol, n=n))
    return rows


def _swaps(model, test):
    """Of two people in the same poses: how near a swap is to the truth, beside ways to do without a model."""
    config = test.preset.data
    if {config.name, config.other} - set(data.RENDERED_FACES):
        return _own_faces(model, test)
    n, shape = len(test.pixels), model.image_shape
    people = {}
    for side, name in (("a", config.name), ("b", config.other)):
        kept = {"data_dir": test.data_dir, "image_shape": shape}
        landmarks, pose = data.face_marks(name, "test", **kept)
        train_landmarks, train_pose = data.face_marks(name, "train", **kept)
        people[side] = _Person(
            test=data.to_unit(data.arrays(name, "test", **kept)[0][:n]),
            train=data.to_unit(data.arrays(name, "train", **kept)[0]),
            landmarks=landmarks[:n],
            pose=pose[:n],
            marks=np.concatenate([train_landmarks.reshape(len(train_landmarks), -1), train_pose], axis=1),
        )
    with working("learning who is who", verbose=test.verbose):
        both = [person.train for person in people.values()]
        who = metrics.ridge_of_faces(np.concatenate(both), np.repeat([[-1.0], [1.0]], [len(x) for x in both], axis=0))
    rows = []
    for source, to in (("a", "b"), ("b", "a")):
        rows += _swaps_to(to, model, test, people[source].test, people[to], who)
    swaps = [row["value"] for row in rows if row["metric"] in ("psnr_to_a", "psnr_to_b")]
    return [test.row("swap_psnr", float(np.mean(swaps)), "dB", "mean of both directions, over the face"), *rows]


class _Person(NamedTuple):
    """Faces of one person, and where and which way they are; `marks`: of the training images, 136 + 3 columns."""

    test: np.ndarray
    train: np.ndarray
    landmarks: np.ndarray
    pose: np.ndarray
    marks: np.ndarray


def _swaps_to(to, model, test, source, person, who):
    """The rows of one direction; `who` reads -1 of a, 1 of b."""
    truth = person.test
    region = metrics.face_region(person.landmarks, model.image_shape)
    with working(f"learning the poses of {to}", verbose=test.verbose):
        where = metrics.ridge_of_faces(person.train, person.marks)
    swap = model.swap(source, to=to)
    recoloured = "mean and deviation of each channel as of"
    ways = {
        "": ("the swap", swap),
        "_of_source": ("the source itself", source),
        "_of_mean": (f"the mean of {to}'s training images", np.broadcast_to(person.train.mean(0), truth.shape)),
        "_of_colour": (f"the source, {recoloured} {to}'s training images", _recoloured(source, person.train)),
    }
    rows = []
    for suffix, (what, images) in ways.items():
        protocol = f"{what} against {to} in the same pose, expression and light; over the face, jaw to brows"
        psnr = metrics.psnr(truth, images, weights=region).mean()
        ssim = losses.structural_similarity(truth, reconstruction=images.astype("float32"), weights=region)
        rows.append(test.row(f"psnr_to_{to}{suffix}", psnr, "dB", protocol))
        rows.append(test.row(f"ssim_to_{to}{suffix}", float(ops.mean(ssim)), "", protocol))
    learned = "by kernel ridge regression on the training images, blind to colour"
    for suffix, images, whose in (("", swap, "swaps"), ("_of_truth", truth, "true images")):
        found = where(images)
        distance = np.linalg.norm(found[:, :-3].reshape(person.landmarks.shape) - person.landmarks, axis=-1)
        right, turn = np.mean((who(images)[:, 0] > 0) == (to == "b")), np.abs(found[:, -3:] - person.pose).mean()
        points, angles = "68 landmarks against those of the truth", "yaw, pitch and roll against the source's"
        rows += [
            test.row(f"identity_accuracy_to_{to}{suffix}", right, "", f"{whose} taken for {to} {learned}"),
            test.row(f"landmark_error_to_{to}{suffix}", distance.mean(), "px", f"{whose}: {points}, found {learned}"),
            test.row(f"pose_error_to_{to}{suffix}", turn, "degrees", f"{whose}: {angles}, found {learned}"),
        ]
    return rows


def _own_faces(model, test):
    """Of people without pairs: what each decoder makes of its own person's held-out images."""
    rows = []
    for side in ("a", "b"):
        images = data.to_unit(zoo.arrays(model, "test", other=side == "b", data_dir=test.data_dir)[0][: test.n_images])
        own = model.autoencode(images, of=side)
        protocol = f"held-out images of {side} through {side}'s own decoder; there is no truth to score a swap by"
        psnr = metrics.psnr(images, own).mean()
        ssim = float(ops.mean(losses.structural_similarity(images, reconstruction=own)))
        rows.append(test.row(f"psnr_of_{side}", psnr, "dB", protocol, n=len(images)))
        rows.append(test.row(f"ssim_of_{side}", ssim, "", protocol, n=len(images)))
    return rows


def _recoloured(images, of):
    """Images with the mean and the deviation of each channel that `of` has."""
    axes = (1, 2)
    mean, deviation = images.mean(axes, keepdims=True), np.maximum(images.std(axes, keepdims=True), 1e-6)
    target_mean, target_deviation = of.mean((0, 1, 2)), of.std(axes).mean(0)
    return np.clip((images - mean) / deviation * target_deviation + target_mean, 0, 1)


def _classification(model, test):
    right = model.classify(test.images)["logits"].argmax(1) == test.labels
    return [test.row("accuracy", right.mean(), "", "fraction of test images classified right")]


_MEASURES = {
    "autoencoder": [_reconstruction, _denoising, _probes],
    "vae": [_likelihood, _samples],
    "gan": [_samples, _modes, _stacked_modes],
    "face_swap": [_swaps],
    "classifier": [_classification],
}


def _rounded(value):
    """Six significant digits: what the protocols repeat to, and what a diff can show."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _commit():
    """The commit the measuring code stands at (marked when the code differs from it), or its released version."""
    here = Path(__file__).parent

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", here, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if not git("ls-files", "--error-unmatch", __file__):
            return f"v{__version__}"
        return git("rev-parse", "--short=12", "HEAD") + (
            "-modified" if git("status", "--porcelain", "--", str(here)) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return f"v{__version__}"
