"""Hostile graphs are refused by their bytes, before any runtime sees them, however they are encoded."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import OPSET, TinyModel, make_model

from model_store import GraphSpec, HostileGraph
from model_store.onnx_guard import RANDOM_OPERATORS, UNBOUNDED_OPERATORS, check_graph
from model_store.onnx_schema import TABLE
from model_store.protobuf import Budget, Kind, ProtobufError, parse


@pytest.fixture
def spec(tiny: TinyModel) -> GraphSpec:
    return tiny.draft().encoder


@pytest.fixture
def proto(tiny: TinyModel) -> onnx.ModelProto:
    """The honest encoder, to be changed."""
    return tiny.encoder_proto()


def refused(data: bytes | onnx.ModelProto, spec: GraphSpec, match: str) -> None:
    raw = data if isinstance(data, bytes) else data.SerializeToString()
    with pytest.raises(HostileGraph, match=match) as caught:
        check_graph(raw, spec, where="store/tiny/1/encoder.onnx")
    assert str(caught.value).startswith("store/tiny/1/encoder.onnx: expected ")
    assert len(str(caught.value)) < 1000


# --- the wire format, by hand ---------------------------------------------------------------------------


def varint(value: int, *, width: int = 0) -> bytes:
    """A varint, padded with empty groups to `width` bytes: unusual, and legal."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if value or len(out) + 1 < width:
            out.append(byte | 0x80)
        else:
            out.append(byte)
            return bytes(out)


def field(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


# --- what must pass -------------------------------------------------------------------------------------


def test_honest_graphs_pass(tiny: TinyModel) -> None:
    draft = tiny.draft()
    check_graph(tiny.encoder, draft.encoder, where="e")
    check_graph(tiny.decoder, draft.decoder, where="d")
    check_graph(tiny.decoder_of_nan, draft.decoder, where="d")
    onnx.checker.check_model(tiny.encoder_proto(), full_check=True)
    onnx.checker.check_model(tiny.decoder_proto(), full_check=True)


def test_numbers_unpacked_or_packed_and_padded_varints_pass_alike(
    proto: onnx.ModelProto, spec: GraphSpec
) -> None:
    tensor = numpy_helper.from_array(np.arange(3, dtype=np.int64), "numbers")
    unpacked = (
        field(1, 3) + field(2, TensorProto.INT64) + b"".join(field(7, n) for n in range(3)) + field(8, b"a")
    )
    packed = field(1, b"\x03") + field(2, TensorProto.INT64) + field(7, b"\x00\x01\x02") + field(8, b"b")
    padded = varint(1 << 3, width=4) + varint(3, width=9) + field(2, TensorProto.INT64) + field(8, b"c")
    body = proto.graph.SerializeToString() + b"".join(
        field(5, data) for data in (tensor.SerializeToString(), unpacked, packed, padded)
    )
    del proto.graph.node[:]
    check_graph(field(1, 10) + field(7, body) + field(8, field(2, OPSET)), spec, where="e")


def test_a_domain_written_out_is_the_default_domain(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    proto.opset_import[0].domain = "ai.onnx"
    proto.graph.node[0].domain = "ai.onnx"
    check_graph(proto.SerializeToString(), spec, where="e")


def test_a_branch_with_honest_content_passes(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    check_graph(
        with_subgraph(proto, helper.make_node("Neg", ["mu"], ["inner"])).SerializeToString(), spec, where="e"
    )


# --- what must not --------------------------------------------------------------------------------------


def external(tensor: onnx.TensorProto, location: str = "../../../etc/passwd") -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def with_subgraph(
    proto: onnx.ModelProto, *nodes: onnx.NodeProto, weights: Any = (), levels: int = 1
) -> onnx.ModelProto:
    """The same model with an If, `levels` deep, whose innermost branches hold `nodes`."""
    result = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "branch", [], [result], list(weights))
    for _ in range(levels - 1):
        nested = helper.make_node("If", ["condition"], ["inner"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([nested], "branch", [], [result])
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    proto.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=graph, else_branch=graph)
    )
    return proto


def test_external_data_is_refused_wherever_a_tensor_can_be(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    def tensor() -> onnx.TensorProto:
        return external(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1]))

    places: list[Callable[[onnx.ModelProto], object]] = [
        lambda model: external(model.graph.initializer[0]),
        lambda model: model.graph.initializer.append(tensor()),
        lambda model: model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor())),
        lambda model: model.graph.node[0].attribute.append(helper.make_attribute("many", [tensor()])),
        lambda model: with_subgraph(model, helper.make_node("Constant", [], ["inner"], value=tensor())),
        lambda model: with_subgraph(model, helper.make_node("Neg", ["w"], ["inner"]), weights=[tensor()]),
        lambda model: with_subgraph(
            model, helper.make_node("Neg", ["w"], ["inner"]), weights=[tensor()], levels=4
        ),
    ]
    for place in places:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        place(changed)
        refused(changed, spec, "external data")


@pytest.mark.parametrize("location", [1, 2, 2**32, 2**32 + 1, 2**63, 2**64 - 1])
def test_a_data_location_that_some_parser_could_read_as_external_is_refused(
    proto: onnx.ModelProto, spec: GraphSpec, location: int
) -> None:
    """Parsers cut an enum to 32 bits: 2**32 + 1 is EXTERNAL to them."""
    tensor = field(8, b"w") + field(14, location)
    graph = proto.graph.SerializeToString() + field(5, tensor)
    refused(field(7, graph) + field(8, field(2, OPSET)), spec, "external data")


@pytest.mark.parametrize("operator", sorted(RANDOM_OPERATORS))
@pytest.mark.parametrize("levels", [0, 1, 4])
def test_random_operators_are_refused_in_the_graph_and_below(
    proto: onnx.ModelProto, spec: GraphSpec, operator: str, levels: int
) -> None:
    node = helper.make_node(operator, ["mu"], ["inner"])
    if levels:
        with_subgraph(proto, node, levels=levels)
    else:
        proto.graph.node.append(node)
    refused(proto, spec, f"no randomness.*{operator}")


def test_every_operator_that_onnx_calls_random_is_known_here() -> None:
    """A later ONNX with another random operator fails this test, and not the users' seeds."""
    doubtful = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == ""
        and schema.node_determinism == onnx.defs.OpSchema.NodeDeterminism.NonDeterministic
    }
    assert doubtful >= RANDOM_OPERATORS
    # The rest holds a subgraph and is as random as its content, or is told apart by an input.
    assert doubtful - RANDOM_OPERATORS <= {"If", "Loop", "Scan", "SequenceMap", "Dropout", "AffineGrid"}


def test_dropout_passes_at_rest_and_is_refused_in_training(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    proto.graph.node.append(helper.make_node("Dropout", ["mu", ""], ["d"]))
    check_graph(proto.SerializeToString(), spec, where="e")
    proto.graph.node.append(helper.make_node("Dropout", ["mu", "", "training"], ["d2"]))
    refused(proto, spec, "Dropout with a training_mode")


def test_a_batch_norm_in_training_mode_is_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    node = helper.make_node("BatchNormalization", list("abcde"), ["n"], training_mode=1)
    proto.graph.node.append(node)
    refused(proto, spec, "rest of the batch.*BatchNormalization")
    node.attribute[0].i = 0
    del proto.graph.node[-1]
    proto.graph.node.append(node)
    check_graph(proto.SerializeToString(), spec, where="e")


@pytest.mark.parametrize("operator", sorted(UNBOUNDED_OPERATORS))
def test_unbounded_loops_are_refused(proto: onnx.ModelProto, spec: GraphSpec, operator: str) -> None:
    proto.graph.node.append(helper.make_node(operator, ["n", "c"], ["out"]))
    refused(proto, spec, "no unbounded loop")


@pytest.mark.parametrize(
    "domain", ["com.microsoft", "ai.onnx.ml", "ai.onnx.preview.training", "evil", " ", "ai.onnx "]
)
def test_operators_of_other_domains_are_refused(proto: onnx.ModelProto, spec: GraphSpec, domain: str) -> None:
    proto.graph.node.append(helper.make_node("Gelu", ["mu"], ["g"], domain=domain))
    refused(proto, spec, "domain 'ai.onnx' only")
    del proto.graph.node[-1]
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    refused(proto, spec, "and no other")


def test_a_foreign_operator_in_a_branch_of_a_branch_is_refused(
    proto: onnx.ModelProto, spec: GraphSpec
) -> None:
    node = helper.make_node("Anything", ["mu"], ["inner"], domain="com.microsoft")
    refused(with_subgraph(proto, node, levels=3), spec, "'Anything' of 'com.microsoft'")


def test_functions_training_graphs_sparse_tensors_and_placement_are_refused(
    proto: onnx.ModelProto, spec: GraphSpec
) -> None:
    function = helper.make_function("local", "f", ["a"], ["b"], [], [helper.make_opsetid("", OPSET)])
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "v"),
        numpy_helper.from_array(np.zeros(1, np.int64)),
        [2**40],
    )
    attacks: list[tuple[Callable[[onnx.ModelProto], object], str]] = [
        (lambda model: model.functions.append(function), "functions are refused"),
        (lambda model: model.training_info.add(), "training graphs"),
        (lambda model: model.graph.sparse_initializer.append(sparse), "sparse"),
        (
            lambda model: model.graph.node.append(
                helper.make_node("Constant", [], ["s"], sparse_value=sparse)
            ),
            "sparse",
        ),
        (lambda model: model.configuration.add(name="gpu", num_devices=1), "device placement"),
        (
            lambda model: model.graph.initializer[0].segment.MergeFrom(TensorProto.Segment(begin=0, end=1)),
            "pieces",
        ),
        (lambda model: setattr(model.graph.node[0], "overload", "x"), "functions"),
        (lambda model: model.metadata_props.add(key="ort_config", value="{}"), "runtime settings"),
        (
            lambda model: setattr(model.graph.node[1].attribute.add(name="alpha"), "ref_attr_name", "a"),
            "functions",
        ),
    ]
    for change, reason in attacks:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        change(changed)
        refused(changed, spec, reason)


def test_inputs_and_outputs_other_than_the_manifests_are_refused(tiny: TinyModel, spec: GraphSpec) -> None:
    image, latent = ("batch", 1, 4, 4), ("batch", 2)
    honest = {"x": image}, {"mu": latent, "logvar": latent}
    for inputs, outputs, reason in (
        ({"y": image}, honest[1], r"graph inputs \['x'\]"),
        ({"x": image, "extra": image}, honest[1], "graph inputs"),
        ({}, honest[1], "graph inputs"),
        (honest[0], {"mu": latent}, "graph outputs"),
        (honest[0], {**honest[1], "x": image}, "graph outputs"),
        (
            {"x": ("batch", 1, 4, 5)},
            honest[1],
            r"input 'x' as float32 \(batch, 1, 4, 4\), got .*\(open, 1, 4, 5\)",
        ),
        ({"x": ("batch", 16)}, honest[1], "input 'x'"),
        ({"x": (1, 1, 4, 4)}, honest[1], "input 'x'"),
        ({"x": ("batch", 1, "h", "w")}, honest[1], "input 'x'"),
        (honest[0], {"mu": latent, "logvar": ("batch", 3)}, "output 'logvar'"),
    ):
        refused(make_model([], inputs, outputs, {}), spec, reason)
    check_graph(make_model([], *honest, {}).SerializeToString(), spec, where="e")


def test_a_type_other_than_float32_or_no_type_is_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    for element in (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64, 0):
        proto.graph.input[0].type.tensor_type.elem_type = element
        refused(proto, spec, "input 'x'")
    proto.graph.input[0].ClearField("type")
    refused(proto, spec, "no tensor type")
    proto.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    refused(proto, spec, "no tensor type")


def test_a_weight_that_replaces_an_input_is_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    """An initializer of an input's name makes the input optional: the model would ignore the image."""
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 4, 4), np.float32), "x"))
    refused(proto, spec, "initializer of that name")


@pytest.mark.parametrize("versions", [[], [19], [21], [OPSET, OPSET], [0]])
def test_another_opset_than_the_manifests_is_refused(
    proto: onnx.ModelProto, spec: GraphSpec, versions: list[int]
) -> None:
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid("", version) for version in versions)
    refused(proto, spec, "opset 20")


# --- unusual encodings ----------------------------------------------------------------------------------


def test_messages_that_a_parser_would_merge_are_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    """Two `graph` fields merge into one: a checker that reads only one of them is fooled."""
    honest = proto.SerializeToString()
    evil = field(1, helper.make_node("RandomNormal", [], ["r"], shape=[1]).SerializeToString())
    merged = onnx.ModelProto.FromString(honest + field(7, evil))
    assert merged.graph.node[-1].op_type == "RandomNormal"
    for data in (honest + field(7, evil), field(7, evil) + honest, honest + field(7, b"")):
        refused(data, spec, r"ModelProto\.graph is given twice")


@pytest.mark.parametrize("order", [(b"RandomNormal", b"Neg"), (b"Neg", b"RandomNormal")])
def test_a_string_given_twice_is_refused_whichever_would_win(
    proto: onnx.ModelProto, spec: GraphSpec, order: tuple[bytes, bytes]
) -> None:
    node = field(2, b"out") + b"".join(field(4, name) for name in order)
    graph = proto.graph.SerializeToString() + field(1, node)
    refused(field(7, graph) + field(8, field(2, OPSET)), spec, r"NodeProto\.op_type is given twice")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "opset"),
        (b"\x00\x00", "field 0"),
        (b"\x08", "does not end"),
        (b"\x08" + b"\xff" * 10, "does not end"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "above 64 bits"),
        (b"\x80" * 20, "does not end"),
        (b"\x3a\xff\xff\xff\xff\x0f", "are left"),
        (b"\x3a\x05\x00", "are left"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x3c", "wire type 4"),
        (b"\x3e", "wire type 6"),
        (b"\x3f", "wire type 7"),
        (b"\x38\x01", "wire type 0, not 2"),
        (b"\x0a\x01\x01", "wire type 2, not 0"),
        (b"\x0d\x01\x01\x01\x01", "wire type 5, not 0"),
        (b"\x12\x02\xc3\x28", "not UTF-8"),
        (b"\x98\x06\x01", "field 99"),
        (b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", "not part of the contract"),
        (b"\x7fELF" + b"\0" * 64, "wire type 7"),
        (b"PK\x03\x04" + b"\0" * 64, "not part of the contract"),
        (b"\x80\x04\x95\x10.", "not part of the contract"),
    ],
)
def test_malformed_bytes_are_refused(spec: GraphSpec, data: bytes, reason: str) -> None:
    refused(data, spec, reason)


def test_depth_is_bounded_and_no_recursion_error_escapes(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    graph = b""
    for _ in range(2_000):
        graph = field(1, field(5, field(6, graph)))
    refused(field(7, graph), spec, "deeper than 40")
    types = b""
    for _ in range(200):
        types = field(4, field(1, types))
    refused(field(7, field(11, field(2, types))), spec, "deeper than 40")


def test_time_is_bounded_by_a_count_of_fields(spec: GraphSpec) -> None:
    many = field(7, field(5, field(4, b"") * 5_000_000))
    started = time.monotonic()
    refused(many, spec, "more fields than any published graph")
    assert time.monotonic() - started < 10.0


def test_the_budget_counts_fields_and_levels_exactly() -> None:
    data = field(8, field(2, 20)) * 3
    parse(data, "ModelProto", TABLE, Budget(fields=6, depth=1))
    with pytest.raises(ProtobufError, match="more fields"):
        parse(data, "ModelProto", TABLE, Budget(fields=5, depth=1))
    with pytest.raises(ProtobufError, match="deeper"):
        parse(data, "ModelProto", TABLE, Budget(fields=6, depth=0))


def test_damaged_graphs_never_raise_anything_but_a_refusal(tiny: TinyModel, spec: GraphSpec) -> None:
    data = tiny.encoder
    rng = random.Random(0)
    refusals = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 4))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        raw = bytes(damaged[: rng.randrange(len(damaged))]) if rng.random() < 0.3 else bytes(damaged)
        try:
            check_graph(raw, spec, where="e")
        except HostileGraph:
            refusals += 1
    # The rest hit weights or names: that is what digests are for.
    assert refusals > 300


# --- the table ------------------------------------------------------------------------------------------


def test_the_table_agrees_with_the_descriptors_of_the_onnx_package() -> None:
    """Names, numbers, repetition and wire types, against the schema that ONNX itself compiles."""
    descriptors: dict[str, Any] = {}

    def walk(descriptor: Any) -> None:
        name = descriptor.full_name.removeprefix("onnx.")
        if name not in descriptors:
            descriptors[name] = descriptor
            for item in descriptor.fields:
                if item.message_type:
                    walk(item.message_type)

    walk(onnx.ModelProto.DESCRIPTOR)
    numbers = {
        1: Kind.FIXED64,
        2: Kind.FIXED32,
        3: Kind.VARINT,
        4: Kind.VARINT,
        5: Kind.VARINT,
        14: Kind.VARINT,
    }
    kinds = numbers | {9: Kind.STRING, 11: Kind.MESSAGE, 12: Kind.BYTES}
    for message, rows in TABLE.items():
        for number, rule in rows.items():
            truth = descriptors[message].fields_by_number[number]
            assert truth.name == rule.name, message
            if rule.refused:
                continue
            assert kinds[truth.type] is rule.kind, (message, rule.name)
            assert truth.is_repeated == rule.repeated, (message, rule.name)
            if rule.kind is Kind.MESSAGE:
                assert truth.message_type.full_name == f"onnx.{rule.message}"
                assert rule.message in TABLE


def test_parsing_agrees_with_protobuf_itself(tiny: TinyModel) -> None:
    """An independent reading of the same bytes: node by node, weight by weight."""
    for data in (tiny.encoder, tiny.decoder):
        theirs, ours = onnx.ModelProto.FromString(data), parse(data, "ModelProto", TABLE)
        graph = ours.messages("graph")[0]
        assert ours.integer("ir_version") == theirs.ir_version
        assert [node.text("op_type") for node in graph.messages("node")] == [
            n.op_type for n in theirs.graph.node
        ]
        assert [node.texts("input") for node in graph.messages("node")] == [
            list(n.input) for n in theirs.graph.node
        ]
        raw = [bytes(tensor.values["raw_data"][0]) for tensor in graph.messages("initializer")]
        assert raw == [tensor.raw_data for tensor in theirs.graph.initializer]
