"""The other Pythons that setup.cfg declares: the package installs there, and does a little of everything."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = pytest.mark.nightly

config = configparser.ConfigParser()
config.read(ROOT / "setup.cfg")
DECLARED = re.findall(r"Python :: (3\.\d+)$", config["metadata"]["classifiers"], re.MULTILINE)

SMOKE = """
import sys
import keras_genzoo as gz
model = gz.load("vae_mnist")
assert model.sample(2, seed=0).shape == (2, 28, 28, 1)
images = gz.data.to_unit(gz.data.arrays("mnist", "train")[0][:120])
steps = int(model.train_steps.numpy())
assert model.fit(images, batch_size=120, verbose=0).history["loss"][0] > 0
assert int(model.train_steps.numpy()) == steps + 1
rows = gz.evaluate("ae_mnist", n_images=20, n_probe_images=100, verbose=False)
assert rows[0]["metric"] == "squared_error"
for format in ("saved_model", "litert"):
    assert gz.export("ae_mnist", sys.argv[1], format=format).exists()
print(*sys.version_info[:2], sep=".")
"""


def interpreter(version):
    """A Python of this version that runs, or None: a name on the path may be a shim with nothing behind it."""
    homes = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob(f"versions/{version}.*/bin")
    for path in (shutil.which(f"python{version}"), *(home / f"python{version}" for home in sorted(homes))):
        if path and subprocess.run([path, "-c", "import venv"], capture_output=True).returncode == 0:
            return path
    return None


def test_this_python_is_declared():
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in DECLARED


@pytest.mark.parametrize("version", DECLARED)
def test_the_package_works_with(version, tmp_path):
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip("all the other tests run here")
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "demo", "runs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}

    def run(*command):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    home = tmp_path / "venv"
    run(python, "-m", "venv", home)
    run(home / "bin" / "pip", "install", "--quiet", f"{tmp_path / 'checkout'}[probes]")
    assert run(home / "bin" / "python", "-c", SMOKE, tmp_path / "out").splitlines()[-1] == version
