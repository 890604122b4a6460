"""Compare the exported files of a learned prior in onnxruntime with the prior in torch, and record them.

Knows both directions and the permitted differences. Knows nothing of runs or of the store.
`training.graphs.parity` runs onnxruntime.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from model_store import PriorGolden, PriorGoldenSpec
from model_store.numbers import told_apart
from training.errors import ExportError
from training.graphs.parity import BATCH_SIZES, cyclic, difference_of, run_session, session_of
from training.models.priors import LearnedPrior

Array = npt.NDArray[np.float32]


class OnnxPrior:
    """Both graphs of a learned prior in onnxruntime, with the settings of the service."""

    def __init__(self, *, sampler: bytes, density: bytes, threads: int = 1) -> None:
        """Load both, to run on `threads` threads.

        Raises:
            ExportError: onnxruntime rejects a file.
        """
        self._sampler = session_of("prior_sampler", sampler, threads)
        self._density = session_of("prior_density", density, threads)

    def sample(self, u: Array) -> Array:
        """z of each u, both (M, L)."""
        (z,) = run_session("prior_sampler", self._sampler, ["z"], {"u": u})
        return z

    def density(self, z: Array) -> tuple[Array, Array]:
        """(u, log_pz) of each z: (M, L) and (M,)."""
        u, log_pz = run_session("prior_density", self._density, ["u", "log_pz"], {"z": z})
        return u, log_pz


@dataclass(frozen=True)
class PriorParity:
    """Largest absolute differences over all batches."""

    z: float
    log_pz: float
    round_trip: float
    """Of u, after the way to z and back in onnxruntime."""

    def __str__(self) -> str:
        return f"z {self.z:.1e}, log p(z) {self.log_pz:.1e}, u there and back {self.round_trip:.1e}"


def check_prior_parity(
    prior: LearnedPrior, runtime: OnnxPrior, *, u: Float[Tensor, "n latent"], spec: PriorGoldenSpec
) -> PriorParity:
    """Compare both directions on batches of several sizes, and the way there and back.

    Args:
        prior: On the CPU, float32.
        runtime: The exported files.
        u: Draws of the mixtures; repeated if they are fewer than the batches need.
        spec: Permitted absolute differences.

    Raises:
        ExportError: A shape is wrong, a value is not finite, or a difference exceeds its bound.
    """
    largest = {"z": 0.0, "log_pz": 0.0, "round_trip": 0.0}
    bounds = {"z": spec.latent_atol, "log_pz": spec.log_density_atol, "round_trip": spec.latent_atol}
    offset = 0
    for size in BATCH_SIZES:
        base = cyclic(u, offset, size)
        offset += size
        z = runtime.sample(base.numpy())
        back, log_pz = runtime.density(z)
        with torch.inference_mode():
            expected = {
                "z": prior.from_base(base).numpy(),
                "log_pz": prior.log_prob(torch.from_numpy(z)).numpy(),
                "round_trip": base.numpy(),
            }
        answers = {"z": z, "log_pz": log_pz, "round_trip": back}
        for name, bound in bounds.items():
            difference = difference_of(name, expected[name], answers[name], size)
            # Not `difference > bound`: NaN must fail too.
            if not difference <= bound:
                raise ExportError(_refusal(name, size, bound, told_apart(difference, bound)))
            largest[name] = max(largest[name], difference)
    return PriorParity(**largest)


def _refusal(name: str, size: int, bound: float, got: str) -> str:
    if name == "round_trip":
        return (
            f"parity: the learned prior on a batch of {size}: expected u to differ by at most {bound:g} "
            f"after the way to z and back, got {got}. Nothing was published. Its scales amplify rounding: "
            "train with a lower learning rate or fewer model.prior.couplings."
        )
    return (
        f"parity: {name} of the learned prior on a batch of {size}: expected torch and onnxruntime to differ "
        f"by at most {bound:g}, got {got}. Nothing was published. Install the versions of the constraints "
        "file and export again. If the difference remains, the exporter mistranslates a layer."
    )


def record_prior_golden(runtime: OnnxPrior, *, u: Float[Tensor, "n latent"]) -> PriorGolden:
    """Results of onnxruntime that agree with torch's, for comparison with other machines."""
    base = np.ascontiguousarray(u.numpy())
    z = runtime.sample(base)
    _, log_pz = runtime.density(z)
    return PriorGolden(u=base, z=z, log_pz=log_pz)
