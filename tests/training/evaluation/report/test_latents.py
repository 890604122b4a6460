"""The latent section: figures of codes that were put where they are, and pictures of every kind of model."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from training.data import ImageData
from training.evaluation.report.latents import _by_importance, find_latents
from training.models.posterior import DiagonalGaussian
from training.objectives.estimators import Posteriors


def figures(findings):
    return {figure.name: figure for figure in findings.figures}


def names(findings):
    return [picture.name for picture in findings.pictures]


def gaussian(mu, logvar):
    return Posteriors(mu=mu, logvar=logvar, z=mu)


def test_latents_of_a_vae_are_ordered_by_divergence_and_those_of_an_autoencoder_by_variance():
    mu = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, -1.0]], dtype=torch.float64)
    logvar = torch.tensor([[-9.0, 0.0, 0.0], [-9.0, 0.0, 0.0]], dtype=torch.float64)
    # KL: ½(e⁻⁹ + 9 - 1) = 4.0, ½·9 = 4.5, ½; variance: 0, 0, 1.
    assert _by_importance("vae", gaussian(mu, logvar)).tolist() == [1, 0, 2]
    assert _by_importance("ae", gaussian(mu, logvar)).tolist() == [2, 0, 1]


def test_plane_has_its_scatter_and_its_map(bench_of):
    findings = find_latents(bench_of(latent_size=2))
    assert names(findings) == ["scatter", "manifold", "traversals", "displaced"]
    assert "two standard deviations" in findings.pictures[0].caption
    assert "in the two of" not in findings.pictures[0].caption


def test_more_latents_have_a_scatter_of_two_and_no_map(bench_of):
    findings = find_latents(bench_of(latent_size=20))
    assert names(findings) == ["scatter", "traversals", "displaced"]
    assert "in the two of 20 latents with the most information" in findings.pictures[0].caption
    assert "the 12 of 20 latents with the largest KL" in findings.pictures[1].caption


def test_one_latent_has_no_scatter_and_no_evenness(bench_of):
    findings = find_latents(bench_of(latent_size=1))
    assert names(findings) == ["traversals", "displaced"]
    assert "scatter_evenness" not in figures(findings)


def test_autoencoder_has_points_and_no_prior_to_fill(bench_of):
    findings = find_latents(bench_of(kind="ae", latent_size=2))
    assert names(findings) == ["scatter", "traversals", "displaced"]
    assert "An autoencoder maps an image to a point" in findings.pictures[0].caption
    assert "since an autoencoder has no prior" in figures(findings)["scatter_holes"].protocol


class ByLabel:
    """An encoder that puts each image at the corner of its label, or all at one place."""

    def __init__(self, data, spread):
        images = torch.cat([data.train.images, data.test.images])
        labels = torch.cat([data.train.labels, data.test.labels])
        self.known = {
            image.numpy().tobytes(): int(label) for image, label in zip(images, labels, strict=True)
        }
        self.spread = spread

    def __call__(self, x):
        labels = [self.known[(255.0 * image).round().to(torch.uint8).numpy().tobytes()] for image in x]
        angle = torch.tensor(labels, dtype=torch.float32) * (2 * np.pi / 10)
        mu = self.spread * torch.stack([angle.cos(), angle.sin()], dim=1)
        return DiagonalGaussian(mu=mu, logvar=torch.full_like(mu, -12.0))


@pytest.mark.parametrize(("spread", "reads"), [(2.0, True), (0.0, False)])
def test_codes_that_lie_by_their_label_are_read_and_codes_that_do_not_are_not(
    bench_of, digits, monkeypatch, spread, reads
):
    bench = bench_of(latent_size=2, kind="ae")
    monkeypatch.setattr(bench.model, "encode", ByLabel(digits, spread))
    bench.__dict__["observations"] = bench.observations.__class__(digits.test, "grey", seed=0)
    found = figures(find_latents(bench))
    assert (found["linear_probe_accuracy"].value > 0.99) is reads
    assert (found["neighbour_agreement"].value > 0.7) is reads
    assert found["scatter_evenness"].value < 1.0


def test_images_without_labels_have_no_figures_of_labels(bench_of, digits):
    bare = ImageData(
        "bare", *(type(part)(name=part.name, images=part.images) for part in (digits.train, digits.test))
    )
    findings = find_latents(bench_of(data=bare, latent_size=2))
    assert set(figures(findings)) == {"scatter_evenness", "scatter_holes"}
    assert names(findings)[0] == "scatter"


def test_judge_says_what_becomes_of_a_code_that_is_moved(bench_of, judge):
    found = figures(find_latents(bench_of(judge=judge)))["displaced_same_digit"]
    assert 0.0 <= found.value <= 1.0
    assert "noise of 0.3 standard deviations of all codes" in found.protocol


def test_decoder_that_ignores_z_survives_every_move(bench_of, judge, monkeypatch):
    bench = bench_of(judge=judge)
    verdicts = bench.verdicts
    monkeypatch.setattr(bench.model, "decode", lambda z: bench.x[:1].expand(len(z), -1, -1, -1))
    found = figures(find_latents(bench))["displaced_same_digit"].value
    expected = (verdicts.labels == verdicts.labels[0]).double().mean().item()
    assert found == pytest.approx(expected)


def test_map_shows_the_first_latent_to_the_right_and_the_second_upwards(bench_of, monkeypatch, tmp_path):
    """Drawn by a decoder that paints latent 0 into the left half of its image and latent 1 into the right."""
    bench = bench_of(latent_size=2)

    def paint(z):
        image = torch.zeros(len(z), 1, 28, 28)
        image[..., :14] = torch.special.ndtr(z[:, 0]).view(-1, 1, 1, 1)
        image[..., 14:] = torch.special.ndtr(z[:, 1]).view(-1, 1, 1, 1)
        return image

    monkeypatch.setattr(bench.model, "decode", paint)
    picture = next(p for p in find_latents(bench).pictures if p.name == "manifold")
    (tmp_path / "map.png").write_bytes(picture.png)
    sheet = imread(tmp_path / "map.png")[4:-4, 4:-4, 0]
    assert sheet.shape == (20 * 28, 20 * 28)
    middles = (np.arange(20) + 0.5) / 20
    np.testing.assert_allclose(sheet[0, 5::28], middles, atol=0.01)
    np.testing.assert_allclose(sheet[5::28, 20], middles[::-1], atol=0.01)
