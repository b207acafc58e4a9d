"""The deepfake's autoencoder: one encoder that two people share, and a decoder for each of them."""

import math

import keras
import numpy as np
from keras import ops

from keras_genzoo import corruptions, losses, networks
from keras_genzoo.errors import ZooError
from keras_genzoo.layers import BentMap
from keras_genzoo.models.base import ZooModel, check_count, check_spec

_SIDES = ("a", "b")
_BATCH = 64
_BENT = 3  # how many factors the maps between codes follow along curves: yaw, pitch, roll
_BENT_UNITS = 3 * _BENT**2  # three for each of them and each sum and difference of two
_ELLIPSE = (0.42, 0.36)  # half axes, in sides of the image: where a face in an upright crop is, whichever way it looks


@keras.saving.register_keras_serializable("keras_genzoo")
class FaceSwap(ZooModel):
    """Faces of two people through one encoder and a decoder each (the architecture of the first face swaps, 2017).

        loss = mean over a, b of   absolute_error * MAE(x, D(E(x~))) + dissimilarity * (1 - SSIM(x, D(E(x~)))) / 2

    x~ is x warped, so that the encoder must find what the two have in common, pose and expression, and each decoder how
    its own person looks; the swap is the other's decoder after the same encoder. It needs no pairs.

    Two people's codes still lie a little apart. Where something is known that means the same of both, such as the pose
    of every training image (`shared_factors`), one linear layer learns to read it from the codes of both, and

        loss = loss + guidance * loss_factors,    loss_factors = mean over a, b of Huber(factors, W E(x) + w)

    draws them together. `loss` has this part wherever a batch brings factors, and `loss_factors` is 0 where none does.
    `align`, once after training, moves the codes of the one to where those of the other are, and swaps come out nearer
    to the truth.

    `fit` takes batches `(x_a, x_b)` of both people, or `(x_a, x_b, (weights_a, weights_b))` with a weight per pixel,
    `(n, H, W, 1)`, that says where the face is. Each of x_a and x_b is images, or a dict with `images` and `factors`
    `(n, n_factors)`. Every step flips, turns, tints and warps the images by itself.

    Use it for people who have agreed to it, and say of what it makes that it is made.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Numbers of the code that both people share, >= 1.
        encoder, decoder: Network specs, e.g. `{"name": "face_encoder", "filters": [32, 64, 128, 128], "channels": 64}`
            and `{"name": "face_decoder", "filters": [64, 48, 32]}`; the decoder's serves twice.
        absolute_error, dissimilarity: Weights of the two sides of the loss, >= 0, not both 0.
        warp: How far the input is warped, see `corruptions.warped_pair`, >= 0.
        tint: How far the colours of input and target are changed, see `corruptions.warped_pair`, >= 0. `face_encoder`
            sees no tint: with it a target's colours cannot be known.
        warped_steps: Training steps that warp, tint, turn and shift. From then on images are but mirrored and shifted
            by whole pixels: resampling blurs the targets, and decoders learn that, too. 0: all steps do.
        border_weight: Weight in the loss of what lies outside an ellipse in the middle, where the face is, in (0, 1].
        n_factors: Numbers per image that the codes are to tell, 0 for none, else >= 3.
        guidance: Weight of their reading in the loss, >= 0.
        seed, dtype, name: See `ZooModel`.

    Example:
        >>> swap = FaceSwap(image_shape=(64, 64, 3), latent_dim=256,
        ...     encoder={"name": "face_encoder", "filters": [32, 64, 128, 128], "channels": 64},
        ...     decoder={"name": "face_decoder", "filters": [64, 48, 32]})
        >>> swap.compile("adam")
        >>> swap.fit(images_of_a, images_of_b, batch_size=32, epochs=100)
        >>> swap.align(images_of_a, images_of_b)
        >>> swap.swap(images_of_a, to="b")          # (n, 64, 64, 3) float32 in [0, 1]
    """

    IMAGES = 2
    LOSSES = ("loss", "loss_a", "loss_b")

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        latent_dim: int,
        encoder: dict,
        decoder: dict,
        absolute_error: float = 1.0,
        dissimilarity: float = 1.0,
        warp: float = 0.03,
        tint: float = 0.0,
        warped_steps: int = 0,
        border_weight: float = 1.0,
        n_factors: int = 0,
        guidance: float = 0.1,
        seed: int | None = None,
        dtype=None,
        name: str | None = "face_swap",
    ):
        # === Config ===
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        for argument, value in (
            ("absolute_error", absolute_error),
            ("dissimilarity", dissimilarity),
            ("warp", warp),
            ("tint", tint),
            ("warped_steps", warped_steps),
            ("guidance", guidance),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{argument}` must be >= 0 and finite. Received: {value}")
        if not 0 < border_weight <= 1:
            raise ValueError(f"`border_weight` must be in (0, 1]. Received: {border_weight}")
        if not absolute_error and not dissimilarity:
            raise ValueError("`absolute_error` and `dissimilarity` must not both be 0: nothing would be learned.")
        if n_factors and check_count(n_factors, "n_factors") < _BENT:
            raise ValueError(f"`n_factors` must be 0, or {_BENT} or more. Received: {n_factors}")
        self.latent_dim = check_count(latent_dim, "latent_dim")
        self.absolute_error, self.dissimilarity, self.warp = absolute_error, dissimilarity, warp
        self.tint, self.warped_steps, self.border_weight = tint, warped_steps, border_weight
        self.n_factors, self.guidance = n_factors, guidance
        self._config = {
            "latent_dim": latent_dim,
            "encoder": check_spec(encoder),
            "decoder": check_spec(decoder),
            "absolute_error": absolute_error,
            "dissimilarity": dissimilarity,
            "warp": warp,
            "tint": tint,
            "warped_steps": warped_steps,
            "border_weight": border_weight,
            "n_factors": n_factors,
            "guidance": guidance,
        }

        # === Networks ===
        shapes = {"dtype": self.dtype_policy, "image_shape": self.image_shape}
        self.encoder = networks.build(encoder, name="encoder", latent_dim=latent_dim, **shapes)
        feature_shape = self.encoder.output["features"].shape[1:]
        self.decoder_a, self.decoder_b = (
            networks.build(decoder, name=f"decoder_{side}", feature_shape=feature_shape, **shapes) for side in _SIDES
        )
        # What follows the code in the encoder; and what brings the other person's codes to each one's: first nothing.
        self.features = keras.Model(self.encoder.get_layer("z").output, self.encoder.output["features"])
        self.map_to_a, self.map_to_b = (BentMap(_BENT_UNITS, name=f"map_to_{side}") for side in _SIDES)
        for layer in (self.map_to_a, self.map_to_b):
            layer.build((None, latent_dim))
        self.reader = None
        if n_factors:
            self.reader = keras.layers.Dense(n_factors, dtype="float32", name="reader")
            self.reader.build((None, latent_dim))
            self.LOSSES = (*self.LOSSES, "loss_factors")
            self._trackers["loss_factors"] = keras.metrics.Mean(name="loss_factors")
        self.build()

    def call(self, images):
        """Faces of a swapped to b, `(n, H, W, C)` float32 in [0, 1]."""
        return self._swapped(images, "b")

    # === Training ===

    def train_step(self, data):
        images, weights, factors = self._both(data)
        options = {"warp": self.warp, "tint": self.tint, "strength": self._strength(), "seed": self.seed_generator}
        drawn = [corruptions.warped_pair(x, weights=w, **options) for x, w in zip(images, weights, strict=True)]

        # A reader that no batch gives factors to is left as it is.
        idle = set() if factors or not self.reader else {id(v) for v in self.reader.trainable_variables}
        variables = [v for v in self.trainable_variables if id(v) not in idle]
        loss, parts = self.minimize(
            self.optimizer, lambda: self._loss_terms(drawn, images, factors, training=True), variables
        )
        self.train_steps.assign_add(1)
        return self.track(loss=loss, **parts)

    def test_step(self, data):
        images, weights, factors = self._both(data)
        drawn = [(x, x, w) for x, w in zip(images, weights, strict=True)]
        loss, parts = self._loss_terms(drawn, images, factors, training=False)
        return self.track(loss=loss, **parts)

    def _strength(self):
        """1 while the current training step is to be warped, then 0."""
        return ops.cast(self.train_steps < self.warped_steps, "float32") if self.warped_steps else 1.0

    def _both(self, data):
        """Of a batch the images of a and b, the weights of their pixels or None, and their factors or ()."""
        *parts, weights = keras.utils.unpack_x_y_sample_weight(data)
        if parts[1] is None:
            raise ZooError("FaceSwap needs images of both people: fit(images_of_a, images_of_b). Received: one of them")
        factors = [part["factors"] for part in parts if isinstance(part, dict)]
        if len(factors) == 1:
            raise ZooError("`factors` are of both people, or of none. Received: those of one")
        images = [part["images"] if isinstance(part, dict) else part for part in parts]
        return images, (None, None) if weights is None else weights, factors

    def _images_in(self, part, argument):
        if not isinstance(part, dict):
            return part
        if set(part) != {"images", "factors"}:
            raise ZooError(f"`{argument}` is a dict of 'images' and 'factors'. Received: the keys {sorted(part)}")
        if not self.n_factors:
            raise ZooError(f"`{argument}` has factors; they are for a model that reads them. Received: n_factors=0")
        factors = part["factors"]
        if tuple(factors.shape)[1:] != (self.n_factors,):
            raise ZooError(
                f"`factors` of `{argument}` must have shape (n, {self.n_factors}). Received: {tuple(factors.shape)}"
            )
        if isinstance(factors, np.ndarray) and not np.isfinite(factors).all():
            raise ZooError(f"`factors` of `{argument}` must be finite. Received: NaN or infinity")
        return part["images"]

    def _loss_terms(self, drawn, images, factors, *, training):
        """The loss, `(batch,)`, and its parts by name; `drawn`: (seen, target, weights) of both people."""
        parts = {}
        for side, (seen, target, weights) in zip(_SIDES, drawn, strict=True):
            if self.border_weight < 1:
                focus = self._focus()
                weights = focus if weights is None else focus * weights
            reconstruction = self._decoded(seen, side, training=training)
            error = losses.mean_absolute_error(target, reconstruction=reconstruction, weights=weights)
            similarity = losses.structural_similarity(target, reconstruction=reconstruction, weights=weights)
            parts[f"loss_{side}"] = self.absolute_error * error + self.dissimilarity * (1 - similarity) / 2
        loss = (parts["loss_a"] + parts["loss_b"]) / 2
        if factors:
            # Of images as they are: turned or mirrored, a face has another pose.
            codes = [self.encoder(x, training=training)["z"] for x in images]
            errors = [keras.losses.huber(y, self.reader(z)) for y, z in zip(factors, codes, strict=True)]
            parts["loss_factors"] = (errors[0] + errors[1]) / 2
            loss = loss + self.guidance * parts["loss_factors"]
        return loss, parts

    def _focus(self):
        """1 inside an ellipse in the middle, `border_weight` outside, a smooth edge between: `(1, H, W, 1)` float32."""
        rows, columns = (ops.linspace(-0.5, 0.5, side) for side in self.image_shape[:2])
        distance = ops.sqrt(ops.square(rows[:, None] / _ELLIPSE[0]) + ops.square(columns[None] / _ELLIPSE[1]))
        inside = ops.clip((1.2 - distance) / 0.4, 0.0, 1.0)
        return (self.border_weight + (1 - self.border_weight) * inside)[None, :, :, None]

    def align(self, images_a, images_b, *, factors_a=None, factors_b=None):
        """Maps each person's codes to the other's, by the straightest map between the Gaussians that fit them.

            T(z) = m_t + C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2) (z - m_s)

        (Peyre & Cuturi 2019, eq. 2.40), the covariances of hundreds of images each made safe by a hundredth of their
        mean variance. Both people should show the same variety of poses, expressions and light.

        Where factors are known, T holds for what is left of a code once the mean code of its factors is taken off; in
        place of that comes the other person's mean code of these factors. They are needed here, not for a swap: what
        factors a code is of is read from the code.

        Args:
            images_a, images_b: Training images, `(n, H, W, C)` in [0, 1], n >= 2; they need not be as many.
            factors_a, factors_b: What is known of them, see `shared_factors`: `(n, k)`, k >= 3, numbers that mean the
                same of both people, first the three along which codes bend most: yaw, pitch, roll. None: not known.
        """
        codes = [self.encode(images).astype("float64") for images in (images_a, images_b)]
        factors = _checked_factors(codes, factors_a=factors_a, factors_b=factors_b)
        for layer, step in ((self.map_to_b, 1), (self.map_to_a, -1)):
            if factors is None:
                kernel, bias = _transport(*codes[::step])
                layer.set_weights([kernel, bias, *(np.zeros(weight.shape) for weight in layer.weights[2:])])
            else:
                layer.set_weights(_transport_by_factors(*codes[::step], *factors[::step]))

    # === Use ===

    def endpoints(self):
        images = self.encoder.inputs[0]
        return {
            "encode": keras.Model(images, {"z": self.encoder(images)["z"]}, name="encode"),
            **{
                f"swap_to_{side}": keras.Model(images, {"images": self._swapped(images, side)}, name=f"swap_to_{side}")
                for side in _SIDES
            },
        }

    def encode(self, images):
        """The codes of faces of either person, in [0, 1]: `(n, latent_dim)` float32."""
        return self.run_endpoint("encode", self.check_images(images))["z"]

    def swap(self, images, *, to):
        """Faces of the other person, `(n, H, W, C)` in [0, 1], with the looks of `to`, "a" or "b": float32, too."""
        return self.run_endpoint(f"swap_to_{_checked_side(to, 'to')}", self.check_images(images))["images"]

    def autoencode(self, images, *, of):
        """Faces of one person, "a" or "b", through their own decoder: `(n, H, W, C)` float32 in [0, 1]."""
        images, side = self.check_images(images), _checked_side(of, "of")
        parts = [self._decoded(images[start : start + _BATCH], side) for start in range(0, len(images), _BATCH)]
        return ops.convert_to_numpy(ops.concatenate(parts))

    def get_config(self):
        return {**super().get_config(), **self._config}

    # === Pieces, on tensors ===

    def _decoded(self, images, side, training=False):
        decoder = self.decoder_a if side == "a" else self.decoder_b
        return decoder(self.encoder(images, training=training)["features"], training=training)

    def _swapped(self, images, to):
        decoder, mapped = (self.decoder_a, self.map_to_a) if to == "a" else (self.decoder_b, self.map_to_b)
        return decoder(self.features(mapped(self.encoder(images)["z"])))


def _checked_side(side, argument):
    if side not in _SIDES:
        raise ZooError(f"`{argument}` must be 'a' or 'b'. Received: {side!r}")
    return side


def shared_factors(landmarks, poses=None, *, n_factors):
    """What faces of two people show and what means the same of both: which way they look, then their expressions.

    A pose moves every point of a face, and each person's in another way. So each person's mean face in every pose is
    learned (a ridge regression on bent units), and what is left of the landmarks are expressions, of which the first
    principal components of both people together are taken.

    Args:
        landmarks: Of a and of b, `(n, points, 2)` each, x and y in pixels, the points in the same order.
        poses: Of a and of b, `(n, 3)` each: yaw, pitch and roll in one unit. None: in their place the three first
            principal components of the landmarks. Each person's are then taken about the own mean and in the own
            deviation, as a longer nose goes further: both should show the same variety.
        n_factors: How many, >= 3, and no more than the landmarks tell.

    Returns:
        `(factors_a, factors_b)`, `(n, n_factors)` float32 each, of mean 0 and deviation 1 over both people, or of each
        where poses are not known.

    Example:
        >>> factors = shared_factors([landmarks_a, landmarks_b], [poses_a, poses_b], n_factors=11)
        >>> swap.fit({"images": a, "factors": factors[0]}, {"images": b, "factors": factors[1]})
        >>> swap.align(a, b, factors_a=factors[0], factors_b=factors[1])
    """
    flat = [np.asarray(of, "float64").reshape(len(of), -1) for of in landmarks]
    if flat[0].shape[1] != flat[1].shape[1]:
        raise ZooError(f"Both people have the same landmarks. Received: {flat[0].shape[1] // 2, flat[1].shape[1] // 2}")
    if n_factors < _BENT:
        raise ZooError(f"`n_factors` must be {_BENT} or more. Received: {n_factors}")
    if poses is None:
        poses, standardised = _components([of - of.mean(0) for of in flat], _BENT), _standardised_each
    else:
        poses, standardised = [np.asarray(of, "float64") for of in poses], _standardised
    poses = standardised(poses)
    bent = [np.concatenate([_bent(of), _bent(of / 2)], axis=1) for of in poses]
    means = [_ridge(units, of, silent_rows=2) for units, of in zip(bent, flat, strict=True)]
    rest = [of - units @ kernel - bias for of, units, (kernel, bias) in zip(flat, bent, means, strict=True)]
    expressions = standardised(_components(rest, n_factors - _BENT))
    return tuple(np.concatenate(pair, axis=1).astype("float32") for pair in zip(poses, expressions, strict=True))


def _components(of_both, n):
    """The first n principal components of both people's rows together, which have a mean of about 0."""
    _, values, axes = np.linalg.svd(np.concatenate(of_both), full_matrices=False)
    told = int(np.sum(values > 1e-3 * values[0]))  # what is less is rounding
    if n > told:
        raise ZooError(f"`n_factors` asks for {n} components of landmarks that have {told}. Lower it, or add images")
    axes = axes[:n]
    # A sign is arbitrary, and a training that is resumed must find the same: of the largest the first is positive.
    largest = np.abs(axes) > 0.999 * np.abs(axes).max(1, keepdims=True)
    turned = np.take_along_axis(axes, largest.argmax(1)[:, None], axis=1) < 0
    axes = np.where(turned, -axes, axes)
    return [rows @ axes.T for rows in of_both]


def _standardised(of_both):
    both = np.concatenate(of_both)
    return [(rows - both.mean(0)) / np.maximum(both.std(0), 1e-6) for rows in of_both]


def _standardised_each(of_both):
    return [_standardised([rows])[0] for rows in of_both]


def _checked_factors(codes, **factors):
    """The factors as float64 arrays, standardised over both people; None where none are known."""
    if all(given is None for given in factors.values()):
        return None
    checked = []
    for (argument, given), of in zip(factors.items(), codes, strict=True):
        array = np.asarray(() if given is None else given, "float64")
        if array.ndim != 2 or len(array) != len(of) or array.shape[1] < _BENT or not np.isfinite(array).all():
            received = "None" if given is None else f"shape {array.shape}"
            raise ZooError(f"`{argument}` must be ({len(of)}, {_BENT} or more) finite numbers. Received: {received}")
        checked.append(array)
    if checked[0].shape[1] != checked[1].shape[1]:
        raise ZooError(f"Both people have the same factors. Received: {[array.shape[1] for array in checked]}")
    return _standardised(checked)


# Ridges across each bent factor and each sum and difference of two, at three places: enough to follow a curve.
_AXES = np.eye(_BENT)
_PAIRS = [(_AXES[i] + sign * _AXES[j]) / math.sqrt(2) for i in range(_BENT) for j in range(i) for sign in (1, -1)]
_DIRECTIONS = np.repeat(np.stack([*_AXES, *_PAIRS], axis=1), 3, axis=1)
_SILENT = 60 * 1_500  # of few images mean codes are learned by heart: held back by the square of how few they are
_PLACES = np.tile([-1.0, 0.0, 1.0], _BENT_UNITS // 3)


def _bent(factors):
    return np.tanh(factors[:, :_BENT] @ _DIRECTIONS - _PLACES)


def _transport_by_factors(source, target, source_factors, target_factors):
    """Weights of a `BentMap` that brings codes like `source` to where `target`'s of the same factors are.

    T(z) = m_t(y) + (z - m_s(y)) K + b,    y = z W + w, the factors read from z;
    m(y) = tanh(y_1 D - o) B + y_2 C + c,  y_1 the first three of them, y_2 the others
    """
    fits = []
    for codes, factors in ((source, source_factors), (target, target_factors)):
        reading = _ridge(codes, factors, silent_rows=20)
        read = codes @ reading[0] + reading[1]
        units = np.concatenate([_bent(read), read[:, _BENT:]], axis=1)
        mean = _ridge(units, codes, silent_rows=_SILENT / len(codes))
        fits.append((reading, mean, codes - units @ mean[0] - mean[1]))
    (reading, source_mean, source_rest), (_, target_mean, target_rest) = fits
    kernel, bias = _transport(source_rest, target_rest)
    bias = bias + target_mean[1] - source_mean[1] @ kernel
    moved = target_mean[0] - source_mean[0] @ kernel  # of each unit of m
    (to_bent, to_rest), (bent_bias, rest_bias) = (np.split(part, [_BENT], axis=-1) for part in reading)
    return [
        kernel + to_rest @ moved[_BENT_UNITS:],
        bias + rest_bias @ moved[_BENT_UNITS:],
        to_bent @ _DIRECTIONS,
        bent_bias @ _DIRECTIONS - _PLACES,
        moved[:_BENT_UNITS],
    ]


def _ridge(x, y, *, silent_rows):
    """Kernel and bias of the linear regression of y on x, held back as by so many more rows, of x's mean variance, that
    say nothing of y: where there are few rows, more.
    """
    centred = x - x.mean(0)
    gram = centred.T @ centred
    gram += silent_rows * np.trace(gram) / len(gram) / len(x) * np.eye(len(gram))
    kernel = np.linalg.solve(gram, centred.T @ (y - y.mean(0)))
    return kernel, y.mean(0) - x.mean(0) @ kernel


def _transport(source, target):
    """Kernel and bias of a dense layer that brings codes `(n, d)` like `source` to where `target`'s are."""

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.maximum(values, 1e-12) ** exponent @ vectors.T

    def covariance(codes):
        centred = codes - codes.mean(0)
        matrix = centred.T @ centred / len(codes)
        return matrix + (0.01 * np.trace(matrix) / len(matrix) + 1e-6) * np.eye(len(matrix))

    root = power(covariance(source), 0.5)
    inverse = power(covariance(source), -0.5)
    kernel = inverse @ power(root @ covariance(target) @ root, 0.5) @ inverse
    return [kernel, target.mean(0) - source.mean(0) @ kernel]
