"""The page at / for browsers, and its files: who receives them, for how long, and behind a proxy."""

from __future__ import annotations

import http.client
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from http_calls import Answer, Caller
from patience import PATIENCE_S
from server_process import Running

from service.api.pages.playground_files import read_playground
from service.app import create_app
from service.http.connection import SCOPE_KEY, Connection
from service.security.api_keys import new_key
from service.settings import Settings

KEY, ENTRY = new_key("use", "phone-app")
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = read_playground()
MAIN = f"/playground/{FILES.digest}/main.js"


@pytest.fixture(scope="module")
def off(tiny_store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, playground=False))) as caller:
        yield caller


@pytest.fixture(scope="module")
def locked(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{ENTRY.line}\n")
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, api_keys_file=keys))) as caller:
        yield caller


@pytest.fixture(scope="module")
def proxied(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1, trusted_proxies="10.0.0.1", root_path="/set")
    with Caller(create_app(settings)) as caller:
        yield caller


def browse(api: Caller, target: str = "/", **headers: str) -> Answer:
    return api.get(target, headers={"accept": FIREFOX} | headers)


def text_of(answer: Answer) -> str:
    return answer.body.decode()


def varies_by(answer: Answer) -> set[str]:
    return {name.strip().lower() for name in answer.headers.get("vary", "").split(",")} - {""}


def addresses(page: str) -> list[str]:
    return re.findall(r'\s(?:src|href)="([^"#][^"#]*)', page)


@pytest.mark.parametrize(
    "accept", [FIREFOX, CHROMIUM, "text/html", "text/html, text/*;q=0.5, image/*", "TEXT/HTML"]
)
def test_browser_receives_the_page(api: Caller, accept: str) -> None:
    answer = api.get("/", headers={"accept": accept})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert text_of(answer).lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "accept",
    [
        *(None, "", "*/*", "text/*", "text/plain", "application/json", "nonsense", "text/html;q=0"),
        # Lynx, which runs no script.
        "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01",
        "application/json, */*;q=0.5",
        "text/html;q=0.5, */*",
        "text/html;level=1;q=0",
        ",;=,",
    ],
)
def test_every_other_client_receives_the_help(api: Caller, accept: str | None) -> None:
    answer = api.get("/", headers={} if accept is None else {"accept": accept})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert text_of(answer).startswith("A variational autoencoder behind HTTP.")
    assert "accept" in varies_by(answer)


def test_page_allows_its_own_files_alone_and_has_nothing_inline(api: Caller) -> None:
    answer = browse(api)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (
        re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|<base|<form[^>]*action", text_of(answer)) == []
    )
    assert re.findall(r"<script(?![^>]*\ssrc=)", text_of(answer)) == []
    assert [each for each in addresses(text_of(answer)) if "://" in each or each.startswith("//")] == []


def test_page_names_files_that_exist(api: Caller) -> None:
    paths = [urljoin("/", each) for each in addresses(text_of(browse(api))) if not each.startswith("data:")]
    assert MAIN in paths
    assert {path: api.get(path).status for path in paths} == dict.fromkeys(paths, 200)


def test_page_names_every_module_so_that_a_browser_need_not_find_them_one_by_one(api: Caller) -> None:
    named = re.findall(r'rel="modulepreload" href="[^"]*/[0-9a-f]{16}/([^"]+)"', text_of(browse(api)))
    modules = {name for name in FILES.assets if name.endswith(".js")}
    # The page's own script, and the texts of the languages, of which it loads one.
    assert set(named) == modules - {"main.js"} - {name for name in modules if name.startswith("texts/")}
    assert len(named) == len(set(named)) > 20


def test_scripts_and_styles_name_files_that_exist() -> None:
    """A module that a browser cannot find stops the page."""
    missing = []
    for name, file in FILES.assets.items():
        text = file.plain.content.decode("utf-8", "replace")
        found = re.findall(
            r"""(?:\bfrom|\bimport|\bimport\()\s*["'](\.[^"']+)["']|url\(["']?([^)"':]+)""", text
        )
        for named in (script or style for script, style in found):
            if urljoin(name, named) not in FILES.assets:
                missing.append((name, named))
    assert missing == []


@pytest.mark.parametrize("name", sorted(FILES.assets))
def test_file_may_be_kept_for_ever_because_its_address_has_a_digest(api: Caller, name: str) -> None:
    kinds = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
    answer = api.get(f"/playground/{FILES.digest}/{name}")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == kinds.get(
        name.rpartition(".")[2], answer.headers["content-type"]
    )
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.headers["etag"])
    assert varies_by(answer) == {"accept-encoding"}


@pytest.mark.parametrize("target", ["/", MAIN])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_client_that_has_the_file_receives_no_body(api: Caller, target: str, coding: str) -> None:
    first = browse(api, target, **{"accept-encoding": coding})
    etag = first.headers["etag"]
    for sent, tag in (
        (etag, etag),
        (f"W/{etag}", f"W/{etag}"),
        (f'W/"other", {etag}', etag),
        (f'"a,b" ,W/{etag}', f"W/{etag}"),
        ("*", etag),
    ):
        again = browse(api, target, **{"accept-encoding": coding, "if-none-match": sent})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
        same = ("cache-control", "vary")
        assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
        assert "content-type" not in again.headers
    for sent in ('"other"', etag.strip('"'), "W/", '"', etag[:-2] + '"', "x" * 100_000):
        assert browse(api, target, **{"accept-encoding": coding, "if-none-match": sent}).status == 200


@pytest.mark.parametrize("target", ["/", *(f"/playground/{FILES.digest}/{name}" for name in FILES.assets)])
def test_packed_file_has_the_same_content_and_another_etag(api: Caller, target: str) -> None:
    plain, packed = (browse(api, target, **{"accept-encoding": each}) for each in ("identity", "gzip, br"))
    if packed.headers.get("content-encoding") == "gzip":
        assert zlib.decompress(packed.body, 31) == plain.body
        assert packed.headers["etag"] != plain.headers["etag"]
        assert len(packed.body) < len(plain.body)
    else:
        assert packed.body == plain.body


def test_with_compression_off_files_are_sent_as_they_are(tiny_store: Path) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, compression=False))) as plain:
        for target in ("/", MAIN):
            assert "content-encoding" not in browse(plain, target, **{"accept-encoding": "gzip"}).headers


@pytest.mark.parametrize(
    "path",
    [
        *(
            "main.js/",
            "",
            "nothing.js",
            "index.html",
            "../main.js",
            "..%2fmain.js",
            "%2e%2e/%2e%2e/settings.py",
        ),
        *(
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "main.js%00",
            "panels",
            "MAIN.JS",
            "main.js%0d%0aX: y",
            "a" * 5_000,
        ),
    ],
)
def test_other_paths_below_the_digest_are_unknown(api: Caller, path: str) -> None:
    answer = api.get(f"/playground/{FILES.digest}/{path}")
    assert (answer.status, answer.json()["code"]) == (404, "unknown-path")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("digest", ["0123456789abcdef", FILES.digest.upper() + "0", "{{assets}}"])
def test_page_that_was_open_during_an_upgrade_learns_to_reload(api: Caller, digest: str) -> None:
    answer = api.get(f"/playground/{digest}/main.js")
    assert (answer.status, answer.json()["code"]) == (404, "unknown-path")
    assert "another release" in answer.json()["detail"]
    assert "Reload the page" in answer.json()["detail"]


def test_digest_changes_with_every_file(tmp_path: Path) -> None:
    def digest_of(**files: str) -> str:
        home = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in {"index.html": "<!DOCTYPE html>", **files}.items():
            path = home / name.replace("_", "/").replace("/js", ".js")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_playground(home).digest

    one = digest_of(main_js="a")
    assert one == digest_of(main_js="a")
    assert (
        len({one, digest_of(main_js="b"), digest_of(main_js="a", panels_map_js=""), digest_of(mains_js="a")})
        == 4
    )


def test_files_of_editors_are_not_sent(tmp_path: Path) -> None:
    for name in ("index.html", "main.js", "main.js~", ".hidden.js", "notes.md", "tsconfig.tsbuildinfo"):
        (tmp_path / name).write_text("x")
    assert set(read_playground(tmp_path).assets) == {"main.js"}


@pytest.mark.parametrize("target", ["/", MAIN])
def test_head_has_the_headers_of_get(api: Caller, target: str) -> None:
    got, head = (api.call(method, target, headers={"accept": FIREFOX}) for method in ("GET", "HEAD"))
    changing = ("x-request-id", "server-timing")
    assert [each for each in head.headers.items() if each[0] not in changing] == [
        each for each in got.headers.items() if each[0] not in changing
    ]


@pytest.mark.parametrize("target", ["/", MAIN])
def test_other_methods_are_refused(api: Caller, target: str) -> None:
    assert api.call("POST", target, body=b"{}").status == 405


def test_setting_turns_all_of_it_off(off: Caller) -> None:
    answer = browse(off)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert off.get(MAIN).status == 404


def test_page_and_files_need_no_key_and_the_rest_does(locked: Caller) -> None:
    assert browse(locked).status == 200
    assert locked.get(MAIN).status == 200
    assert locked.get("/models").status == 401
    assert locked.get("/playgrounds").status == 401


def through(api: Caller, target: str, **headers: str) -> Answer:
    connection = Connection()
    connection.peer = "10.0.0.1"
    answer: Answer = api.run(
        api.acall("GET", target, headers={"accept": FIREFOX} | headers, extensions={SCOPE_KEY: connection})
    )
    return answer


@pytest.mark.parametrize(
    ("target", "at", "headers"),
    [
        ("/", "/set/", {}),
        ("/set", "/set", {}),
        ("/set/", "/set/", {}),
        ("/", "/told", {"x-forwarded-prefix": "/told"}),
        ("/", "/a/b/", {"x-forwarded-prefix": "/a/b/"}),
    ],
)
def test_addresses_lead_back_through_a_prefix_with_and_without_a_slash(
    proxied: Caller, target: str, at: str, headers: dict[str, str]
) -> None:
    """A browser at /vae, without the slash, resolves `playground/…` to /playground/…."""
    page = through(proxied, target, **headers)
    prefix = at.rstrip("/")
    found = [urljoin(f"https://h.example{at}", each) for each in addresses(text_of(page))]
    assert f"https://h.example{prefix}{MAIN}" in found
    assert [each for each in found if not each.startswith(f"https://h.example{prefix}/")] == []


def test_without_a_known_prefix_addresses_are_relative(api: Caller) -> None:
    assert [each for each in addresses(text_of(browse(api))) if each.startswith("/")] == []


def test_pages_of_two_prefixes_have_two_etags(proxied: Caller) -> None:
    one, other = (through(proxied, "/", **{"x-forwarded-prefix": each}) for each in ("/a", "/b"))
    assert one.headers["etag"] != other.headers["etag"]


def test_server_sends_page_file_and_304_on_one_connection(server: Running) -> None:
    """A 304 with a body, or with a length, would shift every later response."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:

        def get(target: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
            connection.request("GET", target, headers={"accept": FIREFOX} | headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers

        for target in ("/", MAIN, "/"):
            _, _, headers = get(target)
            status, body, again = get(target, **{"if-none-match": headers["etag"]})
            assert (status, body) == (304, b"")
            assert "transfer-encoding" not in again
            assert "content-length" not in again
        assert get("/livez")[0] == 200
    finally:
        connection.close()
