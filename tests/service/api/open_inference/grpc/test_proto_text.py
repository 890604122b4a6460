"""The reader of `.proto` text: what protoc makes of the same text, for the parts of proto3 that we use."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from service.api.open_inference.grpc.proto_text import ProtoError, parse_proto

TEXT = """
// A comment with words = 1;
syntax = "proto3";
package a.b;

enum Colour { RED = 0; BLUE = 2; }

message Outer {
  message Inner { bytes data = 1; }   // nested
  enum Kind { NONE = 0; }
  repeated Inner inner = 1;
  map<string, Inner> by_name = 2;
  Colour colour = 3;
  Kind kind = 4;
  oneof choice {
    int64 number = 5;
    Other other = 6;
  }
}

message Other { repeated float floats = 1; }

service Talk {
  rpc Ask(Outer) returns (Other);
  rpc Chat(stream Outer) returns (stream Other);
}
"""


def fields_of(file: FileDescriptorProto) -> dict[str, tuple[int, str, str]]:
    label = FieldDescriptorProto.Label.Name
    kind = FieldDescriptorProto.Type.Name
    return {
        f"{message.name}.{field.name}": (
            field.number,
            label(field.label).removeprefix("LABEL_").lower(),
            field.type_name or kind(field.type).removeprefix("TYPE_").lower(),
        )
        for message in file.message_type
        for field in message.field
    }


def test_messages_maps_oneofs_enums_and_services_are_read() -> None:
    file = parse_proto(TEXT, name="a.proto")
    assert (file.name, file.package, file.syntax) == ("a.proto", "a.b", "proto3")
    assert fields_of(file) == {
        "Outer.inner": (1, "repeated", ".a.b.Outer.Inner"),
        "Outer.by_name": (2, "repeated", ".a.b.Outer.ByNameEntry"),
        "Outer.colour": (3, "optional", ".a.b.Colour"),
        "Outer.kind": (4, "optional", ".a.b.Outer.Kind"),
        "Outer.number": (5, "optional", "int64"),
        "Outer.other": (6, "optional", ".a.b.Other"),
        "Other.floats": (1, "repeated", "float"),
    }
    outer = file.message_type[0]
    kinds = {field.name: FieldDescriptorProto.Type.Name(field.type) for field in outer.field}
    assert kinds["inner"] == kinds["by_name"] == kinds["other"] == "TYPE_MESSAGE"
    assert kinds["colour"] == kinds["kind"] == "TYPE_ENUM"
    assert [each.name for each in outer.oneof_decl] == ["choice"]
    assert {field.name for field in outer.field if field.HasField("oneof_index")} == {"number", "other"}
    (entry,) = [nested for nested in outer.nested_type if nested.options.map_entry]
    assert [(field.name, field.number, field.type_name) for field in entry.field] == [
        ("key", 1, ""),
        ("value", 2, ".a.b.Outer.Inner"),
    ]
    assert [(value.name, value.number) for value in file.enum_type[0].value] == [("RED", 0), ("BLUE", 2)]
    assert [
        (method.name, method.input_type, method.output_type, method.client_streaming, method.server_streaming)
        for method in file.service[0].method
    ] == [("Ask", ".a.b.Outer", ".a.b.Other", False, False), ("Chat", ".a.b.Outer", ".a.b.Other", True, True)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('syntax = "proto2";', "expected '\"proto3\"', got '\"proto2\"'"),
        ('syntax = "proto3"; message A { Missing x = 1; }', "got 'Missing'"),
        ('syntax = "proto3"; message A { int32 x = 1', "got the end of the text"),
        ('syntax = "proto3"; import "b.proto";', "got 'import'"),
        ('syntax = "proto3"; message A { int32 x = 1 [deprecated=true]; }', "got '['"),
    ],
)
def test_text_outside_of_the_subset_is_refused(text: str, told: str) -> None:
    with pytest.raises(ProtoError) as refused:
        parse_proto(text, name="a.proto")
    assert told in str(refused.value)
