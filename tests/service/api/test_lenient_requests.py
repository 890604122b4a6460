"""Requests as clients, balancers and proxies spell them, read as the web expects."""

from __future__ import annotations

import json

import pytest
from http_calls import Caller
from server_process import Running, raw_answer

from model_store.echo import echo

JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
PROBES = ("/livez", "/readyz", "/metrics")
PAGES = ("/", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/limits", "/problems", "/problems/not-ready")
Z = json.dumps({"z": [[0.0] * 8]}).encode()


@pytest.mark.parametrize("accept", [JAVA, "application/xml, */*;q=.5", "*", ""])
@pytest.mark.parametrize("path", ["/sample", "/models", "/models/mnist", "/problems"])
def test_every_path_that_negotiates_reads_accept_leniently(api: Caller, path: str, accept: str) -> None:
    answer = api.get(path, {"accept": accept})
    assert answer.status == 200
    expected = "text/plain" if path == "/problems" else "application/json"
    assert answer.headers["content-type"].partition(";")[0] == expected


@pytest.mark.parametrize("path", ["/sample", "/models", "/models/mnist", "/problems"])
def test_form_that_does_not_exist_is_still_refused(api: Caller, path: str) -> None:
    assert api.get(path, {"accept": "application/xml"}).code == "form-not-available"


def test_several_accept_lines_are_one_list(server: Running) -> None:
    lines = b"Accept: application/json;q=0.1\r\nAccept: image/gif\r\nAccept: image/png;q=.9\r\n"
    head, _ = raw_answer(server, b"GET /sample HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n")
    assert b"\r\ncontent-type: image/png\r\n" in head


@pytest.mark.parametrize("query", ["verbose", "_=1700000000", "a=1&a=2", "&&", "%ff", "=", "x" * 5000])
@pytest.mark.parametrize("path", [*PROBES, *PAGES])
def test_paths_without_parameters_ignore_any_query(api: Caller, path: str, query: str) -> None:
    """A probe that is answered 422 takes a healthy server out of service."""
    assert api.get(f"{path}?{query}").status == 200


@pytest.mark.parametrize("path", ["/models", "/models/mnist", "/sample", "/traverse"])
def test_paths_of_the_api_still_refuse_unknown_parameters(api: Caller, path: str) -> None:
    assert api.get(f"{path}?verbose=1").code == "invalid-parameter"


@pytest.mark.parametrize("query", ["n=2&seed=7&", "&n=2&seed=7", "n=2&&seed=7", "&&&n=2&&&seed=7&&&"])
def test_empty_pairs_of_a_query_do_not_count(api: Caller, query: str) -> None:
    assert api.get(f"/sample.npy?{query}").body == api.get("/sample.npy?n=2&seed=7").body


def test_query_of_nothing_but_separators_is_no_query(api: Caller) -> None:
    assert api.get("/models?&").status == 200
    assert api.get("/sample?&&&").status == 200


def test_empty_pairs_are_not_counted_as_parameters(api: Caller) -> None:
    assert api.get("/sample.npy?n=1" + "&" * 1000 + "seed=7").status == 200


@pytest.mark.parametrize("query", ["n", "n&seed=7", "n=&seed=7", "=1", "n=1&n=1", "n=1;seed=7"])
def test_what_is_no_pair_is_still_refused(api: Caller, query: str) -> None:
    assert api.get(f"/sample?{query}").code == "invalid-parameter"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/json",
        "TEXT/JSON; charset=UTF-8",
        "application/x-json",
        "application/json;charset=utf8",
        'application/json; charset="UTF-8"',
        "application/json ; CharSet = Utf-8 ;",
        "application/json; charset=us-ascii",
        "application/json; charset=",
        "application/json; charset: utf-16",
        'application/json; profile="charset=utf-16"',
        "application/json; xcharset=utf-16",
        "application/json; charset=ISO-8859-1",
        "application/json; charset=windows-1252",
        "application/json; charset=GBK",
        "application/json, application/json",
    ],
)
def test_json_is_taken_in_every_spelling_that_is_utf_8(api: Caller, content_type: str) -> None:
    answer = api.post("/decode.npy", Z, content_type)
    assert answer.status == 200, answer.body
    assert answer.body == api.post("/decode.npy", Z).body


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-16le", "utf-32", "utf-7", "shift_jis", "ebcdic", "x" * 300]
)
def test_json_in_another_charset_is_refused_with_the_remedy(api: Caller, charset: str) -> None:
    answer = api.post("/decode", Z, f"application/json; charset={charset}")
    assert (answer.status, answer.code) == (415, "media-type-not-supported")
    (item,) = answer.json()["errors"]
    assert item["remedy"] == "Encode the body as UTF-8, and send Content-Type: application/json."
    assert answer.headers["accept-post"] == "application/json, application/x-npy, application/x-safetensors"
    assert item["got"] == echo(charset)


def test_charset_beyond_ascii_is_refused_only_for_a_body_beyond_ascii(api: Caller) -> None:
    body = '{"n": 1, "label": "Ä"}'
    refused = api.post("/sample", body.encode("latin-1"), "application/json; charset=iso-8859-1")
    assert (refused.status, refused.code) == (415, "media-type-not-supported")
    assert api.post("/sample", b'{"n": 1}', "application/json; charset=iso-8859-1").status == 200


@pytest.mark.parametrize("content_type", ["application/xml", "text/plain; charset=utf-8", "text/jsonp"])
def test_another_type_is_still_refused(api: Caller, content_type: str) -> None:
    assert api.post("/decode", Z, content_type).code == "media-type-not-supported"
