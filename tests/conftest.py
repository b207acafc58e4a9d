"""What every test run has: a random state of its own for each test, tiny models, real images, and shards of a night."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command has it: the same sums, and sooner

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # beside other workers: threads of TensorFlow that wait for each other burn time
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import gc
import hashlib
import random
import sys

import hypothesis
import pytest
from helpers import TinyModels

# The same examples in every run: a test that fails today must not pass tomorrow. No deadline: machines differ.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")


# Graphs are thousands of objects in circles, and models stay: looking through all of them as often as Python does by
# itself would be a good part of the time.
gc.set_threshold(100_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Every test, and the fixtures that it is the first to ask for, begins with the same random state: none passes or
    fails by the luck of its networks' start.
    """
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)
    else:
        random.seed(0)  # a test that draws from Keras imports it at the top of its file


@pytest.fixture(scope="session")
def mnist():
    """The first 512 training images: float32 in [0, 1], `(512, 28, 28, 1)`."""
    from keras_genzoo import data

    return data.to_unit(data.arrays("mnist", "train")[0][:512])


@pytest.fixture(scope="session")
def tiny_models():
    return TinyModels()


@pytest.fixture
def tiny(tiny_models):
    """A function family, or name of VARIANTS -> compiled tiny model, as new; keyword arguments go to the constructor.

    `compiled=False`, `run_eagerly=True` (no trace: for tests of values) and `learning_rate` are of the compilation;
    `fresh=True` builds a model that nobody has had before and nobody gets after.
    """
    with tiny_models.lent() as lend:
        yield lend


@pytest.fixture
def few_training_images(monkeypatch):
    """The first 2,000 training images in place of all, where a model's are asked for: what is fitted to them (PCA, a
    mixture) is a matter of time.
    """
    from keras_genzoo import zoo

    whole = zoo.arrays

    def few(model, split, **options):
        return tuple(x if x is None or split == "test" else x[:2000] for x in whole(model, split, **options))

    monkeypatch.setattr(zoo, "arrays", few)


@pytest.fixture
def file_limit():
    """A context `(n bytes)`: no file grows above them, as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limited(n):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


# === Shards ===


def pytest_addoption(parser):
    parser.addoption("--shard", metavar="I/N", help="run the I-th of N parts of the chosen tests, such as 2/5")


def _shard(config):
    """`--shard 2/5` -> (2, 5); None where it is not given."""
    given = config.getoption("--shard")
    if given is None:
        return None
    part, _, parts = given.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--shard must be I/N with 1 <= I <= N. Received: {given}")
    return int(part), int(parts)


def _group(item, names):
    """What stays together: tests of a file and a preset, which may share a fixture of the module; else each test."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    values = [part for value in parameters for part in (value if isinstance(value, tuple) else (value,))]
    preset = next((value for value in values if isinstance(value, str) and value in names), item.name)
    return f"{item.path.name}::{preset}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Keeps the tests of this shard. A test's shard depends on its own name alone, and not on what else there is: five
    runs of five shards leave none out, whatever was added in between.
    """
    shard = _shard(config)
    if shard is None:
        return
    from keras_genzoo import presets

    part, parts = shard
    names = presets.names()
    kept, others = [], []
    for item in items:
        number = int.from_bytes(hashlib.sha256(_group(item, names).encode()).digest()[:8], "big")
        (kept if number % parts == part - 1 else others).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=others)


def pytest_sessionfinish(session, exitstatus):
    """A shard in which no test falls has nothing to fail."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _shard(session.config):
        session.exitstatus = pytest.ExitCode.OK
