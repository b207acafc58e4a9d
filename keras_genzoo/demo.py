"""The README's first command, `make demo`: loads a VAE, draws it, exports it, and runs the exported file."""

import os
import sys
import time
from pathlib import Path

from keras_genzoo.typing import PathLike

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def demo(out: PathLike) -> None:
    """Writes a picture, a SavedModel and LiteRT files of `vae_mnist`, and prints where they are.

    Args:
        out: Folder to write; it is made.
    """
    import numpy as np

    import keras_genzoo as gz

    out = Path(out).resolve()
    start = time.perf_counter()
    vae = gz.load("vae_mnist")
    print(f"Loaded vae_mnist in {time.perf_counter() - start:.1f} s: {vae.preset.description}")

    test_images = gz.data.to_unit(gz.data.arrays("mnist", "test")[0][:32])
    picture = gz.plots.showcase(vae, test_images, out / "vae_mnist.png")
    variants = [("saved_model", None), ("litert", None), ("litert", "int8")]
    saved_model, litert, int8 = gz.exporting.export_all(vae, out, variants)

    # The rest works without Keras, as in an app that has only the file.
    from ai_edge_litert.interpreter import Interpreter

    codes = np.random.default_rng(0).standard_normal((64, 1, vae.latent_dim)).astype("float32")
    decode = Interpreter(model_path=str(int8)).get_signature_runner("decode")
    images = np.concatenate([decode(z=z)["images"].copy() for z in codes])  # the file takes one code at a time
    phone_samples = gz.plots.grid(images, out / "vae_mnist_int8_samples.png")

    print("\nSamples (top four rows), then test images above their reconstructions:")
    print(f"  {picture}")
    print("Exported, each checked against Keras (its .export.json has the errors):")
    for path in (saved_model, litert, int8):
        print(f"  {path}  {gz.files.size(path) / 1e6:.1f} MB")
    print("Samples drawn by the int8 file in the LiteRT runtime:")
    print(f"  {phone_samples}")


if __name__ == "__main__":
    from keras_genzoo.progress import native_logs_hidden

    with native_logs_hidden():
        demo(sys.argv[1] if len(sys.argv) > 1 else "demo")
