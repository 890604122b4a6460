"""Both kinds over both trunks: shapes, bounds, determinism, and independence of batch-mates."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.config.model_section import (
    BernoulliConfig,
    GaussianConfig,
    MLPTrunk,
    ModelConfig,
    ResidualTrunk,
)
from training.models import VAE, AutoEncoder, build_model
from training.models.networks import ResidualBlock, soft_bound

TRUNKS: dict[str, Any] = {
    "mlp": MLPTrunk(encoder_hidden=(24,), decoder_hidden=(24, 24)),
    "residual": ResidualTrunk(encoder_channels=(4, 6), decoder_channels=(6, 8), decoder_blocks=1),
}


def built(kind="vae", trunk="residual", image_shape=(1, 28, 28), **keys):
    torch.manual_seed(0)
    return build_model(ModelConfig(kind=kind, trunk=TRUNKS[trunk], **keys), image_shape).eval()


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.parametrize("trunk", ["mlp", "residual"])
@pytest.mark.parametrize("latent_size", [1, 2, 33])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 8, 8), (1, 9, 15), (2, 32, 20)])
def test_any_latent_size_and_image_shape_keeps_its_shapes(kind, trunk, latent_size, image_shape):
    model = built(kind, trunk, image_shape, latent_size=latent_size)
    x = torch.rand(5, *image_shape)
    posterior = model.encode(x)
    assert posterior.mu.shape == posterior.logvar.shape == (5, latent_size)
    x_hat = model.decode(posterior.mu)
    assert x_hat.shape == x.shape
    assert x_hat.min() >= 0.0
    assert x_hat.max() <= 1.0


@pytest.mark.parametrize("stages", [(4,), (4, 6), (4, 6, 8)])
def test_any_number_of_stages_keeps_its_shapes(stages):
    config = ModelConfig(trunk=ResidualTrunk(encoder_channels=stages, decoder_channels=stages))
    model = build_model(config, (1, 28, 28))
    assert model.decode(model.encode(torch.rand(2, 1, 28, 28)).mu).shape == (2, 1, 28, 28)


def test_every_stage_has_the_blocks_that_are_asked_for():
    """A list goes from the image inwards, like the channels: the decoder runs through it backwards."""
    trunk = ResidualTrunk(
        encoder_channels=(4, 6), encoder_blocks=(3, 1), decoder_channels=(5, 7), decoder_blocks=(0, 2)
    )
    model = build_model(ModelConfig(trunk=trunk), (1, 28, 28))

    def widths_of_blocks(network):
        return [part.first.in_channels for part in network.modules() if isinstance(part, ResidualBlock)]

    assert widths_of_blocks(model.encoder) == [4, 4, 4, 6]
    assert widths_of_blocks(model.decoder) == [7, 7]
    assert model.decode(model.encode(torch.rand(2, 1, 28, 28)).mu).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("trunk", ["mlp", "residual"])
def test_an_image_is_answered_the_same_alone_and_among_others(trunk):
    """No batch normalisation: the server batches strangers' images together."""
    model, x = built(trunk=trunk).train(), torch.rand(9, 1, 28, 28)
    together, alone = model.encode(x), model.encode(x[4:5])
    torch.testing.assert_close(together.mu[4:5], alone.mu, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        model.decode(together.mu)[4:5], model.decode(together.mu[4:5]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("trunk", ["mlp", "residual"])
def test_logvar_stays_within_its_bounds_for_absurd_images(trunk):
    model = built(trunk=trunk, logvar_min=-8.0, logvar_max=2.0)
    logvar = model.encode(1e6 * torch.randn(64, 1, 28, 28)).logvar
    assert torch.isfinite(logvar).all()
    assert logvar.min().item() >= -8.0
    assert logvar.max().item() <= 2.0


def test_soft_bound_is_nearly_the_identity_in_the_middle_and_keeps_a_gradient_beyond_the_bounds():
    raw = torch.tensor([[-3.5, -3.0, -2.5, 2.0, -8.0, 4.0, -10.0]], requires_grad=True)
    bounded = soft_bound(raw, low=-8.0, high=2.0)
    torch.testing.assert_close(bounded[0, :3], raw.detach()[0, :3], atol=2e-3, rtol=0.0)
    bounded.sum().backward()
    assert raw.grad is not None
    assert raw.grad.min().item() > 0.1


def test_vae_draws_its_latents_and_autoencoder_does_not(generator):
    x = torch.rand(3, 1, 28, 28)
    vae, autoencoder = built("vae"), built("ae")
    q = vae.encode(x)
    assert not torch.equal(vae.sample_posterior(q, generator=generator), q.mu)
    q = autoencoder.encode(x)
    assert torch.equal(autoencoder.sample_posterior(q, generator=generator), q.mu)


def test_autoencoder_has_no_divergence_and_a_constant_logvar():
    autoencoder = built("ae", logvar_min=-7.0)
    q = autoencoder.encode(torch.rand(3, 1, 28, 28))
    assert torch.equal(autoencoder.divergence(q, q.mu), torch.zeros(3))
    assert torch.equal(q.logvar, torch.full_like(q.mu, -7.0))


def test_kinds_say_which_they_are():
    assert isinstance(built("vae"), VAE)
    assert isinstance(built("ae"), AutoEncoder)
    assert (built("vae").kind, built("ae").kind) == ("vae", "ae")


def test_likelihood_follows_the_recipe():
    assert built(likelihood=BernoulliConfig()).likelihood.spec().name == "bernoulli"
    spec = built(likelihood=GaussianConfig(sigma=0.5)).likelihood.spec()
    assert (spec.name, spec.sigma, spec.learned) == ("gaussian", 0.5, False)


def test_residual_block_starts_as_the_identity(generator):
    x = torch.randn(2, 3, 5, 5, generator=generator)
    assert torch.equal(ResidualBlock(3)(x), x)


def test_channels_last_changes_the_layout_and_not_the_answer():
    model, x = built(), torch.rand(2, 1, 28, 28)
    before = model.decode(model.encode(x).mu)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model.decode(model.encode(x).mu), before, atol=1e-5, rtol=1e-5)
