"""Steps per second of GANs: keras_genzoo, the structure of the keras.io examples, and a plain PyTorch loop.

Each side is a process of its own; for every game they train in turn, some steps each, and wait while another one does.
Networks are those of zoo_configs/dcgan_mnist (BatchNorm in D for the DCGAN only); batch size, optimizers and penalties
are the same on every side. A step is one of D, on `BATCH` real images; WGAN-GP's G moves with every fifth. Only
keras_genzoo averages its generator and schedules its rates; only the keras.io style runs G anew for G's step where one
run serves both. keras.io has no relativistic example: its side has the structure of the WGAN-GP one.

    pip install torch                    # in this environment, or in that of --torch-python
    python benchmarks/gan_race.py --json benchmarks/results/gan_race.json
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from in_turn import Side, about, fit_seconds, serve

SIDES = ("keras_genzoo", "keras.io style", "PyTorch")
GAMES = {  # each with the changes to dcgan_mnist's model
    "DCGAN": {},
    "WGAN-GP": {"game": "wasserstein", "gradient_penalty": 10.0, "n_critic": 5},
    "relativistic + R1 + R2": {"game": "relativistic", "r1": 1.0, "r2": 1.0},
}
LATENT, BATCH, FILTERS, G_RATE, D_RATE = 64, 80, (128, 64), 1e-3, 2e-4  # numbers of dcgan_mnist, for PyTorch
_WARM_UP = 10  # untimed steps of a turn


# === The sides: functions that return a function `(steps) -> seconds of training` ===


def keras_genzoo_side(game, images):
    from keras_genzoo import training

    preset = _preset(game)
    config = preset.training.model_copy(update={"steps_per_execution": 5})
    model, batches, _ = training.prepare(preset.model_copy(update={"training": config}))
    return lambda steps: fit_seconds(model, batches, steps_per_epoch=steps)


def keras_io_side(game, images):
    import keras
    import keras_io_style

    from keras_genzoo import data

    preset = _preset(game)
    keras.utils.set_random_seed(0)
    n_critic = preset.model.get("n_critic", 1)
    images = data.to_unit(np.load(images))
    build = keras_io_style.dcgan if game == "DCGAN" else keras_io_style.penalised
    model, arguments = build(preset, images)
    # As in its example, a step of fit holds all steps of D on one batch of real images.
    return lambda steps: fit_seconds(model, **arguments, steps_per_epoch=steps // n_critic)


def pytorch_side(game, images):
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    options = {"n_critic": 1, "gradient_penalty": 0.0, "r1": 0.0, "r2": 0.0, **GAMES[game]}
    wide, narrow = FILTERS
    generator = nn.Sequential(
        nn.Linear(LATENT, 49 * wide, bias=False), nn.BatchNorm1d(49 * wide), nn.ReLU(), nn.Unflatten(1, (wide, 7, 7)),
        nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(),
        nn.ConvTranspose2d(narrow, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, narrow, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(narrow, wide, 4, 2, 1),
        *([nn.BatchNorm2d(wide)] if game == "DCGAN" else []), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(49 * wide, 1),
    )  # fmt: skip
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=G_RATE, betas=(0.5, 0.999), eps=1e-7)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=D_RATE, betas=(0.5, 0.999), eps=1e-7)
    images = torch.from_numpy(np.load(images)).permute(0, 3, 1, 2).float() / 255

    def judged(x):
        """Logits, and the squared norms of their gradients."""
        x = x.detach().requires_grad_()
        logits = discriminator(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return logits, gradient.square().sum((1, 2, 3))

    def d_loss(real, fake):
        if game == "relativistic + R1 + R2":
            (real_logits, at_real), (fake_logits, at_fake) = judged(real), judged(fake)
            penalty = options["r1"] * at_real.mean() + options["r2"] * at_fake.mean()
            return functional.softplus(fake_logits - real_logits).mean() + penalty / 2
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        if game == "DCGAN":
            return functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean()
        share = torch.rand(len(real), 1, 1, 1)
        norm = judged(share * real + (1 - share) * fake)[1].add(1e-12).sqrt()
        return fake_logits.mean() - real_logits.mean() + options["gradient_penalty"] * (norm - 1).square().mean()

    def g_loss(real, fake):
        fake_logits = discriminator(fake)
        if game == "relativistic + R1 + R2":
            return functional.softplus(discriminator(real) - fake_logits).mean()
        return functional.softplus(-fake_logits).mean() if game == "DCGAN" else -fake_logits.mean()

    def train(steps):
        start = time.perf_counter()
        order = torch.randperm(len(images))
        for i in range(steps):
            real = images[order[i * BATCH : (i + 1) * BATCH]]
            fake = generator(torch.randn(BATCH, LATENT))
            d_optimizer.zero_grad()
            d_loss(real, fake.detach()).backward()
            d_optimizer.step()
            if (i + 1) % options["n_critic"] == 0:
                g_optimizer.zero_grad()
                g_loss(real, fake).backward()
                g_optimizer.step()
        return time.perf_counter() - start

    return train


def _preset(game):
    from keras_genzoo import presets

    preset = presets.find("dcgan_mnist")
    model, optimizers = preset.model, preset.training.optimizers
    assert (model["latent_dim"], preset.training.batch_size) == (LATENT, BATCH)
    assert model["generator"] == {"name": "dcgan_generator", "filters": list(FILTERS), "kernel_size": 4}
    assert (model["discriminator"]["filters"], model["discriminator"]["kernel_size"]) == (list(FILTERS[::-1]), 4)
    assert (optimizers["g_optimizer"].learning_rate, optimizers["d_optimizer"].learning_rate) == (G_RATE, D_RATE)
    norm = "batch" if game == "DCGAN" else "none"
    changed = {**model, **GAMES[game], "discriminator": {**model["discriminator"], "norm": norm}}
    return preset.model_copy(update={"model": changed})


# === The race ===


def work(side, game, steps, images):
    """A side's process: in each turn it trains `steps` steps and answers with their seconds.

    A few untimed steps come first, for the caches do not hold a waiting process' data until its next turn.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command `keras-genzoo` has it, for both Keras sides
    train = {SIDES[0]: keras_genzoo_side, SIDES[1]: keras_io_side, SIDES[2]: pytorch_side}[side](game, images)

    def turn():
        train(min(steps, _WARM_UP))
        return train(steps)

    serve(turn)


def race(game, steps, rounds, torch_python, only):
    """Per side: the steps per second of every round, their median, and how many times as fast the first side is."""
    from keras_genzoo import data

    with tempfile.TemporaryDirectory() as folder:
        images = str(Path(folder, "images.npy"))
        np.save(images, data.arrays("mnist", "train")[0][: steps * BATCH])
        options = ["--game", game, "--steps", str(steps), "--images", images]
        pythons = {side: torch_python if side == "PyTorch" else sys.executable for side in only}
        workers = {side: Side(side, [pythons[side], __file__, "--work", side, *options]) for side in only}
        rates = {side: [] for side in only}
        for i in range(rounds + 1):
            for side, worker in workers.items():
                seconds = worker.turn()
                if i:  # the first round traces and compiles
                    rates[side].append(round(steps / seconds, 2))
                    print(f"{game}, round {i} of {rounds}: {side} {rates[side][-1]:.1f} steps/s", file=sys.stderr)
        for worker in workers.values():
            worker.close()
    first, rows = rates[only[0]], {}
    for side, values in rates.items():
        ratios = [a / b for a, b in zip(first, values, strict=True)]
        rows[side] = {
            "rounds": values,
            "median": median(values),
            "ratio": [median(first) / median(values), min(ratios), max(ratios)],
        }
    return rows


def main():
    from keras_genzoo import files

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--steps", type=int, default=50, help="steps of D in a round (default 50)")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE")
    parser.add_argument("--work", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--game", choices=GAMES, help=argparse.SUPPRESS)
    parser.add_argument("--images", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.work, arguments.game, arguments.steps, arguments.images)
    if arguments.steps % 5:
        parser.error("--steps must be a multiple of 5, WGAN-GP's steps of D for one of G")
    results = {"about": about(arguments.torch_python), "rounds": arguments.rounds, "games": {}}
    for game in GAMES:
        results["games"][game] = race(game, arguments.steps, arguments.rounds, arguments.torch_python, arguments.only)
    print(files.json_text(results["games"]))
    if arguments.json:
        files.write_json(arguments.json, results)


if __name__ == "__main__":
    main()
