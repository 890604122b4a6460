"""Pydantic classes become the schemas that the OpenAPI document shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field, WithJsonSchema

from service.api.answer import Answer, Images, Latents, PerImage
from service.api.schema import Components, Schema
from service.http.document import COMPONENT, Document
from service.http.negotiation import Format


def schemas_of(model: type[BaseModel], *, name: str | None = None) -> dict[str, Schema]:
    """The schema of a class, and of everything that it refers to."""
    components = Components()
    assert components.of(model, name=name) == {"$ref": f"#/components/schemas/{name or model.__name__}"}
    return components.parts("schemas")


class Part(Document):
    """One part."""

    kind: Literal["part"]


class Whole(Document):
    """More of it."""

    count: Annotated[int, Field(ge=1, le=9)] | None
    """How many; null:
    not counted."""
    part: Part | None
    """The one part."""
    parts: list[Part]
    colour: Literal["grey", "blue"]
    """The colour."""
    other_colour: Annotated[str, Field(json_schema_extra={COMPONENT: "Colour", "enum": ["grey", "blue"]})]
    """Another one."""
    seed: Annotated[int, Field(le=2**31, examples=[7])]
    share: float
    words: list[Annotated[str, Field(description="Each of them.")]]
    open: Annotated[dict[str, Any], WithJsonSchema({"type": "object", "required": ["a"], "properties": {}})]


def test_classes_and_words_are_components_with_types_bounds_and_descriptions() -> None:
    schemas = schemas_of(Whole)
    assert list(schemas) == ["Colour", "Part", "Whole"]
    assert schemas["Part"] == {
        "title": "Part",
        "type": "object",
        "properties": {"kind": {"type": "string", "enum": ["part"]}},
        "required": ["kind"],
        "additionalProperties": False,
        "description": "One part.",
    }
    assert schemas["Colour"] == {"title": "Colour", "type": "string", "enum": ["grey", "blue"]}
    part, colour = ({"$ref": f"#/components/schemas/{name}"} for name in ("Part", "Colour"))
    schema = schemas["Whole"]
    assert schema == {
        "title": "Whole",
        "type": "object",
        "properties": {
            "count": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": 9,
                "description": "How many; null: not counted.",
            },
            "part": {"anyOf": [part, {"type": "null"}], "description": "The one part."},
            "parts": {"type": "array", "items": part},
            "colour": {**colour, "description": "The colour."},
            "other_colour": {**colour, "description": "Another one."},
            "seed": {"type": "integer", "format": "int64", "maximum": 2**31, "examples": [7]},
            "share": {"type": "number", "format": "double"},
            "words": {"type": "array", "items": {"type": "string", "description": "Each of them."}},
            "open": {"type": "object", "required": ["a"], "properties": {}},
        },
        "required": ["count", "part", "parts", "colour", "other_colour", "seed", "share", "words", "open"],
        "additionalProperties": False,
        "description": "More of it.",
    }
    assert list(schema["properties"]["count"]) == ["type", "minimum", "maximum", "description"]


def test_two_parts_of_one_name_are_a_mistake() -> None:
    components = Components()
    components.words("prior", ["standard", "fitted"])
    components.words("prior", ["standard", "fitted"])
    with pytest.raises(AssertionError, match="two parts are named Prior"):
        components.words("prior", ["standard"])


class Figures(Answer):
    """Numbers alone."""

    elbo: PerImage
    """In nats."""
    log_px: Annotated[PerImage | None, Field(examples=[-84.5])] = None
    """Sometimes."""


class Pictures(Answer):
    """Images too."""

    z: Latents
    images: Images


class Arrays(Answer):
    """Neither."""

    elbo: PerImage
    mu: Latents


def test_arrays_are_components_or_lists_and_may_be_left_out() -> None:
    (schema,) = schemas_of(Figures, name="FiguresResponse").values()
    assert (schema["title"], schema["required"]) == ("FiguresResponse", ["model", "elbo"])
    number = {"type": "number", "format": "double", "description": "Sometimes.", "examples": [-84.5]}
    assert schema["properties"]["log_px"] == {"type": "array", "items": number}
    pictures = schemas_of(Pictures)["Pictures"]
    assert pictures["properties"]["images"] == {"$ref": "#/components/schemas/Images"}


@pytest.mark.parametrize(
    ("answer", "formats"),
    [
        (Figures, (Format.JSON, Format.NPZ, Format.TEXT)),
        (Pictures, tuple(form for form in Format if form is not Format.SAFETENSORS)),
        (Arrays, (Format.JSON, Format.NPZ, Format.SAFETENSORS)),
    ],
)
def test_formats_follow_from_what_is_answered(answer: type[Answer], formats: tuple[Format, ...]) -> None:
    assert answer.formats == formats


def test_answer_separates_facts_from_the_arrays_that_it_holds() -> None:
    elbo = np.zeros(2)
    answer = Figures(model="m@1", elbo=elbo)
    assert answer.facts == {"model": "m@1"}
    assert list(answer.arrays) == ["elbo"]
    assert answer.arrays["elbo"] is elbo
    with pytest.raises(ValueError, match="instance of ndarray"):
        Figures(model="m@1", elbo=[0.0])
