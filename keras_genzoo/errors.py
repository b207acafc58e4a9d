"""The errors that a user can mend: one line each, which the command line prints without a traceback."""

import difflib
from collections.abc import Iterable

_LISTED = 30  # number of known names that one line may still hold
_N_NEAREST = 3  # number of names suggested
_LEAST_LIKENESS = 0.5  # least similarity of a suggested name, in [0, 1]; difflib's default is 0.6


class ZooError(ValueError):
    """Bad input. The message names the value, its origin and the values that would be right."""


class MissingDataError(ZooError, FileNotFoundError):
    """A data set that was not found. The message names the places searched and the command that gets it."""

    __str__ = Exception.__str__  # OSError would format errno and file name


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """A sentence that helps with an unknown word: its nearest neighbours, or the known words where none is near.

    Args:
        word: The unknown word.
        known: All known words.

    Returns:
        "Did you mean a, b?", or "Known: a, b, c", which ends after `_LISTED` words.

    Example:
        >>> from keras_genzoo.errors import did_you_mean
        >>> did_you_mean("vae_mnits", ["vae_mnist", "dcgan_mnist"])
        'Did you mean vae_mnist, dcgan_mnist?'
    """
    if near := nearest(word, known):
        return near.removeprefix(". ")
    names = sorted(str(name) for name in known)
    return f"Known: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"


def nearest(word: object, known: Iterable[object]) -> str:
    """The end of an error that lists the known words by itself: ". Did you mean a, b?", or nothing.

    Args:
        word: The unknown word.
        known: All known words.
    """
    by_lower = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(str(word).lower(), by_lower, n=_N_NEAREST, cutoff=_LEAST_LIKENESS)
    return f". Did you mean {', '.join(by_lower[name] for name in near)}?" if near else ""
