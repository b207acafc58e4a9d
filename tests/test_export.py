"""Exports: the contract, parity, builtin ops, and a process that has never heard of this package."""

import contextlib
import json
import shutil
import sys

import keras
import numpy as np
import pytest
from helpers import DATA_DIR, TINY, VARIANTS, build_tiny, run_python

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
# The endpoint of a client that names none.
MAIN = {
    "autoencoder": "reconstruct", "vae": "reconstruct", "gan": "generate", "face_swap": "swap_to_a",
    "classifier": "classify",
}  # fmt: skip
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
    if config.get("n_factors") and preset.family == "classifier":
        return {"classify": (["images"], {"features", "logits", "factors"})}
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
SAVED_MODEL, LITERT, ONNX = ("saved_model", None), ("litert", None), ("onnx", None)
QUANTIZED = [("litert", quantize) for quantize in ("float16", "int8", "int4")]
FORMATS = [SAVED_MODEL, LITERT, *QUANTIZED, ONNX]
FLOATS = [SAVED_MODEL, LITERT]
# One preset for each kind of graph is exported in every format in every run; of a few others, whose endpoints or layers
# no graph of those has, the float formats. All presets in all formats are for the night.
KINDS = {
    "sparse_l1_mnist": "dense layers",
    "vae_mnist": "a VAE, and convolutions",
    "cgan_mnist": "labels, and a GAN",
}
OTHERS = ("classifier_mnist", "ksparse_mnist", "vae_realnvp_mnist")
CASES = [
    *(pytest.param((name, True), id=name, marks=[] if name in KINDS else pytest.mark.nightly) for name in NAMES),
    *(pytest.param((name, False), id=f"{name}, floats") for name in OTHERS),
]
MOST_OF_INT8, MOST_OF_INT4 = 0.3, 0.15  # of the bytes of the float32 file; int4 where all layers are dense
ENDS = {"saved_model": "_saved_model", "litert": ".tflite", "onnx": "_onnx"}


@pytest.fixture(scope="module")
def export_once(tmp_path_factory):
    """A function `(preset, in every format) -> (its model, {(format, quantize): path})`.

    It exports each once, and all into one folder, where none may touch another's.
    """
    out, models, paths = tmp_path_factory.mktemp("exports"), {}, {}

    def export(name, whole):
        wanted = FORMATS if whole else FLOATS
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
    expected["serving_default"] = expected[MAIN[model.preset.family]]
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


def run_compiled(path, name, values, shapes):
    """An endpoint in LiteRT's CompiledModel, which phones and browsers have: the outputs of each example, in a batch of
    its own."""
    from ai_edge_litert.compiled_model import CompiledModel

    compiled = CompiledModel.from_file(str(path))
    sides = compiled.get_signature_list()[name]
    inputs = {key: compiled.create_input_buffer_by_name(name, key) for key in sides["inputs"]}
    outputs = {key: compiled.create_output_buffer_by_name(name, key) for key in sides["outputs"]}
    found = {key: [] for key in outputs}
    for i in range(len(next(iter(values.values())))):
        for key, buffer in inputs.items():
            buffer.write(np.ascontiguousarray(values[key][i]).ravel())
        compiled.run_by_name(name, inputs, outputs)
        for key, buffer in outputs.items():
            size = int(np.prod(shapes[key]))
            found[key].append(np.array(buffer.read(size, np.float32)).reshape(shapes[key]))
    return {key: np.stack(parts) for key, parts in found.items()}


@pytest.mark.parametrize("quantize", [None, "float16", "int8", "int4"])
def test_litert_runs_agrees_and_is_builtin_only(exported, quantize):
    from ai_edge_litert.interpreter import Interpreter

    model, paths = exported
    path = paths.get(("litert", quantize))
    if path is None:
        pytest.skip("not exported in this run")
    interpreter = Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    table = contract(model.preset)
    expected = {
        name: {"inputs": sorted(inputs), "outputs": sorted(outputs)} for name, (inputs, outputs) in table.items()
    }
    assert {n: {k: sorted(v) for k, v in s.items()} for n, s in signatures.items()} == expected
    operators = {op["op_name"] for op in interpreter._get_ops_details()}
    assert not any(name.startswith("Flex") or "CUSTOM" in name.upper() for name in operators)
    for name, values in golden_inputs(model).items():
        wanted = model.run_endpoint(name, *values.values())
        run, rows = interpreter.get_signature_runner(name), []
        for i in range(len(next(iter(values.values())))):  # a batch is one example
            rows.append(
                {k: v.copy() for k, v in run(**{key: value[i : i + 1] for key, value in values.items()}).items()}
            )
        compiled = run_compiled(path, name, values, {key: value.shape[1:] for key, value in wanted.items()})
        for output, value in wanted.items():
            actual = np.concatenate([row[output] for row in rows])
            assert actual.dtype == np.float32
            assert actual.shape == value.shape
            np.testing.assert_allclose(compiled[output], actual, rtol=1e-4, atol=1e-4 * np.ptp(value))
            # Golden images are noise that no training saw: integers are held to the tests below.
            if quantize in (None, "float16"):
                close = {None: 1e-4, "float16": 1e-2}[quantize]
                np.testing.assert_allclose(actual, value, rtol=close, atol=close * np.ptp(value))


def test_onnx_agrees_in_any_batch(exported):
    import onnxruntime

    model, paths = exported
    if ONNX not in paths:
        pytest.skip("not exported in this run")
    table = contract(model.preset)
    assert sorted(path.stem for path in paths[ONNX].glob("*.onnx")) == sorted(table)
    for name, values in golden_inputs(model).items():
        session = onnxruntime.InferenceSession(str(paths[ONNX] / f"{name}.onnx"))
        assert [one.name for one in session.get_inputs()] == table[name][0]
        for times in (1, 2):
            batch = {key: np.concatenate([value] * times) for key, value in values.items()}
            found = dict(zip([one.name for one in session.get_outputs()], session.run(None, batch), strict=True))
            for output, wanted in model.run_endpoint(name, *batch.values()).items():
                actual = found[f"{output}_out" if output in values else output]
                error = np.abs(actual - wanted) / max(np.abs(wanted).max(), 1)
                assert np.quantile(error, 0.999) <= 1e-5
                assert error.max() <= 1e-4


def test_reports_tell_what_was_measured(exported):
    _, paths = exported
    runtimes = {"saved_model": ["TensorFlow"], "litert": ["Interpreter", "CompiledModel"], "onnx": ["ONNX Runtime"]}
    for (kind, quantize), path in paths.items():
        report = json.loads(path.with_name(path.name + ".export.json").read_text())
        assert (report["format"], report["quantize"]) == (kind, quantize)
        assert report["batch"] == (1 if kind == "litert" else "dynamic")
        assert report["runtimes"] == runtimes[kind]
        assert report["agreement"]
        for row in report["agreement"]:
            assert row["n"] == 64
            for bound in row["tolerance"].split(", "):
                kind_of_error, _, share, *_ = bound.split()
                assert 0 <= row[kind_of_error] <= float(share) * row["range"]
        assert report["bytes"] == gz.files.size(path)
        assert report["ops"] or kind == "saved_model"


def test_sizes_are_what_quantization_promises(exported):
    model, paths = exported
    sizes = {q: path.stat().st_size for (kind, q), path in paths.items() if kind == "litert"}
    # A half, and the graph; twice that would mean that endpoints do not share their weights.
    assert "float16" not in sizes or sizes["float16"] < 0.52 * sizes[None]
    assert "int8" not in sizes or sizes["int8"] <= MOST_OF_INT8 * sizes[None]
    is_dense = all(len(w.shape) <= 2 for e in model.endpoints().values() for w in e.weights)
    assert "int4" not in sizes or sizes["int4"] <= (MOST_OF_INT4 if is_dense else MOST_OF_INT8) * sizes[None]
    weights = 4 * sum(np.prod(w.shape) for e in model.endpoints().values() for w in e.weights)
    assert sum(f.stat().st_size for f in paths[SAVED_MODEL].rglob("variables.data*")) < 2 * weights


def test_int8_reconstructions_look_like_keras(exported):
    """What a user sees, on images that neither calibrated nor checked the file: 30 dB against Keras' own picture."""
    from ai_edge_litert.interpreter import Interpreter

    model, paths = exported
    images = gz.data.to_unit(gz.zoo.arrays(model, "test", data_dir=DATA_DIR)[0][64:128])
    families = {"autoencoder": "reconstruct", "vae": "reconstruct", "gan": "generate", "face_swap": "swap_to_b"}
    name = families.get(model.preset.family, "none")
    if name not in model.endpoints():
        pytest.skip("makes no images")
    if ("litert", "int8") not in paths:
        pytest.skip("not exported in this run")
    values = {"z": model.normal_noise(64, 5)} if name == "generate" else {"images": images}
    if "labels" in contract(model.preset)[name][0]:
        values["labels"] = gz.zoo.arrays(model, "test")[1][64:128].astype("int32")
    run = Interpreter(model_path=str(paths["litert", "int8"])).get_signature_runner(name)
    wanted = model.run_endpoint(name, *values.values())["images"]
    found = [run(**{key: value[i : i + 1] for key, value in values.items()})["images"].copy() for i in range(64)]
    assert -10 * np.log10(np.mean((np.concatenate(found) - wanted) ** 2)) > 30


# === A file explains itself ===


def test_every_file_says_what_it_is(exported):
    model, paths = exported
    weights = model.preset.record(presets.WEIGHTS_RECORD)
    table = contract(model.preset)
    for (kind, quantize), path in paths.items():
        found = gz.inspect(path)
        about = found["description"]
        assert (found["format"], found["sha256"]) == (kind, gz.files.sha256(path))
        assert (about["name"], about["license"]) == (model.preset.name, "Apache-2.0")
        assert about["weights_sha256"] == weights["sha256"]
        assert about["preset_sha256"] == gz.files.sha256(model.preset.folder / presets.PRESET_FILE)
        assert "generated" in about["notice"]
        assert about.get("quantize") == quantize
        assert set(about["endpoints"]) == set(table)
        for name, (inputs, outputs) in table.items():
            endpoint = about["endpoints"][name]
            assert set(endpoint["inputs"]) == set(inputs)
            renamed = {f"{key}_out" if kind == "onnx" and key in inputs else key for key in outputs}
            assert set(endpoint["outputs"]) == renamed
            for side in ("inputs", "outputs"):
                for key, tensor in endpoint[side].items():
                    assert tensor["shape"][0] == (1 if kind == "litert" else None)
                    if kind != "saved_model":  # the file itself says the same
                        seen = found["endpoints"][name][side][key]
                        assert (seen["dtype"], seen["shape"]) == (tensor["dtype"], tensor["shape"])
                    if key.startswith("images"):
                        assert (tensor["range"], tensor["layout"]) == ([0, 1], "(B, H, W, C)")
                        assert tensor["shape"][1:] == list(model.image_shape)
                    if key == "labels":
                        assert len(tensor["labels"]) == model.n_classes
                        assert tensor["range"] == [0, model.n_classes - 1]


def test_the_labels_of_classes_have_names(tmp_path):
    path = gz.export("classifier_mnist", tmp_path, format="litert")
    assert gz.inspect(path)["description"]["endpoints"]["classify"]["outputs"]["logits"]["labels"] == list("0123456789")


def test_trained_on_it_is_no_longer_the_presets(tmp_path):
    """Another's licence, and the hash of other weights, would be lies."""
    model = gz.load(SMALL)
    model.train_steps.assign_add(1)
    for variable in model.trainable_variables:
        variable.assign(variable * 0.999)
    about = gz.inspect(gz.export(model, tmp_path, format="litert"))["description"]
    assert about["license"] is None
    assert about["weights_sha256"] is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is no LiteRT file: its bytes 4 to 8 are not 'TFL3'"),
        (b"PK\x03\x04 a zip file", "is no LiteRT file"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(100), "is a damaged LiteRT file"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(100), "is a damaged LiteRT file"),
    ],
)
def test_what_is_no_litert_file_is_said_in_a_line(content, complaint, tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(ZooError, match=complaint) as refusal:
        gz.inspect(path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_damaged_files_are_read_or_refused(ring, tmp_path):
    """200 damaged copies: each is read or refused; none is another error, or takes the process down."""
    good = ring
    rng, refused = np.random.default_rng(0), 0
    for case in range(200):
        damaged = bytearray(good)
        if case % 2:
            damaged = damaged[: rng.integers(8, len(good))]
        else:
            for place in rng.integers(0, 2000, size=20):
                damaged[place] = rng.integers(256)
        damaged[4:8] = b"TFL3"
        (tmp_path / "damaged.tflite").write_bytes(damaged)
        with contextlib.suppress(ZooError):
            gz.inspect(tmp_path / "damaged.tflite")
            continue
        refused += 1
    assert refused > 50


# === Batches ===


def test_a_file_has_the_batch_asked_for(tmp_path):
    """Several in one call; the default of LiteRT is 1, and any number is named as such."""
    from ai_edge_litert.interpreter import Interpreter

    model = gz.load(SMALL)
    paths = gz.export(model, tmp_path, format="litert", batch_size=[1, 6, "dynamic"])
    assert [path.name for path in paths] == [f"{SMALL}{end}.tflite" for end in ("", "_b6", "_dynamic_batch")]
    codes = model.normal_noise(12, 0)
    for path, batch in zip(paths, (1, 6, None), strict=True):
        report = json.loads(path.with_name(path.name + ".export.json").read_text())
        assert report["batch"] == (batch or "dynamic")
        assert report["runtimes"] == ["Interpreter", "CompiledModel"][: 2 if batch else 1]
        assert all(row["n"] == 64 for row in report["agreement"])  # 64 is no multiple of 6
        about = gz.inspect(path)
        assert about["endpoints"]["decode"]["inputs"]["z"]["shape"][0] == batch
        assert bool(about["gpu"]) == (batch is None)
        run = Interpreter(model_path=str(path)).get_signature_runner("decode")
        size = batch or 12
        found = [run(z=codes[i : i + size])["images"].copy() for i in range(0, 12, size)]
        np.testing.assert_allclose(np.concatenate(found), model.decode(codes), atol=1e-4)


def test_onnx_may_have_a_fixed_batch(tmp_path):
    path = gz.export(SMALL, tmp_path, format="onnx", batch_size=4)
    assert path.name == f"{SMALL}_b4_onnx"
    assert gz.inspect(path / "decode.onnx")["endpoints"]["decode"]["inputs"]["z"]["shape"] == [4, 400]


@pytest.mark.parametrize("batch", [0, -1, True, 1.5, "two", 1_000_000, "", [0]])
def test_a_batch_that_is_none_is_refused(batch, tmp_path):
    with pytest.raises(ZooError, match=r"`batch_size` must be an integer from 1 to 65,536, 'auto', or 'dynamic'"):
        gz.export(SMALL, tmp_path, format="litert", batch_size=batch)
    assert not list(tmp_path.iterdir())


def test_a_saved_model_takes_any_batch(tmp_path):
    with pytest.raises(
        ZooError, match=r"A SavedModel takes any batch: leave `batch_size` away\. Received: batch_size=4"
    ):
        gz.export(SMALL, tmp_path, batch_size=4)
    with pytest.raises(ZooError, match="or a list of one or more"):
        gz.export(SMALL, tmp_path, format="litert", batch_size=[])


# === Precisions ===


def test_a_preset_may_name_its_scheme(tmp_path):
    """The preset's recipe is what `int8` means, layer by layer; other schemes are there by their names."""
    model = gz.load(SMALL)
    recipe = {"scheme": "weight_only_int8", "float32": ["decoder/logits"]}
    first = next(layer.name for layer in model.decoder.layers if layer.weights)
    recipe["float32"] = [f"decoder/{first}"]
    model.preset = presets.updated(model.preset, {"export": {"int8": recipe}})
    paths = exporting.export_all(model, tmp_path, [("litert", None), ("litert", "int8"), ("litert", "dynamic_int8")])
    report = json.loads(paths[1].with_name(paths[1].name + ".export.json").read_text())
    assert report["scheme"] == recipe
    whole, mixed, small = (path.stat().st_size for path in paths)
    assert 0.5 * whole < mixed < 0.7 * whole  # the decoder is half of the weights
    assert small < 0.3 * whole
    assert gz.inspect(paths[1])["description"]["scheme"] == recipe


def test_a_scheme_that_is_not_there_is_refused_with_the_key(tmp_path):
    preset = presets.find(SMALL)
    with pytest.raises(ZooError, match=r"`export\.int8\.scheme`"):
        presets.updated(preset, {"export": {"int8": {"scheme": "int9"}}})
    with pytest.raises(ZooError, match=r"export\.int7"):
        presets.updated(preset, {"export": {"int7": {"scheme": "w8a8"}}})


def test_the_next_scheme_is_tried_where_the_first_disagrees(tmp_path, monkeypatch):
    """A model without a recipe gets the first scheme that is good."""
    run, seen = exporting.litert.run, []

    def worse(path, inputs, **options):
        outputs = run(path, inputs, **options)
        seen.append(path)
        if len(seen) == 1:
            for by_endpoint in outputs.values():
                by_endpoint["decode"]["images"] = 1 - by_endpoint["decode"]["images"]
        return outputs

    monkeypatch.setattr(exporting.litert, "run", worse)
    model = gz.load(SMALL)
    model.preset = model.preset.model_copy(update={"export": presets.ExportConfig()})
    path = gz.export(model, tmp_path, format="litert", quantize="int8")
    report = json.loads(path.with_name(path.name + ".export.json").read_text())
    assert report["scheme"] == {"scheme": "weight_only_int8"}


# === Whatever is exported: the smallest graph ===

SMALL = "sparse_kl_mnist"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"format": "tfjs"}, "`format` must be one of saved_model, litert, onnx. Received: 'tfjs'"),
        ({"format": "litert", "quantize": "int2"}, "`quantize` must be None, 'float16', 'int8', .* Received: 'int2'"),
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
    run = exporting.litert.run

    def off_by_a_little(path, inputs, **options):
        outputs = run(path, inputs, **options)
        last = outputs["CompiledModel"]["decode"]  # one endpoint in one runtime is enough
        last["images"] = last["images"] + 2e-3
        return outputs

    monkeypatch.setattr(exporting.litert, "run", off_by_a_little)
    with pytest.raises(ZooError, match="disagrees with Keras in CompiledModel: decode/images"):
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
        f"runpy.run_path({str(exporting.litert._PROCESS)!r}, run_name='__main__')\n"
        "os.abort()\n"
    )
    monkeypatch.setattr(exporting.litert, "_PROCESS", script)
    model = gz.load(SMALL, weights=None)
    last = list(contract(model.preset))[-1]
    with pytest.raises(
        ZooError, match=rf"LiteRT's Interpreter cannot run {last} of {SMALL}.tflite \(its process ended with -6\)"
    ):
        gz.export(model, tmp_path / "out", format="litert")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_models_export_as_float32(dtype, tmp_path):
    model = gz.load("dcgan_mnist", weights=None, dtype=dtype)
    path = gz.export(model, tmp_path, format="litert")
    report = json.loads(path.with_name(path.name + ".export.json").read_text())
    assert not any(name.startswith("Flex") for name in report["ops"])


@pytest.mark.parametrize("format", ["saved_model", "litert", "onnx"])
def test_a_full_disk_is_one_error_and_leaves_nothing(format, tmp_path, file_limit):
    """TensorFlow tells of it by an error of its own."""
    model = gz.load("ae2d_mnist")
    with file_limit(60_000), pytest.raises(ZooError, match=r"^Cannot write \S*out: File too large$"):
        gz.export(model, tmp_path / "out", format=format)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("package", "options", "complaint"),
    [
        ("tf2onnx", {"format": "onnx"}, r"ONNX files need .*: pip install 'keras-genzoo\[onnx\]'"),
        ("onnxruntime", {"format": "onnx"}, r"ONNX files need .*: pip install 'keras-genzoo\[onnx\]'"),
        ("ai_edge_quantizer", {"format": "litert", "quantize": "int8"}, "need ai-edge-quantizer: pip install"),
    ],
)
def test_a_package_that_is_missing_is_named(package, options, complaint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ZooError, match=complaint):
        gz.export("ring2d", tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n", [0, -5, 2_000_000_000])
def test_a_wrong_number_of_samples_is_one_line(n, tmp_path):
    import tensorflow as tf

    model = tf.saved_model.load(str(gz.export("ring2d", tmp_path)))
    with pytest.raises(tf.errors.InvalidArgumentError) as refusal:
        model.sample(tf.constant(n), tf.constant([0, 1]))
    told = [line for line in str(refusal.value).splitlines() if "must be" in line]  # among TensorFlow's own lines
    assert len(told) == 1
    assert f"`n` must be an integer from 1 to 1,000,000. Received:] [{n}]" in told[0]


def test_labels_that_are_too_few_are_refused(tmp_path):
    import tensorflow as tf

    model = tf.saved_model.load(str(gz.export("cgan_mnist", tmp_path)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`labels` must be one class for each of the `n` images"):
        model.sample(tf.constant(3), tf.constant([0, 1]), tf.constant([1, 2]))


# === What users bring ===


@pytest.fixture(scope="module")
def conditional():
    """A conditional VAE, built by hand."""
    return gz.VAE(
        image_shape=(28, 28, 1), latent_dim=3, n_classes=10, seed=0, name="mine",
        encoder={"name": "mlp_encoder", "units": [8]}, decoder={"name": "mlp_decoder", "units": [8]},
    )  # fmt: skip


@pytest.mark.parametrize("format", ["saved_model", "litert", "onnx"])
def test_a_few_images_are_enough(format, conditional, tmp_path):
    images, labels = gz.data.arrays("mnist", "test")
    path = gz.export(conditional, tmp_path, format=format, data=(images[:10], labels[:10]))
    report = json.loads(path.with_name(f"{path.name}.export.json").read_text())
    assert {row["n"] for row in report["agreement"]} == {10}


def test_images_without_labels_are_not_enough_for_a_conditional_model(conditional, tmp_path):
    images, _ = gz.data.arrays("mnist", "test")
    with pytest.raises(ZooError, match=r"mine takes labels, and the test images of .* have none"):
        gz.export(conditional, tmp_path, data=images[:20])


@pytest.mark.parametrize("batch", [1, 3, "dynamic"])
def test_static_schemes_take_any_batch(batch, tmp_path, capfd):
    """Calibrated in batches of the file's own; nothing of the quantizer's progress is shown."""
    units = {"units": [16], "activation": "relu"}
    model = gz.Autoencoder(
        image_shape=(28, 28, 1), latent_dim=8, seed=0, name="mine",
        encoder={"name": "mlp_encoder", **units}, decoder={"name": "mlp_decoder", **units},
    )  # fmt: skip
    arrays = {split: gz.data.arrays("mnist", split)[0][:64] for split in ("train", "test")}
    path = gz.export(model, tmp_path, format="litert", quantize="w8a8", batch_size=batch, data=arrays)
    report = json.loads(path.with_name(f"{path.name}.export.json").read_text())
    assert report["scheme"] == {"scheme": "w8a8"}
    assert "Calibration" not in capfd.readouterr().err


def test_a_layer_that_is_not_there_is_named(tmp_path):
    model = gz.load(SMALL)
    recipe = {"scheme": "dynamic_int8", "float32": ["decoder/nonsense"]}
    model.preset = presets.updated(model.preset, {"export": {"int8": recipe}})
    with pytest.raises(ZooError, match="No layer of the model is called 'decoder/nonsense'"):
        gz.export(model, tmp_path, format="litert", quantize="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "recipe",
    [
        {"int4": {"scheme": "float16"}},
        {"int4": {"scheme": "dynamic_int8"}},
        {"int8": {"scheme": "dynamic_int4"}},
        {"int8": {"scheme": "dynamic_int8", "int8": ["decoder"]}},
    ],
)
def test_a_recipe_is_what_it_is_called(recipe):
    with pytest.raises(ZooError, match="export"):
        presets.updated(presets.find(SMALL), {"export": recipe})


def test_a_wrong_variant_is_said(tmp_path):
    with pytest.raises(ZooError, match=r"`variants` must be tuples \(format, quantize, batch_size\)"):
        exporting.export_all("ring2d", tmp_path, [("litert", None, 1, 2)])


def test_a_preset_whose_folder_is_gone_is_exported(tmp_path):
    gz.save(gz.load("ring2d"), tmp_path / "mine")
    model = gz.load(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine")
    about = gz.inspect(gz.export(model, tmp_path / "out", format="litert"))["description"]
    assert (about["preset_sha256"], about["weights_sha256"]) == (None, None)


def test_an_overwriting_save_knows_what_a_preset_has(tmp_path):
    """A copy of a preset of the zoo, which has exports.json, too."""
    shutil.copytree(presets.find("ring2d").folder, tmp_path / "copy")
    assert (tmp_path / "copy" / presets.EXPORTS_FILE).is_file()
    gz.save(gz.load("ring2d"), tmp_path / "copy", overwrite=True)


# === Strangers' files ===


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """The bytes of a small LiteRT file."""
    return gz.export("ring2d", tmp_path_factory.mktemp("ring"), format="litert").read_bytes()


def test_a_strangers_onnx_file_is_read(tmp_path):
    """A sequence output, as sklearn's exporters make, no shape, and weights in a file that is not there."""
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    s = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"]), helper.make_node("SequenceConstruct", ["y"], ["s"])]
    model = helper.make_model(helper.make_graph(nodes, "strange", [x], [y, s], [weight]))
    onnx.save(model, str(tmp_path / "strange.onnx"))
    onnx.save(model, str(tmp_path / "far.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink(missing_ok=True)
    for name in ("strange", "far"):
        found = gz.inspect(tmp_path / f"{name}.onnx")
        endpoint = found["endpoints"][name]
        assert found["description"] is None
        assert endpoint["inputs"] == {"x": {"dtype": "float32", "shape": [None, 3]}}
        assert endpoint["outputs"]["s"] == {"dtype": "sequence_type", "shape": None}
        assert endpoint["ops"] == {"Mul": 1, "SequenceConstruct": 1}
        assert any("sequence_type" in line for line in gz.inspecting.in_words(found))


@pytest.mark.parametrize(
    "description",
    [
        [1, 2], "text", 5, {}, {"endpoints": []}, {"endpoints": {"decode": []}},
        {"endpoints": {"decode": {"inputs": 1}}},
        {"endpoints": {"generate": {"inputs": {"z": 3}, "outputs": {}}}},
    ],
)  # fmt: skip
def test_a_description_of_another_form_is_none(description, ring, tmp_path):
    from keras_genzoo import flatbuffer

    path = tmp_path / "ring.tflite"
    path.write_bytes(flatbuffer.described(ring, description))
    found = gz.inspect(path)
    assert found["description"] is None
    assert "No description inside" in " ".join(gz.inspecting.in_words(found))


@pytest.mark.nightly
@pytest.mark.parametrize("format", ["onnx", "litert"])
@pytest.mark.parametrize("name", [*TINY, *VARIANTS])
def test_every_kind_of_model_is_exported(name, format, tmp_path):
    """Each prior and posterior, whose ops a converter may not know."""
    images, labels = gz.data.arrays("mnist", "test")
    model = build_tiny(name)
    height, width, channels = model.image_shape
    images = np.repeat(images[:20, :1, :1] if height < 28 else images[:20], channels, -1)
    images = np.resize(images, (20, height, width, channels))
    data = images, labels[:20]
    if "vamp" in name and format == "litert":  # draws a pseudo-input by the normal distribution function
        with pytest.raises(ZooError, match=r"LiteRT has no builtin op for tf\.Erf: the model cannot be a LiteRT file"):
            gz.export(model, tmp_path, format=format, name="tiny", data=data)
        return
    gz.export(model, tmp_path, format=format, name="tiny", data=data)


@pytest.mark.nightly
@pytest.mark.parametrize("format", ["onnx", "litert"])
@pytest.mark.parametrize(
    "likelihood",
    ["bernoulli", "continuous_bernoulli", "gaussian", {"name": "gaussian", "sigma": "learned"}, "discretized_logistic"],
)
def test_every_likelihood_is_exported(likelihood, format, tmp_path):
    """As does log(1 + x), for which ONNX has no op."""
    units = {"units": [8]}
    vae = gz.VAE(
        image_shape=(28, 28, 1), latent_dim=3, likelihood=likelihood, seed=0,
        encoder={"name": "mlp_encoder", **units}, decoder={"name": "mlp_decoder", **units},
    )  # fmt: skip
    gz.export(vae, tmp_path, format=format, name="tiny", data=gz.data.arrays("mnist", "test")[0][:20])
