"""The one table of errors, and the bodies made from it."""

from __future__ import annotations

import inspect
import json

import pytest
from http_calls import Caller

import service.codecs.errors as codec_errors
import service.engine.errors as engine_errors
from service.http.problem_documents import MAX_BODY_BYTES, problem_body
from service.http.problems import (
    DOMAIN_ERRORS,
    MAX_ITEMS,
    PROBLEMS,
    Item,
    ProblemError,
    problem_of,
    table_text,
)


def test_every_code_has_status_title_and_remedy() -> None:
    for code, row in PROBLEMS.items():
        assert row.code == code
        assert 400 <= row.status <= 599
        assert row.title
        assert row.remedy.endswith(".")


def test_every_error_of_the_engine_and_the_codecs_has_a_row() -> None:
    """A new class of error must be given a status on purpose."""
    listed = {kind for kind, _ in DOMAIN_ERRORS}
    roots = (engine_errors.EngineError, codec_errors.CodecError)
    # Never seen by a caller: the registry turns it into ModelUnavailable; a parent; nobody there to see it.
    internal = {
        *(engine_errors.ModelRejected, engine_errors.NotRun, engine_errors.CallerDisconnected),
        engine_errors.AcceleratorUnavailable,  # the process ends before it serves
    }
    for module in (engine_errors, codec_errors):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, roots) and kind not in internal:
                assert any(kind is row or (issubclass(kind, row) and row not in roots) for row in listed) or (
                    kind in (codec_errors.InvalidValue, codec_errors.PictureTooLarge)
                ), kind
    order = [kind for kind, _ in DOMAIN_ERRORS]
    for i, kind in enumerate(order):
        assert not any(issubclass(later, kind) for later in order[i + 1 :]), f"{kind} hides a later row"


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "é" * 50_000, "\U0001f4a9" * 50_000, '"\\' * 50_000, "\ud800" * 9]
)
def test_body_is_short_whatever_the_error_carries(text: str) -> None:
    items = [Item(text, text, text, text)] * 50
    body = problem_body(ProblemError("invalid-value", text, items=items), request_id="r" * 64)
    assert len(body) <= MAX_BODY_BYTES
    document = json.loads(body)
    assert 1 <= len(document["errors"]) <= MAX_ITEMS
    assert document["status"] == 422
    assert document["type"] == "/problems/invalid-value"
    assert document["request_id"] == "r" * 64


def test_domain_errors_keep_their_places_and_remedies() -> None:
    error = engine_errors.InvalidInput(
        "images[2]", "(1, 28, 28), channels first", "shape (28, 28)", "Add the channel axis."
    )
    problem = problem_of(error)
    assert problem.kind.status == 422
    assert problem.detail == (
        "images[2]: expected (1, 28, 28), channels first, got shape (28, 28). Add the channel axis."
    )
    (item,) = problem.items
    assert (item.where, item.remedy) == ("images[2]", "Add the channel axis.")


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/models/..%5c", None),
        ("/sample?model=a@b@c", None),
        ("/sample?model=nobody", None),
        ("/sample?n=0", None),
        ("/sample?n=1&n=2", None),
        ("/sample.gif", None),
        ("/encode", b"[]"),
        ("/encode", b'{"images": []}'),
        ("/encode?model=%00", b"{}"),
        ("/decode", b"\x93NUMPY"),
    ],
)
def test_what_is_promised_in_errors_is_there(api: Caller, target: str, body: bytes | None) -> None:
    """The remedies of the table say that errors[] names the place."""
    problem = (api.get(target) if body is None else api.post(target, body)).json()
    assert problem["errors"], problem
    assert all(problem["errors"][0].values()), problem


def test_table_can_be_read_by_people_and_programs(api: Caller) -> None:
    text = api.get("/problems", {"accept": "*/*"})
    assert text.headers["content-type"].startswith("text/plain")
    assert text.body.decode() == table_text()
    rows = api.get("/problems", {"accept": "application/json"}).json()["problems"]
    assert [row["code"] for row in rows] == list(PROBLEMS)
    for code in PROBLEMS:
        assert code in text.body.decode()
        assert api.get(f"/problems/{code}").json()["code"] == code


def test_type_of_a_problem_leads_to_its_row(api: Caller) -> None:
    problem = api.get("/sample?n=0").json()
    assert api.get(problem["type"]).json() == {
        "code": problem["code"],
        "status": problem["status"],
        "title": problem["title"],
        "remedy": problem["remedy"],
    }
