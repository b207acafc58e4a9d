"""The cost of a data set before it is touched, for presets of strangers: a folder that is read, a host, a size."""

import urllib.parse
from pathlib import Path

from keras_genzoo.data import SOURCES, bundled, data_directory, tfds
from keras_genzoo.typing import PathLike

_INFO = "dataset_info.json"  # file of a data set that TFDS has prepared


def cost(name: str, *, data_dir: PathLike | None = None) -> str | None:
    """The cost of a data set that is not at hand. Nothing is fetched, and no folder of its own is read.

    Args:
        name: Name of the data set, see `data.load`.
        data_dir: Folder of data sets, see `data.load`.

    Returns:
        A phrase that completes "it would"; None for a data set of the package or of an installed one, and for one that
        was fetched before.
    """
    start, colon, place = name.partition(":")
    if colon and f"{start}:" in SOURCES:
        return f"read the {start} {place}"
    data_dir = data_directory(data_dir)
    folder = Path(data_dir, name) if data_dir else None
    if name in SOURCES and (name != bundled.STATIC_MNIST or (folder and any(folder.glob("*.npz")))):
        return None
    return _cost_of_tfds(name, folder)


def _cost_of_tfds(name, folder):
    import tensorflow_datasets
    from tensorflow_datasets.core import constants

    if name not in tfds.names():  # whoever loads it refuses it
        return None
    # The class alone: a builder asks TFDS' host for more about itself.
    files = tensorflow_datasets.builder_cls(name).url_infos or {}
    for place in filter(None, (folder, Path(constants.DATA_DIR, name))):
        if any(place.glob(f"*/{_INFO}")) or any(place.glob(f"*/*/{_INFO}")):
            return None
    originals = {url.rsplit("/", 1)[-1] for url in files}
    if folder and originals and all((folder / file).is_file() for file in originals):
        return None
    hosts = sorted({host for url in files if (host := urllib.parse.urlparse(url).hostname)})
    size = sum(file.size or 0 for file in files.values())
    return f"fetch {f'{size / 1e6:,.0f} MB' if size else 'files'} from {', '.join(hosts) or 'its host'}"
