"""Pages of other origins in a browser: what an allowed one may do, and what every other one may not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import browsing, needs_chromium
from server_process import serving

pytestmark = needs_chromium

#: Each kind of call of one server → its result: a width, a status, or the name of an error.
CALLS = """
async (server) => {
    const image = (crossOrigin) => new Promise((done) => {
        const element = new Image();
        if (crossOrigin) element.crossOrigin = crossOrigin;
        element.onload = () => done(element.naturalWidth);
        element.onerror = () => done('blocked');
        element.src = server + '/sample.png?seed=7';
    });
    const ask = (options) => fetch(server + '/sample?n=1', options).then((a) => a.status, (e) => e.name);
    return {
        image: await image(), readable: await image('anonymous'), get: await ask({}),
        post: await ask({method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}),
        delete: await ask({method: 'DELETE'}),
    };
}
"""


class Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>a page of another origin</title>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def page() -> Iterator[int]:
    """The port of a page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_pages_of_other_origins_may_do_what_the_setting_says(
    tiny_store: Path, tmp_path: Path, page: int
) -> None:
    """The page is on 127.0.0.1 and the server on localhost: for a browser, these are two sites."""
    allowed = f"http://127.0.0.1:{page}"
    other = f"http://[::1]:{page}"
    blocked = {"readable": "blocked", "get": "TypeError", "post": "TypeError", "delete": "TypeError"}
    with browsing(tmp_path) as browser:
        browser.go(allowed)
        for setting, expected in (
            (allowed, {"image": 28, "readable": 28, "get": 200, "post": 200, "delete": "TypeError"}),
            (other, {"image": 28, **blocked}),
            (None, {"image": "blocked", **blocked}),
        ):
            arguments = ("--cors-origins", setting) if setting else ()
            with serving(tiny_store, tmp_path / "log", *arguments) as running:
                server = json.dumps(f"http://localhost:{running.port}")
                assert browser.js(f"({CALLS})({server})") == expected, setting
                lines = running.lines("page of another origin kept out")
                assert {line["origin"] for line in lines} == {allowed}
                reasons = {line["reason"] for line in lines}
                if setting == allowed:
                    assert reasons == {"Pages of other origins may send GET, HEAD, POST, but not `DELETE`."}
                else:
                    assert len(reasons) == 1
                    assert reasons.pop().startswith("VAE_CORS_ORIGINS ")
                assert running.stop() == 0
