"""How a model is named, as one pattern: `name`, `name@3` or `name@alias`.

For the settings and the OpenAPI document, which have to say it before there is a store and without loading
one. `model_store.reference` is who decides; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

_PART: Final = "(?:[a-z0-9-]{0,62}[a-z0-9])?"
#: Also an ECMA-262 pattern, as JSON schema wants it.
REFERENCE_PATTERN: Final = f"^[a-z0-9]{_PART}(?:@(?:[1-9][0-9]{{0,8}}|[a-z]{_PART}))?$"
#: Two parts of 64 characters and the sign between them.
MAX_REFERENCE_CHARACTERS: Final = 129
