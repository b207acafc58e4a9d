"""The schema of preset.yaml; find, list and validate presets. No Keras here: listing the zoo is instant."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml
from pydantic import Field

from keras_genzoo.errors import ZooError, did_you_mean
from keras_genzoo.models import MODELS

_HERE = Path(__file__).resolve().parent
# Inside the package once installed from a wheel; beside it in a clone and an editable install.
CONFIGS = next((path for path in (_HERE / "zoo_configs", _HERE.parent / "zoo_configs") if path.is_dir()), None)

PRESET_FILE, WEIGHTS_FILE, WEIGHTS_RECORD = "preset.yaml", "model.weights.h5", "weights.json"
METRICS_FILE, GOLDEN_FILE, SAMPLES_FILE, CARD_FILE = "metrics.json", "golden.npz", "samples.png", "README.md"
_RECIPES = "recipes"  # the folder of CONFIGS with presets to train on data of one's own
HISTORY_FILE = "history.json"  # the losses of every epoch of training


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class DataConfig(_Section):
    """What `data.load` is called with."""

    name: str
    other: str | None = None  # of a face swap: the second person's images, as `name` has the first's
    binarize: Literal["dynamic"] | None = None
    labels: bool = False
    resize: Literal["crop", "pad", "stretch"] = "crop"  # how the images of a folder come to the model's shape


class OptimizerConfig(_Section):
    """A Keras optimizer and its learning rate's course."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)]
    # cosine: from learning_rate to 0 over the whole training; over its unwarped epochs anew, from half of it
    schedule: Literal["constant", "cosine"] = "constant"
    beta_1: Annotated[float, Field(ge=0, lt=1)] | None = None
    beta_2: Annotated[float, Field(ge=0, lt=1)] | None = None
    clipnorm: Annotated[float, Field(gt=0)] | None = None


class MonitorConfig(_Section):
    """How a GAN is watched while it trains: the arguments of `monitor.GANMonitor`."""

    every: Annotated[int, Field(ge=1)] = 500  # training steps between looks
    action: Literal["warn", "stop", "restore"] = "warn"
    patience: Annotated[int, Field(ge=1)] = 3
    grace: Annotated[int, Field(ge=0)] = 3
    max_restores: Annotated[int, Field(ge=0)] = 3
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class TrainingConfig(_Section):
    """How `train` makes the weights."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    optimizers: dict[str, OptimizerConfig]  # argument of the model's compile -> optimizer
    seed: Annotated[int, Field(ge=0)] = 0
    start_from: str | None = None  # a preset of the same networks, trained on from its weights
    unwarped_epochs: Annotated[int, Field(ge=0)] = 0  # of a face swap: the last so many, see warped_steps
    steps_per_execution: Annotated[int, Field(ge=1)] = 1
    jit_compile: bool = False
    monitor: MonitorConfig | None = None  # of a GAN; the last images of the training split are then held out


class EvaluationConfig(_Section):
    """How much `evaluate` measures."""

    metric: str  # the headline, one of those in metrics.json
    seed: Annotated[int, Field(ge=0)] = 0
    n_importance_samples: Annotated[int, Field(ge=1)] = 1000  # draws per image of a likelihood
    n_samples: Annotated[int, Field(ge=2)] = 10_000  # generated images to judge
    n_probe_images: Annotated[int, Field(ge=100)] = 60_000  # training images that probes of the codes learn from


class Preset(_Section):
    """A preset.yaml. `model` holds the constructor arguments of the family's class; zoo.build checks them."""

    family: Literal[tuple(MODELS)]
    description: str
    data: DataConfig
    model: dict
    training: TrainingConfig
    evaluation: EvaluationConfig

    _folder: Path | None = pydantic.PrivateAttr(default=None)

    @property
    def folder(self):
        """The preset's folder."""
        return self._folder

    @property
    def name(self):
        """The folder's name, which is the preset's."""
        return self._folder.name if self._folder else None

    @property
    def file(self):
        """preset.yaml, for messages."""
        return str(self._folder / PRESET_FILE) if self._folder else "preset"

    def record(self, file):
        """A JSON file of the folder (weights.json, metrics.json) as a dict; None where absent."""
        path = self._folder / file
        try:
            return json.loads(path.read_text()) if path.is_file() else None
        except json.JSONDecodeError as error:
            raise ZooError(
                f"{path} is not JSON ({error}); restore it, or remove it and run the command that writes it"
            ) from None

    def digest(self):
        """A hash of everything that decides training, so that a resumed run cannot mix two configurations."""
        decides = self.model_dump(include={"family", "data", "model", "training"})
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def find(name):
    """The preset of a bundled name, trained or a recipe, or of a folder given as a Path or a string with a separator.

    Raises:
        ZooError: Unknown name (with the nearest ones), missing folder, or a bad preset.yaml.
    """
    if not isinstance(name, (str, Path)):
        raise ZooError(f"`name` must be a preset's name or path. Received: {name!r}")
    if isinstance(name, Path) or "/" in str(name) or "\\" in str(name):
        folder = Path(name).expanduser()
        if not (folder / PRESET_FILE).is_file():
            raise ZooError(f"No preset in {str(name)!r}: {folder / PRESET_FILE} does not exist")
    else:
        trained, waiting = names(), recipes()
        if name not in [*trained, *waiting]:
            where = f" For a folder of your own, write ./{name}" if Path(str(name), PRESET_FILE).is_file() else ""
            raise ZooError(f"Unknown preset {name!r}. {did_you_mean(name, [*trained, *waiting])}{where}")
        folder = CONFIGS / name if name in trained else CONFIGS / _RECIPES / name
    try:
        text = (folder / PRESET_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"Cannot read {folder / PRESET_FILE}: {error}") from None
    preset = parse(text, origin=str(folder / PRESET_FILE))
    preset._folder = folder.resolve()
    return preset


def names():
    """The names of the bundled presets that are trained, sorted."""
    return sorted(path.parent.name for path in CONFIGS.glob(f"*/{PRESET_FILE}")) if CONFIGS else []


def recipes():
    """The names of the bundled presets that wait for data of the user's own, sorted: a preset.yaml and no weights."""
    return sorted(path.parent.name for path in CONFIGS.glob(f"{_RECIPES}/*/{PRESET_FILE}")) if CONFIGS else []


def list_presets():
    """The zoo's presets: dicts of name, family, data, parameters, metric, value, unit, description.

    Example:
        >>> [row["name"] for row in keras_genzoo.list_presets()]
    """
    rows = []
    for name in names():
        preset = find(name)
        weights, headline = preset.record(WEIGHTS_RECORD) or {}, headline_row(preset) or {}
        rows.append(
            {
                "name": name,
                "family": preset.family,
                "data": preset.data.name,
                "parameters": weights.get("parameters"),
                "metric": preset.evaluation.metric,
                "value": headline.get("value"),
                "unit": headline.get("unit"),
                "description": preset.description,
            }
        )
    return rows


def headline_row(preset):
    """The row of metrics.json that stands for the preset in tables; None before `evaluate`."""
    metrics = preset.record(METRICS_FILE) or {"rows": []}
    return next((row for row in metrics["rows"] if row["metric"] == preset.evaluation.metric), None)


def parse(text, *, origin):
    """preset.yaml's text as a Preset; `origin` names it in errors."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ZooError(f"{origin} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ZooError(f"{origin} must hold a mapping. Received: {type(content).__name__}")
    return validate(Preset, content, origin=origin)


def dump(preset):
    """A Preset as the text of a preset.yaml."""
    return yaml.safe_dump(preset.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True, width=120)


def validate(schema, content, *, origin, prefix=""):
    """`content` (plain data) as `schema`, or a ZooError with file, key path, value and the nearest key.

    Validation runs over JSON: lists fit tuples and 1 fits a float, but "1" fits no number and true no int.
    """
    try:
        return schema.model_validate_json(json.dumps(content))
    except pydantic.ValidationError as failure:
        # A misspelt key is both unknown and missing: the first says more.
        error = min(failure.errors(), key=lambda error: error["type"] != "extra_forbidden")
    except TypeError as error:
        raise ZooError(f"{origin}: {error}; preset.yaml takes text, numbers, lists and mappings") from None
    *parents, key = error["loc"] or ("",)
    path = prefix + ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields_at(schema, parents)
        raise ZooError(f"{origin}: unknown key `{path}`. {did_you_mean(key, known)}")
    if error["type"] == "missing":
        raise ZooError(f"{origin}: key `{path}` is missing")
    raise ZooError(f"{origin}: `{path}`: {error['msg']}. Received: {error['input']!r}")


def _fields_at(schema, parents):
    for part in parents:
        if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
            schema = schema.model_fields[part].annotation
        else:
            schema = schema.__args__[1]  # dict[str, X]
    return list(schema.model_fields)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers and booleans: `1e-4` is a float, `no` and `on` are text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf)$|^\.(?:nan|NaN)$"
    ),
    list("-+0123456789."),
)
