"""`vae-serve run` as a process of its own on a free port, and what it answers to bytes.

Knows processes, ports and sockets. Knows nothing of what is tested.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import PATIENCE_S
from process_facts import children, is_asleep

#: Between two looks, longer than the writing thread rests; a server that is never quiet is read all the same.
_REST_S, _BUSY_S = 0.01, 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """One server process."""

    process: subprocess.Popen[bytes]
    port: int
    log_path: Path
    ready_s: float

    @property
    def log(self) -> str:
        """The log as soon as the server rests: a thread of its own writes the lines, after the answers."""
        until = time.monotonic() + _BUSY_S
        rests = 0
        while self.process.poll() is None and rests < 2 and time.monotonic() < until:
            rests = rests + 1 if is_asleep(self.process.pid) else 0
            time.sleep(_REST_S)
        return self.log_path.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log, as JSON, that tell one event."""
        return [json.loads(line) for line in self.log.splitlines() if f'"event":"{event}"' in line]

    @property
    def workers(self) -> list[int]:
        """Process ids of its workers; none where it is the only process."""
        return children(self.process.pid)

    def get(self, target: str, *, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)


@contextlib.contextmanager
def serving(
    store: Path,
    log_path: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    on_start: Callable[[subprocess.Popen[bytes]], None] | None = None,
    port: int | None = None,
    python: Path | str = sys.executable,
) -> Iterator[Running]:
    """A server on a free port, ended by its process id whatever happens.

    `prefix` is put before its command, such as `unshare …`; `on_start` is called once its process exists.
    `port` is that of a server that has ended, for clients that wait for it. `python` may be that of another
    environment.
    """
    port = free_port() if port is None else port
    command = [
        *prefix, str(python), "-m", "service", "run", "--store", str(store), "--port", str(port),
        *arguments,
    ]  # fmt: skip
    # As on a machine of its own: where CI is set, onnxruntime keeps its telemetry to itself.
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    begun = time.monotonic()
    with log_path.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**inherited, **(environment or {})})
    try:
        if on_start is not None:
            on_start(process)
        while True:
            probe = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            with contextlib.suppress(OSError), contextlib.closing(probe):
                probe.request("GET", "/livez")
                probe.getresponse().read()
                # Not an answer of somebody else's server, who was given the same port in between.
                assert process.poll() is None, log_path.read_text()
                break
            assert process.poll() is None, log_path.read_text()
            assert time.monotonic() - begun < PATIENCE_S, log_path.read_text()
            time.sleep(0.02)
        yield Running(process, port, log_path, time.monotonic() - begun)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=PATIENCE_S)


def raw_answer(running: Running, *parts: bytes) -> tuple[bytes, bytes]:
    """Head and body of what a server answers to bytes that end the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as raw:
        # A server that has refused closes while we still send.
        with contextlib.suppress(ConnectionError):
            for part in parts:
                raw.sendall(part)
        with contextlib.suppress(ConnectionError):
            while part := raw.recv(65_536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body
