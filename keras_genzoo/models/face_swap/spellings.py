"""Older spellings of a face swap, which had the second person in `data` and the unwarped epochs in `training`."""

from typing import Any

_MOVED = (("data", "other"), ("training", "unwarped_epochs"))  # old section and key of the family's own keys


def upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a preset.yaml without `format`, in today's spelling."""
    content, section = dict(content), {}
    for parent, key in _MOVED:
        if isinstance(content.get(parent), dict) and key in content[parent]:
            section[key] = content[parent][key]
            content[parent] = {name: value for name, value in content[parent].items() if name != key}
    return {**content, "face_swap": section} if section else content
