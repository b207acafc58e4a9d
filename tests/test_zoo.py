"""load and save: weights that are checked, folders that are whole or absent."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import PRESET, run_python

import keras_genzoo as gz
from keras_genzoo import files, presets, zoo
from keras_genzoo.errors import ZooError


@pytest.fixture
def preset(tmp_path):
    folder = tmp_path / "tiny_vae"
    folder.mkdir()
    (folder / "preset.yaml").write_text(PRESET)
    return presets.find(folder)


@pytest.fixture
def saved(preset, tmp_path):
    """A saved preset folder and the model in it."""
    model = gz.load(preset.folder, weights=None)
    gz.save(model, tmp_path / "saved")
    return tmp_path / "saved", model


def test_save_and_load_give_the_same_model(saved):
    folder, model = saved
    again = gz.load(folder)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.sample(3, seed=1), model.sample(3, seed=1))
    assert again.preset.training == model.preset.training
    assert {path.name for path in folder.iterdir()} == {"preset.yaml", "model.weights.h5", "weights.json", "golden.npz"}
    size = (folder / "model.weights.h5").stat().st_size
    assert size < 0.97 * 4 * zoo.parameter_count(model) + 50_000  # compressed, and no optimizer state


def test_half_precision_weights_are_the_same_but_for_their_rounding(saved, tmp_path):
    """Half the file, whose record and example are of what it holds; counters and random state are not rounded."""
    folder, model = saved
    model.train_steps.assign(4097)  # float16 knows 4096 and 4100
    gz.save(model, tmp_path / "half", weights_dtype="float16")
    again = gz.load(tmp_path / "half")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2**-11, atol=1e-7)
    assert any(np.any(a != b) for a, b in zip(again.get_weights(), model.get_weights(), strict=True))
    assert int(again.train_steps.numpy()) == 4097
    np.testing.assert_array_equal(again.seed_generator.state, model.seed_generator.state)
    whole, half = ((path / "model.weights.h5").stat().st_size for path in (folder, tmp_path / "half"))
    assert whole - half > 1.6 * zoo.parameter_count(model)  # bytes: 2 less each, what compression already took aside
    with np.load(tmp_path / "half" / "golden.npz") as stored:
        np.testing.assert_allclose(again.decode(stored["decode/in/z"]), stored["decode/out/images"], atol=1e-6)
    with pytest.raises(ZooError, match=r"`weights_dtype` must be 'float32' or 'float16'. Received: 'int8'"):
        gz.save(model, tmp_path / "other", weights_dtype="int8")


def test_a_fine_tuned_model_round_trips_without_its_optimizer(saved, mnist, tmp_path):
    folder, _ = saved
    model = gz.load(folder)
    model.fit(mnist, epochs=1, verbose=0)
    gz.save(model, tmp_path / "tuned")
    again = gz.load(str(tmp_path / "tuned"))
    assert int(again.train_steps.numpy()) == 512 // 32
    np.testing.assert_array_equal(again.decode(np.ones((1, 4))), model.decode(np.ones((1, 4))))
    # h5py lists what the file holds: no optimizer state in what people download
    import h5py

    with h5py.File(tmp_path / "tuned" / "model.weights.h5") as file:
        held = []
        file.visit(held.append)
    assert not any("optimizer" in key for key in held)


def test_mixed_precision_weights_are_saved_as_float32(preset, tmp_path):
    model = gz.load(preset.folder, weights=None, dtype="mixed_bfloat16")
    gz.save(model, tmp_path / "mixed")
    again = gz.load(tmp_path / "mixed")
    assert again.dtype_policy.name == "float32"
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_learning_rates_of_loaded_models(saved):
    folder, _ = saved
    assert float(gz.load(folder).optimizer.learning_rate) == pytest.approx(1e-4)
    assert float(gz.load(folder, weights=None).optimizer.learning_rate) == pytest.approx(1e-3)


def test_existing_folders_are_kept(saved):
    folder, model = saved
    (folder / "note.txt").write_text("mine")
    with pytest.raises(ZooError, match="exists"):
        gz.save(model, folder)
    with pytest.raises(ZooError, match=r"holds other files than a preset's: note.txt; move them"):
        gz.save(model, folder, overwrite=True)
    assert (folder / "note.txt").read_text() == "mine"
    (folder / "note.txt").unlink()
    gz.save(model, folder, overwrite=True)
    gz.load(folder)


def test_an_interrupted_save_leaves_what_was_there(saved, monkeypatch):
    folder, model = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def stopped(*_):
        raise KeyboardInterrupt

    rename = os.rename

    def stopped_on_arrival(old, new):  # between the two renames that replace the folder where nothing exchanges them
        if Path(new) == folder and ".replaced" not in str(old):
            raise KeyboardInterrupt
        rename(old, new)

    for name, replacement in (("keras_genzoo.zoo.golden", stopped), ("os.rename", stopped_on_arrival)):
        with monkeypatch.context() as patch:
            patch.setattr("keras_genzoo.files._exchanged", lambda *_: False)
            patch.setattr(name, replacement)
            with pytest.raises(KeyboardInterrupt):
                gz.save(model, folder, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(zoo, "golden", stopped)
        with pytest.raises(KeyboardInterrupt):
            gz.save(model, folder.parent / "other")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in folder.parent.iterdir()} == {"tiny_vae", "saved"}


def test_a_folder_that_a_killed_save_moved_away_is_found_and_kept(saved):
    """Where nothing exchanges two folders in one step, there is a moment in which nothing is at the path."""
    folder, model = saved
    for door in (lambda: gz.load(folder), lambda: gz.save(model, folder, overwrite=True)):
        folder.rename(folder.with_name(".saved.replaced"))
        door()
        gz.load(folder)
    folder.rename(folder.with_name(".saved.replaced"))
    with pytest.raises(ZooError, match="saved exists"):
        gz.save(model, folder)
    gz.load(folder)


@pytest.mark.parametrize("weights_dtype", ["float32", "float16"])
def test_a_full_disk_is_an_error_and_the_old_folder_stays(saved, weights_dtype, file_limit):
    """HDF5 itself would end the process, by a segmentation fault, wherever the disk is full under its file."""
    folder, model = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    gz.save(model, folder.parent / "whole", weights_dtype=weights_dtype)
    size = (folder.parent / "whole" / "model.weights.h5").stat().st_size
    for limit in (0, 100, 1_000, 3_000, 9_000, size // 2, size - 1):
        with file_limit(limit), pytest.raises(ZooError, match=r"Cannot write .*: File too large"):
            gz.save(model, folder, overwrite=True, weights_dtype=weights_dtype)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in folder.parent.iterdir()} == {"tiny_vae", "saved", "whole"}
    with file_limit(size):
        gz.save(model, folder, overwrite=True, weights_dtype=weights_dtype)
    gz.load(folder)


def test_damaged_weights_are_refused(saved):
    folder, _ = saved
    file = folder / "model.weights.h5"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(ZooError, match=r"model.weights.h5 is truncated or replaced: \d+ bytes, \d+ expected"):
        gz.load(folder)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(ZooError, match=r"model.weights.h5 is damaged or replaced: its SHA-256"):
        gz.load(folder)
    file.unlink()
    with pytest.raises(ZooError, match=r"has no weights .* keras-genzoo train"):
        gz.load(folder)
    gz.load(folder, weights=None)


@pytest.mark.parametrize(
    ("old", "new"),
    [("latent_dim: 4", "latent_dim: 5"), ("units: [16]", "units: [16, 16]"), ("units: [16]", "units: []")],
    ids=["wider", "deeper", "shallower"],
)
def test_weights_of_another_architecture_are_refused(saved, preset, old, new):
    folder, _ = saved
    (preset.folder / "preset.yaml").write_text(PRESET.replace(old, new))
    with pytest.raises(ZooError, match=r"model.weights.h5 does not hold the weights of this VAE"):
        gz.load(preset.folder, weights=folder / "model.weights.h5")


def test_weights_of_another_family_are_refused(saved):
    folder, _ = saved
    with pytest.raises(ZooError, match="does not hold the weights of this Autoencoder"):
        gz.load("ae_mnist", weights=folder / "model.weights.h5")
    with pytest.raises(ZooError, match=r"'nowhere.weights.h5' does not exist"):
        gz.load("ae_mnist", weights="nowhere.weights.h5")
    (folder / "text.weights.h5").write_text("not HDF5")
    with pytest.raises(ZooError, match="does not hold the weights"):
        gz.load("ae_mnist", weights=folder / "text.weights.h5")


def test_unwritable_places_are_named(saved, tmp_path):
    _, model = saved
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match=r"Cannot write .*file/inside"):
        gz.save(model, tmp_path / "file" / "inside")


def test_what_needs_a_preset_says_so(tiny):
    with pytest.raises(ZooError, match=r"The model has no preset: .* keras_genzoo.save\(model, DIR, data=...\)"):
        zoo.arrays(tiny("vae"), "test")
    with pytest.raises(ZooError, match=r"`name` must be a preset's name or path. Received: 3"):
        gz.load(3)


def test_a_full_disk_is_one_error_and_leaves_nothing(saved, monkeypatch):
    folder, model = saved
    monkeypatch.setattr(zoo, "golden", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ZooError, match=r"Cannot write .*other: No space left on device"):
        gz.save(model, folder.parent / "other")
    assert {path.name for path in folder.parent.iterdir()} == {"tiny_vae", "saved"}


def test_only_preset_folders_are_replaced(saved, tmp_path):
    _, model = saved
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "t.tex").write_text("mine")
    with pytest.raises(ZooError, match="is no preset folder"):
        gz.save(model, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "t.tex").read_text() == "mine"


@pytest.mark.nightly
def test_a_keras_file_loads_in_a_new_process(saved, tmp_path):
    _, model = saved
    model.save(tmp_path / "vae.keras")
    np.save(tmp_path / "expected.npy", model.sample(3, seed=5))
    script = (
        "import sys, numpy as np, keras_genzoo as gz; model = gz.load(sys.argv[1]); "
        "np.testing.assert_array_equal(model.sample(3, seed=5), np.load(sys.argv[2])); "
        "assert float(model.optimizer.learning_rate) > 0"
    )
    run_python(script, tmp_path / "vae.keras", tmp_path / "expected.npy")


def test_a_weights_record_without_its_hash_is_refused(saved):
    folder, _ = saved
    (folder / "weights.json").write_text("{}")
    with pytest.raises(ZooError, match=r"weights.json lacks `bytes` or `sha256`"):
        gz.load(folder)


def test_weights_record(saved):
    folder, model = saved
    record = json.loads((folder / "weights.json").read_text())
    assert record["sha256"] == files.sha256(folder / "model.weights.h5")
    # by hand: 784*16+16 + 2*(16*4+4) + 4*16+16 + 16*784+784
    assert record["parameters"] == 12_560 + 136 + 80 + 13_328 == zoo.parameter_count(model)
    assert set(record["origin"]["versions"]) == {"keras_genzoo", "keras", "tensorflow"}


# === Weights and files of strangers ===


def with_right_hash(folder):
    """The weights file of a folder as it stands, its record made right."""
    file = folder / "model.weights.h5"
    record = json.loads((folder / "weights.json").read_text())
    record |= {"bytes": file.stat().st_size, "sha256": files.sha256(file)}
    (folder / "weights.json").write_text(json.dumps(record))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(saved, value, tmp_path):
    """By every way to load them: of a preset, of a file, of a `.keras` file."""
    folder, model = saved
    kernel = model.encoder.get_layer("hidden_0").kernel
    broken = kernel.numpy()
    broken[3, 5] = value
    kernel.assign(broken)
    model.save_weights(tmp_path / "broken.weights.h5")
    model.save(tmp_path / "broken.keras")
    complaint = r"broken.*: `.*hidden_0/kernel` holds NaN or infinity"
    with pytest.raises(ZooError, match=complaint):
        gz.load(folder, weights=tmp_path / "broken.weights.h5")
    with pytest.raises(ZooError, match=complaint):
        gz.load(tmp_path / "broken.keras")
    (folder / "model.weights.h5").write_bytes((tmp_path / "broken.weights.h5").read_bytes())
    with_right_hash(folder)
    with pytest.raises(ZooError, match=r"hidden_0/kernel` holds NaN or infinity"):
        gz.load(folder)


def test_weights_that_are_missing_are_an_error_and_no_warning(saved):
    """Of a group inside a container Keras only warns, and leaves what the constructor drew."""
    import h5py

    folder, _ = saved
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file["encoder"].move("layers", "layerz")
    with_right_hash(folder)
    with pytest.raises(ZooError, match="does not hold the weights of this VAE"):
        gz.load(folder)


def test_arrays_without_end_take_no_memory(saved):
    import h5py

    folder, _ = saved
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file.create_dataset(
            "more", shape=(10**6, 10**6), dtype="float32", chunks=(1000, 1000)
        )  # 4 TB of zeros, unwritten
    with_right_hash(folder)
    with pytest.raises(ZooError, match=r"it holds 4,0.* bytes of numbers, and the model's are "):
        gz.load(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("latent_dim: 4", "latent_dim: 100000000"),
        ("units: [16]", "units: [30000, 30000]"),
        ("latent_dim: 4", "latent_dim: 4\n  image_shape: [8000, 8000, 1]"),
        ("latent_dim: 4", "latent_dim: 4\n  n_classes: 90000000"),
        ("latent_dim: 4", "latent_dim: 4\n  prior: {name: vamp, n_components: 90000000}"),
        ("latent_dim: 4", "latent_dim: 4\n  prior: {name: realnvp, n_layers: 90000000}"),
        ("latent_dim: 4", "latent_dim: 4\n  prior: {name: hierarchical, top_dim: 2, units: [90000000]}"),
    ],
)
def test_sizes_are_refused_with_the_reason_before_they_take_memory(preset, old, new):
    import resource

    (preset.folder / "preset.yaml").write_text(PRESET.replace(old, new))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ZooError, match=r"more than 250,000,000 parameters, 1 GB|at most 50,000,000|in 1..256"):
        gz.load(preset.folder, weights=None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.5e6  # kB; the least of them would be 3.6 GB


def test_a_keras_file_takes_weights_and_dtype(saved, tmp_path):
    folder, model = saved
    model.encoder.trainable = False
    model.decoder.set_weights([weight + 1 for weight in model.decoder.get_weights()])  # no longer what the seed gives
    model.save(tmp_path / "vae.keras")
    same = gz.load(tmp_path / "vae.keras")
    mixed = gz.load(tmp_path / "vae.keras", dtype="mixed_float16")
    fresh = gz.load(str(tmp_path / "vae.keras"), weights=None)
    given = gz.load(tmp_path / "vae.keras", weights=folder / "model.weights.h5", dtype="mixed_bfloat16")
    assert [m.dtype_policy.name for m in (same, mixed, fresh, given)] == [
        *("float32", "mixed_float16", "float32", "mixed_bfloat16")
    ]
    for other, weights in ((mixed, model.get_weights()), (given, gz.load(folder).get_weights())):
        for a, b in zip(other.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert other.encoder.trainable == same.encoder.trainable
    assert any(np.any(a != b) for a, b in zip(fresh.get_weights(), model.get_weights(), strict=True))
    assert mixed.compiled
    assert fresh.compiled
    with pytest.raises(ZooError, match=r"'none.weights.h5' does not exist"):
        gz.load(tmp_path / "vae.keras", weights="none.weights.h5")


def test_a_foreign_keras_file_is_refused_by_what_it_is(tmp_path):
    import keras

    foreign = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    foreign.save(tmp_path / "foreign.keras")
    with pytest.raises(ZooError, match=r"foreign.keras holds a Sequential of keras, which is no model of the zoo"):
        gz.load(tmp_path / "foreign.keras")
    with pytest.raises(ZooError, match=r"No file '.*nowhere.keras'"):
        gz.load(tmp_path / "nowhere.keras")
    with pytest.raises(ZooError, match=r"No file 'hf:/"):  # no door to a network
        gz.load("hf://someone/model.keras")


@pytest.mark.parametrize("damage", ["cut", "text", "config", "weights", "huge"])
def test_a_damaged_keras_file_is_one_line(saved, damage, tmp_path):
    import zipfile

    _, model = saved
    path = tmp_path / "vae.keras"
    model.save(path)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("not a zip file")
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        if damage == "config":
            parts["config.json"] = b"[" * 100_000
        elif damage == "weights":
            parts["model.weights.h5"] = parts["model.weights.h5"][:3000]
        else:
            config = json.loads(parts["config.json"])
            config["config"]["latent_dim"] = 10**9
            parts["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    with pytest.raises(ZooError, match=r"vae.keras (is no `.keras` file|does not hold a VAE that loads): ") as error:
        gz.load(path)
    assert len(str(error.value).replace(str(tmp_path), "")) <= 300
