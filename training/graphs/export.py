"""From a model in torch to two ONNX files: `x → mu, logvar` and `z → x_hat`.

Knows torch's exporter and the ONNX format. Knows nothing of runs, stores or runtimes:
`training.graphs.parity` checks that a runtime computes the same with these files.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from model_store.onnx_guard import RANDOM_OPERATORS
from training.errors import ExportError
from training.models import LatentImageModel

#: torch 2.13's own default; onnxruntime rejects the graphs of opset 17.
OPSET = 20
#: The exporter colours words of its messages for a terminal.
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
#: Two or more: the exporter turns an example batch of one into a constant of the graph.
_EXAMPLE_BATCH = 2


@dataclass(frozen=True)
class Graphs:
    """The two files of a model."""

    encoder: bytes
    decoder: bytes
    opset: int = OPSET


class _Encoder(nn.Module):
    """x → (mu, logvar): the posterior, without its noise."""

    def __init__(self, model: LatentImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, x: Float[Tensor, "batch channel height width"]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        posterior, shape = self.model.encode(x), (-1, *self.model.latent_shape)
        return posterior.mu.reshape(shape), posterior.logvar.reshape(shape)


class _Decoder(nn.Module):
    """z → x_hat: the mean of the likelihood."""

    def __init__(self, model: LatentImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch channel height width"]:
        return self.model.decode(z.flatten(start_dim=1))


def export_graphs(model: LatentImageModel) -> Graphs:
    """Export both halves in float32 with a dynamic batch axis, and check them as files.

    Latents have the model's `latent_shape`. Equal weights yield equal bytes: names, stack traces and paths
    that the exporter leaves in the files are removed.

    Args:
        model: On the CPU, float32; exported as in evaluation mode.

    Returns:
        Self-contained ONNX files.

    Raises:
        ExportError: The exporter fails, or produces a file that is invalid, random or not of `OPSET`.
    """
    unsuitable = sorted(
        {
            f"{t.dtype} on {t.device}"
            for t in model.parameters()
            if t.dtype != torch.float32 or t.device.type != "cpu"
        }
    )
    if unsuitable:
        raise ExportError(
            f"export: expected float32 weights on the CPU, got {', '.join(unsuitable)}. Move the model first."
        )
    x = torch.zeros(_EXAMPLE_BATCH, *model.image_shape)
    z = torch.zeros(_EXAMPLE_BATCH, *model.latent_shape)
    return Graphs(
        encoder=export_graph("encoder", _Encoder(model), x, inputs=["x"], outputs=["mu", "logvar"]),
        decoder=export_graph("decoder", _Decoder(model), z, inputs=["z"], outputs=["x_hat"]),
    )


def export_graph(
    role: str,
    module: nn.Module,
    example: Tensor,
    *,
    inputs: list[str],
    outputs: list[str],
    dynamic: Mapping[int, Any] | None = None,
) -> bytes:
    """One module as a self-contained ONNX file with a dynamic batch axis, checked.

    Args:
        role: Name of the graph, for messages.
        module: On the CPU, float32; exported as in evaluation mode.
        example: Its input, a batch of two or more.
        inputs: Name of the input.
        outputs: Names of the outputs.
        dynamic: `torch.export.Dim` of each dynamic axis; None: only the batch is dynamic.

    Raises:
        ExportError: The exporter fails, or produces a file that is invalid, random or not of `OPSET`.
    """
    axes = {0: torch.export.Dim("batch")} if dynamic is None else dict(dynamic)
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=(axes,),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        assert program is not None  # dynamo=True always returns the program
        graph = program.model_proto
    except Exception as error:  # the exporter raises exceptions of many kinds, from its many passes
        raise ExportError(
            f"{role}: torch {torch.__version__} could not export it to ONNX opset {OPSET} with onnx "
            f"{onnx.__version__}: {type(error).__name__}: {_first_line(error)}. Install the versions of the "
            "constraints file, or simplify the named layer."
        ) from error
    _strip(graph)
    del graph.graph.value_info[:]
    _check(role, graph)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence exactly two remarks of the exporter, which no user can act on."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed", four times; nothing here needs it
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own deprecated LeafSpec while exporting.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def _strip(message: Any) -> None:
    """Clear every doc_string and metadata_props in the file: torch leaves source paths in them."""
    for field, value in list(message.ListFields()):
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for child in value if isinstance(value, Sequence) else (value,):
                _strip(child)


def _check(role: str, graph: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:
        raise ExportError(
            f"{role}: expected a valid ONNX file, but onnx {onnx.__version__} objects: {_first_line(error)}. "
            "Install the versions of the constraints file."
        ) from error
    versions = {entry.domain or "ai.onnx": entry.version for entry in graph.opset_import}
    if versions != {"ai.onnx": OPSET}:
        raise ExportError(
            f"{role}: expected only opset {OPSET} of ai.onnx, got {versions}. Install the versions of the "
            "constraints file."
        )
    random = sorted({node.op_type for node in _nodes(graph.graph)} & RANDOM_OPERATORS)
    if random:
        raise ExportError(
            f"{role}: expected a graph without randomness, got {', '.join(random)}. Noise is drawn "
            "outside the graph: draw it in training only."
        )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, including those of nested graphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs):
                yield from _nodes(nested)


def _first_line(error: BaseException) -> str:
    text = _COLOURS.sub("", str(error)).strip()
    return (text.splitlines() or [""])[0][:300]
