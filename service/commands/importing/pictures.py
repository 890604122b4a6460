"""Pictures to try a model with: drawn here, or read from a folder.

Knows shapes and picture files. Knows nothing of models. Images are float32 (N, C, H, W) in [0, 1].
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.api.request_images import Reading, read_picture
from service.codecs.errors import CodecError
from service.commands.importing.report import refuse

_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_MOST_PIXELS: Final = 16_777_216
_MOST_BYTES: Final = 64 * 1024 * 1024
Array = NDArray[np.float32]


class Pictures:
    """Makes images of any size."""

    def __init__(self, folder: Path | None) -> None:
        """Find the files of `folder`, if there is one.

        Raises:
            ImportRefused: It has no picture.
        """
        self._files: list[Path] = []
        if folder is not None:
            found = sorted(folder.iterdir()) if folder.is_dir() else [folder]
            self._files = [path for path in found if path.suffix.lower() in _SUFFIXES and path.is_file()]
            if not self._files:
                raise refuse(
                    "--golden",
                    expected="a folder with PNG, JPEG or WebP files",
                    got=f"{folder} without any",
                    remedy="Leave it out: then pictures are drawn.",
                )

    @property
    def origin(self) -> str:
        """For the card."""
        return f"{len(self._files)} pictures of the user" if self._files else "drawn pictures"

    def images(self, count: int, shape: tuple[int, int, int]) -> Array:
        """Images of (C, H, W)."""
        if self._files and shape[0] in (1, 3):
            chosen = [self._files[at % len(self._files)] for at in range(count)]
            return np.stack([_read(path, shape) for path in chosen])
        return np.stack([drawn(at, shape) for at in range(count)])


def drawn(number: int, shape: tuple[int, int, int]) -> Array:
    """One smooth picture with edges: a gradient, a disc, a bar and fine stripes, each of its own colour."""
    channels, height, width = shape
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / max(1, height - 1), x / max(1, width - 1)
    ground, disc, bar = rng.random((3, channels, 1, 1), dtype=np.float32)
    angle = rng.random() * 2 * np.pi
    image = ground + (0.5 - ground) * (np.cos(angle) * x + np.sin(angle) * y)[np.newaxis]
    centre, radius = rng.random(2) * 0.6 + 0.2, 0.15 + 0.1 * rng.random()
    image = np.where((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2, disc, image)
    at = 0.1 + 0.6 * rng.random()
    image = np.where((y > at) & (y < at + 0.12), bar, image)
    image = np.where((x > 0.85) & (np.sin(40 * y) > 0), 1.0 - image, image)
    return np.asarray(np.clip(image, 0.0, 1.0), np.float32)


def _read(path: Path, shape: tuple[int, int, int]) -> Array:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        return read_picture(
            data, shape=shape, max_pixels=_MOST_PIXELS, reading=Reading(resize=True, fit="cover")
        ).image
    except (CodecError, OSError) as error:
        raise refuse(
            "--golden", expected="readable pictures", got=f"{path.name}: {error}", remedy="Remove it."
        ) from error
