"""evaluate: rows that say what they are, and a likelihood that is one."""

import json
import warnings

import numpy as np
import pytest
import tensorflow as tf
from helpers import PRESET, TINY_SWAP, W_CORRELATED, W_ORTHOGONAL, X, linear_vae, log_p, posterior_gap, preset_of

import keras_genzoo as gz
from keras_genzoo import data, engine, evaluation, plots, presets
from keras_genzoo.errors import ZooError
from keras_genzoo.models.autoencoder import measures as autoencoder_measures
from keras_genzoo.models.vae import measures


def test_importance_weighting_in_chunks_is_importance_weighting(tiny, monkeypatch):
    """Chunks change memory, not the estimate; more draws raise the bound; it stays above the ELBO."""
    vae = tiny("vae", learning_rate=1e-2)
    vae.fit(data.load("mnist", "train", binarize="dynamic", batch_size=100).take(100), verbose=0)  # so that z matters
    images = data.to_unit(data.binarize_fixed(data.arrays("mnist", "test")[0][:30], seed=0))
    few, elbo = measures.importance_weighted(vae, images, n_samples=4, seed=0)
    many, elbo_many = measures.importance_weighted(vae, images, n_samples=400, seed=0)
    assert few.shape == elbo.shape == (30,)
    assert np.all(few >= elbo - 1e-3)
    assert many.mean() > few.mean() + 0.5
    monkeypatch.setattr(measures, "_CHUNK", (7, 33))
    chunked, elbo_chunked = measures.importance_weighted(vae, images, n_samples=400, seed=1)
    spread = np.std(elbo_many - elbo_chunked)
    assert abs(elbo_many.mean() - elbo_chunked.mean()) < 5 * spread / np.sqrt(30) + 1e-3
    assert abs(many.mean() - chunked.mean()) < 1.0


def test_importance_weighting_finds_a_likelihood_that_is_known(monkeypatch):
    """A linear-Gaussian VAE with its exact posterior: every estimate is log p(x), whatever the chunks."""
    monkeypatch.setattr(measures, "_CHUNK", (4, 7))
    found, elbo = measures.importance_weighted(linear_vae(W_ORTHOGONAL)[0], X, n_samples=17, seed=0)
    np.testing.assert_allclose(found, log_p(W_ORTHOGONAL), atol=1e-4)
    np.testing.assert_allclose(elbo, log_p(W_ORTHOGONAL), atol=1e-4)
    # A posterior that is only the best diagonal one: the ELBO falls short by the known gap, many draws close it. The
    # weights' logarithm spreads by about 0.3 nats: 0.004 is one standard error of a mean over the draws.
    vae, precision = linear_vae(W_CORRELATED)
    gap = posterior_gap(precision, mean_shift=0.0, variance_factor=1.0)
    found, elbo = measures.importance_weighted(vae, X, n_samples=7000, seed=0)
    assert gap > 0.03
    np.testing.assert_allclose(elbo, log_p(W_CORRELATED) - gap, atol=0.02)
    np.testing.assert_allclose(found, log_p(W_CORRELATED), atol=0.02)


def test_a_gpu_is_given_more_at_once(tiny, mnist, monkeypatch):
    vae, images = tiny("vae"), (mnist[:45] > 0.5).astype("float32")
    chunk, seen = measures._chunk, []
    monkeypatch.setattr(measures, "_chunk", lambda *a: seen.append(a[3]) or chunk(*a))
    monkeypatch.setattr(engine, "has_gpu", lambda: True)
    measures.importance_weighted(vae, images, n_samples=3, seed=0)
    assert seen == [20, 20, 20]


def test_a_card_is_measured_in_whole_float32(tiny, monkeypatch):
    """Not in TensorFloat-32, to which a GPU's products are set otherwise, before and after."""
    enabled, seen = tf.config.experimental.tensor_float_32_execution_enabled, []
    monkeypatch.setattr(autoencoder_measures, "MEASURES", [lambda model, test: seen.append(enabled()) or []])
    with pytest.raises(ZooError, match="nothing to measure"):
        evaluation.evaluate("ae2d_mnist", n_images=10)
    assert seen == [False]
    assert enabled()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache folder, empty; what is done is written after every chunk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measures, "_KEEP_SECONDS", -1)
    monkeypatch.setattr(measures, "_CHUNK", (10, 50))
    return tmp_path / "keras_genzoo"


def test_an_interrupted_estimate_goes_on_where_it_stopped(tiny, mnist, cache, monkeypatch):
    """The same numbers to the bit, no image measured twice, nothing left behind; another estimate starts afresh."""
    vae = tiny("vae")
    images = (mnist[:45] > 0.5).astype("float32")
    arguments = {"n_samples": 70, "seed": 3, "resume": True}
    whole = measures.importance_weighted(vae, images, **arguments)
    assert list(cache.iterdir()) == []
    chunk, seen = measures._chunk, []

    def until_the_third(images, labels, start, n):
        seen.append(start)
        if start == 20:
            raise KeyboardInterrupt
        return chunk(images, labels, start, n)

    monkeypatch.setattr(measures, "_chunk", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        measures.importance_weighted(vae, images, **arguments)
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    monkeypatch.setattr(measures, "_chunk", lambda *a: seen.append(a[2]) or chunk(*a))
    resumed = measures.importance_weighted(vae, images, **arguments)
    assert seen == [0, 10, 20, 20, 30, 40]
    np.testing.assert_array_equal(resumed, whole)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("change", ["seed", "draws", "images", "weights"])
def test_what_is_kept_is_of_one_estimate_alone(change, tiny, mnist, cache):
    vae = tiny("vae")
    images = (mnist[:20] > 0.5).astype("float32")
    measures._Partial(vae, images, None, 70, 3, (10, 50)).keep(np.zeros(20), np.zeros(20), 10)
    arguments = {"n_samples": 70, "seed": 3}
    if change == "seed":
        arguments["seed"] = 4
    elif change == "draws":
        arguments["n_samples"] = 71
    elif change == "images":
        images = 1 - images
    else:
        vae.set_weights([w + 0.01 for w in vae.get_weights()])
    assert measures._Partial(vae, images, None, *arguments.values(), (10, 50)).read()[2] == 0


def test_a_cache_that_cannot_be_written_or_is_damaged_does_no_harm(tiny, mnist, cache):
    vae = tiny("vae")
    images = (mnist[:20] > 0.5).astype("float32")
    partial = measures._Partial(vae, images, None, 5, 0, (10, 50))
    partial.keep(np.zeros(20), np.zeros(20), 10)
    partial.path.write_bytes(b"half a fi")
    assert np.isfinite(measures.importance_weighted(vae, images, n_samples=5, seed=0, resume=True)).all()
    cache.rmdir()
    cache.write_text("a file where the folder should be")
    assert np.isfinite(measures.importance_weighted(vae, images, n_samples=5, seed=0, resume=True)).all()


@pytest.mark.nightly
def test_conditional_likelihoods_are_of_images_with_their_labels(tiny, mnist):
    vae = tiny("conditional vae", learning_rate=1e-2, likelihood="bernoulli")
    train = data.load("mnist", "train", binarize="dynamic", labels=True, batch_size=100).take(150)
    vae.fit(train, verbose=0)
    pixels, labels = data.arrays("mnist", "test")
    images = data.to_unit(data.binarize_fixed(pixels[:100], seed=0))
    right, _ = measures.importance_weighted(vae, images, labels=labels[:100], n_samples=50, seed=0)
    wrong, _ = measures.importance_weighted(vae, images, labels=(labels[:100] + 5) % 10, n_samples=50, seed=0)
    assert right.mean() > wrong.mean() + 5


def test_rows_of_a_vae_say_how_it_was_measured(few_training_images):
    rows = {row["metric"]: row for row in gz.evaluate("vae_mnist", n_images=60, n_importance_samples=20, n_samples=300)}
    assert rows["nll"]["value"] < -rows["elbo"]["value"]
    assert "20 samples of q(z|x), dynamic binarisation" in rows["nll"]["protocol"]
    assert rows["bits_per_dim"]["value"] == pytest.approx(rows["nll"]["value"] / 784 / np.log(2), rel=1e-5)
    assert rows["frechet_distance_mixture"]["value"] < rows["frechet_distance"]["value"]
    assert "mixture of 10 Gaussians" in rows["frechet_distance_mixture"]["protocol"]


def test_rows_of_a_gan_name_the_judge(tiny):
    rows = {row["metric"]: row for row in gz.evaluate(gz.load("dcgan_mnist"), n_samples=500, n_images=500)}
    assert rows["frechet_distance"]["n"] == 500
    judge = gz.presets.find("classifier_mnist").record("weights.json")["sha256"][:12]
    assert judge in rows["frechet_distance"]["protocol"]
    assert "not Inception-FID" in rows["frechet_distance"]["protocol"]
    assert 0 < rows["frechet_distance_floor"]["value"] < rows["frechet_distance"]["value"]
    for metric in ("precision", "recall", "density", "coverage"):
        assert "500 samples, 500 test images, 5 nearest neighbours" in rows[metric]["protocol"]
    assert rows["coverage"]["value"] < rows["coverage_of_train"]["value"]
    assert rows["coverage_of_train"]["value"] == pytest.approx(1 - 2**-5, abs=0.04)


@pytest.mark.nightly
def test_an_untrained_generator_is_far_and_a_trained_one_near():
    trained = {r["metric"]: r["value"] for r in gz.evaluate("dcgan_mnist", n_samples=1000, n_images=3000)}
    model = gz.load("dcgan_mnist", weights=None)
    fresh = {r["metric"]: r["value"] for r in gz.evaluate(model, n_samples=1000, n_images=3000)}
    assert fresh["frechet_distance"] > 5 * trained["frechet_distance"]
    assert fresh["label_histogram_kl"] > 1  # one class for all
    assert trained["classes_covered"] == 10
    assert fresh["precision"] < 0.1 < 0.5 < trained["precision"]
    assert 10 * fresh["coverage"] < trained["coverage"]


def test_the_same_evaluation_gives_the_same_rows():
    a, b = (gz.evaluate("vae_mnist", n_images=40, n_importance_samples=10, n_samples=50) for _ in range(2))
    assert a == b


def test_codes_are_probed_beside_pixels_and_pca(few_training_images):
    rows = {row["metric"]: row for row in gz.evaluate("ae_mnist", n_images=1000, n_probe_images=1500)}
    errors = {key: row["value"] for key, row in rows.items() if key.endswith("_error") and row["unit"] == ""}
    assert set(errors) == {
        f"{of}{probe}" for of in ("", "pca_", "pixels_") for probe in ("linear_probe_error", "knn_error")
    }
    assert all(0.01 < value < 0.25 for value in errors.values())
    assert "30 numbers) of 1,500 training images" in rows["pca_linear_probe_error"]["protocol"]
    assert "784 numbers" in rows["pixels_knn_error"]["protocol"]
    assert rows["active_fraction"]["value"] == 1


def test_without_scikit_learn_all_else_is_measured(monkeypatch, few_training_images):
    monkeypatch.setattr(gz.metrics, "scikit_learn_is_here", lambda: False)
    with pytest.warns(UserWarning, match=r"not probed: pip install 'keras-genzoo\[probes\]'"):
        metrics = {row["metric"] for row in gz.evaluate("ae_mnist", n_images=10)}
    assert metrics == {"squared_error", "psnr", "pca_squared_error"}
    with pytest.warns(UserWarning, match=r"No mixture was fitted to the codes: pip install 'keras-genzoo\[probes\]'"):
        rows = gz.evaluate("vae_mnist", n_images=10, n_importance_samples=2, n_samples=100)
    assert "frechet_distance" in {row["metric"] for row in rows}


def test_a_denoiser_is_measured_on_noise(few_training_images):
    rows = {row["metric"]: row["value"] for row in gz.evaluate("denoising_mnist", n_images=500, n_probe_images=200)}
    for level in (0.1, 0.25, 0.5):
        assert rows[f"denoised_psnr_{level}"] > rows[f"noisy_psnr_{level}"] + 3
    assert rows["denoised_psnr_0.1"] > rows["denoised_psnr_0.25"] > rows["denoised_psnr_0.5"]
    assert "denoised_psnr_0.1" not in {row["metric"] for row in gz.evaluate("ae_mnist", n_images=9, n_probe_images=200)}


def test_bad_input(tiny):
    with pytest.raises(ZooError, match=r"data set is not known"):
        gz.evaluate(tiny("vae"))
    with pytest.raises(ZooError, match="Unknown preset"):
        gz.evaluate("vae_mist")
    with pytest.raises(ZooError, match=r"`n_samples` must be >= 1. Received: 0"):
        gz.evaluate("dcgan_mnist", n_samples=0)


def mode_counter(tmp_path, data_name, image_shape):
    """A fresh GAN of a data set whose modes are counted."""
    (tmp_path / "preset.yaml").write_text(f"""
family: gan
description: x
data: {{name: {data_name}}}
model:
  image_shape: {image_shape}
  latent_dim: 2
  generator: {{name: mlp_generator, units: [4]}}
  discriminator: {{name: mlp_discriminator, units: [4]}}
training:
  epochs: 1
  batch_size: 100
  optimizers: {{g_optimizer: {{learning_rate: 1e-3}}, d_optimizer: {{learning_rate: 1e-3}}}}
evaluation: {{metric: modes, n_samples: 4000}}
""")
    return gz.load(tmp_path, weights=None)


def test_modes_of_points_are_counted(tmp_path):
    gan = mode_counter(tmp_path, "ring2d", [1, 1, 2])
    rows = {row["metric"]: row for row in gz.evaluate(gan)}
    assert next(iter(rows)) == "modes"
    assert rows["high_quality"]["value"] < 0.1
    assert rows["modes_of_data"]["value"] == 8
    assert rows["high_quality_of_data"]["value"] == pytest.approx(1 - np.exp(-4.5), abs=0.01)
    points, labels = gz.data.arrays("ring2d", "train")
    gan.sample = lambda n, seed: points[labels < 4][:n]
    rows = {row["metric"]: row for row in gz.evaluate(gan)}
    assert (rows["modes"]["value"], rows["modes"]["unit"], rows["modes"]["n"]) == (4, "of 8", 4000)
    assert rows["reverse_kl"]["value"] == pytest.approx(np.log(2), abs=0.01)


@pytest.mark.nightly
def test_modes_of_stacked_mnist_are_counted(tmp_path):
    gan = mode_counter(tmp_path, "stacked_mnist", [28, 28, 3])
    images, numbers = gz.data.arrays("stacked_mnist", "test")
    gan.sample = lambda n, seed: gz.data.to_unit(images[:n])
    rows = {row["metric"]: row["value"] for row in gz.evaluate(gan)}
    assert rows["modes"] == pytest.approx(len(np.unique(numbers[:4000])), abs=10)  # the judge errs now and then
    assert rows["reverse_kl_floor"] == pytest.approx(999 / 8000)
    assert rows["reverse_kl"] == pytest.approx(rows["reverse_kl_floor"], rel=0.15)
    gan.sample = lambda n, seed: gz.data.to_unit(images[numbers // 100 == 7][:1].repeat(n, 0))
    rows = {row["metric"]: row["value"] for row in gz.evaluate(gan)}
    assert rows["modes"] == 1
    assert rows["reverse_kl"] == pytest.approx(np.log(1000), rel=0.1)


def test_swaps_are_scored_against_the_truth(tmp_path):
    """A model that knows the answer scores as the truth does, one that hands the source on as the baseline does."""
    rng, stored = np.random.default_rng(0), {}
    rows, columns = np.mgrid[:96, :96]
    angles = np.concatenate([np.linspace(0, np.pi, 17), np.linspace(2 * np.pi, np.pi, 12)[1:-1]])
    outline = np.zeros((68, 2))
    outline[:27] = 28 * np.stack([np.cos(angles), np.sin(angles)], -1)
    for split, n in (("train", 200), ("test", 12)):
        places = rng.uniform(36, 60, (n, 2))
        for side, grey in (("a", 200), ("b", 90)):
            if split == "train":
                places = rng.uniform(36, 60, (n, 2))
            distance = np.hypot(columns - places[:, 0, None, None], rows - places[:, 1, None, None])
            shape = (distance < 24) & ((distance > 10) | (side == "a"))  # a disc and a ring
            stored |= {
                f"{split}_{side}": np.where(shape, grey, 30).astype("uint8")[..., None].repeat(3, -1),
                f"{split}_{side}_landmarks68": (places[:, None] + outline).astype("float16"),
                f"{split}_{side}_pose": ((places - 48) / 50 @ np.eye(2, 3)).astype("float32"),
            }
    (tmp_path / "faces").mkdir()
    np.savez(tmp_path / "faces" / "faces_ab.npz", **stored)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "preset.yaml").write_text(TINY_SWAP.format(side=32, metric="swap_psnr"))
    model = gz.load(tmp_path / "mine", weights=None)
    images = {
        side: gz.data.to_unit(gz.zoo.arrays(model, "test", name=f"rendered_faces_{side}", data_dir=tmp_path)[0])
        for side in "ab"
    }

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "pose_error_to_b" in strict(evaluation.evaluate(model, data_dir=tmp_path, n_images=1, verbose=False))

    def measured(swap):
        model.swap = swap
        found = evaluation.evaluate(model, data_dir=tmp_path, verbose=False)
        assert found[0]["metric"] == "swap_psnr"
        return {row["metric"]: row["value"] for row in found}

    right = measured(lambda x, to: images[to] + np.float32(0.01))
    still = measured(lambda x, to: x)
    for to in "ab":
        assert right[f"psnr_to_{to}"] == pytest.approx(40, abs=0.01)
        assert right[f"ssim_to_{to}"] > 0.99
        assert right[f"identity_accuracy_to_{to}"] == right[f"identity_accuracy_to_{to}_of_truth"] > 0.9
        for what in ("landmark", "pose"):
            known = right[f"{what}_error_to_{to}_of_truth"]
            assert right[f"{what}_error_to_{to}"] == pytest.approx(known, rel=1e-3)
        assert right[f"landmark_error_to_{to}"] < 1.5
        assert still[f"identity_accuracy_to_{to}"] < 0.2
        for metric in ("psnr", "ssim"):
            assert still[f"{metric}_to_{to}"] == pytest.approx(still[f"{metric}_to_{to}_of_source"])
            assert still[f"{metric}_to_{to}_of_source"] < right[f"{metric}_to_{to}"]
            assert f"{metric}_to_{to}_of_mean" in right
            assert f"{metric}_to_{to}_of_colour" in right


def strict(rows):
    """Rows by metric, after a way through JSON as its standard has it."""
    json.dumps(rows, allow_nan=False)
    return {row["metric"]: row for row in rows}


# Family, and what takes more test images than there are.
_SPREADS = ["frechet_distance", "kernel_distance", "frechet_distance_floor", "kernel_distance_floor"]
_NEIGHBOURS = [f"{m}{end}" for end in ("", "_of_train") for m in ("precision", "recall", "density", "coverage")]
_PER_CLASS = ["label_histogram_kl", "least_class_diversity", "greatest_class_diversity"]
FEW = {
    "ae_mnist": {1: []},
    "vae_mnist": {
        1: ["nll_standard_error", "active_units", *_SPREADS, *_NEIGHBOURS, "label_histogram_kl"],
    },
    "cvae_mnist": {1: ["nll_standard_error", "active_units", *_SPREADS, *_NEIGHBOURS, "label_histogram_kl"]},
    "cgan_mnist": {1: [*_SPREADS, *_NEIGHBOURS, *_PER_CLASS], 3: [*_NEIGHBOURS, *_PER_CLASS], 100: []},
    "classifier_mnist": {1: []},
    "ring2d": {1: []},
}


@pytest.mark.parametrize(("name", "n"), [(name, n) for name, cases in FEW.items() for n in cases])
def test_few_test_images_give_no_number_that_is_none(name, n, few_training_images):
    """What they do not suffice for is left out, and told with the argument and the number that would do."""
    measured = {row["metric"] for row in presets.find(name).record(presets.METRICS_FILE)["rows"]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of empty means and divisions by 0
        rows = gz.evaluate(name, n_images=n, n_importance_samples=2, n_samples=50, n_probe_images=100, verbose=False)
    found, missing = strict(rows), FEW[name][n]
    mixture = {f"{metric}_mixture" for metric in _SPREADS[:2] if n == 1}
    assert measured - set(found) - mixture == set(missing)
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert all("`n_images`" in line and line.startswith("Not measured: ") for line in told)
    assert all(
        any(metric.removesuffix("_floor").removesuffix("_of_train") in line for line in told) for metric in missing
    )
    if "precision" in missing:
        assert any("precision, recall, density and coverage: that takes 6 test images" in line for line in told)


def test_few_samples_are_told_by_their_argument():
    with pytest.warns(UserWarning, match=r"coverage: that takes 6 samples \(`n_samples`\), and there are 5"):
        rows = strict(gz.evaluate("cgan_mnist", n_samples=5, n_images=500, verbose=False))
    assert "frechet_distance" in rows
    assert not {"precision", "least_class_diversity"} & set(rows)
    with pytest.warns(UserWarning, match=r"they take 100 training images of two classes \(`n_probe_images`\)"):
        assert "linear_probe_error" not in strict(
            gz.evaluate("ae2d_mnist", n_images=5, n_probe_images=99, verbose=False)
        )
    with pytest.raises(ZooError, match=r"`n_samples` must be an integer n >= 2\. Received: 1"):
        gz.evaluate("vae_mnist", n_samples=1)


def test_a_number_that_is_not_finite_is_left_out(monkeypatch):
    """Such as the PSNR of an image that comes back as it was, or what a family of another package measures."""
    numbers = {"infinite": np.inf, "none": np.nan, "one": np.float32(1)}
    measure = lambda model, test: [test.row(metric, value, "", "") for metric, value in numbers.items()]  # noqa: E731
    monkeypatch.setattr(autoencoder_measures, "MEASURES", [measure])
    with pytest.warns(UserWarning, match="Not measured: ") as told:
        assert set(strict(evaluation.evaluate("ae2d_mnist", n_images=3))) == {"one"}
    told = [warning.message for warning in told if warning.category is UserWarning]  # Keras has some of NumPy's
    assert [str(message).partition(": ")[2] for message in told] == [
        "infinite: its value is inf",
        "none: its value is nan",
    ]
    del numbers["one"]
    complaint = "nothing left to measure: infinite: its value is inf; none: its value is nan"
    with pytest.warns(UserWarning, match="Not measured"), pytest.raises(ZooError, match=complaint):
        evaluation.evaluate("ae2d_mnist", n_images=3)


def test_bits_are_per_dimension_of_which_a_pixel_of_colours_has_three(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        plots.write_png(rng.random((8, 8, 3)), tmp_path / "images" / f"{i}.png")
    text = PRESET.replace("{name: mnist, binarize: dynamic}", f"{{name: 'folder:{tmp_path / 'images'}'}}").replace(
        "model:", "model:\n  image_shape: [8, 8, 3]\n  likelihood: discretized_logistic"
    )
    preset = preset_of(text, tmp_path / "rgb")
    presets.trust(preset)
    model = gz.load(preset.folder, weights=None)
    rows = strict(gz.evaluate(model, verbose=False))
    assert rows["bits_per_dim"]["protocol"] == "nll / (192 dimensions x log 2)"
    assert rows["bits_per_dim"]["value"] == pytest.approx(rows["nll"]["value"] / (8 * 8 * 3) / np.log(2), rel=1e-5)
    assert 7 < rows["bits_per_dim"]["value"] < 12  # noise of 256 values has 8 bits


def test_an_evaluation_says_how_long_it_took(tmp_path, cache, monkeypatch):
    """With the part before an interruption."""
    monkeypatch.setattr(measures, "MEASURES", [measures.likelihood])
    vae = gz.load(preset_of(PRESET, tmp_path / "tiny").folder, weights=None)
    arguments = {"n_images": 30, "n_samples": 50, "verbose": False}
    rows = gz.evaluate(vae, **arguments)
    assert 0 < rows.seconds < 60
    images = data.as_seen(data.arrays("mnist", "test")[0][:30], binarize="dynamic")
    before = measures._Partial(vae, images, None, 3, 0, (10, 50))
    before.started_at -= 1000
    before.keep(np.zeros(30), np.zeros(30), 10)
    rows = gz.evaluate(vae, **arguments)
    assert 1000 < rows.seconds < 1060
    stored = json.loads(evaluation.write(vae.preset, rows).read_text())
    assert stored["seconds"] == pytest.approx(rows.seconds, abs=0.1)
    assert stored["device"]
    assert stored["rows"] == rows


def test_accuracy_without_labels_is_refused(monkeypatch):
    arrays = gz.zoo.arrays
    monkeypatch.setattr(gz.zoo, "arrays", lambda *a, **k: (arrays(*a, **k)[0], None))
    with pytest.raises(ZooError, match="Accuracy needs labels, and the test images of mnist have none"):
        gz.evaluate("classifier_mnist", n_images=5)
