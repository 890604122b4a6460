"""Load by h2load: one window of one gRPC call at one concurrency, and the first answer for a check.

Knows h2load's command line and what it prints. Knows nothing of systems or messages. h2load is written in C,
like wrk for HTTP/1.1: a client in Python costs as much as a server.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from grpc_client import client_process

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_PREFIX_BYTES = 5
"""Before each message: whether it is compressed, and its length."""


@dataclass(frozen=True)
class Window:
    """What h2load saw."""

    per_s: float
    """Answers per second."""
    requests: int
    failed: int
    data_bytes: int
    """Of the bodies of all answers."""

    @property
    def bytes_each(self) -> float:
        """Bytes of an answer; one that only has a status has none."""
        return self.data_bytes / max(1, self.requests)


def run_h2load(port: int, message: Path, *, concurrency: int, window_s: float) -> Window:
    """One window. Each connection has one call at a time.

    Args:
        port: Of the server.
        message: File of the message of each call.
        concurrency: Number of connections.
        window_s: Duration, in whole seconds. No warm-up: h2load counts its bytes, and not its answers.

    Raises:
        RuntimeError: Nothing was answered; the message holds what h2load printed.
    """
    data = message.read_bytes()
    body = message.with_suffix(".grpc")
    body.write_bytes(bytes(1) + len(data).to_bytes(4, "big") + data)
    command = [
        "h2load", "--threads", "1", "--clients", str(concurrency), "--max-concurrent-streams", "1",
        "--duration", str(max(1, round(window_s))), "--data", str(body),
        "--header", "content-type: application/grpc", "--header", "te: trailers",
        f"http://127.0.0.1:{port}{METHOD}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=window_s + 60, check=False)
    return read_window(done.stdout, done.stderr)


def read_window(out: str, err: str = "") -> Window:
    """The figures that h2load prints.

    Raises:
        RuntimeError: It printed none.
    """
    rate = re.search(r"^finished in .*?, ([0-9.]+) req/s", out, re.MULTILINE)
    requests = re.search(r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed", out, re.MULTILINE)
    data = re.search(r"\((\d+)\) data$", out, re.MULTILINE)
    if not (rate and requests and data) or not float(rate[1]):
        raise RuntimeError(f"h2load: expected answers, got none\n{out[-800:]}\n{err[-800:]}")
    return Window(float(rate[1]), int(requests[1]), int(requests[3]), int(data[1]))


def first_answer(port: int, message: bytes) -> bytes:
    """The answer to one call, by grpcio.

    Raises:
        RuntimeError: It failed.
    """
    with client_process() as client:
        done = client.call(port, METHOD, message)
    if done.code != "OK":
        raise RuntimeError(f"gRPC on port {port}: expected an answer, got {done.code}: {done.details}")
    return done.answer


def body_bytes(answer: bytes) -> int:
    """Bytes of an answer as h2load counts them."""
    return _PREFIX_BYTES + len(answer)
