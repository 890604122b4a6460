"""Load by wrk: one window of one request at one concurrency.

Knows wrk's command line and its Lua script. Knows nothing of systems. wrk is written in C and costs about
10 µs a request, so that it is not what is measured.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("wrk.lua")
_NONE = "-"


@dataclass(frozen=True)
class Question:
    """What is asked: the same bytes each time."""

    method: str
    path: str
    accept: str = "application/json"
    content_type: str | None = None
    body: Path | None = None
    json_bytes: int | None = None
    """Length of the JSON before the tensors of the Open Inference Protocol."""


@dataclass(frozen=True)
class Window:
    """What wrk saw."""

    per_s: float
    """2xx and 3xx answers per second."""
    p50_ms: float
    p99_ms: float
    failed: int


def run_wrk(question: Question, port: int, *, concurrency: int, window_s: float) -> Window:
    """One window; wrk takes whole seconds.

    Raises:
        RuntimeError: wrk could not do it, or nothing was answered; the message holds what it said.
    """
    command = [
        "wrk", "--threads", "1", "--connections", str(concurrency),
        "--duration", f"{max(1, round(window_s))}s",
        "--timeout", "10s", "--script", str(_SCRIPT), f"http://127.0.0.1:{port}{question.path}", "--",
        question.method, question.path, question.content_type or _NONE, question.accept,
        _NONE if question.body is None else str(question.body),
        _NONE if question.json_bytes is None else str(question.json_bytes),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=window_s + 60, check=False)
    return read_result(done.stdout, done.stderr)


def read_result(out: str, err: str = "") -> Window:
    """The line that wrk.lua writes."""
    line = next((line for line in out.splitlines() if line.startswith("RESULT ")), None)
    said = json.loads(line.removeprefix("RESULT ")) if line else {}
    if not said.get("requests"):
        raise RuntimeError(f"wrk: expected answers, got none\n{out[-800:]}\n{err[-800:]}")
    ok = said["requests"] - said["refused"]
    return Window(
        per_s=ok / said["took_us"] * 1e6,
        p50_ms=said["p50_us"] / 1e3,
        p99_ms=said["p99_us"] / 1e3,
        failed=said["refused"] + said["broken"],
    )


def paired_ratios(
    base: tuple[Question, int], other: tuple[Question, int], *, concurrency: int, rounds: int, window_s: float
) -> list[float]:
    """The rate of `other` as a share of that of `base`, in each round; both are questions with their ports.

    The order changes from round to round, so that a slower machine favours neither. One more round comes
    first, as a warm-up.

    Raises:
        RuntimeError: A request failed.
    """
    ratios = []
    for number in range(rounds + 1):
        per_s = {}
        for asked in (base, other) if number % 2 else (other, base):
            question, port = asked
            window = run_wrk(question, port, concurrency=concurrency, window_s=window_s)
            if window.failed:
                raise RuntimeError(f"{question.path}: {window.failed} requests failed")
            per_s[asked] = window.per_s
        if number:
            ratios.append(per_s[other] / per_s[base])
    return ratios
