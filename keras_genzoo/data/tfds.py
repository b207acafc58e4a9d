"""Image data sets of TensorFlow Datasets, from its host, its folder, or original files in a user's folder."""

import contextlib
import functools
import socket
import urllib.parse
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo.errors import MissingDataError, ZooError

_PROBE_SECONDS = 5  # time within which a host must answer
_HTTP_PORT, _HTTPS_PORT = 80, 443


def arrays(name: str, split: str, *, data_dir: str | None, **_: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """A split of a data set.

    Args:
        name: Name of the data set at TensorFlow Datasets.
        split: Name of the split.
        data_dir: Folder of data sets; None: there is none.

    Returns:
        `(images, labels)`: uint8 `(n, H, W, C)`; int64 `(n,)`, or None where the set has no labels.

    Raises:
        ZooError: No data set of images, no such split, or a damaged original file.
        MissingDataError: The data set is not here and cannot be fetched.
    """
    return _arrays(name, split, data_dir)


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
def _arrays(name, split, data_dir):
    """The images and labels of one split, prepared first where they are not yet."""
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        originals = _originals(builder, data_dir)
        with _alone(builder):
            builder = _builder(name, data_dir)  # another process may have prepared it in the meantime
            if not builder.is_prepared():
                _prepare(builder, originals)
    if split not in builder.info.splits:
        raise ZooError(f"{name} has the splits {', '.join(builder.info.splits)}. Received: {split!r}")
    if "image" not in builder.info.features:
        raise ZooError(f"{name} is not a data set of images: it has {', '.join(builder.info.features)}")
    examples: Any = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    labels = examples.get("label")
    return np.asarray(examples["image"]), None if labels is None else np.asarray(labels, "int64")


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
