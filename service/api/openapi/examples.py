"""Examples that work without changes, for the default model.

Knows shapes and schemas. Knows nothing of requests or the computations of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.api.answer import Answer
from service.api.schema import Schema

#: Strokes of a figure seven on a 7 × 7 grid, scaled to the size of the model.
_SEVEN = ("0000000", "0111110", "0000010", "0000100", "0001000", "0010000", "0010000")


@dataclass(frozen=True)
class ExampleModel:
    """Name and sizes of the default model, so that the examples work without changes."""

    name: str = "mnist"
    label: str = "mnist@1"
    """The version that answers."""
    image_shape: tuple[int, int, int] = (1, 28, 28)
    latent_size: int = 32
    latent_shape: tuple[int, ...] = ()
    """Shape of one latent; empty: (latent_size,)."""


def example_image(model: ExampleModel) -> list[list[list[int]]]:
    """One image (C, H, W) of zeros and ones: a seven."""
    channels, height, width = model.image_shape
    plane = [[int(_SEVEN[7 * y // height][7 * x // width]) for x in range(width)] for y in range(height)]
    return [plane] * channels


def example_latent(model: ExampleModel) -> list[Any]:
    """One z, well within the prior."""
    values: list[Any] = [round(0.5 - (i % 5) * 0.25, 2) for i in range(model.latent_size)]
    for size in reversed(model.latent_shape[1:]):
        values = [values[at : at + size] for at in range(0, len(values), size)]
    return values


def example_rows(rows: int, model: ExampleModel, *, is_images: bool) -> list[Any]:
    """Several of either."""
    if is_images:
        return [example_image(model)] * rows
    # Rotated row by row: the two ends of a path must differ.
    latent = example_latent(model)
    return [latent[::-1] if row % 2 else latent for row in range(rows)]


def example_answer(
    answer: type[Answer],
    schemas: Mapping[str, Schema],
    schema: Schema,
    model: ExampleModel,
    *,
    rows: int,
    facts: Mapping[str, object],
) -> dict[str, Any]:
    """The JSON of an answer.

    Args:
        answer: The class of the answer.
        schemas: Everything under `components.schemas`.
        schema: The schema of the answer.
        model: The model that answers.
        rows: Rows of its arrays.
        facts: Values of the request that the answer repeats.
    """
    known = {
        "Images": example_rows(rows, model, is_images=True),
        "Latents": example_rows(rows, model, is_images=False),
    }
    whole: dict[str, Any] = _Example(schemas, known, rows=rows).of(schema)
    repeated = {name: value for name, value in facts.items() if name in answer.fact_names}
    return {**whole, "model": model.label, **repeated}


def example_document(schemas: Mapping[str, Schema], schema: Schema) -> Any:
    """The JSON of a document whose fields have examples."""
    return _Example(schemas, {}, rows=1).of(schema)


class _Example:
    """Makes a value from the examples of fields."""

    def __init__(self, schemas: Mapping[str, Schema], known: Mapping[str, Any], *, rows: int) -> None:
        """`known` are examples of components, `rows` the length of every list without an example."""
        self._schemas = schemas
        self._known = known
        self._rows = rows

    def of(self, schema: Schema) -> Any:
        """A value of a schema: its example, or one made from its parts."""
        if "examples" in schema:
            return schema["examples"][0]
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self._known[name] if name in self._known else self.of(self._schemas[name])
        if "anyOf" in schema:
            return self.of(schema["anyOf"][0])
        if "enum" in schema:
            return schema["enum"][0]
        return self._of_type(schema)

    def _of_type(self, schema: Schema) -> Any:
        kind = schema.get("type", "null")
        if kind == "object":
            return {name: self.of(each) for name, each in schema.get("properties", {}).items()}
        if kind == "array":
            return [self.of(schema["items"])] * self._rows
        # A value of the type, for a field without an example.
        values: dict[str, Any] = {"integer": schema.get("minimum", 1), "number": 0.5, "boolean": False}
        return values.get(kind if isinstance(kind, str) else kind[0], "")
