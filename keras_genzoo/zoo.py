"""Models of preset folders: load, build, compile and save them."""

import contextlib
import inspect
import json
import math
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from keras_genzoo import data as _data
from keras_genzoo import engine, files, models, origin, parts, presets, remote
from keras_genzoo.data import asking, held
from keras_genzoo.errors import MissingDataError, ZooError, one_line, reason
from keras_genzoo.presets import (
    GOLDEN_FILE,
    HISTORY_FILE,
    PRESET_FILE,
    WEIGHTS_FILE,
    WEIGHTS_RECORD,
    DataConfig,
    EvaluationConfig,
    ExportConfig,
    OptimizerConfig,
    Preset,
    TrainingConfig,
)
from keras_genzoo.registry import resolve
from keras_genzoo.typing import DType, PathLike

_NAME = re.compile(r"\w[\w .-]{0,199}")  # name of a preset, which is also that of files
_DECIDED_BY_ZOO = ("seed", "dtype", "name")  # constructor arguments that a preset.yaml does not set
_GOLDEN_IMAGES = 1  # number of images in the stored example; more would make large files of codes of 1,000 numbers
_INK = 0.2  # share of white pixels in an image of the stored example
_REST = 0.1  # share of the preset's learning rate for trained weights; the whole rate would undo some of the training
_WEIGHTS_DTYPES = ("float32", "float16")  # types of a weights file
# Bounds of models of strangers; the largest of the zoo has 40 million parameters.
_MOST_PARAMETERS = 250_000_000
_MOST_NUMBERS_OF_AN_IMAGE = 50_000_000
_MOST_CONFIG_BYTES = 1_000_000  # of the configuration in a `.keras` file
_MOST_EXPANSION = 16  # times the model's own bytes that a weights file may hold: wider types and optimizer state
_LEAST_PACKED = 256  # numbers of an array above which compression pays


def load(name: str | Path, *, weights: PathLike | None = "preset", dtype: DType = None) -> Any:
    """A model of the zoo: compiled, with trained weights by default.

    Args:
        name: Name of a bundled preset (`list_presets()`), or path of a preset folder: a Path, or a string with a
            separator, such as "./my_preset"; "hf://USER/NAME" on Hugging Face's hub, "@REVISION" behind it or not, or
            "https://HOST/NAME.zip" of a preset folder, both kept in the user's cache; or path of a `.keras` file of a
            model of the zoo.
        weights: "preset" for the trained weights, checked by SHA-256, or those of the `.keras` file; None for fresh
            ones; or path of a `.weights.h5` file of the same architecture.
        dtype: Precision policy: "float32", "mixed_float16", "mixed_bfloat16". None: Keras' global policy, or that of
            the `.keras` file.

    Returns:
        A compiled `keras.Model`. Its optimizers are the preset's, at a constant learning rate: the preset's rate for
        fresh weights, a tenth of it for trained ones. A model of a `.keras` file is as it was saved, with its
        optimizers' state; with a `weights` or a `dtype` of its own, its optimizers start afresh.

    Raises:
        ZooError: Unknown name (with the nearest), bad preset.yaml, damaged weights or weights that are not finite,
            weights of another architecture, a `.keras` file of another library's model.

    Example:
        >>> import keras_genzoo as gz
        >>> vae = gz.load("vae_mnist")
        >>> vae.sample(64, seed=0).shape
        (64, 28, 28, 1)
    """
    if isinstance(name, (str, Path)) and str(name).endswith(".keras"):
        return _load_keras(Path(name).expanduser(), weights, dtype)
    preset = presets.find(name)
    model = build(preset, dtype=dtype)
    if weights == "preset":
        load_weights(model, checked_weights(preset))
    elif weights is not None:
        load_weights(model, weights)
    factor = 1.0 if weights is None else _REST
    compile_model(model, preset, learning_rate=lambda config, key, every: factor * config.learning_rate)
    return model


def build(preset: Preset, *, dtype: DType = None) -> Any:
    """The preset's model with fresh weights, not compiled.

    Args:
        preset: A `presets.Preset`.
        dtype: Precision policy, see `load`.

    Returns:
        A model of the preset's family.

    Raises:
        ZooError: An unknown, missing or bad argument of the model or of one of its parts. The message names the key in
            preset.yaml.
    """
    cls = models.get(preset.family)
    file, arguments = preset.file, preset.model
    parts.bind(cls, arguments, origin=file, prefix="model.", hidden=_DECIDED_BY_ZOO, unchecked=tuple(cls.PARTS))
    for key, kind in cls.PARTS.items():
        spec = arguments.get(key)
        for part in spec if isinstance(spec, list) else [spec]:
            if part is not None and not parts.is_own(kind, part):
                parts.chosen(kind, part, key=f"model.{key}", origin=file)
    shape = arguments.get("image_shape")
    n = math.prod(shape) if shape else 0
    if n > _MOST_NUMBERS_OF_AN_IMAGE:
        raise ZooError(
            f"{file}: `model.image_shape` makes images of {n:,} numbers, {4 * n / 1e9:g} GB each; at most "
            f"{_MOST_NUMBERS_OF_AN_IMAGE:,} are taken"
        )
    try:
        with engine.at_most(_MOST_PARAMETERS):
            model = cls(**arguments, seed=preset.training.seed, dtype=dtype)
    except Exception as error:  # Keras and TensorFlow refuse sizes by errors of all types
        raise ZooError(f"{reason(error)} ({file}: model)") from error
    model.preset = preset
    return model


def compile_model(
    model: Any, preset: Preset, *, learning_rate: Callable[[OptimizerConfig, str, int], Any], **compile_args: Any
) -> None:
    """Compiles with the preset's optimizers.

    Args:
        model: The preset's model.
        preset: The preset.
        learning_rate: Function of an `OptimizerConfig`, of its key in preset.yaml, and of the number of training steps
            for one step of the optimizer; it returns a rate or a schedule.
        **compile_args: Further arguments of the model's `compile`.

    Raises:
        ZooError: Other optimizers than the model's, an unknown optimizer, or a bad option of one.
    """
    configs = preset.training.optimizers
    if not configs and not compile_args:
        return  # a model that was built by hand, whose optimizers are not known: its user compiles it
    if set(configs) != set(model.OPTIMIZERS):
        raise ZooError(
            f"{preset.file}: `training.optimizers` of a {preset.family} must be {sorted(model.OPTIMIZERS)}. "
            f"Received: {sorted(configs)}"
        )
    optimizers = {}
    for key, config in configs.items():
        path = f"training.optimizers.{key}"
        optimizer, options = parts.chosen(
            "optimizer", {"name": config.name, **config.options}, key=path, origin=preset.file
        )
        rate = learning_rate(config, path, model.steps_per_update(key))
        try:
            optimizers[key] = optimizer(learning_rate=rate, **options)
        except Exception as error:  # Keras checks few of an optimizer's options
            raise ZooError(f"{preset.file}: `{path}`: {config.name}: {reason(error)}") from error
    try:
        model.compile(**optimizers, **compile_args)
    except Exception as error:
        raise ZooError(f"{preset.file}: `training.optimizers`: {reason(error)}") from error


def checked_weights(preset: Preset, *, fetching: bool = True) -> Path:
    """The path of the preset's weights, whose size and SHA-256 are those in weights.json.

    They are in its folder; else in the user's cache; else they are fetched from the `url` in weights.json.

    Args:
        preset: A preset with a folder.
        fetching: Whether they may be fetched.

    Raises:
        ZooError: No weights, no folder, or a file of another size or hash.
    """
    record, path = preset.record(WEIGHTS_RECORD), preset.folder / WEIGHTS_FILE
    if record is not None and not path.is_file():
        return remote.weights(record, preset.name, fetching=fetching)
    if record is None:
        raise ZooError(
            f"{preset.name} has no weights in {preset.folder}; train it with: keras-genzoo train {preset.name}"
        )
    if not {"bytes", "sha256"} <= set(record):
        raise ZooError(f"{preset.folder / WEIGHTS_RECORD} lacks `bytes` or `sha256`; reinstall or retrain")
    size = path.stat().st_size
    if size != record["bytes"]:
        raise ZooError(
            f"{path} is truncated or replaced: {size} bytes, {record['bytes']} expected; reinstall or retrain"
        )
    if files.sha256(path) != record["sha256"]:
        raise ZooError(
            f"{path} is damaged or replaced: its SHA-256 is not that in {WEIGHTS_RECORD}; reinstall or retrain"
        )
    return path


def load_weights(model: Any, path: PathLike) -> None:
    """Loads a .weights.h5 file strictly: every variable must be there in its shape, and every number finite.

    Args:
        model: Model whose variables are set.
        path: File to read.

    Raises:
        ZooError: No such file, weights of another architecture, a damaged file, or NaN or infinity in it.
    """
    if not Path(path).is_file():
        raise ZooError(f"`weights` file {str(path)!r} does not exist")
    try:
        if not str(path).endswith(".keras"):  # whose bounds Keras checks
            _check_extent(model, path)
        with _strictly():
            model.load_weights(path)
    except Exception as error:  # a damaged file is an error of any type in HDF5, h5py or Keras
        raise ZooError(f"{path} does not hold the weights of this {type(model).__name__}: {reason(error)}") from error
    check_finite(model, path)


@contextlib.contextmanager
def _strictly() -> Iterator[None]:
    """Context in which weights that are missing are an error: of some, Keras only warns, and leaves fresh ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*freshly-initialized weights")
        yield


def _check_extent(model, path):
    """Refuses an HDF5 file whose arrays are far larger than the model's: HDF5 keeps terabytes of zeros in no space."""
    held = 0

    def count(_, item):
        nonlocal held
        if isinstance(item, h5py.Dataset):
            held += item.size * item.dtype.itemsize

    with h5py.File(path) as file:
        file.visititems(count)
    own = sum(4 * math.prod(variable.shape) for variable in model.variables)
    if held > _MOST_EXPANSION * own + 1_000_000:
        raise ZooError(f"it holds {held:,} bytes of numbers, and the model's are {own:,}")


def check_finite(model: Any, origin: Any) -> None:
    """Refuses a model with weights that are not finite.

    Args:
        model: The model.
        origin: File or name of the model, for the error.

    Raises:
        ZooError: A weight is NaN or infinite.
    """
    for variable in model.weights:
        if "float" in variable.dtype and not np.isfinite(engine.array(variable)).all():
            raise ZooError(
                f"{origin}: `{variable.path}` holds NaN or infinity: the file is damaged, or its training had failed. "
                "Retrain it, or fetch it again"
            )


def _load_keras(path: Path, weights: PathLike | None, dtype: DType) -> Any:
    """The model of a `.keras` file, see `load`."""
    cls = _class_in(path)
    try:
        with engine.at_most(_MOST_PARAMETERS), _strictly():
            model: Any = keras.saving.load_model(path, safe_mode=True)
            if weights != "preset" or dtype is not None:
                config = model.get_config()
                twin = cls.from_config(config if dtype is None else {**config, "dtype": dtype})
                if model.compiled:
                    twin.compile_from_config(model.get_compile_config())
                if weights == "preset":
                    twin.set_weights(model.get_weights())
                model = twin
    except Exception as error:  # zip, JSON, HDF5, Keras: a damaged file is an error of any type
        raise ZooError(f"{path} does not hold a {cls.__name__} that loads: {reason(error)}") from error
    if weights not in ("preset", None):
        load_weights(model, weights)
    check_finite(model, path)
    return model


def _class_in(path: Path) -> Any:
    """The class of the zoo, or of a user who has registered it, that a `.keras` file names; nothing of it is run."""
    if not path.is_file():
        raise ZooError(f"No file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _MOST_CONFIG_BYTES:
                raise ZooError(f"its configuration has more than {_MOST_CONFIG_BYTES:,} bytes")
            config = json.loads(archive.read("config.json"))
        names = {key: str(config.get(key)) for key in ("module", "class_name", "registered_name")}
    except Exception as error:  # zipfile, zlib and JSON have their own
        raise ZooError(f"{path} is no `.keras` file: {reason(error)}") from error
    for _, record in models.records():
        resolve(record.model)  # registers the class, which the file names
    cls = keras.saving.get_registered_object(names["registered_name"])
    if not (isinstance(cls, type) and hasattr(cls, "OPTIMIZERS") and issubclass(cls, keras.Model)):
        raise ZooError(
            f"{path} holds a {one_line(names['class_name'], 60)} of {one_line(names['module'], 60)}, which is no model "
            "of the zoo: keras.saving.load_model reads it, once the code of its own classes is imported"
        )
    return cls


def save(
    model: Any,
    path: PathLike,
    *,
    name: str | None = None,
    description: str | None = None,
    data: Any = None,
    protocol: Mapping[str, Any] | None = None,
    history: list[dict[str, float]] | None = None,
    overwrite: bool = False,
    weights_dtype: str = "float32",
    trained: dict[str, Any] | None = None,
    pictures: Sequence[Path] = (),
) -> None:
    """Saves a model as a preset folder, which `load(path)` reads back.

    The model may be one of the zoo's, or one that was built by hand, read from a `.keras` file, or copied. Of the
    latter the folder says what is known: its networks, its optimizers, and what the arguments say of its data.

    Writes preset.yaml, model.weights.h5, weights.json and golden.npz. The folder is written aside and renamed when
    complete: an interrupted save leaves the old one.

    Args:
        model: A model of the zoo's classes.
        path: Folder to write; its name is the preset's.
        name: Name in the description of a model that was built by hand; None: the folder's.
        description: Description in preset.yaml; None: the preset's, or one in general words.
        data: Data set that the model was trained on: its name, such as "folder:PATH"; a dict of `name` and the other
            arguments of `data.load`, such as `{"name": "mnist", "binarize": "dynamic"}`; or arrays, of which the file
            keeps a hash. None: that of the preset, if the model has one.
        protocol: Keys of the section `evaluation`, such as `{"metric": "psnr", "n_samples": 2000}`; None: the preset's.
        history: Losses of every epoch of training, a list of dicts; written as history.json.
        overwrite: Whether a folder that exists is replaced. Its measured numbers and its card are removed: they belong
            to other weights.
        weights_dtype: Type of the weights in the file: "float32", or "float16", which halves the file and rounds the
            weights to 11 bits. They are float32 again once loaded.
        trained: Record of the training (seconds, data, start) from `train`; written into weights.json. Weights that are
            still those of the preset's folder keep the record and the history that are there.
        pictures: Files and folders of a training, which are copied into the folder where they exist.

    Raises:
        ZooError: The folder exists or cannot be written, the model is of a class that `load` does not make, or an
            argument is wrong.

    Example:
        >>> import pathlib, tempfile
        >>> import keras_genzoo as gz
        >>> folder = pathlib.Path(tempfile.mkdtemp(), "my_autoencoder")
        >>> gz.save(gz.load("ae2d_mnist"), folder)
        >>> sorted(file.name for file in folder.iterdir())
        ['golden.npz', 'history.json', 'model.weights.h5', 'preset.yaml', 'weights.json']
    """
    path = files.healed(Path(path).expanduser().resolve())
    plan = described(model, name=name or path.name, data=data, description=description, protocol=protocol, exact=True)
    if "frozen" in model.get_config():
        warnings.warn("A preset folder does not say which layers are frozen; a `.keras` file does", stacklevel=2)
    if weights_dtype not in _WEIGHTS_DTYPES:
        raise ZooError(f"`weights_dtype` must be 'float32' or 'float16'. Received: {weights_dtype!r}")
    if os.path.exists(path) and not overwrite:
        raise ZooError(f"{path} exists; give another path, or overwrite=True")
    if os.path.exists(path):
        presets.check_replaceable(path)
    came_from = origin.record(plan, dtype=model.dtype_policy.name) | _hash_of_held(plan) | (trained or {})
    is_stored = trained is None and model.preset is not None and has_stored_weights(model)
    if is_stored and model.preset is not None:
        stored = model.preset.record(WEIGHTS_RECORD).get("origin")
        if stored:  # of the weights; the seal is of whoever names the data now
            came_from = {**stored, "seal": came_from["seal"]} if came_from["seal"] else stored
        history = history or model.preset.record(HISTORY_FILE)
    with files.folder_aside(path) as folder:
        preset = plan.with_updates(model=_configuration(model))
        if not is_stored:  # whose weights these are, and what was measured of them, nobody has said yet
            preset = preset.model_copy(update={"license": None, "export": ExportConfig()})
        if preset.data.name.startswith(held.PREFIX):  # which ends with the process
            preset = preset.with_updates(data={"name": held.UNNAMED})
        files.write_text(folder / PRESET_FILE, presets.dump(preset))
        # The file holds no optimizer state, for the twin is not compiled.
        twin = type(model).from_config({**model.get_config(), "dtype": "float32"})
        twin.preset = preset
        twin.set_weights(model.get_weights())
        with files.in_memory(folder / WEIGHTS_FILE) as packed:
            _pack(weights_image(twin), packed, weights_dtype)
        load_weights(twin, folder / WEIGHTS_FILE)  # the stored example comes from the weights as the file rounds them
        with files.in_memory(folder / GOLDEN_FILE) as packed:
            # NumPy's types take every keyword for `allow_pickle`.
            np.savez_compressed(packed, **golden(twin))  # pyright: ignore[reportArgumentType]
        record = {
            "file": WEIGHTS_FILE,
            "sha256": files.sha256(folder / WEIGHTS_FILE),
            "bytes": files.size(folder / WEIGHTS_FILE),
            "parameters": parameter_count(model),
            "train_steps": int(model.train_steps.numpy()),
            "origin": came_from,
        }
        files.write_json(folder / WEIGHTS_RECORD, record)
        if history:
            history = _by_epoch(history)
            epochs = [{key: value and float(f"{value:.6g}") for key, value in logs.items()} for logs in history]
            files.write_json(folder / HISTORY_FILE, epochs, indent=None)
        for picture in pictures:
            if picture.is_dir():
                shutil.copytree(picture, folder / picture.name)
            elif picture.is_file():
                shutil.copy(picture, folder / picture.name)


def described(
    model: Any,
    *,
    name: str | None = None,
    data: Any = None,
    description: str | None = None,
    protocol: Mapping[str, Any] | None = None,
    exact: bool = False,
) -> Preset:
    """The preset of a model, with other data and another protocol; a fresh one where the model has none.

    Args:
        model: A model of the zoo's classes.
        name: Name of the preset; None: that of its folder, or of the model.
        data, description, protocol: See `save`.
        exact: Whether the model must be of a class that `load` makes; else a subclass is taken for its family's.

    Returns:
        A preset. That of a model that was built by hand has no folder, and claims nothing that is not known.

    Raises:
        ZooError: The model is of a subclass, or of no family; or an argument is wrong.
    """
    found = [models.family_of(cls) for cls in (type(model).__mro__[:1] if exact else type(model).__mro__)]
    family = next(filter(None, found), None)
    if family is None and not exact:
        raise ZooError(f"A model of the zoo's families is needed. Received: a {type(model).__name__}")
    if family is None:
        raise ZooError(
            f"{type(model).__name__} is no class of the zoo's families: a preset folder would come back as another, "
            "and its own code would be lost. Save it by model.save('NAME.keras'), or register a family: see "
            "docs/extending.md"
        )
    plan = model.preset or Preset(
        family=family,
        description=f"{name or model.name}: a {family} built by hand.",
        data=DataConfig(name=held.UNNAMED),
        model=_configuration(model),
        training=TrainingConfig(optimizers=_optimizers_of(model), seed=model.seed or 0),
        evaluation=EvaluationConfig(),
    )
    plan = plan.model_copy()
    plan._name = name if name is not None or model.preset else model.name
    if not _NAME.fullmatch(plan.name):
        raise ZooError(f"`name` must be letters, digits, '.', '_' and '-'. Received: {plan.name!r}")
    if description is not None:
        plan = plan.model_copy(update={"description": description})
    if data is not None:
        config: dict[str, Any] = dict(data) if isinstance(data, Mapping) and "name" in data else {"name": data}
        if not isinstance(config["name"], str):
            config = {**config, "name": held.hold(config["name"])}
        config = {**config, "name": _data.full_name(_data.known(config["name"]))}
        plan = plan.model_copy(update={"data": parts.validate(DataConfig, config, origin="`data`")})
        plan._is_asked = True
    if protocol is not None and not isinstance(protocol, Mapping):
        raise ZooError(f"`protocol` must be a dict of keys of `evaluation`. Received: {protocol!r}")
    if protocol is not None:
        merged = {**plan.evaluation.model_dump(), **protocol}
        plan = plan.model_copy(update={"evaluation": parts.validate(EvaluationConfig, merged, origin="`protocol`")})
    return plan


def _configuration(model):
    """The section `model` of a model's preset.yaml: the arguments that are not those of every model."""
    config = {key: value for key, value in model.get_config().items() if key not in (*_DECIDED_BY_ZOO, "frozen")}
    return {key: value for key, value in config.items() if value != _default(model, key)}


def _optimizers_of(model):
    """The optimizers of a compiled model as preset.yaml has them; none where one of them cannot be named there."""
    found = {}
    if not model.compiled:
        return found
    for key in model.OPTIMIZERS:
        optimizer = getattr(model, key)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        name = type(optimizer).__name__.lower()
        if parts.names("optimizer").get(name) is not type(optimizer):
            return {}
        config, defaults = optimizer.get_config(), type(optimizer)().get_config()
        options = {k: v for k, v in config.items() if k not in ("name", "learning_rate") and v != defaults.get(k)}
        rate = float(engine.array(optimizer.learning_rate))
        found[key] = OptimizerConfig(name=name, learning_rate=float(f"{rate:.6g}"), **options)
    return found


def _hash_of_held(preset):
    """The entry of weights.json about arrays that were given as data, which the folder does not hold."""
    name = preset.data.name
    if not name.startswith(held.PREFIX):
        return {}
    splits = {}
    for split in held.SPLITS:
        with contextlib.suppress(MissingDataError):
            splits[split] = origin.data_hash(*_data.arrays(name, split))
    return {"data": splits}


def _by_epoch(history: Any) -> list[dict[str, float]]:
    """A history as a list of dicts: also what Keras' `fit` returns."""
    columns = getattr(history, "history", history)
    if isinstance(columns, dict):
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return columns


def has_stored_weights(model: Any) -> bool:
    """Whether a model has the weights still that are in the folder of its preset."""
    preset, steps = model.preset, int(model.train_steps.numpy())
    record = preset.record(WEIGHTS_RECORD)
    if record is None or record.get("train_steps") != steps:
        return False
    try:
        path = checked_weights(preset, fetching=False)
    except ZooError:
        return False
    stored = build(preset)
    load_weights(stored, path)
    return all(map(np.array_equal, stored.get_weights(), model.get_weights()))


def _default(model: Any, key: str) -> Any:
    """The default of a constructor argument, as plain data; the class itself where it has none."""
    parameter = inspect.signature(type(model)).parameters.get(key)
    if parameter is None or parameter.default is parameter.empty:
        return type(model)
    return parts.plain(parameter.default)


def weights_image(model: Any) -> files.MemoryFile:
    """The .weights.h5 file of a model, in memory: HDF5 ends the process where a disk is full under it.

    Args:
        model: A built `keras.Model`.

    Returns:
        A file in memory, at its end.
    """
    image = files.MemoryFile(WEIGHTS_FILE)
    model.save_weights(image)
    return image


def _pack(plain, packed, dtype):
    """Copies a weights file compressed, its float32 arrays as `dtype`; counters and random state keep their types."""

    def copy(name, item):
        if isinstance(item, h5py.Dataset):
            array = item[()].astype(dtype) if item.dtype == "float32" else item[()]
            # Shuffling puts the first bytes of all numbers together: signs and exponents repeat, digits do not.
            options = {"compression": "gzip", "shuffle": True} if array.size > _LEAST_PACKED else {}
            copied = target.create_dataset(name, data=array, **options)
        else:
            copied = target.require_group(name)
        copied.attrs.update(item.attrs)

    # A second file: in one file HDF5 does not free the space of old arrays.
    with h5py.File(plain) as source, h5py.File(packed, "w") as target:
        target.attrs.update(source.attrs)
        source.visititems(copy)


def require_preset(model: Any) -> Preset:
    """The model's preset.

    Raises:
        ZooError: It has none: the model was built by hand, or read from a .keras file.
    """
    preset = getattr(model, "preset", None)
    if preset is None:
        raise ZooError(
            "The model has no preset: it was built by hand. keras_genzoo.save(model, DIR, data=...) writes one, and "
            "keras_genzoo.load(DIR) reads it"
        )
    return preset


def arrays(
    model: Any,
    split: str,
    *,
    name: str | None = None,
    data_dir: str | Path | None = None,
    preset: Preset | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A split of the data set that the model's preset names, in the model's image shape: see `data.arrays`.

    Args:
        model: A model with a preset.
        split: "train" or "test".
        name: Name of another data set in its place; None: the preset's.
        data_dir: Folder of data sets, see `data.load`.
        preset: Preset in place of the model's; None: the model's.

    Returns:
        `(images, labels)`: uint8 images, or float32 in [0, 1], `(n, H, W, C)`; labels `(n,)`, or None.

    Raises:
        ZooError: The model has no preset, the data set no such split, or the preset is a stranger's and its data set
            would be fetched or read from a folder, see `presets.trust`.
    """
    preset = preset or require_preset(model)
    config = preset.data
    if not preset.is_trusted and (cost := asking.cost(name or config.name, data_dir=data_dir)):
        raise ZooError(
            f"The data set {name or config.name!r} would {cost}, and its preset is from elsewhere; allow it by "
            f"--trust, or in Python by keras_genzoo.presets.trust. Preset: {preset.file}"
        )
    return _data.arrays(name or config.name, split, data_dir=data_dir, image_shape=model.image_shape, **config.fitting)


def golden(model: Any) -> dict[str, np.ndarray]:
    """The stored example of a preset: fixed inputs of each endpoint, and its outputs.

    Args:
        model: A model with a preset.

    Returns:
        Arrays by name, `<endpoint>/in/<name>` and `<endpoint>/out/<name>`.
    """
    rng = np.random.default_rng(0)
    contract = models.asked(model.preset.family, "contract")(model)
    examples = {}
    for name, endpoint in model.endpoints().items():
        inputs = {}
        for tensor in endpoint.inputs:
            shape, kind = (_GOLDEN_IMAGES, *tensor.shape[1:]), contract[name].inputs[tensor.name].kind
            if kind == "classes":
                value = np.arange(_GOLDEN_IMAGES)
            elif kind == "images":
                value = rng.random(shape) < _INK  # images of 0 and 1: every likelihood takes them, and they pack well
            else:
                value = rng.standard_normal(shape)
            inputs[tensor.name] = value.astype(tensor.dtype)
        examples.update({f"{name}/in/{key}": value for key, value in inputs.items()})
        for key, output in model.run_endpoint(name, *inputs.values()).items():
            examples[f"{name}/out/{key}"] = output.astype("float32")
    return examples


def parameter_count(model: Any) -> int:
    """Count of the trainable numbers of a model; a network's averaged twin is not counted again."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def costs(model: Any) -> dict[str, dict[str, int]]:
    """What each network of a model costs.

    Args:
        model: A model; without weights, too.

    Returns:
        Name of each network that trains -> `parameters`, the trainable numbers, and `flop`, the floating-point
        operations of one image's way through it, a product and a sum counted as two. A training step costs about three
        times as many, a GAN's more.
    """
    found, counted = {}, set()
    for network in model.layers:
        own = {id(variable) for variable in network.trainable_variables} - counted
        if isinstance(network, keras.Model) and own:  # not an averaged twin, nor another view of a network
            counted |= own
            found[network.name] = {"parameters": parameter_count(network), "flop": engine.float_operations(network)}
    return found
