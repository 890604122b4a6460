"""Clients that are late, too many, or read nothing: told so, closed, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S, eventually
from server_process import Running, serving

DEADLINE_S = 0.5
POST = b"POST /encode HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
SAMPLE = b"GET /sample?seed=1 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    arguments = ("--receipt-timeout-s", str(DEADLINE_S), "--max-connections", "20")
    with serving(tiny_store, tmp_path_factory.mktemp("slow") / "log", *arguments) as running:
        yield running


@pytest.fixture(scope="module")
def patient(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For what is answered: a busy machine may hold a client up for longer than `DEADLINE_S`."""
    log = tmp_path_factory.mktemp("patient") / "log"
    with serving(tiny_store, log, "--receipt-timeout-s", "3", "--max-connections", "20") as running:
        yield running


def connected(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def everything(raw: socket.socket) -> bytes:
    """All that comes until the server closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := raw.recv(65_536):
            answer += part
    return answer


def one_answer(raw: socket.socket) -> bytes:
    """Head and body of one answer on a connection that stays open."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += raw.recv(65_536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += raw.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("sent", "event"),
    [
        pytest.param(b"GET / HTT", "request came too slowly", id="within the head"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX-", "request came too slowly", id="within a header"),
        pytest.param(POST, "request", id="before the body"),
        pytest.param(POST + b'{"images"', "request", id="within the body"),
    ],
)
def test_what_is_not_whole_by_the_deadline_is_answered_408_and_closed(
    server: Running, sent: bytes, event: str
) -> None:
    begun = time.monotonic()
    with connected(server) as raw:
        raw.sendall(sent)
        answer = everything(raw)
    assert time.monotonic() - begun >= DEADLINE_S
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close" in head.lower()
    problem = json.loads(body)
    assert problem["code"] == "receipt-timeout"
    lines = [json.loads(line) for line in server.log.splitlines() if problem["request_id"] in line]
    assert [(line["event"], line["status"]) for line in lines] == [(event, 408)]


def test_connection_on_which_nothing_comes_is_closed_without_a_word(server: Running) -> None:
    """Browsers and balancers keep such ones: each was a 408, and a request that had taken the deadline."""

    def figures() -> tuple[bytes, bytes]:
        text = server.get("/metrics")[2]
        closed = re.search(rb'^vae_connections_closed_total\{reason="silent"\} (\S+)$', text, re.MULTILINE)
        late = re.search(rb'^vae_problems_total\{code="receipt-timeout"\} (\S+)$', text, re.MULTILINE)
        return (closed[1] if closed else b"0.0", late[1] if late else b"0.0")

    closed, late = figures()
    lines = server.log.count("request came too slowly")
    begun = time.monotonic()
    with connected(server) as raw:
        assert everything(raw) == b""
    assert time.monotonic() - begun >= DEADLINE_S
    assert figures() == (b"%.1f" % (float(closed) + 1), late)
    assert server.log.count("request came too slowly") == lines


def test_dripping_does_not_put_the_deadline_off(server: Running) -> None:
    with connected(server) as raw:
        raw.sendall(POST)

        def closed() -> bool:
            try:
                raw.sendall(b" ")
                raw.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    return bool(raw.recv(1))
            except ConnectionError:
                return True
            finally:
                raw.settimeout(PATIENCE_S)
            return False

        # At this pace the body of 100 bytes is whole after 4 s: its answer would be 400.
        eventually(closed, lambda: "still open")
    assert '"status":408' in server.log


def test_kept_connection_may_be_idle_and_its_next_request_has_its_own_deadline(server: Running) -> None:
    with connected(server) as raw:
        raw.sendall(GET)
        assert one_answer(raw).startswith(b"HTTP/1.1 200 ")
        time.sleep(3 * DEADLINE_S)
        raw.sendall(GET)
        assert one_answer(raw).startswith(b"HTTP/1.1 200 ")
        raw.sendall(POST)
        assert everything(raw).startswith(b"HTTP/1.1 408 ")


def test_late_request_after_a_whole_one_takes_nothing_from_it(server: Running) -> None:
    with connected(server) as raw:
        raw.sendall(SAMPLE + b"GET /livez HT")
        assert one_answer(raw).startswith(b"HTTP/1.1 200 ")
        assert everything(raw).startswith(b"HTTP/1.1 408 ")


def test_refused_body_that_goes_on_is_closed_without_a_second_answer(patient: Running) -> None:
    huge = POST.replace(b"Content-Length: 100", b"Content-Length: 100000000")
    with connected(patient) as raw:
        raw.sendall(huge + b"x" * 100)
        answer = everything(raw)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_client_that_reads_nothing_is_cut_off(server: Running) -> None:
    with connected(server) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(b"GET /sample.npy?n=60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: "/sample.npy" in server.log, lambda: server.log)
    assert "client reads nothing" in server.log
    (line,) = [line for line in server.log.splitlines() if "/sample.npy" in line]
    assert json.loads(line)["status"] == 499


def test_beyond_the_cap_probes_are_answered_and_work_is_not(patient: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            raw = stack.enter_context(connected(patient))
            raw.sendall(GET)
            one_answer(raw)
        for _ in range(40):  # more than the reserve: each new one takes the place of an idle one
            raw = stack.enter_context(connected(patient))
            raw.sendall(GET)
            assert one_answer(raw).startswith(b"HTTP/1.1 200 ")
        raw = stack.enter_context(connected(patient))
        raw.sendall(SAMPLE)
        answer = everything(raw)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b'"too-many-connections"' in answer
        assert b"retry-after: 1" in answer

    def has_room() -> bool:
        with connected(patient) as raw:
            raw.sendall(SAMPLE)
            return one_answer(raw).startswith(b"HTTP/1.1 200 ")

    eventually(has_room, lambda: patient.log)  # once it has seen that the others are gone


def test_head_has_the_length_and_no_body_and_old_clients_are_closed(patient: Running) -> None:
    with connected(patient) as raw:
        raw.sendall(b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        first = raw.recv(65_536)
        while first.count(b"HTTP/1.1 ") < 2:
            first += raw.recv(65_536)
        head, _, rest = first.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert rest.startswith(b"HTTP/1.1 200 ")
    with connected(patient) as raw:
        raw.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b"connection: close" in everything(raw).lower()


def test_expecting_client_is_told_to_go_on(patient: Running) -> None:
    body = b'{"n": 1}'
    head = b"POST /sample HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 8\r\n"
    with connected(patient) as raw:
        raw.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert one_answer(raw).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("line", ["POST /nothing", "POST /sample.gif", "DELETE /sample", "POST /encode"])
def test_client_refused_before_it_sent_its_body_may_leave_it_out(patient: Running, line: str) -> None:
    """RFC 9110, 10.1.1: on a connection left open, the next request would be taken for that body."""
    length = 100_000_000 if line == "POST /encode" else 16
    head = f"{line} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    with connected(patient) as raw:
        raw.sendall(head.encode())
        answer = everything(raw)
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer


def test_expecting_client_that_sends_its_body_anyway_keeps_the_connection(patient: Running) -> None:
    request = b"POST /nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    with connected(patient) as raw:
        for _ in range(2):
            raw.sendall(request)
            assert one_answer(raw).startswith(b"HTTP/1.1 404 ")


def refuses(server: Running) -> bool:
    try:
        connected(server).close()
    except ConnectionError:
        return True
    return False


def test_stopping_server_answers_what_is_on_its_way_and_says_so(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "log", "--drain-delay-s", "4") as server:
        with connected(server) as kept, connected(server) as late:
            kept.sendall(GET)
            one_answer(kept)
            late.sendall(POST)
            server.process.send_signal(signal.SIGTERM)
            # By connections made after the signal.
            eventually(lambda: server.get("/readyz")[0] == 503, lambda: server.log)
            assert json.loads(server.get("/readyz")[2])["code"] == "shutting-down"
            assert server.get("/sample")[0] == 200

            def last() -> bool:
                kept.sendall(SAMPLE)
                answer = one_answer(kept)
                assert answer.startswith(b"HTTP/1.1 200 ")
                return b"connection: close" in answer.lower()

            # New ones are refused in the end; what is open is still heard, and told when to leave.
            eventually(last, lambda: server.log)
            assert everything(kept) == b""
            assert refuses(server)
            late.sendall(b'{"images": 3}' + b" " * 87)
            assert everything(late).startswith(b"HTTP/1.1 422 ")
        assert server.process.wait(timeout=PATIENCE_S) == 0


def test_forwarded_address_is_believed_of_trusted_proxies_only(tiny_store: Path, tmp_path: Path) -> None:
    request = b"GET /models HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n"
    hosts = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.create_server(("::", 0), family=socket.AF_INET6):
        hosts.append("::")  # there, this client is ::ffff:127.0.0.1
    trusting = ("--trusted-proxies", "127.0.0.1")
    cases = [
        (("--host", host, *more), address)
        for host in hosts
        for more, address in (((), "127.0.0.1"), (trusting, "9.9.9.9"))
    ]
    for arguments, address in cases:
        with serving(tiny_store, tmp_path / "log", *arguments) as server:
            with connected(server) as raw:
                raw.sendall(request)
                everything(raw)
            assert server.stop() == 0
            line = next(line for line in reversed(server.log.splitlines()) if '"path":"/models"' in line)
            assert json.loads(line)["client"] == address
