"""Reads `.proto` text into a descriptor, for the subset of proto3 that this package's definitions use.

Knows messages, fields, maps, oneofs, enums and services. Knows nothing of their meaning. protoc would write a
module that registers its messages in the process-wide pool, where they clash with the same names inside a
client (triton-inference-server/client#730). grpcio-tools agrees with this reader (test_proto_text).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

_TOKEN: Final = re.compile(r'//[^\n]*|\s+|(?P<token>[A-Za-z_][\w.]*|\d+|"[^"]*"|[{}=;<>,()])|(?P<other>.)')
_SCALARS: Final = {
    name: FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}")
    for name in ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")
}
_OPTIONAL, _REPEATED = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED


class ProtoError(ValueError):
    """The text is outside of the subset; the message quotes the token."""


def parse_proto(text: str, *, name: str) -> FileDescriptorProto:
    """The descriptor of one file.

    Args:
        text: Its text.
        name: Its name, under which reflection offers it.

    Raises:
        ProtoError: The text uses something that this reader does not know.
    """
    return _Reader(text).file(name)


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def file(self, name: str) -> FileDescriptorProto:
        file = FileDescriptorProto(name=name, syntax="proto3")
        self._expect("syntax", "=", '"proto3"', ";")
        while self._at < len(self._tokens):
            keyword = self._next()
            if keyword == "package":
                file.package = self._next()
                self._expect(";")
            elif keyword == "message":
                self._message(file.message_type.add())
            elif keyword == "enum":
                self._enum(file.enum_type.add())
            elif keyword == "service":
                self._service(file.service.add())
            else:
                raise ProtoError(f"expected package, message, enum or service, got {keyword!r}")
        _resolve(file)
        return file

    def _message(self, message: DescriptorProto) -> None:
        message.name = self._next()
        self._expect("{")
        while (word := self._next()) != "}":
            if word == "message":
                self._message(message.nested_type.add())
            elif word == "enum":
                self._enum(message.enum_type.add())
            elif word == "oneof":
                message.oneof_decl.add().name = self._next()
                self._expect("{")
                while (kind := self._next()) != "}":
                    self._field(message, kind).oneof_index = len(message.oneof_decl) - 1
            elif word == "map":
                self._map(message)
            elif word == "repeated":
                self._field(message, self._next()).label = _REPEATED
            else:
                self._field(message, word)

    def _field(self, message: DescriptorProto, kind: str) -> FieldDescriptorProto:
        field = message.field.add()
        field.name = self._next()
        self._expect("=")
        field.number = int(self._next())
        self._expect(";")
        field.label = _OPTIONAL
        _set_type(field, kind)
        return field

    def _map(self, message: DescriptorProto) -> None:
        """A map is a repeated message of key and value."""
        self._expect("<")
        key = self._next()
        self._expect(",")
        value = self._next()
        self._expect(">")
        name = self._tokens[self._at]
        entry = message.nested_type.add()
        entry.name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
        entry.options.map_entry = True
        for number, (part, kind) in enumerate((("key", key), ("value", value)), start=1):
            field = entry.field.add(name=part, number=number, label=_OPTIONAL)
            _set_type(field, kind)
        self._field(message, entry.name).label = _REPEATED

    def _enum(self, enum: EnumDescriptorProto) -> None:
        enum.name = self._next()
        self._expect("{")
        while (name := self._next()) != "}":
            self._expect("=")
            enum.value.add(name=name, number=int(self._next()))
            self._expect(";")

    def _service(self, service: ServiceDescriptorProto) -> None:
        service.name = self._next()
        self._expect("{")
        while self._next() != "}":  # otherwise it is `rpc`
            method = service.method.add(name=self._next())
            streams, method.input_type = self._side()
            if streams:
                method.client_streaming = True
            self._expect("returns")
            streams, method.output_type = self._side()
            if streams:
                method.server_streaming = True
            self._expect(";")

    def _side(self) -> tuple[bool, str]:
        self._expect("(")
        word = self._next()
        streams = word == "stream"
        kind = self._next() if streams else word
        self._expect(")")
        return streams, kind

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise ProtoError("expected more, got the end of the text")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, *tokens: str) -> None:
        for token in tokens:
            if (found := self._next()) != token:
                raise ProtoError(f"expected {token!r}, got {found!r}")


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match["other"]:
            raise ProtoError(f"expected a name, a number or punctuation, got {match['other']!r}")
        if match["token"]:
            yield match["token"]


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type_name = kind


def _resolve(file: FileDescriptorProto) -> None:
    """Write every reference in full: `.package.Message.Nested`, and whether it is a message or an enum."""
    known: dict[str, FieldDescriptorProto.Type.ValueType] = {}

    def collect(message: DescriptorProto, scope: str) -> None:
        path = f"{scope}.{message.name}"
        known[path] = FieldDescriptorProto.TYPE_MESSAGE
        known.update((f"{path}.{enum.name}", FieldDescriptorProto.TYPE_ENUM) for enum in message.enum_type)
        for nested in message.nested_type:
            collect(nested, path)

    def full(kind: str, scope: str) -> str:
        while scope:
            if (path := f"{scope}.{kind}") in known:
                return path
            scope = scope.rpartition(".")[0]
        raise ProtoError(f"expected a message or an enum of this file, got {kind!r}")

    def settle(message: DescriptorProto, scope: str) -> None:
        path = f"{scope}.{message.name}"
        for field in message.field:
            if field.type_name:
                field.type_name = full(field.type_name, path)
                field.type = known[field.type_name]
        for nested in message.nested_type:
            settle(nested, path)

    root = f".{file.package}"
    known.update((f"{root}.{enum.name}", FieldDescriptorProto.TYPE_ENUM) for enum in file.enum_type)
    for message in file.message_type:
        collect(message, root)
    for message in file.message_type:
        settle(message, root)
    for service in file.service:
        for method in service.method:
            method.input_type = full(method.input_type, root)
            method.output_type = full(method.output_type, root)
