"""The face swap: its loss by hand, its augmentation, and a small real swap that is scored against the truth."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import TINY_SWAP
from keras import ops

import keras_genzoo as gz
from keras_genzoo import cli, data, engine, evaluation, losses, presets, provenance, training, zoo
from keras_genzoo.data import bundled as bundled_files
from keras_genzoo.data import packed, rendered
from keras_genzoo.errors import MissingDataError, ZooError
from keras_genzoo.models.face_swap import warping
from keras_genzoo.models.face_swap.codes import shared_factors

ORIGINALS = Path(os.environ.get("KERAS_GENZOO_DATA") or Path(__file__).parents[2] / "shared" / "data").resolve()
RENDERED = ORIGINALS / "faces" / "faces_ab.npz"


def people(n, *, seed):
    """Two who do not exist, in the same n poses: a is a disc, b a ring, each wherever the pose puts it."""
    places = np.random.default_rng(seed).uniform(10, 18, size=(n, 2, 1, 1))
    rows, columns = np.mgrid[:28, :28]
    distance = np.hypot(rows - places[:, 0], columns - places[:, 1])
    a, b = distance < 6, (distance > 4) & (distance < 8)
    return tuple(np.where(shape, 0.9, 0.1).astype("float32")[..., None] for shape in (a, b))


@pytest.mark.nightly
def test_a_swap_is_learned_without_pairs(tiny):
    """Trained on unpaired poses, b's decoder draws b in a's pose: nearer to the truth than a is, or b's mean."""
    (a, _), (_, b) = people(1_500, seed=0), people(1_500, seed=1)
    model = tiny(
        "face_swap",
        learning_rate=1e-3,  # with 3e-3 the decoder of b stayed blank from two starts of six
        latent_dim=8,
        encoder={"name": "face_encoder", "filters": [8, 16], "channels": 16},
        decoder={"name": "face_decoder", "filters": [16]},
    )
    model.fit(a, b, batch_size=50, epochs=8, verbose=0)
    model.align(a, b)
    test_a, test_b = people(200, seed=2)
    for source, truth, to, own in ((test_a, test_b, "b", b), (test_b, test_a, "a", a)):
        error = np.mean((model.swap(source, to=to) - truth) ** 2)
        assert error < 0.5 * np.mean((source - truth) ** 2)
        assert error < 0.5 * np.mean((own.mean(0) - truth) ** 2)


def test_the_loss_is_that_of_the_docstring(tiny):
    a, b = people(6, seed=0)
    model = tiny("face_swap", absolute_error=2.0, dissimilarity=3.0, run_eagerly=True)
    logs = model.evaluate(a, b, batch_size=6, verbose=0, return_dict=True)
    by_hand = []
    for images, side in ((a, "a"), (b, "b")):
        r = model.autoencode(images, of=side)
        by_hand.append(2 * np.mean(np.abs(images - r)) + 3 * np.mean(1 - tf.image.ssim(images, r, 1.0)) / 2)
    assert logs["loss_a"] == pytest.approx(by_hand[0], rel=1e-5)
    assert logs["loss_b"] == pytest.approx(by_hand[1], rel=1e-5)
    assert logs["loss"] == pytest.approx(np.mean(by_hand), rel=1e-5)


@pytest.mark.nightly
def test_weights_say_where_to_look(tiny):
    """Where the weight is 0 an image may be anything; of a dataset of batches (x_a, x_b, (weights_a, weights_b))."""
    a, b = people(8, seed=0)
    weights = np.zeros_like(a)
    weights[:, 8:20, 8:20] = 1
    spoilt = a.copy()
    spoilt[:, :2] = 1  # beyond the reach of the window
    model = tiny("face_swap")

    def loss(images, weights):
        reconstruction = model.autoencode(a, of="a")
        arguments = {"reconstruction": reconstruction, "weights": weights}
        parts = (losses.mean_absolute_error(images, **arguments), losses.structural_similarity(images, **arguments))
        return np.array([ops.convert_to_numpy(part) for part in parts])

    np.testing.assert_array_equal(loss(a, weights), loss(spoilt, weights))
    assert np.all(loss(a, None) != loss(spoilt, None))
    np.testing.assert_allclose(loss(a, np.full_like(a, 3)), loss(a, None), rtol=1e-5)
    batches = tf.data.Dataset.from_tensor_slices((a, b, (weights, weights))).batch(4)
    logs = model.evaluate(batches, verbose=0, return_dict=True)
    error, similarity = loss(a, weights)
    assert logs["loss_a"] == pytest.approx(np.mean(error + (1 - similarity) / 2), rel=1e-4)
    assert np.isfinite(model.fit(batches, verbose=0).history["loss"]).all()


def test_aligned_codes_have_the_others_mean_and_covariance(tiny):
    """And a person who is the other, turned and moved in code, comes out where the other is."""
    a, b = people(600, seed=0)[0], people(600, seed=1)[1]
    model = tiny("face_swap", latent_dim=3)
    np.testing.assert_array_equal(model.map_to_a.get_weights()[0], np.eye(3))  # before, codes are left as they are
    model.align(a, b)
    codes = {"a": model.encode(a), "b": model.encode(b)}
    for source, to, layer in (("a", "b", model.map_to_b), ("b", "a", model.map_to_a)):
        mapped = np.asarray(layer(codes[source]))
        spread = np.abs(np.cov(codes[to].T)).max()
        np.testing.assert_allclose(mapped.mean(0), codes[to].mean(0), atol=1e-3 * np.sqrt(spread) + 1e-5)
        np.testing.assert_allclose(np.cov(mapped.T), np.cov(codes[to].T), atol=0.05 * spread)
    there_and_back = np.asarray(model.map_to_a(model.map_to_b(codes["a"])))
    np.testing.assert_allclose(there_and_back, codes["a"], atol=1e-2 * np.abs(codes["a"]).max())


def test_the_map_is_known_for_diagonal_gaussians():
    from keras_genzoo.models.face_swap.codes import transport

    rng = np.random.default_rng(0)
    source = rng.standard_normal((20_000, 2)) * [1.0, 2.0] + [1.0, -1.0]
    target = rng.standard_normal((20_000, 2)) * [3.0, 1.0] + [0.0, 5.0]
    kernel, bias = transport(source, target)
    np.testing.assert_allclose(kernel, np.diag([3.0, 0.5]), atol=0.05)
    np.testing.assert_allclose(np.mean(source, 0) @ kernel + bias, target.mean(0), atol=1e-9)


def test_a_map_by_factors_follows_curves_that_no_straight_map_can(tiny):
    """Codes that wind with the pose, of each person in another way: the factors say which belong together."""
    model = tiny("face_swap", latent_dim=6)

    def codes(n, seed, bend):
        rng = np.random.default_rng(seed)
        factors, rest = rng.uniform(-40, 40, size=(n, 4)), rng.standard_normal((n, 6))
        yaw, pitch, roll, smile = np.radians(factors).T
        curve = [3 * yaw, 3 * pitch, 3 * roll, 2 * np.cos(3 * yaw + bend), 4 * bend * yaw * pitch, 3 * bend * smile]
        return factors, np.stack(curve, axis=1) + 0.1 * rest

    unpaired = {"a": codes(1_500, 0, 0.2), "b": codes(1_500, 1, 1.2)}
    (_, test_a), (_, test_b) = codes(300, 2, 0.2), codes(300, 2, 1.2)
    model.encode = lambda images: unpaired[images][1]
    errors = []
    for k in (0, 3, 4):
        known = {f"factors_{side}": factors[:, :k] for side, (factors, _) in unpaired.items()} if k else {}
        model.align("a", "b", **known)
        errors.append(np.mean((np.asarray(model.map_to_b(test_a)) - test_b) ** 2))
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] == pytest.approx(errors[1], rel=0.3)  # a fourth follows no curve, and does no harm
    bent = model.map_to_b.get_weights()
    model.align("a", "b")  # and forgets the factors
    assert not any(np.any(weight) for weight in model.map_to_b.get_weights()[2:])
    assert np.any(bent[4])


def test_of_few_images_factors_do_no_harm(tiny):
    """Codes of many numbers could tell factors of sixty images by heart: noise, which says nothing of others."""
    model = tiny("face_swap", latent_dim=40)
    codes = {side: np.random.default_rng(i).standard_normal((60, 40)) for i, side in enumerate("ab")}
    new = np.random.default_rng(2).standard_normal((300, 40)).astype("float32")
    model.encode = lambda images: codes[images]
    moved = []
    for known in ({}, {f"factors_{side}": np.random.default_rng(ord(side)).standard_normal((60, 5)) for side in "ab"}):
        model.align("a", "b", **known)
        moved.append(np.mean((np.asarray(model.map_to_b(new)) - new) ** 2))
    assert moved[1] < 1.2 * moved[0]


def test_a_fourth_factor_says_what_the_spread_of_codes_cannot(tiny):
    """Two codes that are alike but for their sign in one person: no Gaussian knows, the factor does."""
    model = tiny("face_swap", latent_dim=4)

    def codes(n, seed, sign):
        factors = np.random.default_rng(seed).standard_normal((n, 4))
        return factors, factors * [1, 1, 1, sign] + 0.01 * np.random.default_rng(seed + 9).standard_normal((n, 4))

    unpaired = {"a": codes(800, 0, 1), "b": codes(800, 1, -1)}
    (_, test_a), (_, test_b) = codes(100, 2, 1), codes(100, 2, -1)
    model.encode = lambda images: unpaired[images][1]
    for k, right in ((3, False), (4, True)):
        model.align("a", "b", **{f"factors_{side}": factors[:, :k] for side, (factors, _) in unpaired.items()})
        error = np.mean((np.asarray(model.map_to_b(test_a)) - test_b)[:, 3] ** 2)
        assert (error < 0.1) == right  # a wrong sign: 4


@pytest.mark.parametrize(
    ("factors", "complaint"),
    [
        ({"factors_a": np.zeros((8, 3))}, r"`factors_b` must be \(8, 3 or more\) finite numbers. Received: None"),
        ({"factors_a": np.zeros((8, 2)), "factors_b": np.zeros((8, 3))}, r"`factors_a` must be .*shape \(8, 2\)"),
        ({"factors_a": np.zeros((8, 3)), "factors_b": np.full((8, 3), np.nan)}, r"`factors_b` must be .*finite"),
        ({"factors_a": np.zeros((8, 3)), "factors_b": np.zeros((8, 4))}, r"the same factors. Received: \[3, 4\]"),
    ],
)
def test_factors_that_do_not_belong_to_the_images_are_refused(tiny, factors, complaint):
    model = tiny("face_swap")
    with pytest.raises(ZooError, match=complaint):
        model.align(*people(8, seed=0), **factors)


class TestSharedFactors:
    @staticmethod
    def landmarks(n, *, seed, width, depth):
        """Nine points of a head that turns and opens its mouth, of one person's width and depth."""
        rng = np.random.default_rng(seed)
        yaw, pitch, roll, mouth = rng.uniform([-0.6, -0.3, -0.1, 0], [0.6, 0.3, 0.1, 1], size=(n, 4)).T
        x, y = (part.ravel() for part in np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]))
        points = np.stack([width * x, y, depth * (1 - x**2)], axis=1)[None] + np.zeros((n, 1, 1))
        points[:, 7, 1] += 0.3 * mouth  # the middle of the lowest row
        turned = []
        for about, (i, j) in ((yaw, (0, 2)), (pitch, (1, 2)), (roll, (0, 1))):
            cos, sin = np.cos(about)[:, None], np.sin(about)[:, None]
            points[..., i], points[..., j] = (
                cos * points[..., i] - sin * points[..., j],
                sin * points[..., i] + cos * points[..., j],
            )
            turned.append(about)
        return 30 + 12 * points[..., :2], np.stack(turned, axis=1), mouth

    def test_a_face_of_either_person_has_the_same_numbers(self):
        """Whose heads differ, and whose pictures are of other poses: poses and the mouth are read alike."""
        people = [self.landmarks(1_200, seed=i, width=w, depth=d) for i, (w, d) in enumerate([(1.0, 0.5), (0.8, 0.9)])]
        landmarks, poses, mouths = zip(*people, strict=True)
        factors = shared_factors(landmarks, poses, n_factors=4)
        both = np.concatenate(factors)
        np.testing.assert_allclose(both.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(both.std(0), 1, rtol=1e-4)
        known = np.concatenate(poses)
        np.testing.assert_allclose(both[:, :3], (known - known.mean(0)) / known.std(0), atol=1e-4)
        slopes = []
        for of, mouth in zip(factors, mouths, strict=True):
            assert abs(np.corrcoef(of[:, 3], mouth)[0, 1]) > 0.97
            slopes.append(np.polyfit(mouth, of[:, 3], 1))
        np.testing.assert_allclose(*slopes, atol=0.2)

    def test_without_poses_the_landmarks_tell_them(self):
        """The yaw wholly, which moves points most; of pitch and roll, whose moves are small, the most."""
        people = [self.landmarks(1_200, seed=i, width=w, depth=d) for i, (w, d) in enumerate([(1.0, 0.5), (0.8, 0.9)])]
        landmarks, poses, _ = zip(*people, strict=True)
        factors = shared_factors(landmarks, n_factors=3)
        for of, known in zip(factors, poses, strict=True):
            kernel = np.linalg.lstsq(np.c_[of, np.ones(len(of))], known, rcond=None)[0]
            left = known - np.c_[of, np.ones(len(of))] @ kernel
            assert np.all(left.var(0) < np.array([0.01, 0.3, 0.3]) * known.var(0))

    def test_a_longer_nose_does_not_turn_the_head_further(self):
        """Where poses are not known, and its point moves by half as much again."""
        people = [self.landmarks(1_200, seed=i, width=w, depth=d) for i, (w, d) in enumerate([(1.0, 0.6), (1.0, 0.9)])]
        landmarks, poses, _ = zip(*people, strict=True)
        noses = [of[:, 3:6] for of in landmarks]  # of the middle row, which turns about its middle
        noses = [of - of[:, [0]] for of in noses]
        slopes = [
            np.polyfit(of[:, 0], known[:, 0], 1)[0]
            for of, known in zip(shared_factors(noses, n_factors=3), poses, strict=True)
        ]
        assert slopes[0] == pytest.approx(slopes[1], rel=0.1)

    def test_a_hundred_images_are_enough_to_tell_the_mouth(self):
        """The mean face of every pose must not learn the few faces by heart."""
        landmarks, poses, mouth = self.landmarks(100, seed=0, width=1.0, depth=0.5)
        factors, _ = shared_factors([landmarks] * 2, [poses] * 2, n_factors=4)
        assert abs(np.corrcoef(factors[:, 3], mouth)[0, 1]) > 0.8

    def test_signs_do_not_depend_on_the_order_of_images(self):
        """Or a training that goes on elsewhere would read a smile where it learned to read its opposite."""
        landmarks, poses, _ = self.landmarks(300, seed=0, width=1.0, depth=0.5)
        first = None
        for seed in range(8):
            order = np.random.default_rng(seed).permutation(300)
            factors, _ = shared_factors([landmarks[order]] * 2, [poses[order]] * 2, n_factors=9)
            found = factors[np.argsort(order)]
            first = found if first is None else first
            assert np.all(np.sum(found * first, axis=0) > 0)

    @pytest.mark.parametrize(
        ("n_points", "n_factors", "complaint"),
        [
            (9, 2, "`n_factors` must be 3 or more. Received: 2"),
            (9, 22, r"asks for 19 components of landmarks that have \d+"),
            (1, 3, "asks for 3 components of landmarks that have 2"),
        ],
    )
    def test_what_landmarks_cannot_tell_is_refused(self, n_points, n_factors, complaint):
        landmarks, poses, _ = self.landmarks(40, seed=0, width=1.0, depth=0.5)
        poses = [poses] * 2 if n_points > 1 else None
        with pytest.raises(ZooError, match=complaint):
            shared_factors([landmarks[:, :n_points]] * 2, poses, n_factors=n_factors)

    def test_people_of_other_landmarks_are_refused(self):
        landmarks, poses, _ = self.landmarks(40, seed=0, width=1.0, depth=0.5)
        with pytest.raises(ZooError, match=r"the same landmarks. Received: \(9, 5\)"):
            shared_factors([landmarks, landmarks[:, :5]], [poses] * 2, n_factors=4)


def test_the_codes_are_made_to_tell_the_factors(tiny):
    """Where a batch brings them; the loss is the Huber error of a linear reading, of images as they are."""
    a, b = people(64, seed=0)
    known = np.random.default_rng(0).standard_normal((2, 64, 3)).astype("float32")
    batch = ({"images": a, "factors": known[0]}, {"images": b, "factors": known[1]})

    def fitted(x, y, **options):
        keras.utils.set_random_seed(0)
        model = tiny("face_swap", fresh=True, run_eagerly=True, seed=0, **options)
        before = model.reader.get_weights()
        logs = model.fit(x, y, batch_size=64, verbose=0).history
        moved = any(np.any(x != y) for x, y in zip(before, model.reader.get_weights(), strict=True))
        return model, logs["loss"][0], moved

    model, loss, moved = fitted(*batch, guidance=0.5)
    _, plain, idle = fitted(a, b, guidance=0.5)
    assert moved
    assert not idle
    keras.utils.set_random_seed(0)
    fresh = tiny("face_swap", fresh=True, seed=0)
    error = np.abs(np.stack([np.asarray(fresh.reader(fresh.encode(x))) for x in (a, b)]) - known)
    huber = np.where(error < 1, error**2 / 2, error - 0.5).mean()
    assert loss - plain == pytest.approx(0.5 * huber, rel=1e-3)
    read, unread = (model.evaluate(*of, verbose=0, return_dict=True) for of in (batch, (a, b)))
    assert read["loss_factors"] > 0 == unread["loss_factors"]
    assert read["loss"] == pytest.approx(unread["loss"] + 0.5 * read["loss_factors"], rel=1e-5)
    assert "reader" not in {layer.name for endpoint in model.endpoints().values() for layer in endpoint.layers}


def test_factors_that_fit_cannot_use_are_refused(tiny):
    a, b = people(4, seed=0)
    reads, blind = tiny("face_swap"), tiny("face_swap", n_factors=0)

    def with_factors(shape=(4, 3), images=b, fill=0.0):
        return {"images": images, "factors": np.full(shape, fill, "float32")}

    for model, x, y, complaint in (
        (reads, a, with_factors(), "are of both people, or of none. Received: those of one"),
        (blind, with_factors(), with_factors(), r"`x` has factors; .*Received: n_factors=0"),
        (reads, {"image": a}, b, r"`x` is a dict of 'images' and 'factors'. Received: the keys \['image'\]"),
        (reads, with_factors((4, 1)), with_factors(), r"`factors` of `x` must have shape \(n, 3\). Received: \(4, 1\)"),
        (reads, with_factors(), with_factors(fill=np.nan), "`factors` of `y` must be finite"),
        (reads, with_factors(), with_factors(images=255 * b), r"`y` must be in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=complaint):
            model.fit(x, y, verbose=0)
    with pytest.raises(ZooError, match=r"must be in \[0, 1\]"):
        reads.fit(tf.data.Dataset.from_tensors((with_factors(), with_factors(images=255 * b))), verbose=0)
    with pytest.raises(ZooError, match=r"must have shape \(n, 3\). Received: \(4, 2\)"):
        reads.fit(tf.data.Dataset.from_tensors((with_factors(), with_factors((4, 2)))), verbose=0)


def test_the_last_steps_are_not_warped(tiny, monkeypatch):
    a, b = people(8, seed=0)
    strengths = []
    plain = warping.warped_pair

    def recorded(x, *, strength, **options):
        strengths.append(float(strength))
        return plain(x, strength=strength, **options)

    monkeypatch.setattr(warping, "warped_pair", recorded)
    model = tiny("face_swap", warped_steps=3, compiled=False)
    model.compile("adam", run_eagerly=True)
    model.fit(a, b, batch_size=2, epochs=2, verbose=0)  # 8 steps, two images of people each
    assert strengths[::2] == strengths[1::2] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_both_people_are_asked_for_and_looked_at(tiny):
    a, b = people(4, seed=0)
    model = tiny("face_swap")
    with pytest.raises(ValueError, match="needs images of both people"):
        model.fit(a, verbose=0)
    for use in (model.fit, model.evaluate):
        with pytest.raises(ZooError, match=r"`y` must be in \[0, 1\]"):
            use(a, 255 * b, verbose=0)
    with pytest.raises(ZooError, match=r"must be in \[0, 1\]"):
        model.fit(tf.data.Dataset.from_tensors((a, 255 * b)), verbose=0)
    with pytest.raises(ZooError, match=r"`to` must be 'a' or 'b'. Received: 'c'"):
        model.swap(a, to="c")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"warp": -0.1}, "`warp` must be >= 0. Received: -0.1"),
        ({"n_factors": 2}, "`n_factors` must be 0, or 3 or more. Received: 2"),
        ({"n_factors": 3.5}, "`n_factors` must be an integer. Received: 3.5"),
        ({"absolute_error": 0.0, "dissimilarity": 0.0}, "must not both be 0"),
        ({"decoder": {"name": "face_decoder", "filters": [4, 4]}}, r"bring \(14, 14\) to \(56, 56\); the images have"),
    ],
)
def test_bad_arguments_are_named(options, complaint, tiny):
    with pytest.raises(ValueError, match=complaint):
        tiny("face_swap", compiled=False, **options)


def test_the_two_decoders_are_two(tiny):
    """Fresh, trained, and saved: nothing but the encoder is shared."""
    a, b = people(32, seed=0)
    model = tiny("face_swap")
    assert not {id(v) for v in model.decoder_a.weights} & {id(v) for v in model.decoder_b.weights}
    before = model.decoder_b.get_weights()
    model.compile("adam", run_eagerly=True)
    model.absolute_error, model.dissimilarity = 1.0, 0.0
    model.fit(tf.data.Dataset.from_tensors((a, b, (np.ones_like(a), np.ones_like(b)))), verbose=0)
    assert any(np.any(x != y) for x, y in zip(before, model.decoder_b.get_weights(), strict=True))
    assert np.any(model.swap(a, to="a") != model.swap(a, to="b"))
    np.testing.assert_allclose(model.autoencode(a, of="b"), model.swap(a, to="b"), atol=1e-6)  # not aligned yet
    model.run_eagerly = False  # the same graph to the bit
    np.testing.assert_array_equal(model.predict(a, verbose=0), model.swap(a, to="b"))


class TestWarping:
    def test_the_target_is_moved_and_tinted_and_the_seen_warped_besides(self):
        a = ops.convert_to_tensor(people(16, seed=0)[0])
        seen, target, none = warping.warped_pair(a, warp=0.05, tint=0.1, seed=keras.random.SeedGenerator(0))
        assert none is None
        for images in (seen, target):
            assert images.shape == a.shape
            assert float(ops.min(images)) >= 0
            assert float(ops.max(images)) <= 1
        assert np.all(np.abs(seen - target).max(axis=(1, 2, 3)) > 0.01)
        assert np.all(np.abs(target - a).max(axis=(1, 2, 3)) > 0.01)
        same, target, _ = warping.warped_pair(a, warp=0.0, tint=0.1, seed=keras.random.SeedGenerator(0))
        np.testing.assert_allclose(same, target, atol=1e-6)

    def test_half_of_the_images_are_mirrored_and_none_goes_far(self):
        """Of a bright left half, the brighter half tells; and the turn is within 10 degrees, the shift within 5 %."""
        left = np.zeros((400, 32, 32, 1), "float32")
        left[:, :, :16] = 0.8
        _, target, _ = warping.warped_pair(left, warp=0.0, tint=0.1, seed=keras.random.SeedGenerator(1))
        target = ops.convert_to_numpy(target)
        kept = target[:, :, :16].mean((1, 2, 3)) > target[:, :, 16:].mean((1, 2, 3))
        assert 160 < kept.sum() < 240  # 200 +- 4 standard deviations
        # The seam stays in the middle: at 16 by no more than the shift and what 10 degrees make of half the height.
        dark, bright = target.min((1, 2, 3)), target.max((1, 2, 3))
        share = (target.mean((1, 2, 3)) - dark) / (bright - dark)
        assert np.all(np.abs(share - 0.5) < 0.08)

    def test_without_strength_images_are_as_they_were_but_for_flip_and_shift(self):
        """A shift is of whole pixels, at most 5 % of the sides: nothing is blurred. Beyond the border pixels go on."""
        a = np.random.default_rng(0).random((64, 28, 28, 1), "float32")
        options = {"warp": 0.05, "tint": 0.1, "strength": 0.0, "seed": keras.random.SeedGenerator(0)}
        seen, target, _ = warping.warped_pair(a, **options)
        np.testing.assert_array_equal(seen, target)
        found = []
        for image, x in zip(target.numpy(), a, strict=True):
            edged = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
            for mirror in (False, True):
                of = edged[:, ::-1] if mirror else edged
                for down, right in np.ndindex(3, 3):
                    if np.allclose(image, of[down : down + 28, right : right + 28], atol=1e-4):
                        found.append((mirror, down, right))
        assert len(found) == len(a)  # each exactly one
        assert {mirror for mirror, *_ in found} == {False, True}
        assert len(set(found)) > 12  # of 2 x 3 x 3

    def test_weights_move_with_the_target(self):
        image = np.random.default_rng(0).random((3, 24, 24, 1)).astype("float32")
        _, target, weights = warping.warped_pair(
            image, warp=0.1, tint=0.1, seed=keras.random.SeedGenerator(2), weights=image
        )
        for x, w in zip(np.array(target), np.array(weights), strict=True):  # up to brightness and contrast
            assert np.corrcoef(x.ravel(), w.ravel())[0, 1] > 0.98


class TestStructuralSimilarity:
    def test_is_tensorflows(self):
        rng = np.random.default_rng(0)
        x = rng.random((4, 20, 33, 3)).astype("float32")
        r = np.clip(x + 0.2 * rng.standard_normal(x.shape), 0, 1).astype("float32")
        np.testing.assert_allclose(
            losses.structural_similarity(x, reconstruction=r), tf.image.ssim(x, r, 1.0), rtol=1e-4
        )

    def test_is_the_same_without_products_of_matrices(self, monkeypatch):
        """As a GPU takes it, whose products have the 10 bits of TensorFloat-32: there it is not products."""
        rng = np.random.default_rng(2)
        x, r = rng.random((2, 3, 17, 22, 3)).astype("float32")
        expected = losses.structural_similarity(x, reconstruction=r)
        monkeypatch.setattr(engine, "has_gpu", lambda: True)
        monkeypatch.delattr(losses.ops, "einsum")
        np.testing.assert_allclose(losses.structural_similarity(x, reconstruction=r), expected, rtol=1e-5)

    def test_is_one_for_the_same_and_symmetric(self):
        rng = np.random.default_rng(1)
        x, r = rng.random((2, 3, 16, 16, 1)).astype("float32")
        np.testing.assert_allclose(losses.structural_similarity(x, reconstruction=x), 1, atol=1e-5)
        np.testing.assert_allclose(
            losses.structural_similarity(x, reconstruction=r),
            losses.structural_similarity(r, reconstruction=x),
            rtol=1e-5,
        )

    def test_of_two_constants_is_the_luminance_term(self):
        x, r = np.full((1, 12, 12, 1), 0.2, "float32"), np.full((1, 12, 12, 1), 0.6, "float32")
        expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
        np.testing.assert_allclose(losses.structural_similarity(x, reconstruction=r), expected, rtol=1e-3)

    def test_small_images_are_refused(self):
        x = np.zeros((1, 10, 28, 1), "float32")
        with pytest.raises(ValueError, match=r"sides of 11 pixels or more. Received: 10"):
            losses.structural_similarity(x, reconstruction=x)


# === The bundled pairs ===


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.delenv("KERAS_GENZOO_DATA", raising=False)


def test_the_bundled_pairs_are_the_first_of_the_test_split(no_data):
    with pytest.warns(UserWarning, match=r"are the 20 bundled test pairs, not all 200; looked for DIR/faces"):
        bundled = [data.arrays(name, "test")[0] for name in rendered.PEOPLE]
    marks = [rendered.marks(name, "test", data_dir=None, image_shape=(96, 96, 3)) for name in rendered.PEOPLE]
    for images, (points, pose) in zip(bundled, marks, strict=True):
        assert (images.shape, images.dtype) == ((20, 96, 96, 3), "uint8")
        assert (points.shape, pose.shape) == ((20, 68, 2), (20, 3))
        assert points.min() > 0
        assert points.max() < 95
    np.testing.assert_array_equal(marks[0][1], marks[1][1])  # pairs
    folder = bundled_files.BUNDLED / "rendered_faces"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1e6
    assert "ICT-FaceKit" in (folder / "README.md").read_text()
    assert (folder / "LICENSE-ICT-FaceKit").read_text().startswith("MIT License")
    if RENDERED.is_file():
        for images, (points, _), name in zip(bundled, marks, rendered.PEOPLE, strict=True):
            np.testing.assert_array_equal(images, data.arrays(name, "test", data_dir=RENDERED.parent.parent)[0][:20])
            source = {"data_dir": str(RENDERED.parent.parent), "image_shape": (96, 96, 3)}
            np.testing.assert_array_equal(points, rendered.marks(name, "test", **source)[0][:20])


@pytest.mark.parametrize("where", [None, "an empty folder"])
def test_nothing_is_trained_on_the_bundled_pairs(where, no_data, tmp_path):
    place = tmp_path if where else None
    for take in (
        lambda: data.arrays("rendered_faces_a", "train", data_dir=place),
        lambda: data.load("rendered_faces_b", "train", data_dir=place),
        lambda: data.stream(list(rendered.PEOPLE), batch_size=4, data_dir=place),
        lambda: training.train("faceswap_rendered", tmp_path / "out", data_dir=place, verbose=0),
    ):
        with pytest.raises(MissingDataError, match=r"put faces_ab.npz there.* The package brings 20 test pairs alone"):
            take()
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundled_file_is_named(no_data, tmp_path, monkeypatch):
    packed.bundled.cache_clear()
    (tmp_path / "x.npz").write_bytes(b"PK")
    for file, complaint in (("x.npz", "x.npz is damaged: its SHA-256"), ("y.npz", "y.npz is missing from the inst")):
        monkeypatch.setattr(rendered, "_BUNDLED", tmp_path / file)
        with pytest.raises(ZooError, match=complaint), pytest.warns(UserWarning, match="bundled"):
            data.arrays("rendered_faces_a", "test")


@pytest.fixture
def swap_preset(tmp_path):
    """A tiny preset of the rendered people, whose numbers were measured on the whole test split."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "preset.yaml").write_text(TINY_SWAP.format(side=32, metric="swap_psnr"))
    (tmp_path / "mine" / "metrics.json").write_text("of the whole")
    return zoo.load(tmp_path / "mine", weights=None)


@pytest.mark.filterwarnings("ignore:The rendered faces are")
@pytest.mark.parametrize("n_images", [None, 7])
def test_the_bundled_pairs_are_measured_under_their_name_and_never_written(n_images, no_data, swap_preset):
    images = {side: data.to_unit(zoo.arrays(swap_preset, "test", name=f"rendered_faces_{side}")[0]) for side in "ab"}
    swap_preset.swap = lambda x, to: images[to][: len(x)] + np.float32(0.01)
    rows = evaluation.evaluate(swap_preset, n_images=n_images, verbose=False)
    assert [row["metric"] for row in rows] == [
        "swap_psnr",
        *(f"{metric}_to_{to}{suffix}" for to in "ba" for suffix in ("", "_of_source") for metric in ("psnr", "ssim")),
    ]
    n = n_images or 20
    for row in rows:
        assert row["n"] == n
        assert row["split"] == "bundled part of test"
        assert row["protocol"].endswith(f"; over {n} bundled pairs")
    assert {row["metric"]: row["value"] for row in rows}["psnr_to_b"] == pytest.approx(40, abs=0.01)
    with pytest.raises(ZooError, match=r"mine was measured on the bundled part of rendered_faces_a alone"):
        evaluation.write(swap_preset.preset, rows)
    assert (swap_preset.preset.folder / "metrics.json").read_text() == "of the whole"


@pytest.mark.filterwarnings("ignore:The rendered faces are")
def test_a_fresh_clone_draws_measures_and_does_not_overwrite(no_data, tmp_path, capsys, monkeypatch):
    """`faceswap_rendered` by its commands, without a folder of data sets."""
    metrics = presets.find("faceswap_rendered").folder / "metrics.json"
    before = metrics.read_bytes()
    assert cli.main(["plot", "faceswap_rendered", "--out", str(tmp_path / "swaps.png")]) == 0
    assert provenance.read(tmp_path / "swaps.png")["digital_source_type"]
    capsys.readouterr()
    assert cli.main(["evaluate", "faceswap_rendered", "--json", "--n-images", "8"]) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["swap_psnr"]["value"] > 30
    assert rows["psnr_to_b_of_source"]["value"] < 12
    assert cli.main(["evaluate", "faceswap_rendered", "--write", "--n-images", "2"]) == 2
    assert "does not replace the numbers of the whole" in capsys.readouterr().err
    assert metrics.read_bytes() == before


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:The rendered faces are")
def test_a_fresh_clone_exports_the_swap(no_data, tmp_path, capsys):
    arguments = ["export", "faceswap_rendered", "--format", "litert", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    assert list((tmp_path / "out").glob("*.tflite"))
    assert cli.main([*arguments, "--quantize", "int8"]) == 0
    assert cli.main([*arguments, "--quantize", "w8a8"]) == 2  # its ranges come from training images
    assert "The package brings 20 test pairs alone" in capsys.readouterr().err


# === Pairs ===


def _styles(tmp_path, **model):
    """A tiny preset of two styles of emoji."""
    text = """\
family: face_swap
description: tiny
data: {name: "emoji:noto", ground: white}
model:
  image_shape: [32, 32, 3]
  latent_dim: 16
  encoder: {name: face_encoder, filters: [8, 8], channels: 8}
  decoder: {name: face_decoder, filters: [8], leash: 0.01}
training:
  epochs: 1
  batch_size: 64
  optimizers: {optimizer: {name: adam, learning_rate: 1e-3}}
evaluation: {metric: retrieval_to_b}
face_swap: {other: "emoji:twemoji"}
"""
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "preset.yaml").write_text(text, encoding="utf-8")
    return presets.updated(presets.find(tmp_path / "styles"), {f"model.{key}": value for key, value in model.items()})


def test_swaps_of_pairs_are_in_the_loss():
    """The error of the swaps against the other's image; without pairs nothing of it."""
    x_a, x_b = people(12, seed=0)
    options = {"image_shape": x_a.shape[1:], "latent_dim": 8, "seed": 0,
               "encoder": {"name": "face_encoder", "filters": [8, 8], "channels": 4},
               "decoder": {"name": "face_decoder", "filters": [4]}}  # fmt: skip
    paired, plain = gz.FaceSwap(**options, pairing=0.5), gz.FaceSwap(**options)
    for model in (paired, plain):
        model.compile("adam")
    plain.set_weights(paired.get_weights())
    told = paired.evaluate(x_a, x_b, verbose=0, return_dict=True)
    alone = plain.evaluate(x_a, x_b, verbose=0, return_dict=True)
    assert "loss_swaps" not in alone
    errors = []
    for images, side, truth in ((x_a, "b", x_b), (x_b, "a", x_a)):
        swap = ops.convert_to_tensor(paired.autoencode(images, of=side))
        similarity = losses.structural_similarity(truth, reconstruction=swap)
        errors.append(np.abs(truth - swap).mean() + float(ops.mean(1 - similarity)) / 2)
    assert told["loss_swaps"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert told["loss"] == pytest.approx(alone["loss"] + 0.5 * told["loss_swaps"], rel=1e-4)


def test_the_two_of_a_pair_are_moved_alike():
    """Equal images of both stay equal; the weights of pixels move along."""
    x = ops.convert_to_tensor(people(4, seed=0)[0])
    options = {"warp": 0.05, "tint": 0.0, "strength": 1.0, "seed": keras.random.SeedGenerator(0)}
    weights = x[..., :1]
    first, second = gz.FaceSwap._warped_alike((x, x), (None, weights), options)
    assert first[2] is None
    for one, other in zip(first[:2], second[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(np.asarray(first[1]) - np.asarray(x)).max() > 0.01
    np.testing.assert_allclose(second[2], second[1][..., :1], atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_styles_are_trained_in_pairs_and_scored_by_the_true_drawing(tmp_path):
    """Rows of both sets come together; the source itself finds its emoji as often as it was seen to."""
    preset = _styles(tmp_path, pairing=1.0)
    _, batches, _ = training.prepare(preset)
    noto, twemoji = (data.to_unit(data.arrays(f"emoji:{style}", "train", image_shape=(32, 32, 3))[0])
                     for style in ("noto", "twemoji"))  # fmt: skip
    number = {image.tobytes(): i for i, image in enumerate(noto)}
    x_a, x_b = next(iter(batches.as_numpy_iterator()))
    np.testing.assert_array_equal(x_b, [twemoji[number[image.tobytes()]] for image in x_a])
    assert len({image.tobytes() for image in x_a}) > 60  # in no order

    model = gz.train(preset, tmp_path / "out", verbose=0)
    np.testing.assert_array_equal(model.map_to_a.kernel, np.eye(16))  # not aligned
    rows = {row["metric"]: row["value"] for row in gz.evaluate(model, verbose=False)}
    assert 0.3 < rows["retrieval_to_b_of_source"] < 0.6
    assert 11 < rows["psnr_to_b_of_source"] < 13
    assert {"swap_psnr", "retrieval_to_a", "psnr_to_a", "retrieval_to_b"} < set(rows)


def test_pairs_are_of_as_many_images(tmp_path):
    with pytest.raises(ZooError, match=r"Pairs are of as many images: emoji:noto has 1642, and .* has 3284"):
        data.stream(("emoji:noto", "emoji:noto+twemoji"), batch_size=8, paired=True)
