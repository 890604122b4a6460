"""The suffix, then Accept, then JSON."""

from __future__ import annotations

import re
import time

import pytest

from model_store.echo import echo
from service.http.media_types import elements
from service.http.negotiation import Format, choose_format
from service.http.problems import ProblemError

IMAGES = (
    *(Format.JSON, Format.PNG, Format.JPEG, Format.WEBP),
    *(Format.NPY, Format.NPZ, Format.TEXT),
)
SAFARI_IMG = (
    "image/webp,image/avif,image/jxl,image/heic,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
)
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
CHROME_IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("application/*", Format.JSON),
        ("application/json", Format.JSON),
        ("image/png", Format.PNG),
        ("IMAGE/PNG", Format.PNG),
        ("image/*", Format.PNG),
        ("text/plain", Format.TEXT),
        ("text/*", Format.TEXT),
        ("application/x-npy", Format.NPY),
        ("application/x-npz;q=0.9, application/x-npy;q=0.8", Format.NPZ),
        ("image/png;q=0.5, text/plain;q=0.6", Format.TEXT),
        ("image/png, */*", Format.PNG),
        ("image/png;q=0.5, */*", Format.JSON),
        ("application/json;q=0, */*", Format.PNG),
        ("image/png;q=0.1, application/json;q=0.100", Format.JSON),
        ("image/gif, image/png;q=0.1", Format.PNG),
        ("nonsense, ;;, /, image/png", Format.PNG),
        ("text/plain; charset=utf-8; q=0.5", Format.TEXT),
        ("application/json;version=2", Format.JSON),
        ("application/json;version=2;q=0, */*", Format.JSON),
        ("application/json;charset=utf-8;q=0, */*", Format.PNG),
    ],
)
def test_accept_chooses_by_quality_then_precision_then_order(accept: str | None, form: Format) -> None:
    assert choose_format(suffix=None, accept=accept, forms=IMAGES) is form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (JAVA, Format.JSON),
        ("application/xml, */*;q=.5", Format.JSON),
        ("*", Format.JSON),
        ("*;q=0.1, image/png;q=.05", Format.JSON),
        ("image/png;q=1., application/json;q=.9", Format.PNG),
        ("image/png;q=0.12345, text/plain;q=0.12344", Format.PNG),
        ("image/png;Q=0.5, text/plain;q=0.6", Format.TEXT),
        ("image/png ; q = 0.5 , text/plain ;q=0.6", Format.TEXT),
        ("image/png;q=high, text/plain;q=0.9", Format.PNG),
        ("image/png;q, text/plain;q=0.9", Format.PNG),
        ("image/png;q=2, text/plain", Format.PNG),
        ("image/png;q=-1, text/plain;q=0.1", Format.TEXT),
        ("image/png;q=0.5;q=0.9, text/plain;q=0.6", Format.TEXT),
        ("image/png;q=0.5;ext=1, text/plain;q=0.6", Format.TEXT),
        ('text/html;q=0.8;*/*;q=0.1, image/png;q="0.5"', Format.PNG),
        ('image/gif;a="image/png, text/plain;q=1", application/x-npy', Format.NPY),
        ('image/gif;a="\\"text/plain,\\\\", application/x-npy', Format.NPY),
        ('image/gif;a="never ends, application/x-npy', Format.NPY),
        (",, ,image/png,", Format.PNG),
        ("image/png, text/plain;q=0.5, ", Format.PNG),
    ],
)
def test_accept_is_read_as_clients_write_it(accept: str, form: Format) -> None:
    assert choose_format(suffix=None, accept=accept, forms=IMAGES) is form


@pytest.mark.parametrize(
    "accept", ["x", "json", "/", ";q=1", "," * 100, " , ;", "/; q=.2", '"', "a" * 5000, '"' * 5000]
)
def test_header_that_cannot_be_read_counts_as_absent(accept: str) -> None:
    assert choose_format(suffix=None, accept=accept, forms=IMAGES) is Format.JSON


@pytest.mark.parametrize("kinds", [65, 900, 3000])
def test_what_a_very_long_header_says_at_its_end_is_not_held_against_it(kinds: int) -> None:
    """Only its beginning is read: what stands there still chooses and excludes."""
    many = ",".join(["a/b"] * kinds)
    assert choose_format(suffix=None, accept=many, forms=IMAGES) is Format.JSON
    assert choose_format(suffix=None, accept=f"image/png;q=0.1,{many}", forms=IMAGES) is Format.PNG
    assert choose_format(suffix=None, accept=f"application/json;q=0,{many}", forms=IMAGES) is Format.PNG


def test_reading_takes_as_long_as_the_header_is() -> None:
    """Quotation marks that never close were tried again from each of them."""
    hostile = [sign * 100_000 for sign in ('"', '"\\', '\\"', '""', "a/b;", "a/b,", ",;=")]
    began = time.process_time()
    for accept in hostile:
        elements(accept, most=64)
    assert time.process_time() - began < 10  # 0.3; minutes if each sign were compared with each


@pytest.mark.parametrize("accept", [CHROME, CHROME_IMG, FIREFOX])
def test_browser_is_shown_the_picture(accept: str) -> None:
    assert choose_format(suffix=None, accept=accept, forms=IMAGES) is Format.PNG


def test_browser_is_shown_json_where_there_is_no_picture() -> None:
    assert choose_format(suffix=None, accept=CHROME, forms=(Format.JSON, Format.NPZ)) is Format.JSON


@pytest.mark.parametrize(
    "accept",
    [
        "image/gif",
        "image/png;q=0",
        "image/png;q=.0",
        "text/html",
        "*/*;q=0",
        "image/gif, */*;q=0",
        "json, image/gif",
        "a/b," * 60,
    ],
)
def test_nothing_acceptable_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(ProblemError, match=r"\.json \(application/json\), \.png \(image/png\)") as caught:
        choose_format(suffix=None, accept=accept, forms=IMAGES)
    assert caught.value.kind.code == "form-not-available"


def test_suffix_wins_over_any_accept() -> None:
    assert choose_format(suffix="txt", accept="image/gif", forms=IMAGES) is Format.TEXT
    for suffix in ("gif", "TXT", "", "png/", "npy\0"):
        with pytest.raises(ProblemError, match=re.escape(f"got {echo(suffix)}.")):
            choose_format(suffix=suffix, accept="*/*", forms=IMAGES)
