"""Golden vectors: recorded inputs and outputs, and the permitted differences of a runtime.

Knows the five arrays and their relations. Knows nothing of archives, ONNX or runtimes. A digest proves that
the weights are the published ones. Only a run on recorded inputs proves that this machine's runtime computes
the same as the exporting machine.

All arrays are float32 and C-ordered: `x` and `x_hat` are images (examples, C, H, W) in [0, 1], `mu`, `logvar`
and `z` are latents (examples, latent_size), flat whatever their shape in the graph. `x` belongs to `mu` and
`logvar`, `z` to `x_hat`.

Those of an imported model may lack the arrays of a graph that it lacks, and `logvar`; its `x_hat` may leave
[0, 1]. If its graphs accept several sizes, it has the same arrays at a second one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.errors import GoldenMismatch, InvalidGolden
from model_store.imported import latent_shape_of
from model_store.manifest import GoldenSpec, ManifestDraft
from model_store.npz import MAX_UNPACKED_BYTES, ArrayFile
from model_store.numbers import told_apart
from model_store.version_files import GOLDEN_FILE

#: Enough for a batch of each usual size; more would only delay the start.
MAX_GOLDEN_EXAMPLES = 1024
#: Values that are compared at a time: as float64 a large image takes as much memory as a run on it.
_COMPARED_AT_A_TIME = 1_048_576

#: The arrays, and the prefix of those at a second size.
_NAMES = ("x", "mu", "logvar", "z", "x_hat")
_OTHER = "other_"
_FILE = ArrayFile(GOLDEN_FILE, InvalidGolden)

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GoldenVectors:
    """Inputs, and the outputs of the exporter's runtime for them.

    x ──encoder──▶ mu, logvar        (N examples)
    z ──decoder──▶ x_hat             (M examples)

    Without a graph, or without `logvar`, those arrays have no examples.
    """

    x: Float32Array
    mu: Float32Array
    logvar: Float32Array
    z: Float32Array
    x_hat: Float32Array
    other: GoldenVectors | None = None
    """The same at another size of image."""

    def validate(self, draft: ManifestDraft) -> None:
        """Compare names, dtype, shapes, finiteness and pixel range with `draft`.

        Raises:
            InvalidGolden: Names the array, the expected and the actual value.
        """
        self._validate(draft, tuple(draft.image.shape))
        if (self.other is not None) != (draft.image.sizes is not None):
            raise _FILE.defect(
                f"{_OTHER}x", "arrays at a second size exactly if image.sizes is stated", "the contrary"
            )
        if self.other is not None:
            self.other._validate(draft, _other_image(draft, self.other.x, self.other.x_hat))

    def _validate(self, draft: ManifestDraft, image: tuple[int, ...]) -> None:
        present = _example_shapes(draft, image)
        for name in _NAMES:
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.dtype(np.float32):
                got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise _FILE.defect(name, "a float32 array", got)
            if name not in present:
                if len(array):
                    raise _FILE.defect(name, "no examples, as the manifest has no such tensor", "some")
                continue
            example = present[name]
            if not fits(array.shape, example):
                raise _FILE.defect(name, expected_shape(example), f"shape {array.shape}")
            if not np.isfinite(array).all():
                raise _FILE.defect(name, "finite values", "NaN or infinity")
        for name in _bounded(draft):
            array = getattr(self, name)
            low, high = (float(array.min()), float(array.max())) if len(array) else (0.0, 1.0)
            if low < 0.0 or high > 1.0:
                raise _FILE.defect(
                    name, "pixels in [0, 1]", f"values from {told_apart(low, 0.0)} to {told_apart(high, 1.0)}"
                )
        for inputs, outputs in (("x", "mu"), ("x", "logvar"), ("z", "x_hat")):
            n, m = len(getattr(self, inputs)), len(getattr(self, outputs))
            if n != m and outputs in present:
                raise _FILE.defect(outputs, f"{n} examples as in {inputs}", f"{m} examples")

    def first(self, examples: int) -> GoldenVectors:
        """The first examples alone, at least one, for a graph whose rows take long."""
        return GoldenVectors(**{name: getattr(self, name)[:examples] for name in _NAMES})

    def to_bytes(self) -> bytes:
        """The `.npz` file: equal arrays yield equal bytes."""
        arrays = self._present("")
        if self.other is not None:
            arrays |= self.other._present(_OTHER)
        return _FILE.pack(arrays)

    def _present(self, prefix: str) -> dict[str, Float32Array]:
        return {f"{prefix}{name}": getattr(self, name) for name in _NAMES if len(getattr(self, name))}

    @classmethod
    def from_bytes(
        cls, data: bytes, manifest: ManifestDraft, *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    ) -> GoldenVectors:
        """Read and validate an untrusted `.npz` file; see `npz`.

        Raises:
            InvalidGolden: Not such a file, too large, or not as `manifest` requires.
        """
        shapes = _example_shapes(manifest, tuple(manifest.image.shape))
        names = list(shapes)
        if manifest.image.sizes is not None:
            names += [f"{_OTHER}{name}" for name in shapes]
        members = _FILE.unpack(data, names, max_unpacked_bytes=max_unpacked_bytes)
        other = None
        if manifest.image.sizes is not None:
            # Of any image size first, which determines the size of everything else.
            sizes = {
                name: _read_any_size(f"{_OTHER}{name}", members[f"{_OTHER}{name}"], manifest)
                for name in ("x", "x_hat")
                if name in shapes
            }
            image = _other_image(manifest, *sizes.values())
            other = cls._read(members, _example_shapes(manifest, image), prefix=_OTHER)
        vectors = cls._read(members, shapes, other=other)
        vectors.validate(manifest)
        return vectors

    @classmethod
    def _read(
        cls,
        members: Mapping[str, bytes],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        prefix: str = "",
        other: GoldenVectors | None = None,
    ) -> GoldenVectors:
        none = np.zeros((0,), np.float32)
        arrays = {
            name: read_examples(_FILE, f"{prefix}{name}", members[f"{prefix}{name}"], shapes[name])
            if name in shapes
            else none
            for name in _NAMES
        }
        return cls(**arrays, other=other)

    def check_encoder(self, mu: Float32Array, logvar: Float32Array, spec: GoldenSpec) -> None:
        """Compare a runtime's outputs for `x` with the recorded ones.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("mu", self.mu, mu, spec.latent_atol)
        if len(self.logvar):
            _compare("logvar", self.logvar, logvar, spec.latent_atol)

    def check_decoder(self, x_hat: Float32Array, spec: GoldenSpec) -> None:
        """Compare a runtime's output for `z` with the recorded one.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("x_hat", self.x_hat, x_hat, spec.pixel_atol)


def _example_shapes(draft: ManifestDraft, image: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The arrays of a manifest, and the shape of one example of each for images of shape `image`."""
    latent = (draft.latent_size,)
    if draft.latent is not None and draft.image.sizes is not None:
        shape = latent_shape_of(image, default_image=draft.image.shape, latent=draft.latent)
        latent = (math.prod(shape),)
    names: list[str] = []
    if draft.encoder is not None:
        names += ["x", "mu"] if draft.encoder.meanings == {"mu"} else ["x", "mu", "logvar"]
    if draft.decoder is not None:
        names += ["z", "x_hat"]
    return {name: image if name in ("x", "x_hat") else latent for name in names}


def _bounded(draft: ManifestDraft) -> tuple[str, ...]:
    """Arrays of pixels in [0, 1]: a decoder that was not trained here may overshoot."""
    if draft.image.range is None:
        return ()
    return ("x",) if draft.is_imported else ("x", "x_hat")


def _other_image(draft: ManifestDraft, *arrays: Float32Array) -> tuple[int, ...]:
    """(C, H, W) of the arrays at the second size.

    Raises:
        InvalidGolden: They have none, or one that the manifest does not accept, or the default one.
    """
    shapes = {array.shape[1:] for array in arrays if len(array)}
    sizes, default = draft.image.sizes, tuple(draft.image.shape)
    assert sizes is not None
    for shape in shapes if len(shapes) == 1 else ():
        if len(shape) == 3 and shape[0] == default[0] and shape != default and sizes.accepts(*shape[1:]):
            return shape
    got = ", ".join(map(str, sorted(shapes, key=str)[:4]))
    raise _FILE.defect(f"{_OTHER}x", "one other size that image.sizes accepts", f"shapes {got}")


def fits(shape: tuple[int, ...], example: tuple[int, ...]) -> bool:
    """Whether an array has a permitted number of examples of this shape."""
    return len(shape) == 1 + len(example) and shape[1:] == example and 1 <= shape[0] <= MAX_GOLDEN_EXAMPLES


def expected_shape(example: tuple[int, ...]) -> str:
    """The valid shapes of an array of examples, in words."""
    return f"shape ({', '.join((f'1 to {MAX_GOLDEN_EXAMPLES}', *map(str, example)))})"


def read_examples(file: ArrayFile, name: str, member: bytes, example: tuple[int, ...]) -> Float32Array:
    """One float32 array of examples from a file of golden vectors; raises as `ArrayFile.read`."""
    return file.read(
        name,
        member,
        dtype="<f4",
        expected=expected_shape(example),
        fits=lambda shape: fits(shape, example),
    )


def _read_any_size(name: str, member: bytes, manifest: ManifestDraft) -> Float32Array:
    """Images of a size that is not known before."""
    sizes, channels = manifest.image.sizes, manifest.image.shape[0]
    assert sizes is not None
    return _FILE.read(
        name,
        member,
        dtype="<f4",
        expected=f"shape (1 to {MAX_GOLDEN_EXAMPLES}, {channels}, H, W), H and W as image.sizes",
        fits=lambda shape: (
            len(shape) == 4
            and 1 <= shape[0] <= MAX_GOLDEN_EXAMPLES
            and shape[1] == channels
            and sizes.accepts(shape[2], shape[3])
        ),
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
