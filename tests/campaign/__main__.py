"""`python -m tests.campaign`: the campaign, and the figures of its kinds in benchmarks/results/campaign.json."""

import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_GENZOO_DATA"] = ""
sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from keras_genzoo import files

from . import faults, running

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "campaign.json"
COUNTS = {"presets": 1000, "weights": 200, "records": 100, "commands": 300, "kills": 40, "disks": 30}


def main() -> int:
    """Runs the kinds that are asked for; status 1 where a case was not good."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--kind", action="append", choices=COUNTS, help="kind of cases (default: all)")
    parser.add_argument("--n", type=int, help="number of cases (default: as many as are written down)")
    parser.add_argument("--first", type=int, default=0, help="first case")
    parser.add_argument("--seed", type=int, default=19)
    arguments = parser.parse_args()
    rows, failures = [], []
    for kind in arguments.kind or COUNTS:
        n, start = arguments.n or COUNTS[kind], time.monotonic()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            os.environ["XDG_STATE_HOME"] = str(folder / "state")
            if kind == "kills":
                counts, bad = faults.kills(n, arguments.seed, folder)
            elif kind == "disks":
                counts, bad = faults.full_disks(n, arguments.seed, folder)
            else:
                numbers = range(arguments.first, arguments.first + n)
                counts, bad = running.series_apart(kind, numbers, arguments.seed, folder)
        seconds = round(time.monotonic() - start)
        rows.append({"kind": kind, "n": n, "verdicts": dict(sorted(counts.items())), "seconds": seconds})
        failures += bad
        print(json.dumps(rows[-1]), flush=True)
    print(*failures, sep="\n")
    if arguments.n is None and not arguments.first:
        _write(rows, arguments.seed)
    return 1 if failures else 0


def _write(rows, seed):
    """Puts the figures of the kinds that ran in full beside those of the others."""
    earlier = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.is_file() else []
    by_kind = {row["kind"]: row for row in [*earlier, *rows]}
    about = {"date": datetime.date.today().isoformat(), "cpus": os.cpu_count(), "seed": seed}
    files.write_json(RESULT, {"about": about, "rows": [by_kind[kind] for kind in COUNTS if kind in by_kind]})


if __name__ == "__main__":
    sys.exit(main())
