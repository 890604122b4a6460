"""Fields of a log line, in the place where the server's log formatter looks for them.

Knows the name of one attribute. The formatter is `service.logs`, which the engine may not import; a program
that embeds the engine without it sees the short phrases and no fields.
"""

from __future__ import annotations

FIELDS_ATTRIBUTE = "vae_fields"


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The `extra` of a log call: never a pixel, a latent or a client's text."""
    return {FIELDS_ATTRIBUTE: values}
