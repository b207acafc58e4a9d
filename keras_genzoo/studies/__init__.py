"""The lecture's claims as experiments: one command, one figure and a file of numbers each.

    keras-genzoo study collapse         # studies/collapse.png, studies/collapse.json

A study is a function of a `common.Setting` that draws a figure and returns rows of numbers. All data are bundled or
made, so that a study runs anywhere.
"""

from pathlib import Path
from typing import Any, NamedTuple

from keras_genzoo.choices import AS_THE_PRESET
from keras_genzoo.errors import ZooError
from keras_genzoo.registry import resolve
from keras_genzoo.typing import MOST_SEED, PathLike


class Study(NamedTuple):
    """An experiment.

    Attributes:
        function: "module:function"; the function takes a `common.Setting` and returns rows and a figure.
        epochs: Epochs of each training; None where nothing is trained.
        about: Subject of the study, one line.
    """

    function: str
    epochs: int | str | None
    about: str


_HERE = "keras_genzoo.studies"
_MOST_EPOCHS = 1_000_000
_MOST_DIGITS = 20  # of a seed in an error
STUDIES = {  # study of each name
    "estimate": Study(f"{_HERE}.estimate:estimate", None, "log p(x) from draws of the prior and of q(z|x)"),
    "latent_space": Study(f"{_HERE}.latent_space:latent_space", 10, "codes trained on reconstruction, on KL, on both"),
    "interpolation": Study(f"{_HERE}.interpolation:interpolation", None, "lines between codes, and sums of them"),
    "beta": Study(f"{_HERE}.beta:beta", 10, "rate against distortion"),
    "collapse": Study(f"{_HERE}.collapse:collapse", 6, "posterior collapse, made and cured"),
    "sensitivity": Study(
        f"{_HERE}.sensitivity:sensitivity",
        8,
        "every GAN game with every regularizer: which keep all modes (hours)",
    ),
    "seeds": Study(
        f"{_HERE}.seeds:seeds",
        AS_THE_PRESET,
        "ring2d and grid2d from ten seeds: do all runs keep all modes?",
    ),
}


def run(
    name: str,
    out: PathLike = "studies",
    *,
    epochs: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    verbose: bool = True,
) -> tuple[list[dict[str, Any]], Path]:
    """Runs a study and writes `NAME.png` and `NAME.json` into a folder.

    Args:
        name: A key of `STUDIES`.
        out: Folder to write into; it is made.
        epochs: Epochs of each training, >= 1; None: the study's own number. A study of a pretrained model takes none.
        seed: Seed of networks, noise and draws.
        jobs: Number of processes that train side by side, >= 1, in studies of points in the plane, whose small steps
            use one core each. A script with several needs `if __name__ == "__main__":`.
        verbose: Whether progress is shown, on a terminal.

    Returns:
        `(rows, path)`: the numbers, a list of dicts, and the figure's path.

    Raises:
        ZooError: Unknown study, a bad number, or a folder that cannot be written.

    Example:
        >>> import tempfile
        >>> import keras_genzoo as gz
        >>> rows, path = gz.studies.run("interpolation", tempfile.mkdtemp(), verbose=False)
        >>> path.name
        'interpolation.png'
    """
    if name not in STUDIES:
        raise ZooError(f"`name` of a study must be one of {', '.join(STUDIES)}. Received: {name!r}")
    study = STUDIES[name]
    if epochs is not None and (epochs < 1 or study.epochs is None):
        raise ZooError(
            f"`epochs` must be >= 1. Received: {epochs}"
            if study.epochs
            else f"The study {name} trains nothing; leave `epochs` out"
        )
    if epochs is not None and epochs > _MOST_EPOCHS:
        raise ZooError(f"`epochs` must be in 1..{_MOST_EPOCHS:,}. Received: {str(epochs)[:_MOST_DIGITS]}")
    if not 0 <= seed <= MOST_SEED:
        raise ZooError(f"`seed` must be in 0..{MOST_SEED}. Received: {str(seed)[:_MOST_DIGITS]}")
    if jobs < 1:
        raise ZooError(f"`jobs` must be >= 1. Received: {jobs}")
    import keras

    from keras_genzoo import files, plots
    from keras_genzoo.studies.common import Setting

    partial = Path(out).expanduser() / f"{name}.partial.json"
    setting = Setting(epochs or study.epochs, seed, verbose, partial, jobs)
    path = Path(out).expanduser() / f"{name}.png"
    files.try_to_write_file(path)
    with files.lock(path):
        keras.utils.set_random_seed(seed)
        rows, drawing = resolve(study.function)(setting)
        plots.save(drawing, path)
        record = {"study": name, "epochs": setting.epochs, "seed": seed, "rows": rows}
        files.write_json(path.with_suffix(".json"), record)
        partial.unlink(missing_ok=True)
    return rows, path
