"""The command `keras-genzoo faces`: extract, swap, check."""

import sys
from collections.abc import Callable
from typing import Any

from keras_genzoo.errors import ZooError
from keras_genzoo.progress import starting


def add(command: Callable[..., Any]) -> None:
    """Adds the command `faces` and its actions to the command line.

    Args:
        command: Function of the command line that adds a command, `(run, name, text, *, preset) -> parser`.
    """
    parser = command(None, "faces", "Faces in real pictures and films: cut out, swap, check.", preset=False)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(run, name, text):
        sub = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub

    text = "Cut faces out of pictures and films, upright, ready to train a face swap with."
    sub = action(_faces_extract, "extract", text)
    sub.add_argument("source", metavar="IN", help="folder of pictures and films of one person, or one file")
    sub.add_argument("out", metavar="OUT_DIR", help="folder to write the faces into")
    sub.add_argument("--size", type=int, default=128, help="side of the squares in pixels (default: 128)")
    sub.add_argument("--every", action="store_true", help="every face of a picture (default: the largest)")
    sub.add_argument(
        "--every-frame", type=int, default=10, metavar="N", help="look at every N-th frame of a film (default: 10)"
    )

    sub = action(_faces_swap, "swap", "Swap the faces in a picture, a film or a folder of these. Ask who is in it.")
    sub.add_argument("preset", metavar="MODEL", help="a face swap's name, or the path of a preset folder")
    sub.add_argument("source", metavar="IN", help="picture, film, or folder of these")
    sub.add_argument("out", metavar="OUT", help="picture, film or folder to write, outside IN")
    sub.add_argument("--to", choices=("a", "b"), default="b", help="person whose looks the faces get (default: b)")
    sub.add_argument("--no-colour-match", action="store_true", help="keep the model's colours")
    sub.add_argument("--no-visible-mark", action="store_true", help='no "AI" in the corner; the metadata still say it')
    sub.add_argument("--certificate", metavar="PEM", help="sign a C2PA manifest, with --private-key (ES256)")
    sub.add_argument("--private-key", metavar="PEM", help="the key of --certificate")

    sub = action(_faces_check, "check", "Read the provenance of files; status 1 if one has none.")
    sub.add_argument("files", metavar="FILE", nargs="+", help="picture or film")


def _faces_extract(arguments):
    with starting():
        from keras_genzoo import faces

        detect = faces.detector()
    counts = faces.extract(
        arguments.source,
        arguments.out,
        size=arguments.size,
        every=arguments.every,
        every_frame=arguments.every_frame,
        detect=detect,
    )
    _print_counts(counts)
    print(arguments.out)


def _faces_swap(arguments):
    credential = (arguments.certificate, arguments.private_key)
    if any(credential) and not all(credential):
        raise ZooError("--certificate and --private-key go together")
    from keras_genzoo.cli import loaded

    model = loaded(arguments.preset)
    if not model.can("swap"):
        raise ZooError(f"{arguments.preset} is of the family {model.preset.family}, which swaps no faces")
    from keras_genzoo import faces

    with starting():
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
        statement = provenance.read(file)
        unmarked += statement["digital_source_type"] is None
        manifest = f"; C2PA manifest: {statement['c2pa']}" if statement["c2pa"] else ""
        print(f"{file}: {statement['digital_source_type'] or 'says nothing of its making'}{manifest}")
    return 1 if unmarked else 0


def _print_counts(counts):
    """Prints the counts of written and of skipped pictures on stderr."""
    print(", ".join(f"{key}: {value}" for key, value in counts.items() if value or key == "written"), file=sys.stderr)
