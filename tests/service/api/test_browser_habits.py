"""What browsers, crawlers and people at a terminal ask for by habit."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pytest
from http_calls import Caller
from PIL import Image
from server_process import Running, raw_answer

#: As Firefox sends it.
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
#: Every path of GET, with a name that exists.
PATHS = [
    *("/sample", "/sample.png", "/sample.json", "/traverse", "/traverse.txt"),
    *("/models", "/models/mnist", "/models/mnist@stable", "/problems", "/problems/too-busy"),
    *("/models/mnist/preview", "/models/mnist/preview.png"),
    *("/livez", "/readyz", "/metrics", "/limits", "/docs", "/openapi.json", "/docs/swagger-ui.css"),
    *("/favicon.ico", "/robots.txt"),
]


def test_paths_here_are_all_paths_of_get(api: Caller) -> None:
    for route in api.app.router.routes:
        # Clients of the Open Inference Protocol have habits of their own, and tests.
        # Files of a page, below a digest, have none: whatever follows the digest is a name.
        if "GET" in route.methods and route.path != "/" and not route.path.startswith(("/v2", "/playground")):
            assert any(re.fullmatch(route.path_regex, path) for path in PATHS), route.path


@pytest.mark.parametrize("path", PATHS)
def test_slash_at_the_end_leads_to_the_path_without_it(api: Caller, path: str) -> None:
    """FastAPI's own redirect names a host and a scheme, which behind a proxy are wrong (fastapi #4990)."""
    for method in ("GET", "HEAD", "POST"):
        answer = api.call(method, f"{path}/?n=2&seed=7")
        assert answer.status == 307
        for before in ("http://localhost:8000", "https://a.example/vae", "https://a.example/team/vae"):
            location = answer.headers["location"]
            assert urljoin(f"{before}{path}/?n=2&seed=7", location) == f"{before}{path}?n=2&seed=7"


def test_location_is_escaped_like_the_path(api: Caller) -> None:
    assert api.get("/models/m%C3%A9%20%22%3Fa/").headers["location"] == "../m%C3%A9%20%22%3Fa"


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/docs//",
        "/nowhere/",
        "/sample//",
        "/models/mnist/none/",
        "/models/..%2f",
        "/models/a%2f/",
        "/models/%2e%2e/",
    ],
)
def test_slash_leads_nowhere_without_such_a_path(api: Caller, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.code) == (404, "unknown-path")


def test_body_is_sent_again_to_the_path_without_the_slash(server: Running, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"n": 2, "seed": 7}')
    done = subprocess.run(
        ["curl", "-sSL", "-d", f"@{body}", f"http://127.0.0.1:{server.port}/sample/"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert '"seed":7' in done.stdout


def test_browser_finds_an_icon(api: Caller) -> None:
    """A page of plain text cannot name one, so browsers try this path, and each 404 is a line in the log."""
    answer = api.get("/favicon.ico", BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.body)) as icon:
        assert icon.size == (64, 64)
        assert {*np.unique(np.asarray(icon))} == {0, 255}
    assert len(answer.body) < 1_000


def test_crawler_is_asked_to_leave(api: Caller) -> None:
    answer = api.get("/robots.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body == b"User-agent: *\nDisallow: /\n"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/sample", "image/png"),
        ("/sample.txt", "text/plain; charset=utf-8"),
        ("/traverse", "image/png"),
        ("/problems", "text/plain; charset=utf-8"),
        ("/models", "application/json"),
        ("/models/mnist", "application/json"),
        ("/limits", "application/json"),
        ("/livez", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/nowhere", "application/problem+json"),
    ],
)
def test_browser_shows_every_page(api: Caller, path: str, content_type: str) -> None:
    assert api.get(path, BROWSER).headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/sample.png?seed=7&scale=2", r"sample-mnist@\d-seed-7\.png"),
        ("/sample.png", r"sample-mnist@\d-seed-\d+\.png"),
        ("/sample.npz?seed=7&model=mnist@2", r"sample-mnist@2-seed-7\.npz"),
        ("/sample.npy?seed=7&n=500&model=mnist@2", r"sample-mnist@2-seed-7\.npy"),
        ("/traverse.png?model=plain", r"traverse-plain@1\.png"),
    ],
)
def test_saved_file_is_named_by_what_it_holds(api: Caller, target: str, name: str) -> None:
    answer = api.get(target)
    assert re.fullmatch(rf'inline; filename="{name}"', answer.headers["content-disposition"])


def test_head_has_the_name_that_get_would_have(api: Caller) -> None:
    for target in ("/sample.png?seed=7", "/traverse.npz"):
        name = api.get(target).headers["content-disposition"]
        assert api.call("HEAD", target).headers["content-disposition"] == name
    assert "content-disposition" not in api.call("HEAD", "/sample.png").headers  # GET draws the seed


def test_answer_that_is_read_and_not_saved_has_no_name(api: Caller) -> None:
    for target in ("/sample?seed=7", "/sample.txt?seed=7", "/models", "/docs"):
        assert "content-disposition" not in api.get(target).headers
    assert "content-disposition" not in api.post_json("/sample.png", {"seed": 7}).headers
    assert "content-disposition" not in api.get("/sample.png?n=0").headers


def test_curl_saves_each_seed_under_its_own_name(server: Running, tmp_path: Path) -> None:
    """By the address alone, the second `sample.png` would be refused, or replace the first."""
    for seed in (7, 8):
        url = f"http://127.0.0.1:{server.port}/sample.png?seed={seed}&model=mnist@2"
        subprocess.run(["curl", "-sSOJ", url], cwd=tmp_path, check=True)
    names = ["sample-mnist@2-seed-7.png", "sample-mnist@2-seed-8.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /sample?seed=7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"no HTTP\r\n\r\n",
    ],
)
def test_every_answer_has_the_time(server: Running, request_bytes: bytes) -> None:
    """RFC 9110, 6.6.1: a server with a clock states it, also where it answers without its application."""
    head, _ = raw_answer(server, request_bytes)
    day = rb"(?i)\r\ndate: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n"
    assert len(re.findall(day, head)) == 1
