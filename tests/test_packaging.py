"""The wheel and the checkout: what is built installs elsewhere and finds its presets and data."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


MOST_BYTES, MOST_BYTES_OF_CORE = 130_000_000, 40_000_000


def built(tmp_path_factory, core=""):
    """The project's wheel, built from a copy of this checkout, so that no older build's files get in."""
    out, source = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("source") / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "demo", "runs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CORE": core})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(tmp_path_factory)


@pytest.mark.nightly
def test_the_small_wheel_has_every_preset_and_few_weights(tmp_path_factory):
    path = built(tmp_path_factory, core="1")
    names = set(zipfile.ZipFile(path).namelist())
    assert path.stat().st_size <= MOST_BYTES_OF_CORE
    weights = {name.split("/")[2] for name in names if name.endswith("model.weights.h5")}
    assert {"vae_mnist", "classifier_mnist"} <= weights
    assert "hvae_mnist" not in weights
    for file in (ROOT / "zoo_configs").rglob("*"):
        is_left_out = file.is_dir() or file.name == "model.weights.h5"
        assert is_left_out or f"keras_genzoo/{file.relative_to(ROOT).as_posix()}" in names


def test_the_wheel_holds_presets_and_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.stat().st_size <= MOST_BYTES
    for file in (ROOT / "keras_genzoo" / "explore").rglob("*"):
        assert file.is_dir() or file.suffix == ".pyc" or file.relative_to(ROOT).as_posix() in names
    for file in (ROOT / "zoo_configs").rglob("*"):
        assert file.is_dir() or f"keras_genzoo/{file.relative_to(ROOT).as_posix()}" in names
    assert sum(name.startswith("keras_genzoo/_data/mnist/") for name in names) >= 4
    for name in ("faces_ab_test20.npz", "LICENSE-ICT-FaceKit", "README.md"):
        assert f"keras_genzoo/_data/rendered_faces/{name}" in names
    assert not any(name.startswith(("tests", "benchmarks")) for name in names)


def test_the_wheel_works_in_a_clean_environment_from_another_directory(wheel, tmp_path, monkeypatch):
    """Installed into an environment of its own, which borrows only the dependencies of this one."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    home = tmp_path / "clean"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--no-deps", "--no-index", wheel], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    site = next((home / "lib").glob("python*/site-packages"))
    dependencies = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    script = (
        "import keras_genzoo as gz, pathlib; print(pathlib.Path(gz.__file__).parent); "
        "vae = gz.load('vae_mnist'); print(vae.sample(2, seed=0).shape, len(gz.data.arrays('mnist', 'test')[0]))"
    )
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    folder, rest = done.stdout.strip().splitlines()[-2:]
    assert Path(folder) == site / "keras_genzoo"
    assert rest == "(2, 28, 28, 1) 10000"
    done = subprocess.run([home / "bin" / "keras-genzoo", "list"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "vae_mnist" in done.stdout


def test_the_demo_does_what_the_readme_says(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "keras_genzoo.demo", tmp_path / "demo"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("vae_mnist.png", "vae_mnist_int8_samples.png", "vae_mnist_saved_model", "vae_mnist.tflite"):
        assert (tmp_path / "demo" / name).exists()
        assert str(tmp_path / "demo" / name) in done.stdout


def test_setup_cfg_covers_every_package():
    import configparser

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = {line for line in config["options"]["packages"].splitlines() if line}
    found = {".".join(path.relative_to(ROOT).parts[:-1]) for path in (ROOT / "keras_genzoo").rglob("__init__.py")} | {
        "keras_genzoo.zoo_configs"
    }
    assert packages == found
