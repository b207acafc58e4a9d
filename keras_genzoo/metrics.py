"""Measures over arrays and features: distances of samples, reconstruction quality, use of latents. NumPy, and
scikit-learn for the probes.
"""

import importlib.util
import warnings

import numpy as np

from keras_genzoo.errors import ZooError


def frechet_distance(real_features, fake_features):
    """Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6, squared form).

        d^2 = |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2))

    It is called FID only over Inception features; say whose features these are. Biased upwards for small n: compare
    only at equal n, and with the distance between two real samples.

    Args:
        real_features, fake_features: `(n, d)`, n >= 2.

    Returns:
        float >= 0, in squared feature units.
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


def kernel_distance(real_features, fake_features):
    """Kernel distance (KID): unbiased squared MMD with k(a, b) = (a.b / d + 1)^3 (Binkowski et al. 2018, eq. 4).

    Over all pairs, not over subsets.

    Args:
        real_features, fake_features: `(n, d)`, n >= 2.

    Returns:
        float, 0 in expectation for equal distributions, so slightly negative at times.
    """
    real, fake = _features(real_features, fake_features)
    return float(_mean_kernel(real) + _mean_kernel(fake) - 2 * _mean_kernel(real, fake))


def precision_recall(real_features, fake_features, *, n_neighbors=5):
    """How many samples look real, and how much of the real is among them, by nearest neighbours in features.

    A ball around each real image reaches to its k-th nearest real neighbour, and one around each sample to its k-th
    nearest sample. Precision: samples in any real ball. Recall: real images in any sample's ball (Kynkaanniemi et al.
    2019, eq. 1 and 2). Density: real balls a sample lies in, over k. Coverage: real balls with a sample in them (Naeem
    et al. 2020, eq. 3 and 4; they count where outliers fool the first two). Two samples of one distribution score
    1 for density, 1 - 2^-k for coverage, and less than 1 for the others.

    Args:
        real_features, fake_features: `(n, d)` and `(m, d)`, n and m > n_neighbors.
        n_neighbors: k, >= 1.

    Returns:
        dict of floats `precision`, `recall`, `coverage` in [0, 1] and `density` >= 0.
    """
    real, fake = _features(real_features, fake_features)
    if not 1 <= n_neighbors < min(len(real), len(fake)):
        raise ZooError(f"`n_neighbors` must be in 1..{min(len(real), len(fake)) - 1}. Received: {n_neighbors}")

    def reach(points):  # the nearest of all is the point itself
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


def mode_coverage(samples, *, centres, std):
    """Which modes of a mixture of equal Gaussians samples reach: the protocol of PacGAN (Lin et al. 2018, section 4.1).

    A sample is of high quality within 3 standard deviations of its nearest centre; one such sample covers the mode.
    The KL divergence is of the samples' share per nearest centre against equal shares, in the paper's direction.

    Args:
        samples: `(n, d)`.
        centres: `(k, d)`, in the samples' units.
        std: Standard deviation of every mode along each axis, > 0.

    Returns:
        dict: `modes` (int, of k), `high_quality` (share of the samples, in [0, 1]) and `reverse_kl` (nats, >= 0).
    """
    samples, centres = np.asarray(samples, "float64"), np.asarray(centres, "float64")
    squared = np.sum((samples[:, None] - centres) ** 2, axis=-1)
    nearest = squared.argmin(1)
    good = squared.min(1) <= (3 * std) ** 2
    return {
        "modes": len(np.unique(nearest[good])),
        "high_quality": float(good.mean()),
        "reverse_kl": label_histogram_kl(nearest, reference=np.arange(len(centres)), n_classes=len(centres)),
    }


def label_histogram_kl(labels, *, reference, n_classes):
    """KL(generated label histogram || reference histogram), in nats; 0 when classes come as often as they should.

    Args:
        labels: Class of each generated image, as a classifier sees it, `(n,)` integers.
        reference: Labels of real images, `(m,)`; every class must occur.
        n_classes: Number of classes.
    """
    return histogram_kl(*(np.bincount(values, minlength=n_classes) for values in (labels, reference)))


def class_diversity(real_features, fake_features, *, real_labels, fake_labels, n_classes):
    """How varied the samples of each class are beside real images of it: the ratio of root mean squared distances to
    the class's mean. 1 is as varied, 0 one sample over and over.

    Args:
        real_features, fake_features: `(n, d)` and `(m, d)`.
        real_labels, fake_labels: `(n,)` and `(m,)` integers in `range(n_classes)`; of samples the class asked for.

    Returns:
        `(n_classes,)` float64, >= 0; NaN for a class of which one side has none.
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


def histogram_kl(counts, reference):
    """KL(counts || reference) of two histograms `(k,)`, each brought to sum 1, in nats; `reference` > 0 throughout."""
    p, q = (np.asarray(values, "float64") / np.sum(values) for values in (counts, reference))
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))


def psnr(images, reconstructions, *, weights=None):
    """Peak signal-to-noise ratio of each image, 10 log10(1 / mean squared error), in dB, `(n,)`; pixels in [0, 1].

    With `weights`, `(n, H, W, 1)` >= 0, the mean is over those pixels.
    """
    squared = np.square(np.asarray(images, "float64") - np.asarray(reconstructions, "float64"))
    if weights is None:
        error = squared.mean(axis=(1, 2, 3))
    else:
        error = (weights * squared).sum(axis=(1, 2, 3)) / (squared.shape[-1] * np.sum(weights, axis=(1, 2, 3)))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def face_region(landmarks, image_shape):
    """1 inside the face, from the jaw to the brows, and 0 outside: `(n, H, W, 1)` float32.

    Args:
        landmarks: `(n, 68, 2)`, x and y in pixels, in iBUG order.
        image_shape: `(H, W, channels)`.
    """
    outline = np.concatenate([landmarks[:, :17], landmarks[:, 26:16:-1]], axis=1).astype("float64")
    y, x = np.mgrid[: image_shape[0], : image_shape[1]]
    inside = np.zeros((len(outline), *image_shape[:2]), bool)
    for i in range(outline.shape[1]):  # a ray to the right crosses the outline an odd number of times
        (x_0, y_0), (x_1, y_1) = (outline[:, k].T[:, :, None, None] for k in (i - 1, i))
        crosses = (y_0 > y) != (y_1 > y)
        steep = np.where(crosses, y_1 - y_0, 1.0)
        inside ^= crosses & (x < x_0 + (x_1 - x_0) * (y - y_0) / steep)
    return inside[..., None].astype("float32")


def ridge_of_faces(images, targets):
    """What a face shows, learned from examples by kernel ridge regression: a function of images to `(n, k)`.

    It sees grey images of half the size, each of mean 0 and deviation 1: shapes, not the colour of skin or light. The
    kernel is a Gaussian as wide as the median distance, the ridge 0.01.

    Args:
        images: `(n, H, W, C)` in [0, 1], H and W even.
        targets: `(n, k)`, such as landmarks, a pose, or -1 and 1 for one of two people.
    """
    seen = _shapes(images)
    squared = squared_distances(seen, seen)
    width, mean = np.median(squared), np.mean(targets, axis=0)
    weights = np.linalg.solve(np.exp(-squared / width) + 0.01 * np.eye(len(seen)), targets - mean)
    return lambda images: np.exp(-squared_distances(_shapes(images), seen) / width) @ weights + mean


def _shapes(images):
    grey = np.asarray(images, "float64").mean(-1)
    n, height, width = grey.shape
    grey = grey.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4)).reshape(n, -1)
    return (grey - grey.mean(1, keepdims=True)) / np.maximum(grey.std(1, keepdims=True), 1e-6)


def active_units(z_mean, threshold=0.01):
    """Latents the model uses: those with Var_x(E[z_j|x]) > 0.01 (Burda et al. 2016, section 5.2). Returns an int."""
    return int(np.sum(np.var(z_mean, axis=0) > threshold))


def pca(train, *, n_components):
    """Principal components of training images or codes: `(mean, basis)`, `(d,)` and `(d, n_components)`.

    Args:
        train: `(n, ...)` float32; more components than d are d.
    """
    train = train.reshape(len(train), -1).astype("float32")
    mean = train.mean(0)
    centred = train - mean
    return mean, np.linalg.eigh(centred.T @ centred / len(train))[1][:, ::-1][:, :n_components]


def pca_squared_error(train, test, *, n_components):
    """Squared error per test image of PCA fitted on train: what a linear code of that size reaches.

    Args:
        train, test: `(n, ...)` float32 in [0, 1].
    """
    mean, basis = pca(train, n_components=n_components)
    centred = test.reshape(len(test), -1).astype("float32") - mean
    residual = centred - centred @ basis @ basis.T
    return float(np.mean(np.sum(residual.astype("float64") ** 2, axis=1)))


def linear_probe_error(train, test, *, train_labels, test_labels):
    """Test error of a logistic regression on features: how well a linear boundary tells the classes apart.

    scikit-learn's, l2-regularised. Features are divided by one number, their standard deviation; the strength is
    chosen among C = 0.001, 0.01, 0.1 and 1 by fitting a third of the training images and looking at another sixth.

    Args:
        train, test: Features, `(n, d)`.
        train_labels, test_labels: `(n,)` integers.

    Returns:
        `(error, C)`: the fraction of test images that are classed wrong, and the C that was chosen.
    """
    from sklearn.linear_model import LogisticRegression

    scale = float(train.std()) or 1.0
    order = np.random.default_rng(0).permutation(len(train))  # folders are sorted by class
    train, train_labels, test = train[order] / scale, np.asarray(train_labels)[order], test / scale

    def fitted(images, labels, c):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an optimum not reached to the last digit
            return LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(images, labels)

    third, sixth = len(train) // 3, len(train) // 6
    scores = {
        c: fitted(train[:third], train_labels[:third], c).score(train[-sixth:], train_labels[-sixth:])
        for c in (1e-3, 1e-2, 1e-1, 1.0)
    }
    best = max(scores, key=scores.get)
    return 1 - fitted(train, train_labels, best).score(test, test_labels), best


def knn_error(train, test, *, train_labels, test_labels, n_neighbors=5):
    """Test error of the vote of the `n_neighbors` nearest training features (Euclidean, scikit-learn's).

    Arguments as in `linear_probe_error`. Returns the fraction of test images that are classed wrong.
    """
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(n_neighbors, len(train)), algorithm="brute").fit(train, train_labels)
    return 1 - voters.score(test, test_labels)


def scikit_learn_is_here():
    """Whether scikit-learn, which probes and mixtures need, is installed."""
    return importlib.util.find_spec("sklearn") is not None


def _features(real, fake):
    real, fake = np.asarray(real, "float64"), np.asarray(fake, "float64")
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise ZooError(f"Features must be (n, d) with n >= 2 and one d. Received: {real.shape} and {fake.shape}")
    return real, fake


def squared_distances(a, b):
    """Of every row of a to every row of b, `(len(a), len(b))`."""
    return np.maximum(np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1) - 2 * a @ b.T, 0)


def _mean_kernel(a, b=None):
    """Mean of the kernel over all pairs of a and b; without b, over the pairs of two different rows of a."""
    total = sum(np.sum((rows @ (a if b is None else b).T / a.shape[1] + 1) ** 3) for rows in _blocks(a))
    if b is not None:
        return total / (len(a) * len(b))
    diagonal = np.sum((np.sum(a * a, axis=1) / a.shape[1] + 1) ** 3)
    return (total - diagonal) / (len(a) * (len(a) - 1))


_BLOCK = 1000  # rows of features against all others: memory does not grow with the square


def _blocks(a):
    return (a[start : start + _BLOCK] for start in range(0, len(a), _BLOCK))
