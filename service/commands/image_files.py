"""The images of a folder or of a .npy file, a batch at a time, as a server reads them.

Knows files, and the conversion of pictures to a model's image with the preprocessing of its manifest. Knows
nothing of models or of the use of the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store import StoreError
from model_store.errors import quoted
from model_store.manifest import ImageSpec
from service.api.request_images import Reading, read_picture
from service.codecs.errors import CodecError
from service.http.parameters import Limits

_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_MAX_PIXELS: Final = Limits(max_images=1, max_stream_images=1, max_score_draws=1).max_picture_pixels


class UnusableImages(StoreError):
    """Files that are no images of the model."""


@dataclass(frozen=True)
class ImageFiles:
    """The images under one path."""

    path: Path
    spec: ImageSpec
    files: Sequence[Path]
    """Of a folder, sorted."""
    array: NDArray[np.generic] | None
    """Of a .npy file, mapped into memory."""

    @classmethod
    def find(cls, path: Path, spec: ImageSpec) -> ImageFiles:
        """The images under `path`, none of them read yet.

        Args:
            path: A folder with PNG, JPEG or WebP files, also in its subfolders; or a .npy file.
            spec: The images of the model.

        Raises:
            UnusableImages: There are none, or the array is not one of the model's images.
        """
        if path.is_dir():
            files = sorted(
                each
                for each in path.rglob("*")
                if each.suffix.lower() in _SUFFIXES and not each.name.startswith(".") and each.is_file()
            )
            if not files:
                raise UnusableImages(
                    f"{path}: expected PNG, JPEG or WebP files, found none. Check the folder."
                )
            return cls(path, spec, files, None)
        if path.suffix.lower() == ".npy" and path.is_file():
            return cls(path, spec, (), _mapped(path, spec))
        raise UnusableImages(
            f"{path}: expected a folder of pictures or a .npy file, got "
            f"{'another file' if path.exists() else 'nothing there'}. Check the path."
        )

    def __len__(self) -> int:
        return len(self.files) if self.array is None else len(self.array)

    def __str__(self) -> str:
        """Name and number, for the manifest; a full path would tell about the machine."""
        return f"{len(self)} images of {self.path.name or self.path.resolve().name}"

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Images, float32 (up to `size`, C, H, W) in [0, 1].

        Raises:
            UnusableImages: A file is no picture that can be read.
        """
        for first in range(0, len(self), size):
            if self.array is None:
                yield np.stack([self._picture(path) for path in self.files[first : first + size]])
                continue
            part = np.ascontiguousarray(self.array[first : first + size]).reshape(-1, *self.spec.shape)
            yield part.astype(np.float32) / np.float32(255.0 if part.dtype == np.uint8 else 1.0)

    def _picture(self, path: Path) -> NDArray[np.float32]:
        _, height, width = self.spec.shape
        try:
            return read_picture(
                path.read_bytes(),
                shape=self.spec.shape,
                max_pixels=max(_MAX_PIXELS, height * width),
                preprocessing=self.spec.preprocessing,
                reading=Reading(resize=True),
            ).image
        except (CodecError, OSError) as error:
            raise UnusableImages(f"{path}: {error}") from error


def _mapped(path: Path, spec: ImageSpec) -> NDArray[np.generic]:
    """The array of a file, if it is one of images of the model."""
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UnusableImages(f"{path}: expected an array as numpy.save writes it, got {error}") from error
    shapes = [spec.shape, *([spec.shape[1:]] if spec.shape[0] == 1 else [])]
    if array.dtype not in (np.uint8, np.float16, np.float32, np.float64) or array.shape[1:] not in shapes:
        expected = " or ".join(str(("N", *shape)) for shape in shapes).replace("'", "")
        raise UnusableImages(
            f"{path}: expected uint8 or floats of shape {expected}, got {quoted(str(array.dtype))} of shape "
            f"{array.shape}. Save the images in that shape."
        )
    return array
