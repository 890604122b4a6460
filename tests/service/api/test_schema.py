"""Pydantic classes become the schemas that the OpenAPI document shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field, WithJsonSchema

from service.api.answer import Answer, Images, Latents, PerImage
from service.api.schema import schema_of
from service.http.document import Document
from service.http.negotiation import Format


class Part(Document):
    """Text for readers of the code."""

    kind: Literal["part"]


class Whole(Document):
    """More of it."""

    count: Annotated[int, Field(ge=1, le=9)] | None
    """How many; null:
    not counted."""
    part: Part | None
    """The one part."""
    parts: list[Part]
    words: list[Annotated[str, Field(description="Each of them.")]]
    open: Annotated[dict[str, Any], WithJsonSchema({"type": "object", "required": ["a"], "properties": {}})]


def test_fields_carry_types_bounds_and_descriptions_and_classes_none() -> None:
    part = {
        "type": "object",
        "properties": {"kind": {"type": "string", "enum": ["part"]}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    schema = schema_of(Whole)
    assert schema == {
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
            "words": {"type": "array", "items": {"type": "string", "description": "Each of them."}},
            "open": {"type": "object", "required": ["a"], "properties": {}},
        },
        "required": ["count", "part", "parts", "words", "open"],
        "additionalProperties": False,
    }
    assert list(schema["properties"]["count"]) == ["type", "minimum", "maximum", "description"]


def test_shared_classes_are_referred_to_by_name() -> None:
    properties = schema_of(Whole, components={"Part": Part})["properties"]
    assert properties["part"]["anyOf"][0] == {"$ref": "#/components/schemas/Part"}
    assert properties["parts"]["items"] == {"$ref": "#/components/schemas/Part"}


class Figures(Answer):
    """Numbers alone."""

    elbo: PerImage
    """In nats."""
    log_px: PerImage | None = None
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
    schema = schema_of(Figures)
    assert schema["required"] == ["model", "elbo"]
    number = {"type": "number", "description": "Sometimes."}
    assert schema["properties"]["log_px"] == {"type": "array", "items": number}
    assert schema_of(Pictures)["properties"]["images"] == {"$ref": "#/components/schemas/Images"}


@pytest.mark.parametrize(
    ("answer", "formats"),
    [
        (Figures, (Format.JSON, Format.NPZ, Format.TEXT)),
        (Pictures, tuple(Format)),
        (Arrays, (Format.JSON, Format.NPZ)),
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
