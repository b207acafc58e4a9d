"""A denoiser or a face swap in a phone's runtime, as LiteRT float32, float16 and int8: bytes, PSNR, milliseconds.

    python benchmarks/mobile.py [--preset denoising_mnist] [--out benchmarks/results/mobile.json]
    python benchmarks/mobile.py --preset faceswap_rendered --images 200 --out benchmarks/results/mobile_faceswap.json

PSNR is over noisy test images (Gaussian, sigma 0.5), or of swaps to b against the truth, over the face. Latency is
the median of single images on this machine's CPU, the sides taking turns: ai-edge-litert with one thread and with
all, the SavedModel, Keras `predict` and `reconstruct`.
"""

import argparse
import datetime
import functools
import importlib.metadata
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

LEVEL = 0.5  # standard deviation of the noise


class Task(NamedTuple):
    """A task of an exported model.

    Attributes:
        endpoint: Endpoint to run.
        inputs: Images for it.
        truth: Images that it should give.
        weights: Weights of the pixels in the PSNR; None: all equal.
        title: Name of the model's own method in the table.
        about: Task in words, for the line below the table.
        call: The model's own method, a function of images.
    """

    endpoint: str
    inputs: np.ndarray
    truth: np.ndarray
    weights: np.ndarray | None
    title: str
    about: str
    call: Callable


def denoising(model, n_images):
    import keras_genzoo as gz

    clean = gz.data.to_unit(gz.zoo.arrays(model, "test")[0][:n_images])
    noisy = model.corrupt(clean, level=LEVEL, seed=0)
    about = f"at sigma {LEVEL:g}"
    return Task("reconstruct", noisy, clean, None, "keras_genzoo reconstruct", about, model.reconstruct)


def swapping(model, n_images):
    import keras_genzoo as gz
    from keras_genzoo.models.face_swap import landmarks, measures

    names = model.preset.data.name, model.preset.section.other
    source, truth = (gz.data.to_unit(gz.zoo.arrays(model, "test", name=name)[0][:n_images]) for name in names)
    points, _ = landmarks.of_data(names[1], "test", image_shape=model.image_shape)
    region = measures.face_region(points[:n_images], model.image_shape)
    swap = functools.partial(model.swap, to="b")
    return Task("swap_to_b", source, truth, region, "keras_genzoo swap", "swap_to_b, PSNR over the face", swap)


def litert(path, threads, endpoint):
    """A signature of a .tflite file as a function of images."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner(endpoint)
    return lambda images: runner(images=images)["images"]


def measure(name, n_images, rounds, folder):
    import tensorflow as tf

    import keras_genzoo as gz

    model = gz.load(name)
    task = (swapping if model.can("swap") else denoising)(model, n_images)
    sides, rows = {}, []
    for quantize in (None, "float16", "int8"):
        path = gz.export(model, folder, format="litert", quantize=quantize)
        for threads in dict.fromkeys((1, os.cpu_count())):
            title = f"LiteRT {quantize or 'float32'}"
            sides[f"{title}, {threads} thread{'s' if threads > 1 else ''}"] = (
                litert(path, threads, task.endpoint),
                path.stat().st_size,
            )
    path = gz.export(model, folder, format="saved_model")
    signature = tf.saved_model.load(str(path)).signatures[task.endpoint]
    sides["SavedModel"] = lambda images: signature(images=tf.constant(images))["images"].numpy(), gz.files.size(path)
    weights = (model.preset.folder / "model.weights.h5").stat().st_size
    endpoint = model.endpoints()[task.endpoint]
    sides["Keras predict"] = lambda images: endpoint.predict(images, verbose=0)["images"], weights
    sides[task.title] = task.call, weights

    seconds = {title: [] for title in sides}
    one = task.inputs[:1]
    for function, _ in sides.values():
        function(one)  # the first call builds and warms up
    for _ in range(rounds):
        for title, (function, _) in sides.items():
            start = time.perf_counter()
            function(one)
            seconds[title].append(time.perf_counter() - start)
    for title, (function, size) in sides.items():
        # LiteRT runs images one by one, as an app does, although int8 rounds alike in every batch.
        images = (
            np.concatenate([function(task.inputs[i : i + 1]) for i in range(n_images)])
            if "LiteRT" in title
            else function(task.inputs)
        )
        psnr = gz.metrics.psnr(task.truth, images, weights=task.weights).mean()
        rows.append({"side": title, "bytes": size, "psnr": psnr, "ms": 1e3 * median(seconds[title])})
        print(f"{title}: {size / 1e6:.2f} MB, {psnr:.3f} dB, {rows[-1]['ms']:.3f} ms")
    return rows, task.about


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="denoising_mnist", help="default: denoising_mnist")
    parser.add_argument("--images", type=int, default=1000, help="test images for the PSNR (default: 1000)")
    parser.add_argument("--rounds", type=int, default=200, help="single images timed on each side (default: 200)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mobile.json")
    arguments = parser.parse_args()

    from keras_genzoo import files, presets

    with tempfile.TemporaryDirectory() as folder:
        rows, task = measure(arguments.preset, arguments.images, arguments.rounds, folder)
    about = {
        "date": datetime.date.today().isoformat(),
        "preset": arguments.preset,
        "weights_sha256": presets.find(arguments.preset).record(presets.WEIGHTS_RECORD)["sha256"],
        "images": arguments.images,
        "rounds": arguments.rounds,
        "what": task,
        "cpus": os.cpu_count(),
        **{name: importlib.metadata.version(name) for name in ("ai-edge-litert", "tensorflow", "keras")},
    }
    files.write_json(arguments.out, {"about": about, "rows": rows})
    print(arguments.out)


if __name__ == "__main__":
    main()
