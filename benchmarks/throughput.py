"""Images per second of `fit` against keras.io-style models, start-up times, and the cost of `sample` over its network.

The sides of a comparison run in turn (A B A B ...) after a warm-up; medians are reported. Of `fit`, one epoch is timed
(`in_turn.fit_seconds`).

    python benchmarks/throughput.py --json benchmarks/results/throughput.json
    python benchmarks/throughput.py --parts sweep --rounds 3      # how presets choose jit_compile, steps_per_execution
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import keras
import keras_io_style
import tensorflow as tf
from in_turn import fit_seconds

import keras_genzoo
from keras_genzoo import data, files, presets, training

# Steps of a timed epoch, peer, and endpoint behind `sample` of each preset. 500 steps are vae_mnist's epoch.
BENCHED = {"vae_mnist": (500, keras_io_style.vae, "decode"), "dcgan_mnist": (50, keras_io_style.dcgan, "generate")}
# Program of a child process: it prints the seconds of each statement in its arguments.
CHILD = """import sys, time
for statement in sys.argv[1:]:
    start = time.perf_counter(); exec(statement); print(time.perf_counter() - start)"""


def measure_fit(name, rounds, steps):
    """The `fit` of keras_genzoo, as `train` calls it, against the peer's, compiled as in its example."""
    preset = presets.find(name)
    ours, stream, _ = training.prepare(preset)
    steps = max(1, steps // ours.steps_per_execution) * ours.steps_per_execution
    n_images = steps * preset.training.batch_size
    images = data.to_unit(data.arrays(preset.data.name, "train")[0][:n_images])
    build = BENCHED[name][1]
    runs = {"keras_genzoo": (ours, {"x": stream, "steps_per_epoch": steps}), "keras.io style": build(preset, images)}
    if runs["keras.io style"][0].jit_compile != ours.jit_compile:  # a third run, for XLA's part of the ratio
        runs["keras.io style, our XLA"] = build(preset, images, jit_compile=ours.jit_compile)
    return race(name, runs, n_images, rounds)


def measure_sweep(name, rounds, steps):
    """The `fit` of keras_genzoo under the settings that a preset may choose."""
    preset, runs, steps = presets.find(name), {}, max(1, steps // 50) * 50
    for jit_compile, n in itertools.product((False, True), (1, 10, 50)):
        config = preset.training.model_copy(update={"jit_compile": jit_compile, "steps_per_execution": n})
        model, stream, _ = training.prepare(preset.model_copy(update={"training": config}))
        runs[f"XLA {jit_compile}, {n} steps"] = model, {"x": stream, "steps_per_epoch": steps}
    return race(name, runs, steps * preset.training.batch_size, rounds)


def race(name, runs, n_images, rounds):
    """Times an epoch of each (model, fit arguments) in turn: rates, and ratios of the first one's to each."""
    rates = {key: [] for key in runs}
    for i in range(rounds + 1):
        for key, (model, arguments) in runs.items():
            seconds = fit_seconds(model, **arguments)
            if i:  # the first round traces and compiles
                rates[key].append(n_images / seconds)
                print(f"{name} round {i} of {rounds}: {key} {rates[key][-1]:,.0f} images/s", file=sys.stderr)
    first, rows = rates[next(iter(runs))], {}
    for key, (model, _) in runs.items():
        ratios = [a / b for a, b in zip(first, rates[key], strict=True)]
        rows[key] = {
            "jit_compile": model.jit_compile,
            "steps_per_execution": model.steps_per_execution,
            "rounds": rates[key],
            "median": median(rates[key]),
            "ratios": [median(first) / median(rates[key]), min(ratios), max(ratios)],
        }
    return rows


def measure_imports(rounds):
    """Seconds of statements, one after the other in a fresh process, after Python's own start."""
    statements = ["import keras_genzoo", "import tensorflow, keras", "keras_genzoo.load('vae_mnist')"]
    child = [sys.executable, "-c", CHILD, *statements]
    outputs = [
        subprocess.run(child, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout for _ in range(rounds + 1)
    ]
    times = zip(*(map(float, output.split()) for output in outputs[1:]), strict=True)  # the first fills the file cache
    return {key: {"median": median(t), "rounds": t} for key, t in zip(statements, times, strict=True)}


def measure_sample(name, rounds, _steps):
    """Milliseconds of `sample` and of its network on given codes; each ends with a NumPy array."""
    model = keras_genzoo.load(name)
    network = model.endpoints()[BENCHED[name][2]]
    function, z = tf.function(network), tf.random.normal((64, model.latent_dim))
    calls = {
        "sample": lambda i: model.sample(64, seed=i),
        "tf.function": lambda i: function(z)["images"].numpy(),
        "predict": lambda i: network.predict(z, batch_size=64, verbose=0)["images"],
    }
    times = {key: [] for key in calls}
    for group in (["sample", "tf.function"], ["predict"]):  # apart, for predict's threads slow the next call
        for i, key in itertools.product(range(3 + 15 * rounds), group):
            start = time.perf_counter()
            calls[key](i)
            times[key].append(1000 * (time.perf_counter() - start))
    medians = {key: median(values[3:]) for key, values in times.items()}  # the first calls trace
    return {**medians, "ratio": medians["sample"] / medians["tf.function"]}


def about():
    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "keras_genzoo": keras_genzoo.__version__,
        "load average before": round(os.getloadavg()[0], 1),
    }


def show(results):
    """The results as Markdown tables on stdout."""
    print(", ".join(f"{key} {value}" for key, value in results["about"].items()))
    for part, ratio in (("fit", "keras_genzoo / it (goal >= 1.5)"), ("sweep", "first / it")):
        table(
            ["preset", part, "XLA", "steps per execution", "images/s", ratio, "least", "most"],
            [
                [
                    preset,
                    key,
                    "yes" if row["jit_compile"] else "no",
                    row["steps_per_execution"],
                    f"{row['median']:,.0f}",
                    *(f"{value:.2f}" for value in row["ratios"]),
                ]
                for preset, rows in results.get(part, {}).items()
                for key, row in rows.items()
            ],
        )
    table(["start-up", "seconds"], [[key, f"{row['median']:.3f}"] for key, row in results.get("import", {}).items()])
    table(
        ["64 images", "sample, ms", "tf.function, ms", "predict, ms", "sample / tf.function (goal <= 1.2)"],
        [
            [preset, *(f"{row[key]:.2f}" for key in ("sample", "tf.function", "predict", "ratio"))]
            for preset, row in results.get("sample", {}).items()
        ],
    )


def table(head, rows):
    if rows:
        print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
        print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = {"fit": measure_fit, "sample": measure_sample, "sweep": measure_sweep}
    parser.add_argument("--parts", nargs="+", choices=["import", *measures], default=["import", "sample", "fit"])
    parser.add_argument("--presets", nargs="+", choices=list(BENCHED), default=list(BENCHED), help="default: both")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of each comparison (default 7)")
    parser.add_argument("--steps", type=int, help="steps of a timed epoch (default 500 for the VAE, 50 for the GAN)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE")
    parser.add_argument("--show", type=Path, metavar="FILE", help="measure nothing; print the tables of a --json FILE")
    args = parser.parse_args()
    if args.show:
        return show(json.loads(args.show.read_text(encoding="utf-8")))
    results = {"about": about(), "rounds": args.rounds}
    for part in args.parts:
        if part == "import":
            results[part] = measure_imports(args.rounds)
        else:
            results[part] = {p: measures[part](p, args.rounds, args.steps or BENCHED[p][0]) for p in args.presets}
    show(results)
    if args.json:
        files.write_json(args.json, results)


if __name__ == "__main__":
    main()
