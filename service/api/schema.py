"""Pydantic classes as JSON Schema (2020-12, as in OpenAPI 3.1), in the order in which people read it.

Every class and every list of words becomes a component with a name, so that generated clients have one type
for each. Knows pydantic's own schema. Knows nothing of paths or models.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel

from service.http.document import COMPONENT

Schema = dict[str, Any]
#: Parts of `components` that are collected; others are constant.
Kind = Literal["schemas", "responses", "parameters", "examples", "requestBodies"]

#: Our own keyword: description and examples apply to each element of the list.
OF_EACH: Final = "x-of-each"

#: Above it, clients need 64 bits: Java's `Integer` cannot hold a seed.
_LARGEST_INT32: Final = 2**31 - 1
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


class Components:
    """Parts of the document that others refer to. Each is written once."""

    def __init__(self) -> None:
        self._parts: dict[Kind, dict[str, Schema]] = {}
        self._classes: dict[tuple[type[BaseModel], str], Schema] = {}

    def add(self, kind: Kind, name: str, part: Schema) -> Schema:
        """A reference to a part, which is added if it is new."""
        known = self._parts.setdefault(kind, {}).setdefault(name, part)
        assert known == part, f"components.{kind}: two parts are named {name}"
        return {"$ref": f"#/components/{kind}/{name}"}

    def of(self, model: type[BaseModel], *, name: str | None = None) -> Schema:
        """A reference to the schema of a class's serialised form.

        Args:
            model: A class whose fields have descriptions.
            name: Its name for clients; left out, that of the class.
        """
        name = name or model.__name__
        if (model, name) not in self._classes:
            whole = model.model_json_schema(mode="serialization", ref_template="{model}")
            writer = _Writer(whole.pop("$defs", {}), self)
            described = {**whole, "description": inspect.getdoc(model) or ""}
            self._classes[model, name] = writer.component(name, described)
        return dict(self._classes[model, name])

    def named(self, schema: Any) -> Any:
        """A schema that is written by hand, with references to its parts that have a name or are classes."""
        if isinstance(schema, type):
            return self.of(schema)
        if isinstance(schema, list):
            return [self.named(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        written = {key: self.named(value) for key, value in schema.items() if key != COMPONENT}
        name = schema.get(COMPONENT)
        return written if name is None else self.add("schemas", name, {"title": name, **written})

    def words(self, field: str, words: Sequence[str]) -> Schema:
        """A reference to the words that a field accepts; the type has the name of the field."""
        name = pascal(field)
        return self.add("schemas", name, {"title": name, "type": "string", "enum": list(words)})

    def parts(self, kind: Kind) -> dict[str, Schema]:
        """All parts of one kind, by name."""
        return dict(sorted(self._parts.get(kind, {}).items()))


def reference(name: str) -> Schema:
    """A reference to a schema in `components.schemas`."""
    return {"$ref": f"#/components/schemas/{name}"}


def pascal(name: str) -> str:
    """`importance_samples` → `ImportanceSamples`."""
    return "".join(part.capitalize() for part in name.split("_"))


def with_width(schema: Schema) -> Schema:
    """A number with the width that a client needs for it: `int64` or `double`."""
    if schema.get("type") == "integer" and schema.get("maximum", 0) > _LARGEST_INT32:
        return {"type": "integer", "format": "int64", **schema}
    return {"type": "number", "format": "double", **schema} if schema.get("type") == "number" else schema


class _Writer:
    """Rewrites pydantic's schema of one class."""

    def __init__(self, definitions: Schema, components: Components) -> None:
        self._definitions = definitions
        self._components = components

    def component(self, name: str, schema: Schema) -> Schema:
        """A reference to the schema of a class."""
        written = self._written(schema, field=name)
        return self._components.add("schemas", name, {"title": name, **written})

    def _written(self, schema: Schema, *, field: str, is_required: bool = True) -> Schema:
        """One schema.

        Args:
            schema: As pydantic has it.
            field: Name of the field or class.
            is_required: Whether its value is always present. An optional value is left out rather than null.
        """
        if (name := schema.get(COMPONENT)) is not None:
            return self._named(name, schema)
        if (name := schema.get("$ref")) is not None:
            rest = {key: _in_one_line(key, value) for key, value in schema.items() if key != "$ref"}
            return {**self.component(name, self._definitions[name]), **rest}
        found = {
            key: _in_one_line(key, value)
            for key, value in schema.items()
            if key not in ("title", "default", "const")
        }
        if "const" in schema:
            found["enum"] = [schema["const"]]
        if found.get("type") == "string" and len(found.get("enum", ())) > 1:
            words = self._components.words(field, found.pop("enum"))
            found.pop("type")
            return {**words, **found}
        if "items" in found:
            found["items"] = self._written(found["items"], field=field)
        if "properties" in found:
            required = found.get("required", [])
            found["properties"] = {
                name: self._written(each, field=name, is_required=name in required)
                for name, each in found["properties"].items()
            }
        if "anyOf" in found:
            found = self._any_of(found, field=field, is_required=is_required)
        if found.pop(OF_EACH, False):
            of_each = {key: found.pop(key) for key in ("description", "examples") if key in found}
            found["items"] = {**found["items"], **of_each}
        return _ordered(with_width(found))

    def _named(self, name: str, schema: Schema) -> Schema:
        """A reference to a schema that has a name without being a class; the description stays here."""
        here: Schema = {
            key: _in_one_line(key, schema[key]) for key in ("description", "examples") if key in schema
        }
        rest = {key: value for key, value in schema.items() if key not in (COMPONENT, "title", *here)}
        if rest:
            self._components.add("schemas", name, {"title": name, **_ordered(rest)})
        return {**reference(name), **here}

    def _any_of(self, schema: Schema, *, field: str, is_required: bool) -> Schema:
        """`["integer", "null"]` instead of two schemas, if the value is no component."""
        rest = {key: each for key, each in schema.items() if key != "anyOf"}
        values = [self._written(each, field=field) for each in schema["anyOf"] if each != _NULL]
        if len(values) == len(schema["anyOf"]):
            return {"anyOf": values, **rest}
        if not is_required:
            (value,) = (each for each in schema["anyOf"] if each != _NULL)
            return self._written({**value, **rest}, field=field)
        if len(values) == 1 and "type" in values[0]:
            return {**values[0], **rest, "type": [values[0]["type"], "null"]}
        return {"anyOf": [*values, _NULL], **rest}


def _in_one_line(key: str, value: Any) -> Any:
    return " ".join(value.split()) if key == "description" else value


def _ordered(schema: Schema) -> Schema:
    """A closed object lists its properties first, an open one its required ones."""
    first = () if "additionalProperties" in schema else ("type", "required")
    known = {key: schema[key] for key in (*first, *_ORDER) if key in schema}
    return {**known, **{key: value for key, value in schema.items() if key not in known}}
