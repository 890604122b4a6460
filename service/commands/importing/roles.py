"""What each tensor of two graphs means, and the shapes that follow.

Knows names, ranks and channels. Runs nothing. What a graph leaves open is filled in from the other graph,
from a config.json or from the command line; `probing` tries whether it is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from model_store import GraphSpec, TensorSpec
from model_store.onnx_guard import TensorType
from model_store.tensor_spec import ROLES, AxisSize, Role
from service.commands.importing.graph_files import GraphFile, Source
from service.commands.importing.report import refuse

_OLDEST_OPSET: Final = 13
_IMAGE_AXES: Final = 4
_LOGVAR_NAMES: Final = ("logvar", "log_var", "log_variance", "log_covariance", "logsigma2")
_MOMENTS_NAMES: Final = ("moments", "latent_parameters", "parameters")
Graph = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Tensors:
    """The graphs with their roles."""

    encoder: GraphSpec | None
    decoder: GraphSpec | None
    image: tuple[int | None, int | None, int | None]
    """(C, H, W); None where the graphs leave it open."""
    latent: tuple[int | None, ...]
    """Of any rank."""

    @property
    def is_open(self) -> bool:
        """Whether height and width of images are open in every graph."""
        return self.image[1] is None or self.image[2] is None


def find_roles(source: Source, *, stated: Mapping[str, str], channels: int | None) -> Tensors:
    """The role of each tensor.

    Args:
        source: The graphs.
        stated: Roles by the name of a tensor, from the command line.
        channels: Of images, from the command line.

    Raises:
        ImportRefused: The tensors cannot be those of an encoder and a decoder.
    """
    encoder, decoder = source.encoder, source.decoder
    for graph, role in ((encoder, "encoder"), (decoder, "decoder")):
        if graph is not None:
            _check_types(graph, role)
    image: list[int | None] = [channels or source.image_channels, None, None]
    latent: tuple[int | None, ...] | None = None
    roles: dict[str, Role] = {}
    if decoder is not None:
        z, x_hat = _only(decoder, "decoder", "input"), _only(decoder, "decoder", "output")
        image = _merged(image, _image_row(x_hat, "decoder's output"), "images of the decoder")
        latent = _row(z)
    if encoder is not None:
        x = _only(encoder, "encoder", "input")
        image = _merged(image, _image_row(x, "encoder's input"), "images of both graphs")
        roles = _encoder_roles(encoder, latent, stated, source)
        latent = _latent_of_encoder(encoder, roles, latent)
    assert latent is not None, "there is a graph"
    if latent and latent[0] is None and source.latent_channels is not None:
        latent = (source.latent_channels, *latent[1:])
    return Tensors(
        None
        if encoder is None
        else _spec("encoder", encoder, {encoder.signature.inputs[0].name: "x", **roles}),
        None
        if decoder is None
        else _spec(
            "decoder",
            decoder,
            {decoder.signature.inputs[0].name: "z", decoder.signature.outputs[0].name: "x_hat"},
        ),
        (image[0], image[1], image[2]),
        latent,
    )


def _check_types(graph: GraphFile, role: str) -> None:
    if graph.signature.opset < _OLDEST_OPSET:
        raise refuse(
            f"{role}: opset",
            expected=f"at least {_OLDEST_OPSET}",
            got=str(graph.signature.opset),
            remedy="Export it again with a newer opset.",
        )
    for tensor in (*graph.signature.inputs, *graph.signature.outputs):
        if not tensor.is_float32 or tensor.shape is None:
            raise refuse(
                f"{role}: {tensor.name}",
                expected="a float32 tensor with a shape",
                got="another type",
                remedy="Export the model in float32; the server computes in float32.",
            )
        if not tensor.shape or tensor.shape[0] not in (None, 1):
            raise refuse(
                f"{role}: {tensor.name}",
                expected="the batch as the first axis, open or 1",
                got=f"shape {_shown(tensor.shape)}",
                remedy="Export it with a dynamic first axis.",
            )


def _only(graph: GraphFile, role: str, side: Literal["input", "output"]) -> TensorType:
    tensors = graph.signature.inputs if side == "input" else graph.signature.outputs
    if len(tensors) != 1:
        raise refuse(
            f"{role}: {side}s",
            expected=f"exactly one {side}",
            got=", ".join(tensor.name for tensor in tensors[:8]) or "none",
            remedy="Export only this part of the model, without conditions or further outputs.",
        )
    return tensors[0]


def _image_row(tensor: TensorType, what: str) -> tuple[int | None, ...]:
    row = _row(tensor)
    if len(row) + 1 != _IMAGE_AXES:
        raise refuse(
            f"the {what}, {tensor.name}",
            expected="images (batch, C, H, W)",
            got=f"shape {_shown(tensor.shape or ())}",
            remedy="Are the graphs swapped? Otherwise export it with a reshape to images.",
        )
    return row


def _encoder_roles(
    graph: GraphFile, latent: Sequence[int | None] | None, stated: Mapping[str, str], source: Source
) -> dict[str, Role]:
    """Roles of the outputs of an encoder."""
    outputs = graph.signature.outputs
    roles: dict[str, Role] = {}
    for tensor in outputs:
        role = stated.get(tensor.name)
        if role is not None:
            known = next((each for each in ROLES if each == role), None)
            if known is None:
                raise refuse(
                    f"--role {tensor.name}",
                    expected=f"one of {', '.join(ROLES)}",
                    got=role[:64],
                    remedy="Correct it.",
                )
            roles[tensor.name] = known
    left = [tensor for tensor in outputs if tensor.name not in roles]
    if not left:
        return roles
    if len(outputs) == 1:
        return {outputs[0].name: _role_of_only_output(outputs[0], latent, source)}
    if len(outputs) == 2 and not roles:
        is_logvar = [any(word in tensor.name.lower() for word in _LOGVAR_NAMES) for tensor in outputs]
        second = 0 if is_logvar == [True, False] else 1
        return {outputs[1 - second].name: "mu", outputs[second].name: "logvar"}
    raise refuse(
        "encoder: outputs",
        expected="mu, or mu and logvar, or both in one",
        got=", ".join(tensor.name for tensor in outputs[:8]),
        remedy="Say which is which, --role NAME=mu --role NAME=logvar, and export no others.",
    )


def _role_of_only_output(tensor: TensorType, latent: Sequence[int | None] | None, source: Source) -> Role:
    """Twice as many channels as the decoder takes are mu and logvar."""
    row = _row(tensor)
    channels = (latent[0] if latent else None) or source.latent_channels
    if row and row[0] is not None and channels is not None:
        if row[0] == 2 * channels:
            return "moments"
        if row[0] == channels:
            return "mu"
        raise refuse(
            f"encoder: {tensor.name}",
            expected=f"{channels} channels as the decoder takes them, or {2 * channels} with the logvar",
            got=f"{row[0]}",
            remedy="Do both graphs belong to one model? Are they swapped?",
        )
    return "moments" if any(word in tensor.name.lower() for word in _MOMENTS_NAMES) else "mu"


def _latent_of_encoder(
    graph: GraphFile,
    roles: Mapping[str, Role],
    latent: tuple[int | None, ...] | None,
) -> tuple[int | None, ...]:
    """The shape of the latents, from the encoder and the decoder together."""
    for tensor in graph.signature.outputs:
        row = _row(tensor)
        if roles.get(tensor.name) == "moments" and row and row[0] is not None:
            row = (row[0] // 2, *row[1:])
        if latent is not None and len(latent) != len(row):
            raise refuse(
                f"encoder: {tensor.name}",
                expected=f"latents of {len(latent)} axes, as the decoder takes them",
                got=f"shape {_shown(tensor.shape or ())}",
                remedy="Do both graphs belong to one model? Are they swapped?",
            )
        latent = row if latent is None else tuple(_merged(latent, row, "latents of both graphs"))
    assert latent is not None
    return latent


def _merged(known: Sequence[int | None], other: Sequence[int | None], what: str) -> list[int | None]:
    """Sizes that are stated in one place or in both alike."""
    for one, two in zip(known, other, strict=True):
        if one is not None and two is not None and one != two:
            raise refuse(
                what,
                expected=f"one shape, {_shown(known)}",
                got=_shown(other),
                remedy="Do both graphs belong to one model? Are they swapped?",
            )
    return [one if one is not None else two for one, two in zip(known, other, strict=True)]


def _spec(role: Graph, graph: GraphFile, roles: Mapping[str, Role]) -> GraphSpec:
    def tensor(each: TensorType) -> TensorSpec:
        meaning = roles[each.name]
        return TensorSpec(name=each.name, shape=_axes(each), role=None if meaning == each.name else meaning)

    signature = graph.signature
    return GraphSpec(
        file="encoder.onnx" if role == "encoder" else "decoder.onnx",
        opset=signature.opset,
        inputs=tuple(tensor(each) for each in signature.inputs),
        outputs=tuple(tensor(each) for each in signature.outputs),
    )


def _axes(tensor: TensorType) -> tuple[AxisSize, ...]:
    first, *others = tensor.shape or ()
    sizes: list[AxisSize] = ["batch" if first is None else first]
    sizes += ["open" if size is None else size for size in others]
    return tuple(sizes)


def _row(tensor: TensorType) -> tuple[int | None, ...]:
    return (tensor.shape or ())[1:]


def _shown(shape: Sequence[int | None]) -> str:
    return f"({', '.join('open' if size is None else str(size) for size in shape)})"
