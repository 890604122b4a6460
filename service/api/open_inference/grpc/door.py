"""Calls of gRPC, from the first byte to the last: admission, reading, answering, errors, and the end.

    admit ─▶ read the message ─▶ the method ─▶ send, or the status of the problem

Knows calls, keys, limits and the problem table. Knows nothing of models or of what a method does. Every
method with one request is registered as one with a stream of them, which is the same on the wire: so a call
without a key, or while the queue is full, is answered before any of its message is read, as over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc

from service.api.open_inference.core import Arrival, OpenInference
from service.api.open_inference.grpc.exchange import Caller, Exchange, Recorder
from service.api.open_inference.grpc.peers import hang_up
from service.api.open_inference.grpc.receiving import HeldMessage, Receiving
from service.api.open_inference.grpc.statuses import metadata_of, status_of, text_of
from service.api.open_inference.grpc.stream import Stream
from service.app_state import AppState
from service.http.middleware import BodyBudget
from service.http.problems import ProblemError
from service.log_fields import fields
from service.observability.request_trace import Trace

#: A client may take this many receipt deadlines before it reads any more of its answer, as over HTTP.
_STALL_FACTOR: Final = 2.0
_EOF: Final = grpc.aio.EOF
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RpcCall:
    """One message, as its method sees it."""

    trace: Trace
    caller: Caller
    arrival: Arrival | None
    """Only for inference."""


@dataclass(frozen=True)
class Method:
    """One method of a service."""

    path: str
    """`/package.Service/Method`."""
    answer: Callable[[RpcCall, bytes], Awaitable[bytes]]
    """The bytes of a message to those of its answer; raises the errors of the problem table."""
    answer_error: Callable[[bytes, ProblemError], bytes] | None = None
    """For a stream whose answers report errors: the answer to a message that failed."""
    infers: bool = False
    """Whether it runs models, so that a full queue refuses it."""
    is_open: bool = False
    """Whether it needs no key, and is answered beyond the limit of calls: probes."""


class Door:
    """All calls of one server."""

    def __init__(
        self, app_state: AppState, core: OpenInference, *, budget: BodyBudget, recorder: Recorder
    ) -> None:
        """No call is open.

        Args:
            app_state: Keys, limits and the stage of the process.
            core: The protocol.
            budget: Bytes of all messages and bodies in memory, HTTP's included.
            recorder: Receivers of the facts of each call.
        """
        settings = app_state.settings
        self._app_state = app_state
        self._core = core
        self._budget = budget
        self._recorder = recorder
        self._most = settings.max_grpc_calls
        self._receipt_s = settings.receipt_timeout_s
        self._receiving = Receiving(settings.receipt_timeout_s)
        self._stall_s = _STALL_FACTOR * settings.receipt_timeout_s
        self._sending: dict[Caller, float] = {}
        """Callers whose answer is being sent, and since when. Each still counts as a call."""
        self._running: set[asyncio.Task[Any]] = set()
        self._streams: dict[Stream, None] = {}
        self._calls = 0
        self._stops = False

    # The end

    def drain(self) -> None:
        """End every stream after the messages that it has sent."""
        self._stops = True
        for stream in self._streams:
            stream.ends.set()

    def cancel(self) -> None:
        """End every call now, with `shutting-down`."""
        self._stops = True
        for task in self._running:
            task.cancel()

    # Calls

    async def unary(self, method: Method, context: Any) -> bytes:
        """Answer a call with one message. An error ends it with its status."""
        caller = Caller(context.invocation_metadata(), context.peer(), method.path)
        with self._exchange(method, caller) as exchange:
            try:
                with _OpenCall(self, method):
                    call = self._admit(method, exchange, caller, context)
                    data = await self._read(method, context, exchange.trace)
                    with HeldMessage(self._budget, len(data)):
                        answer = await method.answer(call, data)
                context.set_trailing_metadata(exchange.metadata())
                self._count_until_sent(caller, context)
                return answer
            except asyncio.CancelledError:
                exchange.gone = True
                if not self._stops:
                    raise
                problem = exchange.fail(_stopped())
            except Exception as error:
                problem = exchange.fail(error)
            return await self._abort(context, problem, exchange)

    def _count_until_sent(self, caller: Caller, context: Any) -> None:
        self._sending[caller] = time.monotonic()
        context.add_done_callback(lambda _: self._sending.pop(caller, None))

    def _disconnect_stalled(self) -> None:
        """At a limit: end the connection whose client has read nothing for longest, if that is too long."""
        waiting = {
            **self._sending,
            **{stream.caller: stream.writes_s for stream in self._streams if stream.writes_s is not None},
        }
        caller = min(waiting, key=lambda each: waiting[each], default=None)
        if caller is not None and waiting[caller] < time.monotonic() - self._stall_s and hang_up(caller.peer):
            _log.warning("client does not read", extra=fields(client=caller.address))

    async def unknown(self, path: str, context: Any) -> bytes:
        """Refuse a call of a method that does not exist."""
        caller = Caller(context.invocation_metadata(), context.peer(), path)
        with Exchange(self._recorder, caller, path, route=None) as exchange:
            problem = exchange.fail(
                ProblemError("unknown-path", "No service has this method. Reflection lists the methods.")
            )
            return await self._abort(context, problem, exchange)

    async def stream(self, method: Method, context: Any) -> None:
        """Answer the messages of a stream, several at a time and in their order."""
        caller = Caller(context.invocation_metadata(), context.peer(), method.path)
        try:
            if not method.is_open:
                caller.authorise(self._app_state.access)
            self._make_room()
        except ProblemError as error:
            with self._exchange(method, caller) as exchange:
                await self._abort(context, exchange.fail(error), exchange)
        with self._opened(caller) as stream:
            try:
                await self._converse(method, caller, context, stream)
            except asyncio.CancelledError:
                if not self._stops:
                    raise
        if stream.ends.is_set():
            problem = self._ended()
            await context.abort(status_of(problem), text_of(problem), metadata_of(problem))

    async def watch(self, path: str, context: Any, send: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        """Serve a call whose answers the server begins itself.

        Args:
            path: Of the method.
            context: Of the call.
            send: Sends the answers until its event is set.
        """
        caller = Caller(context.invocation_metadata(), context.peer(), path)
        with Exchange(self._recorder, caller, path, route=path, is_probe=True) as exchange:
            try:
                self._make_room()
                with self._opened(caller) as stream:
                    await send(stream.ends)
                problem = exchange.fail(self._ended())
            except Exception as error:
                problem = exchange.fail(error)
            await self._abort(context, problem, exchange)

    async def _converse(self, method: Method, caller: Caller, context: Any, stream: Stream) -> None:
        """Send the answers as they come, until there are no more."""
        reader = stream.start(self._receive(method, caller, context, stream))
        try:
            while (answer := await stream.answers.get()) is not None:
                data = await answer
                stream.writes_s = time.monotonic()
                await context.write(data)
                stream.writes_s = None
                stream.pending -= 1
                stream.last_s = time.monotonic()
            await reader
        finally:
            await stream.close()

    @contextmanager
    def _opened(self, caller: Caller) -> Iterator[Stream]:
        stream, task = Stream(caller), asyncio.current_task()
        assert task is not None, "a call is a task"
        self._streams[stream] = None
        self._running.add(task)
        if self._stops:
            stream.ends.set()
        try:
            yield stream
        finally:
            self._running.discard(task)
            del self._streams[stream]

    def _ended(self) -> ProblemError:
        """Why the server ended a stream."""
        if self._stops:
            return _stopped()
        return ProblemError(
            "too-busy", "The stream was idle, and another needed its place.", headers={"Retry-After": "1"}
        )

    async def _receive(self, method: Method, caller: Caller, context: Any, stream: Stream) -> None:
        """Start the answer to each message, until the client or the server ends the stream."""
        try:
            await self._start_answers(method, caller, context, stream)
        except Exception:
            await stream.answers.put(None)
            raise
        await stream.answers.put(None)

    async def _start_answers(self, method: Method, caller: Caller, context: Any, stream: Stream) -> None:
        ends = stream.start(stream.ends.wait())
        while not stream.ends.is_set():
            reading = stream.start(context.read())
            await asyncio.wait({reading, ends}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() or (data := reading.result()) is _EOF:
                return
            stream.pending += 1
            await stream.answers.put(stream.start(self._message(method, caller, context, data)))

    async def _message(self, method: Method, caller: Caller, context: Any, data: bytes) -> bytes:
        """The answer to one message of a stream; an error is an answer too."""
        assert method.answer_error is not None, "streams answer errors"
        with self._exchange(method, caller) as exchange:
            exchange.trace.body_bytes = len(data)
            try:
                call = self._admit(method, exchange, caller, context)
                with HeldMessage(self._budget, len(data)):
                    return await method.answer(call, data)
            except asyncio.CancelledError:
                exchange.gone = True
                if self._stops:
                    exchange.fail(_stopped())
                raise
            except Exception as error:
                return method.answer_error(data, exchange.fail(error))

    def _exchange(self, method: Method, caller: Caller) -> Exchange:
        path = method.path
        return Exchange(self._recorder, caller, path, route=path, is_probe=method.is_open)

    def _admit(self, method: Method, exchange: Exchange, caller: Caller, context: Any) -> RpcCall:
        """Accept a message before it is read.

        Raises:
            ProblemError: `missing-key` or `unknown-key`.
            TooBusy: The queue is full.
        """
        if not method.is_open:
            caller.authorise(self._app_state.access)
        arrival = None
        if method.infers:
            arrival = self._core.admit(
                lambda: exchange.gone,
                timeout_s=context.time_remaining(),
                company=self._receiving,
            )
        return RpcCall(exchange.trace, caller, arrival)

    async def _read(self, method: Method, context: Any, trace: Trace) -> bytes:
        """The one message of a call.

        Raises:
            ProblemError: `receipt-timeout`, or `malformed-body`: the client sent none.
        """
        try:
            with trace.phase("read"):
                data = await self._receiving.receive(context.read(), infers=method.infers)
        except TimeoutError:
            raise ProblemError(
                "receipt-timeout", "The message did not arrive completely within the time limit."
            ) from None
        if data is _EOF:
            raise ProblemError(
                "malformed-body", "Expected one message, got none. Send the message of the call."
            )
        trace.body_bytes = len(data)
        return data  # type: ignore[no-any-return]

    def _open(self, method: Method) -> asyncio.Task[Any]:
        """Count an open call, and return its task.

        Raises:
            ProblemError: `too-busy`: there are too many.
        """
        if self._calls + len(self._sending) >= self._most and not method.is_open:
            self._disconnect_stalled()
            raise ProblemError(
                "too-busy",
                f"The server answers {self._most} calls at the moment, as many as it accepts at a time.",
                headers={"Retry-After": "1"},
            )
        task = asyncio.current_task()
        assert task is not None, "a call is a task"
        self._running.add(task)
        self._calls += 1
        return task

    def _close(self, task: asyncio.Task[Any]) -> None:
        self._calls -= 1
        self._running.discard(task)

    def _make_room(self) -> None:
        """Accept one more stream; at the limit, the one that has been idle for longest ends.

        Raises:
            ProblemError: `too-busy`: all streams are in use.
        """
        if len(self._streams) < self._most:
            return
        before_s = time.monotonic() - self._receipt_s
        idle = [each for each in self._streams if not each.pending and each.last_s < before_s]
        if not idle:
            self._disconnect_stalled()
            raise ProblemError(
                "too-busy",
                f"The server has {self._most} open streams, as many as it accepts.",
                headers={"Retry-After": "1"},
            )
        min(idle, key=lambda each: each.last_s).ends.set()

    async def _abort(self, context: Any, problem: ProblemError, exchange: Exchange) -> bytes:
        await context.abort(
            status_of(problem), text_of(problem), (*exchange.metadata(), *metadata_of(problem))
        )
        raise AssertionError("abort raises")


class _OpenCall:
    """A call, counted while it is inside. A generator's context manager would take three times as long."""

    __slots__ = ("_door", "_method", "_task")

    def __init__(self, door: Door, method: Method) -> None:
        self._door = door
        self._method = method

    def __enter__(self) -> None:
        self._task = self._door._open(self._method)

    def __exit__(self, *_: object) -> None:
        self._door._close(self._task)


def _stopped() -> ProblemError:
    return ProblemError("shutting-down", "The server stopped before this request was done.")
