"""Measures of a face swap for `evaluate`: swaps against the truth, identity, landmarks, poses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_genzoo import data, evaluation, losses, metrics, zoo
from keras_genzoo.data import emoji, rendered
from keras_genzoo.evaluation import Test
from keras_genzoo.progress import working
from keras_genzoo.typing import Shape

_LEAST_DEVIATION = 1e-6  # least deviation of intensities, a divisor; an image of one grey has 0
_RIDGE = 0.01  # addition to the diagonal of a kernel matrix, which is 1
_N_LANDMARKS = 68  # in iBUG order
_JAW, _BROWS = slice(0, 17), slice(17, 27)  # landmarks around the face: from ear to ear, and back from left to right
_N_ANGLES = 3  # yaw, pitch, roll


def swaps(model: Any, test: Test) -> list[dict[str, Any]]:
    """Distance of a swap to the truth, where two people have the same poses, beside ways that need no model.

    Args:
        model: A `FaceSwap` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json. Where the people have no common poses, rows of each one's own decoder. Of the bundled
        pairs, rows that need no training images.
    """
    names = test.preset.data.name, test.preset.section.other
    if all(name.startswith(emoji.PREFIX) for name in names):
        return _styles(model, test, names)
    if set(names) - set(rendered.PEOPLE):
        return _own_faces(model, test, names)
    if test.split == evaluation.BUNDLED_PART:
        return _swaps_of_bundled(model, test, names)
    person_a, person_b = (_person(name, model, test) for name in names)
    with working("fitting a classifier of the two people", verbose=test.verbose):
        images = [person_a.train, person_b.train]
        sides = np.repeat([[-1.0], [1.0]], [len(faces) for faces in images], axis=0)
        classify = ridge_of_faces(np.concatenate(images), sides)
    rows = _swaps_to("b", model, test, person_a.test, person_b, classify)
    rows += _swaps_to("a", model, test, person_b.test, person_a, classify)
    return [_headline(test, rows), *rows]


def _headline(test, rows, *, over=", over the face"):
    """The row of both directions."""
    values = [row["value"] for row in rows if row["metric"] in ("psnr_to_a", "psnr_to_b")]
    return test.row("swap_psnr", float(np.mean(values)), "dB", f"mean of both directions{over}")


def _swaps_of_bundled(model, test, names):
    """The rows of the bundled pairs, whose number they say: swaps and their sources against the truth."""
    faces = [data.to_unit(zoo.arrays(model, "test", name=name, data_dir=test.data_dir)[0]) for name in names]
    faces_a, faces_b = (images[: len(test.pixels)] for images in faces)
    rows = []
    for to, name, source, truth in (("b", names[1], faces_a, faces_b), ("a", names[0], faces_b, faces_a)):
        marks_source = {"data_dir": data.data_directory(test.data_dir), "image_shape": model.image_shape}
        points = rendered.marks(name, "test", **marks_source)[0][: len(truth)]
        ways = {"": ("the swap", model.swap(source, to=to)), "_of_source": ("the source itself", source)}
        rows += _distances(test, to, ways, truth, face_region(points, model.image_shape))
    said = f"over {len(faces_a)} bundled pairs"
    return [{**row, "protocol": f"{row['protocol']}; {said}"} for row in (_headline(test, rows), *rows)]


def _distances(test, to, ways, truth, region):
    """PSNR and SSIM over the face, `(n, H, W, 1)`, of `ways`: suffix of the metric -> `(name, images)`."""
    rows = []
    for suffix, (way, images) in ways.items():
        protocol = f"{way} against {to} in the same pose, expression and light; over the face, jaw to brows"
        psnr = metrics.psnr(truth, images, weights=region).mean()
        ssim = losses.structural_similarity(truth, reconstruction=images.astype("float32"), weights=region)
        rows.append(test.row(f"psnr_to_{to}{suffix}", psnr, "dB", protocol))
        rows.append(test.row(f"ssim_to_{to}{suffix}", float(ops.mean(ssim)), "", protocol))
    return rows


class _Person(NamedTuple):
    """Faces of one person and their marks.

    Attributes:
        test: Test images, `(n, H, W, C)` float32 in [0, 1].
        train: Training images, likewise.
        landmarks: Landmarks of the test images, `(n, 68, 2)`, x and y in pixels.
        pose: Yaw, pitch and roll of the test images, `(n, 3)`, in degrees.
        train_marks: Landmarks and pose of the training images, `(n, 136 + 3)`.
    """

    test: np.ndarray
    train: np.ndarray
    landmarks: np.ndarray
    pose: np.ndarray
    train_marks: np.ndarray


def _person(name, model, test):
    """The `_Person` of a data set of the rendered people."""
    n, source = len(test.pixels), {"data_dir": test.data_dir, "image_shape": model.image_shape}
    marks_source = {"data_dir": data.data_directory(test.data_dir), "image_shape": model.image_shape}
    points, pose = rendered.marks(name, "test", **marks_source)
    train_points, train_pose = rendered.marks(name, "train", **marks_source)
    return _Person(
        test=data.to_unit(data.arrays(name, "test", **source)[0][:n]),
        train=data.to_unit(data.arrays(name, "train", **source)[0]),
        landmarks=points[:n],
        pose=pose[:n],
        train_marks=np.concatenate([train_points.reshape(len(train_points), -1), train_pose], axis=1),
    )


def _swaps_to(to, model, test, source, person, classify):
    """The rows of one direction; `classify` gives -1 for a, 1 for b."""
    truth = person.test
    region = face_region(person.landmarks, model.image_shape)
    with working(f"learning the poses of {to}", verbose=test.verbose):
        predict_marks = ridge_of_faces(person.train, person.train_marks)
    swap = model.swap(source, to=to)
    recoloured = "mean and deviation of each channel as of"
    ways = {
        "": ("the swap", swap),
        "_of_source": ("the source itself", source),
        "_of_mean": (f"the mean of {to}'s training images", np.broadcast_to(person.train.mean(0), truth.shape)),
        "_of_colour": (f"the source, {recoloured} {to}'s training images", _recoloured(source, person.train)),
    }
    rows = _distances(test, to, ways, truth, region)
    method = "by kernel ridge regression on the training images, blind to colour"
    for suffix, images, kind in (("", swap, "swaps"), ("_of_truth", truth, "true images")):
        marks = predict_marks(images)
        points, angles = marks[:, :-_N_ANGLES].reshape(person.landmarks.shape), marks[:, -_N_ANGLES:]
        distance = np.linalg.norm(points - person.landmarks, axis=-1).mean()
        turn = np.abs(angles - person.pose).mean()
        accuracy = np.mean((classify(images)[:, 0] > 0) == (to == "b"))
        against_truth = f"{_N_LANDMARKS} landmarks against those of the truth, found {method}"
        against_source = f"yaw, pitch and roll against the source's, found {method}"
        rows += [
            test.row(f"identity_accuracy_to_{to}{suffix}", accuracy, "", f"{kind} taken for {to} {method}"),
            test.row(f"landmark_error_to_{to}{suffix}", distance, "px", f"{kind}: {against_truth}"),
            test.row(f"pose_error_to_{to}{suffix}", turn, "degrees", f"{kind}: {against_source}"),
        ]
    return rows


def _styles(model, test, names):
    """The rows of two styles of emoji: each swap against the drawing of the same emoji in the other style."""
    drawn = [data.to_unit(zoo.arrays(model, "test", name=name, data_dir=test.data_dir)[0]) for name in names]
    rows = []
    for to, source, truth in (("b", drawn[0], drawn[1]), ("a", drawn[1], drawn[0])):
        source, style = source[: test.n_images], names["ab".index(to)].removeprefix(emoji.PREFIX)
        for suffix, (way, images) in {
            "": ("the swap", model.swap(source, to=to)),
            "_of_source": ("the source itself", source),
        }.items():
            psnr = metrics.psnr(truth[: len(images)], images).mean()
            rows.append(test.row(f"psnr_to_{to}{suffix}", psnr, "dB", f"{way} against the same emoji of {style}"))
            found = metrics.retrieval_accuracy(images, truth)
            protocol = f"{way} is nearest to the same emoji of {style}, of all {len(truth)}, by {metrics.BLOCKS}"
            rows.append(test.row(f"retrieval_to_{to}{suffix}", found, "", protocol))
    return [_headline(test, rows, over=""), *rows]


def _own_faces(model, test, names):
    """The rows of people without common poses: held-out images through each person's own decoder."""
    rows = []
    for side, name in zip("ab", names, strict=True):
        images = data.to_unit(zoo.arrays(model, "test", name=name, data_dir=test.data_dir)[0][: test.n_images])
        reconstructions = model.autoencode(images, of=side)
        protocol = f"held-out images of {side} through {side}'s own decoder; there is no truth to score a swap by"
        psnr = metrics.psnr(images, reconstructions).mean()
        ssim = float(ops.mean(losses.structural_similarity(images, reconstruction=reconstructions)))
        rows.append(test.row(f"psnr_of_{side}", psnr, "dB", protocol, n=len(images)))
        rows.append(test.row(f"ssim_of_{side}", ssim, "", protocol, n=len(images)))
    return rows


def _recoloured(images, reference):
    """Images with the mean and the deviation of each channel of `reference`."""
    axes = (1, 2)
    mean, deviation = images.mean(axes, keepdims=True), images.std(axes, keepdims=True)
    target_mean, target_deviation = reference.mean((0, 1, 2)), reference.std(axes).mean(0)
    scaled = (images - mean) / np.maximum(deviation, _LEAST_DEVIATION)
    return np.clip(scaled * target_deviation + target_mean, 0, 1)


def face_region(landmarks: np.ndarray, image_shape: Shape) -> np.ndarray:
    """Mask of each face, from the jaw to the brows.

    Args:
        landmarks: Landmarks, `(n, 68, 2)`, x and y in pixels, in iBUG order.
        image_shape: `(H, W, C)`.

    Returns:
        `(n, H, W, 1)` float32: 1 inside the face, 0 outside.
    """
    outline = np.concatenate([landmarks[:, _JAW], landmarks[:, _BROWS][:, ::-1]], axis=1).astype("float64")
    y, x = np.mgrid[: image_shape[0], : image_shape[1]]
    inside = np.zeros((len(outline), *image_shape[:2]), bool)
    for i in range(outline.shape[1]):  # a ray to the right from inside crosses the outline an odd number of times
        (x_0, y_0), (x_1, y_1) = (outline[:, k].T[:, :, None, None] for k in (i - 1, i))
        crosses = (y_0 > y) != (y_1 > y)
        steep = np.where(crosses, y_1 - y_0, 1.0)
        inside ^= crosses & (x < x_0 + (x_1 - x_0) * (y - y_0) / steep)
    return inside[..., None].astype("float32")


def ridge_of_faces(images: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fits a kernel ridge regression of numbers that a face shows.

    Its input is grey images of half the size, each of mean 0 and deviation 1: shapes, without the colours of skin and
    light. The kernel is a Gaussian as wide as the median distance, the ridge 0.01.

    Args:
        images: Faces, `(n, H, W, C)`, in [0, 1], H and W even.
        targets: Numbers to predict, `(n, k)`: landmarks, a pose, or -1 and 1 for one of two people.

    Returns:
        A function of images `(m, H, W, C)` to predictions `(m, k)` float64.
    """
    examples = _shapes(images)
    squared = metrics.squared_distances(examples, examples)
    width, mean = np.median(squared), np.mean(targets, axis=0)
    weights = np.linalg.solve(np.exp(-squared / width) + _RIDGE * np.eye(len(examples)), targets - mean)
    return lambda images: np.exp(-metrics.squared_distances(_shapes(images), examples) / width) @ weights + mean


def _shapes(images):
    """Grey images of half the size, each of mean 0 and deviation 1: `(n, H, W, C)` -> `(n, H W / 4)` float64."""
    grey = np.asarray(images, "float64").mean(-1)
    n, height, width = grey.shape
    grey = grey.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4)).reshape(n, -1)
    return (grey - grey.mean(1, keepdims=True)) / np.maximum(grey.std(1, keepdims=True), _LEAST_DEVIATION)


MEASURES = [swaps]
