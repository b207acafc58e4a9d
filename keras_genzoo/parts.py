"""Parts that a preset.yaml names, such as networks and likelihoods: one way to name, check and build them.

A spec is a name, or a dict of a name and the part's own options:

    likelihood: bernoulli
    likelihood: {name: gaussian, sigma: learned}

The options are checked against the signature of the part's class or function: their names, their types where they are
annotated, and that none is missing.
"""

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pydantic
from pydantic import Field

from keras_genzoo import models
from keras_genzoo.errors import ZooError, did_you_mean, nearest, one_line, reason
from keras_genzoo.registry import Kind, entry_points, resolve
from keras_genzoo.typing import MOST_SEED, Spec

# Numbers with their ranges, for annotations that `bind` checks. The greatest is the greatest seed of NumPy.
_GREATEST = MOST_SEED
Count = Annotated[int, Field(ge=1, le=_GREATEST)]
Natural = Annotated[int, Field(ge=0, le=_GREATEST)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

OWN = "keras"  # name of a spec that holds a Keras model of a user's own
_GROUP = "keras_genzoo.parts"  # group of entry points, named "KIND.NAME"
_MOST_LETTERS = 120  # length of a received value in an error
_BOUNDS = {  # sign of a bound, and its name in the error's context, by pydantic's type of the error
    "greater_than_equal": (">=", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("<=", "le"),
    "less_than": ("<", "lt"),
}
_TYPES = {  # type that the value must have, by the start of pydantic's type of the error
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "tuple": "a list",
    "finite_number": "finite",
}
_KINDS = {  # kinds that every family may use
    "network": Kind(
        "keras_genzoo.networks:BUILDERS", ("image_shape", "latent_dim", "outputs", "feature_shape", "dtype")
    ),
    "likelihood": Kind("keras_genzoo.distributions:LIKELIHOODS"),
    "optimizer": Kind("keras_genzoo.optimizers:OPTIMIZERS", ("learning_rate",)),
    "schedule": Kind("keras_genzoo.optimizers:SCHEDULES", ("learning_rate", "total_steps", "restart_step")),
}
_ADDED: dict[tuple[str, str], Any] = {}  # parts that this process has added, by (kind, name)


def register(kind: str, name: str, part: Any) -> None:
    """Adds a part for this process; an installed package does so by an entry point `KIND.NAME` of "keras_genzoo.parts".

    Args:
        kind: A key of `kinds()`, such as "network" or "likelihood".
        name: Name that specs use.
        part: Class or function, or "module:attribute".

    Raises:
        ZooError: Unknown kind, or the name is taken by another part.
    """
    if names(kind).get(name, part) != part:
        raise ZooError(f"The name {name!r} of a {kind} is taken; give another")
    _ADDED[kind, name] = part


def kinds() -> dict[str, Kind]:
    """The kinds of parts: those that every family may use, and those that a family's record brings."""
    by_name = dict(_KINDS)
    for _, record in models.records():
        by_name |= dict(record.part_kinds)
    return by_name


def names(kind: str) -> dict[str, Any]:
    """The parts of a kind: name -> class, function, or "module:attribute" of a part that is not imported yet.

    Raises:
        ZooError: Unknown kind.
    """
    added = {name: part for (its_kind, name), part in _ADDED.items() if its_kind == kind}
    return {**_installed(kind), **resolve(_kind(kind).registry), **added}


def chosen(kind: str, spec: Spec, *, key: str | None = None, origin: str | None = None) -> tuple[Callable, dict]:
    """The class or function that a spec names, and its checked options.

    Args:
        kind: A key of `kinds()`.
        spec: A name, or a dict of `name` and options.
        key: Path of the spec in errors, such as "model.encoder"; None: the kind.
        origin: File that the spec stands in, for errors.

    Returns:
        `(class or function, options)`.

    Raises:
        ZooError: Unknown name, unknown or missing option, option of another type; with the nearest name.
    """
    key, registered = key or kind, names(kind)
    start = f"{origin}: " if origin else ""
    if not isinstance(spec, (str, dict)):
        raise ZooError(f"{start}`{key}` must be a name, or a dict of `name` and options. Received: {shown(spec)}")
    name = spec if isinstance(spec, str) else spec.get("name")
    if not isinstance(name, str) or name not in registered:
        path = key if isinstance(spec, str) else f"{key}.name"
        raise ZooError(
            f"{start}`{path}` must be one of {', '.join(sorted(registered))}. Received: {one_line(shown(name), 50)}"
            + nearest(name, registered)
        )
    part = resolve(registered[name])
    options = {} if isinstance(spec, str) else {option: value for option, value in spec.items() if option != "name"}
    return part, bind(part, options, origin=origin, prefix=f"{key}.", hidden=_kind(kind).decided)


def is_own(kind: str, spec: Spec) -> bool:
    """Whether a spec holds a network that is a Keras model of a user's own, see `networks.own`."""
    return kind == "network" and isinstance(spec, dict) and spec.get("name") == OWN


def build(kind: str, spec: Spec, *, key: str | None = None, **decided: Any) -> Any:
    """The part that a spec describes.

    Args:
        kind: A key of `kinds()`.
        spec: A name, or a dict of `name` and options.
        key: Path of the spec in errors; None: the kind.
        **decided: Arguments that the model decides.

    Returns:
        The object that the part's class or function makes.

    Raises:
        ZooError: As `chosen`; or the part needs an argument that the model does not give, or lacks one that it gives.
    """
    part, options = chosen(kind, spec, key=key)
    parameters = inspect.signature(part).parameters
    offered = _kind(kind).offered
    decided = {name: value for name, value in decided.items() if name in parameters or name not in offered}
    complaints = [f"does not take {name}" for name in decided if name not in parameters] + [
        f"needs {name}, which this place does not give"
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
        if name not in {**decided, **options}
    ]
    if complaints:
        name = spec if isinstance(spec, str) else spec["name"]
        raise ZooError(f"`{key or kind}`: the {kind} {name!r} does not fit here: it {' and '.join(complaints)}")
    return part(**decided, **options)


def plain(spec: Any) -> Any:
    """A spec as plain JSON data, copied: a configuration never shares state with its model."""
    return json.loads(json.dumps(spec, default=_plain))


def bind(
    function: Callable,
    options: dict,
    *,
    origin: str | None = None,
    prefix: str = "",
    hidden: Sequence[str] = (),
    unchecked: Sequence[str] = (),
) -> dict:
    """Options checked against a function's parameters: their names, their annotated types, and that none is missing.

    Args:
        function: Function or class.
        options: Keyword arguments, plain data.
        origin: File that the options stand in, for errors.
        prefix: Start of the options' paths in errors, such as "model.".
        hidden: Parameters that are no options.
        unchecked: Parameters whose values are checked elsewhere.

    Returns:
        The options, with lists turned into tuples where the annotation asks for them.

    Raises:
        ZooError: Unknown, missing or bad option. The message has file, path and value, and the nearest name.
    """
    bound = validate(_schema(function, tuple(hidden), tuple(unchecked)), options, origin=origin, prefix=prefix)
    return {key: getattr(bound, key) for key in options}


def validate(schema: type[pydantic.BaseModel], content: dict, *, origin: str | None = None, prefix: str = "") -> Any:
    """Plain data as an instance of a pydantic schema.

    The data are validated as JSON: lists fit tuples and 1 fits a float, but "1" fits no number and true no int.

    Args:
        schema: A pydantic model class.
        content: Plain data.
        origin: File that the data stand in, for errors.
        prefix: Start of the paths in errors.

    Returns:
        An instance of the schema.

    Raises:
        ZooError: Unknown, missing or bad key. The message has file, path and value, and the nearest name.
    """
    start = f"{origin}: " if origin else ""
    try:
        return schema.model_validate_json(json.dumps(content, default=_plain))
    except pydantic.ValidationError as failure:
        # A misspelt key is an error twice, as unknown and as missing: the first names the key.
        error = min(failure.errors(), key=lambda error: error["type"] != "extra_forbidden")
    except (TypeError, ValueError, RecursionError) as error:
        raise ZooError(f"{start}{reason(error)}; text, numbers, lists and mappings are taken") from None
    *parents, key = error["loc"] or ("",)
    path = one_line(prefix + ".".join(str(part) for part in error["loc"]), _MOST_LETTERS)
    if error["type"] == "extra_forbidden":
        raise ZooError(f"{start}unknown key `{path}`. {did_you_mean(key, _fields_at(schema, parents))}")
    if error["type"] == "missing":
        raise ZooError(f"{start}key `{path}` is missing")
    raise ZooError(f"{start}`{path}` {_complaint(error)}. Received: {shown(error['input'])}")


def _kind(name: str) -> Kind:
    by_name = kinds()
    if name not in by_name:
        raise ZooError(f"Unknown kind of part {name!r}. {did_you_mean(name, by_name)}")
    return by_name[name]


@functools.lru_cache(maxsize=256)
def _schema(function, hidden, unchecked):
    fields: dict[str, Any] = {}
    for key, parameter in inspect.signature(function).parameters.items():
        if key in ("self", *hidden) or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        is_free = key in unchecked or parameter.annotation is parameter.empty
        annotation = Any if is_free else parameter.annotation
        fields[key] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    return pydantic.create_model(
        "Arguments",
        __config__=pydantic.ConfigDict(
            extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=(), arbitrary_types_allowed=True
        ),
        **fields,
    )


@functools.cache
def _installed(kind):
    """The parts of a kind in other installed packages: "module:attribute" by name."""
    prefix = f"{kind}."
    return {name.removeprefix(prefix): value for name, value in entry_points(_GROUP) if name.startswith(prefix)}


def _complaint(error):
    """The complaint about a value, in the words of the zoo's errors."""
    if error["type"] in _BOUNDS:
        sign, name = _BOUNDS[error["type"]]
        bound = error["ctx"][name]
        return f"must be {sign} {bound:,}" if isinstance(bound, int) else f"must be {sign} {bound:g}"
    if error["type"] == "literal_error":
        return f"must be {error['ctx']['expected']}"
    type_name = next((name for start, name in _TYPES.items() if error["type"].startswith(start)), None)
    return f"must be {type_name}" if type_name else f"is wrong: {error['msg']}"


def shown(value: Any) -> str:
    """A received value as errors show it: its repr, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists without end
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 3] + "..."


def _plain(value):
    """A NumPy scalar or array as JSON takes it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {shown(value)} is no plain data")


def _fields_at(schema: Any, parents: list) -> list[str]:
    """The field names of the section that a path leads to in a schema; none where the path ends at other data."""
    for part in parents:
        if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
            schema = schema.model_fields[part].annotation
        else:
            schema = getattr(schema, "__args__", (None, schema))[1]  # the X of dict[str, X]
    return list(getattr(schema, "model_fields", ()))
