"""Headers of a request, read from the raw list in its scope.

Knows ASGI's pairs of bytes. Knows nothing of the meaning of a header. Building Starlette's `Headers` for one
look-up takes ten times as long, and a request needs six.
"""

from __future__ import annotations

from starlette.types import Scope


def first_header(scope: Scope, name: bytes) -> str | None:
    """The first header of that lower-case name."""
    for found, value in scope["headers"]:
        if found == name:
            return str(value, "latin-1")
    return None


def joined_header(scope: Scope, name: bytes) -> str | None:
    """All headers of that lower-case name as one list, as RFC 9110, section 5.3, permits."""
    values = [str(value, "latin-1") for found, value in scope["headers"] if found == name]
    return ", ".join(values) or None
