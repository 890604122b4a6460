"""The answer of `vae-store import` as text: a line for each check, then what was published.

Knows the command's JSON document. Knows nothing of graphs. The trainer's import prints the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def answer_text(document: Mapping[str, Any]) -> str:
    """The lines for people.

    Args:
        document: `checks`, each with check, result and detail; `version`, None if nothing was published; and
            `aliases` that moved to it.
    """
    lines = [
        f"{'ok     ' if each['result'] == 'ok' else 'WARNING'}  {each['check']}: {each['detail']}"
        for each in document["checks"]
    ]
    version, aliases = document["version"], document["aliases"]
    moved = f", {' and '.join(aliases)} moved to it" if aliases else ""
    end = "Nothing was published: --check." if version is None else f"{version} is published{moved}."
    return "\n".join([*lines, "", end])
