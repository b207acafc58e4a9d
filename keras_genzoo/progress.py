"""Progress of long work, on stderr, so that stdout holds data only.

Where stderr is no terminal, it is a line every half minute.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import rich.console
import rich.progress

_Item = TypeVar("_Item")

EVERY = 30.0  # seconds between two lines of a log; shorter work says nothing there

console = rich.console.Console(stderr=True)


def track(sequence: Iterable[_Item], description: str, *, verbose: bool, total: float | None = None) -> Iterable[_Item]:
    """Iterates over `sequence` beside a bar with the time left; a line every half minute where there is no terminal.

    Args:
        sequence: Items of any kind.
        description: Text before the bar.
        verbose: Whether to show it. Without it the iteration is plain.
        total: Number of items; needed for an iterator without a length.

    Returns:
        An iterable of the same items.
    """
    if not verbose:
        return iter(sequence)
    if sys.stderr.isatty():
        return rich.progress.track(sequence, description, total=total, console=console)
    if total is None and hasattr(sequence, "__len__"):
        total = len(sequence)  # pyright: ignore[reportArgumentType]
    return _logged(sequence, description, total)


def say(line: str, *, verbose: bool) -> None:
    """Prints a line about long work, on a terminal or not.

    Args:
        line: Text.
        verbose: Whether to print it.
    """
    if verbose:
        print(line, file=sys.stderr, flush=True)


def working(description: str, *, verbose: bool = True) -> contextlib.AbstractContextManager[Any]:
    """A spinner for work of unknown length; a line every half minute where there is no terminal.

    Args:
        description: Text beside the spinner.
        verbose: Whether to show it.

    Returns:
        A context manager around the work.
    """
    if not verbose:
        return contextlib.nullcontext()
    if sys.stderr.isatty():
        return console.status(description)
    return saying(lambda seconds: f"{description}: {duration(seconds)} so far")


@contextlib.contextmanager
def saying(text: Callable[[float], str], *, verbose: bool = True) -> Iterator[None]:
    """Context that writes a line on stderr every half minute, where that is no terminal.

    Args:
        text: Function from the seconds since the start to the line.
        verbose: Whether to write.
    """
    if not verbose or sys.stderr.isatty():
        yield
        return
    start, over = time.monotonic(), threading.Event()

    def say():
        while not over.wait(EVERY):
            with contextlib.suppress(OSError, ValueError):  # a closed stderr ends no work
                print(text(time.monotonic() - start), file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def position(description: str, done: float, total: float | None, seconds: float) -> str:
    """One line that says where a piece of work is.

    Args:
        description: Name of the work.
        done: Number of items that are done in `seconds`.
        total: Number of all items; None: unknown.
        seconds: Time since the start.

    Returns:
        Text such as "extracting: 120 of 900, 4/s, 3 min 15 s left".

    Example:
        >>> position("extracting", 120, 900, 30)
        'extracting: 120 of 900, 4/s, 3 min 15 s left'
    """
    line = f"{description}: {done:g}" + (f" of {total:g}" if total else "")
    rate = done / seconds if seconds > 0 else 0.0
    if rate:
        line += f", {rate:.2g}/s" if rate >= 1 else f", {1 / rate:.2g} s each"
        if total:
            line += f", {duration((total - done) / rate)} left"
    return line


def duration(seconds: float) -> str:
    """A time in words: "45 s", "3 min 15 s", "2 h 05 min".

    Args:
        seconds: The time, >= 0.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _logged(sequence, description, total):
    """The items of a sequence, beside lines of a log."""
    done = 0
    with saying(lambda seconds: position(description, done, total, seconds)):
        for item in sequence:
            yield item
            done += 1


@contextlib.contextmanager
def native_logs_hidden() -> Iterator[None]:
    """Drops the start-up lines of TensorFlow's C++ on file descriptor 2; no log level drops them all.

    Python's own stderr (warnings, errors, progress) still shows. This is for commands, not for users of the library.
    """
    terminal, null, python_stderr = os.dup(2), os.open(os.devnull, os.O_WRONLY), sys.stderr
    os.dup2(null, 2)
    os.close(null)
    if python_stderr is sys.__stderr__:
        options = {"encoding": python_stderr.encoding, "errors": "backslashreplace"}  # as Python's own
        sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, **options)
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
