"""The base of every part of a manifest, and the types that several parts share.

Knows pydantic's strictness. Knows nothing of what a manifest states.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4000)]


class StrictModel(BaseModel):
    """Frozen, no unknown keys, no coercion except what JSON needs (lists to tuples, dates)."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        # A default is a convenience of the publisher's code and never omitted from the file: a published
        # manifest is complete.
        json_schema_serialization_defaults_required=True,
    )


def never_null(schema: dict[str, Any]) -> None:
    """The schema of a key that is left out where it has no value: nothing but the value."""
    (value, _) = schema.pop("anyOf")
    schema.pop("default")
    schema.update(value)


def _refuse_numbers_as_time(value: object) -> object:
    """pydantic reads 1 and "1" as a second after 1970; in a manifest either is a mistake."""
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}T", value)):
        return value
    raise ValueError("expected a time such as 2024-01-31T12:00:00+00:00")


#: A time with its UTC offset.
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_refuse_numbers_as_time)]
