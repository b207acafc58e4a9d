"""Every preset as a file in every precision: bytes, errors, what is lost in the card's own headline, milliseconds.

    python benchmarks/exports.py [PRESET ...] [--choose] [--precisions float32 float16 int8 int4] [--write]

A file is exported, which runs it in LiteRT's Interpreter and CompiledModel and compares it with Keras. Then the
preset's headline is measured twice, on the same images, codes and noise: by Keras, and by the file in LiteRT's
Interpreter, one example at a time, as an app does. `--write` stores the rows as `exports.json` in the preset's folder,
from which cards and the table in benchmarks/README.md are made.

`--choose` looks for the schemes of int8 and int4 that cost least, and writes them into the preset's preset.yaml: the
first of the schemes in turn that costs at most 1 % of the headline; else the layers are taken out of the last one by
and by, those first that disturb the output most for their bytes. It measures on training images and codes of another
seed than the card's.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

PRECISIONS = ("float32", "float16", "int8", "int4")
N_IMAGES, N_DRAWS = 100, 200  # of a likelihood
LEVEL = 0.5  # of a denoiser's noise
ROUNDS = 100  # calls that are timed, in turn
ROOM = 2500  # bytes of a description
N_HELD = 5000  # training images that schemes are chosen by
N_PROBED = 10_000  # training images that a probe learns from while schemes are chosen
GOOD = 0.01  # loss of a headline that is good enough
MOST = {"int8": 0.3, "int4": 0.15}  # share of the float32 file's bytes
MOST_WITH_CONVOLUTIONS = 0.25  # of int4, whose transposed convolutions have 8 bits
SCHEMES = {"int8": ("dynamic_int8", "weight_only_int8"), "int4": ("dynamic_int4", "weight_only_int4")}


# === Headlines, from endpoints alone ===


def squared_error(run, model, data):
    images = data.images()
    found = run("reconstruct", images=images)["images"]
    return float(np.mean(np.sum((images - found).astype("float64") ** 2, axis=(1, 2, 3)))), len(images)


def denoised_psnr(run, model, data):
    import keras_genzoo as gz

    images = data.images()
    found = run("reconstruct", images=model.corrupt(images, level=LEVEL, seed=data.seed))["images"]
    return float(gz.metrics.psnr(images, found).mean()), len(images)


def linear_probe_error(run, model, data):
    import keras_genzoo as gz

    train, labels = data.images("train"), data.labels("train")
    codes = [run("encode", images=images)["z"] for images in (train, data.images())]
    error, _ = gz.metrics.linear_probe_error(*codes, train_labels=labels, test_labels=data.labels())
    return float(error), len(codes[1])


def accuracy(run, model, data):
    logits = run("classify", images=data.images())["logits"]
    return float(np.mean(logits.argmax(1) == data.labels())), len(logits)


def samples(run, model, n, seed):
    """Samples as `sample(n, seed)` draws them."""
    name = "generate" if "generate" in model.endpoints() else "decode"
    first = model.endpoints()[name].inputs[0].name
    noise = model.normal_noise(n, seed, model.endpoints()[name].inputs[0].shape[1])
    labels = {"labels": model.classes_in_turn(n).astype("int32")} if model.is_conditional else {}
    return run(name, **{first: noise}, **labels)["images"]


def frechet_distance(run, model, data):
    import keras_genzoo as gz

    n = model.preset.evaluation.n_samples
    judge = gz.judges.load(model.preset.data.name)
    real, fake = (judge.classify(images)["features"] for images in (data.images(), samples(run, model, n, data.seed)))
    return float(gz.metrics.frechet_distance(real, fake)), n


def class_accuracy(run, model, data):
    import keras_genzoo as gz

    n = model.preset.evaluation.n_samples
    seen = gz.judges.load(model.preset.data.name).classify(samples(run, model, n, data.seed))["logits"].argmax(1)
    return float(np.mean(seen == model.classes_in_turn(n))), n


def modes(run, model, data):
    """Of points the share of high quality beside the modes, which are whole numbers and seldom move."""
    import keras_genzoo as gz
    from keras_genzoo.data import made

    n = model.preset.evaluation.n_samples
    images = samples(run, model, n, data.seed)
    if model.preset.data.name in made.MIXTURES:
        mixture = made.MIXTURES[model.preset.data.name]
        scores = gz.metrics.mode_coverage(mixture.to_points(images), centres=mixture.centres, std=mixture.std)
        return float(scores["modes"]), n
    judge = gz.judges.load("mnist")
    digits = [judge.classify(images[..., colour : colour + 1])["logits"].argmax(1) for colour in range(3)]
    return float(len(np.unique(made.class_of_digits(*digits)))), n


def squared_error_of(run, faces, to):
    return np.mean((run(f"swap_to_{to}", images=faces)["images"] - faces) ** 2)


def swap_psnr(run, model, data):
    import keras_genzoo as gz
    from keras_genzoo.models.face_swap import landmarks, measures

    names = model.preset.data.name, model.preset.section.other
    if data.choosing:  # training images have no true swap: each person's own face
        errors = [squared_error_of(run, data.images(name=name)[:200], to) for name, to in zip(names, "ab", strict=True)]
        return -10 * np.log10(np.mean(errors)), 400
    faces = [gz.data.to_unit(gz.zoo.arrays(model, "test", name=name)[0]) for name in names]
    values = []
    for to, i in (("a", 0), ("b", 1)):
        points, _ = landmarks.of_data(names[i], "test", image_shape=model.image_shape)
        found = run(f"swap_to_{to}", images=faces[1 - i])["images"]
        region = measures.face_region(points, model.image_shape)
        values.append(gz.metrics.psnr(faces[i], found, weights=region).mean())
    return float(np.mean(values)), len(faces[0])


def nll(run, model, data):
    """The importance-weighted bound (Burda et al. 2016, eq. 8) by NumPy from `encode` or `posterior`, `decode` and
    `prior_log_prob`."""
    from keras import ops

    from keras_genzoo import distributions

    n_images, n_draws = (N_IMAGES // 2, N_DRAWS // 2) if data.choosing else (N_IMAGES, N_DRAWS)
    images = data.images()[:n_images]
    rng, bounds = np.random.default_rng(data.seed), []
    for image in images:
        noise = rng.standard_normal((n_draws, model.latent_dim), dtype="float32")
        if "posterior" in model.endpoints():
            drawn = run("posterior", images=np.repeat(image[None], n_draws, 0), noise=noise)
            z, log_q = drawn["z"], drawn["log_prob"].astype("float64")
        else:
            q = run("encode", images=image[None])
            mean, log_var = q["z_mean"].astype("float64"), q["z_log_var"].astype("float64")
            z = (mean + np.exp(log_var / 2) * noise).astype("float32")
            log_q = -0.5 * (np.log(2 * np.pi) + log_var + noise.astype("float64") ** 2).sum(1)
        told = run("decode", z=z)
        if "logits" in told:
            logits = told["logits"].astype("float64")
            log_likelihood = (image * logits - np.logaddexp(0, logits)).sum(axis=(1, 2, 3))
        else:
            x = ops.convert_to_tensor(np.repeat(image[None], n_draws, 0))
            log_likelihood = np.array(
                distributions.discretized_logistic_log_prob(
                    x, location=told["location"], log_scale=ops.log(ops.convert_to_tensor(told["scale"]))
                )
            )
        log_w = log_likelihood + run("prior_log_prob", z=z)["log_prob"] - log_q
        bounds.append(np.logaddexp.reduce(log_w) - np.log(n_draws))
    return -float(np.mean(bounds)), len(images)


HEADLINES = {
    "squared_error": squared_error,
    "denoised_psnr_0.5": denoised_psnr,
    "linear_probe_error": linear_probe_error,
    "accuracy": accuracy,
    "frechet_distance": frechet_distance,
    "class_accuracy": class_accuracy,
    "modes": modes,
    "swap_psnr": swap_psnr,
    "nll": nll,
}
LARGER_IS_BETTER = {"denoised_psnr_0.5", "accuracy", "class_accuracy", "modes", "swap_psnr"}


class Data:
    """The images, labels and codes that a preset is measured on: the card's, or others to choose by.

    Args:
        model: The preset's model.
        choosing: Whether to take the last training images and codes of another seed.
    """

    def __init__(self, model, *, choosing=False):
        self.model, self.choosing = model, choosing
        self.seed = 1 if choosing else 0

    def _arrays(self, split, name):
        import keras_genzoo as gz

        if not self.choosing:
            return gz.zoo.arrays(self.model, split, name=name)
        images, labels = gz.zoo.arrays(self.model, "train", name=name)
        rows = slice(N_PROBED) if split == "train" else slice(-N_HELD, None)
        return images[rows], None if labels is None else labels[rows]

    def images(self, split="test", name=None):
        import keras_genzoo as gz

        binarize = self.model.preset.data.binarize
        return gz.data.as_seen(self._arrays(split, name)[0], binarize=binarize, seed=self.seed)

    def labels(self, split="test"):
        return self._arrays(split, None)[1]


# === Sides ===


def by_keras(model):
    return lambda name, **tensors: model.run_endpoint(name, *tensors.values())


def by_file(path):
    """A function that runs an endpoint of a LiteRT file, one example at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    runners = {}

    def run(name, **tensors):
        runner = runners.setdefault(name, interpreter.get_signature_runner(name))
        rows = []
        for i in range(len(next(iter(tensors.values())))):
            found = runner(**{key: value[i : i + 1] for key, value in tensors.items()})
            rows.append({key: value.copy() for key, value in found.items()})
        return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}

    return run


def milliseconds(files, name, tensors):
    """Median milliseconds of one example of an endpoint: file -> runtime -> time, all sides taking turns."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.interpreter import Interpreter

    sides = {}
    for title, path in files.items():
        runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner(name)
        sides[title, "Interpreter"] = lambda runner=runner: runner(**tensors)
        compiled = CompiledModel.from_file(str(path))
        io, details = compiled.get_signature_list()[name], compiled.get_output_tensor_details(name)
        inputs = {key: compiled.create_input_buffer_by_name(name, key) for key in io["inputs"]}
        outputs = {key: compiled.create_output_buffer_by_name(name, key) for key in io["outputs"]}

        def call(compiled=compiled, inputs=inputs, outputs=outputs, details=details):
            for key, buffer in inputs.items():
                buffer.write(tensors[key].ravel())
            compiled.run_by_name(name, inputs, outputs)
            for key, buffer in outputs.items():  # the run itself is only begun: its end is that of the first reading
                buffer.read(int(np.prod(details[key]["shape"])), np.float32)

        sides[title, "CompiledModel"] = call
    seconds = {side: [] for side in sides}
    for function in sides.values():
        function()
    for _ in range(ROUNDS):
        for side, function in sides.items():
            start = time.perf_counter()
            function()
            seconds[side].append(time.perf_counter() - start)
    found = {}
    for (title, runtime), times in seconds.items():
        found.setdefault(title, {})[runtime] = round(1e3 * median(times), 4)
    return found


# === Choice ===


def loss_of(metric, keras_value, value):
    """The share of a headline that is lost; negative where it is better by chance."""
    return (value - keras_value) / abs(keras_value) * (-1 if metric in LARGER_IS_BETTER else 1)


class Chooser:
    """Schemes of a preset, tried on images that its card is not measured on."""

    def __init__(self, name, folder):
        import keras_genzoo as gz
        from keras_genzoo import exporting

        self.model, self.folder = gz.load(name), Path(folder)
        self.path = gz.export(self.model, folder, format="litert")
        self.floats = self.path.read_bytes()
        self.metric, self.data = self.model.preset.evaluation.metric, Data(self.model, choosing=True)
        self.keras, _ = HEADLINES[self.metric](by_keras(self.model), self.model, self.data)
        self.source = exporting.source.Source(self.model, self.model.preset, None)
        kernels = [w for e in self.model.endpoints().values() for w in e.weights if len(w.shape) > 1]
        self.sizes = {w.path.rpartition("/")[0]: int(np.prod(w.shape)) for w in kernels}
        self.has_convolutions = any(len(w.shape) > 2 for w in kernels)

    def file(self, scheme):
        from keras_genzoo.exporting import litert
        from keras_genzoo.presets import QuantizationConfig

        path = self.folder / "tried.tflite"
        path.write_bytes(litert.quantized(self.floats, QuantizationConfig(**scheme)))
        return path, path.stat().st_size / len(self.floats)

    def loss(self, scheme):
        path, share = self.file(scheme)
        value, _ = HEADLINES[self.metric](by_file(path), self.model, self.data)
        loss = loss_of(self.metric, self.keras, value)
        print(
            f"  {json.dumps(scheme)}: {share:.1%}, {self.metric} {self.keras:.5g} -> {value:.5g} ({loss:+.2%})",
            flush=True,
        )
        return loss, share

    def disturbance(self, scheme):
        """Root mean square error of the outputs on the examples, each as a share of its range."""
        run, errors = by_file(self.file(scheme)[0]), []
        for name, tensors in self.source.examples.items():
            found = run(name, **tensors)
            errors += [
                np.sqrt(np.mean((found[key] - value) ** 2)) / (np.ptp(value) or 1)
                for key, value in self.source.expected[name].items()
            ]
        return float(np.sqrt(np.mean(np.square(errors))))

    def choose(self, precision):
        most = MOST_WITH_CONVOLUTIONS if precision == "int4" and self.has_convolutions else MOST[precision]
        best = None
        for name in SCHEMES[precision]:
            scheme = {"scheme": name}
            loss, _ = self.loss(scheme)
            if best is None or loss < best[0] - GOOD / 10:
                best = loss, scheme
            if loss <= GOOD:
                return scheme
        out = {"int8": "float32", "int4": "int8"}[precision]
        whole, shares = self.disturbance(best[1]), {}
        for layer, size in self.sizes.items():
            relief = whole**2 - self.disturbance({**best[1], out: [layer]}) ** 2
            shares[layer] = relief / size
        taken, tried = [], 1
        for layer in sorted(shares, key=shares.get, reverse=True):
            if shares[layer] <= 0:
                break
            scheme = {**best[1], out: [*taken, layer]}
            if self.file(scheme)[1] > most - ROOM / len(self.floats):
                continue
            taken.append(layer)
            if len(taken) < tried:  # a headline takes its time: with 1, 2, 4, 8 layers
                continue
            tried *= 2
            loss, _ = self.loss(scheme)
            if loss < best[0]:
                best = loss, scheme
            if loss <= GOOD:
                break
        return best[1]


def write_choice(name, chosen):
    """Puts the section `export` into a preset.yaml, and leaves the rest of it as it is."""
    import yaml

    from keras_genzoo import files, presets

    path = presets.find(name).folder / presets.PRESET_FILE
    text = path.read_text(encoding="utf-8").partition("\nexport:\n")[0].rstrip() + "\n"
    lines = [
        f"  {precision}: {yaml.safe_dump(scheme, default_flow_style=True, sort_keys=False, width=1000).strip()}"
        for precision, scheme in chosen.items()
    ]
    files.write_text(path, text + "\n".join(["export:", *lines]) + "\n")


def measure(name, precisions, folder):
    """The rows of a preset, one for each precision."""
    import keras_genzoo as gz
    from keras_genzoo import exporting

    model = gz.load(name)
    metric, data = model.preset.evaluation.metric, Data(model)
    wanted = ["float32", *(one for one in precisions if one != "float32")]
    paths = exporting.export_all(model, folder, [("litert", None if p == "float32" else p) for p in wanted])
    files = dict(zip(wanted, paths, strict=True))
    keras_value, n = HEADLINES[metric](by_keras(model), model, data)
    main = json.loads(Path(f"{paths[0]}.export.json").read_text(encoding="utf-8"))["description"]["main"]
    inputs = model.endpoints()[main].inputs
    golden = np.load(model.preset.folder / gz.presets.GOLDEN_FILE)
    times = milliseconds(files, main, {one.name: golden[f"{main}/in/{one.name}"][:1] for one in inputs})
    rows = []
    for precision, path in files.items():
        report = json.loads(Path(f"{path}.export.json").read_text(encoding="utf-8"))
        value = HEADLINES[metric](by_file(path), model, data)[0]
        worst = {
            kind: max(row[f"{kind}_error"] / row["range"] for row in report["agreement"])
            for kind in ("max", "p999", "rms")
        }
        change = loss_of(metric, keras_value, value)
        rows.append(
            {
                "precision": precision,
                "scheme": report["scheme"],
                "bytes": report["bytes"],
                "share": round(report["bytes"] / paths[0].stat().st_size, 4),
                "runtimes": report["runtimes"],
                "metric": metric,
                "n": n,
                "keras": float(f"{keras_value:.6g}"),
                "value": float(f"{value:.6g}"),
                "loss": float(f"{change:.3g}"),
                **{f"{kind}_error": float(f"{error:.3g}") for kind, error in worst.items()},
                "endpoint": main,
                "milliseconds": times[precision],
            }
        )
        print(
            f"{name} {precision} {json.dumps(report['scheme'])}: {report['bytes'] / 1e6:.2f} MB "
            f"({rows[-1]['share']:.1%}), {metric} {keras_value:.5g} -> {value:.5g} ({change:+.2%}), 99.9th percentile "
            f"{worst['p999']:.3f}, {times[precision]}",
            flush=True,
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="default: all")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--choose", action="store_true", help="choose the schemes of int8 and int4 first")
    parser.add_argument("--write", action="store_true", help="store the rows in the preset's folder")
    arguments = parser.parse_args()

    from keras_genzoo import files, presets

    for name in arguments.presets or presets.names():
        if arguments.choose:
            with tempfile.TemporaryDirectory() as folder:
                chooser = Chooser(name, folder)
                write_choice(name, {precision: chooser.choose(precision) for precision in SCHEMES})
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(name, arguments.precisions, folder)
        if not arguments.write:
            continue
        preset = presets.find(name)
        content = {
            "preset": name,
            "weights_sha256": preset.record(presets.WEIGHTS_RECORD)["sha256"],
            "about": {
                "date": datetime.date.today().isoformat(),
                "cpus": os.cpu_count(),
                "rounds": ROUNDS,
                **{
                    one: importlib.metadata.version(one)
                    for one in ("ai-edge-litert", "ai-edge-quantizer", "tensorflow")
                },
            },
            "rows": rows,
        }
        files.write_json(preset.folder / presets.EXPORTS_FILE, content)


if __name__ == "__main__":
    main()
