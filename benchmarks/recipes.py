"""What a recipe for a folder of pictures costs: pictures per second of its `fit`, and the memory that it takes.

    python benchmarks/recipes.py [--recipes gan_64 vae_64] [--out benchmarks/results/recipes.json]

The pictures are 2,000 JPEGs of 256 x 256, emoji on drawn grounds, whose number decides the augmentations as it does for
a user. Each recipe has a process of its own. Its steps are timed after eight others, for half a minute; on a GPU they
are timed there. Memory is the largest resident size of the process, and the GPU's own peak.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image

RECIPES = ("ae_64", "vae_64", "denoising_64", "gan_64", "gan_128", "vae_128")
N_PICTURES, SIDE = 2000, 256
WARM_UP = 8  # steps, a whole turn of a penalty that is computed in every eighth
SECONDS = 30.0


def write_pictures(folder: Path) -> None:
    """Writes the pictures of the measurement."""
    from keras_genzoo import data

    images, _ = data.arrays("emoji:noto+twemoji", "train", ground="drawn")
    for i, image in enumerate(images[:N_PICTURES]):
        Image.fromarray(image).resize((SIDE, SIDE)).save(folder / f"{i:04}.jpg", quality=90)


def measure(recipe: str, folder: str) -> dict:
    """The costs of a recipe, in this process."""
    import resource

    import tensorflow as tf

    from keras_genzoo import presets, training

    preset = presets.find(recipe).with_updates(data={"name": f"folder:{folder}"})
    preset, _ = training.for_few_images(preset)
    model, batches, _ = training.prepare(preset)
    batch = preset.training.batch_size

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
        return time.perf_counter() - start

    seconds(WARM_UP)  # traces
    steps = WARM_UP * max(1, round(SECONDS / seconds(WARM_UP)))
    rate = steps * batch / seconds(steps)
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "recipe": recipe,
        "images_per_second": rate,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "gpu_gigabytes": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30 if gpus else None,
        "steps": steps,
        "batch_size": batch,
        "parameters": int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        "device": _device(gpus),
        "tensorflow": tf.__version__,
    }


def _device(gpus):
    import tensorflow as tf

    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "a GPU")
    return f"{os.cpu_count()} CPU cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recipes.json"))
    parser.add_argument("--measure", nargs=2, metavar=("RECIPE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    results = {"rows": []}
    with contextlib.suppress(FileNotFoundError):
        results = json.loads(options.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder))
        for recipe in options.recipes:
            command = [sys.executable, __file__, "--measure", recipe, folder]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
            row = json.loads(output.splitlines()[-1]) | {"date": f"{datetime.date.today()}"}
            print(row, flush=True)
            others = [one for one in results["rows"] if (one["recipe"], one["device"]) != (recipe, row["device"])]
            results = {"pictures": N_PICTURES, "python": platform.python_version(), "rows": [*others, row]}
            order = {name: i for i, name in enumerate(RECIPES)}
            results["rows"].sort(key=lambda one: (order[one["recipe"]], one["device"]))
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
