"""Files of before `format: 1`: presets and .keras configurations in older spellings still load as what they meant."""

import keras
import pytest

from keras_genzoo import models, presets
from keras_genzoo.errors import ZooError

MLP = """
  image_shape: [28, 28, 1]
  latent_dim: 4
  encoder: {name: mlp_encoder, units: [8]}
  decoder: {name: mlp_decoder, units: [8]}
"""
REST = """
evaluation: {metric: nll}
"""
OPTIMIZER = "  epochs: 10\n  batch_size: 16\n  optimizers:\n    optimizer: {name: adam, learning_rate: 1e-3}\n"


def preset(family, model, training=OPTIMIZER, data="{name: mnist}"):
    text = f"family: {family}\ndescription: old\ndata: {data}\nmodel:{model}training:\n{training}{REST}"
    return presets.parse(text, origin="old.yaml")


@pytest.mark.parametrize(
    ("options", "key", "spec"),
    [
        ("  likelihood: gaussian\n  sigma: learned\n", "likelihood", {"name": "gaussian", "sigma": "learned"}),
        (
            "  likelihood: gaussian\n  sigma: 0.3\n  bounded_mean: false\n",
            "likelihood",
            {"name": "gaussian", "sigma": 0.3, "bounded": False},
        ),
        ("  likelihood: bernoulli\n  sigma: 0.1\n", "likelihood", "bernoulli"),  # it was ignored
        ("  objective: iwae\n  n_draws: 5\n", "objective", {"name": "iwae", "n_draws": 5}),
        ("  free_bits: 0.5\n", "objective", {"name": "elbo", "free_bits": 0.5}),
        ("  objective: beta_tc\n  dataset_size: 100\n", "objective", {"name": "beta_tc", "dataset_size": 100}),
    ],
)
def test_options_of_a_vaes_parts_stood_among_its_own(options, key, spec):
    old = preset("vae", MLP + options)
    assert old.format == 1
    assert old.model[key] == spec
    assert not {"sigma", "bounded_mean", "n_draws", "free_bits", "dataset_size"} & set(old.model)
    assert presets.parse(presets.dump(old), origin="new.yaml") == old


def test_a_gans_monitor_stood_in_training_and_its_smoothing_in_the_model():
    parts = "generator: {name: mlp_generator, units: [8]}", "discriminator: {name: mlp_discriminator, units: [8]}"
    networks = "\n  latent_dim: 4\n" + "".join(f"  {part}\n" for part in parts)
    optimizers = OPTIMIZER.replace("optimizer: {", "g_optimizer: {name: adam, learning_rate: 1e-3}\n    d_optimizer: {")
    old = preset("gan", networks + "  label_smoothing: 0.1\n", optimizers + "  monitor: {every: 50, action: stop}\n")
    assert (old.section.monitor.every, old.section.monitor.action) == (50, "stop")
    assert old.model["game"] == {"name": "non_saturating", "label_smoothing": 0.1}
    assert presets.parse(presets.dump(old), origin="new.yaml") == old


def test_a_face_swaps_second_person_stood_in_data():
    parts = "encoder: {name: face_encoder, filters: [4, 4], channels: 4}", "decoder: {name: face_decoder, filters: [4]}"
    model = "\n  latent_dim: 4\n" + "".join(f"  {part}\n" for part in parts)
    people = "{name: rendered_faces_a, other: rendered_faces_b}"
    old = preset("face_swap", model, OPTIMIZER + "  unwarped_epochs: 3\n", people)
    assert (old.section.other, old.section.unwarped_epochs) == ("rendered_faces_b", 3)
    assert presets.parse(presets.dump(old), origin="new.yaml") == old


def test_a_file_that_says_its_format_is_held_to_it():
    head = "format: 1\nfamily: vae\ndescription: new\ndata: {name: mnist}\n"
    text = f"{head}model:{MLP}  sigma: 0.1\ntraining:\n{OPTIMIZER}{REST}"
    from keras_genzoo import zoo

    with pytest.raises(ZooError, match=r"unknown key `model\.sigma`"):
        zoo.build(presets.parse(text, origin="new.yaml"))
    with pytest.raises(ZooError, match=r"`format` is 2; .* reads formats up to 1; upgrade it"):
        presets.parse(text.replace("format: 1", "format: 2"), origin="new.yaml")


def test_an_old_keras_configuration_builds_the_model_it_meant(tmp_path):
    """As version 0.1.0's first commits wrote it: every argument, those of unused parts too."""
    mlp = {"name": "mlp_encoder", "units": [8]}
    config = {
        "image_shape": [28, 28, 1], "seed": 1, "dtype": "float32", "name": "vae", "latent_dim": 4, "encoder": mlp,
        "decoder": {"name": "mlp_decoder", "units": [8]}, "likelihood": "gaussian", "sigma": 0.25, "bounded_mean": True,
        "prior": None, "posterior": None, "objective": "iwae", "n_draws": 3, "beta": 1.0, "warmup_steps": 0,
        "free_bits": 0.0, "dataset_size": 60000, "n_classes": 0,
    }  # fmt: skip
    vae = models.get("vae").from_config(config)
    assert (vae.likelihood.sigma, vae.objective.n_draws) == (0.25, 3)
    assert type(vae).from_config(vae.get_config()).get_config() == vae.get_config()
    serialized = {
        "module": "keras_genzoo.models.vae", "class_name": "VAE", "config": config,
        "registered_name": "keras_genzoo>VAE",
    }  # fmt: skip
    assert keras.saving.deserialize_keras_object(serialized).objective.n_draws == 3
    gan = models.get("gan").from_config(
        {
            "latent_dim": 4,
            "generator": {"name": "mlp_generator", "units": [8]},
            "game": "minimax",
            "discriminator": {"name": "mlp_discriminator", "units": [8]},
            "label_smoothing": 0.1,
            "augment": [],
        }
    )
    assert gan.get_config()["game"] == {"name": "minimax", "label_smoothing": 0.1}
