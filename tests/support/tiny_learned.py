"""A learned prior with known answers: z = 1.5 u + 0.25, and two Gaussians of u, one for each of two labels.

Knows `onnx.helper`, NumPy and the store's names. No torch, no training: `TinyLearnedPrior` says in NumPy what
any runtime must answer (to about 1e-6).

    learned = TinyLearnedPrior(latent_size=8)
    publish_tiny(store, model=model, learned=learned)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_store import (
    GaussianMixture,
    LabelDraws,
    LabelledMixture,
    LearnedPrior,
    LearnedPriorFiles,
    PriorGolden,
    PriorMixtures,
    prior_graph_specs,
)

OPSET = 20
SCALE, SHIFT = 1.5, 0.25
LABELS = ("hats", "shoes")
SHARES = (0.25, 0.75)
#: Standard deviation of u around each of the two means, which are -1 and +1 in every dimension.
SPREAD = 0.5

Array = NDArray[np.float32]
Shape = tuple[str | int, ...]


@dataclass(frozen=True)
class TinyLearnedPrior:
    """Σ_y share_y N(u; ±1, SPREAD² I), and z = SCALE · u + SHIFT."""

    latent_size: int = 8
    label_draws: LabelDraws | None = None

    def sample(self, u: Array) -> Array:
        """z of each u."""
        return np.float32(SCALE) * u + np.float32(SHIFT)

    def density(self, z: Array) -> tuple[Array, Array]:
        """(u, log p(z)) of each z."""
        u = (z.astype(np.float64) - SHIFT) / SCALE
        log_p = [
            log(share)
            - 0.5 * (((u - mean) / SPREAD) ** 2).sum(axis=1)
            - self.latent_size * (log(SPREAD) + 0.5 * log(2.0 * pi))
            for share, mean in zip(SHARES, (-1.0, 1.0), strict=True)
        ]
        log_pz = np.logaddexp(*log_p) - self.latent_size * log(SCALE)
        return u.astype(np.float32), log_pz.astype(np.float32)

    @property
    def entry(self) -> LearnedPrior:
        """The manifest's entry."""
        sampler, density = prior_graph_specs(latent_size=self.latent_size, opset=OPSET)
        return LearnedPrior(
            components=2,
            labels=tuple(
                LabelledMixture(label=label, components=1, share=share)
                for label, share in zip(LABELS, SHARES, strict=True)
            ),
            sampler=sampler,
            density=density,
            protocol="Made by hand for tests; learned from nothing.",
            label_draws=self.label_draws,
        )

    @property
    def mixtures(self) -> PriorMixtures:
        """The Gaussians of u: those of all images, then that of each label."""
        means = np.stack([np.full(self.latent_size, mean, np.float32) for mean in (-1.0, 1.0)])
        cholesky = np.stack([SPREAD * np.eye(self.latent_size, dtype=np.float32)] * 2)
        whole = GaussianMixture(np.array(SHARES), means, cholesky)
        each = [GaussianMixture(np.ones(1), means[[i]], cholesky[[i]]) for i in (0, 1)]
        return PriorMixtures.of((whole, *each))

    @property
    def golden(self) -> PriorGolden:
        """Draws of u, and the answers of the formulae."""
        rng = np.random.default_rng(3)
        u = (
            np.sign(rng.random((4, 1)) - SHARES[0]) + SPREAD * rng.normal(size=(4, self.latent_size))
        ).astype(np.float32)
        z = self.sample(u)
        return PriorGolden(u=u, z=z, log_pz=self.density(z)[1])

    @property
    def files(self) -> LearnedPriorFiles:
        """Both graphs and the golden vectors."""
        return LearnedPriorFiles(
            sampler=self.sampler_proto().SerializeToString(),
            density=self.density_proto().SerializeToString(),
            golden=self.golden,
        )

    def sampler_proto(self) -> onnx.ModelProto:
        """Mul, Add."""
        nodes = [
            helper.make_node("Mul", ["u", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["z"]),
        ]
        weights: dict[str, NDArray[Any]] = {
            "scale": np.array([SCALE], np.float32),
            "shift": np.array([SHIFT], np.float32),
        }
        latent = ("batch", self.latent_size)
        return _model(nodes, {"u": latent}, {"z": latent}, weights)

    def density_proto(self) -> onnx.ModelProto:
        """The inverse, and the logarithm of the sum of both Gaussians."""
        size = self.latent_size
        constant = np.log(SHARES) - size * (log(SPREAD) + 0.5 * log(2.0 * pi) + log(SCALE))
        weights: dict[str, NDArray[Any]] = {
            "shift": np.array([SHIFT], np.float32),
            "scale": np.array([SCALE], np.float32),
            "one": np.array([1], np.int64),
            "two": np.array([2], np.int64),
            "means": np.stack([np.full(size, mean, np.float32) for mean in (-1.0, 1.0)]),
            "factor": np.array([-0.5 / SPREAD**2], np.float32),
            "constant": constant.astype(np.float32),
        }
        nodes = [
            helper.make_node("Sub", ["z", "shift"], ["moved"]),
            helper.make_node("Div", ["moved", "scale"], ["u"]),
            helper.make_node("Unsqueeze", ["u", "one"], ["row"]),
            helper.make_node("Sub", ["row", "means"], ["difference"]),
            helper.make_node("Mul", ["difference", "difference"], ["square"]),
            helper.make_node("ReduceSum", ["square", "two"], ["distance"], keepdims=0),
            helper.make_node("Mul", ["distance", "factor"], ["exponent"]),
            helper.make_node("Add", ["exponent", "constant"], ["log_p"]),
            helper.make_node("ReduceLogSumExp", ["log_p", "one"], ["log_pz"], keepdims=0),
        ]
        latent = ("batch", size)
        return _model(nodes, {"z": latent}, {"u": latent, "log_pz": ("batch",)}, weights)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    weights: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(shape)) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(shape)) for n, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
