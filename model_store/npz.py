"""Named arrays in an untrusted `.npz` file: writing, and bounded reading.

Knows ZIP directories and NPY headers. Knows nothing of the meaning of the arrays: the caller names the
members of a file, and the dtype and shape of each. Sizes come from the archive's directory and are checked
before any unpacking; headers are checked before any allocation; pickles are impossible.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import CorruptVersion

#: Usual ceiling on the unpacked arrays of one file together, in bytes.
MAX_UNPACKED_BYTES = 64 * 1024 * 1024

_MAX_HEADER_BYTES = 512
_MAX_DIRECTORY_BYTES = 2048
_END_RECORD = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR_BYTES = 20
#: A fixed time stamp, so that equal arrays yield equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REMEDY = "Restore the file from the published copy, or export and publish the model again."
_DTYPES = {
    "<f4": "little-endian float32",
    "<f8": "little-endian float64",
    "<u2": "little-endian uint16",
    "|u1": "uint8",
}


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays as a deflated `.npz` file: equal arrays yield equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in arrays.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, np.asarray(values, order="C"), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, array.getvalue())
    return buffer.getvalue()


@dataclass(frozen=True)
class ArrayFile:
    """One kind of file: its name, for messages, and the class of its errors."""

    file: str
    error: type[CorruptVersion]

    def pack(self, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        """The `.npz` file: equal arrays yield equal bytes."""
        return pack_arrays(arrays)

    def unpack(self, data: bytes, names: Iterable[str], *, max_unpacked_bytes: int) -> dict[str, bytes]:
        """The members by array name, unpacked only after a check of the whole directory.

        Raises:
            CorruptVersion: In this file's own class: not such an archive, other members, or too large.
        """
        wanted = {f"{name}.npy": name for name in names}
        self._check_end_record(data, len(wanted))
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = archive.infolist()
                found = [entry.filename for entry in entries]
                if sorted(found) != sorted(wanted):
                    shown = [name[:64] for name in sorted(found)[:10]]
                    raise self._refusal(f"the members {sorted(wanted)}", repr(shown))
                unpacked = sum(entry.file_size for entry in entries)
                if unpacked > max_unpacked_bytes:
                    raise self._refusal(f"at most {max_unpacked_bytes} bytes unpacked", f"{unpacked} bytes")
                for entry in entries:
                    if entry.flag_bits & 0x1 or entry.compress_type not in (
                        zipfile.ZIP_STORED,
                        zipfile.ZIP_DEFLATED,
                    ):
                        raise self._refusal("stored or deflated members", entry.filename)
                return {wanted[entry.filename]: archive.read(entry) for entry in entries}
        except CorruptVersion:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            OSError,
            NotImplementedError,
        ) as error:
            raise self._refusal("a readable .npz archive", f"{type(error).__name__}") from error

    def read(
        self,
        name: str,
        member: bytes,
        *,
        dtype: str,
        expected: str,
        fits: Callable[[tuple[int, ...]], bool],
    ) -> NDArray[Any]:
        """One member, with its header checked before the array is allocated.

        Args:
            name: Name of the array, for messages.
            member: The bytes of its NPY file.
            dtype: A key of `_DTYPES`, such as `<f4`.
            expected: The valid shapes, in words.
            fits: Whether a shape is valid.

        Returns:
            A read-only array.

        Raises:
            CorruptVersion: In this file's own class: another version, dtype, order, shape or length.
        """
        stream = io.BytesIO(member)
        try:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("not version 1.0")
            shape, fortran, found = np.lib.format.read_array_header_1_0(
                stream, max_header_size=_MAX_HEADER_BYTES
            )
        # NumPy's parser raises at least six kinds of exceptions, even a tokenizer's
        except Exception as error:
            raise self.defect(name, "a .npy header of version 1.0", type(error).__name__) from error
        if found != np.dtype(dtype) or fortran:
            raise self.defect(name, f"{_DTYPES[dtype]} in C order", f"{found.str}, fortran={fortran}")
        if not fits(shape):
            raise self.defect(name, expected, f"shape {shape}")
        content = member[stream.tell() :]
        size_bytes = int(np.prod(shape, dtype=np.int64)) * found.itemsize
        if len(content) != size_bytes:
            raise self.defect(name, f"{size_bytes} bytes of values", f"{len(content)} bytes")
        return np.frombuffer(content, dtype=found).reshape(shape)

    def defect(self, name: str, expected: str, got: str) -> CorruptVersion:
        """An error about one array."""
        return self.error(f"{self.file}: array '{name}': expected {expected}, got {got}. {_REMEDY}")

    def _refusal(self, expected: str, got: str) -> CorruptVersion:
        return self.error(f"{self.file}: expected {expected}, got {got}. {_REMEDY}")

    def _check_end_record(self, data: bytes, members: int) -> None:
        """Reject an archive whose directory is larger than its members need, before parsing it."""
        if len(data) < _END_RECORD.size:
            raise self._refusal("a .npz archive", f"{len(data)} bytes")
        signature, _, _, _, total, directory_bytes, _, comment = _END_RECORD.unpack(data[-_END_RECORD.size :])
        locator = data[-_END_RECORD.size - _ZIP64_LOCATOR_BYTES : -_END_RECORD.size]
        if signature != b"PK\x05\x06" or comment or locator.startswith(b"PK\x06\x07"):
            raise self._refusal("a .npz archive without comment or ZIP64 directory", "something else")
        if total != members or directory_bytes > _MAX_DIRECTORY_BYTES:
            raise self._refusal(
                f"{members} members in a directory of at most {_MAX_DIRECTORY_BYTES} bytes",
                f"{total} members in {directory_bytes} bytes",
            )
