"""Measures that several families share: reconstructions, probes of codes, and samples before a judge."""

import hashlib
import warnings
from typing import Any

import numpy as np

from keras_genzoo import data, engine, judges, losses, metrics
from keras_genzoo.evaluation import Test
from keras_genzoo.progress import working

_LEAST_PROBED = 100  # number of training images that probes need
_LEAST_ACTIVITY = 1e-3  # share of the test images below which a unit is silent
_LEAST_SPREAD = 2  # number of images that have a covariance
_LEAST_SSIM_SIDE = 11  # pixels, the window of SSIM
_AT_ONCE = 256  # images whose SSIM is computed at once
_N_NEIGHBOURS = 5  # neighbours of an image in precision and recall
# Results of probes on pixels and on PCA, which are the same for every preset of a data set and a size.
_BASELINES: dict[tuple, Any] = {}


def reconstruction(model: Any, test: Test) -> list[dict]:
    """Squared error and PSNR of reconstructions, and SSIM of images of one's own, beside PCA of the code's size.

    Args:
        model: A model that reconstructs.
        test: The test.

    Returns:
        Rows of metrics.json.
    """
    images = test.images
    labels = (test.labels,) if model.is_conditional else ()
    reconstructions = model.reconstruct(images, *labels)
    squared_error = np.sum((images - reconstructions).astype("float64") ** 2, axis=(1, 2, 3))
    rows = [
        test.row("squared_error", squared_error.mean(), "per image", "sum over dimensions of (x - r)^2, x in [0, 1]"),
        test.row("psnr", metrics.psnr(images, reconstructions).mean(), "dB", "mean over images"),
    ]
    if test.preset.data.name not in judges.GREY and min(images.shape[1:3]) >= _LEAST_SSIM_SIDE:
        rows.append(test.row("ssim", _ssim(images, reconstructions), "", "mean over images, windows of 11 pixels"))
    pixels = test.train_arrays(model, "pca_squared_error")[0]
    if pixels is None:
        return rows
    train, d = data.to_unit(data.rows.in_memory(pixels)), model.latent_dim
    if d < train[0].size:  # else PCA has no error
        value = metrics.pca_squared_error(train, images, n_components=d)
        protocol = f"PCA with {d} components fitted on the training images: the linear code of that size"
        rows.append(test.row("pca_squared_error", value, "per image", protocol))
    return rows


def _ssim(images, reconstructions):
    """The mean structural similarity over images, in parts that memory holds."""
    parts = [
        engine.array(
            losses.structural_similarity(images[i : i + _AT_ONCE], reconstruction=reconstructions[i : i + _AT_ONCE])
        )
        for i in range(0, len(images), _AT_ONCE)
    ]
    return np.concatenate(parts).mean()


def probes(model: Any, test: Test) -> list[dict]:
    """Test errors of simple classifiers on the codes, beside raw pixels and PCA of the same size.

    Args:
        model: A model with codes.
        test: The test.

    Returns:
        Rows of metrics.json; none without labels, without scikit-learn or with too few images.
    """
    if test.labels is None:
        return []
    if not metrics.scikit_learn_is_here():
        warnings.warn("The codes were not probed: pip install 'keras-genzoo[probes]'", stacklevel=2)
        return []
    pixels, labels = test.train_arrays(model, "the probes")
    n = test.protocol.n_probe_images
    if pixels is None:
        return []
    if labels is None or min(n, len(pixels)) < _LEAST_PROBED or len(np.unique(labels[:n])) < 2:
        test.leave_out(
            f"probes of the codes: they take {_LEAST_PROBED} training images of two classes (`n_probe_images`)"
        )
        return []
    labels = labels[:n]
    images = (data.to_unit(pixels[:n]), test.images)  # images to train the probes on, and images to test them on
    flat_images = [x.reshape(len(x), -1) for x in images]
    mean, basis = metrics.pca(images[0], n_components=model.latent_dim)
    features = {
        "code": [model.codes(x) for x in images],
        "pca": [(x - mean) @ basis for x in flat_images],
        "pixels": flat_images,
    }
    is_active = features["code"][1] != 0
    n_silent = int(np.sum(is_active.mean(0) < _LEAST_ACTIVITY))
    rows = [
        test.row("active_fraction", is_active.mean(), "", "of the code's numbers, not 0"),
        test.row("silent_units", n_silent, f"of {model.latent_dim}", "not 0 for less than 1 in 1,000"),
    ]
    for name, (train_features, test_features) in features.items():
        key = (name, *map(_digest, (train_features, test_features, labels, test.labels)))
        with working(f"probing {name}", verbose=test.verbose):
            result = _BASELINES.get(key) or _probe(train_features, test_features, labels, test.labels)
        if name != "code":
            _BASELINES[key] = result
        linear, c, knn = result
        prefix = "" if name == "code" else f"{name}_"
        source = f"on {name} ({train_features.shape[1]} numbers) of {len(train_features):,} training images"
        rows += [
            test.row(f"{prefix}linear_probe_error", linear, "", f"logistic regression {source}, C={c:g}"),
            test.row(f"{prefix}knn_error", knn, "", f"5 nearest neighbours {source}"),
        ]
    return rows


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).data).digest()


def _probe(
    train: np.ndarray, test: np.ndarray, train_labels: np.ndarray, test_labels: np.ndarray
) -> tuple[float, float, float]:
    """`(error of logistic regression, its C, error of nearest neighbours)` on features `(n, d)`."""
    linear, c = metrics.linear_probe_error(train, test, train_labels=train_labels, test_labels=test_labels)
    knn = metrics.knn_error(train, test, train_labels=train_labels, test_labels=test_labels)
    return linear, c, knn


class Judged:
    """Samples of a model and real images, both classified by the judge of the data set.

    Args:
        model: A model that samples.
        test: The test.

    Attributes:
        n: Number of samples.
        judge: The classifier.
        real, train, fake: Features of test images, of training images and of samples, and logits where the judge
            tells classes; `train` is None without training images.
    """

    def __init__(self, model: Any, test: Test):
        self.model, self.test = model, test
        self.n, self.seed = test.protocol.n_samples, test.protocol.seed
        self.train_pixels = test.train_arrays(model, "frechet_distance_floor and the like")[0]
        with working(f"judging {self.n} samples", verbose=test.verbose):
            real = data.to_unit(test.pixels)
            self.judge = judges.features(test.judge, test.preset.data.name, real)
            self.real = self.judge.classify(real)
            samples = model.sample(self.n, seed=self.seed)
            self.fake = self.judge.classify(samples)
            self.pixels = None  # the judge by pixels, and its features of test images and of samples
            if self._is_strange():
                pixels = judges.features(judges.PIXELS, test.preset.data.name, real)
                self.pixels = (pixels, *(pixels.classify(images)["features"] for images in (real, samples)))
            self.train = None
            if self.train_pixels is not None:
                indices = np.random.default_rng(self.seed).permutation(len(self.train_pixels))[: self.n]
                self.train = self.judge.classify(data.to_unit(self.train_pixels[indices]))
        self.judged_by = self.judge.judged_by

    @property
    def n_classes(self) -> int:
        """Number of the judge's classes."""
        return self.fake["logits"].shape[1]

    def distances(self, judged: dict, suffix: str, images: str) -> list[dict]:
        """Frechet and kernel distance of judged images to the test images.

        Args:
            judged: Features and logits of the images.
            suffix: End of the metrics' names.
            images: Name of the images in the protocol.

        Returns:
            Rows of metrics.json; none where there are too few images.
        """
        if not self._has(_LEAST_SPREAD, "frechet_distance and kernel_distance", judged, images):
            return []
        protocol = f"{self.judged_by}; {self.n} {images} vs {len(self.test.pixels)} test images"
        return self._distances("{}" + suffix, self.real["features"], judged["features"], protocol)

    def _distances(self, name, real, judged, protocol):
        """Rows of both distances between features; `name` has a place for the metric's."""
        return [
            self.test.row(name.format(metric), getattr(metrics, metric)(real, judged), "", protocol, n=self.n)
            for metric in ("frechet_distance", "kernel_distance")
        ]

    def neighbours(self, judged: dict, suffix: str, images: str) -> list[dict]:
        """Precision, recall, density and coverage of judged images.

        Args:
            judged: Features and logits of the images.
            suffix: End of the metrics' names.
            images: Name of the images in the protocol.

        Returns:
            Rows of metrics.json; none where there are too few images.
        """
        k = _N_NEIGHBOURS
        if not self._has(k + 1, "precision, recall, density and coverage", judged, images):
            return []
        values = metrics.precision_recall(self.real["features"], judged["features"], n_neighbors=k)
        protocol = f"{self.judged_by}; {self.n} {images}, {len(self.test.pixels)} test images, {k} nearest neighbours"
        return [self.test.row(f"{metric}{suffix}", value, "", protocol, n=self.n) for metric, value in values.items()]

    def _has(self, least, what, judged, images):
        """Whether there are enough test images, and enough judged ones."""
        kind = f"{images.partition(':')[0]} (`n_samples`)"
        return self.test.has(least, what) and self.test.has(least, what, n=len(judged["features"]), of=kind)

    def rows(self) -> list[dict]:
        """All rows: distances, neighbours, classes."""
        return [
            *self.distances(self.fake, "", "samples"),
            *(self.distances(self.train, "_floor", "training images") if self.train else ()),
            *self.neighbours(self.fake, "", "samples"),
            *(
                self.neighbours(self.train, "_of_train", "training images: what to expect of perfect samples")
                if self.train
                else ()
            ),
            *self.classes(),
        ]

    def _is_strange(self):
        """Whether the judge of colour judges images of a kind that it was not trained on."""
        name = self.test.preset.data.name
        return self.judge.name == judges.COLOUR and not judges.knows(name) and self.test.judge is None

    def pixel_rows(self) -> list[dict]:
        """Distances by components of pixels, beside those by a judge of colour that does not know such images.

        Returns:
            Rows of metrics.json; none where the data set has a judge of its own, or the user has given one.
        """
        if self.pixels is None or not self.test.has(_LEAST_SPREAD, "pixel_frechet_distance and pixel_kernel_distance"):
            return []
        judge, real, fake = self.pixels
        protocol = f"{judge.judged_by}; {self.n} samples vs {len(real)} test images"
        return self._distances("pixel_{}", real, fake, protocol)

    def classes(self) -> list[dict]:
        """Classes of the samples by the judge; for a conditional model also how often they are the requested ones."""
        test, n, name = self.test, self.n, self.judge.name
        if test.labels is None or "logits" not in self.fake:
            return []
        k = self.n_classes
        predictions = self.fake["logits"].argmax(1)
        covered = len(np.unique(predictions))
        rows = [test.row("classes_covered", covered, f"of {k}", f"classes {name} sees among the samples", n=n)]
        fewest = np.bincount(test.labels, minlength=k).min()  # test images of a class
        if test.has(1, "label_histogram_kl", n=fewest, of="test image of each class (`n_images`)"):
            kl = metrics.label_histogram_kl(predictions, reference=test.labels, n_classes=k)
            protocol = f"KL(classes {name} sees || labels of the test images)"
            rows.append(test.row("label_histogram_kl", kl, "nats", protocol, n=n))
        if self.model.is_conditional:
            classes = self.model.classes_in_turn(n)  # the requests of `sample` without labels
            accuracy = np.mean(predictions == classes)
            rows.append(
                test.row("class_accuracy", accuracy, "", f"samples in which {name} sees the class asked for", n=n)
            )
            what = "least_class_diversity and greatest_class_diversity"
            if not (
                test.has(_LEAST_SPREAD, what, n=fewest, of="test images of each class (`n_images`)")
                and test.has(_LEAST_SPREAD * k, what, n=n, of="samples (`n_samples`)")
            ):
                return rows
            ratios = metrics.class_diversity(
                self.real["features"], self.fake["features"],
                real_labels=test.labels, fake_labels=classes, n_classes=k,
            )  # fmt: skip
            for metric, c in (("least", ratios.argmin()), ("greatest", ratios.argmax())):
                protocol = (
                    f"of all classes, that of {c}: spread of its samples over that of its test images; {self.judged_by}"
                )
                rows.append(test.row(f"{metric}_class_diversity", ratios[c], "", protocol, n=n))
        return rows


def samples(model: Any, test: Test) -> list[dict]:
    """Samples of a model, measured by the judge of its data set.

    Args:
        model: A model that samples.
        test: The test.

    Returns:
        Rows of metrics.json; none of a data set whose modes are counted.
    """
    if not are_judged(test):
        return []
    judged = Judged(model, test)
    return [*judged.rows(), *judged.pixel_rows()]


def are_judged(test: Test) -> bool:
    """Whether the samples of a model are judged: not where their modes are counted, nor with too few test images.

    Args:
        test: The test.
    """
    name = test.preset.data.name
    if test.judge is not None or judges.knows(name):
        return True
    return not judges.counts(name) and test.has(_LEAST_SPREAD, "frechet_distance and the like")
