"""Older spellings of a GAN, which had the monitor in `training` and a game's smoothing among the model's arguments."""

from typing import Any


def upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a preset.yaml without `format`, in today's spelling."""
    content = dict(content)
    training, model = content.get("training"), content.get("model")
    if isinstance(training, dict) and "monitor" in training:
        content["training"] = {key: value for key, value in training.items() if key != "monitor"}
        content["gan"] = {"monitor": training["monitor"]}
    if isinstance(model, dict):
        content["model"] = upgrade_model(model)
    return content


def upgrade_model(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of an older version, in today's spelling."""
    if "label_smoothing" not in config:
        return config
    config = dict(config)
    smoothing = config.pop("label_smoothing")
    if smoothing:
        config["game"] = {"name": config.get("game", "non_saturating"), "label_smoothing": smoothing}
    return config
