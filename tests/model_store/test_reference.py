"""References: one grammar, one spelling for each thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import InvalidReference, ModelReference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mnist", ModelReference("mnist")),
        ("mnist@3", ModelReference("mnist", version=3)),
        ("mnist@stable", ModelReference("mnist", alias="stable")),
        ("a", ModelReference("a")),
        ("0-9", ModelReference("0-9")),
        ("m@999999999", ModelReference("m", version=999_999_999)),
        ("m@v2", ModelReference("m", alias="v2")),
        ("x" * 64 + "@" + "y" * 64, ModelReference("x" * 64, alias="y" * 64)),
    ],
)
def test_reference_is_read_and_written_back_unchanged(text: str, expected: ModelReference) -> None:
    reference = ModelReference.parse(text)
    assert reference == expected
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "mnist@",
        "@3",
        "mnist@@3",
        "mnist@3@4",
        "mnist@0",
        "mnist@03",
        "mnist@+3",
        "mnist@-1",
        "mnist@3.0",
        "mnist@1000000000",
        "mnist@٣",
        "mnist\n",
        "mnist@stable\n",
        "mnist@3\n",
        "MNIST",
        "mnist@Stable",
        "-mnist",
        "mnist-",
        "..",
        "../mnist",
        "mnist/1",
        "mnist\x00",
        "mnist ",
        "mñist",
        "\u202emnist",
        "\ud800",
        "x" * 65,
        "x" * 100_000,
    ],
)
def test_anything_else_is_refused_in_a_short_message(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        ModelReference.parse(text)
    message = str(caught.value)
    assert "Write 'name', 'name@3' or 'name@alias'" in message
    assert len(message) < 500
    assert message.isprintable()


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../x"},
        {"name": "x", "version": 0},
        {"name": "x", "version": -3},
        {"name": "x", "alias": "3"},
        {"name": "x", "version": 1, "alias": "stable"},
    ],
)
def test_a_reference_made_by_hand_obeys_the_same_grammar(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidReference):
        ModelReference(**fields)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text())
def test_whatever_parses_is_safe_to_print_and_holds_no_separator(text: str) -> None:
    try:
        reference = ModelReference.parse(text)
    except InvalidReference:
        return
    assert str(reference) == text
    assert text.isascii()
    assert not set(text) & set("/\\.\x00 \n%")
