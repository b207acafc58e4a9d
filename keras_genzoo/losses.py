"""Losses: one pure function per equation, in `keras.ops`.

Every loss returns one float32 value per example, shape `(batch,)`; the caller takes the mean. Sums run over
dimensions (H W C) and latents, so that likelihood terms are in nats per image whatever the image size.
"""

import math

from keras import ops

from keras_genzoo import engine
from keras_genzoo.typing import Tensor

# SSIM's window and its two constants for intensities in [0, 1] (Wang et al. 2004, section III-B).
_REACH = 5  # pixels on either side of the middle one
_WINDOW_SIGMA = 1.5  # pixels
_C1, _C2 = 0.01**2, 0.03**2
_WINDOW = [math.exp(-0.5 * (i / _WINDOW_SIGMA) ** 2) for i in range(-_REACH, _REACH + 1)]
_WINDOW = [weight / sum(_WINDOW) for weight in _WINDOW]  # along one axis: the whole window is a product of two
_LEAST_ACTIVITY = 1e-6  # distance kept from the activities 0 and 1, where the divergence is infinite
_LEAST_SQUARED_SLOPE = 1e-12  # added under a square root, whose gradient is infinite at 0


def squared_error(x: Tensor, *, reconstruction: Tensor) -> Tensor:
    """Squared error of a reconstruction, summed over each image (Hinton & Salakhutdinov 2006, Science 313).

        L(x, r) = sum_i (x_i - r_i)^2

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        reconstruction: Same shape, in [0, 1].

    Returns:
        `(batch,)` float32, >= 0, in squared intensity per image.
    """
    return sum_per_example(ops.square(_float32(x) - _float32(reconstruction)))


def mean_absolute_error(x: Tensor, *, reconstruction: Tensor, weights: Tensor | None = None) -> Tensor:
    """Absolute error of a reconstruction, averaged over pixels and channels: the loss of the first face swaps.

        L(x, r) = sum_i w_i |x_i - r_i| / sum_i w_i

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1].
        reconstruction: Same shape, in [0, 1].
        weights: Weights of the pixels, `(batch, H, W, 1)`, >= 0 and not all 0; None: all equal.

    Returns:
        `(batch,)` float32, in [0, 1].
    """
    return _mean_per_image(ops.abs(_float32(x) - _float32(reconstruction)), weights)


def structural_similarity(x: Tensor, *, reconstruction: Tensor, weights: Tensor | None = None) -> Tensor:
    """SSIM (Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13): means, variances and covariance under a Gaussian window.

        S(x, r) = (2 m_x m_r + c_1) (2 s_xr + c_2) / ((m_x^2 + m_r^2 + c_1) (s_x^2 + s_r^2 + c_2))

    The window is the paper's (11 pixels wide, sigma 1.5), and so are c_1 = 0.01^2 and c_2 = 0.03^2. Each channel is
    compared alone. The result is the mean over all positions where the window lies inside the image.

    Args:
        x: Images, `(batch, H, W, C)`, in [0, 1], H and W >= 11.
        reconstruction: Same shape, in [0, 1].
        weights: Weights of the pixels, `(batch, H, W, 1)`, >= 0, not all 0 at those positions; None: all equal.

    Returns:
        `(batch,)` float32, in [-1, 1]; 1 where the two are the same.

    Raises:
        ValueError: A side of the images is shorter than the window.
    """
    x, r = _float32(x), _float32(reconstruction)
    height, width = x.shape[1:3]
    if min(height, width) < len(_WINDOW):
        raise ValueError(f"Images must have sides of {len(_WINDOW)} pixels or more. Received: {min(height, width)}")
    # A GPU rounds the factors of matrix products to TensorFloat-32's 10 bits, and variances are small differences.
    windowed = _windowed_by_sums if engine.has_gpu() else _windowed_by_products
    m_x, m_r = windowed(x), windowed(r)
    s_xx, s_rr, s_xr = windowed(x * x) - m_x * m_x, windowed(r * r) - m_r * m_r, windowed(x * r) - m_x * m_r
    luminance = (2 * m_x * m_r + _C1) / (m_x * m_x + m_r * m_r + _C1)
    similarity = luminance * (2 * s_xr + _C2) / (s_xx + s_rr + _C2)
    if weights is not None:
        weights = weights[:, _REACH : height - _REACH, _REACH : width - _REACH]
    return _mean_per_image(similarity, weights)


def _windowed_by_products(values: Tensor) -> Tensor:
    """Means of `(batch, H, W, C)` under the window where it fits; on a CPU in an eighth of the time of the sums."""
    n_rows, n_columns = (size - 2 * _REACH for size in values.shape[1:3])
    rows, columns = (
        ops.convert_to_tensor([[0.0] * i + _WINDOW + [0.0] * (n - 1 - i) for i in range(n)], "float32")
        for n in (n_rows, n_columns)
    )
    return ops.einsum("jw,biwc->bijc", columns, ops.einsum("ih,bhwc->biwc", rows, values))


def _windowed_by_sums(values: Tensor) -> Tensor:
    """Means under the window from sums of shifted images; every product has float32's 24 bits."""
    n_rows, n_columns = (size - 2 * _REACH for size in values.shape[1:3])
    values = sum(weight * values[:, i : i + n_rows] for i, weight in enumerate(_WINDOW))
    return sum(weight * values[:, :, i : i + n_columns] for i, weight in enumerate(_WINDOW))


def _mean_per_image(values: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean of each image: `(batch, H, W, C)` -> `(batch,)`. `weights` need not sum to 1."""
    if weights is None:
        return ops.mean(values, axis=(1, 2, 3))
    weights = _float32(weights)
    return ops.sum(weights * values, axis=(1, 2, 3)) / (values.shape[-1] * ops.sum(weights, axis=(1, 2, 3)))


def binary_cross_entropy(x: Tensor, *, logits: Tensor) -> Tensor:
    """Cross-entropy of Bernoulli logits, summed over each image; exact at any logit (no clipping).

        L(x, l) = sum_i softplus(l_i) - x_i l_i = -sum_i [x_i log s(l_i) + (1 - x_i) log(1 - s(l_i))]

    Args:
        x: Targets, `(batch, ...)`, in [0, 1]. The loss is a negative log-likelihood only where they are 0 or 1.
        logits: Same shape, any real.

    Returns:
        `(batch,)` float32, in nats per image.

    Example:
        >>> from keras import ops
        >>> from keras_genzoo import losses
        >>> loss = losses.binary_cross_entropy(ops.ones((1, 4)), logits=ops.zeros((1, 4)))
        >>> round(float(loss[0]), 4)  # 4 log 2
        2.7726
    """
    logits = _float32(logits)
    return sum_per_example(ops.softplus(logits) - _float32(x) * logits)


def l1_activity(z: Tensor) -> Tensor:
    """L1 norm of a code: a penalty that zeroes superfluous units (Olshausen & Field 1996, eq. 2 and 4, S = |x|).

        L(z) = sum_j |z_j|

    Args:
        z: Codes, `(batch, latent_dim)`.

    Returns:
        `(batch,)` float32, >= 0.
    """
    return sum_per_example(ops.abs(_float32(z)))


def kl_sparsity(z: Tensor, *, rho: float) -> Tensor:
    """Divergence of each unit's mean activity from a target, summed over units (Ng 2011, Sparse autoencoder, sec. 3).

        L(z) = sum_j KL(rho || r_j) = sum_j rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j))
        r_j = mean of z_j over the batch

    Args:
        z: Codes in (0, 1), `(batch, latent_dim)`.
        rho: Target activity, in (0, 1).

    Returns:
        `(batch,)` float32, >= 0, in nats: a property of the batch, the same for each of its examples. It is 0 where
        every mean activity is rho, and finite where a unit is always on or off.
    """
    z = _float32(z)
    mean = ops.clip(ops.mean(z, axis=0), _LEAST_ACTIVITY, 1 - _LEAST_ACTIVITY)
    divergence = rho * ops.log(rho / mean) + (1 - rho) * ops.log((1 - rho) / (1 - mean))
    return ops.zeros_like(z[:, 0]) + ops.sum(divergence)


def contraction(z: Tensor, *, moved: Tensor, step: float) -> Tensor:
    """Squared Frobenius norm of an encoder's Jacobian (Rifai et al. 2011, eq. 1), along random directions.

        ||J_f(x)||_F^2 = E |J_f(x) eps|^2,    J_f(x) eps ~ (f(x + step * eps) - f(x)) / step,    eps ~ N(0, I)

    The paper's closed form holds for one sigmoid layer. This estimate holds for any encoder and needs no second
    derivative.

    Args:
        z: f(x), `(batch, latent_dim)`.
        moved: f(x + step * eps), same shape, one eps per image.
        step: Length of the difference, > 0 and small: its own error is of order `step`, float32's of 1e-7 / `step`.

    Returns:
        `(batch,)` float32, >= 0; unbiased for a linear f.
    """
    return sum_per_example(ops.square((_float32(moved) - _float32(z)) / step))


def negative_elbo(*, reconstruction_loss: Tensor, kl_loss: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """Negative evidence lower bound (Kingma & Welling 2014, eq. 3; beta: Higgins et al. 2017, eq. 4).

        -ELBO = -E_q[log p(x|z)] + beta KL(q(z|x) || p(z))

    Args:
        reconstruction_loss: `-log p(x|z)`, `(batch,)`, nats per image.
        kl_loss: `KL(q(z|x) || p(z))`, `(batch,)`, nats per image.
        beta: Weight of the KL, a scalar >= 0. The bound holds for beta >= 1; it is the ELBO at 1.

    Returns:
        `(batch,)` float32, nats per image.
    """
    return _float32(reconstruction_loss) + beta * _float32(kl_loss)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Importance-weighted lower bound on log p(x) (Burda, Grosse & Salakhutdinov 2016, eq. 8).

        L_k(x) = log 1/k sum_j p(x, z_j) / q(z_j|x),    z_j ~ q(z|x)

    Computed as a log-sum-exp; it never leaves the log domain.

    Args:
        log_weights: `log p(x, z_j) - log q(z_j|x)`, shape `(k, batch)`.

    Returns:
        `(batch,)` float32, nats per image; the ELBO's sample estimate at k = 1, tight as k grows.
    """
    log_weights = _float32(log_weights)
    return ops.logsumexp(log_weights, axis=0) - ops.log(ops.cast(ops.shape(log_weights)[0], "float32"))


def iwae_loss(log_weights: Tensor) -> Tensor:
    """The importance weighted autoencoder's loss, -L_k of `importance_weighted_bound` (Burda et al. 2016, eq. 8).

    Its gradient is that of -sum_j w_j log_weights_j with the normalised weights w_j held constant (eq. 14). The
    gradient of a log-sum-exp has this form by itself, so that nothing need be detached by hand.

    Args:
        log_weights: `log p(x, z_j) - log q(z_j|x)`, shape `(k, batch)`.

    Returns:
        `(batch,)` float32, nats per image; the negative ELBO's sample estimate at k = 1.
    """
    return -importance_weighted_bound(log_weights)


def free_bits(kl_per_latent: Tensor, *, minimum: float) -> Tensor:
    """KL divergence whose term for each latent is never below a minimum (Kingma et al. 2016, eq. 15).

        L = sum_j max(minimum, mean over the batch of KL_j)

    A latent below the minimum gets no gradient from this term, so that none is pressed to collapse.

    Args:
        kl_per_latent: KL of each latent, `(batch, latent_dim)`, nats.
        minimum: Free nats per latent, >= 0.

    Returns:
        `(batch,)` float32, nats: a property of the batch, the same for each of its examples.
    """
    kl = _float32(kl_per_latent)
    return ops.zeros_like(kl[:, 0]) + ops.sum(ops.maximum(minimum, ops.mean(kl, axis=0)))


def kl_decomposition(
    log_q_pairs: Tensor, *, log_q: Tensor, log_p: Tensor, dataset_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Three parts of KL(q(z|x) || p(z)) averaged over the data (Chen et al. 2018, eq. 2), from one batch.

        E KL = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))

    q(z), a mixture over the whole data set, is estimated by minibatch-weighted sampling (eq. S3 of the paper):

        log q(z_i) ~ log 1/(N M) sum_k q(z_i|x_k)

    Args:
        log_q_pairs: log q(z_ij | x_k) per latent j, `(M, M, latent_dim)`: entry `[i, k, j]`.
        log_q: log q(z_i|x_i), `(M,)`.
        log_p: log p(z_i) under a factorial prior, `(M,)`.
        dataset_size: N, the number of training images.

    Returns:
        `(index_code_mi, total_correlation, dimension_kl)`, each `(M,)` float32, nats, whose sum is `log_q - log_p`.
    """
    pairs = _float32(log_q_pairs)
    log_nm = ops.log(ops.cast(ops.shape(pairs)[0], "float32") * dataset_size)
    log_q_z = ops.logsumexp(ops.sum(pairs, axis=2), axis=1) - log_nm
    log_prod_q_z = ops.sum(ops.logsumexp(pairs, axis=1) - log_nm, axis=1)
    return _float32(log_q) - log_q_z, log_q_z - log_prod_q_z, log_prod_q_z - _float32(log_p)


def discriminator_loss(*, real_logits: Tensor, fake_logits: Tensor, real_target: float = 1.0) -> Tensor:
    """The discriminator's side of the GAN game (Goodfellow et al. 2014, eq. 1), which it maximises as V(D, G).

        -V(D, G) = -log D(x) - log(1 - D(G(z))),    D = sigmoid(logits)

    At the game's optimum D = 1/2 everywhere and V = -log 4.

    Args:
        real_logits: Logits of real images, `(batch,)`.
        fake_logits: Logits of generated images, `(batch,)`.
        real_target: Target of D(x) for real images, in (0, 1]. Below 1 it is one-sided label smoothing (Salimans et
            al. 2016, section 3.4): the cross-entropy with that target, and no change for generated images.

    Returns:
        `(batch,)` float32, in nats, >= 0.
    """
    real = _float32(real_logits)
    real_loss = real_target * ops.softplus(-real) + (1 - real_target) * ops.softplus(real)
    return real_loss + ops.softplus(_float32(fake_logits))


def minimax_generator_loss(*, fake_logits: Tensor) -> Tensor:
    """The generator's side of the minimax game (Goodfellow et al. 2014, eq. 1). It saturates where D is nearly certain.

        L = log(1 - D(G(z)))

    Args:
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, in nats, < 0; -log 2 at the optimum.
    """
    return -ops.softplus(_float32(fake_logits))


def non_saturating_generator_loss(*, fake_logits: Tensor) -> Tensor:
    """The generator's loss whose gradient stays where D is nearly certain (Goodfellow et al. 2014, section 3, end).

        L = -log D(G(z))

    Args:
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, in nats, > 0; log 2 at the optimum.
    """
    return ops.softplus(-_float32(fake_logits))


def least_squares_discriminator_loss(*, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's side of the least squares game (Mao et al. 2017, eq. 9, a = 0 and b = 1).

        L = 1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2,    D = logits

    Args:
        real_logits: Logits of real images, `(batch,)`.
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, >= 0.
    """
    return 0.5 * ops.square(_float32(real_logits) - 1) + 0.5 * ops.square(_float32(fake_logits))


def least_squares_generator_loss(*, fake_logits: Tensor) -> Tensor:
    """The generator's side of the least squares game (Mao et al. 2017, eq. 9, c = 1): L = 1/2 (D(G(z)) - 1)^2.

    Args:
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, >= 0.
    """
    return 0.5 * ops.square(_float32(fake_logits) - 1)


def wasserstein_critic_loss(*, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The critic's estimate of the negative Wasserstein-1 distance (Arjovsky, Chintala & Bottou 2017, eq. 2).

        L = f(G(z)) - f(x),    f = logits

    f must be Lipschitz: clip its weights, or penalise its gradients.

    Args:
        real_logits: Logits of real images, `(batch,)`.
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, any sign.
    """
    return _float32(fake_logits) - _float32(real_logits)


def wasserstein_generator_loss(*, fake_logits: Tensor) -> Tensor:
    """The generator's side of the Wasserstein game (Arjovsky, Chintala & Bottou 2017, algorithm 1).

        L = -f(G(z)),    f = logits

    It is also the generator's side of the hinge game (Miyato et al. 2018, eq. 17).

    Args:
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, any sign.
    """
    return -_float32(fake_logits)


def hinge_discriminator_loss(*, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's side of the hinge game (Miyato et al. 2018, eq. 16; Lim & Ye 2017).

        L = max(0, 1 - D(x)) + max(0, 1 + D(G(z)))

    Args:
        real_logits: Logits of real images, `(batch,)`.
        fake_logits: Logits of generated images, `(batch,)`.

    Returns:
        `(batch,)` float32, >= 0.
    """
    return ops.relu(1 - _float32(real_logits)) + ops.relu(1 + _float32(fake_logits))


def relativistic_loss(*, wins: Tensor, loses: Tensor) -> Tensor:
    """The relativistic paired game (Jolicoeur-Martineau 2019, eq. 7): one logit of a pair should exceed the other.

        L = -log s(D(wins) - D(loses))

    The discriminator's `wins` are the real images; the generator plays the same game with the sides exchanged.

    Args:
        wins: Logits that should be the larger ones, `(batch,)`.
        loses: Logits that should be the smaller ones, `(batch,)`.

    Returns:
        `(batch,)` float32, in nats, > 0; log 2 where both are equal.
    """
    return ops.softplus(_float32(loses) - _float32(wins))


def gradient_penalty(gradients: Tensor) -> Tensor:
    """Penalty on a critic's slope between real and generated images, 0 at slope 1 (Gulrajani et al. 2017, eq. 3).

        L = (|df/dx| - 1)^2

    Args:
        gradients: Gradients of the critic's logits with respect to its input, `(batch, ...)`.

    Returns:
        `(batch,)` float32, >= 0. Its own gradient is finite at 0, where that of a bare square root is not.
    """
    return ops.square(ops.sqrt(squared_norm(gradients) + _LEAST_SQUARED_SLOPE) - 1)


def squared_norm(gradients: Tensor) -> Tensor:
    """Squared norm |g|^2 of each example's gradient.

    Times gamma / 2 it is the zero-centred gradient penalty of Mescheder et al. 2018: R1 at real images (eq. 9), R2 at
    generated ones (eq. 10).

    Args:
        gradients: Gradients of the discriminator's logits with respect to its input, `(batch, ...)`.

    Returns:
        `(batch,)` float32, >= 0.
    """
    return sum_per_example(ops.square(_float32(gradients)))


def sum_per_example(values: Tensor) -> Tensor:
    """Sum over all axes but the first: `(batch, ...)` -> `(batch,)`."""
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


def _float32(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")
