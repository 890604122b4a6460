"""Unambiguous JSON: UTF-8, no duplicate keys, no NaN, bounded depth.

Knows JSON. Knows nothing of manifests or aliases. Python's own reader keeps the last of two equal keys,
accepts NaN and 1e400, and recurses as deep as the text. Two readers of one file could then disagree about its
content, so this module rejects all of that before the content is checked.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from model_store.errors import quoted

MAX_DEPTH = 32
# A string without an end is consumed to the end of the text, so that the scan stays linear.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_object(data: bytes) -> dict[str, Any]:
    """The object in `data`.

    Raises:
        ValueError: Not UTF-8, not JSON, ambiguous (duplicate keys), not finite, too deep, or no object.
    """
    text = data.decode("utf-8")
    _refuse_deep_nesting(text)
    value = json.loads(
        text,
        object_pairs_hook=_unique_keys,
        parse_constant=_refuse_constant,
        parse_float=_finite_float,
    )
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _refuse_deep_nesting(text: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(text):
        sign = token.group()[0]
        if sign in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels at character {token.start()}")
        elif sign in "]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {quoted(key)} appears twice in one object")
            seen.add(key)
    return unique


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {quoted(digits)} is too large")
    return value
