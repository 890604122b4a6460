"""A learned prior: the two graphs between u and z, and the recorded proof that a runtime computes them.

Knows arrays, the manifest's entry, and the guard of graphs. Knows nothing of training, of noise or of
runtimes. The mixtures of u are in `prior.npz`, as those of a fitted prior (`model_store.prior`).

::

    u ~ Σ_k w_k N(m_k, L_k L_kᵀ)          u ── prior_sampler.onnx ──▶ z
    log_pz = log p(u) + log|det ∂u/∂z|    z ── prior_density.onnx ──▶ u, log_pz
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from model_store.errors import GoldenMismatch, InvalidPrior
from model_store.golden import expected_shape, fits, read_examples
from model_store.manifest import (
    PRIOR_DENSITY_FILE,
    PRIOR_GOLDEN_FILE,
    PRIOR_SAMPLER_FILE,
    LearnedPrior,
    PriorGoldenSpec,
)
from model_store.npz import MAX_UNPACKED_BYTES, ArrayFile
from model_store.numbers import told_apart
from model_store.onnx_guard import check_graph

_FILE = ArrayFile(PRIOR_GOLDEN_FILE, InvalidPrior)

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PriorGolden:
    """Draws of u, and the outputs of the exporter's runtime for them.

    The density graph's own `u` is not recorded: it must equal the `u` that the sampler began with.
    """

    u: Float32Array
    """(examples, latent): draws of the mixtures."""
    z: Float32Array
    """(examples, latent): the sampler's output for `u`."""
    log_pz: Float32Array
    """(examples,): the density's output for `z`."""

    def validate(self, latent_size: int) -> None:
        """Compare dtype, shapes and finiteness with the contract.

        Raises:
            InvalidPrior: Names the array, the expected and the actual value.
        """
        for name, example in _example_shapes(latent_size).items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.dtype(np.float32):
                got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise _FILE.defect(name, "a float32 array", got)
            if not fits(array.shape, example):
                raise _FILE.defect(name, expected_shape(example), f"shape {array.shape}")
            if not np.isfinite(array).all():
                raise _FILE.defect(name, "finite values", "NaN or infinity")
            if len(array) != len(self.u):
                raise _FILE.defect(name, f"{len(self.u)} examples as in u", f"{len(array)} examples")

    def to_bytes(self) -> bytes:
        """The `.npz` file: equal arrays yield equal bytes."""
        return _FILE.pack({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(
        cls, data: bytes, latent_size: int, *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    ) -> PriorGolden:
        """Read and validate an untrusted `.npz` file; see `npz`.

        Raises:
            InvalidPrior: Not such a file, too large, or not of this latent size.
        """
        shapes = _example_shapes(latent_size)
        members = _FILE.unpack(data, shapes, max_unpacked_bytes=max_unpacked_bytes)
        golden = cls(
            **{name: read_examples(_FILE, name, members[name], example) for name, example in shapes.items()}
        )
        golden.validate(latent_size)
        return golden

    def check_sampler(self, z: Float32Array, spec: PriorGoldenSpec) -> None:
        """Compare a runtime's `z` for `u` with the recorded one.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("z", self.z, z, spec.latent_atol)

    def check_density(self, u: Float32Array, log_pz: Float32Array, spec: PriorGoldenSpec) -> None:
        """Compare a runtime's outputs for `z` with the recorded ones: `u` must come back.

        Raises:
            GoldenMismatch: Names the tensor, the largest absolute difference and the bound.
        """
        _compare("u", self.u, u, spec.latent_atol)
        _compare("log_pz", self.log_pz, log_pz, spec.log_density_atol)


@dataclass(frozen=True, eq=False)
class LearnedPriorFiles:
    """The files of a learned prior, apart from its mixtures."""

    sampler: bytes
    """ONNX graph `u` → `z`."""
    density: bytes
    """ONNX graph `z` → `u`, `log_pz`."""
    golden: PriorGolden

    def validate(self, entry: LearnedPrior, *, latent_size: int, where: str = "") -> None:
        """Check the graphs and the recorded outputs, without a runtime.

        Args:
            entry: The manifest's description of the files.
            latent_size: Numbers in a z.
            where: Directory of the files, with its separator, for messages.

        Raises:
            HostileGraph, InvalidPrior: Names the file, the expected and the actual content.
        """
        check_graph(self.sampler, entry.sampler, where=f"{where}{PRIOR_SAMPLER_FILE}")
        check_graph(self.density, entry.density, where=f"{where}{PRIOR_DENSITY_FILE}")
        self.golden.validate(latent_size)

    def payload(self) -> dict[str, bytes]:
        """The files by name."""
        return {
            PRIOR_SAMPLER_FILE: self.sampler,
            PRIOR_DENSITY_FILE: self.density,
            PRIOR_GOLDEN_FILE: self.golden.to_bytes(),
        }


def _example_shapes(latent_size: int) -> dict[str, tuple[int, ...]]:
    return {"u": (latent_size,), "z": (latent_size,), "log_pz": ()}


def _compare(name: str, recorded: Float32Array, answer: Float32Array, bound: float) -> None:
    remedy = "The weights are intact: check the runtime, its version and its execution provider."
    if answer.shape != recorded.shape:
        raise GoldenMismatch(
            f"golden vectors of the prior: '{name}': expected shape {recorded.shape}, got {answer.shape}. "
            f"{remedy}"
        )
    # float64, so that the difference itself adds no rounding; NaN fails every comparison.
    largest = float(np.abs(answer.astype(np.float64) - recorded.astype(np.float64)).max())
    if not largest <= bound:
        raise GoldenMismatch(
            f"golden vectors of the prior: '{name}': expected at most {bound:g} from the recorded values, "
            f"got a largest difference of {told_apart(largest, bound)}. {remedy}"
        )
