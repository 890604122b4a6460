"""An untrained model's pixels begin at the mean of the training pictures, whatever the layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.config.model_section import GaussianConfig, MLPTrunk, ModelConfig, ResidualTrunk
from training.config.recipe import RunConfig
from training.data import ImageData, ImageSet
from training.evaluation.figures import Evaluation, evaluate
from training.fitting.console import Console
from training.fitting.fit import fit
from training.fitting.output_start import PixelMoments, begin_at
from training.models import Gaussian, build_model

RESIDUAL = ResidualTrunk(encoder_channels=(8, 16), decoder_channels=(16, 32), decoder_blocks=1)
MLP = MLPTrunk(encoder_hidden=(16,), decoder_hidden=(16,))
SILENT = Console(say=lambda line: None)


def discs_on_white(count: int, *, side: int = 16) -> torch.Tensor:
    """Coloured discs with soft rims: most of the picture is paper, as in photographs of goods."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    pictures = np.empty((count, 3, side, side), np.uint8)
    for picture in pictures:
        x, y = draw.uniform(4, side - 4, 2)
        inside = np.clip(draw.uniform(2.0, 4.0) - np.hypot(columns - x, rows - y) + 0.5, 0.0, 1.0)
        ink = draw.integers(20, 236, (3, 1, 1))
        picture[:] = np.round(255 * (1 - inside) + ink * inside)
    return torch.from_numpy(pictures)


def paper_with_stains(count: int, *, side: int = 16) -> torch.Tensor:
    """Grey paper with one soft stain of 4 to 12 levels: pictures that an eye can hardly tell apart."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    pictures = np.empty((count, 1, side, side), np.uint8)
    for picture in pictures:
        x, y = draw.uniform(3, side - 3, 2)
        far = ((columns - x) ** 2 + (rows - y) ** 2) / (2 * draw.uniform(2.0, 5.0) ** 2)
        picture[:] = np.round(240 - draw.uniform(4.0, 12.0) * np.exp(-far))
    return torch.from_numpy(pictures)


def in_channels(*levels: int) -> ImageSet:
    """Pictures of odd sides, each channel of one level."""
    images = torch.tensor(levels, dtype=torch.uint8).view(1, -1, 1, 1).expand(3, -1, 9, 11)
    return ImageSet(name="flat", images=images.contiguous())


def test_the_mean_is_of_each_channel() -> None:
    images = discs_on_white(50)
    got = PixelMoments.of(ImageSet(name="discs", images=images))
    x = images.double() / 255.0
    assert got.mean == pytest.approx(x.mean(dim=(0, 2, 3)).tolist(), abs=1e-12)
    assert got.spread == pytest.approx(
        (x - x.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt().item()
    )


@pytest.mark.parametrize(("spread", "expected"), [(0.5, 0.2), (0.05, 0.05), (0.0, 0.012)])
def test_a_learned_sigma_begins_no_higher_than_the_pixels_spread(spread: float, expected: float) -> None:
    """And no lower than where it can still move."""
    likelihood = GaussianConfig(name="gaussian", sigma=0.2, learned=True)
    model = build_model(ModelConfig(latent_size=2, trunk=MLP, likelihood=likelihood), (1, 8, 8))
    begin_at(model, PixelMoments(mean=(0.5,), spread=spread))
    assert isinstance(model.likelihood, Gaussian)
    assert model.likelihood.sigma.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("trunk", [RESIDUAL, MLP], ids=["residual", "mlp"])
def test_an_untrained_picture_differs_no_more_than_the_pictures_do(trunk: object) -> None:
    model = build_model(ModelConfig.model_validate({"latent_size": 4, "trunk": trunk}), (1, 12, 12))
    begin_at(model, PixelMoments(mean=(0.9,), spread=0.009))
    z = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert model.decode(z).std() < 0.009


def first_layer(model: torch.nn.Module) -> torch.nn.Conv2d | torch.nn.Linear:
    layers = (each for each in model.modules() if isinstance(each, torch.nn.Conv2d | torch.nn.Linear))
    return next(layers)


@pytest.mark.parametrize("trunk", [RESIDUAL, MLP], ids=["residual", "mlp"])
def test_an_encoder_of_pictures_that_hardly_differ_begins_with_larger_differences(trunk: object) -> None:
    """Ten times as large where the spread is a tenth of the usual; what it makes of the mean stays."""
    model = build_model(ModelConfig.model_validate({"latent_size": 4, "trunk": trunk}), (3, 9, 11))
    level = torch.tensor([0.9, 0.5, 0.1]).view(1, 3, 1, 1).expand(1, 3, 9, 11).contiguous()
    x = level + 0.02 * torch.randn(8, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    flatten = torch.nn.Flatten() if trunk is MLP else torch.nn.Identity()
    with torch.inference_mode():
        before = [first_layer(model.encoder)(flatten(each)) for each in (level, x)]
        begin_at(model, PixelMoments(mean=(0.9, 0.5, 0.1), spread=0.02))
        after = [first_layer(model.encoder)(flatten(each)) for each in (level, x)]
    inside = (..., slice(1, -1), slice(1, -1)) if trunk is RESIDUAL else ...
    torch.testing.assert_close(after[0][inside], before[0][inside], atol=1e-5, rtol=0)
    differences = [of_x - of_level for of_level, of_x in (before, after)]
    torch.testing.assert_close(differences[1], 10.0 * differences[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("trunk", [RESIDUAL, MLP], ids=["residual", "mlp"])
def test_an_encoder_of_usual_pictures_begins_as_its_layers_do(trunk: object, digits: ImageData) -> None:
    """So the recipes for MNIST give the weights that they gave."""
    model = build_model(ModelConfig.model_validate({"latent_size": 4, "trunk": trunk}), digits.image_shape)
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    begin_at(model, PixelMoments.of(digits.train))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.encoder.state_dict().items())


def test_a_stated_sigma_stays() -> None:
    likelihood = GaussianConfig(name="gaussian", sigma=0.2, learned=False)
    model = build_model(ModelConfig(latent_size=2, trunk=MLP, likelihood=likelihood), (1, 8, 8))
    begin_at(model, PixelMoments(mean=(0.5,), spread=0.01))
    assert isinstance(model.likelihood, Gaussian)
    assert model.likelihood.sigma.item() == pytest.approx(0.2)


@pytest.mark.parametrize("trunk", [RESIDUAL, MLP], ids=["residual", "mlp"])
@pytest.mark.parametrize("kind", ["vae", "ae"])
def test_the_first_reconstruction_is_near_the_mean_of_every_channel(kind: str, trunk: object) -> None:
    """A channel at another one's mean would show here: the three lie far apart."""
    config = ModelConfig.model_validate({"kind": kind, "latent_size": 4, "trunk": trunk})
    model = build_model(config, (3, 9, 11))
    images = in_channels(20, 130, 245)
    begin_at(model, PixelMoments.of(images))
    z = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        means = model.decode(z).mean(dim=(0, 2, 3))
    assert torch.allclose(means, torch.tensor([20.0, 130.0, 245.0]) / 255.0, atol=0.06)


def test_channels_of_one_level_leave_the_sigmoid_a_gradient() -> None:
    model = build_model(ModelConfig(latent_size=4, trunk=MLP), (2, 9, 11))
    begin_at(model, PixelMoments.of(in_channels(0, 255)))
    pixels = model.decode(torch.zeros(1, 4))
    assert 0.002 < pixels.min() < 0.05
    assert 0.95 < pixels.max() < 0.998


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.usefixtures("no_pictures")
def test_pictures_on_white_do_not_collapse(
    kind: str, tiny: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the layers' own start, mean grey, both kinds gave one white picture for every disc."""
    figures, spread = figures_of_a_short_run(discs_on_white(800), kind, tiny, tmp_path_factory)
    assert figures["reconstruction_rmse"] < 0.8 * spread
    if kind == "vae":
        assert figures["kl"] > 5.0
        assert figures["active_units"] >= 4


@pytest.mark.usefixtures("no_pictures")
def test_pictures_that_hardly_differ_are_told_apart_within_200_steps(
    tiny: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The encoder's own start saw no difference for 400 steps, and the run counted as collapsed."""
    figures, spread = figures_of_a_short_run(paper_with_stains(800), "vae", tiny, tmp_path_factory)
    assert figures["reconstruction_rmse"] < 0.5 * spread
    assert figures["kl"] > 5.0


def figures_of_a_short_run(
    images: torch.Tensor,
    kind: str,
    tiny: Callable[..., RunConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Evaluation, float]:
    """On a hundred pictures that it has not seen, and the RMSE of their mean."""
    data = ImageData(
        name="drawn",
        train=ImageSet(name="drawn", images=images[:700]),
        test=ImageSet(name="drawn test", images=images[700:]),
    )
    config = tiny(
        data={"binarisation": "grey"},
        model={
            "kind": kind,
            "latent_size": 8,
            "trunk": RESIDUAL.model_dump(mode="json"),
            "likelihood": {"name": "gaussian", "sigma": 0.2, "learned": True, "sigma_min": 0.002},
        },
        optimiser={"warmup_steps": 20, "beta2": 0.99, "gradient_clip_norm": 1000.0},
        trainer={"epochs": 10, "batch_size": 32, "ema_decay": 0.9},
    )
    run = fit(config, data, tmp_path_factory.mktemp("drawn") / "run", console=SILENT)
    figures = evaluate(run.model, data.test, importance_samples=1, importance_images=1)
    spread = (images[700:].float() / 255.0).std(dim=0, correction=0).square().mean().sqrt().item()
    return figures, spread
