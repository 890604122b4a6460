"""One kept HTTP/1.1 connection that sends one request at a time, as cheaply as Python can.

Knows bytes on a connection and the end of a response (httptools parses it). Knows nothing of clocks, load or
the meaning of the bytes. It uses callbacks instead of futures, and turns no header into an object: a client
that costs more than the server measures itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import httptools

#: Replaces the status if no response came; the reason accompanies it.
NO_ANSWER = 0


class Connection(asyncio.Protocol):
    """A connection with at most one request on its way.

    `answered(connection, status, reason)` is called once for each `send`. It receives `NO_ANSWER` and the
    reason if the connection ended, the response was unreadable, or it was aborted before the response was
    whole. `ended(connection)` is called once, when the connection is gone and no request was on its way.
    """

    def __init__(
        self,
        answered: Callable[[Connection, int, str], None],
        ended: Callable[[Connection], None] | None = None,
    ) -> None:
        self._answered = answered
        self._ended = ended
        self._parser = httptools.HttpResponseParser(self)
        self._whole = False
        self._stays = False
        self._without_body = False
        self._transport: asyncio.Transport | None = None
        self.reason_to_abort = ""
        self.busy = False
        self.open = False
        self.sent_s = 0.0
        """For an observer of time; this class reads no clock."""
        self.due_s = 0.0
        self.request = b""
        """The last request that was sent, and how often it was sent, on any connection."""
        self.tries = 1

    def send(self, data: bytes) -> None:
        """Send one whole request. The connection must be open and not busy."""
        assert self._transport is not None
        self.busy = True
        self._without_body = data.startswith(b"HEAD ")
        self._transport.write(data)

    def abort(self, reason: str) -> None:
        """Close at once; a request on its way ends with `NO_ANSWER` and this reason."""
        self.reason_to_abort = self.reason_to_abort or reason
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close without waiting for a response."""
        self.open = False
        if self._transport is not None:
            self._transport.close()

    # Called by asyncio.

    def connection_made(self, transport: Any) -> None:
        """Store the transport: from now on requests can be sent."""
        self._transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Parse the next bytes, and report the response when it is whole."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(f"response is no HTTP/1.1: {error}")
            return
        if not self._whole:
            return
        self._whole = False
        status = self._parser.get_status_code()
        if self._without_body:  # the parser does not know that it is HEAD, and waits for the body
            self._parser = httptools.HttpResponseParser(self)
        if not self._stays:
            self.close()
        if self.busy:
            self.busy = False
            self._answered(self, status, "")
        else:
            self.abort("an unexpected response")

    def connection_lost(self, error: Exception | None) -> None:
        """Report a request on its way as failed, with the reason."""
        self.open = False
        if self.busy:
            self.busy = False
            reason = self.reason_to_abort or (
                f"connection lost: {type(error).__name__}"
                if error
                else ("closed before the response was whole")
            )
            self._answered(self, NO_ANSWER, reason)
        elif self._ended is not None:
            self._ended(self)

    # Called by httptools.

    def on_headers_complete(self) -> None:
        """The response to HEAD is whole with its head."""
        if self._without_body:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        """Note that the response is whole, and whether the connection stays open."""
        self._whole = True
        # Now, because the parser forgets the response's headers when it returns.
        self._stays = self._parser.should_keep_alive()


class ReadingConnection(Connection):
    """The same, and keeps the body of the last response. For a few requests, not for load."""

    def __init__(self, answered: Callable[[Connection, int, str], None]) -> None:
        super().__init__(answered)
        self.body = bytearray()

    def on_message_begin(self) -> None:
        """Forget the body of the last response."""
        self.body.clear()

    def on_body(self, data: bytes) -> None:
        """Keep the next part of the body."""
        self.body += data


async def ask(
    host: str, port: int, data: bytes, *, tls: ssl.SSLContext | None = None, timeout_s: float = 30.0
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body.

    Raises:
        OSError: No server listens there, the connection ended before the response was whole, or, as
            `TimeoutError`, no response came within `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[int, str]] = loop.create_future()

    def answered(_: Connection, status: int, reason: str) -> None:
        if not done.done():
            done.set_result((status, reason))

    async with asyncio.timeout(timeout_s):
        _, connection = await loop.create_connection(lambda: ReadingConnection(answered), host, port, ssl=tls)
        try:
            connection.send(data)
            status, reason = await done
        finally:
            connection.close()
    if status == NO_ANSWER:
        raise ConnectionError(reason)
    return status, bytes(connection.body)
