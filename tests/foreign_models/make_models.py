"""Models of diffusers and pythae from random configurations, saved by the libraries, and what torch computes.

`python make_models.py FOLDER` makes FOLDER/NAME, as the library saves it, and FOLDER/NAME.npz, offline.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import write_answers
from diffusers import AutoencoderKL, AutoencoderTiny
from pythae.models import AE, VAE, AEConfig, BetaVAE, BetaVAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder


class Encoder(BaseEncoder):
    """Networks of a user's own, which pythae keeps as a pickle."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 4, 2, 1), torch.nn.ReLU(), torch.nn.Flatten())
        self.mu, self.logvar = torch.nn.Linear(4 * 8 * 6, 5), torch.nn.Linear(4 * 8 * 6, 5)
        self.latent_dim = 5

    def forward(self, x: torch.Tensor) -> ModelOutput:
        rows = self.body(x)
        return ModelOutput(embedding=self.mu(rows), log_covariance=self.logvar(rows))


class Decoder(BaseDecoder):
    """The same for the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(5, 4 * 8 * 6),
            torch.nn.Unflatten(1, (4, 8, 6)),
            torch.nn.ConvTranspose2d(4, 1, 4, 2, 1),
            torch.nn.Sigmoid(),
        )

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.body(z))


@torch.inference_mode()
def write_flat_answers(path: Path, model: Any, shape: tuple[int, int, int]) -> None:
    """PATH.npz of a model of one size."""
    generator = torch.Generator().manual_seed(1)
    x, z = torch.rand(3, *shape, generator=generator), torch.randn(3, model.latent_dim, generator=generator)
    output = model.encoder(x)
    found = {"x0": x, "mu0": output.embedding, "z0": z, "image0": model.decoder(z).reconstruction.clamp(0, 1)}
    if "log_covariance" in output:
        found["logvar0"] = output.log_covariance
    np.savez(path, **{name: values.numpy() for name, values in found.items()})


def main(folder: Path) -> None:
    torch.manual_seed(0)
    kl = AutoencoderKL(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 32, 32),
        norm_num_groups=8,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    ).eval()
    kl.save_pretrained(folder / "kl/vae")
    write_answers(folder / "kl.npz", kl)
    # Without quant_conv, as Stable Diffusion 3 and Flux have it, and in half precision.
    bare = AutoencoderKL(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    ).eval()
    bare.half().save_pretrained(folder / "kl-bare", variant="fp16")
    write_answers(folder / "kl-bare.npz", bare.float())
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(16,) * 4,
        decoder_block_out_channels=(16,) * 4,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).eval()
    tiny.save_pretrained(folder / "tiny", safe_serialization=False)
    write_answers(folder / "tiny.npz", tiny)
    flat: dict[str, tuple[Any, tuple[int, int, int]]] = {
        "vae/final_model": (VAE(VAEConfig(input_dim=(1, 28, 24), latent_dim=5)), (1, 28, 24)),
        "beta-vae": (BetaVAE(BetaVAEConfig(input_dim=(1, 16, 20), latent_dim=6, beta=4.0)), (1, 16, 20)),
        "ae": (AE(AEConfig(input_dim=(3, 16, 20), latent_dim=7)), (3, 16, 20)),
        "own-networks": (
            VAE(VAEConfig(input_dim=(1, 16, 12), latent_dim=5), encoder=Encoder(), decoder=Decoder()),
            (1, 16, 12),
        ),
    }
    for name, (model, shape) in flat.items():
        model.eval().save(str(folder / name))
        write_flat_answers(folder / f"{Path(name).parts[0]}.npz", model, shape)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
