"""Sides of a benchmark: processes, perhaps of another Python, that work in turn while the others wait."""

import datetime
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version


class Side:
    """A process that runs `serve`. It is ready when this returns."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()

    def turn(self):
        """Has it do its work once; what it answers."""
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
                continue  # something else that a library prints
        raise SystemExit(f"{self.name} ended early; run it alone to see why: --only '{self.name}'")


def serve(turn):
    """The other end: answers every line on stdin with what `turn()` gives, as JSON."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


def fit_seconds(model, *args, **arguments):
    """Seconds of one epoch of a Keras model's `fit`, from its start to its last logs.

    Not counted is what `fit` does once per call: checks, copying an array, and the end of its iterator, for which it
    waits until TensorFlow's tuner wakes: 2.6, 5.1 or 10.2 s after the start, whatever the speed.
    """
    import keras  # here, for some sides have none

    times = {}
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: times.update(start=time.perf_counter()),
        on_epoch_end=lambda epoch, logs: times.update(end=time.perf_counter()),
    )
    model.fit(*args, **arguments, epochs=1, verbose=0, callbacks=[clock])
    return times["end"] - times["start"]


def about(torch_python):
    """What a result must say beside its numbers: the date, the cores, the versions."""
    asked = [torch_python, "-c", "import torch; print(torch.__version__)"]
    torch = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "cpus": os.cpu_count(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
        "torch": torch or None,  # None: not there, and not asked to race
    }
