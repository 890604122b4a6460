"""What a first visit transfers: all of the page, without pictures, in less than 60 kB."""

from __future__ import annotations

import gzip
import http.client
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playground import Play, playing
from server_process import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

MOST_BYTES = 60_000
PAGE = Path(__file__).parents[2] / "service/api/pages/playground"


def transferred(running: Running, target: str) -> int:
    """Bytes of a body as a browser gets it."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    try:
        connection.request(
            "GET", target, headers={"Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "gzip"}
        )
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200
        if answer.getheader("Content-Encoding") == "gzip":
            assert gzip.decompress(body)
        return len(body)
    finally:
        connection.close()


@pytest.mark.parametrize("language", ["en", "ko"])
def test_page_its_scripts_and_styles_are_small(browser: Browser, server: Running, language: str) -> None:
    """Everything that a browser of this language loads: the files of all panels come at once."""
    with playing(browser, f"http://127.0.0.1:{server.port}/", locale=f"{language}-KR") as play:
        play.open()
        addresses = play.record.addresses
    parts = sorted({urlsplit(each).path for each in addresses if "/playground/" in each} | {"/"})
    assert any(part.endswith(f"texts/{language}.js") for part in parts)
    sizes = {part: transferred(server, part) for part in parts}
    assert len(sizes) >= 20, "the page no longer loads its modules from /playground/"
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_every_file_is_loaded_at_the_start(play: Play) -> None:
    """A module that is loaded later is gone after an upgrade of the server."""
    play.open()
    loaded = {
        urlsplit(each).path.split("/", 3)[3] for each in play.record.addresses if "/playground/" in each
    }
    files = {str(file.relative_to(PAGE)) for file in PAGE.rglob("*.*") if file.suffix in {".js", ".css"}}
    # The texts of the other language, which the switch loads.
    assert loaded == files - {"texts/ko.js"}
