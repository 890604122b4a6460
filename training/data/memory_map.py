"""Images that exceed the memory: written once to an unnamed file, and read on demand.

Knows uint8 arrays, one file and memory maps. Knows nothing of formats, labels or training. Pages that were
read are in the system's page cache, which shrinks when memory is short; the process's own memory contains
only the requested images, because each read gives the mapped pages back.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from training.data.cache import default_cache_dir

#: MNIST is 47 MB, a hundred thousand 32 × 32 colour images are 307 MB.
MAX_BYTES_IN_MEMORY = 512 * 1024**2
#: Larger images are on disk however few they are: the splits of a run would copy them in memory, and reading
#: one takes microseconds, training on it milliseconds.
MAX_BYTES_OF_AN_IMAGE_IN_MEMORY = 3 * 64 * 64
#: Bytes that are read, checked and written at a time.
CHUNK_BYTES = 1024**2

ImageShape = tuple[int, int, int]


class ImagesOnDisk:
    """Images (N, C, H, W) in a file, or some of them in another order.

    It is indexed like a tensor of all its images, by a slice or by a tensor of indices, and returns a tensor
    in memory. A selection consists of numbers alone and copies no pixels.
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(
        self,
        mapped: mmap.mmap,
        shape: tuple[int, int, int, int],
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """`mapped` has images of `shape` (N, C, H, W); `rows` selects images, and None selects all."""
        self._mapped = mapped
        self._pixels = np.frombuffer(mapped, np.uint8, count=math.prod(shape)).reshape(shape)
        self._rows = np.arange(len(self._pixels)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        channels, height, width = self._pixels.shape[1:]
        return len(self._rows), channels, height, width

    def __getitem__(self, index: slice | Int64[Tensor, " m"]) -> UInt8[Tensor, "m c h w"]:
        chosen = self._rows[index] if isinstance(index, slice) else self._rows[index.numpy()]
        read = torch.from_numpy(self._pixels[chosen])
        self._mapped.madvise(mmap.MADV_DONTNEED)
        return read

    def select(self, indices: Int64[Tensor, " m"]) -> ImagesOnDisk:
        """The images at `indices`, in that order, without copying them."""
        count, channels, height, width = self._pixels.shape
        return ImagesOnDisk(self._mapped, (count, channels, height, width), self._rows[indices.numpy()])


@dataclass(frozen=True)
class MemoryBudget:
    """Maximum size of the pixels in memory, and the directory for larger sets."""

    memory_bytes: int = MAX_BYTES_IN_MEMORY
    folder: Path | None = None
    """Directory of the unnamed file, which the system removes at the end of the process. None is the user's
    cache: temporary folders are in memory on many machines."""

    def gather(
        self, chunks: Iterable[npt.NDArray[np.uint8]], *, count: int, image_shape: ImageShape
    ) -> Tensor | ImagesOnDisk:
        """All images of the chunks, (N, C, H, W): in memory if they are small and fit, otherwise on disk.

        Args:
            chunks: Arrays (n, C, H, W) with `count` images in total; each may be reused when the next is
                requested.
            count: N.
            image_shape: (C, H, W).

        Raises:
            OSError: The disk is full or cannot be written.
        """
        shape = (count, *image_shape)
        is_small = math.prod(image_shape) <= MAX_BYTES_OF_AN_IMAGE_IN_MEMORY
        if count == 0 or (is_small and math.prod(shape) <= self.memory_bytes):
            pixels, filled = np.empty(shape, np.uint8), 0
            for chunk in chunks:
                pixels[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
            assert filled == count, "the readers count before they read"
            return torch.from_numpy(pixels)
        folder = self.folder or _cache()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for chunk in chunks:
                file.write(np.ascontiguousarray(chunk).data)
            file.flush()
            # The map keeps the unnamed file until its last reference is gone.
            return ImagesOnDisk(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), shape)


def _cache() -> Path:
    # Imported here: most data sets fit into memory, and need no network code.
    return default_cache_dir()
