"""Registries that other packages add to: names to strings such as "module:attribute", which import nothing.

An installed package adds an entry by an entry point, a running program by `Registry.register`.
"""

import importlib
import importlib.metadata
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_genzoo.errors import ZooError, did_you_mean


class Kind(NamedTuple):
    """A kind of part, see `parts`.

    Attributes:
        registry: "module:attribute" of the dict from names to classes or functions.
        decided: Parameters that the model decides, not the spec.
        offered: Parameters of `decided` that a part need not take.
    """

    registry: str
    decided: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()


def resolve(reference: Any) -> Any:
    """The object that a "module:attribute" string names, imported now; any other object as it is.

    Args:
        reference: "module:attribute", or an object.

    Raises:
        ZooError: The module cannot be imported, or lacks the attribute.
    """
    if not isinstance(reference, str):
        return reference
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ZooError(f"{reference!r} cannot be imported: {error}") from error


class Registry:
    """A mapping of names to references, which the entry points of installed packages join at the first look.

    Args:
        kind: Noun that errors use for an entry, such as "data set".
        entries: Entries of this package: name -> "module:attribute", or the object itself.
        group: Entry point group whose names join; None: none.
        prefix: Start of the entry points' names that belong here, such as "likelihood."; it is cut off.
    """

    def __init__(self, kind: str, entries: dict[str, Any], *, group: str | None = None, prefix: str = ""):
        self.kind, self.group, self.prefix = kind, group, prefix
        self._entries = dict(entries)
        self._is_complete = False

    def register(self, name: str, reference: Any) -> None:
        """Adds an entry for this process.

        Args:
            name: Name of the entry.
            reference: "module:attribute", or the object itself.

        Raises:
            ZooError: The name is taken by another entry.
        """
        entry = self._all().get(name, reference)
        if entry != reference:
            raise ZooError(f"The name {name!r} of a {self.kind} is taken by {entry!r}; give another")
        self._entries[name] = reference

    def get(self, name: str) -> Any:
        """The object of a name, imported now.

        Raises:
            ZooError: No entry of that name; the message has the nearest.
        """
        if name not in self:
            raise ZooError(f"Unknown {self.kind} {name!r}. {did_you_mean(name, self)}")
        return resolve(self._all()[name])

    def reference(self, name: str) -> Any:
        """The reference of a name as it was registered, not imported."""
        return self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Any]:
        if self.group is not None and not self._is_complete:
            self._is_complete = True
            for name, value in entry_points(self.group):
                if name.startswith(self.prefix):
                    self._entries.setdefault(name.removeprefix(self.prefix), value)
        return self._entries


def entry_points(group: str) -> list[tuple[str, str]]:
    """The entry points of a group in all installed packages: `[(name, "module:attribute")]`, sorted by name."""
    return sorted((point.name, point.value) for point in importlib.metadata.entry_points(group=group))
