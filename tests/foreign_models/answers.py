"""What torch computes with a model of diffusers, for comparison: images and latents in the server's units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

#: Of diffusers' models, which have open sizes: H ≠ W, and neither is a size of the export.
SIZES = ((48, 88), (104, 64))


@torch.inference_mode()
def write_answers(path: Path, vae: Any, latent_channels: int = 4) -> None:
    """PATH.npz with x, mu, logvar if there is one, z and image of each size."""
    found: dict[str, np.ndarray] = {}
    generator = torch.Generator().manual_seed(1)
    for at, (height, width) in enumerate(SIZES):
        x = torch.rand(2, 3, height, width, generator=generator)
        output = vae.encode(2 * x - 1)
        if hasattr(output, "latent_dist"):
            mu, found[f"logvar{at}"] = output.latent_dist.mean, output.latent_dist.logvar.numpy()
        else:
            mu = output.latents
        z = torch.randn(2, latent_channels, height // 8, width // 8, generator=generator)
        image = (vae.decode(z).sample / 2 + 0.5).clamp(0, 1)
        for name, values in {"x": x, "mu": mu, "z": z, "image": image}.items():
            found[f"{name}{at}"] = values.numpy()
    np.savez(path, **found)
