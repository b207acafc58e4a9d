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
_POSE = 3  # yaw, pitch, roll
_POSE_UNITS = 3 * _POSE**2  # of the maps between codes: three for each number and each sum and difference of two
_ELLIPSE = (0.42, 0.36)  # half axes, in sides of the image: where a face in an upright crop is, whichever way it looks


@keras.saving.register_keras_serializable("keras_genzoo")
class FaceSwap(ZooModel):
    """Faces of two people through one encoder and a decoder each (the architecture of the first face swaps, 2017).

        loss = mean over a, b of   absolute_error * MAE(x, D(E(x~))) + dissimilarity * (1 - SSIM(x, D(E(x~)))) / 2

    x~ is x warped, so that the encoder must find what the two have in common, pose and expression, and each decoder how
    its own person looks; the swap is the other's decoder after the same encoder. It needs no pairs.

    Two people's codes still lie a little apart. `align`, once after training, moves the codes of the one to where those
    of the other are, and swaps come out nearer to the truth.

    `fit` takes batches `(x_a, x_b)` of both people, or `(x_a, x_b, (weights_a, weights_b))` with a weight per pixel,
    `(n, H, W, 1)`, that says where the face is. Every step flips, turns, tints and warps the images by itself.

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
        warped_steps: Training steps that warp, tint, turn and shift. From then on images are seen as they are, flips
            aside: resampling blurs the targets, and decoders learn that, too. 0: all steps do.
        border_weight: Weight in the loss of what lies outside an ellipse in the middle, where the face is, in (0, 1].
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
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{argument}` must be >= 0 and finite. Received: {value}")
        if not 0 < border_weight <= 1:
            raise ValueError(f"`border_weight` must be in (0, 1]. Received: {border_weight}")
        if not absolute_error and not dissimilarity:
            raise ValueError("`absolute_error` and `dissimilarity` must not both be 0: nothing would be learned.")
        self.latent_dim = check_count(latent_dim, "latent_dim")
        self.absolute_error, self.dissimilarity, self.warp = absolute_error, dissimilarity, warp
        self.tint, self.warped_steps, self.border_weight = tint, warped_steps, border_weight
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
        self.map_to_a, self.map_to_b = (BentMap(_POSE_UNITS, name=f"map_to_{side}") for side in _SIDES)
        for layer in (self.map_to_a, self.map_to_b):
            layer.build((None, latent_dim))
        self.build()

    def call(self, images):
        """Faces of a swapped to b, `(n, H, W, C)` float32 in [0, 1]."""
        return self._swapped(images, "b")

    # === Training ===

    def train_step(self, data):
        images, weights = self._both(data)
        options = {"warp": self.warp, "tint": self.tint, "strength": self._strength(), "seed": self.seed_generator}
        drawn = [corruptions.warped_pair(x, weights=w, **options) for x, w in zip(images, weights, strict=True)]
        loss, of_sides = self.minimize(
            self.optimizer, lambda: self._loss_terms(drawn, training=True), self.trainable_variables
        )
        self.train_steps.assign_add(1)
        return self.track(loss=loss, **of_sides)

    def test_step(self, data):
        images, weights = self._both(data)
        loss, of_sides = self._loss_terms([(x, x, w) for x, w in zip(images, weights, strict=True)], training=False)
        return self.track(loss=loss, **of_sides)

    def _strength(self):
        """1 while the current training step is to be warped, then 0."""
        return ops.cast(self.train_steps < self.warped_steps, "float32") if self.warped_steps else 1.0

    def _both(self, data):
        """The images of a and b in a batch, and the weights of their pixels or None."""
        x_a, x_b, weights = keras.utils.unpack_x_y_sample_weight(data)
        if x_b is None:
            raise ZooError("FaceSwap needs images of both people: fit(images_of_a, images_of_b). Received: one of them")
        return (x_a, x_b), (None, None) if weights is None else weights

    def _loss_terms(self, drawn, *, training):
        """The mean of both people's losses, `(batch,)`, and each of them; `drawn`: (seen, target, weights) of both."""
        of_sides = {}
        for side, (seen, target, weights) in zip(_SIDES, drawn, strict=True):
            if self.border_weight < 1:
                focus = self._focus()
                weights = focus if weights is None else focus * weights
            reconstruction = self._decoded(seen, side, training=training)
            error = losses.mean_absolute_error(target, reconstruction=reconstruction, weights=weights)
            similarity = losses.structural_similarity(target, reconstruction=reconstruction, weights=weights)
            of_sides[f"loss_{side}"] = self.absolute_error * error + self.dissimilarity * (1 - similarity) / 2
        return (of_sides["loss_a"] + of_sides["loss_b"]) / 2, of_sides

    def _focus(self):
        """1 inside an ellipse in the middle, `border_weight` outside, a smooth edge between: `(1, H, W, 1)` float32."""
        rows, columns = (ops.linspace(-0.5, 0.5, side) for side in self.image_shape[:2])
        distance = ops.sqrt(ops.square(rows[:, None] / _ELLIPSE[0]) + ops.square(columns[None] / _ELLIPSE[1]))
        inside = ops.clip((1.2 - distance) / 0.4, 0.0, 1.0)
        return (self.border_weight + (1 - self.border_weight) * inside)[None, :, :, None]

    def align(self, images_a, images_b, *, poses_a=None, poses_b=None):
        """Maps each person's codes to the other's, by the straightest map between the Gaussians that fit them.

            T(z) = m_t + C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2) (z - m_s)

        (Peyre & Cuturi 2019, eq. 2.40), the covariances of hundreds of images each made safe by a hundredth of their
        mean variance. Both people should show the same variety of poses, expressions and light.

        Where poses are known, T holds for what is left of a code once the mean code of its pose is taken off; in place
        of that comes the other person's mean code of this pose. Poses are needed here, not for a swap: what pose a code
        is of is read from the code.

        Args:
            images_a, images_b: Training images, `(n, H, W, C)` in [0, 1], n >= 2; they need not be as many.
            poses_a, poses_b: Which way their faces look, `(n, 3)`: yaw, pitch and roll in one unit, or other numbers
                that mean the same of both people; None: not known.
        """
        codes = [self.encode(images).astype("float64") for images in (images_a, images_b)]
        poses = _checked_poses(codes, poses_a=poses_a, poses_b=poses_b)
        for layer, step in ((self.map_to_b, 1), (self.map_to_a, -1)):
            if poses is None:
                kernel, bias = _transport(*codes[::step])
                layer.set_weights([kernel, bias, *(np.zeros(weight.shape) for weight in layer.weights[2:])])
            else:
                layer.set_weights(_transport_by_pose(*codes[::step], *poses[::step]))

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


def _checked_poses(codes, **poses):
    """The poses as float64 arrays in one unit, their common spread; None where none are known."""
    if all(given is None for given in poses.values()):
        return None
    checked = []
    for (argument, given), of in zip(poses.items(), codes, strict=True):
        array = np.asarray(() if given is None else given, "float64")
        if array.shape != (len(of), _POSE) or not np.isfinite(array).all():
            received = "None" if given is None else f"shape {array.shape}"
            raise ZooError(f"`{argument}` must be ({len(of)}, {_POSE}) finite numbers. Received: {received}")
        checked.append(array)
    both = np.concatenate(checked)
    return [(array - both.mean(0)) / np.maximum(both.std(0), 1e-6) for array in checked]


def _transport_by_pose(source, target, source_poses, target_poses):
    """Weights of a `BentMap` that brings codes like `source` to where `target`'s of the same pose are.

    T(z) = m_t(y) + (z - m_s(y)) K + b,    y = z W + w, the pose read from z;    m(y) = tanh(y D - o) B + c
    """
    # Ridges across each number of a pose and each sum and difference of two, at three places: enough to bend.
    axes = np.eye(_POSE)
    pairs = [(axes[i] + s * axes[j]) / math.sqrt(2) for i in range(_POSE) for j in range(i) for s in (1, -1)]
    directions = np.repeat(np.stack([*axes, *pairs], axis=1), 3, axis=1)
    places = np.tile([-1.0, 0.0, 1.0], directions.shape[1] // 3)

    fits = []
    for codes, poses in ((source, source_poses), (target, target_poses)):
        reading = _ridge(codes, poses)
        hidden = np.tanh((codes @ reading[0] + reading[1]) @ directions - places)
        mean = _ridge(hidden, codes)
        fits.append((reading, mean, codes - hidden @ mean[0] - mean[1]))
    (reading, source_mean, source_rest), (_, target_mean, target_rest) = fits
    kernel, bias = _transport(source_rest, target_rest)
    return [
        kernel,
        bias + target_mean[1] - source_mean[1] @ kernel,
        reading[0] @ directions,
        reading[1] @ directions - places,
        target_mean[0] - source_mean[0] @ kernel,
    ]


def _ridge(x, y):
    """Kernel and bias of the linear regression of y on x, held back by a thousandth of x's mean variance."""
    centred = x - x.mean(0)
    gram = centred.T @ centred
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
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
