"""Many small trainings of GANs on points in the plane: side by side in processes, each written to disk at its end."""

import concurrent.futures
import hashlib
import json
import math
import multiprocessing
import os
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_genzoo import data, engine, files, metrics
from keras_genzoo.data import made
from keras_genzoo.models.gan import GAN
from keras_genzoo.progress import track
from keras_genzoo.studies.common import Setting

POINTS_JUDGED = 2_500  # number of samples in PacGAN's protocol
_BATCH = 64
_STEPS_PER_EXECUTION = 130
# Least share of points near a mode. Random points are near a mode one time in sixty, yet most modes have some.
_LEAST_QUALITY = 0.25


def keeps_all(run: dict[str, Any], k: int) -> bool:
    """The verdict on a run: whether it has points near all modes, and a quarter of all its points near some mode.

    Args:
        run: A row of `mode_counts`.
        k: Number of modes.

    Returns:
        True where it keeps them all.
    """
    return run["modes"] == k and run["high_quality"] >= _LEAST_QUALITY


def rows_of(setting: Setting, calls: list[tuple[list[dict], dict]]) -> list[dict[str, Any]]:
    """Trains the runs of all calls, and keeps each on disk; a run that is there is not trained again.

    Args:
        setting: Setting of the study.
        calls: Pairs of runs and arguments. A run is a dict that identifies it; the arguments are those of `mode_counts`
            that train all runs of the pair.

    Returns:
        The runs in their order, each with its row of `mode_counts`.
    """
    rows = _read_partial(setting)
    keys = [[_key(run, arguments) for run in runs] for runs, arguments in calls]
    missing = {i: arguments for i, (_, arguments) in enumerate(calls) if not rows.keys() >= set(keys[i])}
    trained = _trained(missing, setting.jobs)
    for i, counts in track(trained, "training", verbose=setting.verbose, total=len(missing)):
        rows |= {key: {**run, **row} for key, run, row in zip(keys[i], calls[i][0], counts, strict=True)}
        files.write_json(setting.partial, rows, indent=None)  # an interrupt loses the current call, not hours of work
    return [rows[key] for keys_of_call in keys for key in keys_of_call]


def _key(run: dict[str, Any], arguments: dict[str, Any]) -> str:
    """A key of a run and of the arguments that it is trained with, so that a changed preset is trained anew."""
    options = {key: value for key, value in arguments.items() if key != "runs"}
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
    return " ".join([*map(str, run.values()), digest[:8]])


def _read_partial(setting: Setting) -> dict[str, dict[str, Any]]:
    """The finished runs of an interrupted study, by their keys."""
    try:
        return json.loads(setting.partial.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def _trained(calls: dict[Any, dict[str, Any]], jobs: int) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yields the key and the `mode_counts` of each entry of `calls` at its end; an entry holds the arguments."""
    if jobs == 1:
        for key, arguments in calls.items():
            yield key, mode_counts(**arguments)
        return
    spawn = multiprocessing.get_context("spawn")  # TensorFlow fails after a fork
    pool = concurrent.futures.ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin_worker)
    try:
        futures = {pool.submit(mode_counts, **arguments): key for key, arguments in calls.items()}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Holds a worker to one core, and ends it with its study; a study that is killed cannot end it itself."""
    engine.use_one_core()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def mode_counts(
    name: str,
    runs: list[tuple[float, int]],
    epochs: int,
    *,
    cosine: bool = False,
    batch_size: int = _BATCH,
    betas: tuple[float, float] = (0.5, 0.999),
    **options: Any,
) -> list[dict[str, Any]]:
    """Trains one GAN in several runs, and counts the modes of its samples after each.

    All runs share one compiled step: each begins with the fresh weights of a twin, and with optimizers at zero.

    Args:
        name: Name of the data set, a key of `made.MIXTURES`.
        runs: Learning rate and seed of each run.
        epochs: Epochs of a run.
        cosine: Whether the learning rate falls to 0 by a half cosine, epoch by epoch; else it is constant.
        batch_size: Points per batch.
        betas: Adam's betas.
        **options: Arguments of `GAN` in place of the defaults.

    Returns:
        Numbers of `metrics.mode_coverage`, with the counts of epochs and of samples, a dict per run.
    """
    mixture = made.MIXTURES[name]

    def fresh_model(seed: int) -> GAN:
        keras.utils.set_random_seed(seed)
        return GAN(
            **{
                "image_shape": (1, 1, 2),
                "latent_dim": 2,
                "generator": {"name": "mlp_generator", "units": [128, 128]},
                "discriminator": {"name": "mlp_discriminator", "units": [128, 128]},
                "ema_decay": 0.99,
                "seed": seed,
                **options,
            }
        )

    gan, rows = fresh_model(runs[0][1]), []
    optimizers = [keras.optimizers.Adam(1e-3, *betas) for _ in gan.OPTIMIZERS]
    # XLA pays for many small operations, and compiles once for all runs.
    gan.compile(
        **dict(zip(gan.OPTIMIZERS, optimizers, strict=True)),
        steps_per_execution=_STEPS_PER_EXECUTION,
        jit_compile=True,
    )
    for rate, seed in runs:

        def set_rate(epoch, logs=None, rate=rate):
            for optimizer in optimizers:
                optimizer.learning_rate = rate * (0.5 + 0.5 * math.cos(math.pi * epoch / epochs) if cosine else 1.0)

        for variable, start in zip(gan.variables, fresh_model(seed).variables, strict=True):
            variable.assign(start)
        for optimizer in optimizers:
            for variable in optimizer.variables:
                variable.assign(ops.zeros_like(variable))
        batches, steps = data.stream(name, batch_size=batch_size, seed=seed)
        callback = keras.callbacks.LambdaCallback(on_epoch_begin=set_rate)
        gan.fit(batches, steps_per_epoch=steps, epochs=epochs, verbose=0, callbacks=[callback])
        points = mixture.to_points(gan.sample(POINTS_JUDGED, seed=seed))
        scores = metrics.mode_coverage(points, centres=mixture.centres, std=mixture.std)
        rows.append({**scores, "epochs": epochs, "n_samples": len(points)})
    return rows
