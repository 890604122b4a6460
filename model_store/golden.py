"""Golden vectors: recorded inputs and outputs, and how closely a runtime must agree with them.

Knows arrays and the `.npz` bytes that carry them. Knows nothing of files, ONNX or runtimes. A digest
proves that the weights are the published ones; only running them against recorded answers proves
that this machine's runtime computes with them what the exporting machine computed.

All arrays are float32 and C-ordered: `x` and `x_hat` are images (examples, C, H, W) in [0, 1], `mu`,
`logvar` and `z` are latents (examples, latent_size). `x` goes with `mu` and `logvar`, `z` with `x_hat`.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from model_store.errors import GoldenMismatch, InvalidGolden
from model_store.manifest import GOLDEN_FILE, GoldenSpec, ManifestDraft

#: Enough for a batch of each usual size; more would only slow the check at start.
MAX_GOLDEN_EXAMPLES = 1024
#: Ceiling on the five arrays together once unpacked, in bytes.
MAX_UNPACKED_BYTES = 64 * 1024 * 1024

_MAX_HEADER_BYTES = 512
_MAX_DIRECTORY_BYTES = 2048
_END_RECORD = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR_BYTES = 20
#: A fixed time stamp, so that equal arrays give equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REMEDY = "Restore the file from the published copy, or export and publish the model again."

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GoldenVectors:
    """Inputs and the outputs that the exporter's runtime gave for them.

    x ──encoder──▶ mu, logvar        (N examples)
    z ──decoder──▶ x_hat             (M examples)
    """

    x: Float32Array
    mu: Float32Array
    logvar: Float32Array
    z: Float32Array
    x_hat: Float32Array

    def validate(self, draft: ManifestDraft) -> None:
        """Check names, dtype, shapes, finiteness and pixel range against what `draft` states.

        Raises:
            InvalidGolden: Names the array, what was expected and what came.
        """
        image, latent = tuple(draft.image.shape), (draft.latent_size,)
        for name, example in _example_shapes(image, latent).items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.dtype(np.float32):
                got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise InvalidGolden(_message(name, "a float32 array", got))
            if array.shape[1:] != example or not 1 <= array.shape[0] <= MAX_GOLDEN_EXAMPLES:
                raise InvalidGolden(_message(name, _expected_shape(example), f"shape {array.shape}"))
            if not np.isfinite(array).all():
                raise InvalidGolden(_message(name, "finite values", "NaN or infinity"))
        for name in ("x", "x_hat"):
            array = getattr(self, name)
            low, high = float(array.min()), float(array.max())
            if low < 0.0 or high > 1.0:
                raise InvalidGolden(_message(name, "pixels in [0, 1]", f"values from {low:g} to {high:g}"))
        for inputs, outputs in (("x", "mu"), ("x", "logvar"), ("z", "x_hat")):
            n, m = len(getattr(self, inputs)), len(getattr(self, outputs))
            if n != m:
                raise InvalidGolden(_message(outputs, f"{n} examples as in {inputs}", f"{m} examples"))

    def to_bytes(self) -> bytes:
        """The `.npz` file: equal arrays give equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for field in fields(self):
                array = io.BytesIO()
                np.lib.format.write_array(
                    array, np.ascontiguousarray(getattr(self, field.name)), allow_pickle=False
                )
                entry = zipfile.ZipInfo(f"{field.name}.npy", date_time=_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, array.getvalue())
        return buffer.getvalue()

    @classmethod
    def from_bytes(
        cls, data: bytes, manifest: ManifestDraft, *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    ) -> GoldenVectors:
        """Read and validate a `.npz` file without trusting a byte of it.

        Sizes are taken from the archive's directory and checked before anything is unpacked; array
        headers are checked before arrays are made; pickles are refused by their dtype.

        Raises:
            InvalidGolden: Not such a file, too large, or not what `manifest` calls for.
        """
        image, latent = tuple(manifest.image.shape), (manifest.latent_size,)
        members = _unpack(data, max_unpacked_bytes)
        arrays = {
            name: _read_array(name, members[name], example)
            for name, example in _example_shapes(image, latent).items()
        }
        vectors = cls(**arrays)
        vectors.validate(manifest)
        return vectors

    def check_encoder(self, mu: Float32Array, logvar: Float32Array, spec: GoldenSpec) -> None:
        """Compare a runtime's answers for `x` with the recorded ones.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("mu", self.mu, mu, spec.latent_atol)
        _compare("logvar", self.logvar, logvar, spec.latent_atol)

    def check_decoder(self, x_hat: Float32Array, spec: GoldenSpec) -> None:
        """Compare a runtime's answer for `z` with the recorded one.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("x_hat", self.x_hat, x_hat, spec.pixel_atol)


def _example_shapes(image: tuple[int, ...], latent: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"x": image, "mu": latent, "logvar": latent, "z": latent, "x_hat": image}


def _expected_shape(example: tuple[int, ...]) -> str:
    return f"shape (1 to {MAX_GOLDEN_EXAMPLES}, {', '.join(map(str, example))})"


def _message(name: str, expected: str, got: str) -> str:
    return f"{GOLDEN_FILE}: array '{name}': expected {expected}, got {got}. {_REMEDY}"


def _compare(name: str, recorded: Float32Array, answer: Float32Array, bound: float) -> None:
    remedy = "The weights are intact, so look at the runtime, its version and its execution provider."
    if answer.shape != recorded.shape:
        raise GoldenMismatch(
            f"golden vectors: '{name}': expected shape {recorded.shape}, got {answer.shape}. {remedy}"
        )
    # float64, so that the difference itself adds no rounding; NaN fails every comparison.
    largest = float(np.abs(answer.astype(np.float64) - recorded.astype(np.float64)).max())
    if not largest <= bound:
        raise GoldenMismatch(
            f"golden vectors: '{name}': expected at most {bound:g} from the recorded values, "
            f"got a largest difference of {largest:g}. {remedy}"
        )


def _unpack(data: bytes, max_unpacked_bytes: int) -> dict[str, bytes]:
    """The members by array name, unpacked only after the whole directory has been checked."""
    wanted = {f"{field.name}.npy": field.name for field in fields(GoldenVectors)}
    _check_end_record(data, len(wanted))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sorted(names) != sorted(wanted):
                shown = [name[:64] for name in sorted(names)[:10]]
                raise InvalidGolden(_file_message(f"the members {sorted(wanted)}", repr(shown)))
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > max_unpacked_bytes:
                raise InvalidGolden(
                    _file_message(f"at most {max_unpacked_bytes} bytes unpacked", f"{unpacked} bytes")
                )
            for entry in entries:
                if entry.flag_bits & 0x1 or entry.compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):
                    raise InvalidGolden(_file_message("stored or deflated members", entry.filename))
            return {wanted[entry.filename]: archive.read(entry) for entry in entries}
    except InvalidGolden:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError) as error:
        raise InvalidGolden(_file_message("a readable .npz archive", f"{type(error).__name__}")) from error


def _check_end_record(data: bytes, members: int) -> None:
    """Refuse an archive whose directory is larger than five members need, before it is parsed."""
    if len(data) < _END_RECORD.size:
        raise InvalidGolden(_file_message("a .npz archive", f"{len(data)} bytes"))
    signature, _, _, _, total, directory_bytes, _, comment = _END_RECORD.unpack(data[-_END_RECORD.size :])
    locator = data[-_END_RECORD.size - _ZIP64_LOCATOR_BYTES : -_END_RECORD.size]
    if signature != b"PK\x05\x06" or comment or locator.startswith(b"PK\x06\x07"):
        raise InvalidGolden(
            _file_message("a .npz archive without comment or ZIP64 directory", "something else")
        )
    if total != members or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise InvalidGolden(
            _file_message(
                f"{members} members in a directory of at most {_MAX_DIRECTORY_BYTES} bytes",
                f"{total} members in {directory_bytes} bytes",
            )
        )


def _read_array(name: str, member: bytes, example: tuple[int, ...]) -> Float32Array:
    """One `.npy` member, its header checked before the array is made; the result is read-only."""
    stream = io.BytesIO(member)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # NumPy's parser raises at least six kinds, a tokenizer's among them
        raise InvalidGolden(_message(name, "a .npy header of version 1.0", type(error).__name__)) from error
    if dtype != np.dtype("<f4") or fortran:
        raise InvalidGolden(
            _message(name, "little-endian float32 in C order", f"{dtype.str}, fortran={fortran}")
        )
    if len(shape) != 1 + len(example) or shape[1:] != example or not 1 <= shape[0] <= MAX_GOLDEN_EXAMPLES:
        raise InvalidGolden(_message(name, _expected_shape(example), f"shape {shape}"))
    content = member[stream.tell() :]
    elements = int(np.prod(shape, dtype=np.int64))
    if len(content) != elements * 4:
        raise InvalidGolden(_message(name, f"{elements * 4} bytes of values", f"{len(content)} bytes"))
    return np.frombuffer(content, dtype=np.float32).reshape(shape)


def _file_message(expected: str, got: str) -> str:
    return f"{GOLDEN_FILE}: expected {expected}, got {got}. {_REMEDY}"
