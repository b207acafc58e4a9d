"""Tables generated from preset.yaml, weights.json, metrics.json and benchmark results: in cards and READMEs.

People write the prose; what stands between two markers is replaced: `python -m keras_genzoo.cards`. A test fails
when a table and its source drift apart.
"""

import json
import re
from pathlib import Path
from statistics import fmean

from keras_genzoo import presets
from keras_genzoo.errors import ZooError

_LABELS = {"pca": "PCA", "nll": "NLL", "elbo": "ELBO", "kl": "KL", "psnr": "PSNR", "ssim": "SSIM"}


def metrics_table(preset):
    """The card's tables in Markdown: what was measured, and the weights it was measured on."""
    metrics, weights = preset.record(presets.METRICS_FILE), preset.record(presets.WEIGHTS_RECORD)
    if metrics is None or weights is None:
        return "*Not measured yet.*"
    lines = ["| metric | value | n | split | seed | protocol |", "|---|---|---|---|---|---|"]
    for row in metrics["rows"]:
        value = f"**{row['value']:g}** {row['unit']}".rstrip()
        protocol = row["protocol"].replace("|", "\\|")  # or p(x|z) would end the cell
        lines.append(
            f"| {label(row['metric'])} | {value} | {row['n']:,} | {row['split']} | {row['seed']} | {protocol} |"
        )
    commit = metrics["rows"][0]["commit"]
    lines += ["", f"Measured by `keras-genzoo evaluate {preset.name}` at commit `{commit}`, on these weights:", ""]
    training = preset.training
    optimizers = "; ".join(
        f"{key} {config.name} {config.learning_rate:g}, {config.schedule}"
        for key, config in training.optimizers.items()
    )
    start = f"from the weights of `{training.start_from}`, " if training.start_from else ""
    unwarped = f", the last {training.unwarped_epochs} of them unwarped" if training.unwarped_epochs else ""
    lines += [
        "| parameters | file | SHA-256 | training |",
        "|---|---|---|---|",
        f"| {weights['parameters']:,} | {weights['bytes'] / 1e6:.1f} MB | `{weights['sha256'][:16]}...` | "
        f"{start}{training.epochs} epochs of batches of {training.batch_size} ({weights['train_steps']:,} steps)"
        f"{unwarped}, seed {training.seed}; {optimizers} |",
    ]
    return "\n".join(lines)


def presets_table():
    """The README's table of presets in Markdown."""
    lines = ["| preset | what it is | data | parameters | headline on the test images |", "|---|---|---|---|---|"]
    for row in presets.list_presets():
        value = (
            "not measured"
            if row["value"] is None
            else f"{label(row['metric'])} **{row['value']:.4g}** {row['unit']}".rstrip()
        )
        parameters = "-" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M"
        link = f"[`{row['name']}`](zoo_configs/{row['name']}/README.md)"
        lines.append(f"| {link} | {row['description']} | {row['data']} | {parameters} | {value} |")
    return "\n".join(lines)


def benchmark_table(results):
    """The README's table of speed in Markdown, from benchmarks/results/throughput.json."""
    about, seconds = results["about"], {key: row["median"] for key, row in results["import"].items()}
    lines = ["| what | keras_genzoo | compared with | ratio |", "|---|---|---|---|"]
    for name, rows in results["fit"].items():
        ours, peer = rows["keras_genzoo"], rows["keras.io style"]
        lines.append(
            f"| `fit` of {name}'s networks | {ours['median']:,.0f} images/s "
            f"| {peer['median']:,.0f} images/s, written as the keras.io example | **{peer['ratios'][0]:.2f}** |"
        )
    for name, row in results["sample"].items():
        lines.append(
            f"| warm `sample(64)` of {name} | {row['sample']:.2f} ms "
            f"| {row['tf.function']:.2f} ms, its bare `tf.function` (`predict`: {row['predict']:.0f}) "
            f"| **{row['ratio']:.2f}** |"
        )
    start, bare, load = (
        seconds[key] for key in ("import keras_genzoo", "import tensorflow, keras", "keras_genzoo.load('vae_mnist')")
    )
    lines += [
        f"| `import keras_genzoo` | {start:.3f} s | | |",
        f'| `load("vae_mnist")` | {load:.2f} s | {bare:.1f} s, `import tensorflow, keras` before it | |',
        "",
        f"{_circumstances(about)}; medians of {results['rounds']} interleaved rounds of `make benchmark`.",
    ]
    return "\n".join(lines)


def denoising_table(results):
    """Denoisers against classical filters in Markdown, from benchmarks/results/denoising.json: every cell."""
    about, rows = results["about"], results["rows"]
    titles = list(rows[0]["filters"])
    lines = [
        f"| data | sigma | noisy | denoiser | the filters get | {' | '.join(titles)} | over the best |",
        "|---|---|---|---|---|" + "---|" * len(titles) + "---|",
    ]
    for row in rows:
        for seen in ("files", "raw"):
            cells = [row["filters"][title][seen] for title in titles]
            gains = (row["denoiser"] - max(cell[how] for cell in cells) for how in ("plain", "curve"))
            lines.append(
                f"| {row['data']} | {row['sigma']:g} | {row['noisy']:.2f} | **{row['denoiser']:.2f}** | {seen} | "
                + " | ".join(f"{cell['plain']:.2f} / {cell['curve']:.2f}" for cell in cells)
                + f" | **{' / '.join(f'{gain:+.2f}' for gain in gains)}** |"
            )
    lines += [
        "",
        f"PSNR in dB, mean over {rows[0]['n']} test images; plain / with tone curve. {rows[0]['date']}, scikit-image "
        f"{about['scikit-image']}, bm3d {about['bm3d']}, TensorFlow {about['tensorflow']}.",
    ]
    return "\n".join(lines)


def mobile_table(results):
    """What a phone would run in Markdown, from a file that benchmarks/mobile.py wrote."""
    about, rows = results["about"], results["rows"]
    reference = rows[-1]["psnr"]
    lines = ["| run by | size | PSNR | lost against Keras | one image |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['side']} | {row['bytes'] / 1e6:.2f} MB | {row['psnr']:.2f} dB "
            f"| {max(reference - row['psnr'], 0):.3f} dB | **{row['ms']:.2f}** ms |"
        )
    lines += [
        "",
        f"{about['preset']} {about['what']}, {about['images']:,} test images; medians of {about['rounds']} "
        f"interleaved single images on {about['cpus']} CPU cores. {about['date']}, ai-edge-litert "
        f"{about['ai-edge-litert']}, TensorFlow {about['tensorflow']}.",
    ]
    return "\n".join(lines)


def gan_race_table(results):
    """GANs against their peers in Markdown, from a file that benchmarks/gan_race.py wrote."""
    sides = list(next(iter(results["games"].values())))
    lines = [f"| steps per second | {' | '.join(sides)} |", "|---|" + "---|" * len(sides)]
    for game, rows in results["games"].items():
        cells = [f"**{rows[sides[0]]['median']:.1f}**"]
        for side in sides[1:]:
            median, least, most = rows[side]["ratio"]
            cells.append(f"{rows[side]['median']:.1f} (x {median:.2f}; {least:.2f} to {most:.2f})")
        lines.append(f"| {game} | {' | '.join(cells)} |")
    lines += [
        "",
        f"x: how many times as fast as that side {sides[0]} is, of the medians; of the least and the greatest of "
        f"{results['rounds']} rounds. {_circumstances(results['about'])}, PyTorch {results['about']['torch']}.",
    ]
    return "\n".join(lines)


def vae_race_table(results):
    """VAEs against their peers in Markdown, from a file that benchmarks/vae_race.py wrote."""
    sides = results["sides"]
    targets = list(next(iter(sides.values()))["seconds_to_elbo"])
    lines = [
        "| side | images per second | "
        + " | ".join(f"seconds to {target} nats" for target in targets)
        + f" | test ELBO after {results['epochs']} epochs |",
        "|---|---|" + "---|" * len(targets) + "---|",
    ]
    for side, row in sides.items():
        reached = " | ".join(
            "not reached" if seconds is None else f"{seconds:,.0f}" for seconds in row["seconds_to_elbo"].values()
        )
        lines.append(f"| {side} | **{row['images_per_second']:,.0f}** | {reached} | {row['last_elbo']:.2f} |")
    lines += ["", f"{_circumstances(results['about'])}, PyTorch {results['about']['torch']}."]
    return "\n".join(lines)


def seeds_table(results, name=None):
    """Presets of points trained from several seeds in Markdown, from `study seeds`: all of them, or the one `name`."""
    rows = [row for row in results["rows"] if name in (None, row["data"])]
    lines = ["| preset | seeds | modes, the least | high quality | reverse KL |", "|---|---|---|---|---|"]
    for data in dict.fromkeys(row["data"] for row in rows):
        runs = [row for row in rows if row["data"] == data]
        quality, divergence = ([run[key] for run in runs] for key in ("high_quality", "reverse_kl"))
        lines.append(
            f"| `{data}` | {len(runs)} | **{min(run['modes'] for run in runs)}** "
            f"| **{fmean(quality):.1%}** ({min(quality):.1%} to {max(quality):.1%}) "
            f"| **{fmean(divergence):.4f}** ({min(divergence):.4f} to {max(divergence):.4f}) |"
        )
    return "\n".join([*lines, "", "Mean of the seeds; the least and the greatest. 2,500 samples of each."])


def _circumstances(about):
    """The date, the cores and the versions beside a result."""
    return f"{about['date']}, {about['cpus']} CPU cores, TensorFlow {about['tensorflow']}, Keras {about['keras']}"


def label(metric):
    """A metric's name as people write it: frechet_distance -> Frechet distance."""
    words = [_LABELS.get(word, word) for word in metric.split("_")]
    text = " ".join(words)
    return text[0].upper() + text[1:]


def updated(text, marker, table, *, origin):
    """`text` with the table between `<!-- marker -->` and `<!-- /marker -->`; a ZooError where they are missing."""
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ZooError(f"{origin} has no <!-- {marker} --> ... <!-- /{marker} --> to put the table in")
    return pattern.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


def documents(root):
    """Every generated document of a checkout: path -> text as it should be."""
    root = Path(root)
    expected, seeds = {}, _results(root, "seeds")
    for name in presets.names():
        preset = presets.find(name)
        card = preset.folder / presets.CARD_FILE
        text = updated(card.read_text(), "metrics", metrics_table(preset), origin=card)
        if any(row["data"] == name for row in seeds["rows"]):
            text = updated(text, "seeds", seeds_table(seeds, name), origin=card)
        expected[card] = text
    readme = root / "README.md"
    text = updated(readme.read_text(), "presets", presets_table(), origin=readme)
    text = updated(text, "seeds", seeds_table(seeds), origin=readme)
    expected[readme] = updated(text, "benchmark", benchmark_table(_results(root, "throughput")), origin=readme)
    benchmarks = root / "benchmarks/README.md"
    text = benchmarks.read_text()
    for name, table in (
        ("denoising", denoising_table),
        ("mobile", mobile_table),
        ("mobile_faceswap", mobile_table),
        ("gan_race", gan_race_table),
        ("vae_race", vae_race_table),
    ):
        text = updated(text, name, table(_results(root, name)), origin=benchmarks)
    expected[benchmarks] = text
    return expected


def _results(root, name):
    return json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text())


if __name__ == "__main__":
    for path, text in documents(presets.CONFIGS.parent).items():
        if path.read_text() != text:
            path.write_text(text)
            print("updated", path)
