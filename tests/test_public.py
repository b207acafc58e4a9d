"""The public surface: decided once, in a file that a change must change, too; and found in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import keras_genzoo

PACKAGE = Path(keras_genzoo.__file__).parent
SURFACE = Path(__file__).with_name("surface.txt")


def surface():
    """Every public name: those of the package, and `room: name, name` for each room, without importing them."""
    lines = [f"keras_genzoo: {', '.join(sorted(keras_genzoo.__all__))}"]
    for path in sorted(PACKAGE.rglob("*.py")):
        room = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        names = []
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            names += [target.id for target in targets if isinstance(target, ast.Name)]
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.append(node.name)
        public = sorted({name for name in names if not name.startswith("_")})
        if room != "keras_genzoo" and public:
            lines.append(f"{room}: {', '.join(public)}")
    return "\n".join(lines) + "\n"


def test_the_surface_is_the_one_that_was_decided():
    assert surface() == SURFACE.read_text(encoding="utf-8"), (
        f"a public name came or went: python {__file__} writes it anew"
    )


def test_every_public_name_is_found_in_a_fresh_process_whatever_came_before():
    """From the last to the first: none depends on who imported what. The architecture's test goes the other way."""
    code = "import keras_genzoo as gz; print(len([getattr(gz, name) for name in gz.__all__[::-1]]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) == len(keras_genzoo.__all__)


def test_names_and_rooms_are_the_whole():
    assert set(keras_genzoo.__all__) == {"__version__", *keras_genzoo._NAMES, *keras_genzoo._MODULES}
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(keras_genzoo._MODULES) == rooms - {"__init__", "cli", "demo", "litert_process"}


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()


if __name__ == "__main__":
    SURFACE.write_text(surface(), encoding="utf-8")
