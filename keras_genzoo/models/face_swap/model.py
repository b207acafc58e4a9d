"""The deepfake's autoencoder: one encoder that two people share, and a decoder for each of them."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import keras
import numpy as np
from keras import ops
from pydantic import Field

from keras_genzoo import engine, losses, networks
from keras_genzoo.errors import ZooError
from keras_genzoo.layers import BentMap
from keras_genzoo.models import inputs
from keras_genzoo.models.base import Count, ImageShape, ZooModel
from keras_genzoo.models.face_swap import codes, warping
from keras_genzoo.parts import Natural, NonNegative
from keras_genzoo.typing import ArrayLike, DType, Spec, Tensor

_SIDES = ("a", "b")
_BATCH = 64  # images per call of a decoder in `autoencode`
# The ellipse of `border_weight`: an upright crop holds the face inside it, whichever way the face looks.
_ELLIPSE = (0.42, 0.36)  # half axes, vertical and horizontal, in sides of the image
_EDGE_START = 1.2  # distance from the centre, in half axes, from which inwards the weight rises
_EDGE_WIDTH = 0.4  # distance, in half axes, over which it rises to 1


@keras.saving.register_keras_serializable("keras_genzoo")
class FaceSwap(ZooModel):
    """Faces of two people through one encoder and a decoder each (the architecture of the first face swaps, 2017).

        loss = mean over a, b of   absolute_error * MAE(x, D(E(x~))) + dissimilarity * (1 - SSIM(x, D(E(x~)))) / 2

    x~ is x warped. The encoder must therefore find pose and expression, which the two have in common, and each decoder
    the looks of its own person. A swap is the other person's decoder after the same encoder. Pairs are not needed.

    The codes of two people still lie a little apart. Numbers that mean the same of both, such as the pose of every
    training image (`codes.shared_factors`), draw them together: one linear layer learns to read them from the codes of
    both, and

        loss = loss + guidance * loss_factors,    loss_factors = mean over a, b of Huber(factors, W E(x) + w)

    `loss` has this part wherever a batch brings factors, and `loss_factors` is 0 where none does. `align`, once after
    training, maps the codes of each person to the other's, which brings swaps nearer to the truth.

    Where images of the two are pairs, such as drawings of the same things in two styles, `pairing` adds the error of
    the swaps themselves,

        loss = loss + pairing * loss_swaps,    loss_swaps = mean over a, b of the same error of D_a(E(x~_b)) to x_a

    and the images of a pair are moved and warped alike. Such a model needs no `align`.

    `fit` takes batches `(x_a, x_b)` of both people, or `(x_a, x_b, (weights_a, weights_b))` with a weight per pixel,
    `(n, H, W, 1)`, that is large where the face is. Each of x_a and x_b is images, or a dict with `images` and
    `factors` `(n, n_factors)`. Every step flips, turns, tints and warps the images by itself.

    Use it for people who have agreed to it, and mark its pictures as made.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Length of the code that both people share, >= 1.
        encoder: Network spec, e.g. `{"name": "face_encoder", "filters": [32, 64, 128, 128], "channels": 64}`.
        decoder: Network spec of both decoders, e.g. `{"name": "face_decoder", "filters": [64, 48, 32]}`.
        absolute_error: Weight of the absolute error in the loss, >= 0.
        dissimilarity: Weight of the dissimilarity in the loss, >= 0; not both are 0.
        warp: Strength of the input's warping, see `warping.warped_pair`, >= 0.
        tint: Strength of the change of colours of input and target, see `warping.warped_pair`, >= 0. `face_encoder`
            normalises colours away, so that with a tint it could not know those of the target.
        warped_steps: Number of training steps that warp, tint, turn and shift; 0: all. Later steps only mirror images
            and shift them by whole pixels: resampling blurs the targets, and decoders learn the blur, too.
        border_weight: Weight in the loss of pixels outside an ellipse in the middle, where the face is, in (0, 1].
        n_factors: Number of factors per image that are read from the codes, >= 3; 0: none.
        guidance: Weight of `loss_factors` in the loss, >= 0.
        pairing: Weight of `loss_swaps` in the loss, >= 0; above 0 the rows of x_a and x_b are pairs.
        seed, dtype, name: See `ZooModel`.

    Raises:
        ZooError: A bad value, or an unknown part.

    Example:
        >>> import numpy as np
        >>> import keras_genzoo as gz
        >>> faces_a, faces_b = np.random.default_rng(0).random((2, 32, 32, 32, 3), dtype="float32")
        >>> model = gz.FaceSwap(image_shape=(32, 32, 3), latent_dim=16,
        ...                     encoder={"name": "face_encoder", "filters": [8, 16], "channels": 8},
        ...                     decoder={"name": "face_decoder", "filters": [16]})
        >>> model.compile("adam")
        >>> history = model.fit(faces_a, faces_b, batch_size=16, verbose=0)
        >>> model.align(faces_a, faces_b)
        >>> model.swap(faces_a, to="b").shape
        (32, 32, 32, 3)
    """

    REFUSES_METRICS = None
    cure = "; a decoder that paints all black or all white lives with the option `leash: 0.01`"
    LOSSES = ("loss", "loss_a", "loss_b")
    PARTS: ClassVar = {"encoder": "network", "decoder": "network"}
    CAN = frozenset({"encode", "swap"})
    STEP_COUNTS = ("warped_steps",)

    def __init__(
        self,
        *,
        image_shape: ImageShape = (64, 64, 3),
        latent_dim: Count,
        encoder: Spec,
        decoder: Spec,
        absolute_error: NonNegative = 1.0,
        dissimilarity: NonNegative = 1.0,
        warp: NonNegative = 0.03,
        tint: NonNegative = 0.0,
        warped_steps: Natural = 0,
        border_weight: Annotated[float, Field(gt=0, le=1)] = 1.0,
        n_factors: Natural = 0,
        guidance: NonNegative = 0.1,
        pairing: NonNegative = 0.0,
        seed: int | None = None,
        dtype: DType = None,
        name: str | None = "face_swap",
    ):
        super().__init__(image_shape=image_shape, seed=seed, dtype=dtype, name=name)
        self.configure(locals())
        if not absolute_error and not dissimilarity:
            raise ZooError("`absolute_error` and `dissimilarity` must not both be 0: nothing would be learned.")
        if 0 < n_factors < codes.BENT:
            raise ZooError(f"`n_factors` must be 0, or {codes.BENT} or more. Received: {n_factors}")
        shapes = {"dtype": self.dtype_policy, "image_shape": self.image_shape}
        self.encoder = networks.build(encoder, key="encoder", name="encoder", latent_dim=self.latent_dim, **shapes)
        feature_shape = self.encoder.output["features"].shape[1:]
        self.decoder_a, self.decoder_b = (
            networks.build(decoder, key="decoder", name=f"decoder_{side}", feature_shape=feature_shape, **shapes)
            for side in _SIDES
        )
        # The layers of the encoder behind the code, and a map to each person's codes; the maps begin as the identity.
        self.features = keras.Model(
            self.encoder.get_layer("z").output, self.encoder.output["features"], name="features"
        )
        self.map_to_a, self.map_to_b = (BentMap(codes.BENT_UNITS, name=f"map_to_{side}") for side in _SIDES)
        for layer in (self.map_to_a, self.map_to_b):
            layer.build((None, self.latent_dim))
        self.reader: Any = None  # the layer that reads factors from codes
        if n_factors:
            self.reader = keras.layers.Dense(n_factors, dtype="float32", name="reader")
            self.reader.build((None, self.latent_dim))
            self.LOSSES = (*self.LOSSES, "loss_factors")
            self._trackers["loss_factors"] = keras.metrics.Mean(name="loss_factors")
        if pairing:
            self.LOSSES = (*self.LOSSES, "loss_swaps")
            self._trackers["loss_swaps"] = keras.metrics.Mean(name="loss_swaps")
        self.build()

    def call(self, images: Tensor) -> Tensor:
        """Faces of a swapped to b, `(n, H, W, C)` float32 in [0, 1]."""
        return self._swapped(images, "b")

    # === Training ===

    def train_step(self, data: Any) -> dict[str, Tensor]:
        images, weights, factors, shares = self._both(data)
        options = {"warp": self.warp, "tint": self.tint, "strength": self._strength(), "seed": self.seed_generator}
        if self.pairing:
            pairs = self._warped_alike(images, weights, options)
        else:
            pairs = [warping.warped_pair(x, weights=w, **options) for x, w in zip(images, weights, strict=True)]

        # The reader does not move in a batch without factors.
        idle = set() if factors or not self.reader else {id(v) for v in self.reader.trainable_variables}
        variables = [v for v in self.trainable_variables if id(v) not in idle]
        loss, parts = self.minimize(
            self.optimizer, lambda: self._loss_terms(pairs, images, factors, training=True), variables, weights=shares
        )
        self.train_steps.assign_add(1)
        return self.track(loss=loss, **parts, weights=shares) | self._compared(images, shares)

    @staticmethod
    def _warped_alike(images, weights, options):
        """`warping.warped_pair` of both people's images, with the same draws for the two of a pair."""
        n_channels, found = images[0].shape[-1], []
        one = ops.ones_like(images[0][..., :1])
        maps = ops.concatenate([one if w is None else w for w in weights], axis=-1)
        moved: Any = warping.warped_pair(ops.concatenate(images, axis=-1), weights=maps, **options)
        x, target, maps = moved
        for i, given in enumerate(weights):
            part = slice(i * n_channels, (i + 1) * n_channels)
            found.append((x[..., part], target[..., part], None if given is None else maps[..., i : i + 1]))
        return found

    def test_step(self, data: Any) -> dict[str, Tensor]:
        images, weights, factors, shares = self._both(data)
        pairs = [(x, x, w) for x, w in zip(images, weights, strict=True)]
        loss, parts = self._loss_terms(pairs, images, factors, training=False)
        loss = self.with_added_loss(loss)
        return self.track(loss=loss, **parts, weights=shares) | self._compared(images, shares)

    def _compared(self, images, shares):
        """The metrics of `compile`, of both people's images and each one's own decoder."""

        def reconstructions():
            return ops.concatenate([self._decoded(x, side) for x, side in zip(images, _SIDES, strict=True)])

        both = None if shares is None else ops.tile(ops.reshape(shares, (-1,)), (2,))
        return self.track_metrics(ops.concatenate(images), reconstructions, both)

    def refuses_weights(self) -> str | None:
        return None

    def _strength(self):
        """Strength of the warping in the current training step: 1 in the first `warped_steps`, then 0."""
        return ops.cast(self.train_steps < self.warped_steps, "float32") if self.warped_steps else 1.0

    def _both(self, data):
        """The parts of a batch: `(images, weights, factors, shares)` of a and b.

        Weights of pixels are a pair, each None where it is missing; factors are a list of two arrays, or empty; shares
        are weights of examples, or None.
        """
        *parts, weights = self.parts_of(data)
        if parts[1] is None:
            raise self._lacks_other()
        factors = [part["factors"] for part in parts if isinstance(part, dict)]
        if len(factors) == 1:
            raise ZooError("`factors` are of both people, or of none. Received: those of one")
        images = [part["images"] if isinstance(part, dict) else part for part in parts]
        if isinstance(weights, (tuple, list)):
            return images, weights, factors, None
        return images, (None, None), factors, weights

    @staticmethod
    def _lacks_other():
        return ZooError("FaceSwap needs images of both people: fit(images_of_a, images_of_b). Received: one of them")

    def arranged(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        x, y = inputs.as_array(x), inputs.as_array(y)
        if y is None and isinstance(x, (tuple, list)) and len(x) == len(_SIDES):
            return inputs.as_array(x[0]), inputs.as_array(x[1])
        return (x, y) if isinstance(x, dict) else super().arranged(x, y)

    def call_values(self, x: Any, y: Any = None) -> list[Any]:
        x, _ = self.arranged(x, y)
        return [x["images"] if isinstance(x, dict) and "images" in x else x]

    def training_parts(self, x: Any, y: Any, weights: Any, names: Sequence[str]) -> list[inputs.Part]:
        if y is None:
            raise self._lacks_other()
        for value, name in zip((x, y), names[:2], strict=True):
            if not isinstance(value, dict):
                inputs.require_array(value, name)
        found = [part for value, name in zip((x, y), names[:2], strict=True) for part in self._parts_in(value, name)]
        if isinstance(weights, (tuple, list)):  # maps of both people, one number a pixel
            shape = (*self.image_shape[:2], 1)
            maps = [value for value in weights if value is not None]
            return [*found, *(inputs.Part(inputs.rows(*shape), value, names[2]) for value in maps)]
        return [*found, *self._weight_parts(weights, names[2])]

    def _parts_in(self, value, argument):
        """The images of one person, and the factors beside them."""
        images = inputs.images(self.image_shape)
        if not isinstance(value, dict):
            return [inputs.Part(images, value, argument)]
        if set(value) != {"images", "factors"}:
            raise ZooError(f"`{argument}` is a dict of 'images' and 'factors'. Received: the keys {sorted(value)}")
        if not self.n_factors:
            raise ZooError(f"`{argument}` has factors; they are for a model that reads them. Received: n_factors=0")
        factors = inputs.Part(inputs.rows(self.n_factors), value["factors"], f"factors` of `{argument}")
        return [inputs.Part(images, value["images"], argument), factors]

    def _loss_terms(self, pairs, images, factors, *, training):
        """The loss, `(batch,)`, and its parts by name; `pairs` are (input, target, weights) of both people."""
        parts = {}
        features = [self.encoder(x, training=training)["features"] for x, _, _ in pairs]
        for side, mine, (_, target, weights) in zip(_SIDES, features, pairs, strict=True):
            decoder = self.decoder_a if side == "a" else self.decoder_b
            parts[f"loss_{side}"] = self._error(target, decoder(mine, training=training), weights)
        loss = (parts["loss_a"] + parts["loss_b"]) / 2
        if self.pairing:
            swaps = self.decoder_a(features[1], training=training), self.decoder_b(features[0], training=training)
            errors = [self._error(y, swap, w) for swap, (_, y, w) in zip(swaps, pairs, strict=True)]
            parts["loss_swaps"] = (errors[0] + errors[1]) / 2
            loss = loss + self.pairing * parts["loss_swaps"]
        if factors:
            # The images are those of the batch: a turned or mirrored face has another pose.
            z_of_both = [self.encoder(x, training=training)["z"] for x in images]
            errors = [keras.losses.huber(y, self.reader(z)) for y, z in zip(factors, z_of_both, strict=True)]
            parts["loss_factors"] = (errors[0] + errors[1]) / 2
            loss = loss + self.guidance * parts["loss_factors"]
        return loss, parts

    def _error(self, target, reconstruction, weights):
        """The error of reconstructions, `(batch,)`."""
        if self.border_weight < 1:
            focus = self._focus()
            weights = focus if weights is None else focus * weights
        error = losses.mean_absolute_error(target, reconstruction=reconstruction, weights=weights)
        similarity = losses.structural_similarity(target, reconstruction=reconstruction, weights=weights)
        return self.absolute_error * error + self.dissimilarity * (1 - similarity) / 2

    def _focus(self):
        """1 inside an ellipse in the middle, `border_weight` outside, a smooth edge between: `(1, H, W, 1)` float32."""
        rows, columns = (ops.linspace(-0.5, 0.5, side) for side in self.image_shape[:2])
        distance = ops.sqrt(ops.square(rows[:, None] / _ELLIPSE[0]) + ops.square(columns[None] / _ELLIPSE[1]))
        inside = ops.clip((_EDGE_START - distance) / _EDGE_WIDTH, 0.0, 1.0)
        return (self.border_weight + (1 - self.border_weight) * inside)[None, :, :, None]

    def align(
        self,
        images_a: ArrayLike,
        images_b: ArrayLike,
        *,
        factors_a: ArrayLike | None = None,
        factors_b: ArrayLike | None = None,
    ) -> None:
        """Maps each person's codes to the other's, by the optimal transport between the Gaussians that fit them.

            T(z) = m_t + C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2) (z - m_s)

        (Peyre & Cuturi 2019, eq. 2.40), see `codes.transport`. Both people should show the same variety of poses,
        expressions and light.

        With factors, T maps a code's deviation from the mean code of its factors, and the other person's mean code of
        the same factors is added; see `codes.transport_by_factors`. A swap then needs no factors: they are read from
        the code.

        Args:
            images_a: Training images of a, `(n, H, W, C)`, in [0, 1], n >= 2.
            images_b: Training images of b, likewise; their number may differ.
            factors_a: Factors of `images_a`, `(n, k)`, k >= 3, see `codes.shared_factors`: numbers that mean the same
                of both people. The first three, along which codes bend most, are yaw, pitch and roll. None: not known.
            factors_b: Factors of `images_b`, likewise.

        Raises:
            ZooError: Bad images or factors, or factors of one person only.
        """
        z_a, z_b = (self.encode(images).astype("float64") for images in (images_a, images_b))
        factors = codes.checked_factors((z_a, z_b), factors_a=factors_a, factors_b=factors_b)
        for layer, z, y in (
            (self.map_to_b, (z_a, z_b), factors),
            (self.map_to_a, (z_b, z_a), factors and factors[::-1]),
        ):
            if y is None:
                kernel, bias = codes.transport(*z)
                layer.set_weights([kernel, bias, *(np.zeros(weight.shape) for weight in layer.weights[2:])])
            else:
                layer.set_weights(codes.transport_by_factors(*z, *y))

    # === Use ===

    def endpoints(self) -> dict[str, keras.Model]:
        images = self.encoder.inputs[0]
        return {
            "encode": keras.Model(images, {"z": self.encoder(images)["z"]}, name="encode"),
            **{
                f"swap_to_{side}": keras.Model(images, {"images": self._swapped(images, side)}, name=f"swap_to_{side}")
                for side in _SIDES
            },
        }

    def encode(self, images: ArrayLike) -> np.ndarray:
        """The codes of faces of either person, `(n, H, W, C)` in [0, 1]: `(n, latent_dim)` float32."""
        return self.run_endpoint("encode", self.check_images(images))["z"]

    def swap(self, images: ArrayLike, *, to: str) -> np.ndarray:
        """Gives faces of one person the looks of the other.

        Args:
            images: Faces of one person, `(n, H, W, C)`, in [0, 1].
            to: The other person, "a" or "b".

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: Bad images, or `to` is neither.
        """
        return self.run_endpoint(f"swap_to_{_checked_side(to, 'to')}", self.check_images(images))["images"]

    def autoencode(self, images: ArrayLike, *, of: str) -> np.ndarray:
        """Passes faces of one person through the encoder and that person's own decoder.

        Args:
            images: Faces of one person, `(n, H, W, C)`, in [0, 1].
            of: The person, "a" or "b".

        Returns:
            `(n, H, W, C)` float32, in [0, 1].

        Raises:
            ZooError: Bad images, or `of` is neither.
        """
        images, side = self.check_images(images), _checked_side(of, "of")
        parts = [self._decoded(images[start : start + _BATCH], side) for start in range(0, len(images), _BATCH)]
        return engine.array(ops.concatenate(parts))

    def vital_outputs(
        self, images: np.ndarray, labels: np.ndarray | None = None
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        targets = {"a": images, "b": None}  # the images are of a
        return {f"decoder_{side}": (self.autoencode(images, of=side), targets[side]) for side in _SIDES}

    # === Pieces, on tensors ===

    def _decoded(self, images, side, training=False):
        decoder = self.decoder_a if side == "a" else self.decoder_b
        return decoder(self.encoder(images, training=training)["features"], training=training)

    def _swapped(self, images, to):
        decoder, layer = (self.decoder_a, self.map_to_a) if to == "a" else (self.decoder_b, self.map_to_b)
        return decoder(self.features(layer(self.encoder(images)["z"])))


def _checked_side(side, argument):
    if side not in _SIDES:
        raise ZooError(f"`{argument}` must be 'a' or 'b'. Received: {side!r}")
    return side
