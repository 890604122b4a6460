"""Previews of tiny models: the formulae's own means of random images.

Knows NumPy, the store's names for previews and the tiny models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tiny_models import TinyModel

from model_store import Preview, PreviewSpec

Shown = tuple[PreviewSpec, Preview]


def tiny_preview(
    model: TinyModel, *, images: int = 6, labels: Sequence[str] = ("0", "7"), seed: int = 3
) -> Shown:
    """The preview of random images; without `labels`, they have none."""
    rng = np.random.default_rng(seed)
    thumbnails = rng.integers(0, 256, (images, *model.image_shape), np.uint8)
    mu, logvar = model.encode(thumbnails.astype(np.float32) / np.float32(255))
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1.0 - logvar)
    is_vae = model.kind == "vae"
    spec = PreviewSpec(
        images=images,
        labels=tuple(labels),
        thumbnail=model.image_shape,
        protocol="Random pixels for tests; no data.",
    )
    arrays = Preview(
        mu=mu.astype(np.float32),
        thumbnails=thumbnails,
        logvar=logvar.astype(np.float32) if is_vae else None,
        kl=kl.mean(axis=0).astype(np.float32) if is_vae else None,
        labels=(np.arange(images) % len(labels)).astype(np.uint16) if labels else None,
    )
    return spec, arrays
