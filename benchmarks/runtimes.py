"""Every endpoint of every preset in every runtime: the largest error beside the stored example, and milliseconds.

    python benchmarks/runtimes.py [PRESET ...] [--out benchmarks/results/runtimes.json]

LiteRT's Interpreter and CompiledModel, LiteRT.js in Chromium (WebAssembly), ONNX Runtime, and TensorFlow on the
SavedModel; float32 everywhere, and int8 in the first three. The error is that of all endpoints, as a share of each
output's range; the time is that of one image through the main endpoint, one thread: medians of calls that the runtimes
take in turn. Chromium and playwright, tf2onnx and onnxruntime have to be there.
"""

import argparse
import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROUNDS, CALLS = 5, 20  # turns of each runtime, and calls of a turn
RUN = """
async ([name, endpoint, inputs, calls]) => {
    const {Model} = await import('./runtime.js');
    window.models ??= (await (await fetch('models.json')).json()).models.map((about) => new Model(about));
    const model = window.models.find((one) => one.name === name), times = [];
    let found;
    for (let i = 0; i < calls; i++) { found = await model.run(endpoint, inputs); times.push(model.milliseconds); }
    return [Object.fromEntries(Object.entries(found).map(([key, value]) => [key, [...value]])), times];
}
"""


def timed(function, tensors):
    """Milliseconds of some calls."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        function(tensors)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def interpreter(path, endpoint):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner(endpoint)
    return lambda tensors: runner(**tensors)


def compiled_model(path, endpoint):
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.cpu_options import CpuOptions
    from ai_edge_litert.options import Options

    model = CompiledModel.from_file(str(path), options=Options(cpu_options=CpuOptions(num_threads=1)))
    sides, details = model.get_signature_list()[endpoint], model.get_output_tensor_details(endpoint)
    inputs = {key: model.create_input_buffer_by_name(endpoint, key) for key in sides["inputs"]}
    outputs = {key: model.create_output_buffer_by_name(endpoint, key) for key in sides["outputs"]}

    def call(tensors):
        for key, buffer in inputs.items():
            buffer.write(np.ascontiguousarray(tensors[key]).ravel())
        model.run_by_name(endpoint, inputs, outputs)
        shapes = {key: tuple(details[key]["shape"]) for key in outputs}
        return {key: buffer.read(int(np.prod(shapes[key])), np.float32) for key, buffer in outputs.items()}

    return call


def onnx_runtime(path, endpoint):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path / f"{endpoint}.onnx"), options, providers=["CPUExecutionProvider"])
    names = [one.name.removesuffix("_out") for one in session.get_outputs()]
    return lambda tensors: dict(zip(names, session.run(None, tensors), strict=True))


def tensorflow(path, endpoint):
    import tensorflow as tf

    loaded = functools.cache(tf.saved_model.load)(str(path))
    return lambda tensors: {
        key: value.numpy()
        for key, value in loaded.signatures[endpoint](**{k: tf.constant(v) for k, v in tensors.items()}).items()
    }


@contextlib.contextmanager
def browser(folders):
    """Pages of the explorer by precision, in one Chromium."""
    from playwright.sync_api import sync_playwright

    from keras_genzoo import explore

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise SystemExit("Chromium is not installed")
    with sync_playwright() as playwright, contextlib.ExitStack() as stack:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        pages = {}
        for precision, folder in folders.items():
            server = stack.enter_context(explore.server(folder))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            pages[precision] = chromium.new_page()
            pages[precision].goto(f"http://127.0.0.1:{server.server_port}")
            pages[precision].wait_for_function("document.body.dataset.ready !== undefined", timeout=60_000)
        yield pages, chromium.version
        chromium.close()


def in_browser(page, name, endpoint):
    def call(tensors, calls=1):
        plain = {key: value.ravel().tolist() for key, value in tensors.items()}
        return page.evaluate(RUN, [name, endpoint, plain, calls])

    return call


def measure(name, pages, folder):
    """The row of a preset: precision -> runtime -> error and milliseconds."""
    import keras_genzoo as gz
    from keras_genzoo import exporting, presets

    model = gz.load(name)
    variants = [("litert", None), ("litert", "int8"), ("onnx", None), ("saved_model", None)]
    floats, int8, onnx, saved = exporting.export_all(model, folder, variants)
    main = gz.inspect(floats)["description"]["main"]
    with np.load(model.preset.folder / presets.GOLDEN_FILE) as stored:
        golden = dict(stored)
    sides = {
        ("float32", "Interpreter"): functools.partial(interpreter, floats),
        ("float32", "CompiledModel"): functools.partial(compiled_model, floats),
        ("float32", "WebAssembly"): functools.partial(in_browser, pages["float32"], name),
        ("float32", "ONNX Runtime"): functools.partial(onnx_runtime, onnx),
        ("float32", "TensorFlow"): functools.partial(tensorflow, saved),
        ("int8", "Interpreter"): functools.partial(interpreter, int8),
        ("int8", "CompiledModel"): functools.partial(compiled_model, int8),
        ("int8", "WebAssembly"): functools.partial(in_browser, pages["int8"], name),
    }
    errors, times = dict.fromkeys(sides, 0.0), {side: [] for side in sides}
    for endpoint in model.endpoints():
        tensors = {k.split("/")[2]: v[:1] for k, v in golden.items() if k.startswith(f"{endpoint}/in/")}
        calls = {side: make(endpoint) for side, make in sides.items()}
        for side, call in calls.items():
            call(tensors)
            found = call(tensors)[0] if side[1] == "WebAssembly" else call(tensors)
            for key, value in found.items():
                wanted = golden[f"{endpoint}/out/{key}"]
                extent = 1.0 if key == "images" else float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
                error = np.abs(np.ravel(value) - wanted[:1].ravel()).max() / extent
                errors[side] = max(errors[side], float(error) if np.isfinite(error) else float("inf"))
        if endpoint == main:
            for _ in range(ROUNDS):
                for side, call in calls.items():
                    times[side] += call(tensors, CALLS)[1] if side[1] == "WebAssembly" else timed(call, tensors)
    row = {"preset": name, "endpoint": main, "endpoints": len(model.endpoints())}
    for precision, runtime in sides:
        row.setdefault(precision, {})[runtime] = {
            "error": float(f"{errors[precision, runtime]:.3g}"),
            "ms": float(f"{median(times[precision, runtime]):.3g}"),
        }
    print(row, flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="default: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "runtimes.json")
    arguments = parser.parse_args()

    import tensorflow as tf

    from keras_genzoo import explore, files, presets

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    names = arguments.presets or presets.names()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {
            precision: explore.write(names, Path(temporary, precision), precision=precision)
            for precision in ("float32", "int8")
        }
        with browser(folders) as (pages, version):
            rows = {}
            if arguments.out.is_file() and arguments.presets:  # the others' rows stay
                rows = {row["preset"]: row for row in json.loads(arguments.out.read_text(encoding="utf-8"))["rows"]}
            for name in names:
                with tempfile.TemporaryDirectory() as folder:
                    rows[name] = measure(name, pages, folder)
    about = {
        "date": datetime.date.today().isoformat(),
        "cpus": os.cpu_count(),
        "rounds": ROUNDS,
        "calls": CALLS,
        "browser": f"Chromium {version}",
        "LiteRT.js": "2.5.3",
        **{name: importlib.metadata.version(name) for name in ("ai-edge-litert", "onnxruntime", "tensorflow")},
    }
    files.write_json(arguments.out, {"about": about, "rows": [rows[name] for name in sorted(rows)]})
    print(arguments.out)


if __name__ == "__main__":
    main()
