"""Writes the types of the JSON answers from the OpenAPI document of the server.

    vae-serve openapi | python clients/python/generate_models.py > clients/python/vae_client/answers.py

It finds each type by its path, not by its name in the document, so that names there may change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

_HEAD = '''"""Types of the JSON answers, written by generate_models.py from the OpenAPI document."""

from __future__ import annotations

from typing import Literal, TypedDict
'''
#: Path, keys from its JSON answer, and the name of the type that is there.
TYPES = (
    ("/limits", ("limits",), "Limit"),
    ("/models", ("models",), "ModelSummary"),
)
#: Most words of a type that is closed. Longer lists, such as the codes of problems, grow with the server.
_FEW = 4
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


class Writer:
    """Collects classes in the order in which they can be defined."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.classes: dict[str, str] = {}

    def answer(self, path: str) -> Mapping[str, Any]:
        """The schema of the JSON answer of `GET path`."""
        response = self.resolved(self._document["paths"][path]["get"]["responses"]["200"])
        return self.resolved(response["content"]["application/json"]["schema"])

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema that a reference means."""
        while "$ref" in schema:
            found: Any = self._document
            for key in schema["$ref"].removeprefix("#/").split("/"):
                found = found[key.replace("~1", "/").replace("~0", "~")]
            schema = found
        return schema

    def type_of(self, schema: Mapping[str, Any], name: str) -> str:
        """The Python type of a schema; `name` is that of a class for an object."""
        schema = self.resolved(schema)
        words = schema.get("enum", [schema["const"]] if "const" in schema else [])
        if 0 < len(words) <= _FEW:
            return f"Literal[{', '.join(json.dumps(word) for word in words)}]"
        for combination in ("anyOf", "oneOf"):
            if combination in schema:
                return " | ".join(dict.fromkeys(self.type_of(each, name) for each in schema[combination]))
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(self.type_of({**schema, "type": each}, name) for each in kind)
        if kind == "array":
            return f"list[{self.type_of(schema.get('items', {}), name)}]"
        if kind == "object" and "properties" in schema:
            return self._class(schema, name)
        return _SCALARS.get(str(kind), "object")

    def _class(self, schema: Mapping[str, Any], name: str) -> str:
        required = set(schema.get("required", ()))
        fields: dict[bool, list[str]] = {True: [], False: []}
        for key, value in schema["properties"].items():
            kind = self.type_of(value, name + "".join(map(str.capitalize, key.split("_"))))
            fields[key in required].append(f"    {key}: {kind}\n")
        parent = "TypedDict"
        if fields[True] and fields[False]:
            parent = f"_{name}Always"
            self.classes[parent] = f"class {parent}(TypedDict):\n{''.join(fields[True])}"
            fields[True] = []
        total = "" if fields[True] else ", total=False"
        description = " ".join(schema.get("description", f"`{name}` of an answer.").split())
        short = description.partition(". ")[0].rstrip(".") + "."
        body = "".join(fields[True] + fields[False])
        self.classes[name] = f'class {name}({parent}{total}):\n    """{short}"""\n\n{body}'
        return name


def generate(document: Mapping[str, Any]) -> str:
    """The module `vae_client.answers`.

    Args:
        document: The OpenAPI document.
    """
    writer = Writer(document)
    for path, keys, name in TYPES:
        schema = writer.answer(path)
        for key in keys:
            schema = writer.resolved(writer.resolved(schema["properties"][key])["items"])
        writer.type_of(schema, name)
    return _HEAD + "".join(f"\n\n{text}" for text in writer.classes.values())


if __name__ == "__main__":
    print(generate(json.load(sys.stdin)), end="")
