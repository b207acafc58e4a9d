"""Numbers of a face swap's codes, in NumPy: factors that two people share, and the maps between their codes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike

BENT = 3  # number of factors that the maps between codes follow along curves: yaw, pitch, roll
BENT_UNITS = 3 * BENT**2  # number of tanh units of these curves: three along each direction of `_DIRECTIONS`

# Directions of the tanh units, `(BENT, BENT_UNITS)`: each bent factor, and each sum and difference of two. Each
# direction has ridges at three places, in deviations of the factors: enough to follow a curve.
_AXES = np.eye(BENT)
_PAIRS = [(_AXES[i] + sign * _AXES[j]) / math.sqrt(2) for i in range(BENT) for j in range(i) for sign in (1, -1)]
_DIRECTIONS = np.repeat(np.stack([*_AXES, *_PAIRS], axis=1), 3, axis=1)
_PLACES = np.tile([-1.0, 0.0, 1.0], BENT_UNITS // 3)

# Silent rows of the ridge regressions, see `_ridge`: enough that a hundred images are not overfitted.
_LANDMARK_ROWS = 2  # rows of the regression of landmarks on poses
_FACTOR_ROWS = 20  # rows of the regression of factors on codes
# Product of images and silent rows of the regression of codes on factors: 60 rows at 1,500 images, where they change
# nothing, and 450 at 200, whose mean codes are noise without them. Swaps are best with these numbers of rows at 60,
# 200, 800 and 1,500 images.
_CODE_ROWS_BY_IMAGES = 60 * 1_500

_LEAST_SINGULAR_VALUE = 1e-3  # share of the largest; smaller singular values are rounding errors
_TIED = 0.999  # share of the largest size from which a number is as large: rounding must not choose between the two
_LEAST_DEVIATION = 1e-6  # least deviation of a factor, which is divided by it
# Addition to every variance before a square root, as a share of the mean variance and on its own: the covariance of
# hundreds of codes is nearly singular.
_EXTRA_VARIANCE_SHARE = 0.01
_EXTRA_VARIANCE = 1e-6
_LEAST_EIGENVALUE = 1e-12  # least eigenvalue of a covariance before its inverse root


class Affine(NamedTuple):
    """Weights of a dense layer, z K + b.

    Attributes:
        kernel: K, `(d, k)` float64.
        bias: b, `(k,)` float64.
    """

    kernel: np.ndarray
    bias: np.ndarray


class MapWeights(NamedTuple):
    """Weights of a `layers.BentMap` with `BENT_UNITS` units, in its order: z K + b + tanh(z V + c) U.

    Attributes:
        kernel: K, `(d, d)` float64.
        bias: b, `(d,)`.
        hidden_kernel: V, `(d, BENT_UNITS)`.
        hidden_bias: c, `(BENT_UNITS,)`.
        hidden_out: U, `(BENT_UNITS, d)`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    hidden_kernel: np.ndarray
    hidden_bias: np.ndarray
    hidden_out: np.ndarray


class _MeanCodes(NamedTuple):
    """One person's factors and mean codes as functions of a code, in the letters of `transport_by_factors`.

    Attributes:
        W, w: Affine map of codes to factors.
        BC, c: Affine map of tanh units and further factors to mean codes; B stands above C.
        deviations: Deviations of the codes from their mean codes, `(n, d)`.
    """

    W: np.ndarray
    w: np.ndarray
    BC: np.ndarray
    c: np.ndarray
    deviations: np.ndarray


def shared_factors(
    landmarks: Sequence[ArrayLike], poses: Sequence[ArrayLike] | None = None, *, n_factors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that faces of two people show and that mean the same of both: poses first, then expressions.

    A pose moves every point of a face, and it moves each person's points in another way. So the mean face in every pose
    is learned for each person, by a ridge regression on tanh units. The landmarks' deviations from it are expressions.
    Their first principal components, over both people together, are the further factors.

    Args:
        landmarks: Landmarks of a and of b, `(n, points, 2)` each, x and y in pixels, the points in the same order.
        poses: Poses of a and of b, `(n, 3)` each: yaw, pitch and roll in one unit. None: the first three principal
            components of the landmarks take their place. They are then standardised for each person alone, as a longer
            nose moves further; both people should show the same variety.
        n_factors: Number of factors, >= 3, and no more than the landmarks have components.

    Returns:
        `(factors_a, factors_b)`, `(n, n_factors)` float32 each. A factor has mean 0 and deviation 1, over both people
        or, where `poses` is None, for each person.

    Raises:
        ZooError: The people have different landmarks, or `n_factors` is out of range.

    Example:
        >>> import numpy as np
        >>> from keras_genzoo.models.face_swap.codes import shared_factors
        >>> rng = np.random.default_rng(0)
        >>> poses = [rng.standard_normal((200, 3)) for _ in range(2)]
        >>> landmarks = [pose @ rng.standard_normal((3, 10)) + rng.standard_normal((200, 10)) for pose in poses]
        >>> landmarks = [points.reshape(200, 5, 2) for points in landmarks]
        >>> factors_a, factors_b = shared_factors(landmarks, poses, n_factors=5)
        >>> factors_a.shape  # for FaceSwap.fit(..., {"images": a, "factors": factors_a}) and for FaceSwap.align
        (200, 5)
    """
    points_a, points_b = (np.asarray(points, "float64") for points in landmarks)
    flat = [points.reshape(len(points), -1) for points in (points_a, points_b)]
    if flat[0].shape[1] != flat[1].shape[1]:
        counts = flat[0].shape[1] // 2, flat[1].shape[1] // 2
        raise ZooError(f"Both people must have the same landmarks. Received: {counts}")
    if n_factors < BENT:
        raise ZooError(f"`n_factors` must be {BENT} or more. Received: {n_factors}")
    if poses is None:
        pose_rows, standardised = _components([rows - rows.mean(0) for rows in flat], BENT), _standardised_each
    else:
        pose_rows, standardised = [np.asarray(rows, "float64") for rows in poses], _standardised
    pose_rows = standardised(pose_rows)
    units = [np.concatenate([_tanh_units(rows), _tanh_units(rows / 2)], axis=1) for rows in pose_rows]
    means = [_ridge(x, rows, silent_rows=_LANDMARK_ROWS) for x, rows in zip(units, flat, strict=True)]
    deviations = [rows - x @ kernel - bias for rows, x, (kernel, bias) in zip(flat, units, means, strict=True)]
    expressions = standardised(_components(deviations, n_factors - BENT))
    factors_a, factors_b = (
        np.concatenate(pair, axis=1).astype("float32") for pair in zip(pose_rows, expressions, strict=True)
    )
    return factors_a, factors_b


def _components(rows_of_both, n):
    """The first n principal components of both people's rows together, which have a mean of about 0."""
    _, values, axes = np.linalg.svd(np.concatenate(rows_of_both), full_matrices=False)
    n_known = int(np.sum(values > _LEAST_SINGULAR_VALUE * values[0]))
    if n > n_known:
        raise ZooError(f"`n_factors` asks for {n} components of landmarks that have {n_known}. Lower it, or add images")
    axes = axes[:n]
    # The sign of an axis is arbitrary, and a resumed training must find the same one: the first of its largest numbers
    # is positive.
    is_largest = np.abs(axes) > _TIED * np.abs(axes).max(1, keepdims=True)
    is_negative = np.take_along_axis(axes, is_largest.argmax(1)[:, None], axis=1) < 0
    axes = np.where(is_negative, -axes, axes)
    return [rows @ axes.T for rows in rows_of_both]


def _standardised(rows_of_both):
    """Rows of both people with mean 0 and deviation 1 over both."""
    stacked = np.concatenate(rows_of_both)
    mean, deviation = stacked.mean(0), np.maximum(stacked.std(0), _LEAST_DEVIATION)
    return [(rows - mean) / deviation for rows in rows_of_both]


def _standardised_each(rows_of_both):
    """Rows of both people with mean 0 and deviation 1 for each person."""
    return [_standardised([rows])[0] for rows in rows_of_both]


def checked_factors(codes: Sequence[np.ndarray], **factors: ArrayLike | None) -> list[np.ndarray] | None:
    """Factors as float64 arrays, standardised over both people.

    Args:
        codes: Codes of both people, `(n, d)` each.
        **factors: Factors of both people in the order of the codes, `(n, k)` each, k >= 3. Their keywords name them in
            errors.

    Returns:
        The factors of both people; None where neither has any.

    Raises:
        ZooError: Wrong shape, numbers that are not finite, or factors of one person only.
    """
    if all(values is None for values in factors.values()):
        return None
    arrays = []
    for (argument, values), z in zip(factors.items(), codes, strict=True):
        array = np.asarray(() if values is None else values, "float64")
        if array.ndim != 2 or len(array) != len(z) or array.shape[1] < BENT or not np.isfinite(array).all():
            received = "None" if values is None else f"shape {array.shape}"
            raise ZooError(f"`{argument}` must be ({len(z)}, {BENT} or more) finite numbers. Received: {received}")
        arrays.append(array)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise ZooError(f"Both people must have the same factors. Received: {[array.shape[1] for array in arrays]}")
    return _standardised(arrays)


def _tanh_units(factors):
    """tanh(y_1 D - o) of the bent factors y_1, `(n, BENT_UNITS)`."""
    return np.tanh(factors[:, :BENT] @ _DIRECTIONS - _PLACES)


def transport_by_factors(
    source: np.ndarray, target: np.ndarray, source_factors: np.ndarray, target_factors: np.ndarray
) -> MapWeights:
    """The map of one person's codes to the other's codes of the same factors.

        T(z) = m_t(y) + (z - m_s(y)) K + b,    y = z W + w
        m(y) = tanh(y_1 D - o) B + y_2 C + c

    y are the factors as they are read from z: y_1 the first three, y_2 the others. m_s(y) and m_t(y) are the mean codes
    of both people at these factors. K and b are the `transport` of the codes' deviations from their mean codes.

    Args:
        source: Codes of the person whose codes are mapped, `(n, d)` float64.
        target: Codes of the other person, `(m, d)`.
        source_factors: Factors of `source`, `(n, k)`, k >= 3, standardised.
        target_factors: Factors of `target`, `(m, k)`.

    Returns:
        The weights of a `layers.BentMap` that computes T.
    """
    W, w, BC_s, c_s, deviations_s = _mean_codes(source, source_factors)
    _, _, BC_t, c_t, deviations_t = _mean_codes(target, target_factors)
    K, b = transport(deviations_s, deviations_t)
    # With y = z W + w put in, everything but the tanh is affine in z.
    BC, D, o = BC_t - BC_s @ K, _DIRECTIONS, _PLACES
    B, C = BC[:BENT_UNITS], BC[BENT_UNITS:]
    (W_1, W_2), (w_1, w_2) = np.split(W, [BENT], axis=-1), np.split(w, [BENT], axis=-1)
    return MapWeights(
        kernel=K + W_2 @ C,
        bias=b + c_t - c_s @ K + w_2 @ C,
        hidden_kernel=W_1 @ D,
        hidden_bias=w_1 @ D - o,
        hidden_out=B,
    )


def _mean_codes(z, factors):
    """Fits W and w to one person's codes and factors, then B, C and c to the codes and the factors read from them."""
    W, w = _ridge(z, factors, silent_rows=_FACTOR_ROWS)
    y = z @ W + w
    units = np.concatenate([_tanh_units(y), y[:, BENT:]], axis=1)
    BC, c = _ridge(units, z, silent_rows=_CODE_ROWS_BY_IMAGES / len(z))
    return _MeanCodes(W, w, BC, c, z - units @ BC - c)


def _ridge(x, y, *, silent_rows):
    """Ridge regression of y on x, as an `Affine`.

    The penalty acts as `silent_rows` more rows, whose x has the mean variance of all columns and whose y is the mean of
    y. It weighs more where there are few rows.
    """
    centred = x - x.mean(0)
    gram = centred.T @ centred
    gram += silent_rows * np.trace(gram) / len(gram) / len(x) * np.eye(len(gram))
    kernel = np.linalg.solve(gram, centred.T @ (y - y.mean(0)))
    return Affine(kernel, y.mean(0) - x.mean(0) @ kernel)


def transport(source: np.ndarray, target: np.ndarray) -> Affine:
    """The optimal transport between the Gaussians that fit two sets of codes (Peyre & Cuturi 2019, eq. 2.40).

        T(z) = m_t + C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2) (z - m_s)

    A hundredth of the mean variance is added to every variance, which makes the covariances of hundreds of codes safe
    to invert.

    Args:
        source: Codes to map, `(n, d)` float64.
        target: Codes to map them to, `(m, d)`.

    Returns:
        The weights of a dense layer that computes T.
    """

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.maximum(values, _LEAST_EIGENVALUE) ** exponent @ vectors.T

    def covariance(codes):
        centred = codes - codes.mean(0)
        matrix = centred.T @ centred / len(codes)
        extra = _EXTRA_VARIANCE_SHARE * np.trace(matrix) / len(matrix) + _EXTRA_VARIANCE
        return matrix + extra * np.eye(len(matrix))

    root = power(covariance(source), 0.5)
    inverse = power(covariance(source), -0.5)
    kernel = inverse @ power(root @ covariance(target) @ root, 0.5) @ inverse
    return Affine(kernel, target.mean(0) - source.mean(0) @ kernel)
