"""What happens around every request, and when something goes wrong in it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Caller

from service.app import create_app
from service.engine import InferenceFailed, ModelRegistry
from service.engine.runtime.batch_invariance import BatchInvariantGraph
from service.http.connection import SCOPE_KEY, Connection
from service.http.middleware import has_failed_with
from service.log_fields import fields
from service.observability.access_log import AccessLog
from service.observability.logs import JsonFormatter, TextFormatter
from service.observability.probes import PROBES
from service.setting_values import AccessLogMode
from service.settings import Settings


class Lines(logging.Handler):
    """Formatted lines, as the server writes them."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@contextlib.contextmanager
def listening(formatter: logging.Formatter) -> Iterator[Lines]:
    handler = Lines(formatter)
    logger = logging.getLogger("service")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@pytest.fixture
def log() -> Iterator[Lines]:
    with listening(JsonFormatter()) as handler:
        yield handler


def test_one_request_is_one_line_with_its_id_and_no_pixels(api: Caller, log: Lines) -> None:
    body = json.dumps({"z": [[0.123456] * 8]}).encode()
    answer = api.post("/decode?model=mnist@2", body)
    (line,) = log.documents
    assert line["event"] == "request"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/decode", 200)
    assert (line["model"], line["images"], line["body_bytes"]) == ("mnist@2", 1, len(body))
    assert line["ms"] > 0
    assert "0.1234" not in log.lines[0]
    api.post("/decode", b'{"z": "secret"}')
    assert log.documents[1]["code"] == "invalid-value"
    assert "secret" not in log.lines[1]


PART_S = 0.02


def timed(api: Caller, log: Lines, target: str, **options: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """The line of one request whose reader takes `PART_S` for each part, and the sums of both times in ms."""
    log.lines.clear()
    answer = api.run(api.acall("GET", target, on_body=lambda: time.sleep(PART_S), **options))
    (line,) = log.documents
    total = re.search(r"total;dur=([0-9.]+)", answer.headers["server-timing"])
    assert total is not None
    assert line["ms"] == float(total[1]), "the log and Server-Timing say the same"
    text = api.get("/metrics").body.decode()
    sums = {
        name: 1e3 * float(value)
        for name, value in re.findall(r'^(vae_http_\w+_sum){method="GET",route="/sample"} (\S+)$', text, re.M)
    }
    return line, sums


@pytest.fixture
def own(tiny_store: Path) -> Iterator[Caller]:
    """An application of this test alone, so that a sum is of one request."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_images=64))) as caller:
        yield caller


def test_time_to_the_answer_ends_with_its_headers_and_the_stream_is_told_apart(
    own: Caller, log: Lines
) -> None:
    """A slow reader of a long answer is no slow server."""
    line, sums = timed(own, log, "/sample.npy?n=300&seed=1")
    parts = 1 + -(-300 // 64)
    assert line["stream_ms"] >= 1e3 * PART_S * parts
    assert sums["vae_http_request_duration_seconds_sum"] == pytest.approx(line["ms"], abs=2e-3)
    assert sums["vae_http_response_stream_seconds_sum"] == pytest.approx(line["stream_ms"], abs=2e-3)


def test_answer_in_one_piece_has_no_stream(own: Caller, log: Lines) -> None:
    line, sums = timed(own, log, "/sample.npy?n=3&seed=1")
    assert "stream_ms" not in line
    assert sums["vae_http_request_duration_seconds_sum"] == pytest.approx(line["ms"], abs=2e-3)
    assert "vae_http_response_stream_seconds_sum" not in sums


def test_stream_whose_reader_left_is_told_with_its_time(own: Caller, log: Lines) -> None:
    connection = Connection()

    def read_and_leave() -> None:
        time.sleep(PART_S)
        connection.gone = True

    own.run(
        own.acall(
            "GET", "/sample.npy?n=300&seed=1", extensions={SCOPE_KEY: connection}, on_body=read_and_leave
        )
    )
    (line,) = log.documents
    assert (line["event"], line["status"]) == ("client left", 499)
    assert line["stream_ms"] >= 1e3 * PART_S
    text = own.get("/metrics").body.decode()
    assert 'vae_http_response_stream_seconds_count{method="GET",route="/sample"} 1.0' in text
    assert 'vae_http_request_duration_seconds_count{method="GET",route="/sample"} 1.0' in text


def test_line_cannot_be_forged_by_a_path(api: Caller) -> None:
    with listening(TextFormatter()) as log:
        api.get("/a%0a12:00:00.000 error forged%1b[31m" + "x" * 1000)
        (line,) = log.lines
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 400


def test_field_cannot_be_forged_by_a_path(api: Caller) -> None:
    """Whoever greps for status=500 or client=… must find what the server said, not what a client wrote."""
    with listening(TextFormatter()) as log:
        api.get('/a"%20status=500%20client="10.0.0.1"%20b="\\')
        api.get("/b=status=500")
    for line in log.lines:
        told = [word.partition("=") for word in shlex.split(line) if "=" in word]
        assert [value for name, _, value in told if name == "status"] == ["404"], line
        assert [value for name, _, value in told if name == "client"] == ["127.0.0.1"], line


def test_text_lines_are_short_phrases_and_fields() -> None:
    record = logging.makeLogRecord({"msg": "batch done", "levelno": logging.INFO, "levelname": "INFO"})
    record.__dict__.update(fields(size=8, run_ms=11.43219, why="2 cores", ok=True))
    line = TextFormatter().format(record)
    assert line.endswith('info    batch done size=8 run_ms=11.432 why="2 cores" ok=true')


def test_unexpected_error_is_one_line_and_a_problem_without_its_text(
    api: Caller, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("internal detail")

    monkeypatch.setattr(BatchInvariantGraph, "run", broken)
    answer = api.post_json("/decode", {"z": [[0.0] * 8]})
    assert (answer.status, answer.code) == (500, "internal-error")
    assert "internal detail" not in answer.body.decode()
    failed, request = log.documents
    assert failed["event"] == "request failed"
    assert "RuntimeError: internal detail" in failed["traceback"]
    assert failed["request_id"] == request["request_id"] == answer.json()["request_id"]
    assert request["status"] == 500


def test_model_that_gives_up_is_a_500_of_its_own_code(
    api: Caller, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise InferenceFailed("mnist@1: decoder.onnx: expected finite outputs, got NaN or infinity.")

    monkeypatch.setattr(BatchInvariantGraph, "run", broken)
    answer = api.post_json("/decode", {"z": [[0.0] * 8]})
    assert (answer.status, answer.code) == (500, "inference-failed")
    assert "decoder.onnx" in answer.json()["detail"]
    assert log.documents[0]["level"] == "warning"
    assert "Traceback" not in log.lines[0]


def test_worker_threads_log_under_the_request_id(
    api: Caller, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talkative(*_: object, **__: object) -> None:
        logging.getLogger("service.engine").warning("odd")
        raise RuntimeError

    monkeypatch.setattr(ModelRegistry, "get", talkative)  # what is not loaded yet is loaded in a thread
    answer = api.post_json("/decode?model=tiny@77", {"z": [[0.0] * 8]})
    assert log.documents[0]["event"] == "odd"
    assert log.documents[0]["request_id"] == answer.headers["x-request-id"]


def test_client_that_leaves_costs_one_line(api: Caller, log: Lines) -> None:
    answer = api.run(api.acall("POST", "/encode", body=[b'{"ima', b"ges"], leave_after=1))
    assert answer.status == 0
    (line,) = log.documents
    assert (line["event"], line["status"], line["level"]) == ("client left", 499, "info")


def test_request_cancelled_while_the_server_stops_gets_503_and_otherwise_nothing(tiny_store: Path) -> None:
    async def cancelled(api: Caller) -> int:
        async def never() -> Any:
            return await api.acall("POST", "/encode", body=iter_never())

        task = asyncio.ensure_future(never())
        await asyncio.sleep(0.02)
        task.cancel()
        try:
            return int((await task).status)
        except asyncio.CancelledError:
            return -1

    def iter_never() -> list[bytes]:
        return []

    with Caller(create_app(Settings(model_store=tiny_store, threads=1))) as api:
        assert api.run(cancelled(api)) == -1
        api.app.state.app_state.lifecycle.draining = True
        assert api.run(cancelled(api)) == 503


@pytest.mark.parametrize(
    ("mode", "logged"),
    [
        ("all", ["/livez", "/readyz", "/metrics", "/sample", "/nowhere", "/readyz 503"]),
        ("no-probes", ["/sample", "/nowhere", "/readyz 503"]),
        ("errors", ["/nowhere", "/readyz 503"]),
        ("none", []),
    ],
)
def test_access_log_has_the_requests_that_the_setting_chooses(
    tiny_store: Path, log: Lines, mode: AccessLogMode, logged: list[str]
) -> None:
    """Probes came every two seconds and buried all other requests; a failed one explains a restart."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, access_log=mode))) as api:
        log.lines.clear()
        for target in ("/livez", "/readyz", "/metrics", "/sample", "/nowhere"):
            api.get(target)
        api.app.state.app_state.lifecycle.draining = True
        assert api.get("/readyz").status == 503
    found = [
        f"{line['path']} 503" if line["status"] == 503 else line["path"]
        for line in log.documents
        if line["event"] == "request"
    ]
    assert found == logged


def test_client_that_leaves_is_an_error_for_the_access_log(tiny_store: Path, log: Lines) -> None:
    for mode, events in (("errors", ["client left"]), ("none", [])):
        settings = Settings(model_store=tiny_store, threads=1, access_log=mode)
        with Caller(create_app(settings)) as api:
            log.lines.clear()
            api.run(api.acall("POST", "/encode", body=[b'{"ima', b"ges"], leave_after=1))
            assert [line["event"] for line in log.documents] == events


@pytest.mark.parametrize(
    ("route", "status", "code", "included"),
    [
        ("/sample", 200, None, False),
        ("/sample", 400, "malformed-body", True),
        ("/sample", 200, "shutting-down", True),  # half a response
        ("/encode", 0, None, True),  # no response at all
        ("/livez", 200, None, False),
        (None, 204, None, False),
    ],
)
def test_access_log_of_errors_has_everything_that_failed(
    route: str | None, status: int, code: str | None, included: bool
) -> None:
    is_probe = route in PROBES
    assert (
        AccessLog("errors").includes(is_probe=is_probe, has_failed=has_failed_with(status, code)) is included
    )


def test_traceback_is_one_json_line() -> None:
    try:
        raise ValueError("x\ny")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "failed", (), None)
        import sys

        record.exc_info = sys.exc_info()
    buffer = io.StringIO(JsonFormatter().format(record))
    assert len(buffer.readlines()) == 1
