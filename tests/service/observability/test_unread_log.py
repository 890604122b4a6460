"""A server goes on although its log cannot be written: an unread pipe, a full disk, a closed stream."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from patience import eventually
from server_process import free_port

REQUESTS, CLIENTS = 20_000, 8
GRACE_S = 20


@dataclass
class Server:
    """A server process whose standard error is a test's."""

    process: subprocess.Popen[bytes]
    port: int

    def ask(self, count: int, path: str = "/sample.npy") -> list[int]:
        """Statuses of so many requests on one connection; 0 for one that got no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        statuses = []
        with contextlib.closing(connection):
            for _ in range(count):
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    answer.read()
                    statuses.append(answer.status)
                except (OSError, http.client.HTTPException):
                    connection.close()
                    statuses.append(0)
        return statuses

    def lost_lines(self) -> int:
        """What /metrics says; of several workers it is up to a second late."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return int(float(re.findall(r"(?m)^vae_log_lines_lost_total (\S+)$", text)[0]))


@contextlib.contextmanager
def serving(store: Path, *arguments: str, stderr: int | None = None, shell: str = "") -> Iterator[Server]:
    """A ready server with this standard error, or with a shell's redirection."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "service",
        "run",
        "--store",
        str(store),
        "--port",
        str(port),
        *arguments,
    ]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    process = subprocess.Popen(command, stderr=stderr)
    server = Server(process, port)
    try:
        until_s = time.monotonic() + 60
        while server.ask(1, "/readyz") != [200]:
            assert process.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.05)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


@pytest.fixture
def unread() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe of one page."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_answers_and_ends_although_nobody_reads_its_log(
    tiny_store: Path, unread: tuple[int, int], workers: str
) -> None:
    """After 250 answers, and with a pipe of one page after 16, everything hung, SIGTERM included."""
    with serving(tiny_store, "--workers", workers, stderr=unread[1]) as server:
        for _ in range(4):  # so that each worker has connections of its own
            assert set(server.ask(50)) == {200}
        assert set(server.ask(2, "/livez")) == {200}
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0


@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-", "2>&- >&- <&-"])
def test_server_answers_although_its_log_can_go_nowhere(tiny_store: Path, shell: str) -> None:
    """With standard error closed, as some daemon wrappers start their children, it exited 1 silently."""
    with serving(tiny_store, shell=shell) as server:
        assert set(server.ask(20)) == {200}
        if "full" in shell:  # a thread of its own tries to write them, after the answers
            eventually(lambda: server.lost_lines() >= 20, server.lost_lines)
        else:
            assert server.lost_lines() == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0


@pytest.mark.hard
@pytest.mark.hazard_row("unread-log")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_thousands_of_requests_beside_an_unread_log(
    tiny_store: Path, unread: tuple[int, int], workers: str, hazard: Hazard
) -> None:
    with serving(tiny_store, "--workers", workers, stderr=unread[1]) as server:
        with ThreadPoolExecutor(CLIENTS) as clients:
            answered = list(clients.map(server.ask, [REQUESTS // CLIENTS] * CLIENTS))
        lost = sum(status != 200 for statuses in answered for status in statuses)
        begun_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(timeout=2 * GRACE_S)
        took_s = time.monotonic() - begun_s
    hazard(
        "unread-log",
        figure=f"workers {workers}: {lost} of {REQUESTS} lost; SIGTERM: exit {code} after {took_s:.1f} s",
        bar=f"0 lost, exit 0 within {GRACE_S} s",
        met=lost == 0 and code == 0 and took_s <= GRACE_S,
    )


@pytest.mark.hard
@pytest.mark.hazard_row("unread-log")
def test_lines_lost_are_counted_and_told_once_the_log_is_read(
    tiny_store: Path, unread: tuple[int, int], hazard: Hazard
) -> None:
    with serving(tiny_store, stderr=unread[1]) as server:
        server.ask(8_000)
        counted = server.lost_lines()
        assert counted > 0
        os.close(unread[1])
        text: list[str] = []
        with os.fdopen(unread[0]) as reading:
            reader = threading.Thread(target=lambda: text.append(reading.read()))
            reader.start()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=60) == 0
            reader.join()
    lines = [json.loads(line) for line in text[0].splitlines()]
    told = [line["lines"] for line in lines if line["event"] == "log lines lost"]
    requests = sum(line.get("path") == "/sample.npy" for line in lines)
    hazard(
        "unread-log",
        figure=f"{counted} lines lost: {told} told, {requests} of 8,000 requests written",
        bar="all told in one line, probes not among them",
        met=told == [counted] and lines[-1]["event"] == "stopped",
    )
