"""Pydantic classes as JSON Schema (2020-12, as in OpenAPI 3.1), in the order in which people read it.

Knows pydantic's own schema and the parts that the document omits: titles, which repeat the names, and the
docstrings of classes, which are for readers of the code. Knows nothing of paths or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

#: Our own keyword: the schema has this name in `components.schemas`.
COMPONENT: Final = "x-component"
#: Our own keyword: the description applies to each element of the list.
OF_EACH: Final = "x-of-each"

_ORDER: Final = (
    "type",
    "format",
    "minimum",
    "maximum",
    "enum",
    "anyOf",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "additionalProperties",
    "description",
)
_NULL: Final = {"type": "null"}


def schema_of(model: type[BaseModel], *, components: Mapping[str, type[BaseModel]] | None = None) -> Schema:
    """The schema of a class's serialised form.

    Args:
        model: A class whose fields have descriptions.
        components: Classes that are referred to by their name in `components.schemas`; every other one is
            inlined.
    """
    whole = model.model_json_schema(mode="serialization", ref_template="{model}")
    return _Writer(whole.pop("$defs", {}), frozenset(components or ())).written(whole, of_class=True)


def reference(name: str) -> Schema:
    """A reference to a schema in `components.schemas`."""
    return {"$ref": f"#/components/schemas/{name}"}


class _Writer:
    """Rewrites pydantic's schema of one class."""

    def __init__(self, definitions: Schema, components: frozenset[str]) -> None:
        self._definitions = definitions
        self._components = components

    def written(self, schema: Schema, *, of_class: bool = False, is_required: bool = True) -> Schema:
        """One schema.

        Args:
            schema: As pydantic has it.
            of_class: Whether it is the schema of a class, whose docstring is left out.
            is_required: Whether its value is always present. An optional value is left out rather than null.
        """
        if (name := schema.get(COMPONENT)) is not None:
            return reference(name)
        if (name := schema.get("$ref")) is not None:
            if name in self._components:
                return reference(name)
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return _ordered({**self.written(self._definitions[name], of_class=True), **rest})
        found = {key: value for key, value in schema.items() if key not in ("title", "default", "const")}
        if "const" in schema:
            found["enum"] = [schema["const"]]
        if of_class:
            found.pop("description", None)
        if "description" in found:
            found["description"] = " ".join(found["description"].split())
        if "items" in found:
            found["items"] = self.written(found["items"])
        if "properties" in found:
            required = found.get("required", [])
            found["properties"] = {
                name: self.written(each, is_required=name in required)
                for name, each in found["properties"].items()
            }
        if "anyOf" in found:
            found = self._without_null(found) if not is_required else self._nullable(found)
        if found.pop(OF_EACH, False):
            found["items"] = {**found["items"], "description": found.pop("description")}
        return _ordered(found)

    def _without_null(self, schema: Schema) -> Schema:
        (value,) = (each for each in schema["anyOf"] if each != _NULL)
        rest = {key: each for key, each in schema.items() if key != "anyOf"}
        return {**value, **rest}

    def _nullable(self, schema: Schema) -> Schema:
        """`["integer", "null"]` instead of two schemas, if the value is no object."""
        values = [self.written(each) for each in schema["anyOf"] if each != _NULL]
        rest = {key: each for key, each in schema.items() if key != "anyOf"}
        if len(values) == 1 and values[0].get("type") not in (None, "object"):
            return {**values[0], **rest, "type": [values[0]["type"], "null"]}
        return {"anyOf": [*values, _NULL], **rest}


def _ordered(schema: Schema) -> Schema:
    """A closed object lists its properties first, an open one its required ones."""
    first = () if "additionalProperties" in schema else ("type", "required")
    known = {key: schema[key] for key in (*first, *_ORDER) if key in schema}
    return {**known, **{key: value for key, value in schema.items() if key not in known}}
