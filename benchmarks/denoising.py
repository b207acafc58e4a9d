"""The zoo's denoisers against what one would otherwise call: non-local means, wavelets, total variation, BM3D.

    python benchmarks/denoising.py                  # both data sets, 20 minutes, nearly all of them BM3D's
    python benchmarks/denoising.py --data mnist     # one; the rows of the other stay

Needs `pip install -e ".[benchmark]"`. Gaussian noise at three levels on the first test images of MNIST and of
Fashion-MNIST (KERAS_GENZOO_DATA). Every filter is told the true sigma, and its strength is tuned on training images.
Input: "files", the noise clipped to [0, 1] as the denoiser gets it, and "raw" noise, unclipped, as the theory of the
filters has it. Output: "plain", as one would call it, and "curve", with a cubic tone curve over it that was fitted on
training images: clipping lifts black, and a curve takes that back.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

# Denoiser of each data set.
PRESETS = {"mnist": "denoising_mnist", "fashion_mnist": "denoising_fashion_mnist"}
LEVELS = (0.1, 0.25, 0.5)  # standard deviations of the noise
TUNING_IMAGES = 16  # training images that the strength of a filter is tuned on


def filters():
    """The filters by name: `(function of image, sigma and strength; strengths to choose from)`."""
    import bm3d
    from skimage import restoration

    return {
        "non-local means": (
            lambda x, sigma, s: restoration.denoise_nl_means(
                x, patch_size=3, patch_distance=7, h=s * sigma, sigma=sigma, fast_mode=True
            ),
            (0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
        ),
        "wavelet (BayesShrink)": (
            lambda x, sigma, s: restoration.denoise_wavelet(x, sigma=s * sigma, wavelet="sym4", rescale_sigma=False),
            (0.35, 0.5, 0.7, 1.0, 1.4, 2.0),
        ),
        "total variation": (
            lambda x, sigma, s: restoration.denoise_tv_chambolle(x, weight=s * sigma),
            (0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
        ),
        "BM3D": (lambda x, sigma, s: bm3d.bm3d(x, sigma_psd=s * sigma), (0.6, 0.8, 1.0)),
    }


def psnr(clean, images):
    from keras_genzoo import metrics

    return metrics.psnr(clean[..., None], np.clip(images, 0, 1)[..., None]).mean()


def noisy(clean, sigma, seed):
    return (clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)).astype("float32")


def measure(name, n, data_dir):
    import keras_genzoo as gz

    train, test = (
        gz.data.to_unit(gz.data.arrays(name, split, data_dir=data_dir)[0][:count])[..., 0]
        for split, count in (("train", TUNING_IMAGES), ("test", n))
    )
    model = gz.load(PRESETS[name])
    rows = []
    for level in LEVELS:
        raw = noisy(test, level, seed=1)
        files = np.clip(raw, 0, 1)
        denoised = model.reconstruct(files[..., None])[..., 0]
        row = {
            "data": name,
            "sigma": level,
            "n": len(test),
            "weights_sha256": model.preset.record("weights.json")["sha256"],
            "date": datetime.date.today().isoformat(),
            "noisy": psnr(test, files),
            "denoiser": psnr(test, denoised),
            "filters": {},
        }
        for title, (function, strengths) in filters().items():
            for inputs, clip in (("files", lambda x: np.clip(x, 0, 1)), ("raw", lambda x: x)):
                tuning = clip(noisy(train, level, seed=2))
                scores, curves, results = {}, {}, {}
                for strength in strengths:
                    filtered = np.stack([function(x.astype("float64"), level, strength) for x in tuning])
                    curves["plain", strength] = lambda x: x
                    curves["curve", strength] = np.polynomial.Polynomial.fit(filtered.ravel(), train.ravel(), 3)
                    for output in ("plain", "curve"):
                        scores[output, strength] = psnr(train, curves[output, strength](filtered))
                cell = row["filters"].setdefault(title, {})[inputs] = {}
                for output in ("plain", "curve"):
                    best = max(strengths, key=lambda strength: scores[output, strength])
                    if best not in results:
                        results[best] = np.stack([function(x.astype("float64"), level, best) for x in clip(raw)])
                    cell[output] = psnr(test, curves[output, best](results[best]))
                    cell[f"{output}_strength"] = best
                print(f"{name} sigma {level:g} {title} {inputs}: {cell}", flush=True)
        print(f"{name} sigma {level:g} denoiser: {row['denoiser']:.2f} dB")
        rows.append(row)
    return rows


def main():
    from keras_genzoo import files

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="test images per data set (default: 64)")
    parser.add_argument("--data", choices=PRESETS, help="one data set only (default: all)")
    parser.add_argument("--data-dir", help="folder with data sets (default: $KERAS_GENZOO_DATA)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "denoising.json")
    arguments = parser.parse_args()

    names = [arguments.data] if arguments.data else list(PRESETS)
    old_rows = json.loads(arguments.out.read_text(encoding="utf-8"))["rows"] if arguments.out.is_file() else []
    rows = [row for row in old_rows if row["data"] not in names]
    for name in names:
        rows += measure(name, arguments.images, arguments.data_dir)
    rows.sort(key=lambda row: (list(PRESETS).index(row["data"]), row["sigma"]))
    about = {
        **{name: importlib.metadata.version(name) for name in ("scikit-image", "bm3d", "tensorflow", "keras")},
    }
    files.write_json(arguments.out, {"about": about, "rows": rows})
    print(arguments.out)


if __name__ == "__main__":
    main()
