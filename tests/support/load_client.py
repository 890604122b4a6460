"""A client in a process of its own that is not the bottleneck: raw HTTP/1.1 on kept connections, no library.

    python load_client.py < plan.json > result.json

Knows asyncio and as much of HTTP as it takes to find the end of an answer. Knows nothing of the server.
Closed loop (`connections`, `count` or `duration_s`): each connection sends its next request when it has its
answer. Open loop (`rate_per_s`, `duration_s`): requests start on time whatever became of those before, and
latency counts from when a request was due, so that a server that stalls cannot hide it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

#: Instead of a status: the connection ended before an answer.
NO_ANSWER = 0
#: Nobody waits longer for an answer; what takes longer is none.
PATIENCE_S = 30.0
#: An open loop never has more connections than this; what is due then waits, and its wait counts.
MOST_CONNECTIONS = 1000
_HEAD_END = b"\r\n\r\n"


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


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.answered: asyncio.Future[int] | None = None
        self.open = False
        self._buffer = bytearray()
        self._end = -1
        self._without_body = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.open = True

    def send(self, data: bytes) -> asyncio.Future[int]:
        self._buffer.clear()
        self._end = -1
        self._without_body = data.startswith(b"HEAD ")
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._end < 0:
            head = self._buffer.find(_HEAD_END)
            if head < 0:
                return
            headers = bytes(self._buffer[:head]).lower()
            at = headers.find(b"content-length:")
            length = 0 if at < 0 or self._without_body else int(headers[at + 15 :].split(b"\r", 1)[0])
            self._end = head + len(_HEAD_END) + length
            if b"connection: close" in headers:
                self.open = False
        if len(self._buffer) >= self._end:
            self._finish(int(self._buffer[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self._finish(NO_ANSWER)

    def _finish(self, status: int) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(status)


class _Client:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._kinds = range(len(plan.requests))
        self._weights = [request.weight for request in plan.requests]
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._answers = Answers()
        self._begun_s = 0.0

    async def run(self) -> Answers:
        self._begun_s = time.perf_counter()
        if self._plan.rate_per_s is None:
            await self._closed_loop()
        else:
            await self._open_loop(self._plan.rate_per_s)
        self._answers.took_s = time.perf_counter() - self._begun_s
        for connection in self._all:
            connection.transport.close()
        return self._answers

    async def _closed_loop(self) -> None:
        left = self._plan.count if self._plan.count is not None else 1 << 60
        end_s = self._begun_s + (self._plan.duration_s or 1e9)

        async def one() -> None:
            nonlocal left
            while left > 0 and time.perf_counter() < end_s:
                left -= 1
                await self._ask(time.perf_counter())

        await asyncio.gather(*(one() for _ in range(self._plan.connections)))

    async def _open_loop(self, rate_per_s: float) -> None:
        assert self._plan.duration_s is not None
        due_s, tasks = self._begun_s, set()
        while due_s < self._begun_s + self._plan.duration_s:
            wait_s = due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(self._ask(due_s))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due_s += self._rng.expovariate(rate_per_s)
        if tasks:
            await asyncio.wait(tasks)

    async def _ask(self, due_s: float) -> None:
        (kind,) = self._rng.choices(self._kinds, self._weights)
        request = self._plan.requests[kind]
        async with self._room:
            status = NO_ANSWER
            for _ in range(3):  # a kept connection may be closed just as it is used again
                connection = await self._connection()
                if not request.expects_answer:
                    connection.transport.write(request.data)
                    connection.transport.close()
                    break
                try:
                    status = await asyncio.wait_for(connection.send(request.data), PATIENCE_S)
                except TimeoutError:
                    connection.transport.close()
                    self._all.discard(connection)
                    break
                if connection.open and request.is_whole:
                    self._idle.append(connection)
                else:
                    connection.transport.close()
                    self._all.discard(connection)
                if status != NO_ANSWER:
                    break
        answers = self._answers
        answers.kind.append(kind)
        answers.due_s.append(due_s - self._begun_s)
        answers.latency_s.append(time.perf_counter() - due_s)
        answers.status.append(status)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, "127.0.0.1", self._plan.port)
        self._all.add(made)
        return made


def main() -> None:
    document = json.load(sys.stdin)
    requests = [
        Request(**{**request, "data": base64.b64decode(request["data"])})
        for request in document.pop("requests")
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(_Client(Plan(requests=requests, **document)).run())
    json.dump(asdict(answers), sys.stdout)


def weighted(*requests: tuple[bytes, float]) -> Sequence[Request]:
    return [Request(data, weight) for data, weight in requests]


if __name__ == "__main__":
    main()
