"""The patterns of names, version numbers, digests and labels.

Knows the form of each. Knows nothing of what has the name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
ALIAS_PATTERN = r"^[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?$"

#: Maximum length of a label in characters; a request names a label by its text.
MAX_LABEL_CHARACTERS = 64

ModelName = Annotated[str, Field(pattern=NAME_PATTERN)]
#: It starts with a letter, so that `name@3` is always a version and never an alias.
AliasName = Annotated[str, Field(pattern=ALIAS_PATTERN)]
VersionNumber = Annotated[int, Field(ge=1, le=999_999_999)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Any text without control characters that neither begins nor ends with a space.
Label = Annotated[
    str,
    Field(
        pattern=rf"^[^\x00-\x20\x7f-\xa0](?:[^\x00-\x1f\x7f-\x9f]{{0,{MAX_LABEL_CHARACTERS - 2}}}"
        r"[^\x00-\x20\x7f-\xa0])?$",
    ),
]
