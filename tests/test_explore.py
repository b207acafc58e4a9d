"""The explorer: what is written, what is served, and the page in a real browser, with real events."""

import contextlib
import gzip
import json
import os
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from helpers import DATA_DIR

import keras_genzoo as gz
from keras_genzoo import cli, explore, presets
from keras_genzoo.errors import ZooError

MOST_BYTES = 15_000_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDE, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 800}
CLOSE = 1e-3  # of the browser's pixels to Keras'
TRIED = ("vae2d_mnist", "denoising_mnist", "cgan_mnist", "beta_vae_mnist", "classifier_mnist", "faceswap_rendered")


@contextlib.contextmanager
def served(folder):
    with explore.server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A page of one small model, int8."""
    return explore.write(["ring2d"], tmp_path_factory.mktemp("page") / "page")


# === What is written ===


def test_a_page_is_whole(small):
    """Every file that the page names is there, and nothing comes from another host."""
    manifest = json.loads((small / explore.MANIFEST).read_text())
    (entry,) = manifest["models"]
    assert (entry["name"], entry["precision"], entry["license"]) == ("ring2d", "int8", "Apache-2.0")
    assert gz.files.sha256(small / entry["file"]) == entry["sha256"]
    assert (small / "vendor" / "litertjs" / "LICENSE").read_text().lstrip().startswith("Apache License")
    for page in [small / "index.html", *small.glob("*.js"), small / "style.css"]:
        text = page.read_text(encoding="utf-8")
        assert "http://" not in text
        assert "https://" not in text
        for name in small.glob("*.js"):
            assert name.name in "".join(
                p.read_text(encoding="utf-8") for p in [small / "index.html", *small.glob("*.js")]
            )


def test_a_second_page_takes_its_files_from_the_cache(small, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("the model was exported again")

    monkeypatch.setattr("keras_genzoo.exporting.export", refused)
    again = explore.write(["ring2d"], tmp_path / "page")
    assert (again / explore.MANIFEST).read_bytes() == (small / explore.MANIFEST).read_bytes()
    explore.write(["ring2d"], tmp_path / "page")  # replaces it


def test_the_examples_are_of_every_class():
    source = gz.exporting.Source(gz.load("classifier_mnist"), presets.find("classifier_mnist"), None)
    images, labels = explore._images(source, 20)
    assert images.shape == (20, 28, 28, 1)
    assert list(labels) == [*range(10)] * 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"names": []}, "`names` must be one preset or more"),
        ({"names": ["ring2d", "ring2d"]}, "`names` has ring2d twice"),
        ({"names": ["vae_mnits"]}, "Unknown preset 'vae_mnits'. Did you mean"),
        ({"names": ["ring2d"], "precision": "int4"}, "`precision` must be one of int8, float16, float32"),
    ],
)
def test_bad_arguments(arguments, complaint, tmp_path):
    with pytest.raises(ZooError, match=complaint):
        explore.write(**arguments, out=tmp_path / "page")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_page_is_kept(small, tmp_path):
    """Nor is one that has a manifest by chance, nor a page with files of its owner's in it."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ZooError, match="exists and is no page of the explorer"):
        explore.write(["ring2d"], tmp_path)
    (tmp_path / explore.MANIFEST).write_text("{}")
    with pytest.raises(ZooError, match="exists and is no page of the explorer"):
        explore.write(["ring2d"], tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    page = tmp_path / "page"
    page.mkdir()  # an empty folder is as good as none
    explore.write(["ring2d"], page)
    for place in (page / "notes.txt", page / "models" / "notes.txt"):
        place.write_text("mine")
        with pytest.raises(ZooError, match=r"holds other files than a page's: notes.txt"):
            explore.write(["ring2d"], page)
        assert place.read_text() == "mine"
        place.unlink()


def test_new_photographs_come_to_the_page(tmp_path):
    """What comes of images of one's own is not kept between two pages: they may have changed under their name."""
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    model = gz.load("sparse_kl_mnist")
    seen = []
    for level in (40, 200):
        for i in range(30):
            Image.new("L", (28, 28), level + i % 3).save(photos / f"{i}.png")
        gz.save(model, tmp_path / "mine", data=f"folder:{photos}", overwrite=True)
        page = explore.write([str(tmp_path / "mine")], tmp_path / "page")
        seen.append((page / "models" / "mine.json").read_text())
    assert seen[0] != seen[1]


def test_a_preset_from_elsewhere_is_shown_when_trusted(tmp_path, capsys, monkeypatch):
    """The refusal says `--trust`, which the command has."""
    monkeypatch.chdir(tmp_path)
    folder = Path("elsewhere")
    shutil.copytree(presets.find("sparse_kl_mnist").folder, folder)
    text = (folder / "preset.yaml").read_text().replace("name: mnist", "name: folder:/nothing")
    (folder / "preset.yaml").write_text(text)
    monkeypatch.setattr(presets, "_TRUSTED", set())
    command = ["explore", "./elsewhere", "--out", "page"]
    assert cli.main(command) == 2
    assert "would read the folder /nothing" in capsys.readouterr().err
    assert cli.main([*command, "--trust"]) == 2
    assert "would" not in capsys.readouterr().err


# === What is served ===


def test_the_server_serves_the_page_and_nothing_above_it(small):
    with served(small) as url:
        with urllib.request.urlopen(f"{url}/main.js") as answer:
            assert answer.headers["Content-Type"] == "text/javascript"
        for path in ("/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/nothing"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{url}{path}")


def test_a_port_in_use_is_said_at_once(capsys):
    with explore.server("."), explore.server(".") as other:
        assert cli.main(["explore", "ring2d", "--port", str(other.server_port)]) == 2
    said = capsys.readouterr().err
    assert f"Port {other.server_port} of 127.0.0.1 is in use; give another one by --port" in said


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_out_of_range_is_refused(port, capsys):
    assert cli.main(["explore", "ring2d", "--port", str(port)]) == 2
    assert "`port` must be an integer from 0 to 65535" in capsys.readouterr().err


def test_the_command_writes_a_page(tmp_path, capsys):
    assert cli.main(["explore", "ring2d", "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page")
    assert (tmp_path / "page" / "index.html").is_file()


# === The page in a browser ===


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed: what runs in browsers goes untested")
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a page of several models in float32, so that its pixels can be held to Keras'."""
    folder = explore.write(TRIED, tmp_path_factory.mktemp("floats") / "page", precision="float32", data_dir=DATA_DIR)
    with served(folder) as address:
        yield address


@pytest.fixture
def opened(browser, url):
    """A function `(model, viewport) -> page` on which that model is ready; errors on the page fail the test."""
    pages, errors = [], []

    def open_page(name, viewport=WIDE):
        page = browser.new_page(viewport=viewport)
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "request",
            lambda request: errors.append(request.url) if not request.url.startswith((url, "blob:", "data:")) else None,
        )
        page.goto(f"{url}/#{name}")
        page.wait_for_function(f"document.body.dataset.ready === {name!r}", timeout=60_000)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []


def pixels(page, selector, shape=(28, 28, 1)):
    values = page.eval_on_selector(selector, "canvas => [...canvas.pixels]")
    return np.array(values, "float32").reshape(1, *shape)


def code(page, selector):
    return np.array([page.eval_on_selector(selector, "canvas => canvas.code")], "float32")


def settled(page, selector, before):
    """The pixels of a canvas once they are others than before, and stay."""
    deadline = time.monotonic() + 20
    last = before
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now = page.eval_on_selector(selector, "canvas => [...canvas.pixels]")
        if now == last and now != before:
            return
        last = now
    raise AssertionError(f"{selector} did not change")


def raw(page, selector):
    return page.eval_on_selector(selector, "canvas => [...canvas.pixels]")


@pytest.mark.nightly
def test_drawing_with_the_mouse_is_reconstructed_and_read(opened):
    page, model = opened("vae2d_mnist"), gz.load("vae2d_mnist")
    page.click("#clear")
    before = raw(page, "#reconstruction")
    box = page.locator("#drawing").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.15)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.85, steps=12)
    page.mouse.up()
    settled(page, "#reconstruction", before)
    seen = pixels(page, "#seen")
    assert 20 < seen.sum() < 200  # a stroke, in the middle
    assert abs((seen[0, :, :, 0].sum(0) * np.arange(28)).sum() / seen.sum() - 13.5) < 0.5
    wanted = model.reconstruct(seen)
    np.testing.assert_allclose(pixels(page, "#reconstruction"), wanted, atol=CLOSE)
    assert page.eval_on_selector("#bars", "bars => bars.best") == "1"  # a vertical stroke
    logits = gz.load("classifier_mnist").classify(wanted)["logits"][0]
    share = page.locator("#bars output").nth(1).inner_text()
    assert share == f"{100 * np.exp(logits[1]) / np.exp(logits).sum():.0f} %"


@pytest.mark.nightly
def test_drawing_by_keyboard(opened):
    page = opened("classifier_mnist")
    page.click("#clear")
    page.focus("#drawing")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    for _ in range(16):
        page.keyboard.press("Shift+ArrowDown")
    page.wait_for_function("document.querySelector('#bars').best === '1'")
    assert pixels(page, "#drawing").sum() > 16
    page.keyboard.press("Delete")
    page.wait_for_function("document.querySelector('#drawing').pixels.every((value) => value === 0)")


@pytest.mark.nightly
def test_noise_is_taken_away(opened):
    page, model = opened("denoising_mnist"), gz.load("denoising_mnist")
    before = raw(page, "#reconstruction")
    page.click("#renoise")
    settled(page, "#reconstruction", before)
    noisy, clean = pixels(page, "#seen"), pixels(page, "#reconstruction")
    np.testing.assert_allclose(clean, model.reconstruct(noisy), atol=CLOSE)
    original = pixels(page, "#drawing")
    assert np.mean((clean - original) ** 2) < np.mean((noisy - original) ** 2) / 4


@pytest.mark.nightly
def test_sliders_move_the_code(opened):
    page, model = opened("beta_vae_mnist"), gz.load("beta_vae_mnist")
    before = raw(page, "#decoded")
    slider = page.locator(".sliders input").first
    slider.focus()
    page.keyboard.press("End")
    settled(page, "#decoded", before)
    z = code(page, "#decoded")
    i = int(slider.get_attribute("id").removeprefix("z-"))
    assert z[0, i] == pytest.approx(float(slider.get_attribute("max")), abs=1e-5)
    codes = model.codes(gz.data.to_unit(gz.data.arrays("mnist", "train")[0][:2000]))
    assert z[0, i] == pytest.approx(np.percentile(codes[:, i], 97.5), rel=0.05)  # of binarised images here
    np.testing.assert_allclose(pixels(page, "#decoded"), model.decode(z), atol=CLOSE)
    before = raw(page, "#decoded")
    page.click("#encode")
    settled(page, "#decoded", before)
    np.testing.assert_allclose(pixels(page, "#decoded"), model.decode(code(page, "#decoded")), atol=CLOSE)


@pytest.mark.nightly
def test_a_click_into_the_plane_shows_its_image(opened):
    page, model = opened("vae2d_mnist"), gz.load("vae2d_mnist")
    before = raw(page, "#plane-image")
    box = page.locator("#plane").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    settled(page, "#plane-image", before)
    z = code(page, "#plane-image")
    low, high = (
        page.evaluate(f"fetch('models.json').then(r => r.json()).then(m => m.models[0].latents.{k})")
        for k in ("low", "high")
    )
    assert z[0, 0] == pytest.approx(low[0] + 0.2 * (high[0] - low[0]), abs=0.05)
    assert z[0, 1] == pytest.approx(high[1] - 0.3 * (high[1] - low[1]), abs=0.05)
    np.testing.assert_allclose(pixels(page, "#plane-image"), model.decode(z), atol=CLOSE)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"document.querySelector('#plane-image').code[0] > {z[0, 0] + 1e-6}")


@pytest.mark.nightly
def test_a_plane_of_a_model_with_classes(browser, tmp_path):
    vae = gz.VAE(
        image_shape=(28, 28, 1), latent_dim=2, n_classes=10, seed=0,
        encoder={"name": "mlp_encoder", "units": [8]}, decoder={"name": "mlp_decoder", "units": [8]},
    )  # fmt: skip
    gz.save(vae, tmp_path / "two numbers", data="mnist")
    with served(explore.write([str(tmp_path / "two numbers")], tmp_path / "page", precision="float32")) as url:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("document.body.dataset.ready === 'two numbers'", timeout=60_000)
        before = raw(page, "#plane-image")
        page.select_option("#plane-class", "7")
        settled(page, "#plane-image", before)
        z = code(page, "#plane-image")
        np.testing.assert_allclose(pixels(page, "#plane-image"), vae.decode(z, labels=[7]), atol=CLOSE)
        assert page.inner_text("#status").startswith("two numbers: ")
        page.close()


@pytest.mark.nightly
def test_samples_of_a_class_and_the_walk_between_two(opened):
    page, model = opened("cgan_mnist"), gz.load("cgan_mnist")
    before = raw(page, "#sample-3 canvas")
    page.click("#reroll")
    settled(page, "#sample-3 canvas", before)
    np.testing.assert_allclose(
        pixels(page, "#sample-3 canvas"), model.generate(code(page, "#sample-3 canvas"), labels=[3]), atol=CLOSE
    )
    before = raw(page, "#sample-3 canvas")
    page.select_option("#sample-class", "7")
    settled(page, "#sample-3 canvas", before)
    z = code(page, "#sample-3 canvas")
    np.testing.assert_allclose(pixels(page, "#sample-3 canvas"), model.generate(z, labels=[7]), atol=CLOSE)
    page.click("#sample-3")
    page.click("#sample-8")
    page.focus("#between-at")
    before = raw(page, "#between")
    page.keyboard.press("Home")
    settled(page, "#between", before)
    np.testing.assert_allclose(pixels(page, "#between"), pixels(page, "#sample-3 canvas"), atol=CLOSE)


@pytest.mark.nightly
def test_a_picture_is_swapped(opened, tmp_path):
    from PIL import Image

    page, model = opened("faceswap_rendered"), gz.load("faceswap_rendered")
    face = gz.data.arrays("rendered_faces_a", "test", image_shape=(64, 64, 3))[0][7]
    Image.fromarray(face).save(tmp_path / "face.png")
    before = raw(page, "#picture-swap_to_b")
    page.set_input_files("#file", tmp_path / "face.png")
    settled(page, "#picture-swap_to_b", before)
    np.testing.assert_allclose(pixels(page, "#source", (64, 64, 3)), gz.data.to_unit(face)[None], atol=1e-6)
    wanted = model.swap(gz.data.to_unit(face)[None], to="b")
    np.testing.assert_allclose(pixels(page, "#picture-swap_to_b", (64, 64, 3)), wanted, atol=CLOSE)
    (tmp_path / "no_picture.png").write_text("text")
    page.set_input_files("#file", tmp_path / "no_picture.png")
    page.wait_for_selector("#status.error")
    assert "no_picture.png is no picture" in page.inner_text("#status")


@pytest.mark.nightly
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_tab_fits_and_speaks(opened, viewport):
    """Nothing is wider than the window; each picture and each control has a name; the tabs follow the arrow keys."""
    page = opened(TRIED[0], viewport)
    for name in TRIED:
        page.wait_for_function(f"document.body.dataset.ready === {name!r}", timeout=60_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        unnamed = page.eval_on_selector_all(
            "canvas, button, input, select",
            "all => all.filter(e => e.id !== 'file' && !(e.getAttribute('aria-label') || e.textContent.trim() || "
            "document.querySelector(`label[for='${e.id}']`))).map(e => e.outerHTML)",
        )
        assert unnamed == []
        page.focus("[role=tab][aria-selected=true]")
        page.keyboard.press("ArrowRight")


@pytest.mark.nightly
def test_the_default_page_is_small_and_quick(browser, tmp_path):
    folder = explore.write(out=tmp_path / "page", data_dir=DATA_DIR)
    assert gz.files.size(folder) <= MOST_BYTES
    with served(folder) as url:
        seconds = []
        for _ in range(3):
            page = browser.new_page()
            start = time.monotonic()
            page.goto(url)
            page.wait_for_function("document.querySelector('#reconstruction')?.pixels !== undefined")
            seconds.append(time.monotonic() - start)
            page.close()
        assert sorted(seconds)[1] <= 2
        page = browser.new_page()
        for name in explore.DEFAULT:
            page.goto(f"{url}/?{name}#{name}")
            page.wait_for_function(f"document.body.dataset.ready === {name!r}", timeout=60_000)
            times = page.evaluate(
                """async (name) => {
                    const {Model} = await import('./runtime.js');
                    const {models} = await (await fetch('models.json')).json();
                    const model = new Model(models.find((one) => one.name === name)), times = [];
                    for (const endpoint of Object.keys(model.endpoints)) {
                        const inputs = {}, own = [];
                        for (const [key, {shape, dtype}] of Object.entries(model.endpoints[endpoint].inputs))
                            inputs[key] = Float32Array.from({length: shape.reduce((a, b) => a * b)},
                                (_, i) => (dtype === 'int32' ? 1 : (i % 10) / 10));
                        for (let i = 0; i < 21; i++) {
                            await model.run(endpoint, inputs);
                            own.push(model.milliseconds);
                        }
                        times.push(Math.min(...own));  // other work on the machine only adds
                    }
                    return times;
                }""",
                name,
            )
            assert max(times) <= 20, (name, times)
        page.close()


@pytest.mark.nightly
def test_the_javascript_of_the_page_for_apps_runs(browser, tmp_path):
    """As it stands there, but for the code: that of the Python example, and the numbers kept for the test."""
    page_of_apps = Path(__file__).parents[1] / "docs" / "apps.md"
    (block,) = re.findall(r"^```js\n(.*?)^```$", page_of_apps.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    z = np.random.default_rng(0).standard_normal((1, 40), dtype="float32")
    numbers = f"Float32Array.from({z.ravel().tolist()})"
    assert "new Float32Array(40)" in block
    code = block.replace("new Float32Array(40)", numbers) + "\nwindow.image = [...image];\n"
    vendor = Path(explore.__file__).parent / "vendor" / "litertjs"
    (tmp_path / "wasm").mkdir()
    for name in ("core.js", "wasm-utils.js"):
        shutil.copy(vendor / name, tmp_path / name)
    build = "litert_wasm_compat_internal"
    shutil.copy(vendor / f"{build}.js", tmp_path / "wasm" / f"{build}.js")
    (tmp_path / "wasm" / f"{build}.wasm").write_bytes(gzip.decompress((vendor / f"{build}.wasm.gz").read_bytes()))
    (tmp_path / "code.js").write_text(code)
    (imports,) = re.findall(r'`(\{"imports".*?\}\})`', page_of_apps.read_text(encoding="utf-8"))
    (tmp_path / "index.html").write_text(
        f'<!doctype html><body><script type="importmap">{imports}</script>'
        '<script type="module" src="code.js"></script></body>'
    )
    model = gz.load("vae_mnist")
    path = gz.export(model, tmp_path, format="litert", quantize="int8")
    with served(tmp_path) as url:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("window.image !== undefined", timeout=60_000)
        image = np.array(page.evaluate("window.image"), "float32").reshape(1, 28, 28, 1)
        page.close()
    from ai_edge_litert.interpreter import Interpreter

    decode = Interpreter(model_path=str(path)).get_signature_runner("decode")
    np.testing.assert_allclose(image, decode(z=z)["images"], atol=2e-2)  # 8-bit activations round as a processor does
    assert np.abs(image - model.decode(z)).max() < 0.2


@pytest.mark.nightly
def test_every_endpoint_of_every_preset_is_right_in_the_browser(browser, tmp_path):
    """LiteRT.js in Chromium on the stored examples of all presets, float32, twice in a row."""
    names = presets.names()
    with contextlib.suppress(gz.errors.MissingDataError):
        folder = explore.write(names, tmp_path / "page", precision="float32", data_dir=DATA_DIR)
    if not (tmp_path / "page").is_dir():
        pytest.skip("not all data sets are here")
    worst = {}
    with served(folder) as url:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("document.body.dataset.ready !== undefined", timeout=60_000)
        for name in names:
            model = gz.load(name)
            with np.load(model.preset.folder / presets.GOLDEN_FILE) as stored:
                golden = dict(stored)
            calls = []
            for endpoint in model.endpoints():
                inputs = {
                    k.split("/")[2]: v[:1].ravel().tolist()
                    for k, v in golden.items()
                    if k.startswith(f"{endpoint}/in/")
                }
                calls += [[endpoint, inputs]] * 2
            answers = page.evaluate(
                """async ([name, calls]) => {
                    const {Model} = await import('./runtime.js');
                    const {models} = await (await fetch('models.json')).json();
                    const model = new Model(models.find((one) => one.name === name)), answers = [];
                    for (const [endpoint, inputs] of calls) {
                        const found = await model.run(endpoint, inputs);
                        const numbers = Object.entries(found).map(([key, value]) => [key, [...value]]);
                        answers.push(Object.fromEntries(numbers));
                    }
                    (await model.load()).delete();
                    return answers;
                }""",
                [name, calls],
            )
            for (endpoint, _), answer in zip(calls, answers, strict=True):
                for key, values in answer.items():
                    wanted = golden[f"{endpoint}/out/{key}"]
                    extent = 1.0 if key == "images" else float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
                    error = np.abs(np.array(values) - wanted[:1].ravel()).max() / extent
                    worst[name] = max(worst.get(name, 0), error)
        page.close()
    assert set(worst) == set(names)
    assert {name: error for name, error in worst.items() if not error <= 1e-4} == {}
