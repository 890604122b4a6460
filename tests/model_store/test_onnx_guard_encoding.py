"""Hostile bytes are refused however they are encoded, and honest ones are read as ONNX itself reads them."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import onnx
import pytest
from hostile_graphs import field, refused, varint
from onnx import TensorProto, helper, numpy_helper
from patience import slowness
from tiny_models import OPSET, TinyModel

from model_store import GraphSpec, HostileGraph
from model_store.onnx_guard import check_graph
from model_store.onnx_schema import TABLE
from model_store.protobuf import Budget, Kind, ProtobufError, parse

pytestmark = pytest.mark.hazard_row("hostile-graph")

# --- unusual encodings ----------------------------------------------------------------------------------


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


def test_messages_that_a_parser_would_merge_are_refused(proto: onnx.ModelProto, spec: GraphSpec) -> None:
    """Two `graph` fields merge into one: a checker that reads only one of them is fooled."""
    honest = proto.SerializeToString()
    evil = field(1, helper.make_node("RandomNormal", [], ["r"], shape=[1]).SerializeToString())
    merged = onnx.ModelProto.FromString(honest + field(7, evil))
    assert merged.graph.node[-1].op_type == "RandomNormal"
    for data in (honest + field(7, evil), field(7, evil) + honest, honest + field(7, b"")):
        refused(data, spec, r"ModelProto\.graph appears twice")


@pytest.mark.parametrize("order", [(b"RandomNormal", b"Neg"), (b"Neg", b"RandomNormal")])
def test_a_string_given_twice_is_refused_whichever_would_win(
    proto: onnx.ModelProto, spec: GraphSpec, order: tuple[bytes, bytes]
) -> None:
    node = field(2, b"out") + b"".join(field(4, name) for name in order)
    graph = proto.graph.SerializeToString() + field(1, node)
    refused(field(7, graph) + field(8, field(2, OPSET)), spec, r"NodeProto\.op_type appears twice")


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
    started = time.thread_time()
    refused(many, spec, "more fields than any published graph")
    assert time.thread_time() - started < 10.0 * slowness()


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
