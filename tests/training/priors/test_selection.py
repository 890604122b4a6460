"""Priors fitted after training: to what, chosen by what, measured on what, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from model_store import FittedPrior
from model_store.manifest import MAX_COMPONENTS, MAX_COMPONENTS_IN_ALL
from training.data import ImageSet, split_train_validation
from training.errors import DataError, NonFiniteTraining
from training.priors.label_calibration import WANTED_SHARE, LabelReader
from training.priors.selection import (
    DRAWS,
    LABEL_CANDIDATES,
    MAX_LABELS,
    Encoder,
    Parts,
    _label_candidates,
    fit_prior,
)

LATENT = 2


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many Gaussians are best is tested in `test_mixtures`; trying forty takes a second each time."""
    monkeypatch.setattr("training.priors.selection.CANDIDATES", (1, 4))


def image_set(name: str, count: int, *, labels: tuple[int, ...] = (3, 8), seed: int = 0) -> ImageSet:
    """Images of 4 x 4 noise; every second one bears the second label, and is bright."""
    pixels = np.random.default_rng(seed).integers(0, 100, (count, 1, 4, 4))
    which = np.arange(count) % len(labels)
    pixels += 100 * which[:, None, None, None]
    return ImageSet(
        name=name,
        images=torch.from_numpy(pixels.astype(np.uint8)),
        labels=torch.from_numpy(np.array(labels)[which]),
    )


@pytest.fixture
def parts() -> Parts:
    return Parts(
        image_set("some train", 1200), image_set("some held back", 200), image_set("some test", 400, seed=1)
    )


def brightness(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """mu = (8 · brightness - 4, 1), logvar = (log 0.01, 0): an encoder whose posterior is known."""
    mu = torch.stack([8.0 * x.mean(dim=(1, 2, 3)) - 4.0, torch.ones(len(x))], dim=1)
    return mu, torch.tensor([[np.log(0.01), 0.0]], dtype=torch.float32).expand_as(mu)


VAE = Encoder(brightness, kind="vae", binarisation="grey")


def value(fit, name: str) -> float:
    return next(metric.value for metric in fit.entry.metrics if metric.name == name)


def test_mixtures_lie_where_the_posterior_samples_of_each_label_lie(parts: Parts) -> None:
    fit = fit_prior(VAE, parts, seed=0)
    assert [each.label for each in fit.entry.labels] == ["3", "8"]
    assert [each.share for each in fit.entry.labels] == [0.5, 0.5]
    _, dark, bright = fit.mixtures.split(fit.entry)
    for each, label in ((dark, 3), (bright, 8)):
        x = parts.train.images[parts.train.labels == label].float() / 255.0
        mu, _ = brightness(x)
        np.testing.assert_allclose(each.weights @ each.means, mu.mean(dim=0), atol=0.15)


def test_it_is_fitted_to_samples_and_not_to_means(parts: Parts) -> None:
    """The second latent has the mean 1 everywhere and the variance 1: means alone would give it none."""
    fit = fit_prior(VAE, parts, seed=0)
    mean, second = 0.0, 0.0
    whole = fit.mixtures.split(fit.entry)[0]
    for weight, centre, factor in zip(whole.weights, whole.means, whole.cholesky, strict=True):
        mean += weight * centre[1]
        second += weight * (centre[1] ** 2 + (factor.astype(np.float64) @ factor.T)[1, 1])
    assert mean == pytest.approx(1.0, abs=0.1)
    assert second - mean**2 == pytest.approx(1.0, abs=0.12)


def test_figures_are_of_the_test_images(parts: Parts) -> None:
    """E log N(z; 0, I) in closed form: -log 2π - ½ Σ (mu² + σ²)."""
    fit = fit_prior(VAE, parts, seed=0)
    mu, logvar = brightness(parts.test.images.float() / 255.0)
    expected = -np.log(2 * np.pi) - 0.5 * float((mu.square() + logvar.exp()).sum(dim=1).mean())
    assert value(fit, "standard_prior_log_density") == pytest.approx(expected, abs=0.2)
    assert value(fit, "label_prior_log_density") > value(fit, "prior_log_density")
    assert value(fit, "prior_log_density") > value(fit, "standard_prior_log_density")
    for metric in fit.entry.metrics:
        assert "all 400 images of some test, grey pixels, seed 0" in metric.protocol
    assert "all 1,200 images of some train" in fit.entry.protocol
    assert "all 200 images of some held back" in fit.entry.protocol


def test_the_figure_of_one_gaussian_is_its_entropy(parts: Parts) -> None:
    """Posterior samples that really are one Gaussian: the mean log density is minus its entropy, in nats."""

    def one_gaussian(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(x), LATENT), 0.5), torch.full((len(x), LATENT), float(np.log(0.25)))

    fit = fit_prior(replace(VAE, encode=one_gaussian), parts, seed=1, with_labels=False)
    entropy = multivariate_normal(np.zeros(LATENT), 0.25 * np.eye(LATENT)).entropy()
    assert value(fit, "prior_log_density") == pytest.approx(-entropy, abs=0.1)


def test_the_same_seed_gives_the_same_prior_and_another_seed_another(parts: Parts) -> None:
    one, same, other = (fit_prior(VAE, parts, seed=seed) for seed in (0, 0, 1))
    assert one.mixtures.to_bytes() == same.mixtures.to_bytes()
    assert one.entry == same.entry
    assert one.mixtures.to_bytes() != other.mixtures.to_bytes()


def test_binarised_pixels_are_encoded_where_training_binarised(parts: Parts) -> None:
    seen = []

    def spy(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(x)
        return brightness(x)

    fit = fit_prior(replace(VAE, encode=spy, binarisation="dynamic"), parts, seed=0)
    assert set(torch.cat(seen).unique().tolist()) == {0.0, 1.0}
    assert "dynamic binarisation" in fit.entry.protocol


def test_every_training_image_gives_several_draws_each_of_another_binarisation(parts: Parts) -> None:
    seen: list[torch.Tensor] = []

    def spy(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(x)
        return brightness(x)

    fit = fit_prior(replace(VAE, encode=spy, binarisation="dynamic"), parts, seed=0)
    draws = torch.cat(seen)[: DRAWS * 1200].reshape(DRAWS, 1200, -1)
    # Sixteen pixels may come out alike by chance.
    assert all((draws[0] != other).any(dim=1).float().mean() > 0.9 for other in draws[1:])
    assert len(torch.cat(seen)) == DRAWS * 1200 + 200 + 400
    assert f"({DRAWS} for the mixtures of labels" in fit.entry.protocol


def test_all_images_are_described_by_the_labels_together_where_that_is_better(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dark and bright images lie apart: one Gaussian for both is worse than one for each."""
    monkeypatch.setattr("training.priors.selection.CANDIDATES", (1,))
    monkeypatch.setattr("training.priors.selection.LABEL_CANDIDATES", (1,))
    said: list[str] = []
    fit = fit_prior(VAE, parts, seed=0, tell=said.append)
    whole, *of_labels = fit.mixtures.split(fit.entry)
    assert whole.weights.tolist() == pytest.approx([0.5, 0.5])
    np.testing.assert_array_equal(whole.means, np.concatenate([each.means for each in of_labels]))
    assert said[-1].startswith("all images: 2 Gaussians (log density of held-out images, by number: 1: ")
    without = fit_prior(VAE, parts, seed=0, with_labels=False)
    assert value(fit, "prior_log_density") > value(without, "prior_log_density")


def test_an_autoencoder_s_codes_are_taken_as_they_are(parts: Parts) -> None:
    fit = fit_prior(replace(VAE, kind="ae"), parts, seed=0)
    assert "seed 0, the code of each" in fit.entry.protocol
    assert [metric.name for metric in fit.entry.metrics] == ["prior_log_density", "label_prior_log_density"]
    whole = fit.mixtures.split(fit.entry)[0]
    np.testing.assert_allclose(whole.means[:, 1], 1.0, atol=1e-4)


def test_labels_are_left_out_where_there_are_none_or_nobody_wants_them(parts: Parts) -> None:
    without = Parts(*(ImageSet(name=each.name, images=each.images) for each in parts))
    for fit in (fit_prior(VAE, parts, seed=0, with_labels=False), fit_prior(VAE, without, seed=0)):
        assert fit.entry.labels == ()
        assert [metric.name for metric in fit.entry.metrics] == [
            "prior_log_density", "standard_prior_log_density",
        ]  # fmt: skip
        assert "for each label" not in fit.entry.protocol


def test_a_label_with_too_few_images_is_left_out_and_the_others_have_their_priors(parts: Parts) -> None:
    said: list[str] = []
    rare = replace(parts, train=image_set("few", 63, labels=(3,) * 20 + (8,)))
    names = tuple("abcdefghi")
    fit = fit_prior(VAE, rare, seed=0, label_names=names, tell=said.append)
    assert [each.label for each in fit.entry.labels] == ["d"]
    assert said[1].startswith(
        "label i: left out, it has no prior of its own: 3 training images and 100 held-out ones"
    )
    assert "needs at least 6" in said[1]
    assert fit.entry.protocol.endswith("; labels with too few images to fit to: i")
    assert value(fit, "label_prior_log_density")
    # All images are still what the prior of all is fitted to, and without labels nothing is left out.
    assert "labels with too few" not in fit_prior(VAE, rare, seed=0, with_labels=False).entry.protocol


def test_a_label_without_images_held_back_is_left_out(parts: Parts) -> None:
    said: list[str] = []
    without = replace(parts, held_back=image_set("no eights", 20, labels=(3,)))
    fit = fit_prior(VAE, without, seed=0, tell=said.append)
    assert [each.label for each in fit.entry.labels] == ["3"]
    assert any(
        "label 8: left out" in line and "600 training images and 0 held-out ones" in line for line in said
    )


def test_where_all_labels_are_rare_there_is_a_prior_of_all_images_alone(parts: Parts) -> None:
    rare = replace(parts, train=image_set("rare", 8, labels=(3, 8)))
    fit = fit_prior(
        VAE, rare, seed=0, reader=LabelReader(lambda z: np.zeros(len(z), np.int64), about="nobody")
    )
    assert fit.entry.labels == ()
    assert fit.entry.protocol.endswith("; labels with too few images to fit to: 3, 8")


def test_a_prior_of_many_labels_keeps_the_bounds_of_a_version() -> None:
    """More Gaussians than a manifest holds were found out after hours of fitting."""
    assert _label_candidates(10) == LABEL_CANDIDATES
    for labels in (1, 100, 563, 1000):
        assert labels * max(_label_candidates(labels)) + MAX_COMPONENTS <= MAX_COMPONENTS_IN_ALL
    with pytest.raises(DataError, match=r"at most 1,000 with their own mixture, got 1,001\. Use --no-"):
        _label_candidates(1001)
    field = FittedPrior.model_json_schema()["properties"]["labels"]
    assert field["maxItems"] == MAX_LABELS


def test_too_few_images_in_all_are_refused(parts: Parts) -> None:
    with pytest.raises(DataError, match="all images: expected at least 6 training images"):
        fit_prior(VAE, replace(parts, train=image_set("five", 5)), seed=0, with_labels=False)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_encoder_that_gives_no_numbers_is_refused(parts: Parts, bad: float) -> None:
    def broken(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mu, logvar = brightness(x)
        return torch.where(torch.arange(len(mu))[:, None] == 5, bad, mu), logvar

    with pytest.raises(NonFiniteTraining, match="some train: expected finite latents, got NaN or infinity"):
        fit_prior(replace(VAE, encode=broken), parts, seed=0)


def test_test_images_of_labels_that_were_not_fitted_have_no_part_in_the_label_figure(parts: Parts) -> None:
    fit = fit_prior(VAE, replace(parts, test=image_set("others", 50, labels=(1, 2))), seed=0)
    assert [metric.name for metric in fit.entry.metrics] == [
        "prior_log_density",
        "standard_prior_log_density",
    ]


def test_people_are_told_after_each_mixture_and_how_far_the_encoding_has_come(parts: Parts) -> None:
    said: list[str] = []
    progress: list[tuple[str, int, int]] = []
    fit_prior(VAE, parts, seed=0, tell=said.append, progress=lambda *step: progress.append(step))
    assert [line.partition(":")[0] for line in said] == ["label 3", "label 8", "all images"]
    assert "log density of held-out images, by number: 1: " in said[0]
    assert ("encoding some train", 256, DRAWS * 1200) in progress
    assert progress[-1] == ("encoding some test", 400, 400)


def test_parts_of_a_real_split_have_their_names_in_the_protocol(digits) -> None:
    train, held_back = split_train_validation(digits.train, validation_size=100, seed=0)
    assert held_back is not None

    def means(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = x.flatten(1)
        return torch.stack([rows[:, :392].mean(dim=1), rows[:, 392:].mean(dim=1)], dim=1), torch.zeros(
            len(x), 2
        )

    fit = fit_prior(
        Encoder(means, kind="vae", binarisation="dynamic"), Parts(train, held_back, digits.test), seed=4
    )
    assert [each.label for each in fit.entry.labels] == [str(digit) for digit in range(10)]
    assert sum(each.share for each in fit.entry.labels) == pytest.approx(1.0)
    assert f"all 576 images of {digits.train.name}, dynamic binarisation, seed 4" in fit.entry.protocol
    assert "100 held back (seed 0)" in fit.entry.protocol


def test_where_nothing_fits_better_the_fitted_prior_is_n_0_i_itself(parts: Parts) -> None:
    """It is drawn from by default, so it must not be a poor guess from a few images."""

    def standard(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(x), LATENT), torch.zeros(len(x), LATENT)

    said: list[str] = []
    few = replace(parts, train=image_set("few", 12))
    fit = fit_prior(replace(VAE, encode=standard), few, seed=0, with_labels=False, tell=said.append)
    (whole,) = fit.mixtures.split(fit.entry)
    assert (whole.weights.tolist(), whole.means.tolist()) == ([1.0], [[0.0, 0.0]])
    np.testing.assert_array_equal(whole.cholesky, np.eye(LATENT)[np.newaxis])
    assert value(fit, "prior_log_density") == pytest.approx(value(fit, "standard_prior_log_density"))
    assert said[0].startswith("all images: N(0, I) (log density of held-out images, by number: 1: -")
    assert "N(0, I) itself if none is better" in fit.entry.protocol


def test_a_reader_narrows_the_mixtures_of_labels_and_nothing_else(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He reads a label only near the middle of where its images lie, along the second latent."""
    monkeypatch.setattr("training.priors.selection.LABEL_CANDIDATES", (1,))

    def read(z: np.ndarray) -> np.ndarray:
        label = np.where(z[:, 0] < 0.0, 3, 8)
        return np.where(np.abs(z[:, 1] - 1.0) < 2.0, label, 5)

    said: list[str] = []
    wide = fit_prior(VAE, parts, seed=0)
    fit = fit_prior(VAE, parts, seed=0, reader=LabelReader(read, about="somebody"), tell=said.append)
    whole, *labelled = fit.mixtures.split(fit.entry)
    np.testing.assert_array_equal(whole.cholesky, wide.mixtures.split(wide.entry)[0].cholesky)
    factors = []
    for narrow, before in zip(labelled, wide.mixtures.split(wide.entry)[1:], strict=True):
        factors.append((narrow.cholesky[0, 0, 0] / before.cholesky[0, 0, 0]).item())
        np.testing.assert_allclose(narrow.cholesky, factors[-1] * before.cholesky, rtol=1e-5)
        np.testing.assert_array_equal(narrow.means, before.means)
    # 98.5 % of N(0, 1) lie within 2.432, and 2.0 / 2.432 = 0.822.
    assert all(0.7 < factor < 0.9 for factor in factors)
    assert value(fit, "asked_label_share") >= WANTED_SHARE
    assert value(fit, "prior_log_density") == value(wide, "prior_log_density")
    assert value(fit, "label_prior_log_density") < value(wide, "label_prior_log_density")
    assert "somebody reads 98.5 % of 2,000 draws (seed 0) as that label" in fit.entry.protocol
    assert fit.entry.protocol.endswith(f"(3: {factors[0]:.3g}, 8: {factors[1]:.3g})")
    assert [line.partition(",")[0] for line in said if "read as asked" in line] == [
        f"label 3: factor {factors[0]:.3g}",
        f"label 8: factor {factors[1]:.3g}",
    ]
