"""A server that is paused in the middle of a request: what arrived meanwhile is read before it is late."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from server_process import serving

RECEIPT_S, PAUSE_S = 4.0, 7.0


def test_request_that_was_sent_during_a_pause_is_answered(tiny_store: Path, tmp_path: Path) -> None:
    """The first look after a pause found it late, and the bytes that lay there were never read: 408."""
    body = b'{"n": 2, "seed": 1}'
    head = b"POST /sample HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    with (
        serving(tiny_store, tmp_path / "log", "--receipt-timeout-s", str(RECEIPT_S)) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=60) as raw,
    ):
        raw.sendall(head + body[:4])
        running.process.send_signal(signal.SIGSTOP)
        raw.sendall(body[4:])
        time.sleep(PAUSE_S)  # longer than a request may take, by the server's own clock
        running.process.send_signal(signal.SIGCONT)
        answer = b""
        while part := raw.recv(65_536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
        assert running.stop() == 0
