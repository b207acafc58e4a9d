"""Name -> `tf.data` of images in [0, 1]. MNIST is bundled; "folder:PATH" is a folder of image files; `synthetic` makes
a few; other names come through TensorFlow Datasets.

The pixels stay uint8 in memory; shuffling, casting and binarising happen per batch, on the way. Order and noise are
functions of (seed, epoch, batch): `stream` can begin at any epoch, so a resumed run sees what an unbroken one saw.
"""

import functools
import gzip
import hashlib
import itertools
import json
import os
import socket
import urllib.parse
import urllib.request
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo import synthetic
from keras_genzoo.errors import MissingDataError, ZooError, did_you_mean

BUNDLED = Path(__file__).parent / "_data"
# SHA-256 of the four original MNIST files, as TFDS pins them in url_checksums/mnist.txt.
MNIST_FILES = {
    ("train", "images"): (
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    ("train", "labels"): (
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    ("test", "images"): (
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    ("test", "labels"): (
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
_PROBE_SECONDS = 5

STATIC_MNIST = "binarized_mnist"  # Larochelle & Murray 2011: binarised once and for all
_PACKED = "binarized_mnist_packed.npz"  # its pixels as bits, `(n, 98)` bytes per split
_PACKED_SPLITS = {"train": "train", "validation": "valid", "test": "test"}  # TFDS' names: the file's

LANDMARKS = "face_landmarks"  # the key of a PNG's text, see `landmarks_text`
# Two people who do not exist, rendered with ICT-FaceKit: the two data sets of a face swap.
RENDERED_FACES = {"rendered_faces_a": "a", "rendered_faces_b": "b"}
_RENDERED, _RENDERED_SIDE = Path("faces", "faces_ab.npz"), 96  # pixels

FOLDER = "folder:"  # of the names that are folders
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
RESIZES = ("crop", "pad", "stretch")
_HELD_OUT = 10  # of so many files of an undivided folder, about one is for testing


def load(
    name,
    split,
    *,
    batch_size=128,
    binarize=None,
    labels=False,
    shuffle=None,
    seed=0,
    drop_remainder=False,
    data_dir=None,
    image_shape=None,
    resize="crop",
):
    """A `tf.data.Dataset` of image batches, ready for `fit`; it may be iterated any number of times.

    Args:
        name: "mnist" (bundled); "ring2d", "grid2d" or "stacked_mnist" (see `synthetic`); "rendered_faces_a" or
            "rendered_faces_b", two people who do not exist; the name of a TFDS image data set, such as "fashion_mnist"
            or "binarized_mnist" (the static binarisation of Larochelle & Murray); or "folder:PATH": every PNG, JPEG and
            WebP below PATH, of any size and channels.
        split: "train", "test", or another split the data set has. Of a folder, its subfolders `train/` and `test/`
            where it has both; else about a tenth of the files, chosen by their names alone, is held out for "test".
        batch_size: Images per batch, >= 1.
        binarize: None, or "dynamic": each pixel is 1 with the probability of its grey value (Salakhutdinov & Murray
            2008). Redrawn every epoch where shuffled; drawn once, from `seed`, where not, whatever the batch size.
        labels: Yield `(images, labels)` instead of images.
        shuffle: A new order every epoch. None: only for "train".
        seed: Of order and binarisation, >= 0.
        drop_remainder: Drop a last, smaller batch.
        data_dir: Folder with data sets for machines without a data host: `data_dir/NAME/` holds the original
            files, or what TFDS prepared. None: $KERAS_GENZOO_DATA.
        image_shape: Of a folder or of rendered faces: the `(height, width, channels)` to bring the images to, with 1 or
            3 channels.
        resize: Of a folder: "crop" scales until the image covers the shape and cuts the middle out; "pad" scales until
            it fits and pads with black; "stretch" scales each side for itself.

    Returns:
        A dataset of float32 `(batch, H, W, C)` in [0, 1]; with labels, also int64 `(batch,)`.

    Raises:
        MissingDataError: The data set is not here and cannot be fetched.

    Example:
        >>> train = keras_genzoo.data.load("mnist", "train", binarize="dynamic")
    """
    images, targets = _checked_arrays(name, split, binarize, labels, seed, data_dir, image_shape, resize)
    shuffle = split == "train" if shuffle is None else shuffle
    if binarize == "dynamic" and not shuffle:
        images, binarize = binarize_fixed(images, seed=seed), None
    if shuffle:
        # Counted, not drawn: Dataset.random would mix TensorFlow's global seed in.
        counter = itertools.count()
        epochs = tf.data.Dataset.from_generator(lambda: [next(counter)], output_signature=tf.TensorSpec((), "int64"))
    else:
        epochs = tf.data.Dataset.range(1)
    batches = _pipeline(
        images,
        targets if labels else None,
        epochs,
        batch_size=batch_size,
        binarize=binarize,
        shuffle=shuffle,
        seed=seed,
        drop_remainder=drop_remainder,
    )
    n = len(images)
    return batches.apply(
        tf.data.experimental.assert_cardinality(n // batch_size if drop_remainder else -(-n // batch_size))
    )


def stream(
    name,
    *,
    other=None,
    batch_size,
    binarize=None,
    labels=False,
    seed=0,
    first_epoch=0,
    data_dir=None,
    image_shape=None,
    resize="crop",
    n_held_out=0,
    factors=None,
):
    """The training split without end, from the start of epoch `first_epoch`, in full batches; for resumable runs.

    The last `n_held_out` images are left out. With `other`, a second data set, batches are pairs of a batch of each,
    in orders of their own; an epoch has as many as the smaller set fills. `factors`, an array of rows for each set, go
    with their images: each part of a batch is then a dict of `images` and `factors`.

    Fewer images than `batch_size` are one batch. Epoch e is the same whether the stream began at 0 or at e. Returns
    `(dataset, batches per epoch)`.
    """
    if labels and factors is not None:
        raise ZooError("Images go with `labels` or with `factors`, not with both")
    sets = []
    for i, part in enumerate((name,) if other is None else (name, other)):
        images, targets = _checked_arrays(part, "train", binarize, labels, seed, data_dir, image_shape, resize)
        targets = factors[i] if factors is not None else targets if labels else None
        if n_held_out >= len(images):
            raise ZooError(f"{n_held_out} images are to be held out, and {part} has {len(images)}")
        kept = slice(len(images) - n_held_out)
        sets.append((images[kept], None if targets is None else targets[kept]))
    fewest = min(len(images) for images, _ in sets)
    batch_size = min(batch_size, fewest)
    streams = [
        _pipeline(
            images,
            targets,
            tf.data.Dataset.counter(start=first_epoch),
            batch_size=batch_size,
            binarize=binarize,
            shuffle=True,
            seed=seed + i,
            drop_remainder=True,
            n_batches=fewest // batch_size,
        )
        for i, (images, targets) in enumerate(sets)
    ]
    if factors is not None:
        streams = [part.map(lambda images, known: {"images": images, "factors": known}) for part in streams]
    return streams[0] if other is None else tf.data.Dataset.zip(tuple(streams)), fewest // batch_size


def arrays(name, split, *, data_dir=None, image_shape=None, resize="crop"):
    """A split in memory: uint8 images `(n, H, W, C)` (points: float32), int64 labels `(n,)` (None where it has none).

    Arguments as in `load`. The labels of a folder are its subfolders in the order of their names, where every image is
    in one. Files of it that are no images are named in a warning and left out.
    """
    if str(name).startswith(FOLDER):
        if image_shape is None:
            raise ZooError(f"{name} needs `image_shape`, the (height, width, channels) to bring its images to")
        return _from_folder(name.removeprefix(FOLDER), split, tuple(image_shape), resize)[:2]
    if name in RENDERED_FACES:
        shape = tuple(image_shape) if image_shape else None
        return _rendered_faces(_rendered(name, split, data_dir), RENDERED_FACES[name], split, shape), None
    return _arrays(name, split, _data_dir(data_dir))


def face_marks(name, split, *, data_dir=None, image_shape, resize="crop"):
    """Where the faces of `arrays(name, split)` are: `(landmarks, pose)`, float32, each None where it is not known.

    Landmarks are `(n, points, 2)`, x and y in pixels of images of `image_shape`. The rendered people have 68, in iBUG
    order, and a pose, `(n, 3)`: yaw, pitch and roll in degrees; image i of the test splits of both has the same pose. A
    folder has the five that `faces.extract` writes into its files, if all of them carry it.
    """
    if str(name).startswith(FOLDER):
        landmarks = _from_folder(name.removeprefix(FOLDER), split, tuple(image_shape), resize)[2]
        if landmarks is None:
            return None, None
        return landmarks * np.array([image_shape[1], image_shape[0]], "float32") - 0.5, None
    if name not in RENDERED_FACES:
        return None, None
    with np.load(_rendered(name, split, data_dir)) as stored:
        key = f"{split}_{RENDERED_FACES[name]}"
        landmarks, pose = (stored[f"{key}_{what}"].astype("float32") for what in ("landmarks68", "pose"))
    scale = np.array([image_shape[1], image_shape[0]], "float32") / _RENDERED_SIDE
    return (landmarks + 0.5) * scale - 0.5, np.degrees(pose)


def full_name(name):
    """The name with a folder's path made absolute: it still names the folder from elsewhere."""
    if not name.startswith(FOLDER):
        return name
    path = name.removeprefix(FOLDER)
    return FOLDER + (str(Path(path).expanduser().resolve()) if path else "")


def binarize_fixed(images, *, seed):
    """uint8 images -> uint8 images of 0 and 255: each pixel on with the probability of its grey value.

    A function of images and seed alone (NumPy's PCG64): every protocol with a fixed test set uses it.
    """
    draws = np.random.default_rng(seed).random(images.shape, dtype="float32")
    return np.where(draws < images.astype("float32") / 255, 255, 0).astype("uint8")


def as_seen(pixels, *, binarize, seed=0):
    """Images as a model trained with `binarize` takes them, float32 in [0, 1]: binarised once, or as they are."""
    return to_unit(binarize_fixed(pixels, seed=seed) if binarize else pixels)


def to_unit(images):
    """Images -> float32 in [0, 1]; those of `arrays` that are not uint8 are so already."""
    return images.astype("float32") / 255 if images.dtype == "uint8" else images


def _checked_arrays(name, split, binarize, labels, seed, data_dir, image_shape, resize):
    if binarize not in (None, "dynamic"):
        raise ZooError(f"`binarize` must be None or 'dynamic'. Received: {binarize!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ZooError(f"`seed` must be an integer >= 0. Received: {seed!r}")
    images, targets = arrays(name, split, data_dir=data_dir, image_shape=image_shape, resize=resize)
    if labels and targets is None:
        raise ZooError(f"{name} has no labels. Received: labels=True")
    if binarize and name in synthetic.MIXTURES:
        raise ZooError(f"The points of {name} have no grey levels to binarise. Received: binarize={binarize!r}")
    return images, targets


def _pipeline(images, targets, epochs, *, batch_size, binarize, shuffle, seed, drop_remainder, n_batches=None):
    n = len(images)
    if not isinstance(batch_size, int) or batch_size < 1 or (drop_remainder and batch_size > n):
        raise ZooError(f"`batch_size` must be in 1..{n} for {n} images. Received: {batch_size}")
    n_batches = n_batches or (n // batch_size if drop_remainder else -(-n // batch_size))
    pixels = tf.constant(images)
    labels = None if targets is None else tf.constant(targets)

    def indices_of_epoch(epoch):
        epoch_seed = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], "int64"), epoch)
        order = tf.range(n)
        if shuffle:
            order = tf.random.experimental.stateless_shuffle(order, seed=epoch_seed)

        def batch(i):
            noise_seed = tf.random.experimental.stateless_fold_in(epoch_seed, i + 1)
            return order[i * batch_size : tf.minimum((i + 1) * batch_size, n)], noise_seed

        return tf.data.Dataset.range(n_batches).map(batch)

    def images_of_indices(indices, noise_seed):
        x = tf.gather(pixels, indices)
        if x.dtype == tf.uint8:
            x = tf.cast(x, "float32") / 255
        if binarize:
            x = tf.cast(tf.random.stateless_uniform(tf.shape(x), noise_seed) < x, "float32")
        if drop_remainder:
            x = tf.ensure_shape(x, (batch_size, *images.shape[1:]))
        if labels is None:
            return x
        y = tf.gather(labels, indices)
        return x, tf.ensure_shape(y, (batch_size, *targets.shape[1:])) if drop_remainder else y

    # TensorFlow 2.21's tuner sleeps through an iterator's end: a fit of 6 s would return after 10, when it wakes next.
    options = tf.data.Options()
    options.autotune.enabled = False  # all cores map, and prefetch still finds its own depth: measured no slower
    return (
        epochs.flat_map(indices_of_epoch)
        .map(images_of_indices, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


@functools.lru_cache(maxsize=4)
def _arrays(name, split, data_dir):
    if name == "mnist":
        images, labels = _bundled_mnist(split)
    elif name == STATIC_MNIST:
        images, labels = _static_mnist(split, data_dir)
    elif name in synthetic.MIXTURES:
        images, labels = synthetic.mixture_images(name, split)
    elif name == synthetic.STACKED_MNIST:
        images, labels = synthetic.stacked(*_bundled_mnist(split), split)
    else:
        images, labels = _from_tfds(name, split, data_dir)
    for array in (images, labels):  # shared by every caller
        if array is not None:
            array.setflags(write=False)
    return images, labels


def _bundled_mnist(split):
    if (split, "images") not in MNIST_FILES:
        raise ZooError(f"mnist has the splits train, test. Received: {split!r}")
    images, labels = (
        read_idx(BUNDLED / "mnist" / file, sha256)
        for file, sha256 in (MNIST_FILES[split, kind] for kind in ("images", "labels"))
    )
    return images[..., None], labels.astype("int64")


def _static_mnist(split, data_dir):
    """Images of 0 and 255, from a file of packed bits where there is one, else from TFDS, which has them as 0 and 1."""
    path = Path(data_dir, STATIC_MNIST, _PACKED) if data_dir else None
    if not (path and path.is_file()):
        images, labels = _from_tfds(STATIC_MNIST, split, data_dir)
        return (images * 255 if images.max() == 1 else images), labels
    if split not in _PACKED_SPLITS:
        raise ZooError(f"{STATIC_MNIST} has the splits {', '.join(_PACKED_SPLITS)}. Received: {split!r}")
    try:
        with np.load(path) as stored:
            bits = np.unpackbits(stored[_PACKED_SPLITS[split]], axis=1)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ZooError(f"{path} is damaged: {error}; fetch it again") from None
    return 255 * bits.reshape(-1, 28, 28, 1), None


def read_idx(path, sha256):
    """An IDX .gz file (LeCun et al.) as a uint8 array, once its SHA-256 is right."""
    try:
        packed = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{path} is missing from the installation; reinstall keras_genzoo") from None
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ZooError(f"{path} is damaged: its SHA-256 is not {sha256[:12]}...; reinstall keras_genzoo")
    raw = gzip.decompress(packed)
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, "uint8", offset=4 + 4 * raw[3]).reshape(shape).copy()


def _data_dir(data_dir):
    """The folder of data sets as text, from the argument or the environment; None where neither says."""
    data_dir = data_dir or os.environ.get("KERAS_GENZOO_DATA")
    return str(data_dir) if data_dir else None


def _rendered(name, split, data_dir):
    """The file of the rendered people, once it is there and has the split."""
    if split not in ("train", "test"):
        raise ZooError(f"{name} has the splits train, test. Received: {split!r}")
    data_dir = _data_dir(data_dir)
    if data_dir is None or not Path(data_dir, _RENDERED).is_file():
        looked = Path(data_dir or "DIR", _RENDERED)
        raise MissingDataError(
            f"Data set {name!r} is missing; looked for {looked}. It is rendered, not downloaded: put faces_ab.npz "
            "there, and set KERAS_GENZOO_DATA=DIR or give --data-dir"
        )
    return str(Path(data_dir, _RENDERED))


@functools.lru_cache(maxsize=4)
def _rendered_faces(path, person, split, image_shape):
    from PIL import Image

    try:
        with np.load(path) as stored:
            images = stored[f"{split}_{person}"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ZooError(f"{path} is damaged: {error}; fetch it again") from None
    if image_shape and image_shape != images.shape[1:]:
        images = np.stack([_fitted(Image.fromarray(image), image_shape, "stretch") for image in images])
    images.setflags(write=False)
    return images


def _from_folder(path, split, image_shape, resize):
    if resize not in RESIZES:
        raise ZooError(f"`resize` must be one of {', '.join(RESIZES)}. Received: {resize!r}")
    if image_shape[-1] not in (1, 3):
        raise ZooError(f"Images of a folder have 1 or 3 channels. Received: image_shape={image_shape}")
    if split not in ("train", "test"):
        raise ZooError(f"{FOLDER}{path} has the splits train, test. Received: {split!r}")
    if not path:
        raise ZooError(f"{FOLDER!r} names no folder; write {FOLDER}PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise MissingDataError(f"Image folder {path!r} does not exist" if not root.exists() else f"{path!r} is a file")
    files = {
        file: file.relative_to(root)
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in file.relative_to(root).parts)
    }
    if (root / "train").is_dir() and (root / "test").is_dir():
        within = {file: Path(*name.parts[1:]) for file, name in files.items()}  # without train/ or test/
        chosen = [file for file, name in files.items() if name.parts[0] == split]
    else:
        within = files
        chosen = _share(files, split)
    # Of both splits together, or a class that one lacks would shift the numbers of the others.
    classes = sorted({name.parts[0] for name in within.values() if len(name.parts) > 1})
    stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in chosen)
    images, readable, broken, landmarks = _decoded(stamps, image_shape, resize)
    if broken:
        listed = "\n".join(f"  {file}: {error}" for file, error in broken)
        warnings.warn(f"{root}: skipped {len(broken)} of {len(chosen)} files:\n{listed}", stacklevel=2)
    if images is None:
        what = "no readable image" if chosen else "no image"
        raise ZooError(f"{root} holds {what} to {split} with ({', '.join(SUFFIXES)})")
    labels = None
    if len(classes) > 1 and all(len(name.parts) > 1 for name in within.values()):
        labels = np.array([classes.index(within[Path(file)].parts[0]) for file in readable], "int64")
        labels.setflags(write=False)
    return images, labels, landmarks


def _share(files, split):
    """The files of one split of an undivided folder: by a hash of the name, so that a new file moves no other."""
    draws = {file: zlib.crc32(name.as_posix().encode()) for file, name in files.items()}
    test = {file for file, draw in draws.items() if draw % _HELD_OUT == 0}
    if not test and len(files) > 1:
        test = {min(draws, key=draws.get)}
    if test == set(files):
        test.discard(max(draws, key=draws.get, default=None))
    return [file for file in files if (file in test) == (split == "test")]


@functools.lru_cache(maxsize=4)  # two people, two splits
def _decoded(stamps, image_shape, resize):
    """`(images, files they are from, [(file, error)], landmarks)` of `(file, mtime, size)`: a file that changed is read
    again. Landmarks are in sides of the image, None unless all files have as many.
    """
    from PIL import Image  # only folders need it

    images, readable, broken, landmarks = [], [], [], []
    for file, _, _ in stamps:
        try:
            with Image.open(file) as image:
                points, fitted = _landmarks(image), _fitted(image, image_shape, resize)
        except Exception as error:  # whatever a damaged file makes Pillow raise, the others are fine
            broken.append((file, " ".join(str(error).split()) or type(error).__name__))
        else:
            readable.append(file)
            images.append(fitted)
            landmarks.append(points)
    if not images:
        return None, readable, broken, None
    images = np.stack(images)
    images.setflags(write=False)
    without = [file for file, points in zip(readable, landmarks, strict=True) if points is None]
    if 0 < len(without) < len(readable):
        warnings.warn(
            f"{len(without)} of {len(readable)} files carry no landmarks, so that those of the others are not used. "
            f"The first: {without[0]}",
            stacklevel=2,
        )
    same = not without and len({points.shape for points in landmarks}) == 1
    return images, readable, broken, np.stack(landmarks) if same else None


def landmarks_text(points, pixels):
    """What a PNG says of the face in it: x and y of its points, `(n, 2)` in sides of the image, and of which pixels."""
    return json.dumps({"points": np.round(points, 4).tolist(), "pixels": zlib.crc32(np.ascontiguousarray(pixels))})


def _landmarks(image):
    """The points that a Pillow image carries, `(n, 2)` float32; None where it has none, or was changed since.

    Programs that crop or mirror a picture keep what it says.
    """
    try:
        said = json.loads(getattr(image, "text", {})[LANDMARKS])
        points = np.array(said["points"], "float32")
        if said["pixels"] != zlib.crc32(np.ascontiguousarray(image)):
            return None
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):  # anything may stand there
        return None
    return points if points.ndim == 2 and points.shape[1] == 2 and np.isfinite(points).all() else None


_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
          8: "ROTATE_90"}  # fmt: skip


def upright(image, mode):
    """A Pillow image of `mode`, "L" or "RGB": turned as its EXIF says, on black where it is transparent."""
    from PIL import Image

    turn = _TURNS.get(image.getexif().get(0x0112))  # not exif_transpose: it writes the other tags again, and may fail
    if turn:
        image = image.transpose(Image.Transpose[turn])
    if image.mode.startswith("I"):  # 16 bits of grey
        image = Image.fromarray((np.asarray(image).astype("float64") / 257).clip(0, 255).round().astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert(mode)


def _fitted(image, image_shape, resize):
    """A Pillow image as uint8 `(height, width, channels)`: upright, of the given shape."""
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    image = upright(image, "L" if channels == 1 else "RGB")
    how = Image.Resampling.LANCZOS
    if resize == "crop":
        image = ImageOps.fit(image, (width, height), how)
    elif resize == "pad":
        image = ImageOps.pad(image, (width, height), how, color="black" if channels == 3 else 0)
    else:
        image = image.resize((width, height), how)
    return np.asarray(image, "uint8").reshape(image_shape)


def _from_tfds(name, split, data_dir):
    import tensorflow_datasets as tfds  # a second of import that MNIST's users need not pay

    known = tfds.list_builders(with_community_datasets=False)
    if name not in known:
        hint = f" For a folder of images, write {FOLDER}{name}" if Path(name).is_dir() else ""
        known = [*known, *synthetic.MIXTURES, synthetic.STACKED_MNIST, *RENDERED_FACES]
        raise ZooError(f"Unknown data set {name!r}. {did_you_mean(name, known)}{hint}")
    builder = tfds.builder(name)
    if data_dir:
        prepared = tfds.builder(name, data_dir=data_dir)
        builder = prepared if prepared.is_prepared() else builder
    if not builder.is_prepared():
        originals = Path(data_dir, name) if data_dir else None
        files = {url.rsplit("/", 1)[-1] for url in builder.url_infos}
        if not (originals and all((originals / file).is_file() for file in files)):
            _require_host(builder, data_dir)
            originals = None
        config = tfds.download.DownloadConfig(manual_dir=str(originals) if originals else None, try_download_gcs=False)
        try:
            builder.download_and_prepare(download_config=config)
        except tfds.download.download_manager.NonMatchingChecksumError as error:
            reason = " ".join(str(error).split("* Expected")[0].split()).rstrip(":")
            raise ZooError(f"An original file of {name} is damaged: {reason}; fetch it again") from None
    if split not in builder.info.splits:
        raise ZooError(f"{name} has the splits {', '.join(builder.info.splits)}. Received: {split!r}")
    if "image" not in builder.info.features:
        raise ZooError(f"{name} is not a data set of images: it has {', '.join(builder.info.features)}")
    examples = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    labels = examples.get("label")
    return np.asarray(examples["image"]), None if labels is None else np.asarray(labels, "int64")


def _require_host(builder, data_dir):
    """Raises MissingDataError at once where TFDS would wait minutes for a host that cannot be reached."""
    looked = [str(builder.data_path)]
    looked.append(str(Path(data_dir, builder.name)) if data_dir else "--data-dir / $KERAS_GENZOO_DATA (not set)")
    if urllib.request.getproxies():
        return  # a proxy reaches hosts that we cannot
    urls = [urllib.parse.urlparse(url) for url in builder.url_infos]
    try:
        for host, scheme in sorted({(url.hostname, url.scheme) for url in urls if url.hostname}):
            socket.create_connection((host, 80 if scheme == "http" else 443), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise MissingDataError(
            f"Data set {builder.name!r} is missing; looked in {' and '.join(looked)}, and {host} cannot be reached "
            f'({error}). On a machine with a network: python -c "import tensorflow_datasets as tfds; '
            f"tfds.load('{builder.name}')\", or put its original files into DIR/{builder.name}/ and set "
            "KERAS_GENZOO_DATA=DIR"
        ) from None
