"""Exports: the contract, parity, builtin ops, and a process that has never heard of this package."""

import json
import re

import keras
import numpy as np
import pytest
from helpers import DATA_DIR, run_python

import keras_genzoo as gz
from keras_genzoo import exporting, presets
from keras_genzoo.errors import MissingDataError, ZooError

CONTRACT = {  # family -> endpoint -> (inputs, outputs): the table in the README
    "autoencoder": {
        "encode": (["images"], {"z"}),
        "decode": (["z"], {"images"}),
        "reconstruct": (["images"], {"images"}),
    },
    "classifier": {"classify": (["images"], {"features", "logits"})},
    "face_swap": {
        "encode": (["images"], {"z"}),
        "swap_to_a": (["images"], {"images"}),
        "swap_to_b": (["images"], {"images"}),
    },
}
PARAMETERS = {  # likelihood -> what `decode` tells of p(x|z) beside its mean
    "bernoulli": {"logits"},
    "continuous_bernoulli": {"logits"},
    "gaussian": {"scale"},
    "discretized_logistic": {"location", "scale"},
}


def contract(preset):
    """Endpoint -> (inputs in their order, outputs) of a preset, from its parts."""
    config = preset.model
    labels = ["labels"] if config.get("n_classes") and preset.family != "classifier" else []
    if preset.family == "gan":
        return {"generate": (["z", *labels], {"images"})}
    if preset.family != "vae":
        return CONTRACT[preset.family]
    endpoints = {
        "encode": (["images", *labels], {"z_mean", "z_log_var"}),
        "decode": (["z", *labels], {"images", *PARAMETERS[config.get("likelihood", "bernoulli")]}),
        "reconstruct": (["images", *labels], {"images"}),
        "prior_log_prob": (["z"], {"log_prob"}),
    }
    if config.get("prior"):
        endpoints["generate"] = (["noise", *labels], {"images"})
    if config.get("posterior"):
        endpoints["posterior"] = (["images", *labels, "noise"], {"z", "log_prob"})
    return endpoints


NAMES = presets.names()
# Of a flow LiteRT's int8 kernels are missing, or compute something else, or take their process down.
_FLOW = r"LiteRT cannot run \w+ of \w+_int8.tflite .*nothing was|disagrees with Keras: prior_log_prob/.*rms error"
NO_INT8 = {  # preset -> what export says of it
    # Codes that 256 steps cannot hold, a plane from -40 to 50.
    "ae2d_mnist": r"disagrees with Keras: .*rms error",
    "cvae_mnist": r"disagrees with Keras: .*rms error",  # images and the labels painted beside them share 256 steps
    "cgan_mnist": r"disagrees with Keras: .*rms error",  # the same, of labels beside z
    "dcgan_fashion_mnist": r"disagrees with Keras: .*rms error",
    "vae_fashion_grey": r"disagrees with Keras: decode/.*rms error",  # scales of less than a grey level
    **dict.fromkeys(("hvae_mnist", "vae_fashion_mnist"), _FLOW),
    "vae_realnvp_mnist": r"LiteRT cannot run (prior_log_prob|generate) of vae_realnvp_mnist_int8.tflite .*nothing was",
}
FORMATS = [("saved_model", None), *(("litert", quantize) for quantize in exporting.QUANTIZATIONS)]
FLOATS = FORMATS[:2]
# One preset for each kind of graph is exported in every format in every run; of a few others, whose endpoints or layers
# no graph of those has, the float formats. All presets in all formats are for the night.
KINDS = {
    "sparse_l1_mnist": "dense layers",
    "ae_mnist": "convolutions",
    "vae_mnist": "a VAE",
    "vae_realnvp_mnist": "a flow for a prior",
    "hvae_mnist": "two levels, and a flow for a posterior",
    "dcgan_mnist": "a GAN",
    "cgan_mnist": "labels",
    "faceswap_rendered": "two decoders, of colours",
}
OTHERS = ("classifier_mnist", "ksparse_mnist", "vae_fashion_grey")
CASES = [
    *(pytest.param((name, True), id=name, marks=[] if name in KINDS else pytest.mark.nightly) for name in NAMES),
    *(pytest.param((name, False), id=f"{name}, floats") for name in OTHERS),
]


@pytest.fixture(scope="module")
def export_once(tmp_path_factory):
    """A function `(preset, in every format) -> (its model, {(format, quantize): path})`.

    It exports each once, and all into one folder, where none may touch another's.
    """
    out, models, paths = tmp_path_factory.mktemp("exports"), {}, {}

    def export(name, whole):
        wanted = [variant for variant in (FORMATS if whole else FLOATS) if name not in NO_INT8 or variant[1] != "int8"]
        if name not in models:
            models[name] = gz.load(name)
        try:
            missing = [variant for variant in wanted if (name, *variant) not in paths]
            exports = exporting.export_all(models[name], out, missing, data_dir=DATA_DIR) if missing else []
            paths.update({(name, *variant): path for variant, path in zip(missing, exports, strict=True)})
        except MissingDataError as error:
            pytest.skip(str(error))
        return models[name], {variant: paths[(name, *variant)] for variant in wanted}

    return export


@pytest.fixture(scope="module", params=CASES)
def exported(request, export_once):
    """A preset's model and its exports: `(model, {(format, quantize): path})`."""
    return export_once(*request.param)


def golden_inputs(model):
    """Endpoint -> its stored inputs, name -> array, in the order of the contract."""
    with np.load(model.preset.folder / presets.GOLDEN_FILE) as stored:
        return {
            endpoint: {key: stored[f"{endpoint}/in/{key}"] for key in inputs}
            for endpoint, (inputs, _) in contract(model.preset).items()
        }


# In a process where importing keras_genzoo or keras fails: what each SavedModel says of itself, whether it repeats the
# stored example, whether it draws samples as promised; and, with NumPy alone, the likelihood of images.
STRANGER = """
import json, sys, traceback
sys.modules["keras_genzoo"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf

def contract(model):
    seen = {}
    for name, signature in model.signatures.items():
        seen[name] = [sorted(signature.structured_input_signature[1]), sorted(signature.structured_outputs)]
    return seen

def repeat_golden(model, golden):
    with np.load(golden) as stored:
        for key in stored:
            endpoint, kind, *output = key.split("/")
            if kind == "out":
                inputs = {k.split("/")[2]: tf.constant(stored[k]) for k in stored if k.startswith(endpoint + "/in/")}
                value = model.signatures[endpoint](**inputs)[output[0]]
                np.testing.assert_allclose(value, stored[key], rtol=1e-3, atol=1e-3)

def draw_samples(model, shape, labelled):
    labels = [tf.range(3)] if labelled else []
    draw = lambda n, seed: model.sample(tf.constant(n), tf.constant(seed), *labels)["images"].numpy()
    a, b, c = draw(3, [1, 2]), draw(3, [1, 2]), draw(3, [1, 3])
    assert list(a.shape) == [3, *shape] and a.dtype == np.float32 and 0 <= a.min() and a.max() <= 1
    assert (a == b).all() and (a != c).any()
    for wrong in (0, -1):
        try:
            draw(wrong, [1, 2])
        except tf.errors.InvalidArgumentError:
            continue
        raise AssertionError("n=%d was not refused" % wrong)

def bounds(model, x, noises):
    log_2pi, found = np.log(2 * np.pi), []
    for image, noise in zip(x, noises):
        images = tf.constant(image[None])
        if hasattr(model, "posterior"):  # q(z|x) as the model draws from it
            drawn = model.posterior(tf.repeat(images, len(noise), axis=0), tf.constant(noise))
            z, log_q = drawn["z"].numpy(), drawn["log_prob"].numpy().astype("float64")
        else:  # a diagonal Gaussian
            q = model.encode(images)
            mean, log_var = q["z_mean"].numpy().astype("float64"), q["z_log_var"].numpy().astype("float64")
            z = mean + np.exp(log_var / 2) * noise
            log_q = -0.5 * (log_2pi + log_var + (z - mean) ** 2 / np.exp(log_var)).sum(1)
        z = tf.constant(z, tf.float32)
        l = model.decode(z)["logits"].numpy().astype("float64")
        log_likelihood = (image * l - np.logaddexp(0, l)).sum(axis=(1, 2, 3))
        log_w = log_likelihood + model.prior_log_prob(z)["log_prob"].numpy() - log_q
        found.append(np.log(np.mean(np.exp(log_w - log_w.max()))) + log_w.max())
    return found

answers = {}
for job in json.load(open(sys.argv[1])):
    answer = answers[job["name"]] = {}
    try:
        model = tf.saved_model.load(job["path"])
        answer["contract"] = contract(model)
        repeat_golden(model, job["golden"])
        if hasattr(model, "sample"):
            draw_samples(model, job["shape"], "labels" in answer["contract"]["sample"][0])
        if "x" in job:
            answer["bounds"] = bounds(model, np.load(job["x"]), np.load(job["noise"]))
    except BaseException:
        answer["error"] = traceback.format_exc()
print(json.dumps(answers))
"""
BERNOULLI = [
    name
    for name in NAMES
    if (p := presets.find(name)).family == "vae"
    and p.model.get("likelihood", "bernoulli") == "bernoulli"
    and not p.model.get("n_classes")
]


@pytest.fixture(scope="module")
def strangers(request, export_once, tmp_path_factory):
    """Preset -> what a stranger finds in its SavedModel; one stranger looks at those of all the tests that run."""
    folder, jobs, cases = tmp_path_factory.mktemp("stranger"), [], set()
    for item in request.session.items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "strangers" in item.fixturenames:
            cases |= {parameters.get("exported") or (parameters["name"], parameters["name"] in KINDS)}
    for name, whole in sorted(cases):
        try:
            model, paths = export_once(name, whole)
        except pytest.skip.Exception:
            continue  # its own test says so
        golden = model.preset.folder / presets.GOLDEN_FILE
        job = {"name": name, "path": str(paths["saved_model", None]), "golden": str(golden), "shape": model.image_shape}
        if name in BERNOULLI:
            for key, array in zip(("x", "noise"), images_and_noises(model), strict=True):
                job[key] = str(folder / f"{name}_{key}.npy")
                np.save(job[key], array)
        jobs.append(job)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return json.loads(run_python(STRANGER, folder / "jobs.json").splitlines()[-1])


def images_and_noises(model):
    """Twenty test images as a model takes them, and noise for 200 draws of each one's code."""
    pixels = gz.zoo.arrays(model, "test", data_dir=DATA_DIR)[0][:20]
    images = gz.data.as_seen(pixels, binarize=model.preset.data.binarize)
    return images, np.random.default_rng(0).standard_normal((len(images), 200, model.latent_dim), dtype="float32")


def test_saved_model_keeps_the_contract_without_this_package(exported, strangers):
    """In a process where importing keras_genzoo or keras fails; its outputs are Keras' on the stored example."""
    model, _ = exported
    found = strangers[model.preset.name]
    assert "error" not in found, found["error"]
    table = contract(model.preset)
    expected = {name: [sorted(inputs), sorted(outputs)] for name, (inputs, outputs) in table.items()}
    if hasattr(model, "sample"):
        labels = ["labels"] if getattr(model, "n_classes", 0) else []
        expected["sample"] = [[*labels, "n", "seed"], ["images"]]
    assert found["contract"] == expected


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in KINDS else pytest.mark.nightly) for name in BERNOULLI]
)
def test_a_stranger_recomputes_the_likelihood_from_the_saved_model(name, export_once, strangers, monkeypatch):
    """With NumPy and the exported endpoints alone, in a process where importing keras_genzoo or keras fails."""
    model, _ = export_once(name, name in KINDS)
    assert "error" not in strangers[name], strangers[name]["error"]
    # The very same draws: two estimates from draws of their own may differ by nats where the weights have heavy tails.
    ours = []
    for image, noise in zip(*images_and_noises(model), strict=True):
        monkeypatch.setattr(keras.random, "normal", lambda shape, noise=noise, **_: keras.ops.reshape(noise, shape))
        weights = model.log_weights(keras.ops.convert_to_tensor(image[None]), n_samples=len(noise), seed=0)
        ours.append(float(gz.losses.importance_weighted_bound(weights)[0]))
    np.testing.assert_allclose(strangers[name]["bounds"], ours, atol=2e-3)  # of float32 sums over 784 pixels


def test_saved_model_refuses_an_empty_batch(exported):
    import tensorflow as tf

    model, paths = exported
    loaded = tf.saved_model.load(str(paths["saved_model", None]))
    for name, values in golden_inputs(model).items():
        with pytest.raises(tf.errors.InvalidArgumentError, match="empty batch"):
            getattr(loaded, name)(*(tf.constant(value[:0]) for value in values.values()))


@pytest.mark.parametrize("quantize", exporting.QUANTIZATIONS)
def test_litert_runs_agrees_and_is_builtin_only(exported, quantize):
    from ai_edge_litert.interpreter import Interpreter

    model, paths = exported
    path = paths.get(("litert", quantize))
    if path is None:
        pytest.skip("not exported in this run, or refused")
    interpreter = Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    expected = {
        name: {"inputs": sorted(inputs), "outputs": sorted(outputs)}
        for name, (inputs, outputs) in contract(model.preset).items()
    }
    assert {n: {k: sorted(v) for k, v in s.items()} for n, s in signatures.items()} == expected
    operators = {op["op_name"] for op in interpreter._get_ops_details()}
    assert not any(name.startswith("Flex") or "CUSTOM" in name.upper() for name in operators)
    for name, values in golden_inputs(model).items():
        for times in (1, 2):  # the batch is free
            batch = {key: np.concatenate([value] * times) for key, value in values.items()}
            actual = interpreter.get_signature_runner(name)(**batch)
            for output, wanted in model.run_endpoint(name, *batch.values()).items():
                assert actual[output].dtype == np.float32
                assert actual[output].shape == wanted.shape
                # Golden images are noise that no calibration saw: int8 is held to the tests below.
                if quantize != "int8":
                    close = {None: 1e-4, "float16": 1e-2}[quantize]
                    np.testing.assert_allclose(actual[output], wanted, rtol=close, atol=close * np.ptp(wanted))


def test_reports_tell_what_was_measured(exported):
    _, paths = exported
    for (kind, quantize), path in paths.items():
        report = json.loads(path.with_name(path.name + ".export.json").read_text())
        assert (report["format"], report["quantize"]) == (kind, quantize)
        assert report["agreement"]
        for row in report["agreement"]:
            measure, _, _, bound, *_ = row["tolerance"].split()
            assert row["n"] == 64
            assert 0 <= row[f"{measure}_error"] <= float(bound) * row["range"]
        if path.is_file():
            assert report["bytes"] == path.stat().st_size
            assert report["ops"]


def test_sizes_are_what_quantization_promises(exported):
    model, paths = exported
    sizes = {q: path.stat().st_size for (kind, q), path in paths.items() if kind == "litert"}
    # A half, and the graph; twice that would mean that endpoints do not share their weights. Dense layers that two
    # endpoints quantize differently are in an int8 file twice.
    assert "float16" not in sizes or sizes["float16"] < 0.6 * sizes[None]
    assert "int8" not in sizes or sizes["int8"] < sizes["float16"]
    weights = 4 * sum(np.prod(w.shape) for e in model.endpoints().values() for w in e.weights)
    assert sum(f.stat().st_size for f in paths["saved_model", None].rglob("variables.data*")) < 2 * weights


@pytest.mark.parametrize(
    "name",  # a process that ends is tested below in every run
    [pytest.param(name, marks=[] if name == "cgan_mnist" else pytest.mark.nightly) for name in NO_INT8],
)
def test_int8_is_refused_where_it_would_not_agree(name, tmp_path):
    with pytest.raises(ZooError) as refusal:
        gz.export(name, tmp_path, format="litert", quantize="int8", data_dir=DATA_DIR)
    if isinstance(refusal.value, MissingDataError):
        pytest.skip(str(refusal.value))
    assert re.search(NO_INT8[name], str(refusal.value))
    assert not list(tmp_path.iterdir())


def test_int8_reconstructions_look_like_keras(exported):
    """What a user sees, on images that neither calibrated nor checked the file: 25 dB against Keras' own picture."""
    from ai_edge_litert.interpreter import Interpreter

    model, paths = exported
    images = gz.data.to_unit(gz.zoo.arrays(model, "test", data_dir=DATA_DIR)[0][64:128])
    families = {"autoencoder": "reconstruct", "vae": "reconstruct", "gan": "generate", "face_swap": "swap_to_b"}
    name = families.get(model.preset.family, "none")
    if name not in model.endpoints():
        pytest.skip("makes no images")
    if ("litert", "int8") not in paths:
        pytest.skip("int8 is refused for this preset")
    values = {"z": model.normal_noise(64, 5)} if name == "generate" else {"images": images}
    if "labels" in contract(model.preset)[name][0]:
        values["labels"] = gz.zoo.arrays(model, "test")[1][64:128].astype("int32")
    run = Interpreter(model_path=str(paths["litert", "int8"])).get_signature_runner(name)
    wanted = model.run_endpoint(name, *values.values())["images"]
    error = np.mean((run(**values)["images"] - wanted) ** 2)
    assert -10 * np.log10(error) > 25


# === Whatever is exported: the smallest graph ===

SMALL = "sparse_kl_mnist"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"format": "onnx"}, "`format` must be one of saved_model, litert. Received: 'onnx'"),
        ({"format": "litert", "quantize": "int4"}, "`quantize` must be None, 'float16' or 'int8'. Received: 'int4'"),
        ({"format": "saved_model", "quantize": "int8"}, "`quantize` needs format='litert'"),
    ],
)
def test_bad_arguments(arguments, complaint, tiny, tmp_path):
    with pytest.raises(ZooError, match=complaint):
        gz.export(tiny("vae"), tmp_path, **arguments)


def test_unwritable_and_foreign_folders(tmp_path):
    model = gz.load(SMALL, weights=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="Cannot write"):
        gz.export(model, tmp_path / "file" / "out")
    (tmp_path / f"{SMALL}_saved_model").mkdir()
    (tmp_path / f"{SMALL}_saved_model" / "thesis.txt").write_text("mine")
    with pytest.raises(ZooError, match="is not a SavedModel"):
        gz.export(model, tmp_path)
    assert (tmp_path / f"{SMALL}_saved_model" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["saved_model", "litert"])
def test_an_interrupted_export_leaves_what_was_there(kind, tmp_path, monkeypatch):
    model = gz.load(SMALL, weights=None)
    gz.export(model, tmp_path, format=kind)

    def contents():
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = contents()

    def stopped(*_):
        raise KeyboardInterrupt

    for name, replacement in (
        ("keras_genzoo.exporting._agreement", stopped),
        ("keras_genzoo.files.put_in_place", stopped),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, replacement)
            with pytest.raises(KeyboardInterrupt):
                gz.export(model, tmp_path, format=kind)
        assert contents() == before


def test_an_export_that_disagrees_is_not_handed_over(tmp_path, monkeypatch):
    model = gz.load(SMALL, weights=None)
    good = gz.export(model, tmp_path, format="litert").read_bytes()
    run = exporting._run_by_litert

    def off_by_a_little(path, inputs):
        outputs, ops_used = run(path, inputs)
        return {name: {key: value + 2e-3 for key, value in of.items()} for name, of in outputs.items()}, ops_used

    monkeypatch.setattr(exporting, "_run_by_litert", off_by_a_little)
    with pytest.raises(ZooError, match="disagrees with Keras"):
        gz.export(model, tmp_path, format="litert")
    assert (tmp_path / f"{SMALL}.tflite").read_bytes() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{SMALL}.tflite", f"{SMALL}.tflite.export.json"]


def test_a_file_that_takes_litert_down_is_refused(tmp_path, monkeypatch):
    """As some int8 kernels do: the user's own process goes on, and is told."""
    script = tmp_path / "crashing.py"
    script.write_text(
        "import os, runpy, sys\n"
        "*kept, last = sys.argv\n"
        "sys.argv = kept\n"
        f"runpy.run_path({str(exporting._LITERT_PROCESS)!r}, run_name='__main__')\n"
        "os.abort()\n"
    )
    monkeypatch.setattr(exporting, "_LITERT_PROCESS", script)
    model = gz.load(SMALL, weights=None)
    last = list(contract(model.preset))[-1]
    with pytest.raises(ZooError, match=rf"LiteRT cannot run {last} of {SMALL}.tflite \(its process ended with -6\)"):
        gz.export(model, tmp_path / "out", format="litert")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_models_export_as_float32(dtype, tmp_path):
    model = gz.load("dcgan_mnist", weights=None, dtype=dtype)
    path = gz.export(model, tmp_path, format="litert")
    report = json.loads(path.with_name(path.name + ".export.json").read_text())
    assert not any(name.startswith("Flex") for name in report["ops"])


@pytest.mark.parametrize("format", ["saved_model", "litert"])
def test_a_full_disk_is_one_error_and_leaves_nothing(format, tmp_path, file_limit):
    """TensorFlow tells of it by an error of its own."""
    model = gz.load("ae2d_mnist")
    with file_limit(60_000), pytest.raises(ZooError, match=r"^Cannot write \S*out: File too large$"):
        gz.export(model, tmp_path / "out", format=format)
    assert list((tmp_path / "out").iterdir()) == []
