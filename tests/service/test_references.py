"""One grammar of model references, told in two places."""

from __future__ import annotations

import random
import re

import pytest
from http_calls import Caller
from openapi_checks import parameters_of

from model_store import InvalidReference, ModelReference
from model_store.reference import MAX_REFERENCE_CHARACTERS as LONGEST_PARSED
from model_store.reference import is_model_name
from service.references import MAX_REFERENCE_CHARACTERS, REFERENCE_PATTERN, STORED_NAME_PATTERN

EDGES = (
    "", "a", "-", "a-", "-a", "a-b", "a" * 64, "a" * 65, "a@", "@a", "a@1", "a@0", "a@01", "a@999999999",
    "a@1000000000", "a@b", "a@b-", "a@-b", "a@1b", "a@b1", f"a@{'b' * 64}", f"a@{'b' * 65}", "a@b@c", "A",
    "a\n", "a@1\n", "é", "a@٣", "a b", f"{'a' * 64}@{'b' * 64}",
)  # fmt: skip


def is_parsed(text: str) -> bool:
    try:
        ModelReference.parse(text)
    except InvalidReference:
        return False
    return True


def test_pattern_and_parser_agree() -> None:
    """The document may not promise a name that is refused, nor the settings take one."""
    rng = random.Random(11)
    tried = [*EDGES, *("".join(rng.choices("ab-@019Z", k=rng.randint(0, 8))) for _ in range(20_000))]
    accepted = 0
    for text in tried:
        matches = re.fullmatch(REFERENCE_PATTERN, text) is not None
        assert matches == is_parsed(text), repr(text)
        assert (re.fullmatch(STORED_NAME_PATTERN, text) is not None) == is_model_name(text), repr(text)
        accepted += matches
    assert accepted > 1_000
    assert MAX_REFERENCE_CHARACTERS == LONGEST_PARSED


@pytest.mark.parametrize("path", ["/sample", "/models/{name}"])
def test_document_says_what_a_reference_is(api: Caller, path: str) -> None:
    document = api.get("/openapi.json").json()
    parameters = parameters_of(document, document["paths"][path]["get"])
    (schema,) = (parameters[name]["schema"] for name in ("model", "name") if name in parameters)
    assert schema["pattern"] == REFERENCE_PATTERN
