"""The form of a model reference, as one pattern: `name`, `name@3` or `name@alias`.

The settings and the OpenAPI document need the pattern before a store exists. `model_store.reference` decides;
a test compares the two.
"""

from __future__ import annotations

from typing import Final

_PART: Final = "(?:[a-z0-9-]{0,62}[a-z0-9])?"
#: The name of a model in a store.
STORED_NAME_PATTERN: Final = f"^[a-z0-9]{_PART}$"
#: A name alone, which may end in the suffix of a part (`service.api.open_inference.names`).
MODEL_NAME_PATTERN: Final = "^[a-z0-9](?:[a-z0-9-]{0,70}[a-z0-9])?$"
#: Also an ECMA-262 pattern, as JSON Schema requires.
REFERENCE_PATTERN: Final = f"^[a-z0-9]{_PART}(?:@(?:[1-9][0-9]{{0,8}}|[a-z]{_PART}))?$"
#: Two parts of 64 characters and the sign between them.
MAX_REFERENCE_CHARACTERS: Final = 129
