"""JSON documents: one pydantic class is the value, its schema and the type that a client reads.

Knows pydantic and JSON. Knows nothing of requests or models. Arrays never come in here: their numbers go
through orjson and NumPy (`service.api.answer`).
"""

from __future__ import annotations

import orjson
from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Parent of every JSON document that a path answers.

    The docstring of a field is its description in the OpenAPI document; its place is its place in the JSON.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        from_attributes=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_json(self) -> bytes:
        """The document as compact JSON, keys in the order of the class."""
        return orjson.dumps(self.model_dump(mode="json"))
