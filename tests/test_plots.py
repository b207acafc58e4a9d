"""Pictures: that they show what they say, pixel by pixel where that can be told."""

import numpy as np
import pytest
from matplotlib.image import imread

import keras_genzoo as gz
from keras_genzoo import plots, presets
from keras_genzoo.errors import ZooError


def _cells(path, side=28, columns=16):
    """The images of a grid, back from its PNG: `(rows, columns, side, side)`."""
    pixels = imread(path)[::2, ::2]  # it is enlarged twice
    pitch = side + 2
    rows = (pixels.shape[0] - 2) // pitch
    return np.array(
        [
            [pixels[2 + r * pitch : r * pitch + pitch, 2 + c * pitch : c * pitch + pitch] for c in range(columns)]
            for r in range(rows)
        ]
    )


def test_pictures_of_a_conditional_model_have_a_column_for_each_class(tiny, mnist, tmp_path):
    from matplotlib.image import imread

    vae = tiny("conditional vae", compiled=False)
    labels = np.arange(len(mnist)) % 10
    path = plots.showcase(vae, mnist, tmp_path / "a.png", labels=labels)
    assert imread(path).shape[:2] == (2 * (8 * 30 + 2), 2 * (10 * 30 + 2))  # 4 rows of samples, 2 x 2 reconstructed
    assert plots.reconstructions(vae, mnist[:32], tmp_path / "b.png", labels=labels).is_file()


@pytest.mark.parametrize("labels", [np.arange(40) // 4, np.arange(40) * 7 % 10], ids=["sorted", "mixed"])
def test_images_of_a_conditional_model_stand_in_the_column_of_their_class(labels, tiny, tmp_path):
    """Each image here is as bright as its class says."""
    vae = tiny("conditional vae", compiled=False)
    images = np.ones((40, 28, 28, 1), "float32") * (labels / 10).reshape(-1, 1, 1, 1).astype("float32")
    for draw, first in ((plots.showcase, 4), (plots.reconstructions, 0)):
        cells = _cells(draw(vae, images, tmp_path / "c.png", labels=labels), columns=10)
        assert len(cells) == (8 if draw is plots.reconstructions else 4 + 4)
        for row in cells[first::2]:
            np.testing.assert_allclose(row.mean((1, 2)), np.arange(10) / 10, atol=1 / 255)
    reconstructed = vae.reconstruct(images[labels == 3][:1], labels[labels == 3][:1])[0, ..., 0]
    np.testing.assert_allclose(cells[1, 3], reconstructed, atol=1.01 / 255)


def test_a_class_without_images_has_an_empty_column(tiny, tmp_path, mnist):
    vae = tiny("conditional vae", compiled=False)
    for draw in (plots.showcase, plots.reconstructions):
        cells = _cells(draw(vae, mnist[:3], tmp_path / "e.png", labels=np.array([7, 2, 2])), columns=10)[-4:]
        is_empty = (np.ptp(cells, axis=(2, 3)) == 0)[::2]
        assert is_empty.tolist() == [[c not in (2, 7) for c in range(10)], [c != 2 for c in range(10)]]
    with pytest.raises(ZooError, match=r"`labels` must be in 0\.\.9\. Received: 2\.\.10"):
        plots.showcase(vae, mnist[:3], tmp_path / "e.png", labels=np.array([7, 2, 10]))


@pytest.mark.parametrize("name", ["cgan_mnist", "cvae_mnist"])
def test_samples_of_a_conditional_model_have_a_column_for_each_class(name, tmp_path, monkeypatch):
    from keras_genzoo import cli

    monkeypatch.chdir(tmp_path)
    assert cli.main(["sample", name, "-n", "25", "--seed", "3"]) == 0
    cells = _cells(tmp_path / f"{name}_samples.png", columns=10)
    assert cells.shape[:2] == (3, 10)
    images = gz.load(name).sample(25, seed=3)
    np.testing.assert_allclose(cells.reshape(-1, 28, 28)[:25], images[..., 0], atol=1.01 / 255)
    assert cli.main(["sample", name, "-n", "4", "--out", "few.png"]) == 0
    assert imread("few.png").shape[:2] == (2 * (30 + 2), 2 * (4 * 30 + 2))
    assert cli.main(["sample", name, "-n", "25", "--label", "3", "--out", "threes.png"]) == 0
    assert imread("threes.png").shape[:2] == (2 * (5 * 30 + 2), 2 * (5 * 30 + 2))


def test_a_monitor_of_a_conditional_gan_draws_a_column_for_each_class(tiny, mnist, tmp_path):
    gan, labels = tiny("conditional gan", compiled=False), np.arange(20) % 10
    monitor = gz.GANMonitor((mnist[:20], labels), (mnist[20:40], labels), n=20, out=tmp_path)
    monitor.set_model(gan)
    monitor.look(1)
    assert _cells(tmp_path / "samples.png", columns=10).shape[:2] == (2, 10)
    assert imread(tmp_path / "samples.png").shape[1] == 2 * (10 * 30 + 2)


def test_reconstructions_stand_below_their_images(tmp_path, mnist):
    model = gz.load("ae_mnist")
    rows = _cells(plots.reconstructions(model, mnist[:32], tmp_path / "r.png"))
    assert len(rows) == 4
    np.testing.assert_allclose(rows[2], mnist[16:32, ..., 0], atol=1 / 255)
    np.testing.assert_allclose(rows[3], model.reconstruct(mnist[16:32])[..., 0], atol=1.01 / 255)


def test_a_denoisers_picture_has_three_rows(tmp_path, mnist, tiny):
    model = tiny("autoencoder", corruption={"name": "gaussian", "level": [0.0, 0.5]})
    rows = _cells(plots.reconstructions(model, mnist[:16], tmp_path / "r.png"))
    assert len(rows) == 3
    noisy = model.corrupt(mnist[:16], level=0.5, seed=0)
    np.testing.assert_allclose(rows[1], noisy[..., 0], atol=1.01 / 255)


def test_few_images_are_one_short_row(tmp_path, mnist):
    for draw in (plots.showcase, plots.reconstructions):
        rows = _cells(draw(gz.load("ae_mnist"), mnist[:3], tmp_path / "r.png"), columns=3)
        assert len(rows) == 2
        np.testing.assert_allclose(rows[0], mnist[:3, ..., 0], atol=1 / 255)


def test_filters_are_the_weights(tmp_path, tiny):
    model = tiny("autoencoder", encoder={"name": "mlp_encoder", "units": []}, latent_dim=4)
    kernel = np.zeros((784, 4), "float32")
    kernel[0, 2], kernel[1, 2] = 1.0, -0.5
    model.encoder.get_layer("z").kernel.assign(kernel)
    first = _cells(plots.filters(model, tmp_path / "f.png"), columns=2)[0, 0]  # the strongest comes first
    np.testing.assert_allclose(first[0, :3], [1.0, 0.25, 0.5], atol=1 / 255)
    assert plots.filters(tiny("gan"), tmp_path / "g.png").is_file()


def test_atoms_are_what_a_unit_paints(tmp_path, tiny):
    model = tiny("autoencoder", decoder={"name": "mlp_decoder", "units": []}, latent_dim=4)
    model.decoder.get_layer("pixels").kernel.assign(np.eye(4, 784, dtype="float32") * [[1], [2], [4], [-3]])
    cells = _cells(plots.atoms(model, tmp_path / "a.png"), columns=2)
    np.testing.assert_allclose(cells[0, 0][0, :4], [0.5, 0.5, 1.0, 0.5], atol=1 / 255)  # the third is the strongest
    np.testing.assert_allclose(cells[0, 1][0, :4], [0.5, 0.5, 0.5, 0.0], atol=1 / 255)
    assert plots.atoms(tiny("gan"), tmp_path / "g.png").is_file()


def test_a_decoded_plane_spans_the_prior_of_a_vae(tmp_path, tiny):
    """z[0] to the right and z[1] upwards, between the quantiles 0.02 and 0.98."""
    vae = tiny("vae", latent_dim=2)
    cells = _cells(plots.manifold(vae, None, tmp_path / "m.png", side=5), columns=5)
    far = 2.0537489  # of N(0, 1), 0.98
    corners = vae.decode(np.array([(-far, far), (far, far), (-far, -far), (0, 0)], "float32"))[..., 0]
    for cell, image in zip((cells[0, 0], cells[0, 4], cells[4, 0], cells[2, 2]), corners, strict=True):
        np.testing.assert_allclose(cell, image, atol=1.01 / 255)


def test_a_plane_needs_two_numbers(tmp_path, tiny, mnist):
    with pytest.raises(ZooError, match=r"needs latent_dim 2\. Received: vae with 4"):
        plots.manifold(tiny("vae"), mnist, tmp_path / "m.png")


def test_maps_and_curves_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    apart = 10 * labels[:, None] + rng.standard_normal((500, 2))  # class 0 below on the left, 1 above on the right
    codes = [("two", apart), ("many", rng.standard_normal((500, 30)))]
    picture = imread(plots.latent_map(codes, labels, tmp_path / "deep" / "map.png"))[..., :3]
    height, width = picture.shape[0], picture.shape[1] // 2
    below, above = picture[height // 2 :, : width // 2], picture[: height // 2, width // 2 : width]
    blue, orange = (lambda p: (p[..., 2] > p[..., 0] + 0.2).sum()), (lambda p: (p[..., 0] > p[..., 2] + 0.2).sum())
    assert blue(below) > 100 > 10 > orange(below)
    assert orange(above) > 100 > 10 > blue(above)
    history = [{"loss": 5.0 / (i + 1), "penalty": 0.0} for i in range(10)]
    assert plots.curves(history, tmp_path / "c.png").is_file()
    history[3]["loss"] = None  # a loss that was not finite, as a file has it
    assert plots.curves(history, tmp_path / "c.png").is_file()
    with pytest.raises(ZooError, match="codes of one number"):
        plots.latent_map([("one", np.zeros((5, 1)))], None, tmp_path / "x.png")


def test_what_a_monitor_noted_is_drawn_by_its_step(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda drawing, path: drawn.append(drawing))
    plots.curves([{"step": step, **dict.fromkeys("abcde", 1.0)} for step in (500, 1000)], tmp_path / "c.png")
    panels = drawn[0].axes
    assert [panel.get_title() for panel in panels] == list("abcde")
    assert len({panel.get_position().y0 for panel in panels}) == 2  # four in a row
    assert panels[0].lines[0].get_xdata().tolist() == [500, 1000]
    assert panels[0].get_xlabel() == "training step"


def test_points_are_drawn_as_points(tmp_path, tiny):
    """Left and low in the square is left and low in the picture."""
    points = np.full((300, 1, 1, 2), 0.1, "float32")
    picture = imread(plots.grid(points, tmp_path / "p.png"))[..., :3]
    rows, columns = np.nonzero(picture[..., 2] > picture[..., 0] + 0.2)
    assert rows.mean() > 0.6 * picture.shape[0]
    assert columns.mean() < 0.4 * picture.shape[1]
    gan = tiny(
        "gan",
        image_shape=(1, 1, 2),
        generator={"name": "mlp_generator", "units": [4]},
        discriminator={"name": "mlp_discriminator", "units": [4]},
    )
    assert plots.showcase(gan, points, tmp_path / "s.png").is_file()


def test_reconstructed_images_are_from_all_over(tmp_path, tiny):
    """Of a sorted data set, not of its first class alone."""
    shades = np.linspace(0, 1, 1000, dtype="float32").reshape(-1, 1, 1, 1) * np.ones((1, 28, 28, 1), "float32")
    cells = _cells(plots.reconstructions(tiny("autoencoder"), shades, tmp_path / "r.png"))
    shown = [float(cell.mean()) for row in cells[::2] for cell in row]
    np.testing.assert_allclose(shown, np.linspace(0, 1, 128), atol=2 / 255)


def test_unwritable_pictures_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="Cannot write"):
        plots.curves([{"loss": 1.0}], tmp_path / "file" / "c.png")


def test_a_traversal_moves_one_number_at_a_time(tiny, mnist, tmp_path, monkeypatch):
    vae, seen = tiny("vae", compiled=False), []
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda z: seen.append(z) or decode(z))
    plots.traversal(vae, mnist[:50], tmp_path / "t.png", rows=3, columns=5)
    z = seen[0].reshape(3, 5, 4)
    code, spread = vae.codes(mnist[:1])[0], vae.codes(mnist[:50]).var(axis=0)
    for row, j in zip(z, np.argsort(-spread), strict=False):
        np.testing.assert_allclose(row[:, j], [-3, -1.5, 0, 1.5, 3])
        others = np.arange(4) != j
        np.testing.assert_allclose(row[:, others], np.tile(code[others], (5, 1)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ZooError, match="needs a VAE that no label changes"):
        plots.traversal(tiny("conditional vae", compiled=False), mnist[:5], tmp_path / "x.png")


@pytest.mark.parametrize("kind", ["filters", "atoms", "latent", "manifold", "curves", "reconstructions"])
def test_every_kind_from_the_shell(kind, tmp_path, capsys, monkeypatch):
    from keras_genzoo import cli

    monkeypatch.chdir(tmp_path)
    beside = ["--beside", "vae2d_mnist"] if kind == "latent" else []
    assert cli.main(["plot", "ae2d_mnist", "--kind", kind, *beside]) == 0
    assert capsys.readouterr().out.strip() == f"ae2d_mnist_{kind}.png"
    assert imread(tmp_path / f"ae2d_mnist_{kind}.png").std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dcgan_mnist", "--kind", "latent"], "family gan, which has nothing for --kind latent"),
        (["ae_mnist", "--kind", "manifold"], "needs latent_dim 2"),
        (["ae_mnist", "--kind", "traversal"], "family autoencoder, which has nothing for --kind traversal"),
        (["ae_mnist", "--beside", "vae_mnist"], "--beside goes with --kind latent"),
        (["ae_mnist", "--kind", "latent", "--beside", "classifier_mnist"], "--beside needs a preset with codes"),
    ],
)
def test_what_a_preset_cannot_show_is_told(arguments, complaint, tmp_path, capsys, monkeypatch):
    from keras_genzoo import cli

    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_autoencoder_has_learned():
    """That every preset has its history, and one of the right length, test_cards.py tells."""
    for name in presets.names():
        preset = presets.find(name)
        if preset.family == "autoencoder":
            history = preset.record(presets.HISTORY_FILE)
            assert history[-1]["loss"] < history[0]["loss"]
