"""Origin of a file: commit, versions, processor, data. The records beside weights, numbers and exports hold it."""

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from keras_genzoo import __version__, engine


def commit() -> str:
    """The commit of the package's code, marked where the code has changed since; the version without a repository."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()

    try:
        if not git("ls-files", "--error-unmatch", __file__):
            return f"v{__version__}"
        return git("rev-parse", "--short=12", "HEAD") + (
            "-modified" if git("status", "--porcelain", "--", str(folder)) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return f"v{__version__}"


def versions() -> dict[str, str]:
    """The versions of the package, of Keras and of the engine."""
    return {"keras_genzoo": __version__, **engine.versions()}


def device() -> str:
    """The GPU that the engine trains on, else the processor, by its name."""
    return engine.gpu_name() or _processor()


def data_hash(*arrays: np.ndarray | None) -> str:
    """SHA-256 over the shapes and bytes of arrays, those that are None left out; of files, over names and sizes."""
    digest = hashlib.sha256()
    for array in arrays:
        identity = getattr(array, "identity", None)
        if array is not None and identity:  # of files, which are not read for it
            digest.update(f"{array.shape} {identity}".encode())
        elif array is not None:
            digest.update(f"{array.shape} {array.dtype} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def record(preset: Any, *, dtype: str) -> dict[str, Any]:
    """The record of weights that are saved, however they were trained.

    Args:
        preset: The model's preset.
        dtype: Name of the precision policy.

    Returns:
        A dict of plain data.
    """
    return {
        "preset_digest": preset.digest(),
        "seal": preset.seal(),
        "commit": commit(),
        "versions": versions(),
        "python": platform.python_version(),
        "device": device(),
        "dtype": dtype,
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
