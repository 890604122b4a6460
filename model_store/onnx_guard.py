"""Check an ONNX file before any runtime sees it: it may only compute its outputs from its inputs.

Knows the graph's structure and the manifest's description of it. Knows no runtime and runs nothing. It
rejects weights outside the file, operators of foreign domains, randomness, unbounded loops, outputs that
depend on the rest of the batch, and inputs, outputs, shapes or an opset that differ from the manifest's.
Subgraphs are checked like the graph itself. It cannot estimate the memory and time of ordinary operators: a
published model is still code, and its publisher is trusted with that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_store.errors import HostileGraph, defect, quoted
from model_store.onnx_schema import TABLE
from model_store.protobuf import Message, ProtobufError, parse
from model_store.tensor_spec import GraphSpec, TensorSpec

#: The operators of the ONNX standard; both spellings mean the same domain.
DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})
#: Noise belongs to the server, which draws it from a seed, row by row.
RANDOM_OPERATORS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
#: A trip count of 2**63 is legal ONNX; `Scan` ends with its input and `If` runs once.
UNBOUNDED_OPERATORS = frozenset({"Loop"})
#: onnxruntime reads session settings from this key if an environment variable allows it.
RUNTIME_SETTINGS_KEY = "ort_config"

_FLOAT = 1
_REMEDY = (
    "Do not load this file. Export the model again (torch.onnx.export with external_data=False, "
    "noise drawn outside the graph) and publish it."
)


@dataclass(frozen=True)
class TensorType:
    """An input or output as a graph states it."""

    name: str
    is_float32: bool
    shape: tuple[int | None, ...] | None
    """None for an axis of any size; None for a tensor without a shape."""


@dataclass(frozen=True)
class Signature:
    """What a graph states about itself."""

    inputs: tuple[TensorType, ...]
    """Without weights that an older exporter lists among the inputs."""
    outputs: tuple[TensorType, ...]
    opset: int
    producer: str


def check_content(data: bytes, *, where: str) -> None:
    """Reject `data` unless it is a self-contained, deterministic graph, whatever its inputs and outputs.

    Raises:
        HostileGraph: Names the file, the expected and the actual content.
    """
    model = _parsed(data, where)
    if not model.has("graph"):
        raise HostileGraph(defect(where, expected="a graph", got="none", remedy=_REMEDY))
    for expected, got in _graph_objections(model.messages("graph")[0]):
        raise HostileGraph(defect(where, expected=expected, got=got, remedy=_REMEDY))


def signature_of(data: bytes, *, where: str) -> Signature:
    """Inputs, outputs, opset and exporter of a graph.

    Raises:
        HostileGraph: `data` is no such file, or its operators belong to other domains.
    """
    model = _parsed(data, where)
    graph = model.messages("graph")[0]
    weights = {tensor.text("name") for tensor in graph.messages("initializer")}
    opsets = [
        entry.integer("version")
        for entry in model.messages("opset_import")
        if entry.text("domain") in DEFAULT_DOMAINS
    ]
    if len(opsets) != 1 or len(model.messages("opset_import")) != 1:
        got = quoted([entry.text("domain") for entry in model.messages("opset_import")][:10])
        raise HostileGraph(
            defect(where, expected="operators of the domain 'ai.onnx' only", got=got, remedy=_REMEDY)
        )
    producer = " ".join(filter(None, (model.text("producer_name"), model.text("producer_version"))))
    return Signature(
        tuple(_stated(value) for value in graph.messages("input") if value.text("name") not in weights),
        tuple(_stated(value) for value in graph.messages("output")),
        opsets[0],
        producer or "not stated",
    )


def _stated(value: Message) -> TensorType:
    found = _tensor_type(value)
    if found is None:
        return TensorType(value.text("name"), is_float32=False, shape=None)
    elem_type, dims = found
    shape = tuple(None if isinstance(dim, str) else dim for dim in dims)
    return TensorType(value.text("name"), elem_type == _FLOAT, shape)


def _parsed(data: bytes, where: str) -> Message:
    try:
        return parse(data, "ModelProto", TABLE)
    except ProtobufError as error:
        raise HostileGraph(
            defect(where, expected="a self-contained ONNX graph", got=str(error), remedy=_REMEDY)
        ) from error


def check_graph(data: bytes, spec: GraphSpec, *, where: str) -> None:
    """Reject `data` unless it is a self-contained, deterministic graph with the signature of `spec`.

    Args:
        data: The bytes of an ONNX file.
        spec: The manifest's description of that file.
        where: Path for the message.

    Raises:
        HostileGraph: Names the file, the expected and the actual content.
    """
    model = _parsed(data, where)
    for expected, got in _objections(model, spec):
        raise HostileGraph(defect(where, expected=expected, got=got, remedy=_REMEDY))


def _objections(model: Message, spec: GraphSpec) -> Iterator[tuple[str, str]]:
    """(expected, got) for each broken rule."""
    imports = [(entry.text("domain"), entry.integer("version")) for entry in model.messages("opset_import")]
    if len(imports) != 1 or imports[0][0] not in DEFAULT_DOMAINS or imports[0][1] != spec.opset:
        yield f"opset {spec.opset} of the domain 'ai.onnx' and no other", quoted(imports[:10])
    if any(entry.text("key") == RUNTIME_SETTINGS_KEY for entry in model.messages("metadata_props")):
        yield "no runtime settings in the model", f"metadata key {RUNTIME_SETTINGS_KEY!r}"
    if not model.has("graph"):
        yield "a graph", "none"
        return
    graph = model.messages("graph")[0]
    yield from _graph_objections(graph)
    yield from _signature_objections(graph, spec)


def _graph_objections(graph: Message) -> Iterator[tuple[str, str]]:
    for tensor in graph.messages("initializer"):
        yield from _tensor_objections(tensor)
    for node in graph.messages("node"):
        yield from _node_objections(node)


def _node_objections(node: Message) -> Iterator[tuple[str, str]]:
    operator, domain = node.text("op_type"), node.text("domain")
    if domain not in DEFAULT_DOMAINS:
        yield "operators of the domain 'ai.onnx' only", f"{quoted(operator)} of {quoted(domain)}"
    if operator in RANDOM_OPERATORS:
        yield "no randomness inside the graph", f"the operator {operator}"
    if operator in UNBOUNDED_OPERATORS:
        yield "no unbounded loop", f"the operator {operator}"
    # Since opset 12 the third input of Dropout is `training_mode`; "" means that it is left out.
    if operator == "Dropout" and any(node.texts("input")[2:]):
        yield "no randomness inside the graph", "Dropout with a training_mode input"
    for attribute in node.messages("attribute"):
        if attribute.text("name") == "training_mode" and attribute.integer("i") != 0:
            yield (
                "outputs that do not depend on the rest of the batch",
                f"{quoted(operator)} in training mode",
            )
        for tensor in (*attribute.messages("t"), *attribute.messages("tensors")):
            yield from _tensor_objections(tensor)
        for subgraph in (*attribute.messages("g"), *attribute.messages("graphs")):
            yield from _graph_objections(subgraph)


def _tensor_objections(tensor: Message) -> Iterator[tuple[str, str]]:
    # Any value except 0: parsers truncate to 32 bits, so 2**32 + 1 would be EXTERNAL to some of them.
    if tensor.integer("data_location") != 0:
        yield "weights inside the file", f"tensor {quoted(tensor.text('name'))} with external data"


def _signature_objections(graph: Message, spec: GraphSpec) -> Iterator[tuple[str, str]]:
    weights = {tensor.text("name") for tensor in graph.messages("initializer")}
    for side, wanted in (("input", spec.inputs), ("output", spec.outputs)):
        found = graph.messages(side)
        names = [value.text("name") for value in found]
        expected_names = sorted(tensor.name for tensor in wanted)
        if sorted(names) != expected_names:
            yield f"the graph {side}s {expected_names}", quoted(names[:10])
            continue
        for value in found:
            tensor = next(tensor for tensor in wanted if tensor.name == value.text("name"))
            if tensor.name in weights:
                yield f"{side} {tensor.name!r} to be computed", "an initializer of that name"
            if not _type_fits(value, tensor):
                yield f"{side} {tensor.name!r} as {_described(tensor)}", _shown_type(value)


def _described(tensor: TensorSpec) -> str:
    return f"{tensor.dtype} ({', '.join(map(str, tensor.shape))})"


def _type_fits(value: Message, tensor: TensorSpec) -> bool:
    stated = _tensor_type(value)
    if stated is None:
        return False
    elem_type, dims = stated
    return elem_type == _FLOAT and dims == ["batch" if size == "open" else size for size in tensor.shape]


def _tensor_type(value: Message) -> tuple[int, list[int | str]] | None:
    """(element type, dimensions); a dimension is its size, or "batch" if it is dynamic."""
    for type_proto in value.messages("type"):
        for tensor_type in type_proto.messages("tensor_type"):
            for shape in tensor_type.messages("shape"):
                dims: list[int | str] = [
                    dim.integer("dim_value") if dim.has("dim_value") else "batch"
                    for dim in shape.messages("dim")
                ]
                # Parsers differ on a dimension with both a size and a name.
                both = any(dim.has("dim_value") and dim.has("dim_param") for dim in shape.messages("dim"))
                others = set(type_proto.values) - {"tensor_type", "denotation"}
                return None if both or others else (tensor_type.integer("elem_type"), dims)
    return None


def _shown_type(value: Message) -> str:
    stated = _tensor_type(value)
    if stated is None:
        return "no tensor type with a shape"
    elem_type, dims = stated
    shown = ", ".join("open" if dim == "batch" else str(dim) for dim in dims[:16])
    return f"element type {elem_type} ({shown})"
