"""Tensors and graphs in a manifest: names, shapes, and the role of a tensor under a foreign name.

Knows one tensor and one graph at a time. Knows nothing of the image and the latent that they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from model_store.strict_model import StrictModel, never_null

Role = Literal["x", "mu", "logvar", "moments", "z", "x_hat"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
#: For comparisons that leave the opset out.
_ANY_OPSET: Final = 20
#: The size of an axis: of the batch, any size, or one size.
AxisSize = Literal["batch", "open"] | Annotated[int, Field(ge=1)]


class TensorSpec(StrictModel):
    """One input or output of a graph: float32, batch axis first."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Its name in the graph. A trained model's is its role: `x`, `mu`, `logvar`, `z` or `x_hat`."""
    dtype: Literal["float32"] = "float32"
    shape: tuple[AxisSize, ...]
    """("batch", ...): the word for the dynamic axis, then the sizes of one example. In an imported graph, an
    axis may be `open`, and the first one may be 1: then the graph runs one row at a time."""
    role: Annotated[
        Role | None, Field(exclude_if=lambda role: role is None, json_schema_extra=never_null)
    ] = None
    """From schema version 5 on, where the name is another: what the tensor means. `moments` is `mu` and then
    `logvar` along the first axis of the latent."""

    @property
    def meaning(self) -> str:
        """The role, stated or by the name."""
        return self.role or self.name


class GraphSpec(StrictModel):
    """One ONNX graph, its inputs and its outputs."""

    file: Literal["encoder.onnx", "decoder.onnx", "prior_sampler.onnx", "prior_density.onnx"]
    opset: Annotated[int, Field(ge=13, le=64)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def meanings(self) -> frozenset[str]:
        """The roles of its outputs."""
        return frozenset(tensor.meaning for tensor in self.outputs)


def graph_specs(
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    opset: int,
    latent_shape: tuple[int, ...] = (),
) -> tuple[GraphSpec, GraphSpec]:
    """The (encoder, decoder) specs of the contract for this image shape and latent size.

    Latents are flat without a `latent_shape` of `latent_size` values.
    """
    image: tuple[AxisSize, ...] = ("batch", *image_shape)
    latent: tuple[AxisSize, ...] = ("batch", *(latent_shape or (latent_size,)))
    encoder = GraphSpec(
        file="encoder.onnx",
        opset=opset,
        inputs=(TensorSpec(name="x", shape=image),),
        outputs=(TensorSpec(name="mu", shape=latent), TensorSpec(name="logvar", shape=latent)),
    )
    decoder = GraphSpec(
        file="decoder.onnx",
        opset=opset,
        inputs=(TensorSpec(name="z", shape=latent),),
        outputs=(TensorSpec(name="x_hat", shape=image),),
    )
    return encoder, decoder


def prior_graph_specs(*, latent_size: int, opset: int) -> tuple[GraphSpec, GraphSpec]:
    """The (sampler, density) specs of the contract for this latent size."""
    latent: tuple[AxisSize, ...] = ("batch", latent_size)
    u, z = TensorSpec(name="u", shape=latent), TensorSpec(name="z", shape=latent)
    log_pz = TensorSpec(name="log_pz", shape=("batch",))
    return (
        GraphSpec(file="prior_sampler.onnx", opset=opset, inputs=(u,), outputs=(z,)),
        GraphSpec(file="prior_density.onnx", opset=opset, inputs=(z,), outputs=(u, log_pz)),
    )


def trained_objections(
    encoder: GraphSpec | None,
    decoder: GraphSpec | None,
    *,
    image_shape: tuple[int, int, int],
    latent_shape: tuple[int, ...],
) -> Iterator[str]:
    """What contradicts the names and shapes that the contract fixes for graphs of this project's trainer."""
    wanted = graph_specs(
        image_shape=image_shape,
        latent_size=math.prod(latent_shape),
        latent_shape=latent_shape,
        opset=_ANY_OPSET,
    )
    for role, graph, expected in zip(("encoder", "decoder"), (encoder, decoder), wanted, strict=True):
        if graph is None:
            yield f"{role}: expected a graph, got no key"
            return
        yield from _graph_objections(role, graph, expected, of="image.shape and the latent")


def prior_objections(sampler: GraphSpec, density: GraphSpec, *, latent_size: int) -> Iterator[str]:
    """What contradicts the names and shapes that the contract fixes for the graphs of a learned prior."""
    wanted = prior_graph_specs(latent_size=latent_size, opset=_ANY_OPSET)
    for role, graph, expected in zip(("sampler", "density"), (sampler, density), wanted, strict=True):
        yield from _graph_objections(role, graph, expected, of="latent_size")


def _graph_objections(role: str, graph: GraphSpec, expected: GraphSpec, *, of: str) -> Iterator[str]:
    if graph.file != expected.file:
        yield f"{role}.file: expected {expected.file!r}, got {graph.file!r}"
    for side, tensors, fixed in (
        ("inputs", graph.inputs, expected.inputs),
        ("outputs", graph.outputs, expected.outputs),
    ):
        shapes = {tensor.name: tensor.shape for tensor in fixed}
        got = {tensor.name: tensor.shape for tensor in tensors}
        if got != shapes or len(tensors) != len(shapes) or any(tensor.role for tensor in tensors):
            yield f"{role}.{side}: expected {shapes} from {of}, got {got}"
