"""Writes a small AutoencoderKL with random weights: as diffusers keeps it, and as Optimum exports it.

`python export.py FOLDER` makes FOLDER/torch, FOLDER/vae_encoder and FOLDER/vae_decoder. No network is used.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.export import Dim

SCALING, SHIFT = 0.18215, 0.1159


class Encoder(torch.nn.Module):
    """sample → latent_parameters: the moments, and not `encode`, which draws."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        return self.quant_conv(self.encoder(sample))


class Decoder(torch.nn.Module):
    """latent_sample → sample."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.post_quant_conv(latent_sample))


def export(
    module: torch.nn.Module, example: torch.Tensor, path: Path, *, factor: int, names: tuple[str, str]
) -> None:
    # diffusers' upsampling has another way for 64 rows or more.
    h, w = Dim("h", min=2, max=256), Dim("w", min=2, max=256)
    sides = {2: factor * h, 3: factor * w} if factor > 1 else {2: h, 3: w}
    path.parent.mkdir(parents=True)
    torch.onnx.export(
        module.eval(), (example,), str(path), input_names=[names[0]], output_names=[names[1]], dynamo=True,
        external_data=False, verbose=False, dynamic_shapes=({0: Dim("batch", max=63), **sides},),
    )  # fmt: skip


def main(folder: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=SCALING,
        shift_factor=SHIFT,
    ).eval()
    vae.save_pretrained(folder / "torch")
    with torch.no_grad():
        export(
            Encoder(vae),
            torch.rand(2, 3, 64, 96),
            folder / "vae_encoder/model.onnx",
            factor=8,
            names=("sample", "latent_parameters"),
        )
        export(
            Decoder(vae),
            torch.rand(2, 4, 8, 12),
            folder / "vae_decoder/model.onnx",
            factor=1,
            names=("latent_sample", "sample"),
        )
    config = {"scaling_factor": SCALING, "shift_factor": SHIFT, "latent_channels": 4, "in_channels": 3}
    for part in ("vae_encoder", "vae_decoder"):
        (folder / part / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
