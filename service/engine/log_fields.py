"""Fields of a log line, in the place where the server's log formatter looks for them.

Knows the name of one attribute. `service.observability.logs` formats the fields; the engine may not import
it. A program that embeds the engine alone logs the short phrases without fields.
"""

from __future__ import annotations

FIELDS_ATTRIBUTE = "vae_fields"


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The `extra` of a log call: never a pixel, a latent or a client's text."""
    return {FIELDS_ATTRIBUTE: values}
