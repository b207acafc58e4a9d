"""Progress on anything that takes more than a moment, on stderr so that stdout stays data."""

import contextlib
import os
import sys

import rich.console
import rich.progress

console = rich.console.Console(stderr=True)


def track(sequence, description, *, verbose, total=None):
    """Iterates over `sequence` beside a bar with the time left; plain iteration where not verbose or not a terminal.

    `total`: how many it will be, of an iterator without a length.
    """
    if not (verbose and sys.stderr.isatty()):
        return iter(sequence)
    return rich.progress.track(sequence, description, total=total, console=console)


def working(description, *, verbose=True):
    """A context with a spinner for work of unknown length; silent where not verbose or stderr is no terminal."""
    return console.status(description) if verbose and sys.stderr.isatty() else contextlib.nullcontext()


@contextlib.contextmanager
def native_logs_hidden():
    """Drops what TensorFlow's C++ writes to file descriptor 2, start-up chatter that no log level of its own stops.

    Python's own stderr (warnings, errors, progress) still shows. For commands, not for a library's users.
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
