"""JSON and text end with one newline: a terminal's next prompt has its own line, and `wc -l` counts right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Answer, Caller
from server_process import Running, raw_answer

from service.api.native.table import OPERATIONS
from service.app import create_app
from service.http.negotiation import Format
from service.settings import Settings

IMAGE = [[0.5] * 28] * 28
#: A body for each operation that takes one.
BODIES = {
    "/sample": {"n": 2, "seed": 7},
    "/encode": {"images": [IMAGE]},
    "/decode": {"z": [[0.0] * 8]},
    "/reconstruct": {"images": [IMAGE]},
    "/interpolate": {"images": [IMAGE, IMAGE]},
    "/traverse": {"dims": [0], "steps": 2},
    "/score": {"images": [IMAGE]},
    "/nearest": {"z": [[0.0] * 8], "latents": [[1.0] * 8]},
}
DOCUMENTS = ["/", "/docs", "/models", "/models/mnist", "/limits", "/livez", "/readyz", "/openapi.json"]


def assert_last_line_ends(answer: Answer) -> None:
    assert answer.body.endswith(b"\n")
    assert not answer.body.endswith(b"\n\n")
    assert answer.headers["content-length"] == str(len(answer.body))


def test_every_operation_has_a_body_here() -> None:
    assert {operation.path for operation in OPERATIONS} == BODIES.keys()


@pytest.mark.parametrize("path", BODIES)
def test_answer_of_an_operation_ends_with_a_newline(api: Caller, path: str) -> None:
    formats = next(operation.formats for operation in OPERATIONS if operation.path == path)
    answer = api.post_json(path, BODIES[path])
    assert answer.status == 200
    assert_last_line_ends(answer)
    assert json.loads(answer.body)["model"].startswith("mnist@")
    if Format.TEXT in formats:
        assert_last_line_ends(api.post_json(f"{path}.txt", BODIES[path]))


@pytest.mark.parametrize("target", [*DOCUMENTS, "/problems", "/problems/too-busy", "/metrics"])
def test_document_ends_with_a_newline(api: Caller, target: str) -> None:
    answer = api.get(target)
    assert answer.status == 200
    assert_last_line_ends(answer)


@pytest.mark.parametrize("target", ["/nowhere", "/sample?n=0", "/sample.gif", "/models/none"])
def test_problem_ends_with_a_newline(api: Caller, target: str) -> None:
    answer = api.get(target)
    assert answer.status >= 400
    assert_last_line_ends(answer)


def test_table_of_problems_as_json_ends_with_a_newline(api: Caller) -> None:
    assert_last_line_ends(api.get("/problems", {"accept": "application/json"}))


@pytest.fixture
def administrated(tiny_store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, admin=True))) as caller:
        yield caller


def test_report_of_a_reload_ends_with_a_newline(administrated: Caller) -> None:
    answer = administrated.post("/models/mnist/reload")
    assert answer.status == 200
    assert_last_line_ends(answer)


def test_problem_of_the_server_itself_ends_with_a_newline(server: Running) -> None:
    head, body = raw_answer(server, b"no HTTP\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "malformed-request"
    assert body.endswith(b"}\n")
    assert b"content-length: %d\r\n" % len(body) in head
