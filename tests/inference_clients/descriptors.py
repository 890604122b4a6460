"""Prints every field and method of a client's definition as JSON. Runs in the client's environment.

python descriptors.py MODULE …
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto


def described(file: FileDescriptorProto) -> dict[str, Any]:
    """Messages, enums and methods of one file."""
    fields: dict[str, Any] = {}
    enums: dict[str, Any] = {}

    def walk(message: Any, scope: str) -> None:
        path = f"{scope}.{message.name}"
        fields[path] = {
            field.name: [
                field.number,
                field.type,
                field.label,
                field.type_name,
                field.HasField("oneof_index"),
            ]
            for field in message.field
        }
        for enum in message.enum_type:
            enums[f"{path}.{enum.name}"] = {value.name: value.number for value in enum.value}
        for nested in message.nested_type:
            walk(nested, path)

    for message in file.message_type:
        walk(message, f".{file.package}")
    for enum in file.enum_type:
        enums[f".{file.package}.{enum.name}"] = {value.name: value.number for value in enum.value}
    methods = {
        f"{service.name}.{method.name}": [
            method.input_type, method.output_type, method.client_streaming, method.server_streaming,
        ]
        for service in file.service
        for method in service.method
    }  # fmt: skip
    return {"fields": fields, "enums": enums, "methods": methods}


def main() -> None:
    """Print the union of all files."""
    found: dict[str, Any] = {"fields": {}, "enums": {}, "methods": {}}
    for name in sys.argv[1:]:
        file = FileDescriptorProto()
        importlib.import_module(name).DESCRIPTOR.CopyToProto(file)
        for kind, part in described(file).items():
            found[kind] |= part
    print(json.dumps(found))


if __name__ == "__main__":
    main()
