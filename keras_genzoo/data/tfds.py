"""Image data sets of TensorFlow Datasets, from its host, its folder, or original files in a user's folder."""

import contextlib
import functools
import hashlib
import itertools
import socket
import urllib.parse
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.data import folder, rows
from keras_genzoo.errors import MissingDataError, ZooError

_PROBE_SECONDS = 5  # time within which a host must answer
_HTTP_PORT, _HTTPS_PORT = 80, 443
_SHARES = {"train": "train[:90%]", "test": "train[90%:]"}  # of a data set that has no other split
_AT_ONCE = 512  # images that are fitted in one piece


def arrays(
    name: str,
    split: str,
    *,
    data_dir: str | None,
    image_shape: tuple[int, int, int] | None = None,
    resize: str = "crop",
    ground: str | None = None,
    cache: str | None = None,
    **_: Any,
) -> tuple[Any, np.ndarray | None]:
    """A split of a data set.

    A set without "test" has its "validation" in the place; one without either the last tenth of its "train", which is
    then not in "train".

    Args:
        name: Name of the data set at TensorFlow Datasets.
        split: Name of the split.
        data_dir: Folder of data sets; None: there is none.
        image_shape: Shape to which images of another are fitted, `(H, W, C)` with 1 or 3 channels; None: their own,
            where they have one.
        resize, ground: Ways to fit them, see `data.load`.
        cache: "memory" or "disk", a file of pixels in the user's cache; None: memory up to half a gigabyte of pixels.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`, or `rows.DiskRows` of them; int64 `(n,)`, or None where the set has no
        labels.

    Raises:
        ZooError: No data set of images, no such split, a bad argument, or a damaged original file.
        MissingDataError: The data set is not here and cannot be fetched.
    """
    shape = None if image_shape is None else tuple(image_shape)
    return _arrays(name, split, data_dir, shape, resize, ground, cache)


def own_shape(name: str, data_dir: str | None) -> tuple[int | None, int | None, int | None]:
    """The shape of the images of a data set, `(H, W, C)`; None for a side that differs between images.

    Args:
        name: Name of the data set at TensorFlow Datasets.
        data_dir: Folder of data sets; None: there is none.
    """
    return tuple(_builder(name, data_dir).info.features["image"].shape)


def class_names(name: str, data_dir: str | None) -> list[str] | None:
    """The names of the classes of a data set; None where it does not tell them.

    Args:
        name: Name of the data set at TensorFlow Datasets.
        data_dir: Folder of data sets; None: there is none.
    """
    features = _builder(name, data_dir).info.features
    feature = features["label"] if features and "label" in features else None
    return list(getattr(feature, "names", None) or []) or None


def names() -> list[str]:
    """The names of the data sets of TensorFlow Datasets."""
    import tensorflow_datasets as tfds  # imported for a second, which users of MNIST need not wait

    return tfds.list_builders(with_community_datasets=False)


@functools.lru_cache(maxsize=4)
def _arrays(name, split, data_dir, image_shape, resize, ground, cache):
    """The images and labels of one split, prepared first where they are not yet."""
    builder = _prepared(name, data_dir)
    split = _split(builder, split)
    if "image" not in builder.info.features:
        raise ZooError(f"{name} is not a data set of images: it has {', '.join(builder.info.features)}")
    if cache not in (None, "memory", "disk"):
        raise ZooError(f"The images of {name} lie one after the other: `cache` is memory or disk. Received: {cache!r}")
    own, n = tuple(builder.info.features["image"].shape), builder.info.splits[split].num_examples
    shape = image_shape or own
    if None in shape:
        raise ZooError(f"The images of {name} are of many shapes; `image_shape` says to which they are brought")
    if shape != own:
        folder.check_fit(name, shape, resize)
    n_bytes = n * int(np.prod(shape, dtype="int64"))
    is_small = n_bytes <= rows.MOST_IN_MEMORY
    if shape == own and (cache == "memory" or (cache is None and is_small)):
        examples: Any = _examples(builder, split, batch_size=-1)
        labels = examples.get("label")
        return np.asarray(examples["image"]), None if labels is None else np.asarray(labels, "int64")
    labels = [] if "label" in builder.info.features else None
    pieces = _pieces(builder, split, None if shape == own else shape, resize, ground, labels)
    if (cache or ("memory" if is_small else "disk")) == "memory":
        rows.require_memory(n, shape)
        images: Any = np.empty((n, *shape), "uint8")
        done = 0
        for piece in pieces:
            images[done : done + len(piece)] = piece
            done += len(piece)
    else:
        size = builder.info.splits[split.partition("[")[0]].num_bytes
        identity = f"{name} {builder.version} {split} {size} {shape} {resize} {ground}"
        digest = hashlib.sha256(f"{builder.data_path} {identity}".encode()).hexdigest()[:24]
        images = rows.stored(pieces, digest, shape, n, identity)
        if labels is not None and not labels:  # the pixels were there from before, and were not read again
            labels = [example["label"] for example in _examples(builder, split, without_images=True)]
    return images, None if labels is None else np.array(labels, "int64")


def _prepared(name, data_dir):
    """The builder of a data set that is prepared."""
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        originals = _originals(builder, data_dir)
        with _alone(builder):
            builder = _builder(name, data_dir)  # another process may have prepared it in the meantime
            if not builder.is_prepared():
                _prepare(builder, originals)
    return builder


def _split(builder, split):
    """The split of the data set that is meant by a name."""
    splits = builder.info.splits
    if split == "test" and split not in splits and "validation" in splits:
        return "validation"
    if set(splits) == {"train"} and split in _SHARES:
        return _SHARES[split]
    if split not in splits:
        raise ZooError(f"{builder.name} has the splits {', '.join(splits)}. Received: {split!r}")
    return split


def _examples(builder, split, *, batch_size=None, without_images=False) -> Any:
    """The examples of a split, in the order of their file."""
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()} if without_images else None
    return tfds.as_numpy(builder.as_dataset(split=split, batch_size=batch_size, decoders=decoders))


def _pieces(builder, split, image_shape, resize, ground, labels):
    """Yields the images of a split in pieces `(m, H, W, C)`, fitted to a shape if there is one; notes the labels."""
    examples = iter(_examples(builder, split))
    done = 0
    while piece := list(itertools.islice(examples, _AT_ONCE)):
        if labels is not None:
            labels += [example["label"] for example in piece]
        images = [example["image"] for example in piece]
        if images[0].dtype != "uint8":
            raise ZooError(f"Images of {images[0].dtype} are only taken as they are, and in memory: {builder.name}")
        if image_shape is not None:
            images = rows.by_all_cores(
                functools.partial(_fitted, image_shape=image_shape, resize=resize, ground=ground),
                images,
                range(done, done + len(images)),
            )
        done += len(images)
        yield np.stack(images)


def _fitted(pixels, number, *, image_shape, resize, ground):
    """An image of a data set in another shape, see `folder.fitted`; the number draws its ground."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return folder.fitted(image, image_shape, resize, colour=folder.colour_of(ground, str(number)))


def _builder(name, data_dir) -> Any:
    """The builder of a data set, in `data_dir` where it is prepared there, else in the user's own folder."""
    import tensorflow_datasets as tfds

    if data_dir:
        builder: Any = tfds.builder(name, data_dir=data_dir)
        if builder.is_prepared():
            return builder
    return tfds.builder(name)


@contextlib.contextmanager
def _alone(builder):
    """Context in which no other process prepares the data set. The lock of a process that was killed is free."""
    import filelock

    path = Path(builder.data_path).parent
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / ".keras_genzoo.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            warnings.warn(f"Another process prepares {builder.name}; waiting for it", stacklevel=1)
            lock.acquire()
    except OSError as error:
        raise _cannot_prepare(builder, error) from None
    try:
        yield
    finally:
        lock.release()


def _cannot_prepare(builder, error):
    return ZooError(f"Cannot prepare {builder.name} in {Path(builder.data_path).parent}: {error.strerror or error}")


def _originals(builder, data_dir):
    """The folder of the original files; None where they are to be fetched."""
    folder = Path(data_dir, builder.name) if data_dir else None
    files = {url.rsplit("/", 1)[-1] for url in builder.url_infos}
    if folder and all((folder / file).is_file() for file in files):
        return folder
    _require_host(builder, data_dir)
    return None


def _prepare(builder, originals):
    """Prepares a data set, from the folder of its original files where there is one."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    config = tfds.download.DownloadConfig(manual_dir=str(originals) if originals else None, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except NonMatchingChecksumError as error:
        reason = " ".join(str(error).split("* Expected")[0].split()).rstrip(":")
        raise ZooError(f"An original file of {builder.name} is damaged: {reason}; fetch it again") from None
    except FileExistsError as error:  # a program without our lock was faster
        if not builder.is_prepared():
            raise _cannot_prepare(builder, error) from None


def _require_host(builder, data_dir):
    """Raises MissingDataError at once where TFDS would wait minutes for a host that cannot be reached."""
    places = [str(builder.data_path)]
    places.append(str(Path(data_dir, builder.name)) if data_dir else "--data-dir / $KERAS_GENZOO_DATA (not set)")
    if urllib.request.getproxies():
        return  # a proxy may reach hosts that this machine cannot
    urls = [urllib.parse.urlparse(url) for url in builder.url_infos]
    try:
        for host, scheme in sorted({(url.hostname, url.scheme) for url in urls if url.hostname}):
            port = _HTTP_PORT if scheme == "http" else _HTTPS_PORT
            socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise MissingDataError(
            f"Data set {builder.name!r} is missing; looked in {' and '.join(places)}, and {host} cannot be reached "
            f'({error}). On a machine with a network: python -c "import tensorflow_datasets as tfds; '
            f"tfds.load('{builder.name}')\", or put its original files into DIR/{builder.name}/ and set "
            "KERAS_GENZOO_DATA=DIR"
        ) from None
