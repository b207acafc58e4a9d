"""Presets: the schema of preset.yaml, and ways to find, list and check them. Without Keras, so that it is instant."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from keras_genzoo import files, models, parts
from keras_genzoo.errors import ZooError, did_you_mean, nearest
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
_RECIPES = "recipes"  # folder of CONFIGS with presets that wait for data of the user's own
_GROUP = "keras_genzoo.presets"  # group of entry points whose values name packages with preset folders in them
_UNNAMED = "preset"  # name of a preset without a folder
_PATHS: list[Path] = []  # folders of preset folders that this process has added

_LISTED = ("name", "family", "data", "parameters", "metric", "value", "unit", "description")  # keys of `list_presets`

# Numbers and booleans of YAML 1.2.
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
    """The recipe by which `train` makes the weights."""

    epochs: parts.Count
    batch_size: parts.Count
    optimizers: dict[str, OptimizerConfig]  # optimizer of each argument of the model's compile
    seed: parts.Natural = 0
    start_from: str | None = None  # preset of the same networks whose weights the training begins with
    steps_per_execution: parts.Count = 1
    jit_compile: bool = False


class EvaluationConfig(Section):
    """The counts and the seed of `evaluate`."""

    metric: str  # headline, one of those in metrics.json
    seed: parts.Natural = 0
    n_importance_samples: parts.Count = 1000  # draws per image of a likelihood
    n_samples: Annotated[int, Field(ge=2)] = 10_000  # generated images to judge
    n_probe_images: Annotated[int, Field(ge=100)] = 60_000  # training images that probes of the codes learn from


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
    section: Any = None

    _folder: Path | None = pydantic.PrivateAttr(default=None)

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
    def name(self) -> str:
        """The folder's name, which is the preset's; "preset" where it was parsed from text."""
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
        content = self.model_dump(exclude_none=True, exclude={"section"})
        if self.section is not None:
            section = self.section.model_dump(exclude_none=True, exclude_defaults=True)
            content |= {self.family: section} if section else {}
        return content

    def record(self, file: str) -> Any:
        """The content of a JSON file in the folder; None where it is absent.

        Args:
            file: Name of the file, such as "weights.json".

        Raises:
            ZooError: The file is damaged.
        """
        path = self._folder / file if self._folder else None
        if path is None or not path.is_file():
            return None
        return files.read_json(path, remedy="restore it, or remove it and run the command that writes it")

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
    """The preset of a name, or of a folder given as a Path or a string with a separator.

    Args:
        name: Name of a preset of the zoo or of `search_path()`, trained or a recipe; or the folder's path.

    Raises:
        ZooError: Unknown name (with the nearest ones), missing folder, or a bad preset.yaml.
    """
    if not isinstance(name, (str, Path)):
        raise ZooError(f"`name` must be a preset's name or path. Received: {name!r}")
    if isinstance(name, Path) or "/" in str(name) or "\\" in str(name):
        folder = files.healed(Path(name).expanduser())
        if not (folder / PRESET_FILE).is_file():
            raise ZooError(f"No preset in {str(name)!r}: {folder / PRESET_FILE} does not exist")
    else:
        folders = {**_folders(f"{_RECIPES}/*/{PRESET_FILE}"), **_folders(f"*/{PRESET_FILE}")}
        if name not in folders:
            hint = f" For a folder of your own, write ./{name}" if Path(str(name), PRESET_FILE).is_file() else ""
            raise ZooError(f"Unknown preset {name!r}. {did_you_mean(name, folders)}{hint}")
        folder = folders[name]
    try:
        text = (folder / PRESET_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"Cannot read {folder / PRESET_FILE}: {error}") from None
    preset = parse(text, origin=str(folder / PRESET_FILE))
    preset._folder = folder.resolve()
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
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ZooError(f"{origin} is not YAML: {' '.join(str(error).split())}") from None
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


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers and booleans: `1e-4` is a float, `no` and `on` are text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEAN, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Text that either version of YAML would read as a number or a boolean is put in quotes."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
