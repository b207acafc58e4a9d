"""Progress of long work, on stderr, so that stdout holds data only."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import rich.console
import rich.progress

_Item = TypeVar("_Item")

console = rich.console.Console(stderr=True)


def track(sequence: Iterable[_Item], description: str, *, verbose: bool, total: float | None = None) -> Iterable[_Item]:
    """Iterates over `sequence` beside a bar with the time left.

    Args:
        sequence: Items of any kind.
        description: Text before the bar.
        verbose: Whether to show the bar. Without it, or where stderr is no terminal, the iteration is plain.
        total: Number of items; needed for an iterator without a length.

    Returns:
        An iterable of the same items.
    """
    if not (verbose and sys.stderr.isatty()):
        return iter(sequence)
    return rich.progress.track(sequence, description, total=total, console=console)


def working(description: str, *, verbose: bool = True) -> contextlib.AbstractContextManager[Any]:
    """A spinner for work of unknown length.

    Args:
        description: Text beside the spinner.
        verbose: Whether to show it. Without it, or where stderr is no terminal, nothing is shown.

    Returns:
        A context manager around the work.
    """
    return console.status(description) if verbose and sys.stderr.isatty() else contextlib.nullcontext()


@contextlib.contextmanager
def native_logs_hidden() -> Iterator[None]:
    """Drops the start-up lines of TensorFlow's C++ on file descriptor 2; no log level drops them all.

    Python's own stderr (warnings, errors, progress) still shows. This is for commands, not for users of the library.
    """
    terminal, null, python_stderr = os.dup(2), os.open(os.devnull, os.O_WRONLY), sys.stderr
    os.dup2(null, 2)
    os.close(null)
    if python_stderr is sys.__stderr__:
        sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if python_stderr is sys.__stderr__:
            sys.stderr.close()
            sys.stderr = python_stderr


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Context for the first import of TensorFlow: a spinner, without TensorFlow's start-up lines. For commands."""
    with native_logs_hidden(), working("Loading TensorFlow"):
        yield
