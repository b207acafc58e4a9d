"""Parts: one way to name, check and build them, whatever their kind; and the registries they stand in."""

import keras
import numpy as np
import pytest

from keras_genzoo import models, parts, presets, training, zoo
from keras_genzoo.errors import ZooError
from keras_genzoo.registry import Registry, resolve

TEXT = (presets.CONFIGS / "ae_mnist" / presets.PRESET_FILE).read_text(encoding="utf-8")
OPTIMIZER = next(line for line in TEXT.splitlines() if line.strip().startswith("optimizer: {"))


def prepared(optimizer):
    """What `train` would fit for ae_mnist with another optimizer: its model, and the steps of the training."""
    preset = presets.parse(TEXT.replace(OPTIMIZER, f"    optimizer: {optimizer}"), origin="mine.yaml")
    model, _, steps = training.prepare(preset)
    return model, steps * preset.training.epochs


@pytest.mark.parametrize("kind", parts.kinds())
def test_every_part_of_every_kind_is_there(kind):
    for part in parts.names(kind).values():
        assert callable(resolve(part))


def test_a_name_alone_is_a_part_without_options():
    for spec in ("iwae", {"name": "iwae"}):
        assert parts.build("objective", spec).n_draws == 1
    assert parts.build("objective", {"name": "iwae", "n_draws": np.int64(3)}).n_draws == 3


@pytest.mark.parametrize(
    ("kind", "spec", "complaint"),
    [
        ("game", "chess", r"`game` must be one of hinge, least_squares, .*\. Received: 'chess'$"),
        ("game", {"name": "minmax"}, r"`game.name` must be one of .*Received: 'minmax'. Did you mean minimax\?"),
        ("game", 3, "`game` must be a name, or a dict of `name` and options. Received: 3"),
        ("game", {"label_smoothing": 0.1}, "`game.name` must be one of .*Received: None"),
        (
            "game",
            {"name": "minimax", "smoothing": 0.1},
            r"unknown key `game.smoothing`. Did you mean label_smoothing\?",
        ),
        ("regularizer", {"name": "l1"}, "key `regularizer.weight` is missing"),
        ("regularizer", {"name": "l1", "weight": "much"}, "`regularizer.weight` must be a number. Received: 'much'"),
        ("regularizer", {"name": "l1", "weight": float("nan")}, "`regularizer.weight` must be finite"),
        ("posterior", {"name": "flow", "units": 8}, "`posterior.units` must be a list. Received: 8"),
        ("likelihood", {"name": "gaussian", "bounded": 1}, "`likelihood.bounded` must be true or false. Received: 1"),
        ("likelyhood", "bernoulli", r"Unknown kind of part 'likelyhood'. Did you mean likelihood\?"),
    ],
)
def test_a_bad_spec_names_key_value_and_neighbour(kind, spec, complaint):
    with pytest.raises(ZooError, match=complaint):
        parts.chosen(kind, spec)


def test_the_file_and_the_path_stand_before_the_complaint():
    with pytest.raises(ZooError, match=r"^mine.yaml: unknown key `model.game.x`"):
        parts.chosen("game", {"name": "hinge", "x": 1}, key="model.game", origin="mine.yaml")


def test_a_part_in_the_wrong_place_says_why():
    with pytest.raises(ZooError, match=r"`encoder`: the network 'mlp_decoder' does not fit here: .*needs latent_dim"):
        models.get("autoencoder")(latent_dim=2, encoder={"name": "mlp_decoder", "units": [4]}, decoder="mlp_decoder")


# === Optimizers and schedules ===


@pytest.mark.parametrize("name", sorted(parts.names("optimizer")))
def test_every_keras_optimizer_is_known_and_takes_its_rate(name):
    optimizer, options = parts.chosen("optimizer", name)
    assert issubclass(optimizer, keras.optimizers.Optimizer)
    assert float(optimizer(learning_rate=0.5, **options).learning_rate) == 0.5
    assert {"adam", "adamw", "lion", "muon", "rmsprop", "sgd"} <= set(parts.names("optimizer"))


def test_an_optimizer_gets_its_own_options():
    model, total = prepared(
        "{name: lion, learning_rate: 1e-3, weight_decay: 0.1, schedule: {name: cosine, alpha: 0.5}}"
    )
    assert type(model.optimizer) is keras.optimizers.Lion
    assert model.optimizer.weight_decay == 0.1
    rate = model.optimizer._learning_rate
    np.testing.assert_allclose([float(rate(0)), float(rate(total))], [1e-3, 5e-4], rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "complaint"),
    [
        (
            "{name: loin, learning_rate: 1e-3}",
            r"`training.optimizers.optimizer.name` must be one of .*Did you mean lion",
        ),
        (
            "{name: sgd, learning_rate: 1e-3, nestrov: true}",
            "`training.optimizers.optimizer.nestrov`. Did you mean nesterov",
        ),
        ("{name: sgd, learning_rate: 0}", "`training.optimizers.optimizer.learning_rate` must be > 0. Received: 0"),
        (
            "{learning_rate: 1e-3, schedule: cosin}",
            r"`training.optimizers.optimizer.schedule` must be one of .*cosine\?",
        ),
        ("{learning_rate: 1e-3, schedule: {name: cosine, alfa: 1}}", "`training.optimizers.optimizer.schedule.alfa`"),
    ],
)
def test_a_bad_optimizer_or_schedule_is_named(optimizer, complaint):
    with pytest.raises(ZooError, match=complaint):
        prepared(optimizer)


# === Constructors ===


@pytest.mark.parametrize("family", list(models.FAMILIES))
def test_a_constructor_and_a_preset_say_the_same(family):
    """One binding serves both: an argument of a wrong type is the same complaint, but for the file and `model.`."""
    cls = models.get(family)
    for spec in ({"latent_dim": "two"}, {"n_classes": 1.5}):
        (key,) = spec
        if key not in cls.__init__.__annotations__:
            continue
        needed = {key: {"name": "none"} for key in cls.PARTS}
        with pytest.raises(ZooError, match=f"^`{key}` must be an integer. Received: {spec[key]!r}"):
            cls(**_given(cls, needed, spec))


def _given(cls, needed, spec):
    """Arguments of a constructor: the parts and counts that it needs, and those of a test."""
    counts = {key: 2 for key in ("latent_dim", "n_classes") if key in cls.__init__.__annotations__}
    return {**needed, **counts, **spec}


def test_a_configuration_is_a_copy_in_plain_data():
    units = [8]
    spec = {"name": "mlp_encoder", "units": units}
    model = models.get("autoencoder")(
        latent_dim=np.int64(2), encoder=spec, decoder={"name": "mlp_decoder", "units": (8,)}
    )
    units.append(9)
    config = model.get_config()
    assert config["encoder"] == {"name": "mlp_encoder", "units": [8]}
    assert config["decoder"]["units"] == [8]
    assert type(config["latent_dim"]) is int
    config["encoder"]["units"].append(10)
    assert model.get_config()["encoder"]["units"] == [8]


def test_a_saved_preset_holds_what_differs_from_the_defaults(tmp_path):
    model = zoo.load("ae2d_mnist")
    zoo.save(model, tmp_path / "mine")
    stored = presets.find(tmp_path / "mine").model
    assert "regularizer" not in stored
    assert zoo.load(tmp_path / "mine").get_config() == model.get_config()


# === Registries ===


def test_a_registry_gives_names_and_imports_late():
    registry = Registry("thing", {"a": "no_such_module:x", "b": "math:pi"})
    assert list(registry) == ["a", "b"]
    assert registry.get("b") == pytest.approx(3.14159, abs=1e-5)
    registry.register("c", "math:e")
    registry.register("c", "math:e")  # again is no fault
    with pytest.raises(ZooError, match="The name 'c' of a thing is taken by 'math:e'"):
        registry.register("c", "math:tau")
    with pytest.raises(ZooError, match="'no_such_module:x' cannot be imported"):
        registry.get("a")
    with pytest.raises(ZooError, match="Unknown thing 'd'"):
        registry.get("d")
    with pytest.raises(ZooError, match="'math:nothing' cannot be imported"):
        resolve("math:nothing")
