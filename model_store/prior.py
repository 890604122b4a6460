"""Fitted and learned priors: the Gaussian mixtures of `prior.npz`, for all images and for each label.

Knows arrays, and the conditions for drawing from them. Knows nothing of their fitting, of noise or of
decoders. Covariances are stored as their Cholesky factors. A reader factorises nothing, and no covariance can
turn out not to be positive definite. The mixtures of a learned prior are densities of u instead of z
(`learned_prior`).

    p(z) = Σ_k weights_k N(z; means_k, cholesky_k cholesky_kᵀ)

`weights` is float64 (components,), `means` float32 (components, latent), `cholesky` float32 (components,
latent, latent). The components of all mixtures are concatenated: those of all images, then those of each
label in the order of the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidPrior, quoted
from model_store.npz import MAX_UNPACKED_BYTES, ArrayFile
from model_store.numbers import told_apart
from model_store.prior_spec import FittedPrior, LearnedPrior
from model_store.version_files import PRIOR_FILE

#: Largest magnitude of a mean or of an entry of a factor: no decoder needs larger ones.
MAX_MAGNITUDE = 10_000.0
#: Permitted difference of the sum of a mixture's weights from 1: float64 rounding only.
WEIGHT_SUM_ATOL = 1e-9

_FILE = ArrayFile(PRIOR_FILE, InvalidPrior)
_DTYPES = {"weights": "<f8", "means": "<f4", "cholesky": "<f4"}


class StatesPrior(Protocol):
    """The data that reading `prior.npz` requires, from a manifest or a draft of one."""

    @property
    def latent_size(self) -> int:
        """Numbers in a z."""

    @property
    def mixture_prior(self) -> FittedPrior | LearnedPrior | None:
        """The manifest's entry for the file."""


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """One density over z: Σ_k weights_k N(z; means_k, cholesky_k cholesky_kᵀ)."""

    weights: NDArray[np.float64]
    """(components,), positive, summing to 1."""
    means: NDArray[np.float32]
    """(components, latent)."""
    cholesky: NDArray[np.float32]
    """(components, latent, latent), lower triangular, with a positive diagonal."""


@dataclass(frozen=True, eq=False)
class PriorMixtures:
    """The mixtures of one version, as in `prior.npz`: their components concatenated."""

    weights: NDArray[np.float64]
    means: NDArray[np.float32]
    cholesky: NDArray[np.float32]

    @classmethod
    def of(cls, mixtures: tuple[GaussianMixture, ...]) -> PriorMixtures:
        """The mixture of all images, then those of the labels in the order of the manifest."""
        return cls(
            **{
                field.name: np.concatenate([getattr(mixture, field.name) for mixture in mixtures])
                for field in fields(cls)
            }
        )

    def split(self, fitted: FittedPrior | LearnedPrior) -> tuple[GaussianMixture, ...]:
        """The mixtures of the manifest's entry, in its order."""
        ends = tuple(accumulate(fitted.component_counts))
        starts = (0, *ends[:-1])
        return tuple(
            GaussianMixture(self.weights[start:end], self.means[start:end], self.cholesky[start:end])
            for start, end in zip(starts, ends, strict=True)
        )

    def validate(self, draft: StatesPrior) -> None:
        """Compare dtypes, shapes and values with `draft`.

        Raises:
            InvalidPrior: Names the array, the expected and the actual value.
        """
        fitted = _entry(draft)
        for name, shape in _shapes(fitted, draft.latent_size).items():
            array = getattr(self, name)
            wanted = np.dtype(_DTYPES[name])
            if not isinstance(array, np.ndarray) or array.dtype != wanted:
                got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise _FILE.defect(name, f"a {wanted} array", got)
            if array.shape != shape:
                raise _FILE.defect(name, _expected_shape(shape), f"shape {array.shape}")
            if not np.isfinite(array).all():
                raise _FILE.defect(name, "finite values", "NaN or infinity")
        for name in ("means", "cholesky"):
            largest = float(np.abs(getattr(self, name)).max())
            if largest > MAX_MAGNITUDE:
                raise _FILE.defect(
                    name,
                    f"values within ±{MAX_MAGNITUDE:g}",
                    f"one of magnitude {told_apart(largest, MAX_MAGNITUDE)}",
                )
        self._check_weights(fitted)
        self._check_factors()

    def to_bytes(self) -> bytes:
        """The `.npz` file: equal arrays yield equal bytes."""
        return _FILE.pack({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(
        cls, data: bytes, manifest: StatesPrior, *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    ) -> PriorMixtures:
        """Read and validate an untrusted `.npz` file; see `npz`.

        Args:
            data: The file.
            manifest: One that lists a fitted prior.
            max_unpacked_bytes: Ceiling on the three arrays together.

        Raises:
            InvalidPrior: Not such a file, too large, or not as `manifest` requires.
        """
        members = _FILE.unpack(data, _DTYPES, max_unpacked_bytes=max_unpacked_bytes)
        shapes = _shapes(_entry(manifest), manifest.latent_size)
        mixtures = cls(**{name: _read(name, members[name], shape) for name, shape in shapes.items()})
        mixtures.validate(manifest)
        return mixtures

    def _check_weights(self, fitted: FittedPrior | LearnedPrior) -> None:
        if not (self.weights > 0.0).all():
            raise _FILE.defect("weights", "positive values", f"{float(self.weights.min()):g}")
        owners = ("all images", *(f"label {quoted(each.label)}" for each in fitted.labels))
        for owner, mixture in zip(owners, self.split(fitted), strict=True):
            total = float(mixture.weights.sum())
            if abs(total - 1.0) > WEIGHT_SUM_ATOL:
                raise _FILE.defect("weights", f"those of {owner} to sum to 1", told_apart(total, 1.0))

    def _check_factors(self) -> None:
        if np.triu(self.cholesky, k=1).any():
            raise _FILE.defect("cholesky", "lower triangular factors", "a value above a diagonal")
        smallest = float(np.diagonal(self.cholesky, axis1=1, axis2=2).min())
        if smallest <= 0.0:
            raise _FILE.defect("cholesky", "a positive diagonal", f"{smallest:g}")


def _entry(draft: StatesPrior) -> FittedPrior | LearnedPrior:
    if draft.mixture_prior is None:
        raise InvalidPrior(
            f"{PRIOR_FILE}: expected a manifest that lists a fitted prior, got one without. List it in "
            "priors, or leave the file out."
        )
    return draft.mixture_prior


def _shapes(fitted: FittedPrior | LearnedPrior, latent_size: int) -> dict[str, tuple[int, ...]]:
    components = sum(fitted.component_counts)
    return {
        "weights": (components,),
        "means": (components, latent_size),
        "cholesky": (components, latent_size, latent_size),
    }


def _expected_shape(shape: tuple[int, ...]) -> str:
    return f"shape {shape} by the manifest"


def _read(name: str, member: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    return _FILE.read(
        name, member, dtype=_DTYPES[name], expected=_expected_shape(shape), fits=lambda got: got == shape
    )
