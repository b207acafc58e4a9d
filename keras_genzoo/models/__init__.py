"""The model families, each a record of strings, so that listing them imports nothing.

A family is a folder here, with its model, its parts, its measures and its hooks. General rooms ask the record and name
no family. Another package adds a family by an entry point of the group "keras_genzoo.families", whose value names a
`Family`; a running program does so by `FAMILIES.register`.
"""

import importlib
import warnings
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from keras_genzoo.errors import ZooError
from keras_genzoo.registry import Kind, Registry, resolve

_ROOMS = (
    "autoencoder", "base", "classifier", "contract", "doors", "face_swap", "gan", "hooks", "inputs", "labels",
    "preview", "vae", "vital_signs",
)  # fmt: skip
_BROKEN: set[str] = set()  # families whose records cannot be imported, and were named
_HERE = "keras_genzoo.models"
_DRAWINGS = "keras_genzoo.drawings"
_CODED = {  # pictures of a model that encodes and decodes: kind -> function
    kind: f"{_DRAWINGS}:{kind}"
    for kind in ("showcase", "reconstructions", "filters", "atoms", "latent", "manifold", "curves")
}


class Family(NamedTuple):
    """The record of a family. All fields but `model` and `contract` may be missing; references are "module:attribute".

    Attributes:
        model: Class of the models, a `ZooModel`.
        contract: Function from a model to the `models.contract.Endpoint` of each endpoint, by name.
        measures: List of functions `(model, test) -> rows`, see `evaluation.Test`.
        hooks: Class of the family's additions to a training, a `models.hooks.Hooks`.
        section: Schema of the family's own section of preset.yaml, a pydantic class. The section has the family's name.
        spellings: Function that updates the content of an older preset.yaml, one without `format`.
        drawings: Kind of picture -> function of a `drawings.Request`.
        commands: Function that adds subcommands to the command line, `(add) -> None`.
        part_kinds: Kinds of parts that only this family has: name -> `registry.Kind`.
    """

    model: str
    contract: str
    measures: str | None = None
    hooks: str = f"{_HERE}.hooks:Hooks"
    section: str | None = None
    spellings: str | None = None
    drawings: Mapping[str, str] = MappingProxyType({})
    commands: str | None = None
    part_kinds: Mapping[str, Kind] = MappingProxyType({})


FAMILIES = Registry(
    "family",
    {
        "autoencoder": Family(
            model=f"{_HERE}.autoencoder:Autoencoder",
            measures=f"{_HERE}.autoencoder.measures:MEASURES",
            hooks=f"{_HERE}.preview:PreviewHooks",
            contract=f"{_HERE}.autoencoder.contract:contract",
            drawings=_CODED,
            part_kinds={
                "regularizer": Kind(f"{_HERE}.autoencoder.regularizers:REGULARIZERS"),
                "corruption": Kind(f"{_HERE}.autoencoder.corruptions:CORRUPTIONS", ("x", "seed")),
            },
        ),
        "vae": Family(
            model=f"{_HERE}.vae:VAE",
            measures=f"{_HERE}.vae.measures:MEASURES",
            hooks=f"{_HERE}.preview:PreviewHooks",
            spellings=f"{_HERE}.vae.spellings:upgrade",
            contract=f"{_HERE}.vae.contract:contract",
            drawings={**_CODED, "traversal": f"{_DRAWINGS}:traversal"},
            part_kinds={
                "prior": Kind(
                    f"{_HERE}.vae.latents:PRIORS", ("latent_dim", "encode", "image_shape"), ("encode", "image_shape")
                ),
                "posterior": Kind(f"{_HERE}.vae.latents:POSTERIORS", ("latent_dim",)),
                "objective": Kind(f"{_HERE}.vae.objectives:OBJECTIVES"),
            },
        ),
        "gan": Family(
            model=f"{_HERE}.gan:GAN",
            measures=f"{_HERE}.gan.measures:MEASURES",
            hooks=f"{_HERE}.gan.hooks:GANHooks",
            section=f"{_HERE}.gan.section:Section",
            spellings=f"{_HERE}.gan.spellings:upgrade",
            contract=f"{_HERE}.gan.contract:contract",
            drawings={kind: f"{_DRAWINGS}:{kind}" for kind in ("showcase", "filters", "atoms", "curves")},
            part_kinds={
                "game": Kind(f"{_HERE}.gan.games:GAMES"),
                "augmentation": Kind(f"{_HERE}.gan.augmentations:AUGMENTATIONS", ("x", "seed")),
            },
        ),
        "face_swap": Family(
            model=f"{_HERE}.face_swap:FaceSwap",
            measures=f"{_HERE}.face_swap.measures:MEASURES",
            hooks=f"{_HERE}.face_swap.hooks:FaceSwapHooks",
            section=f"{_HERE}.face_swap.section:Section",
            spellings=f"{_HERE}.face_swap.spellings:upgrade",
            contract=f"{_HERE}.face_swap.contract:contract",
            drawings={
                "showcase": f"{_HERE}.face_swap.drawings:showcase",
                "filters": f"{_DRAWINGS}:filters",
                "curves": f"{_DRAWINGS}:curves",
            },
            commands=f"{_HERE}.face_swap.commands:add",
        ),
        "classifier": Family(
            model=f"{_HERE}.classifier:Classifier",
            measures=f"{_HERE}.classifier.measures:MEASURES",
            hooks=f"{_HERE}.classifier.hooks:ClassifierHooks",
            contract=f"{_HERE}.classifier.contract:contract",
            drawings={"curves": f"{_DRAWINGS}:curves"},
        ),
    },
    group="keras_genzoo.families",
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def records() -> Iterator[tuple[str, Family]]:
    """Name and record of every family. A record of another package that cannot be imported is named in a warning and
    left out: the zoo works without it.
    """
    for name in FAMILIES:
        try:
            found = FAMILIES.get(name)
        except ZooError as error:
            if name not in _BROKEN:
                _BROKEN.add(name)
                warnings.warn(f"The family {name!r} of another package is left out: {error}", stacklevel=3)
        else:
            yield name, found


def record(family: str) -> Family:
    """The record of a family.

    Raises:
        ZooError: Unknown family; the message names the nearest.
    """
    return FAMILIES.get(family)


def get(family: str) -> type:
    """The model class of a family, imported now.

    Raises:
        ZooError: Unknown family; the message names the nearest.
    """
    return resolve(record(family).model)


def family_of(cls: type) -> str | None:
    """The family whose models are of a class; None for a subclass and for any other class."""
    return next((name for name, found in records() if resolve(found.model) is cls), None)


def asked(family: str, field: str) -> Any:
    """The object that a field of a family's record refers to, imported now.

    Args:
        family: Name of the family.
        field: Field of `Family`, such as "measures".

    Returns:
        The object; None where the record has none.

    Raises:
        ZooError: Unknown family; the message names the nearest.
    """
    return resolve(getattr(record(family), field))


def drawing(family: str, kind: str) -> Any:
    """The function that draws a kind of picture of a family, imported now.

    Args:
        family: Name of the family.
        kind: Key of its record's `drawings`.

    Returns:
        A function of a `drawings.Request`.

    Raises:
        ZooError: Unknown family; the message names the nearest.
        KeyError: The family has no such picture.
    """
    return resolve(record(family).drawings[kind])
