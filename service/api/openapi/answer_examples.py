"""Examples of successful answers, made from their schemas.

Knows schemas, and plausible values for the names of fields. Knows nothing of requests. Without examples, a
page such as /docs shows the word `string` for every text, and 0 for every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from service.api.openapi.examples import ExampleModel, example_rows
from service.api.schema import Schema
from service.codecs.text_art import braille
from service.codecs.text_table import table
from service.http.problems import PROBLEMS

_FIRST_PROBLEM: Final = next(iter(PROBLEMS.values()))
#: Values of fields by name, or by the name of the object and that of the field. In texts, `{name}` is that of
#: the default model.
_VALUES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "aliases": ["stable"],
        "bits_per_dim": [0.21429],
        "created_at": "2026-01-31T12:00:00+00:00",
        "data": "MNIST, 60,000 images",
        "data_fingerprint": "9f2c1d7a40b3e856",
        "default": "{name}",
        "description": "A variational autoencoder of digits",
        "distances": [[4.31]],
        "elbo": [-116.452],
        "epochs": 30,
        "failures": [],
        "fit": "crop",
        "git_revision": "4f1d2c3b",
        "ground": "black",
        "image_range": [0.0, 1.0],
        "kept": ["{name}@1"],
        "kl": [29.971],
        "labels": ["0", "1", "2"],
        "libraries": {"torch": "2.13.0"},
        "licence": "MIT",
        "likelihood.name": "bernoulli",
        "loaded": ["{name}@2"],
        "metrics.name": "negative_elbo",
        "metrics.value": 84.27,
        "model": "{name}@1",
        "name": "{name}",
        "priors": ["standard"],
        "protocol": "10,000 test images, seed 0",
        "reason": "{name}@1 reproduced its golden vectors.",
        "reconstruction_nll": [86.481],
        "remedy": _FIRST_PROBLEM.remedy,
        "seed": 7,
        "span": 3.0,
        "temperature": 1.0,
        "title": _FIRST_PROBLEM.title,
        "unit": "nats per image",
    }
)
#: The value of each latent in arrays of this name.
_LATENT: Final[Mapping[str, float]] = MappingProxyType({"logvar": -1.0})
_NO_VALUE: Final = object()


def add_answer_examples(paths: Schema, schemas: Schema, model: ExampleModel) -> None:
    """Add an example to the JSON and the text of every successful answer that has none.

    Args:
        paths: The path items of a document, which are changed.
        schemas: Its `components.schemas`.
        model: The model of the examples.
    """
    writer = _Writer(schemas, model)
    for item in paths.values():
        for operation in item.values():
            content = operation["responses"].get("200", {}).get("content", {})
            answer = content.get("application/json")
            if answer is None:
                continue
            if "example" not in answer and "examples" not in answer:
                answer["example"] = writer.value(answer["schema"])
            text = content.get("text/plain")
            if text is not None and "examples" not in text["schema"]:
                text["example"] = _as_text(answer["example"])


def _as_text(answer: Mapping[str, Any]) -> str:
    """The text of an operation with this JSON answer."""
    if "images" in answer:
        return braille(np.asarray(answer["images"], np.float32)) + "\n"
    columns = {name: np.asarray(value) for name, value in answer.items() if isinstance(value, list)}
    return table(columns, of="image") + "\n"


class _Writer:
    """Writes a value that a schema allows."""

    def __init__(self, schemas: Schema, model: ExampleModel) -> None:
        self._schemas = schemas
        self._model = model
        self._values = {
            **{name: _named(value, model.name) for name, value in _VALUES.items()},
            "image_shape": list(model.image_shape),
            "latent_size": model.latent_size,
        }

    def value(self, schema: Schema, name: str = "") -> Any:
        """A value of one schema; null if it may be null, and without fields that may be left out."""
        if "$ref" in schema:
            return self._referenced(schema["$ref"].rpartition("/")[2], name)
        kind = schema.get("type", "object")
        if {"type": "null"} in schema.get("anyOf", ()) or "null" in kind:
            return None
        if name in self._values:
            return self._values[name]
        stated = _stated(schema)
        if stated is not _NO_VALUE:
            return stated
        if "anyOf" in schema:
            return self.value(schema["anyOf"][0], name)
        return self._of_kind(kind, schema, name)

    def _referenced(self, component: str, name: str) -> Any:
        if component not in ("Images", "Latents"):
            return self.value(self._schemas[component], name)
        rows = example_rows(1, self._model, is_images=component == "Images")
        return [[_LATENT[name]] * len(row) for row in rows] if name in _LATENT else rows

    def _of_kind(self, kind: str, schema: Schema, name: str) -> Any:
        if kind == "array":
            return [self.value(schema["items"], name) for _ in range(schema.get("minItems", 1))]
        if kind == "object":
            fields = schema.get("properties", {})
            within = {each: f"{name}.{each}" for each in schema.get("required", ())}
            return {
                each: self.value(fields[each], place if place in self._values else each)
                for each, place in within.items()
            }
        if kind == "string":
            return name
        return False if kind == "boolean" else schema.get("minimum", 1 if kind == "integer" else 0.5)


def _named(value: Any, name: str) -> Any:
    """The value with the name of the model in its texts."""
    if isinstance(value, list):
        return [_named(each, name) for each in value]
    return value.replace("{name}", name) if isinstance(value, str) else value


def _stated(schema: Schema) -> Any:
    """A value that the schema itself states."""
    for key in ("const", "default", "example"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    return _NO_VALUE
