"""One request and its response on a connection: uvicorn's, with fewer copies and fewer system calls.

Knows the two messages of an ASGI response and the bytes of HTTP/1.1. Knows nothing of routes or models.

uvicorn matches every header against two regular expressions and writes the head separately, in its own system
call. Every header here comes from this package or from Starlette, so one check of the finished head is
enough, and the head waits for the first part of the body. uvicorn copies each piece of a request's body twice
before the application sees it; here a single piece is passed on without a copy.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.http.half_close import FIRST_BYTES

#: Longer bodies are not copied behind their head.
_LARGEST_JOINED_BYTES = 65_536
#: Memory of an object in addition to its bytes: chunks may be of one byte each.
_BYTES_PER_PIECE = 64
_NO_BODY = (204, 304)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: These know neither interim responses nor chunks (RFC 9110, 15.2; RFC 9112, 6.1).
_OLD_VERSIONS = ("1.0", "0.9")


class Cycle(RequestResponseCycle):
    """The cycle whose `send` the application calls.

    A cycle of uvicorn becomes one through its class alone.
    """

    _head: bytes | None = None
    _begun = False
    _until_close = False
    _given_up = False
    _pieces: list[bytes] | None = None
    _unread_bytes = 0

    def take(self, piece: bytes) -> None:
        """Receive a piece of the body. Reading pauses while the application leaves too much unread."""
        if self._pieces is None:
            self._pieces = [piece]
        else:
            self._pieces.append(piece)
        self._unread_bytes += len(piece) + _BYTES_PER_PIECE
        if self._unread_bytes > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def begin(self) -> None:
        """Send the common beginning of every response before the rest is known. The request is whole."""
        self._begun = True
        self.waiting_for_100_continue = False
        self.transport.write(FIRST_BYTES)

    def give_up(self) -> None:
        """Take no more of the body: a waiting reader is notified, and can still send a response."""
        self._given_up = True
        self.flow.pause_reading()
        self.message_event.set()

    async def receive(self) -> Any:
        """The next part of the body, or `http.disconnect`."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.waiting_for_100_continue = False
            if self.scope["http_version"] not in _OLD_VERSIONS:
                self.transport.write(_CONTINUE)
        if not (self.disconnected or self.response_complete):
            self.flow.resume_reading()
            if not self.message_event.is_set():
                await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete or (self._given_up and self.more_body):
            return {"type": "http.disconnect"}
        pieces, self._pieces, self._unread_bytes = self._pieces or [], None, 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Any) -> None:
        """Accept `http.response.start`, then `http.response.body` until the last one.

        Raises:
            RuntimeError: Messages in another order, more or fewer bytes than announced, or a header with a
                line break: defects of the application.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self.response_started = True
            if self.waiting_for_100_continue and self.more_body and not self._unread_bytes:
                # The client asked whether to send its body, and need not send it now. On the wire that body
                # would look like the next request.
                self.keep_alive = False
            self.waiting_for_100_continue = False
            self._head = self._made_head(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _made_head(self, status: int, headers: Any) -> bytes:
        status_line = STATUS_LINE[status]
        lines = [status_line.removeprefix(FIRST_BYTES) if self._begun else status_line]
        closes = False
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                closes = True
                self.keep_alive = False
            lines += (name, b": ", value, b"\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            if self.scope["http_version"] in _OLD_VERSIONS:
                self._until_close = True
                self.keep_alive = False
            else:
                self.chunked_encoding = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not (self.keep_alive or closes):
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != head.count(b"\r\n") or head.index(b"\r\n\r\n") != len(head) - 4:
            raise RuntimeError("a header holds a line break")
        return head

    def _write(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif not self._until_close:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("answer longer than its Content-Length")
        if self._head is not None:
            if len(body) <= _LARGEST_JOINED_BYTES:
                body = self._head + body
            else:
                self.transport.write(self._head)
            self._head = None
        if body:
            self.transport.write(body)
        if not more:
            if self.expected_content_length:
                raise RuntimeError("answer shorter than its Content-Length")
            self.response_complete = True
            self._pieces = None
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
