"""A page that a browser keeps out is in the log, with the setting that would let it in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Caller

from service.app import create_app
from service.observability.logs import JsonFormatter
from service.settings import Settings

PAGE = "https://page.example"


def ask(api: Caller, origin: str, method: str = "POST", headers: str = "content-type") -> None:
    """A browser's question before the call itself."""
    asked = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    assert api.call("OPTIONS", "/encode", headers=asked).status in (204, 403)


class Kept(logging.Handler):
    """The lines about pages that were kept out."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = json.loads(JsonFormatter().format(record))
        if line["event"] == "page of another origin kept out":
            self.lines.append(line)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    logger = logging.getLogger("service")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [(None, "VAE_CORS_ORIGINS is not set"), ("https://a.example", "VAE_CORS_ORIGINS does not contain")],
)
def test_page_that_is_kept_out_is_logged_once_with_the_setting(
    tiny_store: Path, kept: Kept, setting: str | None, reason: str
) -> None:
    """Only the browser knew: the server logged 200 for GET, which asks nothing before."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, cors_origins=setting))) as api:
        for _ in range(3):
            assert api.get("/sample", {"origin": PAGE}).status == 200
        ask(api, PAGE)
        api.get("/sample", {"origin": "null"})
        api.get("/sample", {"origin": "https://a.example"})
    line, of_a_file, *_ = kept.lines
    assert (line["level"], line["origin"]) == ("warning", PAGE)
    assert line["reason"].startswith(reason)
    assert "Add the origin to VAE_CORS_ORIGINS (--cors-origins)" in line["remedy"]
    assert of_a_file["origin"] == "null"
    assert "Serve the page over HTTP" in of_a_file["remedy"]
    assert len(kept.lines) == (3 if setting is None else 2), "an allowed page is not logged"


def test_page_whose_request_is_not_allowed_is_logged_with_the_reason(tiny_store: Path, kept: Kept) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, cors_origins=PAGE))) as api:
        for _ in range(2):
            ask(api, PAGE, headers="x-other")
            ask(api, PAGE, "DELETE")
            ask(api, PAGE)
    assert [line["reason"][-18:] for line in kept.lines] == ["but not `x-other`.", " but not `DELETE`."]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8000"},  # the host of the request, as older browsers tell it
        {"origin": "https://localhost:8000"},  # a proxy removed the TLS
        {"origin": "https://vae.example", "x-forwarded-host": "vae.example"},
        {"origin": "https://vae.example", "sec-fetch-site": "same-origin"},
        {},
    ],
)
def test_own_page_of_the_server_is_not_logged(tiny_store: Path, kept: Kept, headers: dict[str, str]) -> None:
    """Its POST requests name their origin too."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1))) as api:
        api.post("/sample", b"{}", headers=headers)
    assert kept.lines == []


def test_any_number_of_origins_is_a_bounded_number_of_lines(tiny_store: Path, kept: Kept) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1))) as api:
        for number in range(200):
            api.get("/livez", {"origin": f"https://{number}.example"})
    assert 1 < len(kept.lines) <= 64
