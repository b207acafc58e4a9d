"""The errors that a user can mend: one line each, which the command line prints without a traceback."""

import difflib
import unicodedata
from collections.abc import Iterable

MOST_LETTERS = 300  # length of a line that reports an error
_MOST_OF_A_REASON = 140  # letters of another library's message; the file and the key stand beside it
_JOINERS = "\u200c\u200d"  # format characters that emoji and Persian words consist of
_LISTED = 30  # number of known names that one line may still hold
_N_NEAREST = 3  # number of names suggested
_LEAST_LIKENESS = 0.5  # least similarity of a suggested name, in [0, 1]; difflib's default is 0.6


class ZooError(ValueError):
    """Bad input. The message names the value, its origin and the values that would be right.

    The message is one line and holds no control codes, whatever names of the user's and of strangers' it has in it.
    """

    def __init__(self, *args: object):
        super().__init__(*(one_line(arg) if isinstance(arg, str) else arg for arg in args))


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


def visible(text: object, *, keep: str = "") -> str:
    """Text as it may be printed: escapes stand for what a terminal would obey and for what no encoding holds.

    Args:
        text: Text of a stranger's, such as a description or a file's name.
        keep: Control characters that stay, such as "\\n".

    Returns:
        The text, with escapes such as `\\x1b` for control codes, marks of direction and lone surrogates.

    Example:
        >>> from keras_genzoo.errors import visible
        >>> print(visible("a\\x1b[2Jb"))
        a\\x1b[2Jb
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode() if _is_obeyed(letter) and letter not in keep else letter
        for letter in text
    )


def one_line(text: object, most: int | None = None) -> str:
    """Text as one visible line.

    Args:
        text: Text of any kind.
        most: Greatest length; a longer line keeps its start and its end. None: any length.
    """
    line = visible(" ".join(str(text).split()))
    if most is None or len(line) <= most:
        return line
    head = 2 * most // 3
    return f"{line[: head - 2]} ... {line[len(line) - (most - head - 3) :]}"


def reason(error: BaseException) -> str:
    """The reason that an error gives, cut where it is another library's, to stand behind a file and a key."""
    if isinstance(error, ZooError):
        return str(error)
    lines = str(error).strip().splitlines()
    return one_line(lines[0] if lines else type(error).__name__, _MOST_OF_A_REASON)


def _is_obeyed(letter):
    category = unicodedata.category(letter)
    return category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and letter not in _JOINERS)
