"""Bytes that are nearly HTTP/1.1, and requests that two parsers could read in two ways.

Knows the syntax of HTTP. Knows nothing of the server or of what it should answer.
"""

# ruff: noqa: E501 - bytes stand here as they go over the wire

from __future__ import annotations

import random
from collections.abc import Iterator

#: A request that nobody sent: it may only be seen by a server that was talked into it.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
_HOST = b"Host: localhost:8000\r\n"
_JSON = b"Content-Type: application/json\r\n"
_OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"

ORIGINALS = (
    b"GET /livez HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /sample.json?n=1&seed=3 HTTP/1.1\r\n" + _HOST + b"Accept: application/json\r\nUser-Agent: x\r\n\r\n",
    b"HEAD /sample HTTP/1.1\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n",
    b"GET /models HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"POST /sample HTTP/1.1\r\n" + _HOST + _JSON + b'Content-Length: 8\r\n\r\n{"n": 1}',
    b"POST /sample HTTP/1.1\r\n" + _HOST + _JSON + b'Expect: 100-continue\r\nContent-Length: 8\r\n\r\n{"n": 1}',
    b"POST /sample HTTP/1.1\r\n" + _HOST + _JSON + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"n": 1}\r\n0\r\n\r\n',
    b"POST /sample HTTP/1.1\r\n" + _HOST + _JSON
    + b'Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n3;a=b\r\n{"n\r\n5\r\n": 1}\r\n0\r\nX-A: b\r\n\r\n',
    b"POST /decode HTTP/1.1\r\n" + _HOST + _JSON + b'Content-Length: 14\r\n\r\n{"z": [[0, 1]]}'[:-1],
    b"GET /readyz HTTP/1.1\r\n" + _HOST + b"\r\nGET /livez HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    b"POST /sample HTTP/1.1\r\n" + _HOST + _OFFER + _JSON + b'Content-Length: 8\r\n\r\n{"n": 1}',
    b"POST /sample HTTP/1.1\r\n" + _HOST + _OFFER + _JSON
    + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"n": 1}\r\n0\r\n\r\n',
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://localhost:8000/livez HTTP/1.1\r\n" + _HOST + b"Cookie: a=b\r\nX-Request-Id: abc\r\n\r\n",
    b"POST /encode HTTP/1.1\r\n" + _HOST + b"Content-Type: image/png\r\nContent-Length: 20\r\n\r\n\x89PNG\r\n\x1a\n" + b"\0" * 12,
)  # fmt: skip
_PIECES = (
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"\xff", b"\x80", b"\x0b", b"%00", b"%", b"\r\n ",
    b"\r\n\r\n", b"HTTP/1.1", b"HTTP/9.9", b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 0x8\r\n",
    b"Content-Length: 8, 8\r\n", b"Content-Length:\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"0\r\n\r\n", b"x" * 9000,
    b"Host: a\r\nHost: b\r\n", b"\xe2\x80\xae", b"A" * 70_000, b"X: " + b"y" * 200 + b"\r\n", SMUGGLED,
)  # fmt: skip


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Requests with one to four things done to them: bytes changed, lost, put in; lines moved and doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        data = rng.choice(ORIGINALS)
        for _ in range(rng.randint(1, 4)):
            data = _changed(data, rng)
        yield data or b"\r\n"


def _changed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(7)
    if kind == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[at + rng.randint(1, 12) :]
    if kind == 2:
        return data[:at] + rng.choice(_PIECES) + data[at:]
    if kind == 3:
        return data[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 6))) + data[at:]
    lines = data.split(b"\r\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    if kind == 4:
        lines.insert(other, lines[one])
    elif kind == 5:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one] = lines[one] + rng.choice(_PIECES)
    return b"\r\n".join(lines)


def smuggling() -> Iterator[bytes]:
    """Bodies with two lengths, or with one that two parsers read differently, and a request hidden behind.

    Every one states both Content-Length and Transfer-Encoding, or two different lengths (RFC 9112, 6.1 and 6.3).
    """
    codings = (
        b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\tchunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chunked\x00", b"Transfer-Encoding: CHUNKED",
        b'Transfer-Encoding: "chunked"', b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
        b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding: chunk", b"Transfer-Encoding: chunked;q=1",
        b"Content-Length: 3", b"Content-Length: +8", b"Content-Length : 3", b"Content-Length: 3, 8",
    )  # fmt: skip
    for coding in codings:
        for length in (0, 4, 8, 200):
            stated = b"Content-Length: %d" % length
            for headers in ((stated, coding), (coding, stated)):
                for body in (
                    b"0\r\n\r\n" + SMUGGLED,
                    b"3\r\nabc\r\n0\r\n\r\n" + SMUGGLED,
                    b'{"n": 1}' + SMUGGLED,
                ):
                    for offer in (b"", _OFFER):  # which stops the parser at the head
                        head = b"POST /sample HTTP/1.1\r\n" + _HOST + _JSON + offer
                        yield head + b"\r\n".join(headers) + b"\r\n\r\n" + body
