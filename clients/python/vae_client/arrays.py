"""npy and npz, whole and as a stream.

Knows the layout of NumPy's files (numpy.lib.format). Knows nothing of models or HTTP. It never unpickles.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vae_client.errors import UnexpectedAnswer

_LONGEST_HEADER_BYTES = 10_000


def to_npy(array: NDArray[Any]) -> bytes:
    """An npy file."""
    out = io.BytesIO()
    np.save(out, np.asarray(array), allow_pickle=False)
    return out.getvalue()


def to_npz(**arrays: NDArray[Any]) -> bytes:
    """An npz file without compression."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    return out.getvalue()


def from_npy(data: bytes) -> NDArray[Any]:
    """The array of an npy file."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UnexpectedAnswer(f"Expected an npy file, got {len(data)} other bytes: {error}") from error
    if not isinstance(array, np.ndarray):
        raise UnexpectedAnswer(f"Expected an npy file, got an archive of {len(data)} bytes.")
    return array


def from_npz(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file, by name."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise UnexpectedAnswer(f"Expected an npz file, got {len(data)} other bytes: {error}") from error


class NpyStream:
    """An npy file that arrives piece by piece, as arrays of whole rows.

    It holds at most the rows of one array and one piece.
    """

    def __init__(self, rows_at_a_time: int) -> None:
        """An empty stream.

        Args:
            rows_at_a_time: Rows of each array but the last.
        """
        self._rows_at_a_time = rows_at_a_time
        self._waiting = bytearray()
        self._dtype: np.dtype[Any] | None = None
        self._row_shape: tuple[int, ...] = ()
        self._rows_left = 0

    @property
    def is_complete(self) -> bool:
        """Whether all rows that the header states have come."""
        return self._dtype is not None and self._rows_left == 0

    def feed(self, piece: bytes) -> Iterator[NDArray[Any]]:
        """The arrays that `piece` completes."""
        self._waiting += piece
        if self._dtype is None and not self._read_header():
            return
        assert self._dtype is not None
        row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        while self._rows_left:
            rows = min(self._rows_at_a_time, self._rows_left)
            if len(self._waiting) < rows * row_bytes:
                return
            part = self._waiting[: rows * row_bytes]  # a copy that can be written to
            del self._waiting[: rows * row_bytes]
            self._rows_left -= rows
            yield np.frombuffer(part, self._dtype).reshape(rows, *self._row_shape)

    def _read_header(self) -> bool:
        stream = io.BytesIO(bytes(self._waiting[:_LONGEST_HEADER_BYTES]))
        try:
            version = npy_format.read_magic(stream)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            shape, is_fortran, dtype = read(stream)
        except (ValueError, EOFError) as error:
            if len(self._waiting) < _LONGEST_HEADER_BYTES and self._waiting.startswith(
                b"\x93NUMPY"[: len(self._waiting)]
            ):
                return False
            raise UnexpectedAnswer(f"Expected an npy file, got other bytes: {error}") from error
        if is_fortran or dtype.hasobject or len(shape) < 1:
            raise UnexpectedAnswer(f"Expected rows of numbers in C order, got {dtype} {shape}.")
        self._dtype, self._row_shape, self._rows_left = dtype, tuple(shape[1:]), shape[0]
        del self._waiting[: stream.tell()]
        return True
