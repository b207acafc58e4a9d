import numpy as np

from keras_genzoo.errors import ZooError


def stripes(name, split, **_):
    """Stripes of two directions and eight phases: uint8 (n, 8, 8, 1), and the direction as a label."""
    if split not in ("train", "test"):
        raise ZooError(f"{name} has the splits train, test. Received: {split!r}")
    rng = np.random.default_rng(split == "test")
    labels, phases = rng.integers(2, size=2_000), rng.uniform(0, 2 * np.pi, size=(2_000, 1, 1))
    wave = 0.5 + 0.5 * np.sin(np.arange(8) * np.pi / 2 + phases)
    images = np.where(labels[:, None, None], wave, wave.transpose(0, 2, 1)) * np.ones((8, 8))
    return np.round(255 * images).astype("uint8")[..., None], labels
