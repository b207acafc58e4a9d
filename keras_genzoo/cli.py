"""The command `keras-genzoo`: the zoo from the shell. Every command is a call of the Python API.

argparse parses the few commands: it starts at once and is part of Python. rich draws the tables and the progress.
"""

import argparse
import codecs
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from keras_genzoo import __version__, choices, files, models, studies
from keras_genzoo.errors import MOST_LETTERS, ZooError, one_line, visible
from keras_genzoo.progress import starting
from keras_genzoo.registry import resolve
from keras_genzoo.typing import MOST_SEED

# Exit statuses.
_BAD_INPUT = 2
_INTERRUPTED = 130
_MOST_IMAGES = 10_000  # images in a picture of samples; more fit on no screen
_MOST_DRAWS = 1_000_000  # of a measure, as in preset.yaml
_MOST_EPOCHS = 1_000_000
_MOST_JOBS = 256
_WIDTH = 200  # columns of a table that no terminal shows: `keras-genzoo list | grep vae` gets whole lines


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Bad input is one line on stderr.

    Args:
        argv: Arguments of the command; None: those of the process.

    Returns:
        The exit status: 0, 2 for bad input, 130 for an interrupt, or the command's own.
    """
    # TensorFlow reads these when it is imported. It leaves oneDNN off on processors without AVX-512, where `train` is a
    # fifth to two thirds faster with it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _print_any_letter()
    arguments = _parser().parse_args(argv)
    try:
        if getattr(arguments, "trust", False):
            from keras_genzoo import presets

            for name in getattr(arguments, "presets", None) or [getattr(arguments, "preset", None)]:
                if name is not None:
                    presets.trust(name)
        with _plain_warnings():
            status = arguments.run(arguments) or 0
        sys.stdout.flush()
    except ZooError as error:
        return _bad_input(error)
    except KeyboardInterrupt:
        is_training = arguments.command == "train"
        hint = "; the same command goes on from the last checkpoint, if there is one" if is_training else ""
        print(f"\nkeras-genzoo: stopped{hint}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `keras-genzoo list | head` is no error
        return 0
    except (OSError, MemoryError) as error:  # the system's own answer to a path or a size
        return _bad_input(f"{type(error).__name__}: {error}")
    return status


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Context in which warnings to the user are shown without the place in this package that raised them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        as_usual = warnings.showwarning

        def show(message, category, *place):
            if category is UserWarning:
                print(visible(f"keras-genzoo: warning: {message}", keep="\n"), file=sys.stderr)
            else:
                as_usual(message, category, *place)

        warnings.showwarning = show
        yield


def _bad_input(message: object) -> int:
    """Prints an error as one line on stderr, and gives the exit status."""
    print(one_line(f"keras-genzoo: error: {message}", MOST_LETTERS), file=sys.stderr)
    return _BAD_INPUT


def _print_any_letter() -> None:
    """Lets stdout and stderr take what their locale has no code for: names of others are no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if codecs.lookup(stream.encoding).name in ("ascii", "utf-8"):
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # a path comes out as it is on disk
            else:
                stream.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as those of all bad input."""

    def error(self, message: str) -> NoReturn:
        line = one_line(f"{self.prog}: error: {message}", MOST_LETTERS - len(self.prog) - len(" (see  --help)"))
        self.exit(_BAD_INPUT, f"{line} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="keras-genzoo",
        description="Pretrained, measured generative models for Keras: list, look, train, measure, export.",
        epilog="NAME is a preset of the zoo (see `keras-genzoo list`), the path of a preset folder (./my_preset), or "
        "an address: hf://USER/NAME[@REVISION], https://HOST/NAME.zip.",
    )
    parser.add_argument("--version", action="version", version=f"keras-genzoo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        run: Callable | None,
        name: str,
        text: str,
        *,
        preset: bool = True,
        data: bool = False,
        as_json: bool = False,
    ) -> argparse.ArgumentParser:
        """Adds a subcommand, with the argument NAME and the options `--data-dir` and `--json` where they apply."""
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)  # `--data` would abbreviate it
        sub.set_defaults(run=run)
        if preset:
            sub.add_argument("preset", metavar="NAME", help="a preset's name, or the path of a preset folder")
        if data:
            sub.add_argument("--data-dir", metavar="DIR", help="folder with data sets (default: $KERAS_GENZOO_DATA)")
            if name != "train":  # which asks for the data
                sub.add_argument(
                    "--trust", action="store_true", help="let a preset from elsewhere fetch or read the data it names"
                )
        if as_json:
            sub.add_argument("--json", action="store_true", help="print JSON for programs instead of a table")
        return sub

    sub = command(_list, "list", "The zoo's presets and their headline numbers.", preset=False, as_json=True)
    sub.add_argument("--family", help="only presets of this family")
    sub.add_argument("--data", help="only presets trained on this data set")
    sub.add_argument("--metric", help="this metric in place of the headlines; only presets that it is measured on")
    sub.add_argument(
        "--sort",
        metavar="KEY",
        default="name",
        help="column to sort by: name, family, data, parameters, metric, value; or a metric (default: name)",
    )
    sub.add_argument("--reverse", action="store_true", help="the greatest first")

    command(_info, "info", "A preset's configuration, its training, and every number measured on it.", as_json=True)

    sub = command(
        _compare, "compare", "The numbers of presets side by side, metric by metric.", preset=False, as_json=True
    )
    sub.add_argument(
        "presets", metavar="NAME", nargs="+", help="names of presets, or paths of preset folders; two or more"
    )

    sub = command(_sample, "sample", "Draw images from a trained model and write them as one picture.", data=True)
    sub.add_argument("-n", type=int, default=64, help="number of images (default: 64)")
    sub.add_argument("--seed", type=int, default=0, help="the same images for the same seed (default: 0)")
    sub.add_argument("--label", type=int, help="class of all images, for a conditional model (default: all in turn)")
    sub.add_argument(
        "--mixture",
        type=int,
        metavar="K",
        help="draw codes from K Gaussians fitted to those of the training images, not from the prior; also for "
        "autoencoders",
    )
    sub.add_argument("--out", metavar="FILE", help="PNG to write (default: NAME_samples.png)")

    sub = command(_plot, "plot", "A picture of a preset, over the test images of its data.", data=True)
    sub.add_argument(
        "--kind",
        choices=choices.kinds(),
        default=choices.FIRST,
        help="showcase: samples, then images above their reconstructions (default); reconstructions: eight rows of "
        "them; filters: the weights of the first layer; atoms: those of the last; latent: the codes coloured by class; "
        "manifold: the plane of a two-dimensional code, decoded; traversal: each number of a code from -3 to 3; "
        "curves: the losses of training",
    )
    sub.add_argument("--beside", metavar="NAME", help="with --kind latent: another preset, for a second panel")
    sub.add_argument("--out", metavar="FILE", help="PNG to write (default: NAME.png, or NAME_KIND.png)")

    sub = command(
        _train,
        "train",
        "Train a preset from scratch and save it as a preset folder. After an interruption the same command goes on "
        "from the last checkpoint.",
        data=True,
    )
    sub.add_argument(
        "--data",
        metavar="DATA",
        help="data in place of the preset's: folder:PATH for your own images, or the name of a data set",
    )
    sub.add_argument("--data-a", metavar="DIR", help="first folder, for a preset that trains on two data sets")
    sub.add_argument("--data-b", metavar="DIR", help="second folder, for a preset that trains on two data sets")
    sub.add_argument("--out", metavar="DIR", help="folder to write (default: runs/NAME)")
    sub.add_argument("--epochs", type=int, help="number of epochs in place of the preset's")
    sub.add_argument("--seed", type=int, help="seed of weights, order and noise in place of the preset's")
    sub.add_argument("--batch-size", type=int, metavar="N", help="images per batch in place of the preset's")
    sub.add_argument("--learning-rate", type=float, metavar="RATE", help="of every optimizer, in place of the preset's")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another key of the preset and its value in YAML, such as model.beta=4; may be repeated",
    )
    sub.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share of the training images that is held out, such as 0.1, to measure the losses on after each epoch",
    )
    sub.add_argument("--tensorboard", metavar="DIR", help="folder for TensorBoard's logs")
    sub.add_argument(
        "--patience",
        type=int,
        default=5,
        metavar="N",
        help="stop after N epochs in which the model learns nothing at all; 0: never (default: 5)",
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace a preset folder at --out once the new one is done"
    )
    sub.add_argument("--dtype", choices=choices.DTYPES, help="precision policy (default: float32)")

    sub = command(_evaluate, "evaluate", "Measure a preset on test images by its protocol.", data=True, as_json=True)
    sub.add_argument("--data", metavar="DATA", help="data in place of the preset's: folder:PATH, or a data set's name")
    sub.add_argument(
        "--judge",
        metavar="JUDGE",
        help="network whose features judge samples: a .keras file, a SavedModel folder, a preset that "
        "classifies, inception, dinov2, or pixels (default: the zoo's for its data or for pictures in colour; of other "
        "data principal components of pixels)",
    )
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
        "study",
        metavar="STUDY",
        choices=studies.STUDIES,
        help="; ".join(f"{k}: {v.about}" for k, v in studies.STUDIES.items()),
    )
    sub.add_argument("--out", metavar="DIR", default="studies", help="folder to write into (default: studies)")
    sub.add_argument("--epochs", type=int, help="epochs of each training, in place of the study's number")
    sub.add_argument("--jobs", type=int, default=1, help="processes that train, for sensitivity and seeds (default: 1)")
    sub.add_argument("--seed", type=int, default=0, help="seed of networks, noise and draws (default: 0)")

    sub = command(
        _export, "export", "Export a preset for use without this package, and check it against Keras.", data=True
    )
    sub.add_argument("--out", metavar="DIR", default="exported", help="folder to write into (default: exported)")
    sub.add_argument(
        "--format", choices=choices.FORMATS, default=choices.FORMATS[0], help=f"default: {choices.FORMATS[0]}"
    )
    sub.add_argument("--data", metavar="DATA", help="data in place of the preset's, for the check")
    sub.add_argument("--name", help="name in the files' names (default: the preset's)")
    sub.add_argument(
        "--quantize",
        nargs="+",
        choices=[name for name in choices.QUANTIZATIONS if name],
        metavar="PRECISION",
        help="precision of a LiteRT file, or of one file each (default: float32): float16; int8 and int4, by the "
        f"preset's recipe; or a scheme: {', '.join(choices.SCHEMES)}",
    )
    sub.add_argument(
        "--batch-size",
        nargs="+",
        default=["auto"],
        metavar="N",
        help="examples that a LiteRT or ONNX file takes at once, or those of one file each; dynamic: any number, which "
        "LiteRT's CompiledModel and the browser do not run (default: 1 for LiteRT, else dynamic)",
    )

    sub = command(_push, "push", "Share a preset on the hub: its folder, under a card that the hub reads.")
    sub.add_argument("address", metavar="hf://USER/NAME", help="repository, made where it is not there yet")
    sub.add_argument("--private", action="store_true", help="make a new repository private")
    sub.add_argument("--message", help="message of the commit (default: the preset's description)")

    sub = command(
        _explore,
        "explore",
        "Try presets in the browser: draw, slide, click, roll again. Nothing leaves this machine.",
        preset=False,
        data=True,
    )
    sub.add_argument("presets", metavar="NAME", nargs="*", help="presets, a tab each (default: six of the zoo)")
    sub.add_argument(
        "--out", metavar="DIR", help="write the page into this folder, for any server of files; serve nothing"
    )
    sub.add_argument("--port", type=int, default=8000, help="port of the page on this machine; 0: any (default: 8000)")
    sub.add_argument(
        "--precision",
        choices=("int8", "float16", "float32"),
        default="int8",
        help="numbers of the models' files (default: int8)",
    )

    sub = command(
        _inspect,
        "inspect",
        "Say what an exported file is: its description, tensors and ops, and what a GPU refuses of it.",
        preset=False,
        as_json=True,
    )
    sub.add_argument("file", metavar="FILE", help="a .tflite or .onnx file, or the folder of an export")

    for _, record in models.records():
        if record.commands:
            resolve(record.commands)(command)
    return parser


# === Commands: functions of the parsed arguments ===


def _list(arguments: argparse.Namespace) -> None:
    from keras_genzoo import presets

    rows = presets.list_presets(
        family=arguments.family,
        data=arguments.data,
        metric=arguments.metric,
        sort=arguments.sort,
        reverse=arguments.reverse,
    )
    if arguments.json:
        return _print_json(rows)
    has_headlines = arguments.metric is None and arguments.sort in rows[0]  # else the numbers are all of one metric
    print_table(
        ["name", "family", "data", "parameters", "headline" if has_headlines else "metric"],
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
    if has_headlines and not (arguments.family or arguments.data):
        print(f"\nWithout weights, to train on data of your own: {', '.join(presets.recipes())}")


def _info(arguments: argparse.Namespace) -> None:
    from keras_genzoo import cards, presets

    preset = presets.find(arguments.preset)
    metrics = preset.record(presets.METRICS_FILE)
    with starting():
        from keras_genzoo import zoo

        networks, trouble = {}, None
        try:
            networks = zoo.costs(zoo.build(preset))
        except ZooError as error:  # the rest can be told all the same
            trouble = error
    if arguments.json:
        record = {
            "name": preset.name,
            "folder": str(preset.folder),
            **preset.content(),
            "networks": networks,
            "weights": preset.record(presets.WEIGHTS_RECORD),
            "metrics": (metrics or {}).get("rows"),
        }
        return _print_json(record)
    _say(f"{preset.name}: {one_line(preset.description)}\n{one_line(preset.folder)}\n\n{presets.dump(preset)}")
    for name, cost in networks.items():
        _say(f"{one_line(name)}: {cost['parameters']:,} parameters, {cost['flop'] / 1e6:,.3g} MFLOP an image")
    if trouble:
        _say(f"The model cannot be built: {one_line(trouble)}")
    for i, stage in enumerate(cards.training_in_words(preset)):
        _say(f"{'then' if i else 'Trained:'} {one_line(stage)}")
    if metrics is None or not metrics["rows"]:
        return _say(f"Not measured yet: keras-genzoo evaluate {one_line(arguments.preset)}")
    if metrics.get("weights_sha256") != (preset.record(presets.WEIGHTS_RECORD) or {}).get("sha256"):
        _say("These numbers were measured on other weights than those in the folder:")
    _print_metrics(metrics["rows"])


def _compare(arguments: argparse.Namespace) -> None:
    from keras_genzoo import comparison
    from keras_genzoo.cards import label

    rows = comparison.compare(*arguments.presets)
    if arguments.json:
        return _print_json(rows)
    print_table(
        ["metric", *arguments.presets],
        [
            [label(row["metric"]) + ("" if row["same_protocol"] else " *"), *map(_compared, row["presets"])]
            for row in rows
        ],
    )
    if not all(row["same_protocol"] for row in rows):
        print("* not of all, or not on the same data by the same protocol: --json has the protocols")


def _sample(arguments: argparse.Namespace) -> None:
    _check(arguments, n=_MOST_IMAGES, seed=MOST_SEED, label=MOST_SEED, mixture=_MOST_IMAGES)
    if arguments.mixture is not None and arguments.seed < 0:
        raise ZooError(f"--seed must be >= 0. Received: {arguments.seed}")
    files.try_to_write_file(arguments.out or f"{Path(arguments.preset).name}_samples.png")
    model = loaded(arguments.preset)
    from keras_genzoo import drawings

    path = drawings.samples(
        model,
        arguments.n,
        arguments.out,
        seed=arguments.seed,
        label=arguments.label,
        mixture=arguments.mixture,
        data_dir=arguments.data_dir,
    )
    _say(path)


def _plot(arguments: argparse.Namespace) -> None:
    from keras_genzoo import presets
    from keras_genzoo.progress import native_logs_hidden, working

    preset = presets.find(arguments.preset)
    beside = presets.find(arguments.beside) if arguments.beside else None
    suffix = "" if arguments.kind == choices.FIRST else f"_{arguments.kind}"
    files.try_to_write_file(arguments.out or f"{preset.name}{suffix}.png")
    with starting():
        from keras_genzoo import drawings
    with native_logs_hidden(), working("Drawing"):
        path = drawings.draw(preset, arguments.kind, arguments.out, data_dir=arguments.data_dir, beside=beside)
    print(path)


def _train(arguments: argparse.Namespace) -> None:
    from keras_genzoo import presets

    preset = presets.find(arguments.preset)
    updates = dict(_setting(text) for text in arguments.set)
    out = arguments.out or Path("runs", preset.name)
    with files.lock(Path(out).expanduser().resolve()):
        pass  # a run that cannot be is refused before the seconds of TensorFlow's import
    with starting():
        from keras_genzoo import training
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
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        updates=updates,
        validation=arguments.validation,
        callbacks=[training.tensorboard(arguments.tensorboard)] if arguments.tensorboard else [],
        patience=None if arguments.patience == 0 else arguments.patience,
        overwrite=arguments.overwrite,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    print(out)


def _setting(text: str) -> tuple[str, Any]:
    """`model.beta=4` -> ("model.beta", 4)."""
    from keras_genzoo import presets

    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ZooError(f"--set takes KEY=VALUE, such as model.beta=4. Received: {text!r}")
    return key.strip(), presets.value(value)


def _evaluate(arguments: argparse.Namespace) -> None:
    _check(arguments, n_importance_samples=_MOST_DRAWS, n_samples=_MOST_DRAWS, n_probe_images=_MOST_DRAWS)
    if arguments.write:
        from keras_genzoo import presets

        if arguments.data:
            raise ZooError("--write stores numbers of the preset's own data. Received: --data besides")
        files.try_to_write_file(presets.find(arguments.preset).folder / presets.METRICS_FILE)
    model = loaded(arguments.preset)
    from keras_genzoo import evaluation

    rows = evaluation.evaluate(
        model,
        data=arguments.data,
        judge=arguments.judge,
        data_dir=arguments.data_dir,
        n_images=arguments.n_images,
        n_importance_samples=arguments.n_importance_samples,
        n_samples=arguments.n_samples,
        n_probe_images=arguments.n_probe_images,
    )
    if arguments.write:
        evaluation.write(model.preset, rows)
    if arguments.json:
        return _print_json(rows)
    _print_metrics(rows)


def _study(arguments: argparse.Namespace) -> None:
    _check(arguments, epochs=_MOST_EPOCHS, seed=MOST_SEED, jobs=_MOST_JOBS)
    if arguments.seed < 0:
        raise ZooError(f"--seed must be >= 0. Received: {arguments.seed}")
    files.try_to_write_file(Path(arguments.out, f"{arguments.study}.png"))
    with starting():
        from keras_genzoo import studies

    rows, path = studies.run(
        arguments.study, arguments.out, epochs=arguments.epochs, seed=arguments.seed, jobs=arguments.jobs
    )
    if arguments.json:
        return _print_json(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    print_table(keys, [[str(row.get(key, "")) for key in keys] for row in rows])
    _say(path)


def _export(arguments: argparse.Namespace) -> None:
    files.try_to_write(Path(arguments.out, "exported"))
    model = loaded(arguments.preset)
    from keras_genzoo import exporting
    from keras_genzoo.progress import native_logs_hidden, working

    # More digits than a batch may have stay text, which is refused as such.
    batches = [
        int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text for text in arguments.batch_size
    ]
    with native_logs_hidden(), working("Exporting and checking"):
        paths = exporting.export_all(
            model,
            arguments.out,
            [(arguments.format, quantize, batch) for quantize in arguments.quantize or [None] for batch in batches],
            name=arguments.name,
            data=arguments.data,
            data_dir=arguments.data_dir,
        )
    for path in paths:
        _say(path)


def _push(arguments: argparse.Namespace) -> None:
    with starting():
        from keras_genzoo import hub
    _say(hub.push(arguments.preset, arguments.address, private=arguments.private, message=arguments.message))


def _explore(arguments: argparse.Namespace) -> None:
    import tempfile

    from keras_genzoo import explore
    from keras_genzoo.progress import native_logs_hidden, working

    names = arguments.presets or explore.DEFAULT
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder, "page")
        with contextlib.ExitStack() as stack:
            server = None if arguments.out else stack.enter_context(explore.server(folder, port=arguments.port))
            with native_logs_hidden(), working("Exporting for the browser"):
                explore.write(names, out, precision=arguments.precision, data_dir=arguments.data_dir)
            if server is None:
                return _say(out)
            print(f"http://127.0.0.1:{server.server_port}/page/ (Ctrl-C ends it)", flush=True)
            server.serve_forever()


def _inspect(arguments: argparse.Namespace) -> None:
    from keras_genzoo import inspecting

    found = inspecting.inspect(arguments.file)
    if arguments.json:
        return _print_json(found)
    for line in inspecting.in_words(found):
        _say(line)


# === What commands share ===


def loaded(name: str) -> Any:
    """The model of a preset; a wrong name is an error at once, before the seconds of TensorFlow's import.

    Args:
        name: Name of a preset, or path of a preset folder.

    Raises:
        ZooError: As `zoo.load`.
    """
    from keras_genzoo import presets

    if not name.endswith(".keras"):
        presets.find(name)
    with starting():
        from keras_genzoo import zoo

        return zoo.load(name)


def _check(arguments: argparse.Namespace, **most: int) -> None:
    """Refuses numbers that no memory would hold, before anything is loaded; their least is the API's to check."""
    for name, bound in most.items():
        value = getattr(arguments, name)
        if value is not None and value > bound:
            option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
            raise ZooError(f"{option} must be <= {bound:,}. Received: {value:,}")


def _say(text: object) -> None:
    """Prints text on stdout, control codes of strangers shown: the door of all that is no table and no JSON."""
    print(visible(text, keep="\n"))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on stdout.

    Args:
        header: Titles of the columns.
        rows: Cells of each row.
    """
    import rich.box
    import rich.console
    import rich.markup
    import rich.table

    console = rich.console.Console(width=None if sys.stdout.isatty() else _WIDTH)
    # `[log p(x|z)]` is no markup, and a stranger's control code no command to the terminal.
    table = rich.table.Table(*(rich.markup.escape(visible(title)) for title in header), box=rich.box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(rich.markup.escape(visible(cell)) for cell in row))
    # Captured and then printed: rich itself would end the process with 1 when `| head` closes the pipe.
    with console.capture() as text:
        console.print(table)
    print(text.get(), end="")


def _print_json(content: Any) -> None:
    from keras_genzoo import files

    print(files.json_text(content))


def _compared(cell: dict[str, Any]) -> str:
    """A number of a comparison, with its standard error where it is known."""
    if cell["value"] is None:
        return "-"
    error = "" if cell["standard_error"] is None else f" \u00b1 {cell['standard_error']:.2g}"
    return f"{cell['value']:g}{error} {cell['unit']}".rstrip()


def _headline(row: dict[str, Any]) -> str:
    """The headline number of a row of `list_presets`."""
    from keras_genzoo.cards import label

    if row["value"] is None:
        return "not measured"
    return f"{label(row['metric'])} {row['value']:.4g} {row['unit']}".rstrip()


def _print_metrics(rows: list[dict[str, Any]]) -> None:
    from keras_genzoo.cards import label

    print_table(
        ["metric", "value", "unit", "n", "protocol"],
        [
            [
                label(row["metric"]),
                "-" if row["value"] is None else f"{row['value']:g}",
                row["unit"],
                f"{row['n']:,}",
                row["protocol"],
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
