"""JSON documents: one pydantic class is the value, its schema and the type for a client.

Knows pydantic and JSON. Knows nothing of requests or models. Arrays are never part of it: their numbers go
through orjson and NumPy (`service.api.answer`).
"""

from __future__ import annotations

from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict

#: Keyword of our own in a schema: its name in `components.schemas` of the OpenAPI document.
COMPONENT: Final = "x-component"


def json_bytes(value: object) -> bytes:
    """Compact JSON and a newline, as every JSON response ends: a terminal's next prompt has its own line."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


class Document(BaseModel):
    """Parent of every JSON document in a response.

    The docstring of a field is its description in the OpenAPI document; the order of the fields is their
    order in the JSON.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        from_attributes=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_json(self) -> bytes:
        """The document as compact JSON and a newline, keys in the order of the class."""
        return json_bytes(self.model_dump(mode="json"))
