"""Messages about an invalid document: by its keys, briefly, and without its values.

Knows pydantic's errors and schema versions. Knows nothing of the meaning of the documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from model_store.errors import defect, quoted

_MAX_FINDINGS_TOLD = 10


def of_a_later_contract(stated: Mapping[str, Any], *, where: str, known: int) -> str | None:
    """A message about a file with a higher schema version than `known`; None for any other.

    Such a file must not pass for a damaged one, which an operator would remove.
    """
    version = stated.get("schema_version")
    if type(version) is not int or version <= known:
        return None
    return defect(
        where,
        expected=f"schema_version {known}" if known == 1 else f"schema_version 1 to {known}",
        got=quoted(str(version)),
        remedy=(
            "A newer release of vae-service wrote it, and it shows no damage: keep it, and read it "
            "with that release."
        ),
    )


def findings(error: ValidationError) -> str:
    """The keys that pydantic rejected and the reasons, at most ten of them, without their values."""
    defects = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{quoted('.'.join(map(str, item['loc'])) or 'the whole')}: {item['msg'][:300]}"
        for item in defects[:_MAX_FINDINGS_TOLD]
    ]
    more = len(defects) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
