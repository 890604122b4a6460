"""The recipe of `tests/data/small-vae`: a pair with open sizes, trained on drawn pictures in minutes.

    PYTHONPATH=tests/support:. python -m small_vae tests/data/small-vae

Values of the graphs are in [-1, 1], mean and logvar are packed on the channel axis, and one latent stands for
4 × 4 pixels. There are convolutions alone, so that the decoder's reach is bounded, as TAESD's.

Knows torch, drawing and the trainer's export. Knows nothing of the store.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from service.commands.importing.pictures import drawn
from training.graphs.foreign import ForeignPair, check_foreign_parity, export_foreign

CHANNELS: Final = 4
FACTOR: Final = 4
WIDTHS: Final = (32, 48, 64)
STEPS: Final = 2_500
BATCH: Final = 4
CROP: Final = 32
#: Sides of the pictures that crops are cut from.
SIDES: Final = (64, 96, 128)
LEARNING_RATE: Final = 2e-3
#: Of the KL term in nats per latent: it keeps latents near N(0, I), and is no bound.
KL_WEIGHT: Final = 1e-4
SEED: Final = 0


class Residual(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.body(x)
        return changed


def encoder() -> nn.Sequential:
    """sample (batch, 3, H, W) → latent_parameters (batch, 8, H / 4, W / 4)."""
    small, middle, large = WIDTHS
    return nn.Sequential(
        nn.Conv2d(3, small, 3, padding=1),
        Residual(small),
        nn.Conv2d(small, middle, 3, stride=2, padding=1),
        Residual(middle),
        nn.Conv2d(middle, large, 3, stride=2, padding=1),
        Residual(large),
        nn.Conv2d(large, 2 * CHANNELS, 3, padding=1),
    )


def decoder() -> nn.Sequential:
    """latent_sample (batch, 4, h, w) → sample (batch, 3, 4 h, 4 w)."""
    small, middle, large = WIDTHS
    return nn.Sequential(
        nn.Conv2d(CHANNELS, large, 3, padding=1),
        Residual(large),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(large, middle, 3, padding=1),
        Residual(middle),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(middle, small, 3, padding=1),
        Residual(small),
        nn.Conv2d(small, 3, 3, padding=1),
    )


def batch_of(step: int) -> Tensor:
    """Crops of pictures that no other step has, in [-1, 1]."""
    rng = np.random.default_rng((SEED, step))
    crops = []
    for at in range(BATCH):
        side = int(rng.choice(SIDES))
        top, left = rng.integers(0, side - CROP + 1, 2)
        picture = drawn(step * BATCH + at, (3, side, side))
        crops.append(picture[:, top : top + CROP, left : left + CROP])
    return torch.from_numpy(np.stack(crops)) * 2 - 1


def train(steps: int = STEPS) -> tuple[nn.Sequential, nn.Sequential]:
    """Both halves after `steps` steps."""
    torch.manual_seed(SEED)
    encode, decode = encoder(), decoder()
    weights = [*encode.parameters(), *decode.parameters()]
    optimiser = torch.optim.Adam(weights, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        x = batch_of(step)
        mu, logvar = encode(x).chunk(2, dim=1)
        logvar = logvar.clamp(-30.0, 20.0)
        x_hat = decode(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        kl = 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar).mean()
        loss = (x_hat - x).square().mean() + KL_WEIGHT * kl
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            sys.stderr.write(f"step {step}: loss {loss.item():.5f}\n")
    return encode.eval(), decode.eval()


@torch.inference_mode()
def deviation_of(encode: nn.Sequential) -> float:
    """Standard deviation of latents of other pictures: its inverse is the scaling factor."""
    pictures = np.stack([drawn(10_000_000 + at, (3, 96, 96)) for at in range(16)])
    mu, _ = encode(torch.from_numpy(pictures) * 2 - 1).chunk(2, dim=1)
    return float(mu.std())


def main(folder: Path, steps: int = STEPS) -> None:
    """Train, export, compare with torch, and write the folder as Optimum does."""
    torch.set_num_threads(1)
    encode, decode = train(steps)
    pair = ForeignPair(
        encode,
        decode,
        encoder_outputs=("latent_parameters",),
        image=(3, 16 * FACTOR, 16 * FACTOR),
        latent=(CHANNELS, 16, 16),
        factor=FACTOR,
        encoder_input="sample",
        decoder_input="latent_sample",
        decoder_output="sample",
    )
    graphs = export_foreign(pair)
    sys.stderr.write(f"torch and onnxruntime differ by at most {check_foreign_parity(pair, graphs)}\n")
    config = {
        "scaling_factor": round(1.0 / deviation_of(encode), 5),
        "latent_channels": CHANNELS,
        "in_channels": 3,
    }
    for name, data in (("vae_encoder", graphs.encoder), ("vae_decoder", graphs.decoder)):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.onnx").write_bytes(data)
        (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
