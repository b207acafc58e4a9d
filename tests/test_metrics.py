"""Measures against closed forms and brute force."""

import numpy as np
import pytest

from keras_genzoo import metrics
from keras_genzoo.errors import ZooError
from keras_genzoo.models.face_swap import measures


def test_frechet_distance_of_known_gaussians():
    """For commuting covariances: |dm|^2 + sum (s1 - s2)^2; exact when sample moments are made exact."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=(500, 3))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    a = white * [1, 2, 3] + [0, 0, 0]
    b = white * [2, 2, 1] + [1, -1, 0]
    assert metrics.frechet_distance(a, b) == pytest.approx(2 + 1 + 0 + 4, rel=1e-9)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(b, a))


def test_frechet_distance_of_general_covariances():
    """Against the matrix square root taken the long way."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eig(c @ d)
    root = (vectors * np.sqrt(values)) @ np.linalg.inv(vectors)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(c + d - 2 * root.real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_with_dead_features():
    rng = np.random.default_rng(2)
    a = np.concatenate([rng.normal(size=(50, 2)), np.zeros((50, 3))], axis=1)
    assert metrics.frechet_distance(a, a + np.array([0, 0, 0, 0, 2])) == pytest.approx(4)


def test_kernel_distance_by_brute_force():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(37, 5)), rng.normal(size=(41, 5)) + 0.3

    def kernel(x, y):
        return (x @ y / 5 + 1) ** 3

    same_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    same_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    cross = np.mean([kernel(x, y) for x in a for y in b])
    assert metrics.kernel_distance(a, b) == pytest.approx(same_a + same_b - 2 * cross, rel=1e-10)


def test_blocks_do_not_change_a_measure(monkeypatch):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(37, 5)), rng.normal(size=(41, 5)) + 0.3
    whole = metrics.kernel_distance(a, b), metrics.precision_recall(a, b)
    monkeypatch.setattr(metrics, "_BLOCK", 10)
    blocks = metrics.kernel_distance(a, b), metrics.precision_recall(a, b)
    assert blocks[0] == pytest.approx(whole[0], rel=1e-12)
    assert blocks[1] == whole[1]


def test_kernel_distance_is_unbiased():
    """Zero on average over draws from one distribution: the biased estimator would sit far above."""
    rng = np.random.default_rng(4)
    values = [metrics.kernel_distance(rng.normal(size=(50, 3)), rng.normal(size=(50, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_precision_and_recall_by_brute_force():
    rng = np.random.default_rng(5)
    real, fake, k = rng.normal(size=(30, 2)), 1.5 * rng.normal(size=(40, 2)), 3

    def near(points):
        return [sorted(np.linalg.norm(points - point, axis=1))[k] for point in points]

    real_near, fake_near = near(real), near(fake)
    in_real = [[np.linalg.norm(x - y) < r for x, r in zip(real, real_near, strict=True)] for y in fake]
    in_fake = [[np.linalg.norm(x - y) < r for y, r in zip(fake, fake_near, strict=True)] for x in real]
    assert metrics.precision_recall(real, fake, n_neighbors=k) == pytest.approx(
        {
            "precision": np.mean([any(row) for row in in_real]),
            "recall": np.mean([any(row) for row in in_fake]),
            "density": np.sum(in_real) / (k * 40),
            "coverage": np.mean(np.any(in_real, axis=0)),
        }
    )


def test_precision_and_recall_tell_a_lost_mode_from_bad_samples():
    rng = np.random.default_rng(6)
    two = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 100])
    other = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 100])
    same = metrics.precision_recall(two, other)
    assert same["precision"] > 0.9
    assert same["recall"] > 0.9
    assert same["density"] == pytest.approx(1, abs=0.1)
    assert same["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    one_mode = metrics.precision_recall(two, rng.normal(size=(1000, 2)))
    assert one_mode["precision"] > 0.9
    assert one_mode["recall"] == pytest.approx(0.5, abs=0.05)
    assert one_mode["coverage"] == pytest.approx(0.5, abs=0.05)
    bad = metrics.precision_recall(two, np.concatenate([other[::2], rng.normal(loc=[50, -50], size=(500, 2))]))
    assert bad["precision"] == pytest.approx(0.5, abs=0.05)
    assert bad["recall"] > 0.9
    with pytest.raises(ZooError, match=r"`n_neighbors` must be in 1..999. Received: 1000"):
        metrics.precision_recall(two, other, n_neighbors=1000)


def test_modes_are_counted_as_pacgan_does():
    centres = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    at = metrics.mode_coverage(np.repeat(centres, 5, axis=0), centres=centres, std=1)
    assert at == {"modes": 4, "high_quality": 1.0, "reverse_kl": pytest.approx(0, abs=1e-12)}
    samples = np.array([[0, 0], [0, 2.9], [10, 3.1], [4, 0]])  # two good ones of the first mode; two strays
    found = metrics.mode_coverage(samples, centres=centres, std=1)
    assert found["modes"] == 1
    assert found["high_quality"] == 0.5
    assert found["reverse_kl"] == pytest.approx(0.75 * np.log(3) + 0.25 * np.log(1))


def test_label_histogram_kl():
    assert metrics.label_histogram_kl([0, 0, 1, 1], reference=[0, 1], n_classes=2) == 0
    assert metrics.label_histogram_kl([0, 0], reference=[0, 1], n_classes=2) == pytest.approx(np.log(2))
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert metrics.label_histogram_kl([0, 0, 0, 1], reference=[0, 1], n_classes=2) == pytest.approx(expected)


def test_psnr():
    images = np.zeros((3, 4, 4, 1), "float32")
    off = images + np.array([0, 0.1, 1], "float32").reshape(3, 1, 1, 1)
    np.testing.assert_allclose(metrics.psnr(images, off), [np.inf, 20, 0], atol=1e-5)


def test_active_units():
    z_mean = np.zeros((1000, 3))
    z_mean[:, 0] = np.linspace(-1, 1, 1000)  # variance 1/3
    z_mean[:, 1] = np.linspace(-0.1, 0.1, 1000)  # variance 1/300
    assert metrics.active_units(z_mean) == 1


def test_pca_squared_error_is_the_discarded_variance():
    rng = np.random.default_rng(5)
    train = rng.normal(size=(400, 6)) * [5, 4, 3, 1, 0.5, 0.1]
    eigenvalues = np.linalg.eigvalsh(np.cov(train, rowvar=False, bias=True))
    measured = metrics.pca_squared_error(train, train, n_components=3)
    assert measured == pytest.approx(eigenvalues[:3].sum(), rel=1e-4)


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.zeros(3), np.zeros((5, 4))])
def test_features_of_the_wrong_shape(bad):
    for measure in (metrics.frechet_distance, metrics.kernel_distance):
        with pytest.raises(ValueError, match="Features must be"):
            measure(np.zeros((5, 3)), bad)


# === Probes ===


def _rings(n, seed):
    """Two classes that no line separates and neighbours do: a disc in a ring."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    radius, angle = 1 + 2 * labels + 0.2 * rng.standard_normal(n), rng.uniform(0, 2 * np.pi, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype("float32"), labels


def test_probes_of_classes_that_a_line_separates():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900)
    codes = (np.eye(3)[labels] * 8 + rng.standard_normal((900, 3))).astype("float32")
    split = {"train_labels": labels[:600], "test_labels": labels[600:]}
    error, c = metrics.linear_probe_error(codes[:600], codes[600:], **split)
    assert error < 0.01
    assert c in (1e-3, 1e-2, 1e-1, 1.0)
    assert metrics.knn_error(codes[:600], codes[600:], **split) < 0.01
    # The unit of the codes is no matter.
    assert metrics.linear_probe_error(1e4 * codes[:600], 1e4 * codes[600:], **split)[0] == pytest.approx(
        error, abs=0.01
    )


def test_a_ring_is_seen_by_neighbours_and_not_by_a_line():
    train, train_labels = _rings(600, 0)
    test, test_labels = _rings(300, 1)
    labels = {"train_labels": train_labels, "test_labels": test_labels}
    assert metrics.linear_probe_error(train, test, **labels)[0] > 0.3
    assert metrics.knn_error(train, test, **labels) < 0.02


def test_codes_without_the_classes_are_wrong_by_chance():
    rng = np.random.default_rng(0)
    train, test, labels = rng.standard_normal((500, 5)), rng.standard_normal((500, 5)), rng.integers(0, 2, 500)
    error = metrics.knn_error(train, test, train_labels=labels, test_labels=rng.permutation(labels))
    assert abs(error - 0.5) < 5 * np.sqrt(0.25 / 500)


def test_pca_finds_the_directions():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    x = (rng.standard_normal((20_000, 6)) * [9, 5, 2, 1, 0.5, 0.1]) @ basis.T + 3
    mean, found = metrics.pca(x, n_components=2)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(np.abs(found.T @ basis[:, :2]), np.eye(2), atol=0.03)
    assert metrics.pca(x, n_components=50)[1].shape == (6, 6)


def test_components_of_fewer_images_than_pixels_are_those_of_the_covariance():
    """The images' own matrix is the smaller one; where it has no such direction, the large one is taken."""
    x = np.random.default_rng(0).normal(size=(30, 200)) @ np.diag(np.linspace(3, 0.1, 200))
    mean, basis = metrics.pca(x, n_components=5)
    assert basis.dtype == "float32"
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-5)
    centred = (x - x.mean(0)).astype("float64")
    direct = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :5]
    np.testing.assert_allclose(basis @ basis.T, direct @ direct.T, atol=1e-4)
    np.testing.assert_allclose(mean, x.mean(0), atol=1e-5)
    same = np.repeat(x[:1], 30, axis=0)  # nothing varies
    np.testing.assert_allclose((lambda b: b.T @ b)(metrics.pca(same, n_components=5)[1]), np.eye(5), atol=1e-5)


# === Faces ===


def circle(n, centre, radius, size=68):
    """`n` times 68 landmarks whose outline, jaw and brows, is a circle."""
    landmarks = np.zeros((n, size, 2), "float32")
    jaw, brows = np.linspace(0, np.pi, 17), np.linspace(np.pi, 2 * np.pi, 12)[1:-1]
    for where, angles in ((range(17), jaw), (range(26, 16, -1), brows)):
        landmarks[:, list(where)] = np.stack([np.cos(angles), np.sin(angles)], -1) * radius + centre
    return landmarks


def test_the_region_of_a_face_is_what_its_outline_holds():
    region = measures.face_region(circle(2, (20, 24), 10), (48, 40, 3))
    assert region.shape == (2, 48, 40, 1)
    assert region.dtype == "float32"
    assert region[0].sum() == pytest.approx(np.pi * 100, rel=0.04)
    y, x = np.argwhere(region[1, ..., 0]).mean(0)
    assert (y, x) == (pytest.approx(24, abs=0.3), pytest.approx(20, abs=0.3))
    outside = measures.face_region(circle(1, (-50, -50), 10), (48, 40, 3))
    assert outside.sum() == 0


def test_psnr_looks_where_the_weights_are():
    x = np.zeros((2, 4, 4, 3), "float32")
    r = x + 0.5
    r[:, :2] = 0.1
    weights = np.zeros((2, 4, 4, 1), "float32")
    weights[:, :2] = 3
    np.testing.assert_allclose(metrics.psnr(x, r, weights=weights), 20, rtol=1e-6)
    np.testing.assert_allclose(metrics.psnr(x, r, weights=np.ones_like(weights)), metrics.psnr(x, r))


def test_the_ridge_reads_positions_and_is_blind_to_colour():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24]

    def discs(n):
        places = rng.uniform(7, 17, (n, 2, 1, 1))
        shape = np.hypot(rows - places[:, 0], columns - places[:, 1]) < 5
        return (0.2 + 0.6 * shape)[..., None].repeat(3, -1), places.reshape(n, 2)

    read = measures.ridge_of_faces(*discs(400))
    images, places = discs(100)
    assert np.abs(read(images) - places).mean() < 0.5  # of a range of 10
    tinted = 0.3 * images * [1.0, 0.5, 0.7] + 0.1
    np.testing.assert_allclose(read(tinted), read(images), atol=1e-6)


def test_class_diversity_compares_spreads_class_by_class():
    """Class 0 half as varied, class 1 as varied and elsewhere, class 2 one sample, class 3 never asked for."""
    rng = np.random.default_rng(0)
    real, real_labels = rng.normal(size=(4_000, 8)), np.repeat(range(4), 1_000)
    fake = np.concatenate([0.5 * real[:1_000], real[1_000:2_000] + 3, np.ones((10, 8))])
    fake_labels = np.repeat([0, 1, 2], [1_000, 1_000, 10])
    ratios = metrics.class_diversity(real, fake, real_labels=real_labels, fake_labels=fake_labels, n_classes=4)
    np.testing.assert_allclose(ratios, [0.5, 1, 0, np.nan])


def test_retrieval_finds_the_own_candidate_by_block_means():
    candidates = np.random.default_rng(0).random((6, 32, 32, 3), dtype="float32")
    assert metrics.retrieval_accuracy(candidates[:4], candidates) == 1
    swapped = candidates[[1, 0, 2, 3]]
    assert metrics.retrieval_accuracy(swapped, candidates) == 0.5
    blocks = candidates.reshape(6, 16, 2, 16, 2, 3).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    assert metrics.retrieval_accuracy(blocks, candidates) == 1  # detail within a block does not count


def test_leading_components_hold_what_all_eigenvectors_hold(monkeypatch):
    """Of many images of many pixels; their spectrum falls as slowly as that of pictures."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(300, 260)) / np.arange(1, 261) @ np.linalg.qr(random.normal(size=(260, 260)))[0]
    train, test = mixed[:290].astype("float32"), mixed[290:].astype("float32")
    exact_mean, exact = metrics.pca(train, n_components=8)
    exact_error = metrics.pca_squared_error(train, test, n_components=8)
    monkeypatch.setattr(metrics, "_MOST_SOLVED", 200)
    called = []
    leading = metrics._leading
    monkeypatch.setattr(metrics, "_leading", lambda *a: called.append(a) or leading(*a))
    mean, found = metrics.pca(train, n_components=8)
    assert len(called) == 1
    np.testing.assert_array_equal(mean, exact_mean)
    np.testing.assert_allclose(found.T @ found, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(np.abs((found * exact).sum(0)), 1, atol=1e-3)  # each column, but for its sign
    assert metrics.pca_squared_error(train, test, n_components=8) == pytest.approx(exact_error, rel=1e-4)
