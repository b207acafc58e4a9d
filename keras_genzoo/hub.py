"""Sharing: a preset on Hugging Face's hub, as the folder that it is, under a card that the hub reads."""

import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import yaml

from keras_genzoo import cards, files, presets, remote, zoo
from keras_genzoo.data import folder as folder_data
from keras_genzoo.data import held
from keras_genzoo.errors import ZooError
from keras_genzoo.presets import Preset

_LIBRARY = "keras_genzoo"
_TEXTS = (".yaml", ".json", ".md")
_HEAD = re.compile(r"\A---\n.*?^---\n+", re.DOTALL | re.MULTILINE)  # metadata above a card
_TASKS = {  # what an endpoint does -> the hub's name of the task
    "generate": "unconditional-image-generation",
    "classify": "image-classification",
    "reconstruct": "image-to-image",
    "swap_to_a": "image-to-image",
}


def push(
    model: Any,
    address: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str | None = None,
) -> str:
    """Puts a preset on Hugging Face's hub: its folder, and a card with metadata. Needs `keras-genzoo[hub]`.

    The card is the preset's own, under a head that the hub reads: library, licence, tags, data set and the measured
    numbers. What is there is replaced by a new commit; other files of the repository stay.

    Args:
        model: Name or path of a preset, or a model from `load` or `train`; one that was trained further, or built by
            hand, is saved first, see `save`.
        address: "hf://USER/NAME", which is made where it is not there yet.
        private: Whether a new repository is private.
        token: Token of the hub's; None: that of `hf auth login`, or of the environment.
        message: Message of the commit; None: the preset's description.

    Returns:
        The address of the commit, with its revision: "hf://USER/NAME@REVISION".

    Raises:
        ZooError: A bad address, a missing package, a preset without weights, or the hub's refusal.
    """
    name, revision = remote.repository(address)
    if revision:
        raise ZooError(f"A preset is pushed to a repository, not to a revision of one. Received: {address!r}")
    package = remote.hub()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, name.partition("/")[2])
        preset = _folder_of(model, folder)
        card = preset.folder / presets.CARD_FILE
        text = card.read_text(encoding="utf-8") if card.is_file() else f"# {preset.name}\n\n{preset.description}\n"
        text = _HEAD.sub("", text)  # of a card that came from a hub
        head = yaml.safe_dump(metadata(preset), sort_keys=False, allow_unicode=True)
        folder.mkdir(exist_ok=True)
        for one in remote.FILES:
            if (preset.folder / one).is_file() and folder.resolve() != preset.folder:
                (folder / one).write_bytes((preset.folder / one).read_bytes())
        if not (folder / presets.WEIGHTS_FILE).is_file():  # they are in the cache
            (folder / presets.WEIGHTS_FILE).write_bytes(zoo.checked_weights(preset).read_bytes())
        files.write_text(folder / presets.CARD_FILE, f"---\n{head}---\n\n{text}")
        for path in folder.iterdir():
            if path.suffix in _TEXTS:
                path.write_bytes(_without(path.read_bytes(), _own_names(preset.content())))
        try:
            api = package.HfApi(token=token, library_name=_LIBRARY)
            api.create_repo(name, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                allow_patterns=list(remote.FILES),
                commit_message=message or f"{preset.name}: {preset.description}",
            )
        except Exception as error:  # the client's errors share no type
            raise remote.hub_error(address, error) from error
    return f"{address}@{commit.oid}"


def _folder_of(model: Any, folder: Path) -> Preset:
    """The preset of a model, with a folder that has its weights: its own, or one that is written."""
    if not isinstance(model, keras.Model):
        preset = presets.find(model)
        zoo.checked_weights(preset)
        return preset
    if model.preset is not None and zoo.has_stored_weights(model):
        return model.preset
    zoo.save(model, folder)
    return presets.find(folder)


def _own_names(content: Any) -> set[str]:
    """The names of folders and of arrays in a preset: paths on its owner's machine, which are nobody's business."""
    if isinstance(content, str):
        return {content} if content.startswith((folder_data.PREFIX, held.PREFIX)) else set()
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return {name for value in values for name in _own_names(value)}


def _without(text: bytes, names: set[str]) -> bytes:
    """A text in which the data set of a model without one stands in the place of some names."""
    for name in sorted(names, key=len, reverse=True):
        for spelt in (
            name.encode(),
            json.dumps(name)[1:-1].encode(),
            json.dumps(name, ensure_ascii=False)[1:-1].encode(),
        ):
            text = text.replace(spelt, held.UNNAMED.encode())
    return text


def _endpoints(preset: Preset) -> set[str]:
    """The endpoints of which the preset's stored example tells."""
    path = preset.folder / presets.GOLDEN_FILE
    if not path.is_file():
        return set()
    with zipfile.ZipFile(path) as stored:
        return {name.partition("/")[0] for name in stored.namelist()}


def metadata(preset: Preset) -> dict[str, Any]:
    """The head of a card as the hub reads it: library, licence, tags, data set, and `model-index` of the numbers.

    Args:
        preset: A preset with a folder.

    Returns:
        A dict of plain data.
    """
    content: dict[str, Any] = {"library_name": _LIBRARY}
    if preset.license:
        content["license"] = preset.license.lower()
    tasks = [task for name, task in _TASKS.items() if name in _endpoints(preset)]
    if tasks:
        content["pipeline_tag"] = tasks[0]
    content["tags"] = ["keras", "keras_genzoo", preset.family, "generative-model", "litert"]
    data = preset.data.name
    is_own = data == held.UNNAMED or bool(_own_names(data))
    if not is_own:
        content["datasets"] = [data]
    record = preset.record(presets.METRICS_FILE)
    if record is None or record.get("weights_sha256") != (preset.record(presets.WEIGHTS_RECORD) or {}).get("sha256"):
        return content
    content["model-index"] = [
        {
            "name": preset.name,
            "results": [
                {
                    "task": {"type": tasks[0] if tasks else "other"},
                    "dataset": {"name": "own images" if is_own else data, "type": "own" if is_own else data},
                    "metrics": [
                        {
                            "type": row["metric"],
                            "name": f"{cards.label(row['metric'])} ({row['protocol']})",
                            "value": row["value"],
                        }
                        for row in record["rows"]
                        if row["value"] is not None
                    ],
                }
            ],
        }
    ]
    return content
