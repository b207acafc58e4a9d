"""What a phone would run: the denoiser as LiteRT float32, float16 and int8. Bytes, PSNR, milliseconds for one image.

    python benchmarks/mobile.py [--preset denoising_mnist] [--out benchmarks/results/mobile.json]

PSNR is over noisy test images (Gaussian, sigma 0.5). Latency is the median of single images on this machine's CPU, the
sides taking turns: ai-edge-litert with one thread and with all, the SavedModel, Keras `predict` and `reconstruct`.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

LEVEL = 0.5


def litert(path, threads):
    """The signature `reconstruct` of a .tflite file as a function of images."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner("reconstruct")
    return lambda images: runner(images=images)["images"]


def measure(name, n_images, rounds, folder):
    import tensorflow as tf

    import keras_genzoo as gz

    model = gz.load(name)
    clean = gz.data.to_unit(gz.zoo.arrays(model, "test")[0][:n_images])
    noisy = model.corrupt(clean, level=LEVEL, seed=0)
    sides, rows = {}, []
    for quantize in (None, "float16", "int8"):
        path = gz.export(model, folder, format="litert", quantize=quantize)
        for threads in dict.fromkeys((1, os.cpu_count())):
            title = f"LiteRT {quantize or 'float32'}"
            sides[f"{title}, {threads} thread{'s' if threads > 1 else ''}"] = litert(path, threads), path.stat().st_size
    path = gz.export(model, folder, format="saved_model")
    signature = tf.saved_model.load(str(path)).signatures["reconstruct"]
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    sides["SavedModel"] = lambda images: signature(images=tf.constant(images))["images"].numpy(), size
    weights = (model.preset.folder / "model.weights.h5").stat().st_size
    endpoint = model.endpoints()["reconstruct"]
    sides["Keras predict"] = lambda images: endpoint.predict(images, verbose=0)["images"], weights
    sides["keras_genzoo reconstruct"] = model.reconstruct, weights

    seconds = {title: [] for title in sides}
    one = noisy[:1]
    for function, _ in sides.values():
        function(one)  # the first call builds and warms up
    for _ in range(rounds):
        for title, (function, _) in sides.items():
            start = time.perf_counter()
            function(one)
            seconds[title].append(time.perf_counter() - start)
    for title, (function, size) in sides.items():
        # One by one, as an app would: int8 rounds alike whatever the batch, but this is what is claimed.
        images = (
            np.concatenate([function(noisy[i : i + 1]) for i in range(n_images)])
            if "LiteRT" in title
            else function(noisy)
        )
        psnr = gz.metrics.psnr(clean, images).mean()
        rows.append({"side": title, "bytes": size, "psnr": psnr, "ms": 1e3 * median(seconds[title])})
        print(f"{title}: {size / 1e6:.2f} MB, {psnr:.3f} dB, {rows[-1]['ms']:.3f} ms")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="denoising_mnist", help="default: denoising_mnist")
    parser.add_argument("--images", type=int, default=1000, help="noisy test images for the PSNR (default: 1000)")
    parser.add_argument("--rounds", type=int, default=200, help="single images timed on each side (default: 200)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mobile.json")
    arguments = parser.parse_args()

    from keras_genzoo import presets

    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.preset, arguments.images, arguments.rounds, folder)
    about = {
        "date": datetime.date.today().isoformat(),
        "preset": arguments.preset,
        "weights_sha256": presets.find(arguments.preset).record(presets.WEIGHTS_RECORD)["sha256"],
        "images": arguments.images,
        "rounds": arguments.rounds,
        "level": LEVEL,
        "cpus": os.cpu_count(),
        **{name: importlib.metadata.version(name) for name in ("ai-edge-litert", "tensorflow", "keras")},
    }
    arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
