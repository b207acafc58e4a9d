"""Presets that lie elsewhere: the hub's own client against a hub on this machine, archives from a web server, weights
by hash.
"""

import contextlib
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import socket
import sys
import threading
import urllib.parse
import zipfile

import numpy as np
import pytest
import yaml
from helpers import run_python

import keras_genzoo as gz
from keras_genzoo import cli, hub, presets, remote
from keras_genzoo.errors import ZooError

SMALL = "ring2d"


class Server(http.server.ThreadingHTTPServer):
    """A web server of bytes by path, which counts the requests."""

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.files, self.requests, self.repositories = {}, [], {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Web(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, with tags and "not modified"."""

    server: Server

    def log_message(self, format, *args):
        """Says nothing."""

    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.files.get(self.path)
        tag = content is not None and f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        if content is None:
            self.send_error(404, "Not Found")
        elif self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


class Hub(http.server.BaseHTTPRequestHandler):
    """What Hugging Face's client asks of a hub to make a repository, commit to it and read it."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        """Says nothing."""

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code="RepoNotFound"):
        self.answer({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)

    def content(self):
        """The body of the request, which may come in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_POST(self):
        path, body = urllib.parse.urlsplit(self.path).path, self.content()
        if self.headers.get("Authorization") != "Bearer hf_secret":
            return self.answer({"error": "no"}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.repositories.setdefault(name, [])
            return self.answer({"url": f"{self.server.url}/{name}"})
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        name, verb = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path).groups()
        if verb == "preupload":
            wanted = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer({"files": wanted})
        import base64

        commits = self.server.repositories[name]
        files = dict(commits[-1][1]) if commits else {}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        commits.append((oid, files))
        return self.answer({"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": ""})

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requests.append(path)
        if path == "/api/whoami-v2":
            return self.answer({"name": "me", "type": "user"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path):
            name, verb, revision = found.groups()
            commit = self.commit(name, revision)
            if commit is None:
                return None
            oid, files = commit
            if verb == "tree":
                rows = [
                    {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for n, c in files.items()
                ]
                return self.answer(rows)
            return self.answer({"id": name, "modelId": name, "sha": oid, "private": False, "tags": [], "downloads": 0,
                                "siblings": [{"rfilename": n} for n in files]})  # fmt: skip
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not found:
            return self.missing()
        commit = self.commit(*found.groups()[:2])
        if commit is None:
            return None
        oid, files = commit
        if found[3] not in files:
            return self.missing("EntryNotFound")
        content = files[found[3]]
        return self.answer(content, X_Repo_Commit=oid, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

    do_HEAD = do_GET

    def commit(self, name, revision):
        commits = self.server.repositories.get(name)
        if not commits:
            return self.missing()
        found = [one for one in commits if revision in (None, "main", one[0])]
        return found[-1] if found else self.missing("RevisionNotFound")


@contextlib.contextmanager
def running(handler):
    with Server(handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def web():
    with running(Web) as server:
        yield server


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def archive(folder, above="", **extra):
    """A .zip of a preset folder; `extra` are other members, by name with `/` as `__`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in folder.iterdir():
            packed.write(path, f"{above}{path.name}")
        for name, value in extra.items():
            packed.writestr(name.replace("__", "/"), value)
    return content.getvalue()


# === The hub ===

CLIENT = """
import json
import numpy as np
import keras_genzoo as gz
from keras_genzoo import cli, presets

def said(function, *arguments, **options):
    try:
        return str(function(*arguments, **options))
    except gz.ZooError as error:
        return f"refused: {error}"

found = {"pushed": said(gz.push, "ring2d", "hf://me/ring")}
model = gz.load("hf://me/ring")
found["name"], found["trusted"] = model.preset.name, model.preset.is_trusted
found["same"] = bool(np.array_equal(model.sample(5, seed=0), gz.load("ring2d").sample(5, seed=0)))
found["info"] = cli.main(["info", "hf://me/ring"])
for variable in model.trainable_variables:
    variable.assign(variable * 0.5)
model.train_steps.assign_add(1)
found["second"] = said(gz.push, model, "hf://me/ring")
revision = found["pushed"].partition("@")[2]
old = gz.load(f"hf://me/ring@{revision}")
found["old"] = bool(np.array_equal(old.sample(5, seed=0), gz.load("ring2d").sample(5, seed=0)))
found["new"] = bool(np.array_equal(gz.load("hf://me/ring").sample(5, seed=0), model.sample(5, seed=0)))
found["unknown"] = said(gz.load, "hf://me/nobody")
found["revision"] = said(gz.load, "hf://me/ring@nowhere")
found["address"] = said(gz.load, "hf://ring")
found["to_a_revision"] = said(gz.push, "ring2d", "hf://me/ring@main")
found["token"] = said(gz.push, "ring2d", "hf://me/ring", token="hf_other")
print("ANSWER" + json.dumps(found))
"""
OFFLINE = """
import json, sys
import keras_genzoo as gz

def said(function, *arguments):
    try:
        return str(function(*arguments))
    except gz.ZooError as error:
        return f"refused: {error}"

found = {"kept": said(lambda: gz.load("hf://me/ring").preset.name), "other": said(gz.load, "hf://me/other")}
print("ANSWER" + json.dumps(found))
"""


def test_the_hubs_own_client_pushes_and_loads(tmp_path):
    """With huggingface_hub itself, against a server on this machine; then without any server."""
    pytest.importorskip("huggingface_hub")
    with running(Hub) as server:
        environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
        answer = json.loads(run_python(CLIENT, env={**os.environ, **environment}).split("ANSWER")[1])
        (first, _), (_, files) = server.repositories["me/ring"]
    assert answer["pushed"] == f"hf://me/ring@{first}"
    assert (answer["name"], answer["trusted"], answer["info"]) == ("ring", False, 0)
    assert answer["same"]
    assert answer["old"]
    assert answer["new"]
    assert answer["second"] != answer["pushed"]
    assert answer["unknown"].startswith("refused: hf://me/nobody: there is no such repository, or it is private")
    assert answer["revision"] == "refused: hf://me/ring@nowhere: it has no such revision"
    assert "A preset on the hub is hf://USER/NAME" in answer["address"]
    assert "not to a revision" in answer["to_a_revision"]
    assert answer["token"].startswith("refused: hf://me/ring: the hub refuses it (401)")
    assert {"preset.yaml", "weights.json", "model.weights.h5", "golden.npz", "README.md"} <= set(files)
    assert not any(name.endswith((".pkl", ".bin", ".pt")) for name in files)
    offline = json.loads(run_python(OFFLINE, env={**os.environ, **environment}).split("ANSWER")[1])
    assert offline["kept"] == "ring"
    assert offline["other"] == "refused: hf://me/other: the hub cannot be reached, and there is no copy from before"


def test_the_card_has_what_the_hub_reads():
    head = hub.metadata(presets.find("vae_mnist"))
    assert yaml.safe_load(yaml.safe_dump(head)) == head
    assert (head["library_name"], head["license"], head["datasets"]) == ("keras_genzoo", "apache-2.0", ["mnist"])
    assert {"keras", "vae"} <= set(head["tags"])
    (model,) = head["model-index"]
    (result,) = model["results"]
    stored = presets.find("vae_mnist").record(presets.METRICS_FILE)["rows"]
    assert [(row["type"], row["value"]) for row in result["metrics"]] == [
        (row["metric"], row["value"]) for row in stored
    ]
    assert (model["name"], result["dataset"]["type"], result["task"]["type"]) == (
        "vae_mnist",
        "mnist",
        "image-to-image",
    )


class Uploads:
    """A client that keeps what it is given to upload."""

    def HfApi(self, **_):
        return self

    def create_repo(self, *_, **__):
        """Makes nothing."""

    def upload_folder(self, *, folder_path, **_):
        self.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        self.oid = "0" * 40
        return self


def test_a_folder_of_the_owners_is_not_told(tmp_path, monkeypatch):
    """Neither in the card's head nor in any file that is uploaded."""
    uploads = Uploads()
    monkeypatch.setattr(remote, "hub", lambda: uploads)
    gz.save(gz.load(SMALL), tmp_path / "mine", data="folder:/home/me/my secret")
    preset = presets.find(tmp_path / "mine")
    record = json.loads((preset.folder / presets.WEIGHTS_RECORD).read_text())
    record["origin"]["data"] = {"folder:/home/me/my secret": "0" * 64}
    (preset.folder / presets.WEIGHTS_RECORD).write_text(json.dumps(record))
    assert "secret" not in json.dumps(hub.metadata(preset))
    hub.push(str(preset.folder), "hf://me/mine")
    assert not [name for name, content in uploads.files.items() if b"secret" in content]
    assert presets.parse(uploads.files["preset.yaml"].decode(), origin="it").data.name == "own"


def test_weights_of_the_cache_are_pushed_and_a_head_is_not_doubled(core, web, monkeypatch):
    uploads = Uploads()
    monkeypatch.setattr(remote, "hub", lambda: uploads)
    (core / presets.CARD_FILE).write_text("---\nlicense: mit\n---\n\n# Mine\n\ntext\n\n---\n\nmore\n")
    hub.push(str(core), "hf://me/mine")
    assert uploads.files["model.weights.h5"] == web.files["/weights.h5"]
    card = uploads.files["README.md"].decode()
    assert card.count("\n---\n") == 2  # the end of the head, and the line in the text
    assert "license: mit" not in card
    assert card.endswith("# Mine\n\ntext\n\n---\n\nmore\n")


def test_saving_asks_no_network(core, web, tmp_path):
    """Whether weights are those of the preset is known from its folder and the cache alone."""
    model = gz.load(core)
    shutil.rmtree(remote.files.cache())
    gz.save(model, tmp_path / "saved")
    assert web.requests == ["/weights.h5"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ZooError, match=r"hf:// addresses need huggingface_hub: pip install 'keras-genzoo\[hub\]'"):
        gz.load("hf://me/ring")


# === Archives ===


def _damaged():
    """An archive whose packed bytes are others."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(presets.find(SMALL).folder / "preset.yaml", "preset.yaml")
    damaged = bytearray(content.getvalue())
    damaged[45:60] = bytes(15)
    return bytes(damaged)


DAMAGED = _damaged()


@pytest.mark.parametrize("above", ["", "ring2d/"])
def test_an_archive_from_a_web_server(above, web, capsys):
    web.files["/models/mine.zip"] = archive(presets.find(SMALL).folder, above)
    address = f"{web.url}/models/mine.zip"
    model = gz.load(address)
    assert model.preset.name == "mine"
    assert not model.preset.is_trusted
    np.testing.assert_array_equal(model.sample(3, seed=0), gz.load(SMALL).sample(3, seed=0))
    assert "Fetching mine.zip from 127.0.0.1" in capsys.readouterr().err
    gz.load(address)  # the server says that nothing has changed
    assert "Fetching" not in capsys.readouterr().err
    web.files.clear()
    web.shutdown()
    web.server_close()
    assert gz.load(address).preset.name == "mine"
    assert "the copy from before is taken" in capsys.readouterr().err


def test_a_changed_archive_is_fetched_again(web):
    web.files["/mine.zip"] = archive(presets.find("ring2d").folder)
    assert gz.load(f"{web.url}/mine.zip").preset.data.name == "ring2d"
    web.files["/mine.zip"] = archive(presets.find("grid2d").folder)
    assert gz.load(f"{web.url}/mine.zip").preset.data.name == "grid2d"


def test_no_path_of_an_archive_is_followed(web, tmp_path):
    """Only a preset's own files are unpacked, by their names."""
    odd = {"..__..__escaped.txt": "x", "sub__evil.py": "x", "evil.pkl": "x", "__absolute": "x"}
    web.files["/mine.zip"] = archive(presets.find(SMALL).folder, **odd)
    gz.load(f"{web.url}/mine.zip")
    unpacked = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert unpacked == {path.name for path in presets.find(SMALL).folder.iterdir()} | {"origin.json"}


def test_a_link_in_an_archive_is_left_alone(web, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.write(presets.find(SMALL).folder / "preset.yaml", "preset.yaml")
        link = zipfile.ZipInfo("weights.json")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    web.files["/mine.zip"] = content.getvalue()
    with pytest.raises(ZooError, match="has no weights"):
        gz.load(f"{web.url}/mine.zip")


def test_a_bomb_is_left_alone(web):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(presets.find(SMALL).folder / "preset.yaml", "preset.yaml")
        packed.writestr("model.weights.h5", bytes(50_000_000))
    web.files["/bomb.zip"] = content.getvalue()
    with pytest.raises(ZooError, match=r"model\.weights\.h5 would have 50,000,000 bytes unpacked; it is left alone"):
        gz.load(f"{web.url}/bomb.zip")


@pytest.mark.parametrize(
    ("path", "content", "complaint"),
    [
        ("/none.zip", None, "the server answers 404 Not Found"),
        ("/text.zip", b"text", r"is no whole \.zip file"),
        (
            "/empty.zip",
            b"PK\x05\x06" + bytes(18),
            "0 files preset.yaml",
        ),
        ("/..zip", b"x", r"A preset on the web is a \.zip file of its folder"),
        ("/deflate.zip", DAMAGED, r"is no whole \.zip file"),
        ("/preset.tar", b"x", r"A preset on the web is a \.zip file of its folder"),
    ],
)
def test_what_is_no_archive_is_refused_in_a_line(path, content, complaint, web, capsys):
    if content is not None:
        web.files[path] = content
    assert cli.main(["info", f"{web.url}{path}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(complaint, error)


@pytest.mark.parametrize(
    "address", ["http://[::1/x.zip", "http://127.0.0.1:abc/x.zip", "http://127.0.0.1:1/x.zip", "https:///x.zip"]
)
def test_an_address_that_leads_nowhere_is_one_line(address, capsys):
    assert cli.main(["info", address]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx"]
)
def test_a_host_that_speaks_something_else_is_one_line(answer, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak():
            client, _ = listening.accept()
            client.recv(1000)
            client.sendall(answer)
            client.close()

        threading.Thread(target=speak, daemon=True).start()
        assert cli.main(["info", f"http://127.0.0.1:{listening.getsockname()[1]}/x.zip"]) == 2
    assert "cannot be fetched" in capsys.readouterr().err


def test_a_name_may_have_a_space(web):
    web.files["/my%20vae.zip"] = archive(presets.find(SMALL).folder)
    for spelt in ("my vae.zip", "my%20vae.zip"):
        assert gz.load(f"{web.url}/{spelt}").preset.name == "my vae"


def test_a_copy_that_was_removed_is_fetched_again(web):
    web.files["/mine.zip"] = archive(presets.find(SMALL).folder)
    gz.load(f"{web.url}/mine.zip")
    for folder in (remote.files.cache() / "presets").glob("*/mine"):
        shutil.rmtree(folder)
    assert gz.load(f"{web.url}/mine.zip").preset.name == "mine"


@pytest.mark.parametrize("what", ["size", "answer"])
def test_what_is_too_large_is_not_fetched(what, web, monkeypatch):
    web.files["/mine.zip"] = archive(presets.find(SMALL).folder)
    monkeypatch.setattr(remote, "_MOST_BYTES", 1000)
    if what == "answer":  # a server that does not say how much it sends
        monkeypatch.setattr(Web, "send_header", lambda self, name, value: None)
    with pytest.raises(ZooError, match=r"at most 1,000 are fetched|has more than 1,000 bytes"):
        gz.load(f"{web.url}/mine.zip")


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ZooError, match=r"A preset elsewhere is hf://USER/NAME or https://HOST/NAME\.zip"):
        gz.load("ftp://host/x.zip")


def test_a_damaged_archive_keeps_the_copy_from_before(web):
    web.files["/mine.zip"] = archive(presets.find(SMALL).folder)
    address = f"{web.url}/mine.zip"
    gz.load(address)
    web.files["/mine.zip"] = b"broken"
    with pytest.raises(ZooError, match=r"no whole \.zip file"):
        gz.load(address)
    web.files.clear()
    assert gz.load(address).preset.name == "mine"


# === Weights by hash ===


@pytest.fixture
def core(tmp_path, web):
    """A preset without its weights, as in the small wheel, whose weights.json says where they are."""
    folder = tmp_path / "core"
    shutil.copytree(presets.find(SMALL).folder, folder)
    web.files["/weights.h5"] = (folder / presets.WEIGHTS_FILE).read_bytes()
    (folder / presets.WEIGHTS_FILE).unlink()
    record = json.loads((folder / presets.WEIGHTS_RECORD).read_text())
    (folder / presets.WEIGHTS_RECORD).write_text(json.dumps({**record, "url": f"{web.url}/weights.h5"}))
    return folder


def test_weights_come_from_their_address_once(core, web, capsys):
    np.testing.assert_array_equal(gz.load(core).sample(3, seed=0), gz.load(SMALL).sample(3, seed=0))
    assert "Fetching weights.h5 from 127.0.0.1" in capsys.readouterr().err
    web.files.clear()
    gz.load(core)
    assert web.requests == ["/weights.h5"]


def test_weights_of_another_hash_are_not_kept(core, web, tmp_path):
    web.files["/weights.h5"] = web.files["/weights.h5"][:-1] + b"x"
    with pytest.raises(ZooError, match="is not what it should be: its SHA-256 is"):
        gz.load(core)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_weights_without_an_address_are_asked_for(core):
    record = json.loads((core / presets.WEIGHTS_RECORD).read_text())
    record.pop("url")
    (core / presets.WEIGHTS_RECORD).write_text(json.dumps(record))
    with pytest.raises(ZooError, match=r"has no weights here, and its weights\.json names no address"):
        gz.load(core)
    (core / presets.WEIGHTS_RECORD).write_text(json.dumps({**record, "url": "file:///etc/passwd"}))
    with pytest.raises(ZooError, match="`url` must begin with https://"):
        gz.load(core)


def test_a_damaged_cache_is_fetched_anew(core, web):
    gz.load(core)
    (kept,) = (remote.files.cache() / "weights").iterdir()
    kept.write_bytes(b"damaged")
    gz.load(core)
    assert web.requests == ["/weights.h5"] * 2
