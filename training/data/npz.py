"""A `.npz` or `.npy` file of images and optional labels, turned into the parts of a data set.

Knows the names, types and layouts of arrays. Knows nothing of models. It unpickles nothing, and allocates no
array for a header that claims more than follows. It reads images a megabyte at a time, so that a file may
exceed the memory.

    images       (N, H, W), (N, C, H, W) or (N, H, W, C), C 1 or 3;
                 bytes 0 to 255, booleans, or floats in [0, 1]
    labels       (N,) or (N, 1), whole numbers from 0 or words; may be left out
    test_images, test_labels   the same for the test; may be left out
    validation_images, validation_labels   the same to validate on; may be left out

It also knows the names of Keras (`x_train`, `y_train`) and of MedMNIST (`train_images`, `val_images`); see
`training.data.array_names`. A `.npy` file contains `images` alone.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from model_store.echo import listed
from model_store.numbers import told_apart
from training.data.array_names import KNOWN, parts_of
from training.data.assembly import MAX_LABEL, Part, data_of_parts, shape_objection
from training.data.images import ImageData
from training.data.memory_map import CHUNK_BYTES, ImageShape, ImagesOnDisk, MemoryBudget
from training.data.zip_archive import DAMAGED_ZIP
from training.errors import DataError

_MAX_HEADER_BYTES = 4096
_ARRAY = "Write it with numpy.savez(PATH, images=images, labels=labels)."


@dataclass(frozen=True)
class _Array:
    """A member of the archive, with its header read and its values still unread."""

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: IO[bytes]

    def chunks(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the values along the first axis, a megabyte at a time.

        Raises:
            DataError: The header claims more or fewer values than follow.
        """
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, CHUNK_BYTES // max(1, row_bytes))
        for start in range(0, self.shape[0], step):
            rows = min(step, self.shape[0] - start)
            data = self.stream.read(rows * row_bytes)
            if len(data) < rows * row_bytes:
                raise DataError(
                    f"{self.where}: expected {self.shape[0] * row_bytes:,} bytes for shape {self.shape}, got "
                    f"{start * row_bytes + len(data):,}. The file is truncated: write it again."
                )
            yield np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])
        if self.stream.read(1):
            raise DataError(
                f"{self.where}: expected {self.shape[0] * row_bytes:,} bytes for shape {self.shape}, got "
                "more. The header or the file is wrong: write it again."
            )


def load_npz(path: Path, budget: MemoryBudget) -> ImageData:
    """Read images and labels of a `.npz` file.

    Args:
        path: The file.
        budget: Memory or disk space for the pixels.

    Returns:
        Training and test images. Without `test_images`, a tenth of `images`, chosen by content, is the test.

    Raises:
        DataError: The file is damaged, or its arrays break the rules above.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            names = [member.removesuffix(".npy") for member in members]
            keys = parts_of(names) if all(member.endswith(".npy") for member in members) else None
            if keys is None or len(set(names)) < len(names):
                raise _unknown_names(path, names)
            parts = {
                part: Part(
                    images=_images(archive, path, images, budget),
                    labels=_labels(archive, path, labels) if labels in names else None,
                )
                for part, (images, labels) in keys.items()
            }
    except DAMAGED_ZIP as error:
        raise DataError(
            f"{path}: expected a readable .npz archive, got {type(error).__name__}: {error}. {_ARRAY}"
        ) from error
    except OSError as error:
        if error.filename != str(path):
            raise
        raise DataError(f"{path}: expected a readable file, got: {error.strerror}.") from error
    return data_of_parts(
        f"npz {path.stem}",
        str(path),
        parts["training"],
        parts.get("test"),
        validation=parts.get("validation"),
    )


def load_npy(path: Path, budget: MemoryBudget) -> ImageData:
    """Read images of a `.npy` file without labels; a tenth of them, chosen by content, is the test.

    Raises:
        DataError: The file is damaged, or its array contains no images.
    """
    with path.open("rb") as stream:
        array = _with_header(str(path), stream)
        images = _gathered(array, budget, lambda: _with_header(str(path), _rewound(stream)))
    return data_of_parts(f"npy {path.stem}", str(path), Part(images, None), None)


def _rewound(stream: IO[bytes]) -> IO[bytes]:
    stream.seek(0)
    return stream


def _unknown_names(path: Path, names: list[str]) -> DataError:
    for known in KNOWN:
        for images, labels in (pair for pairs in known.parts.values() for pair in pairs):
            if known.training[0] in names and labels in names and images not in names:
                return DataError(f"{path}: expected {images} with {labels}, got none. {_ARRAY}")
    ways = "; or ".join(", ".join(known.usual) for known in KNOWN)
    return DataError(
        f"{path}: expected arrays named {ways}; the first is required, the others are optional. Got "
        f"{listed(names, most=10) or 'none'}. {_ARRAY}"
    )


@contextmanager
def _opened(archive: zipfile.ZipFile, path: Path, key: str) -> Iterator[_Array]:
    """Read the header of a member; the stream is then at its values."""
    with archive.open(f"{key}.npy") as stream:
        yield _with_header(f"{path}: {key}", stream)


def _with_header(where: str, stream: IO[bytes]) -> _Array:
    try:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = readers[version](stream, max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # NumPy's parser raises at least six kinds of exceptions, even a tokenizer's
        raise DataError(f"{where}: expected a .npy array, got {type(error).__name__}. {_ARRAY}") from error
    if fortran and len(shape) > 1:
        raise DataError(
            f"{where}: expected an array in C order, got Fortran order. Save numpy.ascontiguousarray of it."
        )
    if 0 in shape or not shape:
        raise DataError(f"{where}: expected at least one element, got shape {shape}. {_ARRAY}")
    return _Array(where=where, shape=shape, dtype=dtype, stream=stream)


def _images(archive: zipfile.ZipFile, path: Path, key: str, budget: MemoryBudget) -> Tensor | ImagesOnDisk:
    with ExitStack() as opened:

        def again() -> _Array:
            return opened.enter_context(_opened(archive, path, key))

        return _gathered(again(), budget, again)


def _gathered(array: _Array, budget: MemoryBudget, again: Callable[[], _Array]) -> Tensor | ImagesOnDisk:
    """The images of an array; `again` opens it once more, so that an error can describe its values."""
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        raise _not_bytes(array.where, again())
    if array.dtype != np.uint8 and array.dtype.kind not in "bf":
        raise DataError(
            f"{array.where}: expected bytes (uint8) 0 to 255, booleans, or floats in [0, 1], got "
            f"{array.dtype}. Convert them."
        )
    image_shape, channels_last = _layout(array)
    if objection := shape_objection(image_shape):
        raise DataError(f"{array.where}: {objection}. Scale the images, or pad them.")
    return budget.gather(
        (_as_bytes(array.where, chunk, image_shape, channels_last) for chunk in _counted(array)),
        count=array.shape[0],
        image_shape=image_shape,
    )


def _not_bytes(where: str, array: _Array) -> DataError:
    """Describe whole numbers of another type, and their conversion to levels without overflow."""
    lowest, highest = 0, 0
    for chunk in array.chunks():
        lowest, highest = min(lowest, int(chunk.min())), max(highest, int(chunk.max()))
    if lowest < 0:
        remedy = f"Shift and scale them: (images - {lowest}) / {highest - lowest}"
    elif highest <= 255:
        remedy = "None is above 255, so images.astype(numpy.uint8) keeps each"
    else:
        # 12 bits in 16 are usual: divide by the largest possible value, which may exceed the largest actual
        # one.
        remedy = (
            f"Divide by the largest possible value of a pixel: images / {(1 << highest.bit_length()) - 1}"
        )
    return DataError(
        f"{where}: expected bytes (uint8) 0 to 255, booleans, or floats in [0, 1], got {array.dtype} from "
        f"{lowest} to {highest}. {remedy}."
    )


def _layout(array: _Array) -> tuple[ImageShape, bool]:
    """(C, H, W), and whether the channels are the last axis in the file."""
    shape = array.shape[1:]
    if len(shape) == 2:
        return (1, *shape), False
    if len(shape) == 3 and shape[0] in (1, 3):
        return (shape[0], shape[1], shape[2]), False
    if len(shape) == 3 and shape[2] in (1, 3):
        return (shape[2], shape[0], shape[1]), True
    raise DataError(
        f"{array.where}: expected images (N, H, W), (N, C, H, W) or (N, H, W, C) of 1 or 3 channels, got "
        f"shape {array.shape}. Reshape or transpose the array."
    )


def _counted(array: _Array) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield each chunk with the number of its first image."""
    first = 0
    for chunk in array.chunks():
        yield first, chunk
        first += len(chunk)


def _as_bytes(
    where: str, counted: tuple[int, npt.NDArray[Any]], image_shape: ImageShape, channels_last: bool
) -> npt.NDArray[np.uint8]:
    first, chunk = counted
    if chunk.dtype.kind == "b":
        chunk = chunk.astype(np.uint8) * np.uint8(255)
    elif chunk.dtype.kind == "f":
        within = (chunk >= 0.0) & (chunk <= 1.0)  # NaN is neither
        if not within.all():
            wrong = int(np.flatnonzero(~within.reshape(len(chunk), -1).all(axis=1))[0])
            value = chunk[wrong][~within[wrong]].flat[0]
            got = told_apart(float(value), 0.0, 1.0)
            raise DataError(
                f"{where}[{first + wrong}]: expected floats in [0, 1], got {got}. Divide by the largest "
                "possible value of a pixel, or save bytes 0 to 255."
            )
        chunk = np.rint(chunk * chunk.dtype.type(255)).astype(np.uint8)
    if channels_last:
        chunk = np.moveaxis(chunk, -1, 1)
    return chunk.reshape(-1, *image_shape)


def _labels(archive: zipfile.ZipFile, path: Path, key: str) -> npt.NDArray[Any]:
    """Whole numbers from 0, or words."""
    with _opened(archive, path, key) as array:
        if array.shape[1:] not in ((), (1,)) or array.dtype.kind not in "iuU":
            raise DataError(
                f"{array.where}: expected one whole number or word for each image, (N,) or (N, 1), got "
                f"{array.dtype} of shape {array.shape}. Training uses one label per image: keep one of "
                "them, or leave the labels out."
            )
        labels = np.concatenate(list(array.chunks())).reshape(-1)
    if labels.dtype.kind in "iu" and (labels.min() < 0 or labels.max() > MAX_LABEL):
        raise DataError(
            f"{path}: {key}: expected whole numbers from 0 to {MAX_LABEL}, got {labels.min()} to "
            f"{labels.max()}. Number the classes from 0."
        )
    return labels
