"""The errors that a user can mend: one line each, which the command line prints without a traceback."""

import difflib

_LISTED = 30  # known names that one line may still hold


class ZooError(ValueError):
    """Bad input. The message names the value, where it came from and what would be right."""


class MissingDataError(ZooError, FileNotFoundError):
    """A data set is on no disk that was looked at. The message says where that was and how to get it."""

    __str__ = Exception.__str__  # OSError would format errno and file name


def did_you_mean(word, known):
    """' Did you mean a, b?' for the nearest known words, or the (first) known ones where none is near."""
    by_lower = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(str(word).lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {', '.join(by_lower[name] for name in near)}?"
    names = sorted(by_lower.values())
    return f"Known: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
