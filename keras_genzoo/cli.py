"""keras-genzoo: the zoo from the shell. Thin: every command is a call of the Python API.

argparse: the commands are few, it starts in no time and adds no dependency; rich draws the tables and the progress.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from keras_genzoo import __version__
from keras_genzoo.errors import ZooError

_KINDS = ("showcase", "reconstructions", "filters", "atoms", "latent", "manifold", "traversal", "curves")
_STUDIES = {  # as in studies.STUDIES, told before TensorFlow's seconds
    "estimate": "log p(x) from draws of the prior and of q(z|x)",
    "latent_space": "codes trained on reconstruction, on KL, on both",
    "interpolation": "lines between codes, and sums of them",
    "beta": "rate against distortion",
    "collapse": "posterior collapse, made and cured",
    "sensitivity": "every GAN game with every regularizer: which keep all modes (hours)",
    "seeds": "ring2d and grid2d from ten seeds: do all runs keep all modes?",
}
_DTYPES = ("float32", "mixed_float16", "mixed_bfloat16")


def main(argv=None):
    """Entry point: returns the exit status. Bad input: one line on stderr and 2."""
    # Before TensorFlow is imported, which by itself leaves oneDNN off on processors without AVX-512, where `train` is a
    # fifth to two thirds faster with it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments) or 0
        sys.stdout.flush()
    except ZooError as error:
        print(f"keras-genzoo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = (
            "; the same command goes on from the last checkpoint, if there is one"
            if arguments.command == "train"
            else ""
        )
        print(f"\nkeras-genzoo: stopped{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `keras-genzoo list | head` is no error
        return 0
    return status


class _Parser(argparse.ArgumentParser):
    """One line on bad usage, as on any bad input."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser():
    parser = _Parser(
        prog="keras-genzoo",
        description="Pretrained, measured generative models for Keras: list, look, train, measure, export.",
        epilog="NAME is a preset of the zoo (see `keras-genzoo list`) or the path of a preset folder: ./my_preset.",
    )
    parser.add_argument("--version", action="version", version=f"keras-genzoo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, name, text, *, preset=True, data=False, as_json=False):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)  # --data is not --data-dir
        sub.set_defaults(run=run)
        if preset:
            sub.add_argument("preset", metavar="NAME", help="a preset's name, or the path of a preset folder")
        if data:
            sub.add_argument("--data-dir", metavar="DIR", help="folder with data sets (default: $KERAS_GENZOO_DATA)")
        if as_json:
            sub.add_argument("--json", action="store_true", help="print JSON for programs instead of a table")
        return sub

    command(_list, "list", "The zoo's presets and their headline numbers.", preset=False, as_json=True)
    command(_info, "info", "What a preset is, how it was trained, and every number measured on it.", as_json=True)

    sub = command(_sample, "sample", "Draw images from a trained VAE or GAN and write them as one picture.", data=True)
    sub.add_argument("-n", type=int, default=64, help="how many images (default: 64)")
    sub.add_argument("--seed", type=int, default=0, help="the same images for the same seed (default: 0)")
    sub.add_argument("--label", type=int, help="of a conditional model: this class alone (default: all in turn)")
    sub.add_argument(
        "--mixture",
        type=int,
        metavar="K",
        help="not from the prior: from K Gaussians fitted to the codes of the training images (autoencoders, too)",
    )
    sub.add_argument("--out", metavar="FILE", help="PNG to write (default: NAME_samples.png)")

    sub = command(_plot, "plot", "A picture of a preset, over the test images of its data.", data=True)
    sub.add_argument(
        "--kind",
        choices=_KINDS,
        default="showcase",
        help="showcase: samples, then images above their reconstructions (default); reconstructions: eight rows of "
        "them; filters: the weights of the first layer; atoms: those of the last; latent: the codes coloured by class; "
        "manifold: the plane of a two-dimensional code, decoded; traversal: each number of a VAE's code from -3 to 3; "
        "curves: the losses of training",
    )
    sub.add_argument("--beside", metavar="NAME", help="with --kind latent: another preset, for a second panel")
    sub.add_argument("--out", metavar="FILE", help="PNG to write (default: NAME.png, or NAME_KIND.png)")

    sub = command(
        _train,
        "train",
        "Train a preset from scratch and save it as a preset folder. Interrupted, the same command "
        "goes on from its last checkpoint.",
        data=True,
    )
    sub.add_argument(
        "--data",
        metavar="DATA",
        help="in place of the preset's data: folder:PATH for your own images, or the name of a data set",
    )
    sub.add_argument("--data-a", metavar="DIR", help="of a face swap: the folder with the first person's faces")
    sub.add_argument("--data-b", metavar="DIR", help="of a face swap: the folder with the second person's")
    sub.add_argument("--out", metavar="DIR", help="folder to write (default: runs/NAME)")
    sub.add_argument("--epochs", type=int, help="in place of the preset's number")
    sub.add_argument("--dtype", choices=_DTYPES, help="precision policy (default: float32)")

    sub = command(_evaluate, "evaluate", "Measure a preset on test images by its protocol.", data=True, as_json=True)
    sub.add_argument("--n-images", type=int, help="use only the first test images (default: all)")
    sub.add_argument(
        "--n-importance-samples", type=int, help="draws per image of the likelihood (default: the preset's)"
    )
    sub.add_argument("--n-samples", type=int, help="generated images to judge (default: the preset's)")
    sub.add_argument(
        "--n-probe-images", type=int, help="training images for probes of the codes (default: the preset's)"
    )
    sub.add_argument("--write", action="store_true", help="store the numbers as the preset's metrics.json")

    sub = command(
        _study, "study", "An experiment of the lecture: one figure and its numbers.", preset=False, as_json=True
    )
    sub.add_argument(
        "study", metavar="STUDY", choices=_STUDIES, help="; ".join(f"{k}: {v}" for k, v in _STUDIES.items())
    )
    sub.add_argument("--out", metavar="DIR", default="studies", help="folder to write into (default: studies)")
    sub.add_argument("--epochs", type=int, help="of each training, in place of the study's number")
    sub.add_argument("--jobs", type=int, default=1, help="processes that train, of sensitivity and seeds (default: 1)")
    sub.add_argument("--seed", type=int, default=0, help="of networks, noise and draws (default: 0)")

    sub = command(
        _export, "export", "Export a preset for use without this package, and check it against Keras.", data=True
    )
    sub.add_argument("--out", metavar="DIR", default="exported", help="folder to write into (default: exported)")
    sub.add_argument("--format", choices=("saved_model", "litert"), default="saved_model", help="default: saved_model")
    sub.add_argument("--quantize", choices=("float16", "int8"), help="LiteRT only (default: float32)")

    _faces_parser(command(None, "faces", "Faces in real pictures and films: cut out, swap, check.", preset=False))
    return parser


def _faces_parser(parser):
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(run, name, text):
        sub = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub

    sub = action(_faces_extract, "extract", "Cut faces out of pictures, upright, ready to train a face swap with.")
    sub.add_argument("source", metavar="IN_DIR", help="folder of pictures of one person, at any depth")
    sub.add_argument("out", metavar="OUT_DIR", help="folder to write the faces into")
    sub.add_argument("--size", type=int, default=128, help="side of the squares in pixels (default: 128)")
    sub.add_argument("--every", action="store_true", help="every face of a picture (default: the largest)")

    sub = action(_faces_swap, "swap", "Swap the faces in a picture, a folder of pictures or a film. Ask who is in it.")
    sub.add_argument("preset", metavar="MODEL", help="a face swap's name, or the path of a preset folder")
    sub.add_argument("source", metavar="IN", help="picture, folder of pictures, or film")
    sub.add_argument("out", metavar="OUT", help="picture, folder or film to write")
    sub.add_argument("--to", choices=("a", "b"), default="b", help="whose looks the faces get (default: b)")
    sub.add_argument("--no-colour-match", action="store_true", help="keep the colours the model gave")
    sub.add_argument("--no-visible-mark", action="store_true", help='no "AI" in the corner; the metadata say it still')
    sub.add_argument("--certificate", metavar="PEM", help="sign a C2PA manifest, with --private-key (ES256)")
    sub.add_argument("--private-key", metavar="PEM", help="the key of --certificate")

    sub = action(_faces_check, "check", "Read back what files say of their making; status 1 if one says nothing.")
    sub.add_argument("files", metavar="FILE", nargs="+", help="picture or film")


def _list(arguments):
    from keras_genzoo import presets

    rows = presets.list_presets()
    if arguments.json:
        return print(json.dumps(rows, indent=1))
    _print_table(
        ["name", "family", "data", "parameters", "headline"],
        [
            [
                row["name"],
                row["family"],
                row["data"],
                f"{row['parameters']:,}" if row["parameters"] else "-",
                _headline(row),
            ]
            for row in rows
        ],
    )
    print(f"\nWithout weights, to train on data of your own: {', '.join(presets.recipes())}")


def _info(arguments):
    from keras_genzoo import presets

    preset = presets.find(arguments.preset)
    metrics = preset.record(presets.METRICS_FILE)
    if arguments.json:
        record = {
            "name": preset.name,
            "folder": str(preset.folder),
            **preset.model_dump(exclude_none=True),
            "weights": preset.record(presets.WEIGHTS_RECORD),
            "metrics": (metrics or {}).get("rows"),
        }
        return print(json.dumps(record, indent=1))
    print(f"{preset.name}: {preset.description}\n{preset.folder}\n\n{presets.dump(preset)}")
    if metrics is None:
        return print(f"Not measured yet: keras-genzoo evaluate {arguments.preset}")
    _print_metrics(metrics["rows"])


def _sample(arguments):
    from keras_genzoo import plots

    model = _load(arguments)
    if arguments.mixture is not None:
        from keras_genzoo import data, samplers, zoo
        from keras_genzoo.progress import working

        pixels = zoo.arrays(model, "train", data_dir=arguments.data_dir)[0]
        seen = data.as_seen(pixels, binarize=model.preset.data.binarize)
        with working("Fitting the mixture"):
            sampler = samplers.fit_mixture(model, seen, n_components=arguments.mixture, seed=arguments.seed)
        images = sampler.sample(arguments.n, seed=arguments.seed)
    elif not hasattr(model, "sample"):
        raise ZooError(
            f"{arguments.preset} is of the family {model.preset.family}, which has no prior to sample from; "
            "with codes, it takes --mixture"
        )
    else:
        labels = {} if arguments.label is None else {"labels": [arguments.label] * arguments.n}
        if labels and not model.n_classes:
            raise ZooError(f"--label goes with a conditional model. Received: {arguments.preset}")
        images = model.sample(arguments.n, seed=arguments.seed, **labels)
    print(plots.grid(images, arguments.out or f"{model.preset.name}_samples.png"))


def _plot(arguments):
    from keras_genzoo import plots, presets

    kind = arguments.kind
    preset = presets.find(arguments.preset)
    out = arguments.out or (f"{preset.name}.png" if kind == "showcase" else f"{preset.name}_{kind}.png")
    if arguments.beside and kind != "latent":
        raise ZooError(f"--beside goes with --kind latent. Received: --kind {kind}")
    if kind == "curves":
        history = preset.record(presets.HISTORY_FILE)
        if not history:
            raise ZooError(f"{preset.folder} has no {presets.HISTORY_FILE}; `keras-genzoo train` writes one")
        return print(plots.curves(history, out))
    model = _load(arguments)
    from keras_genzoo import data, zoo

    needs = {
        "showcase": ("sample", "reconstruct", "swap"),
        "reconstructions": ("reconstruct",),
        "filters": ("encoder", "discriminator"),
        "atoms": ("decoder", "generator"),
        "latent": ("codes",),
        "manifold": ("decode",),
        "traversal": ("likelihood",),
    }[kind]
    if not any(hasattr(model, name) for name in needs):
        raise ZooError(f"{arguments.preset} is of the family {preset.family}, which has nothing for --kind {kind}")
    if kind in ("filters", "atoms"):
        return print(getattr(plots, kind)(model, out))
    pixels, labels = zoo.arrays(model, "test", data_dir=arguments.data_dir)
    images = data.to_unit(pixels)

    def known(model):
        return labels if model.n_classes else None

    def codes_of(model):
        return model.codes(images) if known(model) is None else model.codes(images, labels)

    if kind == "latent":
        codes = [(preset.name, codes_of(model))]
        if arguments.beside:
            other = zoo.load(arguments.beside)
            if not hasattr(other, "codes") or other.preset.data.name != preset.data.name:
                raise ZooError(
                    f"--beside needs a preset with codes of {preset.data.name}. Received: {arguments.beside}"
                )
            codes.append((other.preset.name, codes_of(other)))
        print(plots.latent_map(codes, labels, out))
    elif kind in ("manifold", "traversal"):
        print(getattr(plots, kind)(model, images, out))
    elif kind == "reconstructions":
        print(plots.reconstructions(model, images, out, labels=known(model)))
    elif hasattr(model, "swap"):
        others = data.to_unit(zoo.arrays(model, "test", other=True, data_dir=arguments.data_dir)[0])
        print(plots.swaps(model, images, others, out))
    else:
        print(plots.showcase(model, images, out, labels=known(model)))


def _train(arguments):
    with _starting():
        from keras_genzoo import presets, training

        preset = presets.find(arguments.preset)
    out = arguments.out or Path("runs", preset.name)
    folders = (arguments.data_a, arguments.data_b)
    if any(folders) and (arguments.data or not all(folders)):
        raise ZooError("--data-a and --data-b go together, and without --data")
    training.train(
        preset,
        out,
        data=[f"folder:{folder}" for folder in folders] if all(folders) else arguments.data,
        data_dir=arguments.data_dir,
        dtype=arguments.dtype,
        epochs=arguments.epochs,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    print(out)


def _evaluate(arguments):
    model = _load(arguments)
    from keras_genzoo import evaluation

    rows = evaluation.evaluate(
        model,
        data_dir=arguments.data_dir,
        n_images=arguments.n_images,
        n_importance_samples=arguments.n_importance_samples,
        n_samples=arguments.n_samples,
        n_probe_images=arguments.n_probe_images,
    )
    if arguments.write:
        evaluation.write(model.preset, rows)
    if arguments.json:
        return print(json.dumps(rows, indent=1))
    _print_metrics(rows)


def _study(arguments):
    with _starting():
        from keras_genzoo import studies

    rows, path = studies.run(
        arguments.study, arguments.out, epochs=arguments.epochs, seed=arguments.seed, jobs=arguments.jobs
    )
    if arguments.json:
        return print(json.dumps(rows, indent=1))
    keys = list(dict.fromkeys(key for row in rows for key in row))
    _print_table(keys, [[str(row.get(key, "")) for key in keys] for row in rows])
    print(path)


def _export(arguments):
    model = _load(arguments)
    from keras_genzoo import exporting
    from keras_genzoo.progress import native_logs_hidden, working

    with native_logs_hidden(), working("Exporting and checking"):
        path = exporting.export(
            model, arguments.out, format=arguments.format, quantize=arguments.quantize, data_dir=arguments.data_dir
        )
    print(path)


def _faces_extract(arguments):
    with _starting():
        from keras_genzoo import faces

        detect = faces.detector()
    counts = faces.extract(arguments.source, arguments.out, size=arguments.size, every=arguments.every, detect=detect)
    _print_counts(counts)
    print(arguments.out)


def _faces_swap(arguments):
    credential = (arguments.certificate, arguments.private_key)
    if any(credential) and not all(credential):
        raise ZooError("--certificate and --private-key go together")
    model = _load(arguments)
    if not hasattr(model, "swap"):
        raise ZooError(f"{arguments.preset} is of the family {model.preset.family}, which swaps no faces")
    from keras_genzoo import faces

    with _starting():
        detect = faces.detector()
    counts = faces.swap(
        model,
        arguments.source,
        arguments.out,
        to=arguments.to,
        colour_match=not arguments.no_colour_match,
        visible=not arguments.no_visible_mark,
        credential=credential if all(credential) else None,
        detect=detect,
    )
    _print_counts(counts)
    print(arguments.out)


def _faces_check(arguments):
    from keras_genzoo import provenance

    unmarked = 0
    for file in arguments.files:
        said = provenance.read(file)
        unmarked += said["digital_source_type"] is None
        manifest = f"; C2PA manifest: {said['c2pa']}" if said["c2pa"] else ""
        print(f"{file}: {said['digital_source_type'] or 'says nothing of its making'}{manifest}")
    return 1 if unmarked else 0


def _print_counts(counts):
    """On stderr: what was done and what was passed over."""
    print(", ".join(f"{key}: {value}" for key, value in counts.items() if value or key == "written"), file=sys.stderr)


def _load(arguments):
    from keras_genzoo import presets

    name = arguments.preset
    presets.find(name)  # a wrong name is told at once, before TensorFlow's seconds
    with _starting():
        from keras_genzoo import zoo

        return zoo.load(name)


@contextlib.contextmanager
def _starting():
    from keras_genzoo.progress import native_logs_hidden, working

    with native_logs_hidden(), working("Loading TensorFlow"):
        yield


def _headline(row):
    from keras_genzoo.cards import label

    return (
        "not measured" if row["value"] is None else f"{label(row['metric'])} {row['value']:.4g} {row['unit']}".rstrip()
    )


def _print_metrics(rows):
    from keras_genzoo.cards import label

    _print_table(
        ["metric", "value", "unit", "n", "protocol"],
        [[label(row["metric"]), f"{row['value']:g}", row["unit"], f"{row['n']:,}", row["protocol"]] for row in rows],
    )


def _print_table(header, rows):
    import rich.box
    import rich.console
    import rich.markup
    import rich.table

    # Beyond a terminal nobody wraps for us: `keras-genzoo list | grep vae` gets whole lines.
    console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
    table = rich.table.Table(*header, box=rich.box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(rich.markup.escape, row))  # `[log p(x|z)]` is no markup
    with console.capture() as text:  # printed by us: rich ends the process with 1 when `| head` closes the pipe
        console.print(table)
    print(text.get(), end="")


if __name__ == "__main__":
    sys.exit(main())
