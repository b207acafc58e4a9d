"""Seconds until a VAE of the same networks reaches an ELBO, from scratch: keras_genzoo, the keras.io recipe, Pythae.

Each side is a process of its own; they train in turn, an epoch each, and wait while another one trains. Networks, their
initialisation, data (dynamically binarised MNIST, drawn anew for every epoch), batch size, optimizer and the course of
the learning rate are those of zoo_configs/vae_mnist on every side; loops and input pipelines are each side's own. The
test ELBO after an epoch is not timed.

    pip install torch pythae            # in this environment, or in that of --torch-python
    python benchmarks/vae_race.py --epochs 80 --json benchmarks/results/vae_race.json
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from in_turn import Side, about, fit_seconds, serve

SIDES = ("keras_genzoo", "keras.io style", "pythae")
TARGETS = (90.0, 86.0)  # nats of the negative ELBO
BATCH, PEAK, LATENT, UNITS, FILTERS = 120, 2e-3, 40, 256, (32, 64)


# === The sides: functions that return `(train an epoch -> seconds, negative test ELBO)`, both functions ===


def keras_genzoo_side(folder, epochs):
    import numpy as np

    from keras_genzoo import data, presets, training

    preset = presets.find("vae_mnist")
    _check(preset)
    preset = preset.model_copy(
        update={
            # The others know no warm-up of the KL.
            "model": {**preset.model, "warmup_steps": 0},
            "training": preset.training.model_copy(update={"epochs": epochs}),
        }
    )
    model, _, steps = training.prepare(preset)
    test, n_epochs = np.load(folder / "test.npy"), 0

    def epoch():
        nonlocal n_epochs
        start = time.perf_counter()
        batches, _ = data.stream("mnist", binarize="dynamic", batch_size=BATCH, first_epoch=n_epochs)
        seconds_of_data = time.perf_counter() - start
        n_epochs += 1
        return seconds_of_data + fit_seconds(model, batches, steps_per_epoch=steps)

    return epoch, lambda: float(model.evaluate(test, batch_size=500, verbose=0, return_dict=True)["loss"])


def keras_io_side(folder, epochs):
    import keras
    import keras_io_style
    import numpy as np

    from keras_genzoo import presets

    preset = presets.find("vae_mnist")
    _check(preset)
    keras.utils.set_random_seed(0)
    grey = np.load(folder / "train.npy").astype("float32") / 255
    model, _ = keras_io_style.vae(preset, grey[:BATCH])
    steps = len(grey) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(PEAK, epochs * steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule))
    rng, test = np.random.default_rng(0), np.load(folder / "test.npy")

    def epoch():
        start = time.perf_counter()
        x = (rng.random(grey.shape, dtype="float32") < grey).astype("float32")
        seconds_of_data = time.perf_counter() - start
        return seconds_of_data + fit_seconds(model, x[: steps * BATCH], batch_size=BATCH)

    def loss():
        total = 0.0
        for start in range(0, len(test), 500):
            x = test[start : start + 500]
            mean, log_var, z = (np.asarray(v, "float64") for v in model.encoder(x))
            p = np.clip(np.asarray(model.decoder(z.astype("float32")), "float64"), 1e-7, 1 - 1e-7)
            total -= (x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
            total += 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum()
        return total / len(test)

    return epoch, loss


def pythae_side(folder, epochs):
    import logging

    import numpy as np
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn

    logging.disable(logging.INFO)
    torch.manual_seed(0)
    first, second = FILTERS

    class Gated(nn.Module):
        def __init__(self, features, units):
            super().__init__()
            self.dense = nn.Linear(features, 2 * units)

        def forward(self, x):
            value, gate = self.dense(x).chunk(2, dim=1)
            return value * torch.sigmoid(gate)

    class Encoder(BaseEncoder):
        def __init__(self):
            BaseEncoder.__init__(self)
            self.body = nn.Sequential(
                nn.Conv2d(1, first, 4, 2, 1), nn.ReLU(), nn.Conv2d(first, second, 4, 2, 1), nn.ReLU(),
                nn.Flatten(), Gated(49 * second, UNITS),
            )  # fmt: skip
            self.mean, self.log_var = nn.Linear(UNITS, LATENT), nn.Linear(UNITS, LATENT)

        def forward(self, x):
            h = self.body(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self):
            BaseDecoder.__init__(self)
            self.body = nn.Sequential(
                Gated(LATENT, UNITS), nn.Linear(UNITS, 49 * second), nn.ReLU(), nn.Unflatten(1, (second, 7, 7)),
                nn.ConvTranspose2d(second, first, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(first, 1, 4, 2, 1),
                nn.Sigmoid(),  # Pythae's "bce" takes probabilities
            )  # fmt: skip

        def forward(self, z):
            return ModelOutput(reconstruction=self.body(z))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(), decoder=Decoder())
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):  # as Keras begins
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    grey = torch.from_numpy(np.load(folder / "train.npy")).permute(0, 3, 1, 2).float() / 255
    test = torch.from_numpy(np.load(folder / "test.npy")).permute(0, 3, 1, 2).float()
    dataset = BaseDataset(torch.bernoulli(grey), torch.zeros(len(grey)))
    trainer = BaseTrainer(
        model=model,
        train_dataset=dataset,
        training_config=BaseTrainerConfig(
            output_dir=str(folder / "pythae"),
            num_epochs=epochs,
            learning_rate=PEAK,
            per_device_train_batch_size=BATCH,
            optimizer_cls="Adam",
            optimizer_params={"eps": 1e-7},  # Keras'
            scheduler_cls="CosineAnnealingLR",
            scheduler_params={"T_max": epochs},
            no_cuda=True,
        ),
    )
    trainer.prepare_training()
    n_epochs = 0

    def epoch():
        nonlocal n_epochs
        start = time.perf_counter()
        dataset.data = torch.bernoulli(grey)
        n_epochs += 1
        trainer.train_step(n_epochs)
        trainer.scheduler.step()
        return time.perf_counter() - start

    def loss():
        model.eval()
        with torch.no_grad():
            values = [float(model({"data": x}).loss) for x in test.split(500)]
        return sum(values) / len(values)

    return epoch, loss


def _check(preset):
    """This file spells the preset's networks out for PyTorch: they must be those of the preset."""
    config = preset.model
    options = {"units": [UNITS], "gated": True}
    assert config["latent_dim"] == LATENT
    assert config["encoder"] == {"name": "conv_encoder", "filters": list(FILTERS), **options}
    assert config["decoder"] == {"name": "conv_decoder", "filters": list(FILTERS[::-1]), **options}
    assert preset.training.batch_size == BATCH
    assert preset.training.optimizers["optimizer"].learning_rate == PEAK


# === The race ===


def work(side, folder, epochs):
    """A side's process: trains an epoch in each turn, and answers with its seconds and its test ELBO."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command `keras-genzoo` has it, for both Keras sides
    epoch, loss = {SIDES[0]: keras_genzoo_side, SIDES[1]: keras_io_side, SIDES[2]: pythae_side}[side](folder, epochs)

    def turn():
        loss()  # untimed: the caches do not hold a waiting process' data until its next turn
        return {"seconds": epoch(), "elbo": -loss()}

    serve(turn)


def race(epochs, torch_python, only):
    import numpy as np

    from keras_genzoo import data

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "train.npy"), data.arrays("mnist", "train")[0])
        test = data.binarize_fixed(data.arrays("mnist", "test")[0], seed=0)
        np.save(Path(folder, "test.npy"), data.to_unit(test))
        workers = {}
        for side in only:
            python = torch_python if side == "pythae" else sys.executable
            command = [python, __file__, "--work", side, "--folder", folder, "--epochs", str(epochs)]
            workers[side] = Side(side, command)
        rows = {side: [] for side in only}
        for i in range(epochs):
            for side, worker in workers.items():
                rows[side].append(worker.turn())
                last = rows[side][-1]
                print(f"epoch {i + 1}: {side} {last['seconds']:.1f} s, ELBO {last['elbo']:.2f}", file=sys.stderr)
        for worker in workers.values():
            worker.close()
    return rows


def summary(rows):
    """Per side: images per second, seconds of training until each target, and the last ELBO."""
    result = {}
    for side, epochs in rows.items():
        seconds = [row["seconds"] for row in epochs]
        reached = {}
        for target in TARGETS:
            first = next((i for i, row in enumerate(epochs) if row["elbo"] >= -target), None)
            reached[f"{target:g}"] = None if first is None else round(sum(seconds[: first + 1]), 1)
        result[side] = {
            # Of the first epoch a part is tracing and compiling; it counts in the seconds, not in the rate.
            "images_per_second": round(60_000 / median(seconds[1:] or seconds), 1),
            "seconds_to_elbo": reached,
            "last_elbo": round(epochs[-1]["elbo"], 2),
        }
    return result


def main():
    from keras_genzoo import files

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch and pythae")
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE")
    parser.add_argument("--work", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.work, arguments.folder, arguments.epochs)
    rows = race(arguments.epochs, arguments.torch_python, arguments.only)
    results = {
        "about": about(arguments.torch_python),
        "epochs": arguments.epochs,
        "sides": summary(rows),
        "rows": rows,
    }
    print(files.json_text(results["sides"]))
    if arguments.json:
        files.write_json(arguments.json, results)


if __name__ == "__main__":
    main()
