"""load, build and save: preset folder <-> model with weights."""

import hashlib
import inspect
import json
import os
import shutil
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pydantic

from keras_genzoo import __version__, data, latents, models, networks, presets, regularizers
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import GOLDEN_FILE, HISTORY_FILE, PRESET_FILE, WEIGHTS_FILE, WEIGHTS_RECORD

_DECIDED_BY_ZOO = ("seed", "dtype", "name")  # constructor arguments a preset.yaml does not set
_KINDS = {"regularizer": regularizers.REGULARIZERS, "prior": latents.PRIORS, "posterior": latents.POSTERIORS}
JUDGES = {  # data set -> the classifier whose features and labels measure samples of it
    "mnist": "classifier_mnist",
    "fashion_mnist": "classifier_fashion_mnist",
}
_GOLDEN_IMAGES = 1  # the codes of 1,000 numbers have to fit, too


def load(name, *, weights="preset", dtype=None):
    """A model of the zoo: compiled, and trained unless told otherwise.

    Args:
        name: A bundled preset's name (`list_presets()`), or the path of a preset folder: a Path, or a string with a
            separator, such as "./my_preset"; or a `.keras` file of `model.save`, which comes back as it was saved.
        weights: "preset" for the trained weights, checked by SHA-256; None for fresh ones; or the path of a
            `.weights.h5` file of the same architecture.
        dtype: Precision policy: "float32", "mixed_float16", "mixed_bfloat16". None: Keras' global policy.

    Returns:
        A compiled `keras.Model`. Its optimizers are the preset's, with a constant learning rate: the preset's peak
        for fresh weights, a tenth of it for trained ones, which a full step would unsettle.

    Raises:
        ZooError: Unknown name (with the nearest), bad preset.yaml, damaged weights, weights of another architecture.

    Example:
        >>> vae = keras_genzoo.load("vae_mnist")
        >>> images = vae.sample(64, seed=0)             # (64, 28, 28, 1) float32 in [0, 1]
    """
    if str(name).endswith(".keras"):
        for family in models.MODELS:
            models.get(family)  # registers the class, which the file names
        return keras.saving.load_model(name)
    preset = presets.find(name)
    model = build(preset, dtype=dtype)
    if weights == "preset":
        load_weights(model, checked_weights(preset))
    elif weights is not None:
        load_weights(model, weights)
    factor = 1.0 if weights is None else 0.1
    compile_model(model, preset, learning_rate=lambda config, _: factor * config.learning_rate)
    return model


def build(preset, *, dtype=None):
    """The preset's model with fresh weights, not compiled. Errors name the key in preset.yaml."""
    cls = models.get(preset.family)
    origin = preset.file
    config = _bind(cls.__init__, preset.model, origin=origin, prefix="model.", hidden=_DECIDED_BY_ZOO)
    for key, spec in config.items():
        if isinstance(spec, dict) and key != "corruption":  # which has one shape, and checks itself
            _check_part(spec, _KINDS.get(key, networks.BUILDERS), origin=origin, prefix=f"model.{key}.")
    try:
        model = cls(**config, seed=preset.training.seed, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise ZooError(f"{error} ({origin}: model)") from error
    model.preset = preset
    return model


def compile_model(model, preset, *, learning_rate, **compile_args):
    """Compiles with the preset's optimizers; `learning_rate` maps an OptimizerConfig, and how many training steps one
    step of that optimizer takes, to a rate or a schedule.
    """
    if set(preset.training.optimizers) != set(model.OPTIMIZERS):
        raise ZooError(
            f"{preset.file}: `training.optimizers` of a {preset.family} must be {sorted(model.OPTIMIZERS)}. "
            f"Received: {sorted(preset.training.optimizers)}"
        )
    optimizers = {}
    for key, config in preset.training.optimizers.items():
        settings = config.model_dump(exclude={"schedule", "learning_rate"}, exclude_none=True)
        name = settings.pop("name")
        settings["learning_rate"] = learning_rate(config, model.steps_per_update(key))
        try:
            optimizers[key] = keras.optimizers.get({"class_name": name, "config": settings})
        except (ValueError, TypeError) as error:
            raise ZooError(f"{preset.file}: `training.optimizers.{key}`: {name}: {error}") from None
    model.compile(**optimizers, **compile_args)


def checked_weights(preset):
    """The path of the preset's weights, once size and SHA-256 are those in weights.json."""
    record, path = preset.record(WEIGHTS_RECORD), preset.folder / WEIGHTS_FILE
    if record is None or not path.is_file():
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
    if sha256(path) != record["sha256"]:
        raise ZooError(
            f"{path} is damaged or replaced: its SHA-256 is not that in {WEIGHTS_RECORD}; reinstall or retrain"
        )
    return path


def load_weights(model, path):
    """Loads a .weights.h5 file strictly: every variable must be there in its shape."""
    if not Path(path).is_file():
        raise ZooError(f"`weights` file {str(path)!r} does not exist")
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ZooError(f"{path} does not hold the weights of this {type(model).__name__}: {first_line}") from error


def save(model, path, *, history=None, overwrite=False, weights_dtype="float32"):
    """Saves a model as a preset folder, which `load(path)` reads back.

    Writes preset.yaml, model.weights.h5, weights.json and golden.npz. The folder is written aside and renamed when
    complete: an interrupted save leaves what was there before.

    Args:
        model: A model from `load`, or one whose `preset` says how it is trained and measured.
        path: The folder to write.
        history: Losses of every epoch of training, a list of dicts; written as history.json.
        overwrite: Replace a folder that exists. Its measured numbers and card go: they were of other weights.
        weights_dtype: "float32", or "float16" for a file of half the size, whose weights are rounded to 11 bits; they
            are float32 again once loaded.

    Raises:
        ZooError: The folder exists, cannot be written, or the model has no preset.
    """
    path = Path(path).expanduser().resolve()
    require_preset(model)
    if weights_dtype not in ("float32", "float16"):
        raise ZooError(f"`weights_dtype` must be 'float32' or 'float16'. Received: {weights_dtype!r}")
    if path.exists() and not overwrite:
        raise ZooError(f"{path} exists; give another path, or overwrite=True")
    if path.exists() and not (path / PRESET_FILE).is_file():
        raise ZooError(f"{path} exists and is no preset folder; give another path")
    with written_aside(path) as folder:
        config = {key: value for key, value in model.get_config().items() if key not in _DECIDED_BY_ZOO}
        preset = model.preset.model_copy(update={"model": config})
        (folder / PRESET_FILE).write_text(presets.dump(preset))
        # Without optimizer state: a fresh twin is saved, not the compiled model.
        twin = type(model).from_config({**model.get_config(), "dtype": "float32"})
        twin.set_weights(model.get_weights())
        twin.save_weights(folder / WEIGHTS_FILE)
        _pack(folder / WEIGHTS_FILE, weights_dtype)
        load_weights(twin, folder / WEIGHTS_FILE)  # what the stored example is an example of
        np.savez_compressed(folder / GOLDEN_FILE, **golden(twin))
        record = {
            "file": WEIGHTS_FILE,
            "sha256": sha256(folder / WEIGHTS_FILE),
            "bytes": (folder / WEIGHTS_FILE).stat().st_size,
            "parameters": parameter_count(model),
            "train_steps": int(model.train_steps.numpy()),
            "versions": versions(),
        }
        (folder / WEIGHTS_RECORD).write_text(json.dumps(record, indent=1) + "\n")
        if history:
            epochs = [{key: float(f"{value:.6g}") for key, value in logs.items()} for logs in history]
            (folder / HISTORY_FILE).write_text(json.dumps(epochs) + "\n")


def _pack(path, dtype):
    """Rewrites a weights file compressed, its float32 arrays as `dtype`; counters and random state stay as they are."""
    aside = path.with_name(f".{path.name}")  # a new file: HDF5 does not give the space of a removed array back

    def copy(name, item):
        if isinstance(item, h5py.Dataset):
            array = item[()].astype(dtype) if item.dtype == "float32" else item[()]
            # Bytes of a kind together (shuffle): signs and exponents repeat, digits do not.
            options = {"compression": "gzip", "shuffle": True} if array.size > 256 else {}
            new = packed.create_dataset(name, data=array, **options)
        else:
            new = packed.require_group(name)
        new.attrs.update(item.attrs)

    with h5py.File(path) as plain, h5py.File(aside, "w") as packed:
        packed.attrs.update(plain.attrs)
        plain.visititems(copy)
    os.replace(aside, path)


def require_preset(model):
    """The model's preset; a ZooError where it has none (a model built by hand, or from a .keras file)."""
    preset = getattr(model, "preset", None)
    if preset is None:
        raise ZooError(
            "The model has no preset. Models of keras_genzoo.load(NAME) have one; for another, set "
            "model.preset = keras_genzoo.presets.find(NAME)"
        )
    return preset


def arrays(model, split, *, other=False, data_dir=None):
    """A split of the data set the model's preset names, in the model's image shape: see `data.arrays`.

    With `other`, of the second person of a face swap.
    """
    config = require_preset(model).data
    name = config.other if other else config.name
    return data.arrays(name, split, data_dir=data_dir, image_shape=model.image_shape, resize=config.resize)


def golden(model):
    """Fixed inputs and what each endpoint makes of them: `<endpoint>/in/<name>` and `<endpoint>/out/<name>` arrays."""
    rng = np.random.default_rng(0)
    stored = {}
    for name, endpoint in model.endpoints().items():
        inputs = {}
        for tensor in endpoint.inputs:
            shape = (_GOLDEN_IMAGES, *tensor.shape[1:])
            if len(shape) == 1:
                value = np.arange(_GOLDEN_IMAGES)  # labels
            elif len(shape) == 2:
                value = rng.standard_normal(shape)
            else:
                value = rng.random(shape) < 0.2  # images of 0 and 1: every likelihood takes them, and they pack well
            inputs[tensor.name] = value.astype(tensor.dtype)
        stored.update({f"{name}/in/{key}": value for key, value in inputs.items()})
        for key, output in model.run_endpoint(name, *inputs.values()).items():
            stored[f"{name}/out/{key}"] = output.astype("float32")
    return stored


def parameter_count(model):
    """Numbers in the networks a user runs: a GAN's averaged twin is not counted twice."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def sha256(path):
    """Hex SHA-256 of a file, or of a folder: over the sorted names and hashes of its files."""
    path = Path(path)
    if path.is_dir():
        parts = [f"{file.relative_to(path)} {sha256(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions():
    """The versions that made a file, for its record."""
    return {"keras_genzoo": __version__, "keras": keras.__version__}


class written_aside:
    """Context: a temporary folder beside `path` that takes its place when the block ends well, else disappears.

    Raises ZooError where the parent cannot be written.
    """

    def __init__(self, path):
        self.path = Path(path)

    def __enter__(self):
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._aside = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        except OSError as error:
            raise ZooError(f"Cannot write {self.path}: {error.strerror or error}") from None
        self._aside.chmod(0o755)
        return self._aside

    def __exit__(self, kind, error, _):
        try:
            if kind is None:
                put_in_place(self._aside, self.path)
            elif issubclass(kind, OSError):
                raise ZooError(f"Cannot write {self.path}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)


def put_in_place(new, target):
    """Moves a finished file or folder to `target`; what was there goes only once the new one stands."""
    old = target.with_name(f".{target.name}.replaced")
    if old.exists() and target.exists():
        _remove(old)  # of a process that was killed just before it would have done so
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    _remove(old)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_part(spec, kinds, *, origin, prefix):
    """A spec's `name` against the dict of its kinds, and its options against the signature found there."""
    kind = spec.get("name")
    if not isinstance(kind, str) or kind not in kinds:
        raise ZooError(f"{origin}: `{prefix}name` must be one of {sorted(kinds)}. Received: {kind!r}")
    options = {key: value for key, value in spec.items() if key != "name"}
    hidden = ("image_shape", "latent_dim", "outputs", "feature_shape", "encode", "dtype")  # what the model decides
    _bind(kinds[kind], options, origin=origin, prefix=prefix, hidden=hidden)


def _bind(function, config, *, origin, prefix, hidden):
    """`config` checked against a function's keyword arguments: names, types by annotation, nothing missing."""
    fields = {}
    for key, parameter in inspect.signature(function).parameters.items():
        if key not in ("self", *hidden):
            fields[key] = (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
    schema = pydantic.create_model(
        "Arguments",
        __config__=pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()),
        **fields,
    )
    bound = presets.validate(schema, config, origin=origin, prefix=prefix)
    return {key: getattr(bound, key) for key in config}
