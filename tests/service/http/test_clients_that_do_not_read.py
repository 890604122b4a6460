"""Clients that do not read their answer are cut off wherever its bytes are; slow readers never are."""

from __future__ import annotations

import functools
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_facts import send_queues, settled
from server_process import Running, serving

DEADLINE_S = 1.0
#: 60 images of 28 × 28: 190 kB, which the kernel accepts in one piece. And 4,000, which it does not.
SMALL, LARGE = "/sample.npy?n=60&seed=1", "/sample.npy?n=4000&seed=1"


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("unread") / "log"
    with serving(tiny_store, log, "--receipt-timeout-s", str(DEADLINE_S)) as running:
        yield running
        assert running.stop() == 0


def asking(server: Running, target: str, *, closes: bool) -> socket.socket:
    """A client with little room that has asked and reads nothing yet."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    raw.settimeout(30)
    raw.connect(("127.0.0.1", server.port))
    header = "Connection: close\r\n" if closes else ""
    raw.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
    return raw


def waits(server: Running, raw: socket.socket) -> int:
    """Bytes in the kernel for a client; -1: the kernel has forgotten the connection."""
    return send_queues(server.port).get(raw.getsockname()[1], -1)


@pytest.mark.parametrize("closes", [False, True], ids=["kept alive", "closed"])
@pytest.mark.parametrize("target", [SMALL, LARGE], ids=["small", "large"])
def test_client_that_reads_nothing_is_cut_off_and_its_memory_is_free(
    server: Running, target: str, closes: bool
) -> None:
    told = server.log.count("client reads nothing")
    with asking(server, target, closes=closes) as raw:
        assert settled(lambda: waits(server, raw), lambda found: found > 100_000, within_s=30) > 100_000
        assert settled(lambda: waits(server, raw), lambda found: found == -1, within_s=30) == -1
        with pytest.raises(ConnectionResetError):
            read_all(raw)
    lines = [json.loads(line) for line in server.log.splitlines() if "client reads nothing" in line]
    assert len(lines) == told + 1
    assert lines[-1]["client"] == "127.0.0.1"
    assert lines[-1]["unread_bytes"] > 100_000


@pytest.mark.parametrize("closes", [False, True], ids=["kept alive", "closed"])
def test_slow_reader_gets_the_whole_answer(server: Running, closes: bool) -> None:
    """It takes several times as long as a client may read nothing, and all of it lies in the kernel."""
    whole = server.get(SMALL)[2]
    with asking(server, SMALL, closes=closes) as raw:
        begun = time.monotonic()
        answer = b""
        while len(answer) < len(whole) + answer.find(b"\r\n\r\n") + 4:
            part = raw.recv(1024)
            assert part
            answer += part
            time.sleep(0.04)
    assert time.monotonic() - begun > 3 * 2 * DEADLINE_S
    assert answer.endswith(whole)


def test_connection_of_a_client_that_has_read_its_answer_stays_open(server: Running) -> None:
    with asking(server, SMALL, closes=False) as raw:
        for _ in range(2):
            size = 0
            while size < 60 * 28 * 28 * 4:
                size += len(raw.recv(65_536))
            time.sleep(1.25 * 2 * DEADLINE_S)
            raw.sendall(f"GET {SMALL} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def read_all(raw: socket.socket) -> None:
    while raw.recv(65_536):
        pass


def test_process_that_stops_leaves_no_answer_in_the_kernel(tiny_store: Path, tmp_path: Path) -> None:
    arguments = ("--receipt-timeout-s", str(DEADLINE_S), "--shutdown-grace-s", "1")
    with serving(tiny_store, tmp_path / "log", *arguments) as server:
        clients = [
            asking(server, target, closes=closes) for target in (SMALL, LARGE) for closes in (False, True)
        ]
        for raw in clients:
            settled(functools.partial(waits, server, raw), lambda found: found > 100_000, within_s=30)
        assert server.stop() == 0
        assert settled(lambda: len(send_queues(server.port)), lambda left: left == 0, within_s=30) == 0
        for raw in clients:
            raw.close()
