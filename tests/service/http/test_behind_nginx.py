"""Behind a real nginx under /vae/, configured as the page about proxies shows, links lead back through it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import pytest
from nginx import Fetched, fetch, needs_nginx, nginx
from patience import PATIENCE_S
from server_process import Running, serving

from service.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/proxy.md"
STRIPPED, KEPT = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
#: The same, without a word about the prefix.
SILENT = "location /vae/ { proxy_pass http://127.0.0.1:8000/; proxy_set_header Host $http_host; }"
TRUSTING = ("--trusted-proxies", "127.0.0.1")
pytestmark = needs_nginx


class Site(NamedTuple):
    """A server behind nginx, and the address of both together."""

    url: str
    running: Running


def before(running: Running, location: str) -> str:
    return location.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")


def found_by(url: str, link: str) -> Fetched:
    return fetch(urljoin(url, link))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((STRIPPED, TRUSTING), id="stripped, told by the header"),
        pytest.param((STRIPPED, ("--root-path", "/vae")), id="stripped, set"),
        pytest.param((SILENT, ("--root-path", "/vae")), id="stripped in silence, set"),
        pytest.param((KEPT, ("--root-path", "/vae")), id="kept, set"),
        pytest.param((KEPT, ("--root-path", "/vae", *TRUSTING)), id="kept, set and told"),
    ],
)
def site(
    tiny_store: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Site]:
    location, arguments = request.param
    home = tmp_path_factory.mktemp("nginx")
    with (
        serving(tiny_store, home / "log", *arguments) as running,
        nginx(home, before(running, location)) as public,
    ):
        yield Site(f"{public}/vae/", running)
        assert running.stop() == 0


def test_commands_of_the_help_work_through_the_proxy(site: Site, tmp_path: Path) -> None:
    text = fetch(site.url).body.decode()
    commands = [line.strip() for line in text.splitlines() if line.startswith("  curl ")]
    assert len(commands) > 15
    for command in commands:
        assert site.url in command
        done = subprocess.run(
            [*shlex.split(command), "-sS", "--fail"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, (command, done.stderr)


def test_docs_page_finds_its_files_the_document_and_the_server(site: Site) -> None:
    page = fetch(f"{site.url}docs")
    links = re.findall(r"""(?:src|href|url)[=:]['"]([^'"]+)['"]""", page.body.decode())
    assert len(links) >= 4
    for link in links:
        if not link.startswith("data:"):
            assert found_by(f"{site.url}docs", link).status == 200, link
    location = f"{site.url}openapi.json"
    (server,) = json.loads(fetch(location).body)["servers"]
    assert fetch(urljoin(location, server["url"]).rstrip("/") + "/sample").status == 200


def test_playground_finds_its_files_with_and_without_a_slash_behind_the_prefix(site: Site) -> None:
    """nginx redirects /vae to /vae/ where it strips the prefix, and passes it on where it keeps it."""
    for start in (site.url, site.url.rstrip("/")):
        url, page = start, fetch(start, accept="text/html")
        if page.status in (301, 307):
            url = urljoin(url, page.headers["location"])
            page = fetch(url, accept="text/html")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        links = re.findall(r"""(?:src|href)=['"]([^'"#]+)['"]""", page.body.decode())
        assert [link for link in links if link.endswith("main.js")]
        for link in links:
            assert found_by(url, link).status == 200, link


@pytest.fixture(scope="module")
def packing(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """nginx packs what the server sends as it is, and weakens each ETag by that."""
    home = tmp_path_factory.mktemp("packing")
    location = "location / { proxy_pass http://127.0.0.1:8000; gzip on; gzip_proxied any; gzip_types *; }"
    with (
        serving(tiny_store, home / "log", "--compression", "false") as running,
        nginx(home, before(running, location)) as public,
    ):
        yield Site(f"{public}/", running)
        assert running.stop() == 0


@pytest.mark.parametrize("path", ["", "playground", "sample?seed=7&n=20", "traverse.txt"])
def test_browser_behind_a_proxy_that_packs_still_receives_304(packing: Site, path: str) -> None:
    """An ETag that comes back as W/"…" names the same content (jshttp/fresh#17, hapijs/hapi#3956)."""
    browse = partial(fetch, accept="text/html, */*;q=0.8", accept_encoding="gzip")
    if path == "playground":
        page = fetch(packing.url, accept="text/html").body.decode()
        (path,) = re.findall(r'href="([^"]+style\.css)"', page)
    first = browse(urljoin(packing.url, path))
    assert (first.status, first.headers["content-encoding"]) == (200, "gzip")
    assert first.headers["etag"].startswith("W/")
    again = browse(urljoin(packing.url, path), if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


def test_docs_with_a_slash_lead_to_the_docs_behind_the_prefix(site: Site) -> None:
    answer = fetch(f"{site.url}docs/")
    assert answer.status == 307
    assert urljoin(f"{site.url}docs/", answer.headers["location"]) == f"{site.url}docs"


def test_problems_lead_to_their_descriptions(site: Site) -> None:
    for path in ("nowhere", "models/none", "sample?n=0"):
        refusal = json.loads(fetch(f"{site.url}{path}").body)
        described = found_by(site.url, refusal["type"])
        assert (described.status, json.loads(described.body)["code"]) == (200, refusal["code"])
        texts = [refusal["detail"], refusal["remedy"], *(item["remedy"] for item in refusal["errors"])]
        for path_in_text in re.findall(r"\bGET (/[a-z/]*)", " ".join(texts)):
            assert path_in_text.startswith("/vae/")
            assert found_by(site.url, path_in_text).status == 200, path_in_text


@pytest.mark.parametrize("location", [STRIPPED, KEPT], ids=["stripped", "kept"])
def test_bodies_of_every_size_get_the_answer_of_the_server(
    tiny_store: Path, tmp_path: Path, location: str
) -> None:
    """Without another limit, nginx refuses a photograph of more than 1 MB, in HTML."""
    most: int = Settings.model_fields["max_body_bytes"].default
    with (
        serving(tiny_store, tmp_path / "log", "--root-path", "/vae") as running,
        nginx(tmp_path, before(running, location)) as public,
    ):
        for size, code in (
            (1_500_000, "media-type-not-supported"),
            (most, "media-type-not-supported"),
            (most + 1, "body-too-large"),
        ):
            answer = fetch(f"{public}/vae/encode", bytes(size))
            assert json.loads(answer.body)["code"] == code, (size, answer)
        assert running.stop() == 0


HOSTILE = (
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "/x/../evil",
    "/evil?a=b",
    "/evil#a",
    '/evil"><script>alert(1)</script>',
    "/evil'$(id)'",
    "/evil;id",
    "/%0d%0aevil:1",
    "/evil" + "a" * 10_000,
    "/evil," * 2_000,
    "evil",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_header_of_a_client_reaches_no_link(site: Site, value: str) -> None:
    """nginx replaces it, or passes it on where its configuration does not name it."""
    for path in ("", "docs", "docs/", "openapi.json", "nowhere", "models/none"):
        plain = fetch(f"{site.url}{path}")
        answer = fetch(f"{site.url}{path}", x_forwarded_prefix=value, x_forwarded_host='evil.example"<b>')
        assert answer.status == plain.status
        assert "evil" not in str(answer.headers)
        assert b"evil" not in answer.body


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_header_that_a_trusted_proxy_passes_on_is_not_taken(
    tiny_store: Path, careless: Site, value: str
) -> None:
    for path in ("", "docs", "docs/", "openapi.json", "nowhere"):
        answer = fetch(f"{careless.url}{path}", x_forwarded_prefix=value)
        assert answer.status in (200, 307, 404)
        assert "evil" not in str(answer.headers)
        assert b"evil" not in answer.body


@pytest.fixture(scope="module")
def careless(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server trusts a proxy that passes on what clients send."""
    home = tmp_path_factory.mktemp("careless")
    with (
        serving(tiny_store, home / "log", *TRUSTING) as running,
        nginx(home, before(running, "location / { proxy_pass http://127.0.0.1:8000; }")) as public,
    ):
        yield Site(f"{public}/", running)
        assert running.stop() == 0


def test_header_changes_links_and_never_the_path(careless: Site) -> None:
    """Otherwise `/x/metrics` with the prefix `/x` would pass by a rule of the proxy for /metrics."""
    answer = fetch(f"{careless.url}x/metrics", x_forwarded_prefix="/x")
    assert (answer.status, json.loads(answer.body)["type"]) == (404, "/x/problems/unknown-path")


def test_unknown_path_names_the_setting_where_a_proxy_passes_its_prefix_on(
    tiny_store: Path, tmp_path: Path
) -> None:
    for number, arguments in enumerate(((), TRUSTING)):
        home = tmp_path / str(number)
        home.mkdir()
        with (
            serving(tiny_store, home / "log", *arguments) as running,
            nginx(home, before(running, KEPT)) as public,
        ):
            for path in ("docs", "sample.png", "models/mnist", ""):
                refusal = json.loads(fetch(f"{public}/vae/{path}").body)
                assert refusal["detail"] == (
                    "No endpoint has this path. If a proxy added /vae, the operator of the server sets "
                    "VAE_ROOT_PATH=/vae."
                )
            assert running.stop() == 0


def test_prefix_of_a_proxy_that_is_not_trusted_is_logged_once_with_the_settings(
    tiny_store: Path, tmp_path: Path
) -> None:
    with (
        serving(tiny_store, tmp_path / "log") as running,
        nginx(tmp_path, before(running, STRIPPED)) as public,
    ):
        for _ in range(3):
            text = fetch(f"{public}/vae/").body.decode()
            assert f"curl {public}/sample.txt\n" in text
        (line,) = running.lines("X-Forwarded-Prefix ignored")
        assert (line["level"], line["peer"]) == ("warning", "127.0.0.1")
        assert "VAE_TRUSTED_PROXIES" in line["remedy"]
        assert "VAE_ROOT_PATH" in line["remedy"]
        assert running.stop() == 0


def test_document_works_behind_a_proxy_that_says_nothing(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "log") as running, nginx(tmp_path, before(running, SILENT)) as public:
        location = f"{public}/vae/openapi.json"
        (server,) = json.loads(fetch(location).body)["servers"]
        assert fetch(urljoin(location, server["url"]).rstrip("/") + "/sample").status == 200
        assert fetch(f"{public}/vae/docs").status == 200
        assert running.stop() == 0
