"""Presets: the schema of preset.yaml, and ways to find, list and check them. Without Keras, so that it is instant."""

import hashlib
import hmac
import importlib.util
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from keras_genzoo import files, models, parts, remote
from keras_genzoo.errors import ZooError, did_you_mean, nearest, one_line, reason
from keras_genzoo.registry import entry_points
from keras_genzoo.typing import PathLike

_HERE = Path(__file__).resolve().parent
# Inside the package once installed from a wheel; beside it in a clone and an editable install.
CONFIGS = next((path for path in (_HERE / "zoo_configs", _HERE.parent / "zoo_configs") if path.is_dir()), None)

FORMAT = 1  # version of preset.yaml; a file without the key is older, and its spellings are brought up to date
# Files of a preset's folder.
PRESET_FILE, WEIGHTS_FILE, WEIGHTS_RECORD = "preset.yaml", "model.weights.h5", "weights.json"
METRICS_FILE, GOLDEN_FILE, SAMPLES_FILE, CARD_FILE = "metrics.json", "golden.npz", "samples.png", "README.md"
HISTORY_FILE = "history.json"  # the losses of every epoch of training
EXPORTS_FILE = "exports.json"  # what is lost in each precision of an exported file
STATE_FILE = "state.json"  # of a partial run, which is beside the folder
_RECIPES = "recipes"  # folder of CONFIGS with presets that wait for data of the user's own
_MAY_BE_UNKNOWN = ("epochs", "batch_size")  # keys of a training that are 0, and missing in the file, where not known
_PICTURES = ("monitor", "preview.png")  # what a training leaves beside the preset
_GROUP = "keras_genzoo.presets"  # group of entry points whose values name packages with preset folders in them
_UNNAMED = "preset"  # name of a preset without a folder
_PATHS: list[Path] = []  # folders of preset folders that this process has added
_TRUSTED: set[Path] = set()  # preset folders from elsewhere whose data this process may fetch and read
_KEY = Path("keras_genzoo", "key")  # file of the key of seals, in the user's folder of state
_KEY_BYTES = 32

_LISTED = ("name", "family", "data", "parameters", "metric", "value", "unit", "description")  # keys of `list_presets`

# Bounds of what is read, for a file may be a stranger's. The zoo's own are far below: preset.yaml has 1,200 bytes, and
# history.json 30,000.
_MOST_BYTES = 100_000  # of a preset.yaml
_MOST_RECORD_BYTES = 20_000_000  # of a JSON file beside it
_DEEPEST = 20  # levels of nesting
_MOST_DIGITS = 40  # letters of a number
_MOST_ENTRIES = 256  # entries of a list of `model`: its networks have one layer for each, or more
_LARGEST = 100_000_000  # number of `model`; `zoo.build` counts the parameters that it leads to

# Numbers and booleans of YAML 1.2; digits may be grouped by underscores. `010` is ten there and eight in YAML 1.1.
_INTEGER = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)$")
_BOOLEAN = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT = re.compile(
    r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf)$|^\.(?:nan|NaN)$"
)


class Section(pydantic.BaseModel):
    """Base of the sections of a preset.yaml: strict types, no unknown keys."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    def in_words(self) -> list[str]:
        """Phrases about the training that a card adds to its recipe."""
        return []


class DataConfig(Section):
    """The arguments of `data.load`."""

    name: str
    binarize: Literal["dynamic"] | None = None
    labels: bool = False
    resize: Literal["crop", "pad", "stretch"] = "crop"  # way in which a folder's images take the model's shape
    augment: list[Literal["flip", "shift", "colour"]] = []  # of the images that are trained on, see `data.augment`
    cache: Literal["memory", "disk", "none"] | None = None  # place of a folder's pixels, see `data.load`
    ground: Literal["white", "black", "drawn"] | None = None  # behind transparent pixels; None: the data set's own

    @property
    def fitting(self) -> dict[str, Any]:
        """The arguments of `data.arrays` and its like that say how pictures are read."""
        return {"resize": self.resize, "ground": self.ground, "cache": self.cache}


class OptimizerConfig(Section):
    """A Keras optimizer, its options, and the schedule of its learning rate, see `optimizers`."""

    model_config = pydantic.ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    name: str = "adam"
    learning_rate: parts.Positive
    schedule: Any = "constant"

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's own options."""
        return dict(self.__pydantic_extra__ or {})


class TrainingConfig(Section):
    """The recipe by which `train` makes the weights; of a model that was built and trained by hand, what is known."""

    epochs: parts.Count = 0  # 0: not known, of a model that was built by hand
    batch_size: parts.Count = 0  # 0: not known
    optimizers: dict[str, OptimizerConfig]  # optimizer of each argument of the model's compile; none: it is not known
    seed: parts.Natural = 0
    start_from: str | None = None  # preset of the same networks whose weights the training begins with
    steps_per_execution: parts.Count = 1
    jit_compile: bool = False


class FewImages(Section):
    """What a recipe changes where it is given few images: augmentation and regularisation."""

    below: parts.Count  # number of training images from which on the keys stay as they are
    updates: dict[str, Any]  # path of each key, such as "data.augment", and its value


class EvaluationConfig(Section):
    """The counts and the seed of `evaluate`."""

    metric: str | None = None  # headline, one of those in metrics.json; None: the first
    seed: parts.Natural = 0
    n_importance_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 1000  # draws per image of a likelihood
    n_samples: Annotated[int, Field(ge=2, le=1_000_000)] = 10_000  # generated images to judge
    n_probe_images: Annotated[int, Field(ge=100, le=10_000_000)] = 60_000  # training images that probes learn from


class QuantizationConfig(Section):
    """The numbers of a LiteRT file, see `exporting.export`. A layer is named by its path, such as "decoder/dense_1"."""

    scheme: Literal["float16", "dynamic_int8", "weight_only_int8", "w8a8", "w8a16", "dynamic_int4", "weight_only_int4"]
    int8: list[str] = []  # layers of a scheme of 4 bits that have 8
    float32: list[str] = []  # layers that stay as they are

    @pydantic.model_validator(mode="after")
    def _has_layers_of_its_own(self):
        """Layers of 8 bits are exceptions of 4."""
        if self.int8 and self.bits != 4:
            raise ValueError(f"`int8` names layers that have 8 bits in a scheme of 4, and {self.scheme} is none")
        return self

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return 16 if self.scheme == "float16" else 4 if self.scheme.endswith("4") else 8


class ExportConfig(Section):
    """The schemes that were measured to be the best of their size."""

    int8: QuantizationConfig | None = None
    int4: QuantizationConfig | None = None

    @pydantic.model_validator(mode="after")
    def _are_what_they_are_called(self):
        """What a user asks for as "int4" has 4 bits."""
        for name, bits in (("int8", 8), ("int4", 4)):
            config = getattr(self, name)
            if config is not None and config.bits != bits:
                raise ValueError(f"`{name}` must be a scheme of {bits} bits. Received: {config.scheme!r}")
        return self

    def of(self, quantize: str) -> QuantizationConfig | None:
        """The scheme of "int8" or "int4"; None for other words, and where none was chosen."""
        return getattr(self, quantize) if quantize in type(self).model_fields else None


class _Record(pydantic.BaseModel):
    """Base of the JSON files beside a preset.yaml: what is read of them has its type, and more may be there."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True, allow_inf_nan=False, protected_namespaces=())


class _Weights(_Record):
    file: str | None = None
    sha256: str | None = None
    bytes: parts.Natural | None = None
    parameters: parts.Natural | None = None
    train_steps: parts.Natural | None = None
    origin: dict[str, Any] | None = None


class _Row(_Record):
    metric: Annotated[str, Field(min_length=1)]
    value: float | None
    n: parts.Natural
    unit: str
    protocol: str


class _Metrics(_Record):
    weights_sha256: str | None = None
    rows: list[_Row]


class _Epochs(_Record):
    """history.json, which is a list by itself."""

    epochs: list[Annotated[dict[str, float], Field(min_length=1)]]

    @pydantic.field_validator("epochs")
    @classmethod
    def _are_alike(cls, epochs):
        """Curves are drawn of the losses that the first epoch has."""
        for number, losses in enumerate(epochs):
            if missing := set(epochs[0]) - set(losses):
                raise ValueError(f"epoch {number + 1} lacks {sorted(missing)[0]!r}")
        return epochs


class _State(_Record):
    """state.json of a run that goes on, see `training`."""

    digest: str
    dtype: str | None
    epoch: parts.Natural
    weights: str | None
    history: list[dict[str, float]]
    seconds: float


class _ExportRow(_Record):
    precision: str
    scheme: dict[str, Any] | None
    bytes: parts.Natural
    share: float
    metric: Annotated[str, Field(min_length=1)]
    n: parts.Natural
    keras: float
    value: float
    loss: float
    p999_error: float
    endpoint: str
    milliseconds: dict[str, float]


class _Exports(_Record):
    """exports.json, which `benchmarks/exports.py` writes."""

    weights_sha256: str
    about: dict[str, Any]
    rows: Annotated[list[_ExportRow], Field(min_length=1)]


_SCHEMAS = {
    EXPORTS_FILE: _Exports,
    WEIGHTS_RECORD: _Weights,
    METRICS_FILE: _Metrics,
    HISTORY_FILE: _Epochs,
    STATE_FILE: _State,
}


class Preset(Section):
    """A preset.yaml.

    `model` holds the constructor arguments of the family's class, which `zoo.build` checks. `section` is the family's
    own section, under the family's name in the file; None where the family has none.
    """

    format: Literal[1] = FORMAT
    family: str
    description: str
    data: DataConfig
    model: dict[str, Any]
    training: TrainingConfig
    evaluation: EvaluationConfig
    export: ExportConfig = ExportConfig()
    license: str | None = None  # licence of the weights, by its SPDX name
    few_images: list[FewImages] = []  # the first that applies counts
    section: Any = None

    _folder: Path | None = pydantic.PrivateAttr(default=None)
    _name: str | None = pydantic.PrivateAttr(default=None)
    _is_asked: bool = pydantic.PrivateAttr(default=False)  # whether the user has named the data set

    @property
    def folder(self) -> Path:
        """The preset's folder.

        Raises:
            ZooError: It has none: it was parsed from text.
        """
        if self._folder is None:
            raise ZooError("The preset was parsed from text and has no folder; write its preset.yaml, then find it")
        return self._folder

    @property
    def is_trusted(self) -> bool:
        """Whether its data set may be fetched and read without asking.

        That is so of the presets on the search path, of those of `trust`, of those that this user has trained, which
        carry a seal, and of one without a folder.
        """
        if self._folder is None or self._is_asked or self._folder in _TRUSTED:
            return True
        if any(self._folder.is_relative_to(path.resolve()) for path in search_path()):
            return True
        seal = (self.record(WEIGHTS_RECORD) or {}).get("origin", {}) or {}
        own = self.seal(create=False)
        return own is not None and hmac.compare_digest(own, str(seal.get("seal")))

    def seal(self, *, create: bool = True) -> str | None:
        """The mark in weights.json by which this user knows presets of their own with the same data.

        Args:
            create: Whether a key is made where the user has none yet.

        Returns:
            A keyed hash of what names the data; None where no key can be kept.
        """
        content = self.content()
        claims = json.dumps([content["data"], content.get(self.family)], sort_keys=True)
        key = _key(create)
        return hmac.new(key, claims.encode(), hashlib.sha256).hexdigest() if key else None

    @property
    def name(self) -> str:
        """The folder's name, which is the preset's, unless it was given another; "preset" where it has none."""
        if self._name is not None:
            return self._name
        return self._folder.name if self._folder else _UNNAMED

    @property
    def file(self) -> str:
        """Path of preset.yaml, for messages; "preset" where it was parsed from text."""
        return str(self._folder / PRESET_FILE) if self._folder else _UNNAMED

    def with_updates(self, **sections: dict[str, Any]) -> "Preset":
        """The preset with some keys of some sections replaced.

        Args:
            **sections: New keys of a section, such as `training={"epochs": 3}`; a whole new `model`. The family's own
                section is called `section` here.
        """
        return self.model_copy(
            update={
                name: keys if name == "model" else getattr(self, name).model_copy(update=keys)
                for name, keys in sections.items()
            }
        )

    def content(self) -> dict[str, Any]:
        """The preset as it stands in a file: plain data, the family's section under the family's name."""
        content = self.model_dump(exclude_none=True, exclude={"section", "export"})
        for place, key in ((content["data"], "augment"), (content, "few_images")):
            if not place[key]:  # so that what is older than the key has the digest that it had
                del place[key]
        if export := self.export.model_dump(exclude_none=True, exclude_defaults=True):
            content["export"] = export
        training = {key: value for key, value in content["training"].items() if value or key not in _MAY_BE_UNKNOWN}
        content["training"] = training
        if self.section is not None:
            section = self.section.model_dump(exclude_none=True, exclude_defaults=True)
            content |= {self.family: section} if section else {}
        return content

    def record(self, file: str) -> Any:
        """The content of a JSON file in the folder; None where it is absent.

        Args:
            file: Name of the file, such as "weights.json".

        Raises:
            ZooError: The file is damaged, or holds something else.
        """
        path = self._folder / file if self._folder else None
        if path is None or not path.is_file():
            return None
        return read_record(path, remedy="restore it, or remove it and run the command that writes it")

    def digest(self) -> str:
        """A hash of everything that decides the training, so that a resumed run cannot mix two configurations.

        A preset to start from counts by the hash of its weights, not by its name.
        """
        content = self.content()
        causes: dict[str, Any] = {key: content.get(key) for key in ("family", "data", "model", "training", self.family)}
        if self.training.start_from:
            weights = find(self.training.start_from).record(WEIGHTS_RECORD) or {}
            causes["start_from"] = weights.get("sha256")
            causes["training"] = {key: value for key, value in content["training"].items() if key != "start_from"}
        return hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest()


def find(name: str | Path) -> Preset:
    """The preset of a name, of a folder given as a Path or a string with a separator, or of an address.

    Args:
        name: Name of a preset of the zoo or of `search_path()`, trained or a recipe; the folder's path; or
            "hf://USER/NAME[@REVISION]" or "https://HOST/NAME.zip", which is fetched into the user's cache.

    Raises:
        ZooError: Unknown name (with the nearest ones), missing folder, an address that cannot be fetched, or a bad
            preset.yaml.
    """
    if not isinstance(name, (str, Path)):
        raise ZooError(f"`name` must be a preset's name or path. Received: {name!r}")
    elsewhere = None
    if remote.is_address(name):
        name, elsewhere = remote.fetch(str(name))
    if isinstance(name, Path) or "/" in str(name) or "\\" in str(name):
        try:
            folder = files.healed(Path(name).expanduser())
        except RuntimeError as error:  # `~nobody`
            raise ZooError(f"No preset in {parts.shown(str(name))}: {error}") from None
        if not _is_file(folder / PRESET_FILE):
            raise ZooError(
                f"No preset in {parts.shown(str(name))}: {one_line(folder / PRESET_FILE, 160)} does not exist"
            )
    else:
        folders = {**_folders(f"{_RECIPES}/*/{PRESET_FILE}"), **_folders(f"*/{PRESET_FILE}")}
        if name not in folders:
            hint = f" For a folder of your own, write ./{name}" if _is_file(Path(str(name), PRESET_FILE)) else ""
            raise ZooError(f"Unknown preset {parts.shown(name)}. {did_you_mean(name, folders)}{hint}")
        folder = folders[name]
    try:
        with open(folder / PRESET_FILE, "rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < _MOST_BYTES - 3:  # else a letter was cut in two
            raise ZooError(f"Cannot read {folder / PRESET_FILE}: it is not UTF-8 ({reason(error)})") from None
        text = " " * (_MOST_BYTES + 1)
    except OSError as error:
        raise ZooError(f"Cannot read {folder / PRESET_FILE}: {error.strerror or error}") from None
    preset = parse(text, origin=str(folder / PRESET_FILE))
    preset._folder = folder.resolve()
    preset._name = elsewhere
    return preset


def names() -> list[str]:
    """The names of the trained presets that `find` knows, sorted."""
    return sorted(_folders(f"*/{PRESET_FILE}"))


def recipes() -> list[str]:
    """The names of the presets that wait for data of the user's own, sorted: a preset.yaml and no weights."""
    return sorted(_folders(f"{_RECIPES}/*/{PRESET_FILE}"))


def search_path() -> list[Path]:
    """The folders whose subfolders are presets: the zoo's, those of installed packages, those of `add_path`."""
    return [path for path in (CONFIGS, *_installed(), *_PATHS) if path]


def add_path(folder: PathLike) -> None:
    """Adds a folder whose subfolders are presets, for this process.

    An installed package does so by an entry point of the group "keras_genzoo.presets", whose value names a package.

    Args:
        folder: Folder to add.

    Raises:
        ZooError: No such folder.
    """
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ZooError(f"{str(folder)!r} is no folder")
    if path not in _PATHS:
        _PATHS.append(path)


def check_replaceable(path: Path) -> None:
    """Refuses to replace what is no preset folder, and a preset folder with files of its owner's in it.

    Args:
        path: File or folder that exists.

    Raises:
        ZooError: With the names of what would be lost.
    """
    if not (path / PRESET_FILE).is_file():
        raise ZooError(f"{path} exists and is no preset folder; give another path")
    others = sorted(file.name for file in path.iterdir() if file.name not in {*remote.FILES, *_PICTURES})
    if others:
        raise ZooError(
            f"{path} holds other files than a preset's: {', '.join(others[:3])}; move them, or give another path"
        )


def trust(preset: Preset | PathLike) -> None:
    """Lets a preset from elsewhere fetch or read the data set that it names, for this process.

    Args:
        preset: The preset, its name, or the path of its folder.

    Raises:
        ZooError: No such preset.
    """
    found = preset if isinstance(preset, Preset) else find(str(preset) if isinstance(preset, str) else Path(preset))
    if found._folder is not None:
        _TRUSTED.add(found._folder)


def list_presets(
    *,
    family: str | None = None,
    data: str | None = None,
    metric: str | None = None,
    sort: str = "name",
    reverse: bool = False,
) -> list[dict[str, Any]]:
    """The trained presets: dicts of name, family, data, parameters, metric, value, unit, description.

    Args:
        family: Family of the presets; None: all.
        data: Name of the data set that they are trained on; None: all.
        metric: Metric to give in place of each headline, of the presets that it is measured on; None: the headlines.
        sort: Key of the dicts to sort by, or a metric, which is then given, too. What has no value comes last.
        reverse: Whether the greatest comes first.

    Returns:
        A dict for each preset.

    Raises:
        ZooError: A family, data set, metric or key that no preset has; the message names those that exist.

    Example:
        >>> import keras_genzoo as gz
        >>> names = [row["name"] for row in gz.list_presets()]
        >>> [row["name"] for row in gz.list_presets(family="vae", data="mnist", sort="nll")][:2]
        ['vae_realnvp_mnist', 'hvae_mnist']
    """
    found = [find(name) for name in names()]
    metrics = _metrics(found) if metric is not None or sort not in _LISTED else []
    if sort not in _LISTED:
        known = [*_LISTED, *metrics]
        if sort not in known:
            raise ZooError(
                f"`sort` must be one of {', '.join(_LISTED)}, or a metric. Received: {sort!r}{nearest(sort, known)}"
            )
        if metric not in (None, sort):
            raise ZooError(f"`sort` by one metric, {sort!r}, does not go with another `metric`, {metric!r}")
        metric, sort = sort, "value"
    for argument, value, known in (
        ("family", family, {preset.family for preset in found}),
        ("data", data, {preset.data.name for preset in found}),
        ("metric", metric, metrics),
    ):
        if value is not None and value not in known:
            raise ZooError(f"No preset has the {argument} {value!r}. {did_you_mean(value, known)}")
    rows = []
    for preset in found:
        chosen = headline_row(preset, metric)
        if family not in (None, preset.family) or data not in (None, preset.data.name) or (metric and not chosen):
            continue
        chosen = chosen or {}
        rows.append(
            {
                "name": preset.name,
                "family": preset.family,
                "data": preset.data.name,
                "parameters": (preset.record(WEIGHTS_RECORD) or {}).get("parameters"),
                "metric": metric or preset.evaluation.metric,
                "value": chosen.get("value"),
                "unit": chosen.get("unit"),
                "description": preset.description,
            }
        )
    if not rows:
        raise ZooError(f"No preset has all of: {_asked(family=family, data=data, metric=metric)}")
    with_value = sorted((row for row in rows if row[sort] is not None), key=lambda row: row[sort], reverse=reverse)
    return with_value + [row for row in rows if row[sort] is None]


def read_record(path: Path, *, schema: type[pydantic.BaseModel] | None = None, remedy: str) -> Any:
    """The content of a JSON file that a stranger may have written, or a fault has damaged.

    Args:
        path: File to read.
        schema: pydantic schema of the content; None: that of the file's name, which is a record of a preset.
        remedy: Advice about a damaged file, the end of the error's line.

    Returns:
        Dicts, lists, text and numbers.

    Raises:
        ZooError: The file cannot be read, is not JSON, or does not fit the schema. The message names file and key.
    """
    try:
        if path.stat().st_size > _MOST_RECORD_BYTES:
            raise ZooError(f"{path} has more than {_MOST_RECORD_BYTES / 1e6:.0f} MB; {remedy}")
        content = files.read_json(path, remedy=remedy)
    except ZooError:
        raise
    except OSError as error:
        raise ZooError(f"Cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
        raise ZooError(f"{path} is not JSON ({reason(error)}); {remedy}") from None
    schema = schema or _SCHEMAS.get(path.name)
    is_list = schema is _Epochs
    if schema is not None and not isinstance(content, list if is_list else dict):
        kind = "list" if is_list else "mapping"
        raise ZooError(f"{path} must hold a {kind}. Received: {parts.shown(content)}; {remedy}")
    if schema is not None:
        fields: Any = {"epochs": content} if is_list else content
        try:
            parts.validate(schema, fields, origin=str(path))
        except ZooError as error:
            raise ZooError(f"{error}; {remedy}") from None
    return content


def headline_row(preset: Preset, metric: str | None = None) -> dict[str, Any] | None:
    """The row of metrics.json that stands for the preset in tables; None where it is not measured.

    Args:
        preset: A preset.
        metric: Metric of the row; None: the preset's headline.
    """
    metrics = preset.record(METRICS_FILE) or {"rows": []}
    return next((row for row in metrics["rows"] if row["metric"] == (metric or preset.evaluation.metric)), None)


def parse(text: str, *, origin: str) -> Preset:
    """The Preset of a preset.yaml's text.

    Args:
        text: YAML.
        origin: Name of the text in errors.

    Returns:
        A Preset without a folder.

    Raises:
        ZooError: Bad YAML, or an unknown, missing or bad key. The message has the key's path, the value, the nearest
            key.
    """
    content = _read(text, origin)
    if not isinstance(content, dict):
        raise ZooError(f"{origin} must hold a mapping. Received: {type(content).__name__}")
    version = content.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise ZooError(
            f"{origin}: `format` is {version}; this version of keras_genzoo reads formats up to {FORMAT}; upgrade it"
        )
    family = content.get("family")
    if family is not None and not (isinstance(family, str) and family in models.FAMILIES):
        raise ZooError(
            f"{origin}: `family` must be one of {', '.join(models.FAMILIES)}. Received: {family!r}"
            + nearest(family, models.FAMILIES)
        )
    section = None
    if family is not None:
        if "format" not in content:
            upgrade = models.asked(family, "spellings")
            content = upgrade(content) if upgrade else content
        schema = models.asked(family, "section")
        if schema:
            keys = content.get(family, {})
            if not isinstance(keys, dict):
                raise ZooError(f"{origin}: `{family}` must be a mapping. Received: {keys!r}")
            content = {key: value for key, value in content.items() if key != family}
            section = parts.validate(schema, keys, origin=origin, prefix=f"{family}.")
    _check_sizes(content.get("model"), "model", origin)
    if "section" in content:
        known = [key for key in Preset.model_fields if key != "section"]
        raise ZooError(f"{origin}: unknown key `section`. {did_you_mean('section', known)}")
    preset = parts.validate(Preset, content, origin=origin)
    return preset.model_copy(update={"section": section})


def updated(preset: Preset, updates: Mapping[str, Any]) -> Preset:
    """The preset with other values of some keys, checked as its preset.yaml is.

    Args:
        preset: A preset.
        updates: Path of each key, such as "model.beta" or "training.optimizers.optimizer.learning_rate", and its value.

    Returns:
        A Preset of the same folder.

    Raises:
        ZooError: Unknown key, or a value of another type; with the key's path and the nearest key.
    """
    content: dict[str, Any] = parts.plain(preset.content())
    try:
        updates = parts.plain(dict(updates))
    except (TypeError, ValueError) as error:
        raise ZooError(f"`updates`: {error}") from None
    for path, new in updates.items():
        *parents, key = path.split(".")
        place: dict[str, Any] = content
        for i, parent in enumerate(parents):
            below: Any = place.get(parent)
            if below is None or isinstance(below, str):  # a part may be given by its name alone
                below = place[parent] = {} if below is None else {"name": below}
            if not isinstance(below, dict):
                raise ZooError(f"`{path}`: `{'.'.join(parents[: i + 1])}` has no keys; give a whole new value of it")
            place = below
        place[key] = new
    result = parse(_dump(content), origin=preset.file)
    result._folder = preset._folder
    return result


def value(text: str) -> Any:
    """A value as a preset.yaml would have it: `4`, `1e-4`, `true`, `[16, 8]`, `{name: adam}`.

    Args:
        text: YAML.

    Raises:
        ZooError: It is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ZooError(f"{text[:80]!r} is not YAML: {' '.join(str(error).split())[:160]}") from None


def dump(preset: Preset) -> str:
    """A Preset as the text of a preset.yaml."""
    return _dump(preset.content())


def _dump(content):
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _metrics(found: list[Preset]) -> list[str]:
    """The metrics that are measured on some of the presets, in their order there."""
    rows = (row for preset in found for row in (preset.record(METRICS_FILE) or {"rows": []})["rows"])
    return list(dict.fromkeys(row["metric"] for row in rows))


def _asked(**wanted: str | None) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in wanted.items() if value is not None)


def _is_file(path: Path) -> bool:
    """Whether a path is a file; one that is too long or may not be looked at is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _key(create: bool) -> bytes | None:
    """The key of this user's seals; None where there is none and none can be made."""
    try:
        path = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / _KEY
        if create and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.aside(path) as temporary:
                temporary.write_bytes(secrets.token_bytes(_KEY_BYTES))
            path.chmod(0o600)
        key = path.read_bytes()
    except (OSError, RuntimeError, ZooError):  # no home, or one that cannot be written
        return None
    return key if len(key) == _KEY_BYTES else None


def _folders(pattern: str) -> dict[str, Path]:
    """The folders of the presets on the search path, by name; the zoo's own come first."""
    folders = {}
    for path in reversed(search_path()):
        folders |= {file.parent.name: file.parent for file in path.glob(pattern)}
    return folders


def _installed() -> Iterator[Path]:
    """The folders of preset folders that installed packages bring. The packages are not imported."""
    for _, package in entry_points(_GROUP):
        spec = importlib.util.find_spec(package.partition(":")[0])
        yield from map(Path, (spec and spec.submodule_search_locations) or ())


def _read(text: str, origin: str) -> Any:
    """The content of YAML: dicts with keys of text, lists, text, numbers, booleans, None.

    Aliases are refused, for nine of them in nine lines stand for gigabytes.
    """
    if len(text) > _MOST_BYTES:
        raise ZooError(f"{origin} has more than {_MOST_BYTES:,} letters, and no preset needs as many")
    loader = None
    try:
        loader = _Loader(text)
        return _value(loader.get_single_node(), "", origin)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ZooError(f"{origin} is not YAML{line}: {one_line(error.problem, 160)}") from None
    except yaml.YAMLError as error:
        raise ZooError(f"{origin} is not YAML: {reason(error)}") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """Nodes of YAML whose scalars are those of YAML 1.2: `1e-4` is a float, `no` and `on` are text.

    What only YAML 1.1 reads as an integer or a date has a tag of its own, and is refused rather than misread.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias or event.anchor is not None:
            kind, sign = ("alias", "*") if is_alias else ("anchor", "&")
            raise yaml.MarkedYAMLError(
                problem=f"it has the {kind} {sign}{event.anchor}, and none is taken; write the value out",
                problem_mark=event.start_mark,
            )
        if self.depth >= _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested more than {_DEEPEST} levels deep", problem_mark=event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_TAGS = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in resolvers if entry[0] in {f"{_TAGS}{name}" for name in ("null", "int", "timestamp")}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAGS}bool", _BOOLEAN, list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAGS}int", _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAGS}float", _FLOAT, list("-+0123456789."))


def _value(node: Any, path: str, origin: str) -> Any:
    """The content of a YAML node.

    Args:
        node: The node; None for an empty text.
        path: Path of its key, for errors.
        origin: Name of the text, for errors.
    """
    if node is None:
        return None
    tag = node.tag.removeprefix(_TAGS)
    if isinstance(node, yaml.MappingNode) and tag == "map":
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _value(key_node, path, origin)
            place = f" of `{path}`" if path else ""
            if not isinstance(key, str):
                raise ZooError(f"{origin}: the keys{place} must be text. Received: {parts.shown(key)}")
            if key in content:
                raise ZooError(f"{origin}: the key {parts.shown(key)}{place} stands there twice")
            content[key] = _value(value_node, f"{path}.{key}" if path else key, origin)
        return content
    if isinstance(node, yaml.SequenceNode) and tag == "seq":
        return [_value(entry, f"{path}.{i}", origin) for i, entry in enumerate(node.value)]
    is_scalar = isinstance(node, yaml.ScalarNode)
    read, received = (_SCALARS.get(tag), node.value) if is_scalar else (None, "lists or mappings")
    if read is None:
        raise ZooError(
            f"{origin}: `{one_line(path, 80)}` is of YAML's type {one_line(tag, 60)}, which is not taken; put text in "
            f"quotes. Received: {one_line(received, 60)}"
        )
    try:
        return read(node.value)
    except (ValueError, KeyError):
        raise ZooError(
            f"{origin}: `{one_line(path, 80)}` is to be of YAML's type {tag} and is not; put text in quotes. "
            f"Received: {one_line(received, 60)}"
        ) from None


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS or not _INTEGER.match(text):
        raise ValueError
    text = text.replace("_", "").lower()
    return int(text, 16 if "x" in text else 8 if "o" in text else 10)


def _float(text: str) -> float:
    if len(text) > _MOST_DIGITS or not (_FLOAT.match(text) or _INTEGER.match(text)):
        raise ValueError
    text = text.replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS = {  # readers of plain values by their tags
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _integer,
    "float": _float,
}


def _check_sizes(value: Any, path: str, origin: str) -> None:
    """Refuses sizes that no network of this zoo has: they would cost the memory of the machine."""
    if isinstance(value, dict):
        for key, part in value.items():
            _check_sizes(part, f"{path}.{key}", origin)
    elif isinstance(value, list):
        if len(value) > _MOST_ENTRIES:
            raise ZooError(
                f"{origin}: `{one_line(path, 80)}` has {len(value):,} entries, of which each is a layer or more; "
                f"at most {_MOST_ENTRIES} are taken"
            )
        for i, part in enumerate(value):
            _check_sizes(part, f"{path}.{i}", origin)
    elif isinstance(value, (int, float)) and abs(value) > _LARGEST:
        raise ZooError(
            f"{origin}: `{one_line(path, 80)}` must be <= {_LARGEST:,}: networks of such sizes fit into no memory. "
            f"Received: {value:,}"
        )


class _Dumper(yaml.SafeDumper):
    """Text that either version of YAML would read as a number or a boolean is put in quotes; no alias is written."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(f"{_TAGS}int", _INTEGER, list("-+0123456789"))
_Dumper.add_implicit_resolver(f"{_TAGS}float", _FLOAT, list("-+0123456789."))
