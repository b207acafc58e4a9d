"""The lecture's claims as experiments: each one command, one figure, and its numbers beside it.

    keras-genzoo study collapse         # studies/collapse.png, studies/collapse.json

A study is a function of `Setting` that draws a figure and returns rows of numbers. Those that train say for how long;
MNIST is bundled, so that all of them run anywhere.
"""

import concurrent.futures
import hashlib
import json
import math
import multiprocessing
import os
import threading
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import data, losses, metrics, plots, presets, provenance, synthetic, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.models.gan import GAN
from keras_genzoo.models.vae import VAE
from keras_genzoo.progress import track, working

_OF_THE_PRESET = "as the presets have it"


class Setting(NamedTuple):
    """What a study may know: epochs per training, the seed, whether to show progress, where to keep what is done, and
    how many processes may train.
    """

    epochs: int | str
    seed: int
    verbose: bool
    partial: Path
    jobs: int


def run(name, out="studies", *, epochs=None, seed=0, jobs=1, verbose=True):
    """Runs a study and writes `NAME.png` and `NAME.json` into a folder.

    Args:
        name: A key of `STUDIES`.
        out: The folder.
        epochs: Of each training, >= 1; None: the study's own number. Studies of a pretrained model have none.
        seed: Of networks, noise and draws.
        jobs: Of the studies on points in the plane, processes that train side by side, >= 1: their steps are too small
            for more than a core. A script that asks for several needs `if __name__ == "__main__":`.
        verbose: Show progress, on a terminal.

    Returns:
        `(rows, path)`: the numbers, a list of dicts, and the figure's path.

    Example:
        >>> rows, path = keras_genzoo.studies.run("estimate")
    """
    if name not in STUDIES:
        raise ZooError(f"`name` of a study must be one of {', '.join(STUDIES)}. Received: {name!r}")
    study, own_epochs = STUDIES[name]
    if epochs is not None and (epochs < 1 or own_epochs is None):
        raise ZooError(
            f"`epochs` must be >= 1. Received: {epochs}"
            if own_epochs
            else f"The study {name} trains nothing; leave `epochs` out"
        )
    if jobs < 1:
        raise ZooError(f"`jobs` must be >= 1. Received: {jobs}")
    partial = Path(out).expanduser() / f"{name}.partial.json"
    setting = Setting(epochs or own_epochs, seed, verbose, partial, jobs)
    keras.utils.set_random_seed(seed)
    rows, drawing = study(setting)
    path = plots.save(drawing, Path(out) / f"{name}.png")
    content = {"study": name, "epochs": setting.epochs, "seed": seed, "rows": rows}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    partial.unlink(missing_ok=True)
    return rows, path


# === (a) Why importance weighting ===


def estimate(setting, *, n_images=50, most_naive=100_000, most_weighted=5_000):
    """log p(x) from N draws of the prior, p(x) ~ 1/N sum p(x|z_i), and from N of q(z|x), weighted by p(z)/q(z|x)."""
    model, images = _pretrained("vae_mnist", n_images)
    with working("drawing from the prior", verbose=setting.verbose):
        naive = _naive_log_likelihoods(model, images, most_naive, setting.seed)
    with working("drawing from q(z|x)", verbose=setting.verbose):
        weighted = np.concatenate(
            [
                ops.convert_to_numpy(
                    model.log_weights(ops.convert_to_tensor(images), n_samples=100, seed=setting.seed + i)
                )
                for i in range(most_weighted // 100)
            ]
        )
    sides = {"naive: z from p(z)": naive, "importance weighted: z from q(z|x)": weighted}
    rows = []
    drawing, (panel,) = plots.figure(1, width=7.5, height=5)
    for side, log_terms in sides.items():
        counts = [n for n in (1, 10, 100, 1_000, 5_000, 10_000, 100_000) if n <= len(log_terms)]
        # As many disjoint groups of N draws as there are, up to 20: one group would show luck.
        means = []
        for n in counts:
            groups = min(20, len(log_terms) // n)
            bounds = [losses.importance_weighted_bound(log_terms[i * n : (i + 1) * n]) for i in range(groups)]
            means.append(float(np.mean([ops.convert_to_numpy(bound) for bound in bounds])))
            rows.append({"estimate": side, "n": n, "log_p": round(means[-1], 3), "images": n_images})
        panel.plot(counts, means, marker="o", label=side)
    best = rows[-1]["log_p"]
    panel.axhline(best, color="grey", linewidth=0.8, linestyle="--")
    panel.set(
        xscale="log",
        xlabel="N, draws of z per image",
        ylabel=f"mean estimate of log p(x), nats ({n_images} test images)",
        title=f"vae_mnist: {len(naive):,} draws of the prior against {_worth(rows)} of q(z|x), which tell more",
    )
    panel.legend()
    panel.grid(alpha=0.3)
    return rows, drawing


def _worth(rows):
    """The draws of q(z|x) from which on it beats the prior's best estimate."""
    naive = max(row["log_p"] for row in rows if row["estimate"].startswith("naive"))
    return min(row["n"] for row in rows if not row["estimate"].startswith("naive") and row["log_p"] > naive)


def _naive_log_likelihoods(model, images, n, seed):
    """log p(x|z_i) of every image under the same n draws of the prior, `(n, images)`."""
    parts, flat = [], images.reshape(len(images), -1)
    for start in range(0, n, 2_000):
        z = np.random.default_rng([seed, start]).standard_normal((min(2_000, n - start), model.latent_dim))
        logits = ops.convert_to_numpy(model.decoder(z.astype("float32")))
        logits = logits.reshape(len(z), -1)
        parts.append(logits @ flat.T - np.logaddexp(0, logits).sum(1, keepdims=True))
    return np.concatenate(parts)


# === (b) What each half of the ELBO does to the codes ===


def latent_space(setting):
    """Codes of two numbers after training on the reconstruction alone, the KL alone, and both; and what the decoder
    makes of draws of the prior.
    """
    test, labels = _test_images(5_000)
    cases = {"reconstruction only": {"beta": 0.0}, "KL only": {}, "reconstruction and KL": {}}
    drawing, _ = plots.figure(1, width=15, height=9.5)
    drawing.clear()
    panels = drawing.subplots(2, 3, height_ratios=[1.25, 1])
    rows = []
    for i, (title, options) in enumerate(cases.items()):
        model = _model(setting, latent_dim=2, **options)
        log_prob = model.likelihood.log_prob
        if title == "KL only":
            model.likelihood.log_prob = lambda x, log_prob=log_prob, **arguments: 0 * log_prob(x, **arguments)
        history = _fit(model, setting, title)
        model.likelihood.log_prob = log_prob
        logs = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
        z = model.codes(test)
        plots.scatter(panels[0, i], z, labels, size=6)
        # The prior's circle of 95 %: whether a draw of it meets a code is the question.
        circle = math.sqrt(-2 * math.log(0.05))
        angle = np.linspace(0, 2 * math.pi, 200)
        panels[0, i].plot(circle * np.cos(angle), circle * np.sin(angle), color="black", linewidth=1)
        inside = float(np.mean(np.sum(z**2, axis=1) < circle**2))
        panels[0, i].set(title=f"{title}\n{inside:.0%} of the codes where p(z) has 95 %", xlabel="z[0]", aspect="equal")
        if title == "KL only":
            panels[0, i].set(xlim=(-4, 4), ylim=(-4, 4))
        panels[1, i].imshow(plots.canvas(model.sample(50, seed=setting.seed), columns=10))
        panels[1, i].set(title="decoded draws of N(0, I)")
        panels[1, i].axis("off")
        rows.append(
            {
                "trained on": title,
                "reconstruction_loss": round(float(logs["reconstruction_loss"]), 2),
                "kl": round(float(logs["kl_loss"]), 2),
                "codes inside the prior's 95 %": round(inside, 4),
                "spread of z_mean": round(float(z.std()), 4),
                "epochs": len(history["loss"]),
            }
        )
    panels[0, 0].set_ylabel("z[1]")
    handles = panels[0, 2].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=3, frameon=False)
    for handle in handles.legend_handles:
        handle.set_alpha(1)
    return rows, drawing


# === (c) Between images, and sums of codes ===


def interpolation(setting, *, steps=9):
    """Straight lines between codes against those between pixels, and a direction of codes that thickens a digit."""
    judge = zoo.load("classifier_mnist")
    model, images = _pretrained("vae_mnist", 2_000)
    labels = data.arrays("mnist", "test")[1][:2_000]
    z = model.codes(images)
    rng = np.random.default_rng(setting.seed)
    pairs = [(rng.choice(np.flatnonzero(labels == a)), rng.choice(np.flatnonzero(labels == b)))
             for a, b in ((1, 7), (3, 8), (0, 6), (4, 9), (5, 3), (2, 7))]  # fmt: skip
    t = np.linspace(0, 1, steps)[:, None]
    rows, lines = [], []
    ends = model.decode(z)
    confidence, pictures = {"codes": [], "pixels": []}, {"codes": [], "pixels": []}
    for a, b in pairs:
        by_codes = model.decode(((1 - t) * z[a] + t * z[b]).astype("float32"))
        by_pixels = (1 - t[..., None, None]) * ends[a] + t[..., None, None] * ends[b]
        lines += [by_codes, by_pixels.astype("float32")]
        for key, line in (("codes", by_codes), ("pixels", by_pixels.astype("float32"))):
            pictures[key].append(line)
            logits = judge.classify(line)["logits"].astype("float64")
            p = np.exp(logits - logits.max(1, keepdims=True))
            confidence[key].append((p / p.sum(1, keepdims=True)).max(1))
    middle = slice(steps // 3, steps - steps // 3)
    for key, values in confidence.items():
        value = float(np.mean([line[middle] for line in values]))
        rows.append(
            {"what": f"classifier's confidence, middle third of a line between {key}", "value": round(value, 4)}
        )
        grey = float(np.mean([np.mean((line[middle] > 0.2) & (line[middle] < 0.8)) for line in pictures[key]]))
        rows.append(
            {"what": f"pixels that are neither ink nor paper (0.2 to 0.8), there, {key}", "value": round(grey, 4)}
        )

    ink = images.sum(axis=(1, 2, 3))
    bold, thin = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for c in range(10):  # by class, or the direction would lead to the zeros, away from the ones
        low, high = np.percentile(ink[labels == c], [20, 80])
        bold |= (labels == c) & (ink > high)
        thin |= (labels == c) & (ink < low)
    direction = z[bold].mean(0) - z[thin].mean(0)
    # Of images that were not averaged: one per class, of the thin ones.
    test_images, test_labels = _test_images(4_000)
    fresh, fresh_labels = test_images[2_000:], test_labels[2_000:]
    fresh_z = model.codes(fresh)
    few = [
        np.flatnonzero(fresh_labels == c)[np.argsort(fresh[fresh_labels == c].sum(axis=(1, 2, 3)))[5]]
        for c in range(10)
    ]
    columns = [model.decode((fresh_z[few] + s * direction).astype("float32")) for s in (0.0, 0.5, 1.0, 1.5)]
    moved = {s: model.decode((fresh_z + s * direction).astype("float32")) for s in (-1.0, 0.0, 1.0)}
    for s, shown in moved.items():
        seen = judge.classify(shown)["logits"].argmax(1)
        rows.append(
            {
                "what": f"z {s:+g} x (mean code of bold digits - mean code of thin ones): ink, of {len(fresh)} images",
                "value": round(float(shown.sum(axis=(1, 2, 3)).mean()), 2),
                "class kept": round(float(np.mean(seen == fresh_labels)), 4),
            }
        )
    drawing, (left, right) = plots.figure(2, width=7, height=6.6)
    left.imshow(plots.canvas(np.concatenate(lines), columns=steps))
    left.set(title="between two digits: their codes (upper), their pixels (lower)")
    right.imshow(plots.canvas(np.stack(columns, 1).reshape(-1, *fresh.shape[1:]), columns=4))
    right.set(title="thin digits + 0, 0.5, 1, 1.5 x (bold - thin)")
    for panel in (left, right):
        panel.axis("off")
    return rows, drawing


# === (d) Rate against distortion ===


def beta(setting, *, betas=(0.1, 0.3, 1.0, 3.0, 10.0)):
    """VAEs with ten latents and several weights of the KL: nats of the code against nats of the reconstruction."""
    test, _ = _test_images(10_000)
    rows, samples = [], []
    for value in betas:
        model = _model(setting, latent_dim=10, beta=value)
        _fit(model, setting, f"beta {value:g}")
        logs = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
        rate, distortion = float(logs["kl_loss"]), float(logs["reconstruction_loss"])
        rows.append(
            {
                "beta": value,
                "rate": round(rate, 2),
                "distortion": round(distortion, 2),
                "elbo": round(-rate - distortion, 2),
                "active_units": metrics.active_units(model.codes(test)),
            }
        )
        samples.append(model.sample(10, seed=setting.seed))
    drawing, (left, right) = plots.figure(2, width=7, height=5.4)
    left.plot([row["rate"] for row in rows], [row["distortion"] for row in rows], marker="o")
    for row in rows:
        left.annotate(
            f" beta {row['beta']:g}: ELBO {row['elbo']:.1f}, {row['active_units']} of 10 units",
            (row["rate"], row["distortion"]),
        )
    best = max(row["elbo"] for row in rows)
    low, high = left.get_xlim()
    line = np.array([low, high])
    left.plot(line, -best - line, color="grey", linestyle="--", linewidth=0.8, label=f"ELBO {best:.1f}, all along")
    left.set(
        xlim=(low, high + 0.6 * (high - low)),
        xlabel="rate: KL(q(z|x) || p(z)), nats",
        ylabel="distortion: -E log p(x|z), nats",
        title=f"rate and distortion on 10,000 test images (epochs: {setting.epochs})",
    )
    left.legend()
    left.grid(alpha=0.3)
    right.imshow(plots.canvas(np.concatenate(samples), columns=10))
    right.set(title="draws of the prior, decoded: one row per beta, the smallest on top")
    right.axis("off")
    return rows, drawing


# === (e) Posterior collapse ===


def collapse(setting):
    """A VAE whose noise is set too wide forgets its images; what cures that, and what does not.

    In the linear case a latent survives where it explains more variance than sigma^2 (Lucas et al. 2019, section 4): of
    MNIST's pixels no direction has more than 5.2, so that sigma 2.5 leaves none.
    """
    test, _ = _test_images(5_000, binarize=False)
    cases = {
        "sigma 2.5": {"sigma": 2.5},
        "sigma 2.5,\nKL warm-up": {"sigma": 2.5, "warmup_steps": 300 * setting.epochs},
        "sigma 2.5,\nfree bits 0.5": {"sigma": 2.5, "free_bits": 0.5},
        "sigma learned": {"sigma": "learned"},
        "sigma optimal": {"sigma": "optimal"},
    }
    rows, pictures = [], [test[:10]]
    for title, options in cases.items():
        model = _model(setting, latent_dim=20, likelihood="gaussian", **options)
        _fit(model, setting, title.replace("\n", " "), binarize=None)
        logs = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
        reconstructed = model.reconstruct(test)
        error = float(np.mean(np.sum((test - reconstructed) ** 2, axis=(1, 2, 3))))
        sigma = float(np.ravel(model.run_endpoint("decode", np.zeros((1, 20), "float32"))["scale"])[0])
        rows.append(
            {
                "case": title.replace("\n", " "),
                "active_units": metrics.active_units(model.codes(test)),
                "kl": round(float(logs["kl_loss"]), 3),
                "squared_error": round(error, 2),
                "sigma": round(sigma, 3),
            }
        )
        pictures.append(reconstructed[:10])
    drawing, (left, right) = plots.figure(2, width=7, height=5)
    bars = left.bar(list(cases), [row["active_units"] for row in rows])
    left.bar_label(
        bars, [f"{row['active_units']}\nKL {row['kl']:.1f}\nerror {row['squared_error']:.1f}" for row in rows]
    )
    left.set(
        ylim=(0, 26),
        ylabel="active units of 20",
        title=f"collapse and its cures, grey MNIST (epochs: {setting.epochs})",
    )
    left.tick_params(axis="x", labelsize=9)
    right.imshow(plots.canvas(np.concatenate(pictures), columns=10))
    right.set(title="images, then their reconstructions in the order of the bars")
    right.axis("off")
    return rows, drawing


# === (f) Which GANs keep their modes ===

_CURES = {  # the regularizers of a GAN, with weights for points in the unit square
    "none": {},
    "weight clipping": {"weight_clip": 0.1},
    "gradient penalty": {"gradient_penalty": 0.1},
    "R1": {"r1": 1e-4},
    "R1 + R2": {"r1": 1e-4, "r2": 1e-4},
    "spectral norm": {"discriminator": {"name": "mlp_discriminator", "units": [128, 128], "norm": "spectral"}},
    "label smoothing": {"label_smoothing": 0.1},
    "packing": {"pack": 4},
}
_RATES = (3e-4, 1e-3, 3e-3)
_SEEDS = 2
_POINTS_JUDGED = 2_500  # as PacGAN's protocol has it
_GAN_BATCH = 64
_LEAST_QUALITY = 0.25  # points near a mode, of all: strewn at random, one in sixty is, and most modes have some


def sensitivity(setting, *, games=tuple(losses.GAMES), cures=tuple(_CURES), rates=_RATES, n_seeds=_SEEDS):
    """Every game of a GAN with every regularizer on the ring and the grid: which share of runs keeps all modes?

    A run keeps them if it has a point within three standard deviations of each, and a quarter of all its points there.
    A cell's runs are those of all learning rates and seeds; an epoch is 1,562 steps. What is done is kept beside the
    figure, and the same command goes on from it.
    """
    runs = [(rate, setting.seed + i) for rate in rates for i in range(n_seeds)]
    calls = []
    for name in synthetic.MIXTURES:
        for game in games:
            for cure in cures:
                if cure == "label smoothing" and game not in ("minimax", "non_saturating"):
                    continue  # a game without a probability has nothing to smooth
                arguments = {"name": name, "runs": runs, "epochs": setting.epochs, "game": game, **_CURES[cure]}
                cell = {"data": name, "game": game, "regularizer": cure}
                calls.append(([{**cell, "learning_rate": rate, "seed": seed} for rate, seed in runs], arguments))
    rows = _rows(setting, calls)
    return rows, _sensitivity_map(rows, setting, games, cures)


def _rows(setting, calls):
    """The runs of all calls, each with what training found; what is done is kept on disk, and is not done again.

    `calls`: pairs of runs, dicts that tell one from all others, and the arguments of `_mode_counts` that train them.
    """
    done = _read_partial(setting)
    keys = [[_key(run, arguments) for run in runs] for runs, arguments in calls]
    missing = {i: arguments for i, (_, arguments) in enumerate(calls) if not done.keys() >= set(keys[i])}
    trained = _trained(missing, setting.jobs)
    for i, found in track(trained, "training", verbose=setting.verbose, total=len(missing)):
        done |= {key: {**run, **of} for key, run, of in zip(keys[i], calls[i][0], found, strict=True)}
        with provenance.aside(setting.partial) as temporary:  # hours of work are not to be lost half-written
            temporary.write_text(json.dumps(done))
    return [done[key] for of_call in keys for key in of_call]


def _key(run, arguments):
    """Of a run and all that it was trained with: one of another preset's networks is not this one."""
    options = {key: value for key, value in arguments.items() if key != "runs"}
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
    return " ".join([*map(str, run.values()), digest[:8]])


def _read_partial(setting):
    """Runs that an interrupted study has done, by their keys."""
    try:
        return json.loads(setting.partial.read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _trained(calls, jobs):
    """Yields the key and the `_mode_counts` of each entry of `calls`, its arguments, as soon as it is done."""
    if jobs == 1:
        for key, arguments in calls.items():
            yield key, _mode_counts(**arguments)
        return
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin_worker)
    try:
        futures = {pool.submit(_mode_counts, **arguments): key for key, arguments in calls.items()}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker():
    """One core for each; and none trains on for a study that was killed, whose executor could not tell it."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _mode_counts(name, runs, epochs, *, cosine=False, batch_size=_GAN_BATCH, betas=(0.5, 0.999), **options):
    """What `metrics.mode_coverage` finds after each of the runs `(learning_rate, seed)` of one GAN, by Adam with these
    betas; with `cosine`, the rate falls to 0 from epoch to epoch.

    The compiled step serves all of them: a run begins with the fresh weights of a twin, and optimizers at zero.
    """
    mixture = synthetic.MIXTURES[name]

    def fresh(seed):
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

    gan, found = fresh(runs[0][1]), []
    optimizers = [keras.optimizers.Adam(1e-3, *betas) for _ in gan.OPTIMIZERS]
    # XLA: many small operations, and one compilation for all runs.
    gan.compile(**dict(zip(gan.OPTIMIZERS, optimizers, strict=True)), steps_per_execution=130, jit_compile=True)
    for rate, seed in runs:

        def slow(epoch, logs=None, rate=rate):
            for optimizer in optimizers:
                optimizer.learning_rate = rate * (0.5 + 0.5 * math.cos(math.pi * epoch / epochs) if cosine else 1.0)

        for variable, start in zip(gan.variables, fresh(seed).variables, strict=True):
            variable.assign(start)
        for optimizer in optimizers:
            for variable in optimizer.variables:
                variable.assign(ops.zeros_like(variable))
        batches, steps = data.stream(name, batch_size=batch_size, seed=seed)
        callback = keras.callbacks.LambdaCallback(on_epoch_begin=slow)
        gan.fit(batches, steps_per_epoch=steps, epochs=epochs, verbose=0, callbacks=[callback])
        points = mixture.to_points(gan.sample(_POINTS_JUDGED, seed=seed))
        found.append(metrics.mode_coverage(points, centres=mixture.centres, std=mixture.std))
    return found


def _sensitivity_map(rows, setting, games, cures):
    drawing, panels = plots.figure(len(synthetic.MIXTURES), width=8, height=5)
    for panel, (name, mixture) in zip(panels, synthetic.MIXTURES.items(), strict=True):
        k = len(mixture.centres)
        kept = np.full((len(games), len(cures)), np.nan)
        for i, game in enumerate(games):
            for j, cure in enumerate(cures):
                runs = [r for r in rows if (r["data"], r["game"], r["regularizer"]) == (name, game, cure)]
                if runs:
                    n_kept = sum(_keeps_all(run, k) for run in runs)
                    kept[i, j] = n_kept / len(runs)
                    text = f"{n_kept}/{len(runs)}\n{np.mean([run['modes'] for run in runs]):.1f}"
                    panel.text(j, i, text, ha="center", va="center", color="black" if kept[i, j] > 0.4 else "white")
        panel.imshow(kept, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        panel.set_xticks(range(len(cures)), cures, rotation=35, ha="right")
        panel.set_yticks(range(len(games)), [game.replace("_", " ") for game in games])
        panel.set(title=f"{name}: runs that keep all {k} modes, and mean modes (epochs: {setting.epochs})")
    return drawing


def _keeps_all(run, k):
    return run["modes"] == k and run["high_quality"] >= _LEAST_QUALITY


# === (g) From ten seeds ===


def seeds(setting, *, names=tuple(synthetic.MIXTURES), n_seeds=10):
    """Presets of points, trained from ten seeds each: do all runs keep all modes?

    What is done is kept beside the figure, and the same command goes on from it.
    """
    calls, epochs_of = [], {}
    for name in names:
        preset = presets.find(name)
        optimizer = preset.training.optimizers["g_optimizer"]
        epochs_of[name] = preset.training.epochs if setting.epochs == _OF_THE_PRESET else setting.epochs
        shared = {
            "name": name, "epochs": epochs_of[name], "cosine": optimizer.schedule == "cosine",
            "batch_size": preset.training.batch_size, "betas": (optimizer.beta_1, optimizer.beta_2), **preset.model,
        }  # fmt: skip
        for seed in range(setting.seed, setting.seed + n_seeds):
            calls.append(([{"data": name, "seed": seed}], {**shared, "runs": [(optimizer.learning_rate, seed)]}))
    rows = _rows(setting, calls)
    drawing, panels = plots.figure(len(names), width=8, height=3.2)
    for panel, name in zip(panels, names, strict=True):
        found, k = [row for row in rows if row["data"] == name], len(synthetic.MIXTURES[name].centres)
        bars = panel.bar([str(row["seed"]) for row in found], [row["high_quality"] for row in found])
        panel.bar_label(bars, [str(row["modes"]) for row in found])
        kept = sum(_keeps_all(row, k) for row in found)
        panel.set(
            xlabel="seed; above each bar the modes kept",
            ylabel="points of high quality",
            ylim=(0, 1.15),
            title=f"{name}: {kept} of {n_seeds} runs keep all {k} modes (epochs: {epochs_of[name]})",
        )
    return rows, drawing


# name -> the study and its epochs per training; None where it trains nothing
STUDIES = {
    "estimate": (estimate, None),
    "latent_space": (latent_space, 10),
    "interpolation": (interpolation, None),
    "beta": (beta, 10),
    "collapse": (collapse, 6),
    "sensitivity": (sensitivity, 8),
    "seeds": (seeds, _OF_THE_PRESET),
}


def _model(setting, *, latent_dim, **options):
    model = VAE(
        latent_dim=latent_dim,
        encoder={"name": "mlp_encoder", "units": [300, 300], "gated": True},
        decoder={"name": "mlp_decoder", "units": [300, 300], "gated": True},
        seed=setting.seed,
        **options,
    )
    steps = 600 * setting.epochs
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)), steps_per_execution=20)
    return model


def _fit(model, setting, title, binarize="dynamic"):
    batches, steps = data.stream("mnist", batch_size=100, binarize=binarize, seed=setting.seed)
    with working(f"training: {title}", verbose=setting.verbose):
        return model.fit(batches, steps_per_epoch=steps, epochs=setting.epochs, verbose=0).history


def _pretrained(name, n):
    """A preset's model and its first n test images, as its protocol takes them."""
    model = zoo.load(name)
    return model, _test_images(n)[0]


def _test_images(n, *, binarize=True):
    """The first n test images of MNIST, binarised as `evaluate` does, and their labels."""
    pixels, labels = data.arrays("mnist", "test")
    return data.as_seen(pixels, binarize=binarize)[:n], labels[:n]
