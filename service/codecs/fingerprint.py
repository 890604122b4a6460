"""A digest of the files that this process writes for fixed images.

Knows the writers of every format. Knows nothing of models or caches. Two machines with the same releases of
all Python packages may still write the same pixels as other bytes: the compression of a PNG is that of the
zlib that Python found, zlib or zlib-ng, and JPEG and WebP use the instructions of the processor. The digest
shows such a difference; no list of versions does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.codecs.images import encode_lossy, encode_png
from service.codecs.tensors import encode_npy, encode_npz

_SIDE: Final = 48
#: Multipliers of a linear congruential generator (Numerical Recipes, section 7.1), modulo 2³².
_MULTIPLIER, _INCREMENT = 1_664_525, 1_013_904_223


def written_sha256() -> str:
    """SHA-256 over every kind of file, each for the same images; about 10 ms."""
    whole = hashlib.sha256()
    for file in _files():
        whole.update(b"%d:" % len(file) + file)
    return whole.hexdigest()


def _files() -> Iterator[bytes]:
    for channels in (1, 3):
        images = _images(channels)
        yield encode_png(images)
        yield encode_png(images, scale=3)
        for quality in (None, 60):
            yield encode_lossy(images, kind="JPEG", quality=quality)
            yield encode_lossy(images, kind="WebP", quality=quality)
        yield encode_npy(images)
        yield encode_npz({"images": images, "seed": np.asarray(7)})


def _images(channels: int) -> NDArray[np.float32]:
    """Three images with flat parts, slopes and noise, as models draw them: float32 (3, channels, H, W)."""
    count = channels * _SIDE * _SIDE
    state, noise = 1, np.empty(count)
    for at in range(count):
        state = (state * _MULTIPLIER + _INCREMENT) % 2**32
        noise[at] = state / 2**32
    grain = noise.reshape(channels, _SIDE, _SIDE)
    row, column = np.indices((_SIDE, _SIDE)) / (_SIDE - 1)
    slope = np.broadcast_to((row + column) / 2, grain.shape)
    disc = np.broadcast_to(((row - 0.5) ** 2 + (column - 0.5) ** 2 < 0.1).astype(np.float64), grain.shape)
    images: NDArray[np.float32] = np.stack([slope, disc, 0.75 * disc + 0.25 * grain]).astype(np.float32)
    return images
