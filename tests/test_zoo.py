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
    assert (folder / "note.txt").read_text() == "mine"
    gz.save(model, folder, overwrite=True)
    gz.load(folder)
    assert not (folder / "note.txt").exists()


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


def test_a_model_without_preset_cannot_be_saved_as_one(tiny, tmp_path):
    out = tmp_path / "x"
    for use in (lambda model: gz.save(model, out), lambda model: gz.export(model, out), gz.evaluate):
        with pytest.raises(ZooError, match="The model has no preset"):
            use(tiny("vae"))
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
