"""Progress on anything that takes more than a moment, on stderr so that stdout stays data."""

import sys

import rich.console
import rich.progress

console = rich.console.Console(stderr=True)


def track(sequence, description, *, verbose):
    """Iterates over `sequence` beside a bar with the time left; plain iteration where not verbose or not a terminal."""
    if not (verbose and sys.stderr.isatty()):
        return iter(sequence)
    return rich.progress.track(sequence, description, console=console)


def working(description):
    """A context with a spinner for work of unknown length; silent where stderr is no terminal."""
    return console.status(description) if sys.stderr.isatty() else _Silent()


class _Silent:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
