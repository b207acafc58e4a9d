"""Older spellings of a VAE, which had the options of its likelihood and objective among the model's own arguments."""

from typing import Any

_OF_LIKELIHOOD = {"gaussian": {"sigma": "sigma", "bounded_mean": "bounded"}}  # likelihood -> old key -> option
_OF_OBJECTIVE = {
    "elbo": {"n_draws": "n_draws", "free_bits": "free_bits"},
    "iwae": {"n_draws": "n_draws"},
    "beta_tc": {"dataset_size": "dataset_size"},
}


def upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a preset.yaml without `format`, in today's spelling."""
    model = content.get("model")
    return {**content, "model": upgrade_model(model)} if isinstance(model, dict) else content


def upgrade_model(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of an older version, in today's spelling."""
    for part, options_of, default in (
        ("likelihood", _OF_LIKELIHOOD, "bernoulli"),
        ("objective", _OF_OBJECTIVE, "elbo"),
    ):
        config = _with_part(config, part, options_of, default)
    return config


def _with_part(config, part, options_of, default):
    """The configuration with the options of a part inside its spec.

    Options of other parts are dropped: an older version ignored them.
    """
    old_keys = {key for keys in options_of.values() for key in keys}
    name = config.get(part, default)
    if not old_keys & set(config) or not isinstance(name, str):
        return config
    options = {new: config[old] for old, new in options_of.get(name, {}).items() if old in config}
    config = {key: value for key, value in config.items() if key not in old_keys}
    return {**config, part: {"name": name, **options} if options else name}
