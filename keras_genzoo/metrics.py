"""Measures over arrays and features: distances of samples, reconstruction quality, use of latents.

They need NumPy, and the probes scikit-learn.
"""

import importlib.util
import warnings

import numpy as np

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike

_BLOCK = 1000  # rows of features compared at once with all others, so that memory does not grow with the square
_NEAR = 3  # standard deviations from a mode within which a sample is of high quality (Lin et al. 2018, section 4.1)
_LEAST_DEVIATION = 1e-6  # least deviation of an image's pixels, so that no flat image is divided by 0
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C, the inverse regularisation, among which a linear probe chooses


def frechet_distance(real_features: ArrayLike, fake_features: ArrayLike) -> float:
    """Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6, squared form).

        d^2 = |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2))

    It is called FID only over Inception features, so name the features beside each number. It is biased upwards for
    small n: compare only at equal n, and with the distance between two real samples.

    Args:
        real_features: Features of real images, `(n, d)`, n >= 2.
        fake_features: Features of generated images, `(m, d)`, m >= 2.

    Returns:
        float >= 0, in squared feature units.

    Raises:
        ZooError: Features of another shape.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo import metrics
        >>> real = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(metrics.frechet_distance(real, real + 2), 6)  # the means differ by 2 along both axes
        8.0
    """
    real, fake = _features(real_features, fake_features)
    mean_term = np.sum((real.mean(0) - fake.mean(0)) ** 2)
    c_real, c_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    # Tr (C_r C_f)^(1/2) through a symmetric matrix of the same eigenvalues: real and stable where sqrtm is not.
    values, vectors = np.linalg.eigh(np.atleast_2d(c_real))
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(c_fake) @ root)
    distance = mean_term + np.trace(np.atleast_2d(c_real)) + np.trace(np.atleast_2d(c_fake))
    return float(max(distance - 2 * np.sum(np.sqrt(np.clip(cross, 0, None))), 0.0))


def kernel_distance(real_features: ArrayLike, fake_features: ArrayLike) -> float:
    """Kernel distance (KID): unbiased squared MMD with k(a, b) = (a.b / d + 1)^3 (Binkowski et al. 2018, eq. 4).

    The means run over all pairs, not over subsets.

    Args:
        real_features: Features of real images, `(n, d)`, n >= 2.
        fake_features: Features of generated images, `(m, d)`, m >= 2.

    Returns:
        float, 0 in expectation for equal distributions, so slightly negative at times.

    Raises:
        ZooError: Features of another shape.
    """
    real, fake = _features(real_features, fake_features)
    return float(_mean_kernel(real) + _mean_kernel(fake) - 2 * _mean_kernel(real, fake))


def precision_recall(real_features: ArrayLike, fake_features: ArrayLike, *, n_neighbors: int = 5) -> dict[str, float]:
    """Fidelity and diversity of samples, from nearest neighbours in features.

    A ball around each real image reaches to its k-th nearest real neighbour, and one around each sample to its k-th
    nearest sample.

    - Precision: share of the samples in any real ball (Kynkaanniemi et al. 2019, eq. 1).
    - Recall: share of the real images in any sample's ball (eq. 2).
    - Density: mean number of real balls around a sample, over k (Naeem et al. 2020, eq. 3).
    - Coverage: share of the real balls with a sample in them (eq. 4).

    Outliers mislead the first two, and the last two much less. Two samples of one distribution score 1 for density,
    1 - 2^-k for coverage, and less than 1 for the others.

    Args:
        real_features: Features of real images, `(n, d)`, n > n_neighbors.
        fake_features: Features of generated images, `(m, d)`, m > n_neighbors.
        n_neighbors: k, >= 1.

    Returns:
        dict of floats `precision`, `recall`, `coverage` in [0, 1] and `density` >= 0.

    Raises:
        ZooError: Features of another shape, or `n_neighbors` out of range.
    """
    real, fake = _features(real_features, fake_features)
    if not 1 <= n_neighbors < min(len(real), len(fake)):
        raise ZooError(f"`n_neighbors` must be in 1..{min(len(real), len(fake)) - 1}. Received: {n_neighbors}")

    def reach(points):  # the point itself is the nearest, number 0
        return np.concatenate(
            [np.partition(squared_distances(rows, points), n_neighbors)[:, n_neighbors] for rows in _blocks(points)]
        )

    real_reach, fake_reach = reach(real), reach(fake)
    in_real, recalled, covered = np.zeros(len(fake)), [], []
    for rows, radius in zip(_blocks(real), _blocks(real_reach), strict=True):
        distances = squared_distances(rows, fake)
        inside = distances < radius[:, None]
        in_real += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distances < fake_reach).any(1))
    return {
        "precision": float(np.mean(in_real > 0)),
        "recall": float(np.mean(np.concatenate(recalled))),
        "density": float(np.mean(in_real) / n_neighbors),
        "coverage": float(np.mean(np.concatenate(covered))),
    }


def mode_coverage(samples: ArrayLike, *, centres: ArrayLike, std: float) -> dict[str, float]:
    """Modes of a mixture of equal Gaussians that samples reach: the protocol of PacGAN (Lin et al. 2018, section 4.1).

    A sample is of high quality within 3 standard deviations of its nearest centre; one such sample covers the mode.
    The KL divergence is of the samples' share per nearest centre against equal shares, in the paper's direction.

    Args:
        samples: Points, `(n, d)`.
        centres: Centres of the modes, `(k, d)`, in the samples' units.
        std: Standard deviation of every mode along each axis, > 0.

    Returns:
        dict: `modes` (int, of k), `high_quality` (share of the samples, in [0, 1]) and `reverse_kl` (nats, >= 0).
    """
    samples, centres = np.asarray(samples, "float64"), np.asarray(centres, "float64")
    squared = np.sum((samples[:, None] - centres) ** 2, axis=-1)
    nearest = squared.argmin(1)
    good = squared.min(1) <= (_NEAR * std) ** 2
    return {
        "modes": len(np.unique(nearest[good])),
        "high_quality": float(good.mean()),
        "reverse_kl": label_histogram_kl(nearest, reference=np.arange(len(centres)), n_classes=len(centres)),
    }


def label_histogram_kl(labels: ArrayLike, *, reference: ArrayLike, n_classes: int) -> float:
    """KL divergence of the classes of generated images from those of real ones.

        KL(p || q) = sum_c p_c log(p_c / q_c),    p, q: share of each class among generated and real images

    Args:
        labels: Class of each generated image according to a classifier, `(n,)` integers.
        reference: Labels of real images, `(m,)` integers; every class must occur.
        n_classes: Number of classes.

    Returns:
        float >= 0, in nats; 0 where all classes have the same share in both.
    """
    return histogram_kl(*(np.bincount(values, minlength=n_classes) for values in (labels, reference)))


def class_diversity(
    real_features: ArrayLike,
    fake_features: ArrayLike,
    *,
    real_labels: ArrayLike,
    fake_labels: ArrayLike,
    n_classes: int,
) -> np.ndarray:
    """Diversity of the samples of each class, relative to real images of that class.

        D_c = sqrt(E |f - E f|^2 / E |r - E r|^2),    f, r: features of the samples and the real images of class c

    Args:
        real_features: Features of real images, `(n, d)`.
        fake_features: Features of generated images, `(m, d)`.
        real_labels: Labels of the real images, `(n,)` integers in `range(n_classes)`.
        fake_labels: Class each generated image was asked for, `(m,)` integers in `range(n_classes)`.
        n_classes: Number of classes.

    Returns:
        `(n_classes,)` float64, >= 0: 1 where both are equally diverse, 0 where all samples are the same, NaN for a
        class without samples or without real images.
    """
    ratios = np.full(n_classes, np.nan)
    for c in range(n_classes):
        real, fake = (
            np.asarray(features, "float64")[np.asarray(labels) == c]
            for features, labels in ((real_features, real_labels), (fake_features, fake_labels))
        )
        if len(real) and len(fake):
            ratios[c] = np.sqrt(fake.var(axis=0).sum() / real.var(axis=0).sum())
    return ratios


def histogram_kl(counts: ArrayLike, reference: ArrayLike) -> float:
    """KL divergence KL(counts || reference) of two histograms, each divided by its sum.

    Args:
        counts: Histogram, `(k,)`, >= 0 and not all 0.
        reference: Histogram, `(k,)`, > 0 throughout.

    Returns:
        float >= 0, in nats.
    """
    p, q = (np.asarray(values, "float64") / np.sum(values) for values in (counts, reference))
    occurs = p > 0
    return float(np.sum(p[occurs] * np.log(p[occurs] / q[occurs])))


def psnr(images: ArrayLike, reconstructions: ArrayLike, *, weights: ArrayLike | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio of each image.

        PSNR = 10 log10(1 / mean squared error)

    Args:
        images: Images, `(n, H, W, C)`, in [0, 1].
        reconstructions: Same shape, in [0, 1].
        weights: Weights of the pixels in the mean, `(n, H, W, 1)`, >= 0 and not all 0; None: all equal.

    Returns:
        `(n,)` float64, in dB; inf where the two are the same.
    """
    squared = np.square(np.asarray(images, "float64") - np.asarray(reconstructions, "float64"))
    if weights is None:
        error = squared.mean(axis=(1, 2, 3))
    else:
        weights = np.asarray(weights)
        error = (weights * squared).sum(axis=(1, 2, 3)) / (squared.shape[-1] * np.sum(weights, axis=(1, 2, 3)))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def active_units(z_mean: np.ndarray, threshold: float = 0.01) -> int:
    """Number of latents that a model uses: those with Var_x(E[z_j|x]) > threshold (Burda et al. 2016, section 5.2).

    Args:
        z_mean: E[z|x] of many images x, `(n, latent_dim)`.
        threshold: Least variance of a used latent; the paper takes 0.01.

    Returns:
        int in 0..latent_dim.
    """
    return int(np.sum(np.var(z_mean, axis=0) > threshold))


_LEAST_VARIANCE = 1e-5  # of a component, as a share of the largest: float32 knows no direction of less
_MOST_SOLVED = 4096  # sides of a matrix whose eigenvectors are all computed: a minute of two cores
_MORE = 32  # components beyond those asked for that a block iteration holds, which lets the last of these settle
_MOST_TURNS, _SETTLED = 50, 1e-6  # turns of the iteration, and the share of the variance by which the last one moves


BLOCKS = "the means of 16 x 16 blocks"  # what `retrieval_accuracy` compares, for protocols
_N_BLOCKS = 16


def retrieval_accuracy(images: np.ndarray, candidates: np.ndarray) -> float:
    """Share of images whose nearest candidate is their own, by the Euclidean distance of the means of 16 x 16 blocks.

    Args:
        images: Images, `(n, H, W, C)`; H and W divisible by 16.
        candidates: Images, `(m, H, W, C)`, m >= n; the first n are the images' own.

    Returns:
        float in [0, 1].
    """

    def blocks(x):
        n, height, width, channels = x.shape
        parts = x.astype("float64").reshape(n, _N_BLOCKS, height // _N_BLOCKS, _N_BLOCKS, width // _N_BLOCKS, channels)
        return parts.mean((2, 4)).reshape(n, -1)

    nearest = squared_distances(blocks(images), blocks(candidates)).argmin(1)
    return float(np.mean(nearest == np.arange(len(images))))


def pca(train: np.ndarray, *, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of training images or codes.

    Args:
        train: Images or codes, `(n, ...)`, of d numbers each.
        n_components: Number of components; above d it is d.

    Returns:
        `(mean, basis)` float32, `(d,)` and `(d, n_components)`. The columns of `basis` are orthonormal, the component
        of the largest variance first. Of more than 4,096 images of more numbers they come from a block iteration
        (Halko, Martinsson & Tropp 2011), once a turn moves the variance that they hold by less than a millionth.
    """
    train = train.reshape(len(train), -1).astype("float32", copy=False)
    mean = train.mean(0)
    centred = train - mean
    if min(centred.shape) > _MOST_SOLVED and n_components + _MORE < _MOST_SOLVED // 4:
        return mean, _leading(centred, n_components)
    if n_components < len(train) < centred.shape[1]:
        # Of fewer images than pixels the same directions come from a matrix of images: one of 49,152 pixels is 10 GB.
        variances, shares = np.linalg.eigh(centred @ centred.T / len(train))
        variances, shares = variances[::-1][:n_components], shares[:, ::-1][:, :n_components]
        if variances[-1] > _LEAST_VARIANCE * variances[0]:  # else the last directions are none of the images' own
            return mean, centred.T @ (shares / np.sqrt(len(train) * variances))
    return mean, np.linalg.eigh(centred.T @ centred / len(train))[1][:, ::-1][:, :n_components]


def _leading(centred, n_components):
    """The first principal components of centred rows `(n, d)`, `(d, n_components)`."""
    draws = np.random.default_rng(0).standard_normal((centred.shape[1], n_components + _MORE), dtype="float32")
    basis, held = np.linalg.qr(draws)[0], 0.0
    for _ in range(_MOST_TURNS):
        codes = centred @ basis
        before, held = held, float(np.square(codes, dtype="float64").sum())
        if held - before < _SETTLED * held:
            break
        basis = np.linalg.qr(centred.T @ codes)[0]
    return basis @ np.linalg.eigh(codes.T @ codes)[1][:, ::-1][:, :n_components]


def pca_squared_error(train: np.ndarray, test: np.ndarray, *, n_components: int) -> float:
    """Squared error per test image of PCA fitted on training images: the least that a linear code of that size has.

    Args:
        train: Training images, `(n, ...)`, in [0, 1].
        test: Test images, `(m, ...)`, in [0, 1].
        n_components: Number of components, the size of the code.

    Returns:
        float >= 0, in squared intensity per image.
    """
    mean, basis = pca(train, n_components=n_components)
    centred = test.reshape(len(test), -1).astype("float32") - mean
    residual = centred - centred @ basis @ basis.T
    return float(np.mean(np.sum(residual.astype("float64") ** 2, axis=1)))


def linear_probe_error(
    train: np.ndarray, test: np.ndarray, *, train_labels: ArrayLike, test_labels: ArrayLike
) -> tuple[float, float]:
    """Test error of a logistic regression on features: the quality of a linear boundary between the classes.

    The regression is scikit-learn's, l2-regularised. Features are divided by one number, their standard deviation. C,
    the inverse strength, is chosen among 0.001, 0.01, 0.1 and 1: each is fitted to a third of the training images and
    scored on another sixth.

    Args:
        train: Features of the training images, `(n, d)`.
        test: Features of the test images, `(m, d)`.
        train_labels: Classes of the training images, `(n,)` integers.
        test_labels: Classes of the test images, `(m,)` integers.

    Returns:
        `(error, C)`: the fraction of test images that are misclassified, and the C that was chosen.
    """
    from sklearn.linear_model import LogisticRegression

    scale = float(train.std()) or 1.0
    order = np.random.default_rng(0).permutation(len(train))  # folders are sorted by class
    train, train_labels, test = train[order] / scale, np.asarray(train_labels)[order], test / scale

    def fitted(images, labels, c):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimum need not be exact to the last digit
            return LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(images, labels)

    third, sixth = len(train) // 3, len(train) // 6
    scores = {
        c: fitted(train[:third], train_labels[:third], c).score(train[-sixth:], train_labels[-sixth:])
        for c in _STRENGTHS
    }
    best = max(scores, key=lambda c: scores[c])
    return 1 - fitted(train, train_labels, best).score(test, test_labels), best


def knn_error(
    train: np.ndarray, test: np.ndarray, *, train_labels: ArrayLike, test_labels: ArrayLike, n_neighbors: int = 5
) -> float:
    """Test error of a vote of the nearest training features (Euclidean, scikit-learn's).

    Args:
        train: Features of the training images, `(n, d)`.
        test: Features of the test images, `(m, d)`.
        train_labels: Classes of the training images, `(n,)` integers.
        test_labels: Classes of the test images, `(m,)` integers.
        n_neighbors: Number of voters, >= 1; above n it is n.

    Returns:
        Fraction of test images that are misclassified, in [0, 1].
    """
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(n_neighbors, len(train)), algorithm="brute").fit(train, train_labels)
    return 1 - voters.score(test, test_labels)


def scikit_learn_is_here() -> bool:
    """Whether scikit-learn, which probes and mixtures need, is installed."""
    return importlib.util.find_spec("sklearn") is not None


def _features(real: ArrayLike, fake: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features as float64, checked."""
    real, fake = np.asarray(real, "float64"), np.asarray(fake, "float64")
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise ZooError(f"Features must be (n, d) with n >= 2 and one d. Received: {real.shape} and {fake.shape}")
    return real, fake


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of every row of a to every row of b.

    Args:
        a: Points, `(n, d)`.
        b: Points, `(m, d)`.

    Returns:
        `(n, m)`, >= 0.
    """
    return np.maximum(np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1) - 2 * a @ b.T, 0)


def _mean_kernel(a, b=None):
    """Mean of the kernel over all pairs of a and b; without b, over all pairs of two different rows of a."""
    total = sum(np.sum((rows @ (a if b is None else b).T / a.shape[1] + 1) ** 3) for rows in _blocks(a))
    if b is not None:
        return total / (len(a) * len(b))
    diagonal = np.sum((np.sum(a * a, axis=1) / a.shape[1] + 1) ** 3)
    return (total - diagonal) / (len(a) * (len(a) - 1))


def _blocks(a):
    """The rows of a, `_BLOCK` at a time."""
    return (a[start : start + _BLOCK] for start in range(0, len(a), _BLOCK))
