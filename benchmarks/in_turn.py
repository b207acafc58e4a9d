"""Sides of a benchmark: processes, perhaps of another Python, that work in turn while the others wait."""

import json
import subprocess
import sys


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
