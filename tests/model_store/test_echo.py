"""Short values in messages: recognisable, on one line, and never a whole body."""

from __future__ import annotations

import pytest

from model_store.echo import MAX_ECHO_CHARACTERS, did_you_mean, echo, listed


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("quik", "`quik`"),
        ("", "``"),
        ("é σ", "`é σ`"),
        ("a\nb\x1b[31m", r"`a\nb\x1b[31m`"),
        ("\u202egnp", r"`\u202egnp`"),  # right-to-left: it would turn the rest of the line around
        ("\ud800", r"`\ud800`"),
        ("` and", r"`\x60 and`"),
        (True, "`true`"),
        (None, "`null`"),
        (3, "`3`"),
        (-0.5, "`-0.5`"),
        (float("nan"), "`nan`"),
        pytest.param(10**5000, "a longer number", id="long"),
        ([0.5] * 784, "a value of type list"),
        (b"\x89PNG", "a value of type bytes"),
    ],
)
def test_a_short_value_is_shown_escaped_and_anything_longer_by_its_kind(value: object, shown: str) -> None:
    assert echo(value) == shown


@pytest.mark.parametrize("text", ["x" * 41, "x" * 10**6, "\x00" * 40, "`" * 41])
def test_a_longer_text_is_cut_and_shows_that_it_is(text: str) -> None:
    shown = echo(text)
    assert len(shown) == MAX_ECHO_CHARACTERS + 3
    assert shown.endswith("…`")


def test_a_text_of_the_largest_length_is_whole() -> None:
    assert echo("x" * MAX_ECHO_CHARACTERS) == f"`{'x' * MAX_ECHO_CHARACTERS}`"


def test_the_nearest_known_name_is_proposed_and_a_far_one_is_not() -> None:
    assert did_you_mean("quik", ["mnist", "quick"]) == "Did you mean `quick`?"
    assert did_you_mean("zzz", ["mnist", "quick"]) == ""
    assert did_you_mean("m" * 10**6, ["mnist"]) == "", "a long name is not compared"


def test_a_list_that_is_cut_says_how_many_it_leaves_out() -> None:
    assert listed("abc", most=3) == "a, b, c"
    assert listed("abcde", most=3) == "a, b, c and 2 more"
    assert listed([], most=3) == ""
