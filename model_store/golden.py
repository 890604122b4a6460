"""Golden vectors: recorded inputs and outputs, and the permitted differences of a runtime.

Knows the five arrays and their relations. Knows nothing of archives, ONNX or runtimes. A digest proves that
the weights are the published ones. Only a run on recorded inputs proves that this machine's runtime computes
the same as the exporting machine.

All arrays are float32 and C-ordered: `x` and `x_hat` are images (examples, C, H, W) in [0, 1], `mu`, `logvar`
and `z` are latents (examples, latent_size). `x` belongs to `mu` and `logvar`, `z` to `x_hat`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from model_store.errors import GoldenMismatch, InvalidGolden
from model_store.manifest import GOLDEN_FILE, GoldenSpec, ManifestDraft
from model_store.npz import MAX_UNPACKED_BYTES, ArrayFile
from model_store.numbers import told_apart

#: Enough for a batch of each usual size; more would only delay the start.
MAX_GOLDEN_EXAMPLES = 1024
#: Values that are compared at a time: as float64 a large image takes as much memory as a run on it.
_COMPARED_AT_A_TIME = 1_048_576

_FILE = ArrayFile(GOLDEN_FILE, InvalidGolden)

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GoldenVectors:
    """Inputs, and the outputs of the exporter's runtime for them.

    x ──encoder──▶ mu, logvar        (N examples)
    z ──decoder──▶ x_hat             (M examples)
    """

    x: Float32Array
    mu: Float32Array
    logvar: Float32Array
    z: Float32Array
    x_hat: Float32Array

    def validate(self, draft: ManifestDraft) -> None:
        """Compare names, dtype, shapes, finiteness and pixel range with `draft`.

        Raises:
            InvalidGolden: Names the array, the expected and the actual value.
        """
        image, latent = tuple(draft.image.shape), (draft.latent_size,)
        for name, example in _example_shapes(image, latent).items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.dtype(np.float32):
                got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise _FILE.defect(name, "a float32 array", got)
            if not _fits(array.shape, example):
                raise _FILE.defect(name, _expected_shape(example), f"shape {array.shape}")
            if not np.isfinite(array).all():
                raise _FILE.defect(name, "finite values", "NaN or infinity")
        for name in ("x", "x_hat"):
            array = getattr(self, name)
            low, high = float(array.min()), float(array.max())
            if low < 0.0 or high > 1.0:
                raise _FILE.defect(
                    name, "pixels in [0, 1]", f"values from {told_apart(low, 0.0)} to {told_apart(high, 1.0)}"
                )
        for inputs, outputs in (("x", "mu"), ("x", "logvar"), ("z", "x_hat")):
            n, m = len(getattr(self, inputs)), len(getattr(self, outputs))
            if n != m:
                raise _FILE.defect(outputs, f"{n} examples as in {inputs}", f"{m} examples")

    def first(self, examples: int) -> GoldenVectors:
        """The first examples alone, at least one, for a graph whose rows take long."""
        return GoldenVectors(**{field.name: getattr(self, field.name)[:examples] for field in fields(self)})

    def to_bytes(self) -> bytes:
        """The `.npz` file: equal arrays yield equal bytes."""
        return _FILE.pack({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(
        cls, data: bytes, manifest: ManifestDraft, *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    ) -> GoldenVectors:
        """Read and validate an untrusted `.npz` file; see `npz`.

        Raises:
            InvalidGolden: Not such a file, too large, or not as `manifest` requires.
        """
        names = [field.name for field in fields(cls)]
        members = _FILE.unpack(data, names, max_unpacked_bytes=max_unpacked_bytes)
        shapes = _example_shapes(tuple(manifest.image.shape), (manifest.latent_size,))
        vectors = cls(**{name: _read(name, members[name], example) for name, example in shapes.items()})
        vectors.validate(manifest)
        return vectors

    def check_encoder(self, mu: Float32Array, logvar: Float32Array, spec: GoldenSpec) -> None:
        """Compare a runtime's outputs for `x` with the recorded ones.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("mu", self.mu, mu, spec.latent_atol)
        _compare("logvar", self.logvar, logvar, spec.latent_atol)

    def check_decoder(self, x_hat: Float32Array, spec: GoldenSpec) -> None:
        """Compare a runtime's output for `z` with the recorded one.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("x_hat", self.x_hat, x_hat, spec.pixel_atol)


def _example_shapes(image: tuple[int, ...], latent: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"x": image, "mu": latent, "logvar": latent, "z": latent, "x_hat": image}


def _fits(shape: tuple[int, ...], example: tuple[int, ...]) -> bool:
    return len(shape) == 1 + len(example) and shape[1:] == example and 1 <= shape[0] <= MAX_GOLDEN_EXAMPLES


def _expected_shape(example: tuple[int, ...]) -> str:
    return f"shape (1 to {MAX_GOLDEN_EXAMPLES}, {', '.join(map(str, example))})"


def _read(name: str, member: bytes, example: tuple[int, ...]) -> Float32Array:
    return _FILE.read(
        name,
        member,
        dtype="<f4",
        expected=_expected_shape(example),
        fits=lambda shape: _fits(shape, example),
    )


def _compare(name: str, recorded: Float32Array, answer: Float32Array, bound: float) -> None:
    remedy = "The weights are intact: check the runtime, its version and its execution provider."
    if answer.shape != recorded.shape:
        raise GoldenMismatch(
            f"golden vectors: '{name}': expected shape {recorded.shape}, got {answer.shape}. {remedy}"
        )
    largest = _largest_difference(answer.ravel(), recorded.ravel())
    if not largest <= bound:
        raise GoldenMismatch(
            f"golden vectors: '{name}': expected at most {bound:g} from the recorded values, "
            f"got a largest difference of {told_apart(largest, bound)}. {remedy}"
        )


def _largest_difference(one: Float32Array, two: Float32Array) -> float:
    """In float64, so that the difference itself adds no rounding; NaN stays, and fails every comparison."""
    parts = (slice(at, at + _COMPARED_AT_A_TIME) for at in range(0, len(one), _COMPARED_AT_A_TIME))
    largest = [np.abs(one[part].astype(np.float64) - two[part].astype(np.float64)).max() for part in parts]
    return float(np.max(largest))
