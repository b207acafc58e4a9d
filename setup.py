"""The small wheel: `CORE=1 python -m build --wheel` leaves most presets' weights out. All else stands in setup.cfg.

A preset without its weights fetches them from the `url` in its weights.json, by their SHA-256. No weights.json has one
as long as no host of releases exists, so the wheel that is published is the whole one.
"""

import os
from pathlib import Path

import setuptools

KEPT = {  # presets whose weights the small wheel has: the judges, and one of each kind
    "ae_mnist", "cgan_mnist", "classifier_fashion_mnist", "classifier_mnist", "classifier_pictures", "vae_mnist",
}  # fmt: skip
WEIGHTS = "model.weights.h5"

left_out = []
if os.environ.get("CORE") == "1":
    folders = Path(__file__).parent.joinpath("zoo_configs").glob(f"*/{WEIGHTS}")
    left_out = [f"{path.parent.name}/{WEIGHTS}" for path in folders if path.parent.name not in KEPT]
setuptools.setup(exclude_package_data={"keras_genzoo.zoo_configs": left_out} if left_out else {})
