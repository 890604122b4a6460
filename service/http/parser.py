"""Parse requests from bytes, including those after an offer to change the protocol.

Knows llhttp, by way of httptools. Knows nothing of requests after parsing.

RFC 9110, section 7.8: a server that does not take an upgrade ignores the offer. llhttp stops behind the head
of such a request, reports its end and skips its body (MagicStack/httptools#124, Kludex/uvicorn#2722). Java's
HttpClient offers `Upgrade: h2c` with every request, and so does `curl --http2`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, Protocol

import httptools

#: The headers that determine the end of a body (RFC 9112, section 6.3), in lower case.
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class Reader(Protocol):
    """The object whose callbacks the parser calls."""

    headers: list[tuple[bytes, bytes]]
    """Headers of the last head, names in lower case."""
    reads_framing: bool
    """The parser reads the framing of the last head again: ignore its beginning, URL, headers and head."""


class RequestParser(httptools.HttpRequestParser):
    """httptools' parser, which ignores upgrades and continues to read.

    If llhttp stops, this class feeds it a second head, which has the framing headers of the first and no
    upgrade. So llhttp itself reads the body, by its own rules, and then the next request. It calls
    `on_message_complete` twice: after the first head, while `should_upgrade()` is true, and after the body.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._begin()

    def feed_data(self, data: bytes | bytearray | memoryview | array[int]) -> None:
        """Parse the next bytes.

        Raises:
            httptools.HttpParserError: The bytes are no HTTP/1.1, or a callback raised.
        """
        while True:
            try:
                super().feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = memoryview(data)[offer.args[0] :]
            else:
                return
            self._read_framing()

    def _begin(self) -> None:
        super().__init__(self._reader)
        # As in uvicorn: the first of several requests in one segment is answered, even if it contains
        # "close".
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def _read_framing(self) -> None:
        reader = self._reader
        head = _framing_head(reader.headers, closes=not self.should_keep_alive())
        # A new parser: llhttp keeps the length of the first head, and reads nothing after its "close".
        self._begin()
        reader.reads_framing = True
        try:
            super().feed_data(head)
        finally:
            reader.reads_framing = False


def _framing_head(headers: Iterable[tuple[bytes, bytes]], *, closes: bool) -> bytes:
    lines = [b"%b: %b\r\n" % (name, value) for name, value in headers if name in _FRAMING]
    if closes:
        lines.append(b"connection: close\r\n")
    return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(lines)
