"""Previews: the posterior means of some real images, in `preview.npz`, for people who look at a model.

Knows arrays, and how they follow from the manifest. Knows nothing of encoders, data or pictures. No image of
a request is compared with them, so they change no answer of a model.

    mu          float32 (images, latent)                  posterior means
    logvar      float32 (images, latent)                  log variances; a vae alone
    kl          float32 (latent)                          mean KL of each dimension, in nats; a vae alone
    labels      uint16  (images)                          indices into the labels of the manifest, if any
    thumbnails  uint8   (images, channels, height, width) the images, 0 to 255
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidPreview
from model_store.npz import ArrayFile
from model_store.numbers import told_apart
from model_store.preview_spec import PreviewSpec
from model_store.version_files import PREVIEW_FILE

#: Usual ceiling on the file, and on its unpacked arrays together: 500 images of 28 × 28 with 32 latents take
#: 0.5 MB, and every loaded version keeps its own in memory.
MAX_PREVIEW_BYTES = 4 * 1024 * 1024
#: Largest magnitude of a mean or a log variance: nothing beyond it can be drawn on a map.
MAX_MAGNITUDE = 10_000.0

_FILE = ArrayFile(PREVIEW_FILE, InvalidPreview)
_DTYPES = {"mu": "<f4", "logvar": "<f4", "kl": "<f4", "labels": "<u2", "thumbnails": "|u1"}


class StatesPreview(Protocol):
    """The part of a manifest, or of a draft of one, that `preview.npz` must match."""

    @property
    def kind(self) -> str:
        """`vae` or `ae`."""

    @property
    def latent_size(self) -> int:
        """Numbers in a z."""

    @property
    def preview(self) -> PreviewSpec | None:
        """The manifest's entry for the file."""


@dataclass(frozen=True, eq=False)
class Preview:
    """The arrays of one version."""

    mu: NDArray[np.float32]
    thumbnails: NDArray[np.uint8]
    logvar: NDArray[np.float32] | None = None
    kl: NDArray[np.float32] | None = None
    labels: NDArray[np.uint16] | None = None

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those that this version has, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: found[name] for name in _DTYPES if found[name] is not None}

    def validate(self, draft: StatesPreview) -> None:
        """Compare names, dtypes, shapes and values with `draft`.

        Raises:
            InvalidPreview: Names the array, the expected and the actual value.
        """
        spec, shapes = _entry(draft), _shapes(draft)
        arrays = self.arrays
        if sorted(arrays) != sorted(shapes):
            raise InvalidPreview(
                f"{PREVIEW_FILE}: expected the arrays {sorted(shapes)} by the manifest, got {sorted(arrays)}."
            )
        for name, shape in shapes.items():
            array, wanted = arrays[name], np.dtype(_DTYPES[name])
            if not isinstance(array, np.ndarray) or array.dtype != wanted:
                got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise _FILE.defect(name, f"a {wanted} array", got)
            if array.shape != shape:
                raise _FILE.defect(name, _expected_shape(shape), f"shape {array.shape}")
        _check_values(arrays, spec)

    def to_bytes(self) -> bytes:
        """The `.npz` file: equal arrays yield equal bytes."""
        return _FILE.pack(self.arrays)

    @classmethod
    def from_bytes(
        cls, data: bytes, manifest: StatesPreview, *, max_unpacked_bytes: int = MAX_PREVIEW_BYTES
    ) -> Preview:
        """Read and validate an untrusted `.npz` file; see `npz`.

        Args:
            data: The file.
            manifest: One that lists a preview.
            max_unpacked_bytes: Ceiling on all arrays together.

        Raises:
            InvalidPreview: Not such a file, too large, or not as `manifest` requires.
        """
        shapes = _shapes(manifest)
        members = _FILE.unpack(data, shapes, max_unpacked_bytes=max_unpacked_bytes)
        preview = cls(**{name: _read(name, members[name], shape) for name, shape in shapes.items()})
        preview.validate(manifest)
        return preview


def _check_values(arrays: Mapping[str, NDArray[Any]], spec: PreviewSpec) -> None:
    for name in ("mu", "logvar", "kl"):
        if name not in arrays:
            continue
        if not np.isfinite(arrays[name]).all():
            raise _FILE.defect(name, "finite values", "NaN or infinity")
        largest = float(np.abs(arrays[name]).max())
        if largest > MAX_MAGNITUDE:
            raise _FILE.defect(
                name,
                f"values within ±{MAX_MAGNITUDE:g}",
                f"one of magnitude {told_apart(largest, MAX_MAGNITUDE)}",
            )
    if "kl" in arrays and float(arrays["kl"].min()) < 0.0:
        raise _FILE.defect("kl", "values of at least 0", f"{float(arrays['kl'].min()):g}")
    if "labels" in arrays and int(arrays["labels"].max()) >= len(spec.labels):
        raise _FILE.defect(
            "labels", f"indices below {len(spec.labels)}, as many as labels", f"{int(arrays['labels'].max())}"
        )


def _entry(draft: StatesPreview) -> PreviewSpec:
    if draft.preview is None:
        raise InvalidPreview(
            f"{PREVIEW_FILE}: expected a manifest that lists a preview, got one without. List it as preview, "
            "or leave the file out."
        )
    return draft.preview


def _shapes(draft: StatesPreview) -> dict[str, tuple[int, ...]]:
    spec = _entry(draft)
    shapes: dict[str, tuple[int, ...]] = {"mu": (spec.images, draft.latent_size)}
    if draft.kind == "vae":
        shapes |= {"logvar": (spec.images, draft.latent_size), "kl": (draft.latent_size,)}
    if spec.labels:
        shapes["labels"] = (spec.images,)
    return shapes | {"thumbnails": (spec.images, *spec.thumbnail)}


def _expected_shape(shape: tuple[int, ...]) -> str:
    return f"shape {shape} by the manifest"


def _read(name: str, member: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    return _FILE.read(
        name, member, dtype=_DTYPES[name], expected=_expected_shape(shape), fits=lambda got: got == shape
    )
