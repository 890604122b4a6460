"""The load of `service.bench.load` from a process of its own, with requests of several kinds.

    python load_client.py < plan.json > result.json

Knows how to say to another process what to send. Knows nothing of the server.
Closed loop: `connections`, `count` or `duration_s`. Open loop: `rate_per_s`, `duration_s`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from service.bench.load import CutRequest, LeavingRequest, run_load

#: Nobody waits longer for an answer; what takes longer is none.
PATIENCE_S = 30.0
#: An open loop never has more connections than this; what is due then waits, and its wait counts.
MOST_CONNECTIONS = 1000
#: A kept connection may be closed just as it is used again.
_TRIES = 3


@dataclass(frozen=True)
class Request:
    """Bytes to send, and how often among the others.

    `expects_answer=False` is a client that leaves: it sends the bytes and closes. `is_whole=False` promises
    more than it sends, so that nothing else can be sent after it.
    """

    data: bytes
    weight: float = 1.0
    expects_answer: bool = True
    is_whole: bool = True


@dataclass
class Plan:
    port: int
    requests: list[Request]
    connections: int = 32
    count: int | None = None
    rate_per_s: float | None = None
    duration_s: float | None = None
    seed: int = 0


@dataclass
class Answers:
    """What came back, request by request: which one, when due (seconds), latency (seconds), status."""

    kind: list[int] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def statuses(self) -> Counter[int]:
        return Counter(self.status)

    def latencies(self, *statuses: int) -> list[float]:
        return [one for one, status in zip(self.latency_s, self.status, strict=True) if status in statuses]


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(
    target: str, body: bytes, content_type: str = "application/json", *, length: int | None = None
) -> bytes:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


class Load:
    """A plan on its way, in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        document = asdict(plan)
        for request in document["requests"]:
            request["data"] = base64.b64encode(request["data"]).decode()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document).encode())
        self._process.stdin.close()

    def answers(self) -> Answers:
        """Waits for the end."""
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        self._process.stdout.close()
        assert self._process.wait(timeout=60) == 0
        return Answers(**json.loads(said))

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def measure(plan: Plan) -> Answers:
    with Load(plan) as load:
        return load.answers()


def sent_as(request: Request) -> bytes:
    """What `service.bench.load` sends, and does afterwards."""
    if not request.expects_answer:
        return LeavingRequest(request.data)
    return request.data if request.is_whole else CutRequest(request.data)


async def run(plan: Plan) -> Answers:
    requests = [sent_as(request) for request in plan.requests]
    kinds = {id(request): kind for kind, request in enumerate(requests)}
    rng = random.Random(plan.seed)
    weights = [request.weight for request in plan.requests]
    chosen = (rng.choices(requests, weights)[0] for _ in itertools.count())
    begun_s = time.perf_counter()
    result = await run_load(
        f"http://127.0.0.1:{plan.port}",
        itertools.islice(chosen, plan.count).__next__,
        concurrency=plan.connections if plan.rate_per_s is None else None,
        rate_per_s=plan.rate_per_s,
        duration_s=plan.duration_s,
        max_connections=MOST_CONNECTIONS,
        timeout_s=PATIENCE_S,
        tries=_TRIES,
        seed=plan.seed,
    )
    return Answers(
        kind=[kinds[id(request)] for request in result.sent],
        due_s=result.due_s.tolist(),
        latency_s=result.latency_s.tolist(),
        status=result.status.tolist(),
        took_s=time.perf_counter() - begun_s,
    )


def main() -> None:
    document = json.load(sys.stdin)
    requests = [
        Request(**{**request, "data": base64.b64decode(request["data"])})
        for request in document.pop("requests")
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(run(Plan(requests=requests, **document)))
    json.dump(asdict(answers), sys.stdout)


if __name__ == "__main__":
    main()
