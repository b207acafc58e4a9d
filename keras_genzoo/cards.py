"""Tables of cards and READMEs, generated from preset.yaml, weights.json, metrics.json and benchmark results.

People write the prose. `python -m keras_genzoo.cards` replaces the text between two markers by the table of today's
files; a test fails when a table and its files differ.
"""

import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

from keras_genzoo import files, presets
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import Preset
from keras_genzoo.typing import PathLike, Spec

# Words of a metric's name that people write in capitals.
_LABELS = {"pca": "PCA", "nll": "NLL", "elbo": "ELBO", "kl": "KL", "psnr": "PSNR", "ssim": "SSIM"}
_RESULTS = Path("benchmarks", "results")  # folder of a checkout with the benchmarks' numbers
_PICTURES = 5000  # pictures in an epoch of the table of recipes


def metrics_table(preset: Preset) -> str:
    """A card's tables in Markdown: the measured numbers, and the weights that they belong to.

    Args:
        preset: A preset with a folder.

    Returns:
        Markdown; a line where nothing was measured yet.
    """
    metrics, weights = preset.record(presets.METRICS_FILE), preset.record(presets.WEIGHTS_RECORD)
    if metrics is None or weights is None:
        return "*Not measured yet.*"
    lines = ["| metric | value | n | split | seed | protocol |", "|---|---|---|---|---|---|"]
    for row in metrics["rows"]:
        value = f"**{row['value']:g}** {row['unit']}".rstrip()
        protocol = row["protocol"].replace("|", "\\|")  # the bar of p(x|z) would end the cell
        lines.append(
            f"| {label(row['metric'])} | {value} | {row['n']:,} | {row['split']} | {row['seed']} | {protocol} |"
        )
    commits = _all(metrics["rows"], "commit").replace(", ", "`, `")
    took = _took(metrics.get("seconds"), metrics.get("device"))
    lines += [
        "",
        f"Measured by `keras-genzoo evaluate {preset.name}` at commit `{commits}`{took}, on these weights:",
        "",
    ]
    lines += ["| parameters | file | SHA-256 | training |", "|---|---|---|---|"]
    cells = f"{weights['parameters']:,} | {weights['bytes'] / 1e6:.1f} MB | `{weights['sha256'][:16]}...`"
    for i, words in enumerate(training_in_words(preset)):
        lines.append(f"| {cells} | {words} |" if i == 0 else f"| | | | then {words} |")
    return "\n".join([*lines, *exports_lines(preset)])


def exports_lines(preset: Preset) -> list[str]:
    """The part of a card's tables about its LiteRT files, from exports.json: lines of Markdown, none without it.

    Args:
        preset: A preset with a folder.
    """
    record = preset.record(presets.EXPORTS_FILE)
    if record is None:
        return []
    rows = record["rows"]
    metric = label(rows[0]["metric"])
    lines = [
        "",
        f"| LiteRT file | numbers | size | {metric} | lost | 99.9 % of outputs are off by at most | one image |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['precision']} | {scheme_in_words(row['scheme'])} "
            f"| {row['bytes'] / 1e6:.2f} MB ({row['share']:.1%}) | {row['value']:.4g} | {lost_in_words(row['loss'])} "
            f"| {row['p999_error']:.1%} of the range | {row['milliseconds']['Interpreter']:.2g} ms |"
        )
    about = record["about"]
    lines += [
        "",
        f"{metric} of {rows[0]['n']:,} test images or samples, by Keras {rows[0]['keras']:.4g}, by each file in "
        f"LiteRT's Interpreter; `{rows[0]['endpoint']}` of one image, one thread, median of {about['rounds']} calls in "
        f"turn. {about['date']}, {about['cpus']} CPU cores, ai-edge-litert {about['ai-edge-litert']}.",
    ]
    return lines


def exports_table() -> str:
    """What the precisions of a LiteRT file cost, a row for each preset, in Markdown, from the presets' exports.json."""
    records = {name: presets.find(name).record(presets.EXPORTS_FILE) for name in presets.names()}
    precisions = list(
        dict.fromkeys(row["precision"] for record in records.values() if record for row in record["rows"])
    )
    lines = [f"| preset | headline here, by Keras | {' | '.join(precisions)} |", "|---|---|" + "---|" * len(precisions)]
    for name, record in records.items():
        if record is None:
            continue
        rows = {row["precision"]: row for row in record["rows"]}
        first = record["rows"][0]
        cells = [
            f"{rows[key]['bytes'] / 1e6:.2f} MB, {rows[key]['share']:.0%}: {lost_in_words(rows[key]['loss'])}"
            if key in rows
            else "-"
            for key in precisions
        ]
        headline = f"{label(first['metric'])} {first['keras']:.4g} (n = {first['n']:,})"
        lines.append(f"| `{name}` | {headline} | {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            "Size, share of the float32 file, and the share of the headline that is lost; by `benchmarks/exports.py`.",
        ]
    )


def runtimes_table(results: dict[str, Any]) -> str:
    """Every preset in every runtime in Markdown, from benchmarks/results/runtimes.json."""
    rows, about = results["rows"], results["about"]
    sides = [(precision, runtime) for precision in ("float32", "int8") for runtime in rows[0][precision]]
    titles = [f"{runtime}{'' if precision == 'float32' else ', int8'}" for precision, runtime in sides]
    lines = [f"| preset | endpoints | largest error | {' | '.join(titles)} |", "|---|---|---|" + "---|" * len(sides)]
    for row in rows:
        error = max(cell["error"] for cell in row["float32"].values())
        cells = [f"{row[precision][runtime]['ms']:.2g} ms" for precision, runtime in sides]
        lines.append(f"| `{row['preset']}` | {row['endpoints']} | {error:.0e} | {' | '.join(cells)} |")
    lines += [
        "",
        "Largest error: of all endpoints in all runtimes in float32, each twice in a row, as a share of the output's "
        f"range. Time: one image through the main endpoint, one thread; medians of {about['rounds']} x "
        f"{about['calls']} calls that the runtimes took in turn. WebAssembly: LiteRT.js {about['LiteRT.js']} in "
        f"{about['browser']}, whose clock ticks every 0.1 ms. {about['date']}, {about['cpus']} CPU cores, "
        f"ai-edge-litert {about['ai-edge-litert']}, onnxruntime {about['onnxruntime']}, TensorFlow "
        f"{about['tensorflow']}.",
    ]
    return "\n".join(lines)


def scheme_in_words(scheme: dict[str, Any] | None) -> str:
    """A scheme of preset.yaml in words, such as "dynamic int8, but `conv_0` in float32"."""
    if scheme is None or scheme["scheme"] == "float16":
        return "floats"
    words = scheme["scheme"].replace("_", " ").replace("weight only", "weight-only")
    for key in ("int8", "float32"):
        if scheme.get(key):
            words += f", but {', '.join(f'`{layer}`' for layer in scheme[key])} in {key}"
    return words


def lost_in_words(loss: float) -> str:
    """The share of a headline that is lost, in percent; what is better by chance is no loss."""
    return "nothing" if loss < 5e-5 else f"{loss:.1%}" if loss >= 0.001 else f"{loss:.2%}"


def training_in_words(preset: Preset) -> list[str]:
    """The training that made a preset's weights, a line per stage, from the records of what ran.

    preset.yaml is not asked: it says how `train` would make the weights, and may have changed since.

    Args:
        preset: A preset with a folder.

    Returns:
        Lines such as "25 epochs of batches of 64 (23,425 steps), seed 0; optimizer adam 0.001, cosine"; the last one
        has the duration where it is known. `[]` without weights.
    """
    weights = preset.record(presets.WEIGHTS_RECORD)
    if weights is None:
        return []
    came_from = weights.get("origin") or {}
    stages = came_from.get("stages")
    lines = [_stage_in_words(stage) for stage in stages or ()]
    if not lines:  # such weights are trained on by hand
        epochs = len(preset.record(presets.HISTORY_FILE) or ())
        lines = [
            f"{epochs} epochs ({weights['train_steps']:,} steps)" if epochs else f"{weights['train_steps']:,} steps"
        ]
    lines[-1] += _took(came_from.get("seconds"), came_from.get("device"))
    if came_from.get("history"):
        lines[-1] += f"; its history.json is {came_from['history']}"
    return lines


def _stage_in_words(stage: dict[str, Any]) -> str:
    start = f"from the weights of `{stage['start_from']}`, " if stage.get("start_from") else ""
    words = f"{start}{stage['epochs']} epochs of batches of {stage['batch_size']} ({stage['steps']:,} steps)"
    words += "".join(f", {remark}" for remark in stage.get("remarks", ()))
    words += f", seed {stage['seed']}" if "seed" in stage else ""
    for key, config in stage["optimizers"].items():
        words += f"; {key} {config['name']} {config['learning_rate']:g}"
        words += f", {_name(config['schedule'])}" if "schedule" in config else ""
    return words


def _took(seconds: float | None, device: str | None) -> str:
    """The words of a duration, as in ", in 2 h 5 min on DEVICE"; none where it is not known."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    duration = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    if minutes < 2:
        duration = f"{seconds:.0f} s"
    return f", in {duration}" + (f" on {device}" if device else "")


def presets_table() -> str:
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


def benchmark_table(results: dict[str, Any]) -> str:
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


def denoising_table(results: dict[str, Any]) -> str:
    """Denoisers against classical filters in Markdown, from benchmarks/results/denoising.json."""
    about, rows = results["about"], results["rows"]
    titles = list(rows[0]["filters"])
    lines = [
        f"| data | sigma | noisy | denoiser | the filters get | {' | '.join(titles)} | over the best |",
        "|---|---|---|---|---|" + "---|" * len(titles) + "---|",
    ]
    for row in rows:
        for inputs in ("files", "raw"):
            cells = [row["filters"][title][inputs] for title in titles]
            gains = (row["denoiser"] - max(cell[outputs] for cell in cells) for outputs in ("plain", "curve"))
            lines.append(
                f"| {row['data']} | {row['sigma']:g} | {row['noisy']:.2f} | **{row['denoiser']:.2f}** | {inputs} | "
                + " | ".join(f"{cell['plain']:.2f} / {cell['curve']:.2f}" for cell in cells)
                + f" | **{' / '.join(f'{gain:+.2f}' for gain in gains)}** |"
            )
    lines += [
        "",
        f"PSNR in dB, mean over {_all(rows, 'n')} test images; plain / with tone curve. {_all(rows, 'date')}, "
        f"scikit-image {about['scikit-image']}, bm3d {about['bm3d']}, TensorFlow {about['tensorflow']}.",
    ]
    return "\n".join(lines)


def mobile_table(results: dict[str, Any]) -> str:
    """A preset's exports in a phone's runtime in Markdown, from a file of benchmarks/mobile.py."""
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


def recipes_table(results: dict[str, Any]) -> str:
    """What the recipes for a folder of pictures cost in Markdown, from a file of benchmarks/recipes.py."""
    rows = results["rows"]
    lines = [
        f"| recipe | parameters | on | pictures per second | epoch of {_PICTURES:,} pictures | memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        minutes = _PICTURES / row["images_per_second"] / 60
        memory = f"{row['gigabytes']:.1f} GB"
        if row["gpu_gigabytes"] is not None:
            memory += f", GPU {row['gpu_gigabytes']:.1f} GB"
        lines.append(
            f"| `{row['recipe']}` | {row['parameters'] / 1e6:.1f} M | {row['device']} "
            f"| {row['images_per_second']:,.0f} | **{minutes:.1f} min** | {memory} |"
        )
    lines += [
        "",
        f"On {results['pictures']:,} JPEGs of 256 x 256, with the augmentations for so few. {_all(rows, 'date')}, "
        f"TensorFlow {_all(rows, 'tensorflow')}.",
    ]
    return "\n".join(lines)


def gan_race_table(results: dict[str, Any]) -> str:
    """GANs against their peers in Markdown, from a file of benchmarks/gan_race.py."""
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


def vae_race_table(results: dict[str, Any]) -> str:
    """VAEs against their peers in Markdown, from a file of benchmarks/vae_race.py."""
    sides = results["sides"]
    targets = list(next(iter(sides.values()))["seconds_to_elbo"])
    lines = [
        "| side | images per second | "
        + " | ".join(f"seconds to {target} nats" for target in targets)
        + f" | test ELBO after {results['epochs']} epochs |",
        "|---|---|" + "---|" * len(targets) + "---|",
    ]
    for side, row in sides.items():
        times = " | ".join(
            "not reached" if seconds is None else f"{seconds:,.0f}" for seconds in row["seconds_to_elbo"].values()
        )
        lines.append(f"| {side} | **{row['images_per_second']:,.0f}** | {times} | {row['last_elbo']:.2f} |")
    lines += ["", f"{_circumstances(results['about'])}, PyTorch {results['about']['torch']}."]
    return "\n".join(lines)


def seeds_table(results: dict[str, Any], name: str | None = None) -> str:
    """Presets of points trained from several seeds in Markdown, from `study seeds`.

    Args:
        results: Content of benchmarks/results/seeds.json.
        name: Name of the only preset in the table; None: all.

    Returns:
        Markdown.
    """
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
    counts = dict.fromkeys(f"{row['n_samples']:,}" for row in rows if "n_samples" in row)
    samples = f" {', '.join(counts)} samples of each." if counts else ""
    return "\n".join([*lines, "", f"Mean of the seeds; the least and the greatest.{samples}"])


def _all(rows: list[dict[str, Any]], key: str) -> str:
    """The values of a key in all rows, which may be of several runs, each once."""
    return ", ".join(dict.fromkeys(str(row[key]) for row in rows))


def campaign_table(results: dict[str, Any]) -> str:
    """The verdicts on what strangers, users and machines do to the zoo in Markdown, from `python -m tests.campaign`."""
    lines = ["| cases | number | done | refused in one line | went on to the same end | anything else |"]
    lines.append("|---|---|---|---|---|---|")
    for row in results["rows"]:
        verdicts = dict(row["verdicts"])
        good = [verdicts.pop(verdict, 0) for verdict in ("done", "refused", "same")]
        others = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "**0**"
        lines.append(f"| {row['kind']} | {row['n']:,} | {' | '.join(f'{count:,}' for count in good)} | {others} |")
    about = results["about"]
    return "\n".join([*lines, "", f"{about['date']}, seed {about['seed']}, {about['cpus']} CPU cores."])


def _name(spec: Spec) -> str:
    """The name in a spec."""
    return spec if isinstance(spec, str) else spec["name"]


def _circumstances(about: dict[str, Any]) -> str:
    """The date, the cores and the versions beside a result."""
    return f"{about['date']}, {about['cpus']} CPU cores, TensorFlow {about['tensorflow']}, Keras {about['keras']}"


def label(metric: str) -> str:
    """A metric's name as people write it, such as "Frechet distance" for "frechet_distance"."""
    text = " ".join(_LABELS.get(word, word) for word in metric.split("_"))
    return text[0].upper() + text[1:]


def updated(text: str, marker: str, table: str, *, origin: PathLike) -> str:
    """A document with another table between `<!-- marker -->` and `<!-- /marker -->`.

    Args:
        text: Markdown of the document.
        marker: Name of the markers.
        table: Markdown of the table.
        origin: File of the document, for the error.

    Returns:
        The document's new text.

    Raises:
        ZooError: The document has no such markers.
    """
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ZooError(f"{origin} has no <!-- {marker} --> ... <!-- /{marker} --> to put the table in")
    return pattern.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


def documents(root: PathLike) -> dict[Path, str]:
    """The documents of a checkout with today's tables.

    Args:
        root: Folder of the checkout.

    Returns:
        Text by path.

    Raises:
        ZooError: A document lacks the markers of a table.
    """
    root = Path(root)
    texts, seeds = {}, _results(root, "seeds")
    for name in presets.names():
        preset = presets.find(name)
        card = preset.folder / presets.CARD_FILE
        text = updated(card.read_text(encoding="utf-8"), "metrics", metrics_table(preset), origin=card)
        if any(row["data"] == name for row in seeds["rows"]):
            text = updated(text, "seeds", seeds_table(seeds, name), origin=card)
        texts[card] = text
    readme = root / "README.md"
    text = updated(readme.read_text(encoding="utf-8"), "presets", presets_table(), origin=readme)
    text = updated(text, "seeds", seeds_table(seeds), origin=readme)
    text = updated(text, "campaign", campaign_table(_results(root, "campaign")), origin=readme)
    text = updated(text, "recipes", recipes_table(_results(root, "recipes")), origin=readme)
    texts[readme] = updated(text, "benchmark", benchmark_table(_results(root, "throughput")), origin=readme)
    benchmarks = root / "benchmarks/README.md"
    text = benchmarks.read_text(encoding="utf-8")
    for name, table in (
        ("denoising", denoising_table),
        ("mobile", mobile_table),
        ("mobile_faceswap", mobile_table),
        ("gan_race", gan_race_table),
        ("vae_race", vae_race_table),
    ):
        text = updated(text, name, table(_results(root, name)), origin=benchmarks)
    apps = root / "docs" / "apps.md"
    texts[benchmarks], texts[apps] = text, apps.read_text(encoding="utf-8")
    for path in (benchmarks, apps):
        texts[path] = updated(texts[path], "exports", exports_table(), origin=path)
        texts[path] = updated(texts[path], "runtimes", runtimes_table(_results(root, "runtimes")), origin=path)
    return texts


def _results(root: Path, name: str) -> Any:
    return json.loads((root / _RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def main() -> None:
    """Brings the documents of this checkout up to date, and prints the paths of those that change.

    Raises:
        ZooError: The package is not installed from a checkout.
    """
    if presets.CONFIGS is None:
        raise ZooError("The cards are files of a checkout, and this package is in none")
    for path, text in documents(presets.CONFIGS.parent).items():
        if path.read_text(encoding="utf-8") != text:
            files.write_text(path, text)
            print("updated", path)


if __name__ == "__main__":
    main()
