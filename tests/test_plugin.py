"""A package of a stranger's, installed by pip: it adds a family, data, parts and presets, and the command knows it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_genzoo as gz
from keras_genzoo.errors import ZooError

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "tests" / "plugin"
# The commands of docs/extending.md in one process: each start of TensorFlow costs seconds.
SESSION = """
import json, sys
import keras_genzoo as gz
from keras_genzoo import cli

def run(*arguments):
    assert cli.main([*map(str, arguments)]) == 0, arguments

run("train", "toy_coder", "--out", "coder")
run("evaluate", "./coder", "--write", "--json")
run("export", "./coder", "--out", "out", "--format", "litert")
run("plot", "./coder", "--kind", "reconstructions", "--out", "coder.png")
run("train", "toy_vae", "--out", "vae")
run("evaluate", "./vae", "--n-images", "50", "--write", "--json")
run("export", "./vae", "--out", "out")
run("sample", "./vae", "-n", "4", "--out", "vae.png")
model = gz.load("./coder")
assert type(model).__module__ == "toy_zoo.model"
assert set(model.endpoints()) == {"encode", "decode", "reconstruct", "error"}
assert gz.load("./vae").likelihood.scale == 0.2
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder to put on the path, into which pip has installed the toy package; and a folder to work in."""
    source, site = tmp_path_factory.mktemp("source") / "toy", tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", site]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True, capture_output=True)
    return site, tmp_path_factory.mktemp("work")


def python(installed, *arguments):
    """Runs Python with the toy package on its path."""
    site, work = installed
    path = os.pathsep.join([str(ROOT), str(site)])
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=work, env=environment)


def test_the_list_names_its_presets_and_imports_none_of_it(installed):
    code = "import sys; from keras_genzoo import cli; cli.main(['list', '--json']); assert 'toy_zoo' not in sys.modules"
    done = python(installed, "-c", code.replace("'toy_zoo'", "'toy_zoo.model'"))
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["toy_coder"]["family"], rows["toy_coder"]["data"]) == ("coder", "stripes")
    assert rows["toy_vae"]["family"] == "vae"


@pytest.mark.nightly
def test_it_trains_evaluates_exports_and_draws_from_the_command_line(installed):
    done = python(installed, "-c", SESSION)
    assert done.returncode == 0, done.stderr[-3000:]
    work = installed[1]
    rows = json.loads((work / "coder" / "metrics.json").read_text())["rows"]
    assert rows[0]["metric"] == "explained_variance"
    assert 0.1 < rows[0]["value"] < 1  # it has learned something
    assert json.loads((work / "vae" / "metrics.json").read_text())["rows"][0]["metric"] == "nll"
    report = json.loads((work / "out" / "coder.tflite.export.json").read_text())
    assert {row["endpoint"] for row in report["agreement"]} == {"encode", "decode", "reconstruct", "error"}
    report = json.loads((work / "out" / "vae_saved_model.export.json").read_text())
    outputs = {row["output"] for row in report["agreement"] if row["endpoint"] == "decode"}
    assert outputs == {"images", "spread"}
    for picture in ("coder.png", "vae.png"):
        assert (work / picture).read_bytes().startswith(b"\x89PNG")
    origin = json.loads((work / "coder" / "weights.json").read_text())["origin"]
    assert set(origin["data"]) == {"stripes"}
    assert origin["seconds"] > 0


BAD = [  # in toy_vae's preset.yaml: what stands there, what is put in its place, what the error says
    ("scale: 0.2", "scal: 0.2", r"unknown key `model.likelihood.scal`. Did you mean scale\?"),
    ("scale: 0.2", "scale: -1", r"`model.likelihood.scale` must be > 0. Received: -1"),
    ("linear_decoder", "linear_decoders", r"`model.decoder.name` must be one of .*Did you mean linear_decoder"),
    ("name: stripes", "name: stripe", r"Unknown data set 'stripe'. Did you mean stripes"),
]


def test_a_bad_option_of_it_is_named_like_one_of_ours(installed):
    text = (PLUGIN / "toy_zoo" / "presets" / "toy_vae" / "preset.yaml").read_text()
    names = [f"bad_{i}" for i in range(len(BAD))]
    for name, (old, new, _) in zip(names, BAD, strict=True):
        (installed[1] / name).mkdir()
        (installed[1] / name / "preset.yaml").write_text(text.replace(old, new))
    code = f"from keras_genzoo import cli; print([cli.main(['train', './' + name]) for name in {names}])"
    done = python(installed, "-c", code)
    assert done.stdout.strip() == str([2] * len(BAD)), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("keras-genzoo: error: ")]
    for error, (_, _, complaint) in zip(errors, BAD, strict=True):
        assert re.search(complaint, error)


def test_the_same_by_calls(tmp_path, monkeypatch):
    """What a notebook does that has no package: the registries are put back afterwards."""
    monkeypatch.setattr(gz.data.SOURCES, "_entries", dict(gz.data.SOURCES._entries))
    monkeypatch.setattr(gz.parts, "_ADDED", {})
    monkeypatch.setattr(gz.presets, "_PATHS", [])
    monkeypatch.syspath_prepend(PLUGIN)
    gz.data.register("stripes", "toy_zoo.data:stripes")
    gz.parts.register("likelihood", "laplace", "toy_zoo.likelihood:Laplace")
    gz.parts.register("network", "linear_decoder", "toy_zoo.network:linear_decoder")
    gz.presets.add_path(PLUGIN / "toy_zoo" / "presets")
    assert "toy_vae" in gz.presets.names()
    assert gz.load("toy_vae", weights=None).sample(2, seed=0).shape == (2, 8, 8, 1)
    assert gz.data.arrays("stripes", "test")[0].shape == (2000, 8, 8, 1)
    with pytest.raises(ZooError, match="The name 'bernoulli' of a likelihood is taken"):
        gz.parts.register("likelihood", "bernoulli", "toy_zoo.likelihood:Laplace")
    with pytest.raises(ZooError, match=r"Unknown kind of part 'likelyhood'. Did you mean likelihood\?"):
        gz.parts.register("likelyhood", "laplace", "toy_zoo.likelihood:Laplace")
    with pytest.raises(ZooError, match="The name 'mnist' of a data set is taken"):
        gz.data.register("mnist", "toy_zoo.data:stripes")


def test_a_broken_family_of_another_package_is_named_and_left_out(monkeypatch):
    monkeypatch.setattr(gz.models.FAMILIES, "_entries", {**gz.models.FAMILIES._entries, "broken": "no_such_module:F"})
    monkeypatch.setattr(gz.models, "_BROKEN", set())
    with pytest.warns(UserWarning, match="The family 'broken' of another package is left out: .*no_such_module"):
        assert "network" in gz.parts.kinds()
    assert "broken" not in dict(gz.models.records())
    with pytest.raises(ZooError, match="'no_such_module:F' cannot be imported"):
        gz.models.record("broken")


def test_the_page_shows_this_very_package():
    """Every file of the toy package stands in docs/extending.md as it is, and the page shows no other code."""
    page = (ROOT / "docs" / "extending.md").read_text()
    blocks = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    files = {
        path.relative_to(PLUGIN).as_posix(): path.read_text()
        for path in PLUGIN.rglob("*")
        if path.suffix in (".py", ".toml", ".yaml") and "__pycache__" not in path.parts and "build" not in path.parts
    }
    assert blocks == files


def test_the_page_names_every_kind_of_part_and_every_field_of_a_record():
    page = (ROOT / "docs" / "extending.md").read_text()
    for name in (*gz.parts.kinds(), *gz.models.Family._fields):
        assert f"`{name}`" in page, name
