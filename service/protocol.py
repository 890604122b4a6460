"""uvicorn's HTTP/1.1, with bounds where it has none and problem bodies where it speaks plain text.

Knows bytes on a connection. Knows nothing of routes, models or codecs.
What it answers itself never becomes a request: no middleware sees it, so it is logged and counted here.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.logs import fields
from service.metrics import Metrics
from service.problems import MEDIA_TYPE, ProblemError, problem_body
from service.trace import Trace, new_request_id

#: Of a longer address the rest is dropped. No path that exists is a hundredth as long and no query may be
#: a quarter as long, so what is left is refused like any other wrong name, and never taken for a right one.
MAX_URL_BYTES: Final = 16_384
#: Request line and headers together. uvicorn keeps whatever comes: 50 MB of headers took 350 MB
#: (test_server_process).
MAX_HEAD_BYTES: Final = 131_072

_log = logging.getLogger(__name__)


class ProblemProtocol(HttpToolsProtocol):
    """One connection. What is no HTTP, or too long a head, is answered in the one form that errors have."""

    metrics: ClassVar[Metrics | None] = None
    """Where answers are counted; set by `counted_in`."""

    _heads = 0
    _in_head = False
    _head_bytes = 0
    _waiting_bytes = 0
    _came_s = 0.0
    _too_long = False

    @classmethod
    def counted_in(cls, metrics: Metrics) -> type[ProblemProtocol]:
        """The same protocol, counting in `metrics`."""
        return type(cls.__name__, (cls,), {"metrics": metrics})

    def data_received(self, data: bytes) -> None:
        self._came_s = time.perf_counter()
        head = self._heads if self._in_head else None
        super().data_received(data)
        if self._in_head and head == self._heads and not self.transport.is_closing():
            # The parser tells of a header once it is whole; one that never ends is told of by nobody else.
            self._waiting_bytes += len(data)
            if self._waiting_bytes > MAX_HEAD_BYTES:
                self._too_long = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        self._heads += 1
        self._in_head = True
        self._head_bytes = self._waiting_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url[: max(0, MAX_URL_BYTES - len(self.url))])

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's own words)
        """Called by uvicorn for whatever its parser, or one of the callbacks above, objects to."""
        client = self.client[0] if self.client else None
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            # A whole request came before the rubbish and waits for its answer: a 400 sent now would be taken
            # for it. It gets its own, and the connection ends with that.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            _log.info("malformed request after another", extra=fields(client=client))
            return
        error = (
            ProblemError("head-too-large", f"Request line and headers are more than {MAX_HEAD_BYTES} bytes.")
            if self._too_long
            else ProblemError("malformed-request", "What came is not HTTP/1.1.")
        )
        status = HTTPStatus(error.kind.status)
        trace = Trace(new_request_id(), started=self._came_s, code=error.kind.code)
        body = problem_body(error, request_id=trace.request_id)
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {trace.request_id}\r\nserver-timing: {trace.server_timing()}\r\n"
            "x-content-type-options: nosniff\r\ncross-origin-resource-policy: same-site\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
        values = {"request_id": trace.request_id, "status": int(status), "code": trace.code, "client": client}
        _log.info("malformed request", extra=fields(**values))
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

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            self._too_long = True
            raise ValueError("head too long")  # the parser stops, and uvicorn asks for a 400

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: the request is answered as any other, and uvicorn's advice is of no use to an operator."""
