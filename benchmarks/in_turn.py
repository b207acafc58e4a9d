"""Sides of a benchmark: processes, perhaps of another Python, that work in turn while the others wait."""

import datetime
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version


class Side:
    """A process that runs `serve`; it is ready once the object is made.

    Args:
        name: Name of the side, for errors.
        command: Command line of the process.
    """

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )
        self._answer()

    def turn(self):
        """The process' answer after one turn of its work."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        for line in self.process.stdout:
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                continue  # a line that a library prints
        raise SystemExit(f"{self.name} ended early; run it alone to see why: --only '{self.name}'")


def serve(turn):
    """The loop of a side's process: answers every line on stdin with the result of `turn()`, as JSON."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


def fit_seconds(model, *args, **arguments):
    """Seconds of one epoch of a Keras model's `fit`, from its start to its last logs.

    The work of `fit` once per call is not counted: checks, the copy of an array, and the end of its iterator. That end
    waits for TensorFlow's tuner, which wakes 2.6, 5.1 or 10.2 s after the start, whatever the speed.
    """
    import keras  # not at the top, for some sides have none

    times = {}
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: times.update(start=time.perf_counter()),
        on_epoch_end=lambda epoch, logs: times.update(end=time.perf_counter()),
    )
    model.fit(*args, **arguments, epochs=1, verbose=0, callbacks=[clock])
    return times["end"] - times["start"]


def about(torch_python):
    """The circumstances of a result: the date, the cores, the versions."""
    command = [torch_python, "-c", "import torch; print(torch.__version__)"]
    torch = subprocess.run(command, capture_output=True, encoding="utf-8").stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "cpus": os.cpu_count(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
        "torch": torch or None,  # None: not installed
    }
