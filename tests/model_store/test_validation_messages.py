"""Pydantic's findings become sentences in one place, for documents, settings, requests and recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from model_store.validation_messages import (
    MAX_FINDINGS,
    findings_in_one_line,
    findings_of,
    reason_of,
)

ROOT = Path(__file__).parents[2]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[int, Field(ge=1)]
    name: str = "part"

    @field_validator("name")
    @classmethod
    def no_spaces(cls, name: str) -> str:
        if " " in name:
            raise ValueError("a name without spaces")
        return name


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    parts: list[Part] = Field(default_factory=list)


def rejected(document: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(document)
    return caught.value


def test_a_finding_has_the_place_the_rule_the_expected_and_the_actual_value():
    (finding,) = findings_of(rejected({"parts": [{"size": 1}, {"size": "7"}]}))
    assert finding.location == ("parts", 1, "size")
    assert (finding.field, finding.key) == ("parts", "parts.1.size")
    assert (finding.kind, finding.expected, finding.value) == ("int_type", "integer", "7")


def test_the_words_of_an_own_validator_come_without_pydantics_prefix():
    (finding,) = findings_of(rejected({"parts": [{"size": 1, "name": "a b"}]}))
    assert (finding.kind, finding.own_words) == ("value_error", "a name without spaces")


def test_a_document_of_another_kind_is_named_as_a_whole():
    (finding,) = findings_of(rejected([]))
    assert (finding.field, finding.key) == ("", "")
    assert findings_in_one_line(rejected([])).startswith("'the whole': Input should be a valid dictionary")


def test_findings_fill_one_line_without_values_and_without_links():
    line = findings_in_one_line(rejected({"parts": [{"size": "secret", "se\ncret": 1}]}))
    assert line == (
        "'parts.0.size': Input should be a valid integer; 'parts.0.se\\ncret': Extra inputs are not permitted"
    )


@pytest.mark.parametrize(("wrong", "end"), [(MAX_FINDINGS, ""), (MAX_FINDINGS + 2, "; and 2 more")])
def test_a_long_list_of_findings_is_cut_and_says_how_many_it_left_out(wrong, end):
    line = findings_in_one_line(rejected({"parts": [{"size": 0}] * wrong}))
    assert line.count("greater than or equal to 1") == MAX_FINDINGS
    assert line.endswith("greater than or equal to 1" + end)


def test_the_reason_of_another_error_is_its_own_text_cut_to_fit():
    assert reason_of(ValueError("not JSON")) == "not JSON"
    assert len(reason_of(ValueError("x" * 10_000))) == 300
    assert reason_of(rejected([])) == findings_in_one_line(rejected([]))


def test_only_this_module_reads_the_error_records_of_pydantic():
    """A second reader would cut, quote and count by rules of its own."""
    readers = [
        str(file.relative_to(ROOT))
        for package in ("model_store", "service", "training")
        for file in (ROOT / package).rglob("*.py")
        if re.search(r"\.errors\(|ErrorDetails", file.read_text(encoding="utf-8"))
    ]
    assert readers == ["model_store/validation_messages.py"]
