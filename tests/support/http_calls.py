"""Calls of an ASGI application in this process: no sockets, no client library, about 1 ms each.

Knows ASGI. `Caller` runs the application's lifespan and keeps one event loop for all calls, so that thousands
of requests cost seconds; what only a real server shows is tested against a real server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from patience import PATIENCE_S

#: Threads of the event loop itself, in which the store is looked at and loaded.
_LOOP_THREADS = 4


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """Code of a problem body, None for anything else."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        return str(self.json()["code"])


def http_scope(method: str, target: str, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What a server of ASGI hands to an application for one request."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {},
    }


class _Meeting:
    """A queue that is empty once each worker has come, and so started."""

    is_long = False

    def __init__(self, workers: int) -> None:
        self.together = threading.Barrier(workers + 1)
        self._missing = workers

    def take(self) -> _Meeting | None:
        self._missing -= 1
        return self if self._missing >= 0 else None

    def run(self) -> None:
        self.together.wait(PATIENCE_S)

    def is_empty(self) -> bool:
        return self._missing <= 0

    def backlog_s(self) -> float:
        return 0.0

    def fail_all(self, error: Exception) -> None:
        self.together.abort()


class Caller:
    """One running application."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._lifespan: AbstractAsyncContextManager[Any] = app.router.lifespan_context(app)

    def __enter__(self) -> Caller:
        self._loop.set_default_executor(ThreadPoolExecutor(_LOOP_THREADS))
        self._loop.run_until_complete(self._lifespan.__aenter__())
        self._loop.run_until_complete(self._start_threads())
        return self

    async def _start_threads(self) -> None:
        """All that the application may have: those of a request would seem to be left by its test."""
        together = threading.Barrier(_LOOP_THREADS)
        await asyncio.gather(*(asyncio.to_thread(together.wait, PATIENCE_S) for _ in range(_LOOP_THREADS)))
        app_state = getattr(self.app.state, "app_state", None)
        if app_state is None:
            return
        together = threading.Barrier(app_state.pool.threads)
        await asyncio.gather(
            *(app_state.pool.run(together.wait, PATIENCE_S) for _ in range(app_state.pool.threads))
        )
        meeting = _Meeting(app_state.worker_pool.count)
        with app_state.worker_pool.lock:
            app_state.worker_pool.offer(meeting, workers=app_state.worker_pool.count)
        await asyncio.to_thread(meeting.together.wait, PATIENCE_S)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.run_until_complete(self._lifespan.__aexit__(kind, error, traceback))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, coroutine: Any) -> Any:
        """Anything else in the same loop."""
        return self._loop.run_until_complete(coroutine)

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("GET", target, headers=headers)

    def post(
        self,
        target: str,
        body: bytes | Iterable[bytes] = b"",
        content_type: str | None = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        named = {"content-type": content_type} if content_type is not None else {}
        return self.call("POST", target, headers={**named, **(headers or {})}, body=body)

    def post_json(self, target: str, document: object) -> Answer:
        return self.post(target, json.dumps(document).encode())

    def call(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
    ) -> Answer:
        """One request; a body in several parts arrives as a chunked one would, without a length."""
        return self._loop.run_until_complete(self.acall(method, target, headers=headers, body=body))

    async def acall(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | AsyncIterator[bytes] = b"",
        leave_after: int | None = None,
        extensions: Mapping[str, Any] | None = None,
        on_body: Callable[[], None] = lambda: None,
    ) -> Answer:
        """As `call`; with `leave_after`, the client is gone after that many parts of the body.

        An asynchronous body arrives as it is made. `extensions` are those of the server; `on_body` is called
        for each part of the answer.
        """
        chunks = _parts(body)
        sent = {"host": "localhost:8000", **{k.lower(): v for k, v in (headers or {}).items()}}
        if isinstance(body, bytes) and body:
            sent.setdefault("content-length", str(len(body)))
        scope = http_scope(method, target, sent.items()) | {"extensions": dict(extensions or {})}
        received = 0
        part = await anext(chunks, None)

        async def receive() -> dict[str, Any]:
            nonlocal received, part
            if leave_after is not None and received >= leave_after:
                return {"type": "http.disconnect"}
            if part is None:
                await asyncio.Event().wait()
            this, part = part, await anext(chunks, None)
            received += 1
            return {"type": "http.request", "body": this, "more_body": part is not None}

        status = 0
        answered: dict[str, str] = {}
        parts: list[bytes] = []

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered.update({k.decode("latin-1"): v.decode("latin-1") for k, v in message["headers"]})
            else:
                parts.append(message.get("body", b""))
                on_body()

        try:
            await self.app(scope, receive, send)
        finally:
            await chunks.aclose()  # the rest of a body that was refused
        return Answer(status, answered, b"".join(parts))


async def _parts(body: bytes | Iterable[bytes] | AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, Iterable):
        for part in body:
            yield part
    else:
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(body, AsyncGenerator):
                stack.push_async_callback(body.aclose)
            async for part in body:
                yield part
