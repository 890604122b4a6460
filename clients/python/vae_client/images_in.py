"""What a caller calls images, as batches that one request can contain.

Knows files, arrays, pictures and sizes. Knows nothing of requests or models. Pillow is imported only for a
PIL image.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from vae_client.arrays import to_npy
from vae_client.errors import InvalidInput
from vae_client.picture_sizes import pixels_of
from vae_client.results import Images
from vae_client.wire import NPY, Body

#: Path, bytes of a file, open file, PIL image, array, result with images, or a list of any of them.
ImagesLike = Union[str, "os.PathLike[str]", bytes, NDArray[Any], Images, Sequence[Any], Any]
#: Bytes of a form around each file.
_FORM_BYTES = 300
_NPY_BYTES = 1_000
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


@dataclass(frozen=True)
class Room:
    """What one request may contain."""

    images: int
    values: int | None
    """Values of all images together; None: any number."""
    body_bytes: int
    pixels: int
    """Pixels of all pictures together."""
    channels: int
    """Of the images that pictures become."""
    picture_values: int | None
    """Values of the image that a picture becomes; None: it keeps its size."""

    def rows(self, row_values: int) -> int:
        """Images of this size that fit, at least one."""
        return self.images if self.values is None else max(1, min(self.images, self.values // row_values))


@dataclass(frozen=True)
class ArrayBatch:
    """Images as numbers, (N, C, H, W) or (N, H, W)."""

    array: NDArray[Any]

    def __len__(self) -> int:
        return len(self.array)

    def cut(self, room: Room) -> Iterator[ArrayBatch]:
        """Batches that fit."""
        row_bytes = max(1, self.array[:1].nbytes)
        most = room.rows(max(1, math.prod(self.array.shape[1:])))
        rows = max(1, min(most, (room.body_bytes - _NPY_BYTES) // row_bytes))
        for first in range(0, len(self.array), rows):
            yield ArrayBatch(self.array[first : first + rows])

    def body(self) -> Body:
        """The body of a request of these images alone."""
        return Body(to_npy(self.array), NPY)


@dataclass(frozen=True)
class Picture:
    """One picture file."""

    data: bytes
    media_type: str

    @property
    def pixels(self) -> int:
        """Its pixels, by its header; 0 if that cannot be read."""
        return pixels_of(self.data)


@dataclass(frozen=True)
class PictureBatch:
    """Images as picture files."""

    pictures: tuple[Picture, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def cut(self, room: Room) -> Iterator[PictureBatch]:
        """Batches that fit."""
        waiting: list[Picture] = []
        size = pixels = values = 0
        for picture in self.pictures:
            more, more_pixels = len(picture.data) + _FORM_BYTES, picture.pixels
            # Images of one request have one size; which, the server finds out when it reads them.
            values = max(values, 1, room.picture_values or room.channels * more_pixels)
            is_full = (
                len(waiting) >= room.rows(values)
                or size + more > room.body_bytes
                or pixels + more_pixels > room.pixels
            )
            if waiting and is_full:
                yield PictureBatch(tuple(waiting))
                waiting, size, pixels = [], 0, 0
                values = max(1, room.picture_values or room.channels * more_pixels)
            waiting.append(picture)
            size, pixels = size + more, pixels + more_pixels
        yield PictureBatch(tuple(waiting))

    def body(self) -> Body:
        """The body of a request of these images alone."""
        if len(self.pictures) == 1:
            return Body(self.pictures[0].data, self.pictures[0].media_type)
        return Body(files=self.files())

    def files(self) -> list[tuple[str, tuple[str, bytes, str]]]:
        """Fields of a form."""
        return [
            ("images", (f"{index}.{each.media_type.removeprefix('image/')}", each.data, each.media_type))
            for index, each in enumerate(self.pictures)
        ]


Batch = ArrayBatch | PictureBatch


def batches_of(images: ImagesLike) -> list[Batch]:
    """The images in their order: neighbours of one kind in one batch.

    Args:
        images: Anything that `ImagesLike` names. An array is (H, W), (N, H, W) or (N, C, H, W), as uint8 in
            0 … 255 or float in [0, 1]; in a list also (C, H, W).

    Raises:
        InvalidInput: Something in it is no image, or there is none.
    """
    if isinstance(images, (list, tuple)):
        items = [_item(each, f"images[{index}]", is_alone=False) for index, each in enumerate(images)]
    else:
        items = [_item(images, "images", is_alone=True)]
    batches = [_together(list(run)) for _, run in itertools.groupby(items, key=_kind)]
    if sum(map(len, batches)) == 0:
        raise InvalidInput("images: expected at least one image, got none.")
    return batches


def _kind(item: Batch) -> object:
    """Items of one kind can be in one request."""
    if isinstance(item, PictureBatch):
        return "pictures"
    return item.array.dtype, item.array.shape[1:]


def _together(run: Sequence[Batch]) -> Batch:
    if len(run) == 1:
        return run[0]
    if isinstance(run[0], PictureBatch):
        pictures = (item.pictures for item in run if isinstance(item, PictureBatch))
        return PictureBatch(tuple(itertools.chain.from_iterable(pictures)))
    return ArrayBatch(np.concatenate([item.array for item in run if isinstance(item, ArrayBatch)]))


def _item(value: Any, where: str, *, is_alone: bool) -> Batch:
    if isinstance(value, Images):
        return ArrayBatch(value.images)
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        raise InvalidInput(f"{where}: expected a file, got a web address. Download it, and pass its bytes.")
    if isinstance(value, (str, os.PathLike)):
        return _file(_read(Path(value), where), f"{where} ({value})")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _file(bytes(value), where)
    if hasattr(value, "read") and not hasattr(value, "dtype"):
        return _file(_content(value, where), where)
    if hasattr(value, "save") and hasattr(value, "mode"):
        return PictureBatch((_from_pil(value, where),))
    return _from_array(value, where, is_alone=is_alone)


def _content(file: Any, where: str) -> bytes:
    data = file.read()
    if not isinstance(data, bytes):
        raise InvalidInput(f"{where}: expected a file that is open for bytes, got text. Open it with 'rb'.")
    return data


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{where}: {path}: {error.strerror or error}.") from error


def _file(data: bytes, where: str) -> Batch:
    if data.startswith(b"\x93NUMPY"):
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise InvalidInput(f"{where}: a broken npy file: {error}") from error
        return _from_array(array, where, is_alone=True)
    for beginning, media_type in _KINDS:
        if data.startswith(beginning):
            return PictureBatch((Picture(data, media_type),))
    raise InvalidInput(
        f"{where}: expected a PNG, JPEG, WebP or npy file, got {len(data)} bytes with another beginning. "
        "Open other formats with Pillow, and pass the image."
    )


def _from_pil(image: Any, where: str) -> Picture:
    """A PNG of a PIL image, turned upright by its EXIF orientation, which PNG would lose."""
    from PIL import ImageOps  # noqa: PLC0415

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            image = image.convert("RGB")
        out = io.BytesIO()
        image.save(out, "PNG")
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{where}: the image cannot be written as PNG: {error}") from error
    return Picture(out.getvalue(), "image/png")


def _from_array(value: Any, where: str, *, is_alone: bool) -> ArrayBatch:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # the last two are PyTorch's, with the remedy
        raise InvalidInput(f"{where}: {error}") from error
    if array.dtype == bool or array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype != np.uint8:
        got = f"an array of {array.dtype}" if array.ndim else type(value).__name__
        raise InvalidInput(
            f"{where}: expected a path, bytes, a PIL image or an array of uint8 (0 to 255) or float "
            f"(0 to 1), got {got}."
        )
    if array.ndim == 2 or (array.ndim == 3 and not is_alone):
        array = array[np.newaxis]
    if array.ndim not in (3, 4):
        raise InvalidInput(f"{where}: expected (H, W), (N, H, W) or (N, C, H, W), got shape {array.shape}.")
    return ArrayBatch(np.ascontiguousarray(array))
