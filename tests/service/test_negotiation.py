"""The suffix, then Accept, then JSON."""

from __future__ import annotations

import pytest

from service.negotiation import Form, choose_form
from service.problems import ProblemError

IMAGES = (Form.JSON, Form.PNG, Form.NPY, Form.NPZ, Form.TEXT)
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
CHROME_IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.JSON),
        ("", Form.JSON),
        ("*/*", Form.JSON),
        ("application/*", Form.JSON),
        ("application/json", Form.JSON),
        ("image/png", Form.PNG),
        ("IMAGE/PNG", Form.PNG),
        ("image/*", Form.PNG),
        ("text/plain", Form.TEXT),
        ("text/*", Form.TEXT),
        ("application/x-npy", Form.NPY),
        ("application/x-npz;q=0.9, application/x-npy;q=0.8", Form.NPZ),
        ("image/png;q=0.5, text/plain;q=0.6", Form.TEXT),
        ("image/png, */*", Form.PNG),
        ("image/png;q=0.5, */*", Form.JSON),
        ("application/json;q=0, */*", Form.PNG),
        ("image/png;q=0.1, application/json;q=0.100", Form.JSON),
        ("image/gif, image/png;q=0.1", Form.PNG),
        ("nonsense, ;;, /, image/png", Form.PNG),
        ("text/plain; charset=utf-8; q=0.5", Form.TEXT),
    ],
)
def test_accept_chooses_by_quality_then_precision_then_order(accept: str | None, form: Form) -> None:
    assert choose_form(suffix=None, accept=accept, forms=IMAGES) is form


@pytest.mark.parametrize("accept", [CHROME, CHROME_IMG, FIREFOX])
def test_browser_is_shown_the_picture(accept: str) -> None:
    assert choose_form(suffix=None, accept=accept, forms=IMAGES) is Form.PNG


def test_browser_is_shown_json_where_there_is_no_picture() -> None:
    assert choose_form(suffix=None, accept=CHROME, forms=(Form.JSON, Form.NPZ)) is Form.JSON


@pytest.mark.parametrize(
    "accept",
    [
        "image/gif",
        "image/png;q=0",
        "text/html",
        "application/json;q=2",
        "*/*;q=0",
        "x",
        "," * 100,
        "a/b," * 2000,
    ],
)
def test_nothing_acceptable_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(ProblemError, match=r"\.json \(application/json\), \.png \(image/png\)") as caught:
        choose_form(suffix=None, accept=accept, forms=IMAGES)
    assert caught.value.kind.code == "form-not-available"


def test_suffix_wins_over_any_accept() -> None:
    assert choose_form(suffix="txt", accept="image/gif", forms=IMAGES) is Form.TEXT
    for suffix in ("gif", "TXT", "", "png/", "npy\0"):
        with pytest.raises(ProblemError, match="another suffix"):
            choose_form(suffix=suffix, accept="*/*", forms=IMAGES)
