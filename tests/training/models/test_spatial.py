"""Latents with positions: each describes a patch of the image, whatever the size of the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from training.config.model_section import ModelConfig
from training.errors import ConfigError
from training.models import build_model

TRUNK: dict[str, Any] = {
    "type": "residual",
    "latents": "spatial",
    "encoder_channels": (4, 6),
    "encoder_blocks": 0,
    "decoder_channels": (4, 6),
    "decoder_blocks": 0,
}
CONFIG = ModelConfig.model_validate({"latent_size": 3, "trunk": TRUNK})


@pytest.mark.parametrize(("side", "positions"), [((64, 64), (16, 16)), ((37, 50), (10, 13))])
def test_shapes_follow_from_the_image_for_odd_sides_too(
    side: tuple[int, int], positions: tuple[int, int]
) -> None:
    model = build_model(CONFIG, (3, *side))
    assert (model.latent_shape, model.latent_size) == ((3, *positions), 3 * positions[0] * positions[1])
    posterior = model.encode(torch.rand(2, 3, *side))
    assert posterior.mu.shape == posterior.logvar.shape == (2, model.latent_size)
    assert model.decode(posterior.mu).shape == (2, 3, *side)


def test_the_number_of_weights_does_not_depend_on_the_size_of_the_images() -> None:
    counts = {
        sum(p.numel() for p in build_model(CONFIG, (3, side, side)).parameters()) for side in (32, 64, 256)
    }
    assert len(counts) == 1
    assert not [layer for layer in build_model(CONFIG, (3, 32, 32)).modules() if isinstance(layer, nn.Linear)]


def test_mu_is_the_first_channels_of_the_last_layer_in_c_order() -> None:
    model = build_model(CONFIG, (3, 32, 32)).eval()
    maps: list[torch.Tensor] = []
    head = model.encoder.get_submodule("head")
    with torch.inference_mode():
        handle = head.register_forward_hook(lambda _, __, out: maps.append(out))
        mu = model.encode(torch.rand(2, 3, 32, 32)).mu
        handle.remove()
    assert torch.equal(mu.view(2, *model.latent_shape), maps[0][:, :3])


def test_a_latent_depends_on_its_patch_and_changes_its_patch() -> None:
    """Two stages of one convolution and the head reach 1 + 2 + 4 pixels."""
    model = build_model(CONFIG, (3, 64, 64)).eval()
    x = torch.rand(1, 3, 64, 64)
    changed = x.clone()
    changed[:, :, :4, :4] = 0.0
    with torch.inference_mode():
        mu, other = (model.encode(each).mu.view(*model.latent_shape) for each in (x, changed))
        differs = (mu != other).any(dim=0)
        assert differs[0, 0]
        assert not differs[4:, 4:].any()
        z = mu.flatten().unsqueeze(0).clone()
        moved = z.view(1, *model.latent_shape).clone()
        moved[:, :, 0, 0] += 3.0
        pixels = (model.decode(z) != model.decode(moved.flatten(start_dim=1))).any(dim=1)[0]
    assert pixels[:4, :4].any()
    assert not pixels[24:, 24:].any()


def test_too_many_latents_are_refused_with_the_remedy() -> None:
    many = ModelConfig.model_validate({"latent_size": 32, "trunk": TRUNK})
    with pytest.raises(ConfigError, match=r"32 × 64 × 64 = 131,072\. Lower it, or add a stage"):
        build_model(many, (3, 256, 256))
