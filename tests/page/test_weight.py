"""What a first visit transfers: all of the page, without pictures, in about 60 kB."""

from __future__ import annotations

import gzip
import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playground import Play
from server_process import Running

pytestmark = pytest.mark.page

#: Below 60 KiB. The aim is 60,000: lower this number with each byte that goes, and never raise it.
MOST_BYTES = 60_700
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


def test_page_and_its_scripts_are_small(play: Play, server: Running) -> None:
    play.open()
    parts = sorted({urlsplit(each).path for each in play.record.addresses if "/playground/" in each} | {"/"})
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
    # Types only, and the texts of the other language, which the switch loads.
    assert loaded == files - {"panels/panel.js", "texts/ko.js"}
