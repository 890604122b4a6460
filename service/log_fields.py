"""Fields of a log line, in the attribute that the log formatter reads.

    log.info("model loaded", extra=fields(model="mnist@3", load_ms=41.2))

Knows the name of one attribute. Knows nothing of the formatter: a program that embeds only the engine logs
the short phrases without fields.
"""

from __future__ import annotations

FIELDS_ATTRIBUTE = "vae_fields"


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The `extra` of a log call. It never contains a pixel, a latent or a client's text."""
    return {FIELDS_ATTRIBUTE: values}
