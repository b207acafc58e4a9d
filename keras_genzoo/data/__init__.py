"""Name -> `tf.data` of images in [0, 1].

A data set is a source: a function to which a name in `SOURCES` refers. MNIST is bundled, "folder:PATH" is a folder of
image files, and `made` generates a few sets. Any other name is one of TensorFlow Datasets. `stream` can begin at any
epoch, so that a resumed run sees the batches of an unbroken one.
"""

import importlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_genzoo.data import augment as augmenting
from keras_genzoo.data import packed, pipeline, rows
from keras_genzoo.data.folder import PREFIX as FOLDER
from keras_genzoo.data.folder import portable, root_of
from keras_genzoo.data.held import PREFIX as HELD
from keras_genzoo.data.held import UNNAMED
from keras_genzoo.errors import ZooError, did_you_mean, visible
from keras_genzoo.registry import Registry, resolve
from keras_genzoo.typing import PathLike

_HERE = "keras_genzoo.data"
_ROOMS = (
    "augment",
    "bundled",
    "emoji",
    "folder",
    "held",
    "made",
    "packed",
    "people",
    "pictures",
    "pipeline",
    "rendered",
    "rows",
    "tfds",
)
# A source is a function `(name, split, *, data_dir, image_shape, resize) -> (images, labels)`, and takes
# `ground` or `cache` where somebody asks for one. Images are uint8, or float32 in [0, 1], `(n, H, W, C)`; labels are
# int64 `(n,)`, or None. A key that ends with ":" is the start of names.
SOURCES = Registry(
    "data set",
    {
        "mnist": f"{_HERE}.bundled:mnist",
        "binarized_mnist": f"{_HERE}.bundled:static_mnist",
        "ring2d": f"{_HERE}.made:mixture",
        "grid2d": f"{_HERE}.made:mixture",
        "stacked_mnist": f"{_HERE}.made:stacked_mnist",
        "people": f"{_HERE}.people:arrays",
        "pictures": f"{_HERE}.pictures:arrays",
        "emoji": f"{_HERE}.emoji:arrays",
        "emoji:": f"{_HERE}.emoji:arrays",
        "rendered_faces_a": f"{_HERE}.rendered:arrays",
        "rendered_faces_b": f"{_HERE}.rendered:arrays",
        FOLDER: f"{_HERE}.folder:arrays",
        HELD: f"{_HERE}.held:arrays",
        UNNAMED: f"{_HERE}.held:nothing",
    },
    group="keras_genzoo.sources",
)


_FACTORS = {  # data set -> function of what its images were made from
    "people": f"{_HERE}.people:factors",
    "pictures": f"{_HERE}.pictures:factors",
}

_IN_PART = {  # data set of which some images are bundled -> function that tells whether they stand for a split
    "people": f"{_HERE}.people:is_bundled_part",
    "pictures": f"{_HERE}.pictures:is_bundled_part",
    "rendered_faces_a": f"{_HERE}.rendered:is_bundled_part",
    "rendered_faces_b": f"{_HERE}.rendered:is_bundled_part",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    name: str,
    split: str,
    *,
    batch_size: int = 128,
    binarize: str | None = None,
    labels: bool = False,
    factors: bool = False,
    shuffle: bool | None = None,
    seed: int = 0,
    drop_remainder: bool = False,
    data_dir: PathLike | None = None,
    image_shape: tuple[int, int, int] | None = None,
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
    augment: Sequence[str] = (),
) -> tf.data.Dataset:
    """A `tf.data.Dataset` of image batches, ready for `fit`; it may be iterated any number of times.

    Args:
        name: Name of the data set: "mnist" (bundled); "ring2d", "grid2d" or "stacked_mnist" (see `made`); "people",
            64 x 64 pixels in colour of people who do not exist, of whom 500 test images are bundled; "emoji", 1,852
            emoji in three styles, or some of them as "emoji:noto", "emoji:twemoji", "emoji:noto+twemoji" (both
            bundled), "emoji:fluent"; "pictures", these and the people together; "rendered_faces_a" or
            "rendered_faces_b", two people who do not exist, of whom 20 test pairs are bundled; an image data set of
            TFDS, such as "fashion_mnist" or "binarized_mnist" (the static binarisation of Larochelle & Murray);
            "folder:PATH", every PNG, JPEG and WebP below PATH, of any size and channels; or a source of another
            package, see `SOURCES`.
        split: "train", "test", or another split of the data set. A folder's splits are its subfolders `train/`,
            `test/` and `val/`, under these names or such as `Training` and `validation`; `val/` is "test", too, where
            there is no `test/`. Else about a tenth of its files, chosen by their names alone, is "test".
        batch_size: Number of images per batch, >= 1.
        binarize: Kind of binarisation: None for none, or "dynamic": each pixel is 1 with the probability of its grey
            value (Salakhutdinov & Murray 2008). Shuffled images are drawn anew every epoch; others are drawn once, from
            `seed`, whatever the batch size.
        labels: Whether batches are `(images, labels)` instead of images.
        shuffle: Whether every epoch has a new order; None: only in "train".
        seed: Seed of shuffling and binarisation, >= 0.
        drop_remainder: Whether a last, smaller batch is left out.
        data_dir: Folder of data sets for machines without a data host: `data_dir/NAME/` holds the original files, or
            those that TFDS prepared. None: $KERAS_GENZOO_DATA.
        image_shape: Shape of the result for a folder, a set of TFDS, or pictures that come with the zoo,
            `(height, width, channels)` with 1 or 3 channels. None: their own, where they have one.
        resize: Way to fit the images of a folder or of TFDS to the shape: "crop" scales an image until it covers the
            shape and cuts out the middle; "pad" scales it until it fits and pads with the ground; "stretch" scales each
            side on its own.
        ground: What is laid behind transparent pixels: "white", "black", or "drawn", a colour of each image's own that
            is the same in every run. None: white for emoji, black for a folder.
        cache: Place of the pixels of a folder or a set of TFDS: "memory"; "disk", a file of resized pixels in the
            user's cache; or "none", for a folder, whose images are then decoded whenever they are needed, by all cores.
            None: memory up to half a gigabyte, beyond it "none" for a folder and "disk" for a set of TFDS. Order and
            pixels are the same in each.
        augment: Names of augmentations of shuffled images, "flip", "shift" and "colour", drawn anew every epoch; see
            `augment`. Without shuffling the images stay as they are.
        factors: Whether batches are `(images, factors)`, what each image was made from, float32 `(batch, n)`; see
            `data.factors_of`.

    Returns:
        A dataset of float32 `(batch, H, W, C)` in [0, 1]; with labels, also int64 `(batch,)`.

    Raises:
        ZooError: A bad argument, an unknown name or split, or a damaged file.
        MissingDataError: The data set is not here and cannot be fetched.

    Example:
        >>> import keras_genzoo as gz
        >>> train = gz.data.load("mnist", "train", binarize="dynamic", batch_size=64)
        >>> tuple(next(iter(train)).shape)
        (64, 28, 28, 1)
    """
    augment = augmenting.checked(augment)
    if factors and augment:
        raise ZooError("`augment` would change what the `factors` say of an image; give one of them")
    if labels and factors:
        raise ZooError("Images go with `labels` or with `factors`, not with both")
    images, targets = _checked_arrays(name, split, binarize, labels, seed, data_dir, image_shape, resize, ground, cache)
    if factors:
        targets = factors_of(name, split, data_dir=data_dir)[0]
    shuffle = split == "train" if shuffle is None else shuffle
    if binarize == "dynamic" and not shuffle:
        images, binarize = binarize_fixed(images, seed=seed), None
    if shuffle:
        # The epochs are counted, not drawn: Dataset.random would mix TensorFlow's global seed in.
        counter = itertools.count()
        epochs = tf.data.Dataset.from_generator(lambda: [next(counter)], output_signature=tf.TensorSpec((), "int64"))
    else:
        epochs = tf.data.Dataset.range(1)
    batches = pipeline.batches(
        images,
        targets if labels or factors else None,
        epochs,
        batch_size=batch_size,
        binarize=binarize,
        shuffle=shuffle,
        seed=seed,
        drop_remainder=drop_remainder,
        augment=augment if shuffle else (),
    )
    n = len(images)
    return batches.apply(
        tf.data.experimental.assert_cardinality(n // batch_size if drop_remainder else -(-n // batch_size))
    )


def stream(
    name: str | Sequence[str],
    *,
    batch_size: int,
    binarize: str | None = None,
    labels: bool = False,
    seed: int = 0,
    first_epoch: int = 0,
    data_dir: PathLike | None = None,
    image_shape: tuple[int, int, int] | None = None,
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
    augment: Sequence[str] = (),
    n_held_out: int = 0,
    targets: Sequence[np.ndarray] | None = None,
    validation: float = 0.0,
    is_validating: bool = False,
    paired: bool = False,
) -> tuple[tf.data.Dataset, int]:
    """The training split without end, in full batches: for runs that can be resumed.

    Epoch e is the same whether the stream began at 0 or at e. Fewer images than `batch_size` make one batch.

    Args:
        name: Name of a data set; or names of several, whose batches come side by side, each in an order of its own. An
            epoch then has as many batches as the smallest set fills.
        batch_size: Number of images per batch, >= 1.
        binarize, labels, seed, data_dir, image_shape, resize, ground, cache, augment: As in `load`.
        first_epoch: Epoch to begin with, >= 0.
        n_held_out: Number of images of each set that are left out, those of `held_out`, >= 0.
        targets: Rows beside the images of each set, `(n, ...)`; None: none. They cannot come together with `labels`.
        validation: Share of each set's other images, in [0, 1), that is drawn by the seed and left out, too.
        is_validating: Whether the stream is of that share alone, in batches of at most `batch_size`.
        paired: Whether the rows of several sets are pairs: all sets come in one order then.

    Returns:
        `(dataset, batches per epoch)`.

    Raises:
        ZooError: A bad argument, all images are held out, or pairs of sets with different numbers of images.
        MissingDataError: A data set is not here and cannot be fetched.
    """
    if labels and targets is not None:
        raise ZooError("Images go with `labels` or with `targets`, not with both")
    augment = augmenting.checked(augment)
    if targets is not None and augment:
        raise ZooError("`augment` would change what the targets say of an image; leave it out")
    names = (name,) if isinstance(name, str) else tuple(name)
    seeds = [seed if paired else seed + i for i in range(len(names))]
    sets, counts = [], []
    for i, one in enumerate(names):
        images, classes = _checked_arrays(
            one, "train", binarize, labels, seed, data_dir, image_shape, resize, ground, cache
        )
        counts.append(len(images))
        if paired and counts[i] != counts[0]:
            raise ZooError(f"Pairs are of as many images: {names[0]} has {counts[0]}, and {one} has {counts[i]}")
        beside = targets[i] if targets is not None else classes if labels else None
        chosen = streamed_rows(
            one, len(images), labels=classes, seed=seed, validation_seed=seeds[i], n_held_out=n_held_out,
            validation=validation, is_validating=is_validating,
        )  # fmt: skip
        if len(chosen) < len(images):
            images, beside = rows.part(images, chosen), None if beside is None else beside[chosen]
        sets.append((images, beside))
    fewest = min(len(images) for images, _ in sets)
    batch_size = min(batch_size, fewest)
    if is_validating:
        batch_size = fewest // -(-fewest // batch_size)  # leaves out hardly any
    streams = [
        pipeline.batches(
            images,
            beside,
            tf.data.Dataset.counter(start=first_epoch),
            batch_size=batch_size,
            binarize=binarize,
            shuffle=True,
            seed=seeds[i],
            drop_remainder=True,
            n_batches=fewest // batch_size,
            augment=() if is_validating else augment,
        )
        for i, (images, beside) in enumerate(sets)
    ]
    return streams[0] if isinstance(name, str) else tf.data.Dataset.zip(tuple(streams)), fewest // batch_size


def arrays(
    name: str,
    split: str,
    *,
    data_dir: PathLike | None = None,
    image_shape: tuple[int, int, int] | None = None,
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A split whole: in memory, unless a folder is too large for it.

    Args:
        name, split, data_dir, image_shape, resize, ground, cache: As in `load`.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`, or float32 in [0, 1] for points, or `rows.Rows` of a folder that is
        not in memory; int64 `(n,)`, or None where the set has no labels. The labels of a folder are its subfolders in
        the order of their names, if each image is in one.

    Raises:
        ZooError: Unknown name or split, or a damaged file.
        MissingDataError: The data set is not here and cannot be fetched.
    """
    source = _source(str(name))
    if ground not in (None, *packed.GROUNDS):
        raise ZooError(f"`ground` must be one of {', '.join(packed.GROUNDS)}, or None. Received: {ground!r}")
    if cache not in (None, *rows.CACHES):
        raise ZooError(f"`cache` must be one of {', '.join(rows.CACHES)}, or None. Received: {cache!r}")
    asked = {key: value for key, value in (("ground", ground), ("cache", cache)) if value is not None}
    images, labels = source(
        str(name), split, data_dir=data_directory(data_dir), image_shape=image_shape, resize=resize, **asked
    )
    for array in (images, labels):  # read-only, because all callers share them
        if array is not None:
            array.setflags(write=False)
    return images, labels


def factors_of(name: str, split: str, *, data_dir: PathLike | None = None) -> tuple[np.ndarray, list[str]]:
    """What the images of a split were made from, where that is known.

    Args:
        name: Name of a data set; "people" has factors, and the people of "pictures".
        split, data_dir: As in `load`.

    Returns:
        `(values, names)`: float32 `(n, n_factors)`, one row for each image of `arrays`; and the names of the columns.

    Raises:
        ZooError: A data set without factors, no such split, or a damaged file.
        MissingDataError: The data set is not here and cannot be fetched.
    """
    known(name)
    if name not in _FACTORS:
        raise ZooError(f"The factors of {name} are not known; those of {', '.join(_FACTORS)} are")
    return resolve(_FACTORS[name])(name, split, data_dir=data_directory(data_dir))


def is_bundled_part(name: str, split: str, *, data_dir: PathLike | None = None) -> bool:
    """Whether `arrays` gives a part of a split alone, the images that the package brings, as the whole is not here.

    Args:
        name, split, data_dir: As in `load`.
    """
    return name in _IN_PART and resolve(_IN_PART[name])(split, data_dir=data_directory(data_dir))


def held_out(n_images: int, n: int, *, labels: np.ndarray | None, seed: int) -> np.ndarray:
    """The rows of a training set that are held out of it: a shuffled share, the same of every class.

    Args:
        n_images: Number of images of the set.
        n: Number of rows, in 0..n_images.
        labels: Classes of the images, `(n_images,)` integers; None: there are none.
        seed: Seed of the shuffling, >= 0.

    Returns:
        `(n,)` int64, in no order.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(n_images)
    if labels is not None:
        # Each class is spread evenly over (0, 1), so that the first n places of all have the same share of each.
        places = np.empty(n_images)
        for value in np.unique(labels):
            mine = np.flatnonzero(labels[order] == value)
            places[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
        order = random.permutation(order[np.argsort(places, kind="stable")][:n])
    return order[:n]


def streamed_rows(
    name: str,
    n_images: int,
    *,
    labels: np.ndarray | None,
    seed: int,
    validation_seed: int | None = None,
    n_held_out: int = 0,
    validation: float = 0.0,
    is_validating: bool = False,
) -> np.ndarray:
    """The rows of a training set that `stream` gives.

    Args:
        name: Name of the data set, for errors.
        n_images: Number of images of the set.
        labels: Classes of the images, `(n_images,)` integers; None: there are none.
        seed, n_held_out, validation, is_validating: As in `stream`.
        validation_seed: Seed by which the share `validation` is drawn, another for each of several sets; None: `seed`.

    Returns:
        `(n,)` int64, in ascending order.

    Raises:
        ZooError: All images are held out.
    """
    remaining = np.arange(n_images)
    if n_held_out:
        if n_held_out >= n_images:
            raise ZooError(f"{n_held_out} images are to be held out, and {name} has {n_images}")
        remaining = np.delete(remaining, held_out(n_images, n_held_out, labels=labels, seed=seed))
    if validation:
        parts = split_rows(len(remaining), validation, seed=seed if validation_seed is None else validation_seed)
        remaining = remaining[parts[int(is_validating)]]
    return remaining


def summary(
    name: str,
    *,
    data_dir: PathLike | None = None,
    image_shape: tuple[int, int, int] | None = None,
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
) -> str:
    """One line about a data set before a training: its numbers of images and classes.

    Args:
        name, data_dir, image_shape, resize, ground, cache: As in `load`.

    Returns:
        Text such as "mnist: 60,000 images to train with, 10 classes".

    Raises:
        ZooError: Unknown name, or a damaged file.
        MissingDataError: The data set is not here and cannot be fetched.
    """
    if name.startswith(FOLDER):
        from keras_genzoo.data import folder

        return folder.summary(name, image_shape=image_shape, resize=resize, ground=ground, cache=cache)
    images, labels = arrays(
        name, "train", data_dir=data_dir, image_shape=image_shape, resize=resize, ground=ground, cache=cache
    )
    parts = [f"{len(images):,} images to train with"]
    parts.append("no classes" if labels is None else f"{len(np.unique(labels)):,} classes")
    if _is_of_tfds(name):
        from keras_genzoo.data import tfds

        own = tfds.own_shape(name, data_directory(data_dir))
        if own != images.shape[1:]:
            given = " x ".join("?" if side is None else str(side) for side in own)
            parts.append(f"{given} brought to {' x '.join(map(str, images.shape[1:]))}")
    if isinstance(images, rows.DiskRows):
        parts.append(f"pixels kept in {images.path}")
    return f"{visible(name)}: {', '.join(parts)}"


def class_names(
    name: str,
    *,
    data_dir: PathLike | None = None,
    image_shape: tuple[int, int, int] | None = None,
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
) -> list[str] | None:
    """The names of a data set's classes, in the order of their labels.

    Args:
        name, data_dir, image_shape, resize, ground, cache: As in `load`.

    Returns:
        The names of a folder's classes, the emoji's, and those that TensorFlow Datasets knows; None of any other data
        set.

    Raises:
        ZooError: Unknown name, or a damaged file.
    """
    if name.startswith(FOLDER):
        from keras_genzoo.data import folder

        return folder.class_names(name, image_shape=image_shape, resize=resize, ground=ground, cache=cache)
    if name == "emoji" or name.startswith("emoji:"):
        from keras_genzoo.data import emoji

        return emoji.class_names()
    if name == "pictures":
        from keras_genzoo.data import pictures

        return pictures.class_names()
    if not _is_of_tfds(name):
        return None
    from keras_genzoo.data import tfds

    return tfds.class_names(name, data_directory(data_dir))


def register(name: str, source: Any) -> None:
    """Adds a data set for this process; an installed package does so by an entry point of "keras_genzoo.sources".

    Args:
        name: Name of the data set; one that ends with ":" is the start of names.
        source: Function, or "module:function", see `SOURCES`.

    Raises:
        ZooError: The name is taken.
    """
    SOURCES.register(name, source)


def known(name: str) -> str:
    """The name of a data set, checked: a folder need not exist.

    Raises:
        ZooError: Unknown name; the message has the nearest.
    """
    _source(name)
    return name


def full_name(name: str) -> str:
    """The name with a folder's path made absolute: it still names the folder from elsewhere, see `folder.portable`."""
    if not name.startswith(FOLDER) or name == FOLDER:
        return name
    return FOLDER + portable(root_of(name))


def data_directory(data_dir: PathLike | None) -> str | None:
    """The folder of data sets as text, from the argument or else from $KERAS_GENZOO_DATA; None where both are empty."""
    data_dir = data_dir or os.environ.get("KERAS_GENZOO_DATA")
    return str(data_dir) if data_dir else None


def binarize_fixed(images: np.ndarray, *, seed: int) -> np.ndarray:
    """Binarises images once: each pixel becomes 255 with the probability of its grey value, else 0.

    The result is a function of images and seed alone (NumPy's PCG64). Every protocol with a fixed test set uses it.

    Args:
        images: uint8 images of any shape.
        seed: Seed of the draws, >= 0.

    Returns:
        uint8 images of the same shape.
    """
    draws = np.random.default_rng(seed).random(images.shape, dtype="float32")
    return np.where(draws < images.astype("float32") / 255, 255, 0).astype("uint8")


def split_rows(n: int, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows in two by chance.

    Args:
        n: Number of rows.
        share: Share of the second part, in (0, 1).
        seed: Seed of the draw, >= 0.

    Returns:
        The indices of both parts, sorted.

    Raises:
        ZooError: A part would be empty.
    """
    n_second = round(share * n)
    if not 0 < n_second < n:
        raise ZooError(f"A share of {share:g} of {n} images leaves {n - n_second} and {n_second}; none may be 0")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[n_second:]), np.sort(order[:n_second])


def as_seen(pixels: np.ndarray, *, binarize: str | None, seed: int = 0) -> np.ndarray:
    """Images as a model trained with `binarize` takes them.

    Args:
        pixels: Images of `arrays`, `(n, H, W, C)`.
        binarize: Kind of binarisation in training, see `load`; None: none.
        seed: Seed of the binarisation, which is drawn once.

    Returns:
        `(n, H, W, C)` float32, in [0, 1].
    """
    return to_unit(binarize_fixed(pixels, seed=seed) if binarize else pixels)


def to_unit(images: np.ndarray) -> np.ndarray:
    """Images of `arrays` as float32 in [0, 1]; those that are not uint8 have this form already."""
    images = np.asarray(images)  # of files, too, where memory holds them
    return images.astype("float32") / 255 if images.dtype == "uint8" else images


def _is_of_tfds(name):
    """Whether a data set is none of the package's and of nobody's who has registered one."""
    return name not in SOURCES and not any(key.endswith(":") and name.startswith(key) for key in SOURCES)


def _source(name):
    """The source of a name: that of the name itself, that of its start, or TensorFlow Datasets."""
    if name in SOURCES:
        return SOURCES.get(name)
    start = name.partition(":")[0] + ":"
    if start != f"{name}:" and start in SOURCES:
        return SOURCES.get(start)
    from keras_genzoo.data import tfds

    tfds_names = tfds.names()
    if name not in tfds_names:
        hint = f" For a folder of images, write {FOLDER}{name}" if Path(name).is_dir() else ""
        raise ZooError(f"Unknown data set {name!r}. {did_you_mean(name, [*tfds_names, *SOURCES])}{hint}")
    return tfds.arrays


def _checked_arrays(name, split, binarize, labels, seed, data_dir, image_shape, resize, ground, cache):
    """`arrays`, after a check of the arguments that do not go into it."""
    if binarize not in (None, "dynamic"):
        raise ZooError(f"`binarize` must be None or 'dynamic'. Received: {binarize!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ZooError(f"`seed` must be an integer >= 0. Received: {seed!r}")
    images, targets = arrays(
        name, split, data_dir=data_dir, image_shape=image_shape, resize=resize, ground=ground, cache=cache
    )
    if labels and targets is None:
        hint = "; they are its subfolders, where there are two and every image is in one" * name.startswith(FOLDER)
        raise ZooError(f"{name} has no labels{hint}. Received: labels=True")
    if binarize and images.dtype != "uint8":
        raise ZooError(f"The images of {name} have no grey levels to binarise. Received: binarize={binarize!r}")
    return images, targets
