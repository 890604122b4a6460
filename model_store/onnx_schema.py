"""The ONNX messages and fields that a published graph may use: a table for the parser.

Knows the numbers of onnx.proto (IR version 10 and its neighbours). Knows nothing of rules about values: those
are in `onnx_guard.py`. A field outside this table is rejected, so that no unforeseen feature is accepted:
external data, functions, sparse tensors, training graphs, device placement. A test compares every row with
the descriptors of the `onnx` package.
"""

from __future__ import annotations

from model_store.protobuf import Field, Kind


def _number(name: str, kind: Kind = Kind.VARINT) -> Field:
    return Field(name, kind)


def _numbers(name: str, kind: Kind = Kind.VARINT) -> Field:
    return Field(name, kind, repeated=True)


def _text(name: str) -> Field:
    return Field(name, Kind.STRING)


def _texts(name: str) -> Field:
    return Field(name, Kind.STRING, repeated=True)


def _one(name: str, message: str) -> Field:
    return Field(name, Kind.MESSAGE, message=message)


def _many(name: str, message: str) -> Field:
    return Field(name, Kind.MESSAGE, repeated=True, message=message)


def _refused(name: str, reason: str) -> Field:
    return Field(name, Kind.BYTES, refused=reason)


_ENTRY = "StringStringEntryProto"
_SPARSE = "sparse tensors are refused: their dense size is not in the file"
_FUNCTION = "model-local functions are refused: inline them (calls of calls grow without bound)"

TABLE: dict[str, dict[int, Field]] = {
    "ModelProto": {
        1: _number("ir_version"),
        2: _text("producer_name"),
        3: _text("producer_version"),
        4: _text("domain"),
        5: _number("model_version"),
        6: _text("doc_string"),
        7: _one("graph", "GraphProto"),
        8: _many("opset_import", "OperatorSetIdProto"),
        14: _many("metadata_props", _ENTRY),
        20: _refused("training_info", "training graphs are refused"),
        25: _refused("functions", _FUNCTION),
        26: _refused("configuration", "device placement is the runtime's business"),
    },
    "OperatorSetIdProto": {1: _text("domain"), 2: _number("version")},
    "StringStringEntryProto": {1: _text("key"), 2: _text("value")},
    "GraphProto": {
        1: _many("node", "NodeProto"),
        2: _text("name"),
        5: _many("initializer", "TensorProto"),
        10: _text("doc_string"),
        11: _many("input", "ValueInfoProto"),
        12: _many("output", "ValueInfoProto"),
        13: _many("value_info", "ValueInfoProto"),
        15: _refused("sparse_initializer", _SPARSE),
        16: _many("metadata_props", _ENTRY),
    },
    "NodeProto": {
        1: _texts("input"),
        2: _texts("output"),
        3: _text("name"),
        4: _text("op_type"),
        5: _many("attribute", "AttributeProto"),
        6: _text("doc_string"),
        7: _text("domain"),
        8: _refused("overload", _FUNCTION),
        9: _many("metadata_props", _ENTRY),
        10: _refused("device_configurations", "device placement is the runtime's business"),
    },
    "AttributeProto": {
        1: _text("name"),
        2: _number("f", Kind.FIXED32),
        3: _number("i"),
        4: Field("s", Kind.BYTES),
        5: _one("t", "TensorProto"),
        6: _one("g", "GraphProto"),
        7: _numbers("floats", Kind.FIXED32),
        8: _numbers("ints"),
        9: Field("strings", Kind.BYTES, repeated=True),
        10: _many("tensors", "TensorProto"),
        11: _many("graphs", "GraphProto"),
        13: _text("doc_string"),
        14: _one("tp", "TypeProto"),
        15: _many("type_protos", "TypeProto"),
        20: _number("type"),
        21: _refused("ref_attr_name", _FUNCTION),
        22: _refused("sparse_tensor", _SPARSE),
        23: _refused("sparse_tensors", _SPARSE),
    },
    "TensorProto": {
        1: _numbers("dims"),
        2: _number("data_type"),
        3: _refused("segment", "tensors in pieces are refused"),
        4: _numbers("float_data", Kind.FIXED32),
        5: _numbers("int32_data"),
        6: Field("string_data", Kind.BYTES, repeated=True),
        7: _numbers("int64_data"),
        8: _text("name"),
        9: Field("raw_data", Kind.BYTES),
        10: _numbers("double_data", Kind.FIXED64),
        11: _numbers("uint64_data"),
        12: _text("doc_string"),
        13: _refused("external_data", "external data is refused: a graph carries its own weights"),
        14: _number("data_location"),
        16: _many("metadata_props", _ENTRY),
    },
    "ValueInfoProto": {
        1: _text("name"),
        2: _one("type", "TypeProto"),
        3: _text("doc_string"),
        4: _many("metadata_props", _ENTRY),
    },
    "TypeProto": {
        1: _one("tensor_type", "TypeProto.Tensor"),
        4: _one("sequence_type", "TypeProto.Sequence"),
        6: _text("denotation"),
        9: _one("optional_type", "TypeProto.Optional"),
    },
    "TypeProto.Tensor": {1: _number("elem_type"), 2: _one("shape", "TensorShapeProto")},
    "TypeProto.Sequence": {1: _one("elem_type", "TypeProto")},
    "TypeProto.Optional": {1: _one("elem_type", "TypeProto")},
    "TensorShapeProto": {1: _many("dim", "TensorShapeProto.Dimension")},
    "TensorShapeProto.Dimension": {
        1: _number("dim_value"),
        2: _text("dim_param"),
        3: _text("denotation"),
    },
}
