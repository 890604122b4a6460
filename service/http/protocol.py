"""uvicorn's HTTP/1.1, with bounds that it lacks and with problem bodies instead of plain text.

Knows bytes on a connection. Knows nothing of routes, models or codecs. Its own responses have no request that
middleware would see, so they are logged and counted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.addresses import plain_address
from service.http.connection import SCOPE_KEY, Connection
from service.http.cross_origin import CrossOrigin
from service.http.half_close import was_reset
from service.http.parser import RequestParser
from service.http.problem_documents import problem_body
from service.http.problems import MEDIA_TYPE, ProblemError
from service.http.public_address import PublicAddress
from service.http.request_cycle import Cycle
from service.http.unread_answers import MOST_CLOSING, ClosingSockets, ReadProgress, bytes_in_kernel, reset
from service.log_fields import fields
from service.observability.metrics import Metrics
from service.observability.request_trace import Trace, new_request_id

#: Longer URLs are truncated. No existing path is a hundredth as long and no query may be a quarter as long,
#: so a truncated URL is rejected like any other wrong name, and never taken for a right one.
MAX_URL_BYTES: Final = 16_384
#: Maximum size of request line, headers and trailers together. uvicorn has no maximum: 50 MB of headers took
#: 350 MB (test_server_process).
MAX_HEAD_BYTES: Final = 131_072

#: A header on the wire has these as well as its name and its value.
_BYTES_AROUND: Final = len(b": \r\n")
#: Interval between checks for late connections.
SWEEP_S: Final = 0.25
#: Connections beyond the maximum that are still accepted, for probes.
RESERVED_CONNECTIONS: Final = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionBounds:
    """The limits of one connection and of all of them. Times are in seconds."""

    receipt_s: float = math.inf
    """From the first byte of a request, or from the connection, to the last byte of the request's body."""
    stall_s: float = math.inf
    """How long a response may wait for a client that acknowledges none of it."""
    connections: int = 1 << 30
    """Maximum number of connections; a few more are accepted for probes only."""
    closing: int = MOST_CLOSING
    """Maximum number of watched connections after their end, until the client has acknowledged the
    response."""


class ProblemProtocol(HttpToolsProtocol):
    """One connection.

    Bytes that are no HTTP, too long or too slow lead to a response in the one form of errors.

    Deadlines are plain numbers that `sweep` checks a few times a second: a timer for each request would cost
    as much as its routing.
    """

    metrics: ClassVar[Metrics | None] = None
    """The counters of responses; set by `bounded`."""
    bounds: ClassVar[ConnectionBounds] = ConnectionBounds()
    cross_origin: ClassVar[CrossOrigin] = CrossOrigin()
    """CORS headers of its own responses, the same as of every other response."""
    address: ClassVar[PublicAddress] = PublicAddress()
    """Prefix of every link in its own responses."""
    closing: ClassVar[ClosingSockets] = ClosingSockets(math.inf)
    """Connections that ended before the client had acknowledged everything; set by `bounded`."""

    _heads = 0
    _in_head = False
    _head_bytes = 0
    _waiting_bytes = 0
    _only_fields = False
    _came_s = 0.0
    _objection: ProblemError | None = None
    _sends_no_more = False
    reads_framing = False

    _closes_next = False
    _receive_by_s = math.inf
    _heads_read = 0
    _was_reset = False

    @classmethod
    def bounded(
        cls,
        metrics: Metrics,
        bounds: ConnectionBounds,
        *,
        cross_origin: CrossOrigin = cross_origin,
        address: PublicAddress = address,
    ) -> type[ProblemProtocol]:
        """The same protocol within `bounds`, counting in `metrics`."""
        closing = ClosingSockets(bounds.stall_s, most=bounds.closing)
        own = {
            "metrics": metrics,
            "bounds": bounds,
            "closing": closing,
            "cross_origin": cross_origin,
            "address": address,
        }
        return type(cls.__name__, (cls,), own)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the receipt deadline, and make room if there are too many connections."""
        super().connection_made(transport)
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        self.parser = RequestParser(self)
        self.connection = Connection()
        self.connection.peer = self._client()
        self._extensions = {SCOPE_KEY: self.connection}
        self._progress = ReadProgress(self.bounds.stall_s)
        self._came_s = time.perf_counter()
        self._receive_by_s = time.monotonic() + self.bounds.receipt_s
        count = len(self.connections)
        if count > self.bounds.connections:
            self.connection.only_probes = True
            if count > self.bounds.connections + RESERVED_CONNECTIONS:
                self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the connection as gone, so that work for it is dropped."""
        self.connection.gone = True
        self.connection.look = None
        if exc is None and not self._was_reset:
            self.closing.take(self.transport.get_extra_info("socket"), self._client())
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: its requests are answered, and then the connection ends.

        Returns:
            Whether a response is still due. If not, the connection ends now.
        """
        if not self._sends_no_more:
            if not self._take_no_more():
                return False
            self._sends_no_more = True
            self._receive_by_s = math.inf
            cycle = self.cycle
            if isinstance(cycle, Cycle) and not (cycle.more_body or cycle.response_started or self.pipeline):
                cycle.begin()
                self._socket = self.transport.get_extra_info("socket")
                self.connection.look = self._is_disconnected
        return True

    def data_received(self, data: bytes) -> None:
        """Parse the next bytes, and reject a head that exceeds its limit."""
        self._came_s = time.perf_counter()
        self._begin_receipt()
        self._only_fields = True
        super().data_received(data)
        if self._only_fields and not self.transport.is_closing():
            # The parser reports a header or a trailer when it is whole, and keeps one that never ends.
            self._waiting_bytes += len(data)
            if self._waiting_bytes > MAX_HEAD_BYTES:
                self._objection = _head_too_large()
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Start the receipt deadline and the count of bytes of the next head."""
        if self.reads_framing:
            return
        self._heads += 1
        self._in_head = True
        self._only_fields = False
        self._head_bytes = self._waiting_bytes = 0
        self._begin_receipt()
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]

    def on_url(self, url: bytes) -> None:
        """Count a part of the URL; longer URLs are truncated."""
        if self.reads_framing:
            return
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        super().on_url(url[: max(0, MAX_URL_BYTES - len(self.url))])

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header towards the limit of the head."""
        self._head_bytes += len(name) + len(value) + _BYTES_AROUND
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        if self._in_head:
            super().on_header(name, value)
        elif not self.reads_framing:
            # A trailer is dropped (RFC 9110, 6.5.1): the headers may have had their effect already. Otherwise
            # the parser would act on a `Connection: close` among them, and read nothing more.
            self.parser.set_dangerous_leniencies(lenient_keep_alive=True)

    def on_headers_complete(self) -> None:
        """Begin the cycle of one request and its response."""
        if self.reads_framing:
            return
        if self.parser.should_upgrade() and self.parser.get_method() == b"CONNECT":
            self._objection = ProblemError("malformed-request", "This server is no proxy: it has no CONNECT.")
            raise ValueError("CONNECT")  # the parser stops, and uvicorn requests a 400
        self._in_head = False
        super().on_headers_complete()
        self.cycle.__class__ = Cycle
        if self._closes_next:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass the next part of the body to the cycle, unless its response is complete."""
        self._only_fields = False
        self._waiting_bytes = 0
        cycle = self.cycle
        assert isinstance(cycle, Cycle), "made one as soon as the head was whole"
        if not cycle.response_complete:
            cycle.take(body)

    def on_message_complete(self) -> None:
        """Stop the receipt deadline: the request is whole."""
        if self.parser.should_upgrade():
            return  # the end of the head alone: see `RequestParser`
        self._receive_by_s = math.inf
        super().on_message_complete()

    def drain(self) -> None:
        """The server stops: the current response, or the next one, is the last on this connection."""
        self._closes_next = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def sweep(self, now_s: float) -> None:
        """Closes the connection if its request, or its client's reading of the answer, is late.

        Args:
            now_s: On the clock of `time.monotonic`.
        """
        if now_s >= self._receive_by_s:
            self._receive_by_s = math.inf
            self._receipt_is_late()
        buffered = self.transport.get_write_buffer_size()
        if not buffered and self._heads_read == self._heads:
            return  # nothing was sent since the client had acknowledged everything
        connection = self.transport.get_extra_info("socket")
        if self._progress.is_stalled(connection, now_s, buffered_bytes=buffered):
            unread = buffered + bytes_in_kernel(connection)
            _log.info("client reads nothing", extra=fields(client=self._client(), unread_bytes=unread))
            self.reset()
        elif not (self._progress.waits or self._is_answering()):
            self._heads_read = self._heads

    def reset(self) -> None:
        """End the connection and drop all unread bytes, also from the kernel's memory."""
        self._was_reset = True
        reset(self.transport)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's own words)
        """Called by uvicorn for every error of its parser, or of one of the callbacks above."""
        if self._take_no_more():
            # A whole request came before the malformed bytes and waits for its response. A 400 now would pass
            # for that response. It gets its own, and then the connection ends.
            self.flow.pause_reading()
            _log.info("malformed request after another", extra=fields(client=self._client()))
        elif not self._in_head and self._is_answered_early():
            self.transport.close()  # the malformed bytes are the rest of an answered request
        else:
            error = self._objection or ProblemError("malformed-request", "The bytes are not HTTP/1.1.")
            self._answer(error, event="malformed request")

    def _take_no_more(self) -> bool:
        """Make the last whole request the last to be answered, and drop half a request behind it.

        Returns:
            Whether a response is still due.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body:
            if self.pipeline:
                self.pipeline.popleft()
            elif cycle.response_started and isinstance(cycle, Cycle):
                cycle.give_up()
            else:
                return False
        self.timeout_keep_alive = 0  # of the response that becomes the last
        cycle.keep_alive = False
        return True

    def _is_disconnected(self) -> bool:
        """Whether a client that sends no more has disconnected altogether. From any thread."""
        if not was_reset(self._socket):
            return False
        self.connection.gone = self.cycle.disconnected = True
        with contextlib.suppress(RuntimeError):  # the event loop has ended, and with it the connection
            self.loop.call_soon_threadsafe(self.transport.abort)
        return True

    def _begin_receipt(self) -> None:
        if self._receive_by_s == math.inf:
            self._receive_by_s = time.monotonic() + self.bounds.receipt_s

    def _receipt_is_late(self) -> None:
        cycle = self.cycle
        if self.transport.is_closing():
            return  # its late request will not be answered
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            if not self._in_head:
                # No request came: a browser's connection in reserve, a balancer's pool, a check of the port.
                if self.metrics is not None:
                    self.metrics.connections_closed.labels("silent").inc()
                self.transport.close()
                return
            self.connection.timed_out = True
            self._answer(
                ProblemError(
                    "receipt-timeout",
                    f"The request did not arrive completely within {self.bounds.receipt_s:g} seconds.",
                ),
                event="request came too slowly",
            )
        elif self._is_answered_early():
            self.transport.close()
        else:
            # The application answers now, and this response is the last. If it waits for the body, it learns
            # that none will come, and why.
            self.connection.timed_out = cycle.more_body
            cycle.keep_alive = False
            if cycle.more_body and isinstance(cycle, Cycle):
                cycle.give_up()

    def _make_room(self) -> None:
        """Close one connection for a new one: an idle one if there is one, otherwise the next to be late."""
        others = [each for each in self.connections if each is not self and isinstance(each, ProblemProtocol)]
        idle = [each for each in others if each._receive_by_s == math.inf and not each._is_answering()]
        oldest = min(idle or others, key=lambda each: (each._receive_by_s, each._came_s), default=None)
        if oldest is not None:
            oldest.transport.abort()

    def _is_answered_early(self) -> bool:
        """Whether the last request was answered before its body was whole, and nothing reads the rest."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _client(self) -> str | None:
        return self.client[0] if self.client else None

    def _answer(self, error: ProblemError, *, event: str) -> None:
        """Respond outside of the application, which knows of no request: write, log, count, close."""
        status = HTTPStatus(error.kind.status)
        trace = Trace(new_request_id(), started=self._came_s, code=error.kind.code)
        prefix = self.address.prefix(self.headers or (), peer=self.connection.peer)
        body = problem_body(error, request_id=trace.request_id, prefix=prefix)
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\n"
            f"date: {formatdate(usegmt=True)}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {trace.request_id}\r\nserver-timing: {trace.server_timing()}\r\n"
            "x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n"
        ).encode("ascii")
        headers = [(b"cross-origin-resource-policy", self.cross_origin.resource_policy)]
        self.cross_origin.permit(self.headers or (), headers, is_whole=not self._in_head)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(head + lines + b"\r\n" + body)
        self.transport.close()
        values = {"request_id": trace.request_id, "status": int(status), "code": trace.code}
        _log.info(event, extra=fields(**values, client=self._client()))
        if self.metrics is not None:
            self.metrics.observe_request(
                route=None,
                method="other",
                status=status,
                duration_s=trace.elapsed_s(),
                phases={},
                code=trace.code,
                model=None,
                images=0,
                body_bytes=0,
            )

    def _refuse_head(self) -> None:
        self._objection = _head_too_large()
        raise ValueError("head too long")  # the parser stops, and uvicorn requests a 400


def _head_too_large() -> ProblemError:
    return ProblemError(
        "head-too-large", f"Request line, headers and trailers exceed {MAX_HEAD_BYTES} bytes."
    )
