"""Measures of an autoencoder for `evaluate`."""

from typing import Any

from keras_genzoo import measures, metrics
from keras_genzoo.evaluation import Test

_NOISE_LEVELS = (0.1, 0.25, 0.5)  # levels of the corruption in the test of a denoiser


def denoising(model: Any, test: Test) -> list[dict[str, Any]]:
    """PSNR of a denoiser's reconstructions of noisy images, and of the noisy images themselves.

    Args:
        model: An `Autoencoder` of a preset.
        test: The test.

    Returns:
        Rows of metrics.json; none where the model has no corruption, or one that moves pixels.
    """
    if model.corruption is None or not model.corruption.keeps_places:  # PSNR compares pixel by pixel
        return []
    rows = []
    for level in _NOISE_LEVELS:
        noisy = model.corrupt(test.images, level=level, seed=test.protocol.seed)
        for state, images in (("denoised", model.reconstruct(noisy)), ("noisy", noisy)):
            protocol = f"{model.corruption.name} corruption of level {level:g}, clipped to [0, 1]; mean over images"
            psnr = metrics.psnr(test.images, images).mean()
            rows.append(test.row(f"{state}_psnr_{level:g}", psnr, "dB", protocol))
    return rows


MEASURES = [measures.reconstruction, denoising, measures.probes]
