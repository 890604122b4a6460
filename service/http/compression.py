"""Compression of responses: text as gzip, for clients that accept it.

Knows Accept-Encoding (RFC 9110, section 12.5.3), media types and the messages of an ASGI response. Knows
nothing of routes or models. Starlette's own middleware looks for the letters `gzip` in the header, so it
compresses for `gzip;q=0`, and it wraps every response, also for clients that accept no coding.

A PNG is compressed already. npy and npz are compressed for no client: floats shrink to half, and 1 MB of them
takes 14 ms, where writing the file takes 0.03 ms. Clients choose these formats for their speed.

No response contains a secret: no key, no cookie, no token. So the length of a compressed response that
repeats a part of its request reveals none (BREACH).
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.headers import joined_header
from service.http.media_types import elements, weight
from service.observability.request_trace import current_trace

Headers = list[tuple[bytes, bytes]]
#: Runs a function in a thread, and waits for its result.
RunInThread = Callable[[Callable[[], bytes]], Awaitable[bytes]]

#: Shorter responses are sent as they are: with their headers they fit into one packet.
MIN_BYTES: Final = 1_024
#: Longer bodies are compressed in a thread: these take at most a third of a millisecond.
_QUICK_BYTES: Final = 32_768
#: 2.2 MB of images as JSON: 17 ms and 34 % of the size. Level 6, the usual one: 80 ms and 29 %. One image of
#: 9 kB: 0.04 ms and 39 %, against 0.12 ms and 36 %.
_LEVEL: Final = 1
#: zlib's number for the format of gzip, whose header then has no name and no time: equal bodies yield equal
#: bytes.
_GZIP: Final = 16 + zlib.MAX_WBITS
_NAMES: Final = ("gzip", "x-gzip")
_MAX_CHARACTERS: Final = 1_000
_MAX_CODINGS: Final = 32
#: In addition to `text/…` and `…+json`.
_TEXTS: Final = frozenset({"application/json", "application/javascript", "application/xml", "image/svg+xml"})
#: Events must arrive one by one, also through proxies that unpack.
_NEVER: Final = frozenset({"text/event-stream"})
_NO_BODY: Final = (204, 205, 206, 304)
#: These answers are packed by their own rules: the asynchronous Triton client accepts gzip by default, and
#: unpacks only the results of inference.
_OPEN_INFERENCE: Final = ("/v2", "/v2/")


class Accepted(NamedTuple):
    """The codings that a client accepts."""

    gzip: bool
    """Accepted, and at least as welcome as no coding."""
    identity: bool
    """No coding is accepted."""


_NO_CODING: Final = Accepted(gzip=False, identity=True)


def accepted_codings(header: str | None) -> Accepted:
    """Read an Accept-Encoding header; an unreadable part counts as absent.

    Args:
        header: Its value; several lines are joined by commas.
    """
    if not header:
        return _NO_CODING
    return _read(header[:_MAX_CHARACTERS])


@functools.lru_cache(maxsize=64)
def _read(header: str) -> Accepted:
    weights: dict[str, float] = {}
    for element in elements(header, most=_MAX_CODINGS):
        weights.setdefault(element.value.lower(), weight(element.parameters))
    others = weights.get("*")
    gzip = max((weights[name] for name in _NAMES if name in weights), default=others or 0.0)
    # Without a weight of its own, no coding is acceptable, but less welcome than any that the client names.
    identity = weights.get("identity", 0.0 if others is None else others)
    is_refused = weights.get("identity", others) == 0.0
    return Accepted(gzip=gzip > 0.0 and gzip >= identity, identity=not is_refused)


@functools.lru_cache(maxsize=64)  # the server has a dozen types
def is_text(content_type: bytes) -> bool:
    """Whether a body of this Content-Type is compressed for clients that accept it."""
    media_type = str(content_type.partition(b";")[0].strip(), "latin-1").lower()
    if media_type in _NEVER:
        return False
    return media_type in _TEXTS or media_type.startswith("text/") or media_type.endswith("+json")


class Compression:
    """Pure ASGI, inside the envelope: the time of compression is part of the time to the response."""

    def __init__(self, app: ASGIApp, *, run_in_thread: RunInThread) -> None:
        self._app = app
        self._run_in_thread = run_in_thread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. If its client accepts gzip, the response may be compressed."""
        if scope["type"] == "http":
            accepted = accepted_codings(joined_header(scope, b"accept-encoding"))
            if accepted.gzip:
                least = MIN_BYTES if accepted.identity else 1
                send = _Compressor(scope, send, self._run_in_thread, min_bytes=least).send
        await self._app(scope, receive, send)


class _Compressor:
    """The messages of one response. Its headers wait for the first part of the body."""

    def __init__(self, scope: Scope, send: Send, run_in_thread: RunInThread, *, min_bytes: int) -> None:
        self._path: str = scope["path"]
        self._send = send
        self._run_in_thread = run_in_thread
        self._min_bytes = min_bytes
        self._start: Message | None = None
        self._stream: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        """Accept the next message of the application."""
        is_body = message["type"] == "http.response.body"
        if message["type"] == "http.response.start" and self._may_compress(message):
            self._start = message
        elif is_body and self._start is not None:
            start, self._start = self._start, None
            await self._begin(start, message)
        elif is_body and self._stream is not None:
            await self._send(
                {**message, "body": await self._next(message.get("body", b""), more=_has_more(message))}
            )
        else:
            await self._send(message)

    async def _begin(self, start: Message, message: Message) -> None:
        body = message.get("body", b"")
        if _has_more(message):
            self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
            packed, length = await self._next(body, more=True), None
        elif len(body) < self._min_bytes:
            packed, length = body, None
        else:
            packed = await self._run(functools.partial(_packed, body), size=len(body))
            length = len(packed)
        if packed is not body:
            start = {**start, "headers": _headers_of_packed(start["headers"], length)}
        await self._send(start)
        await self._send({**message, "body": packed})

    async def _next(self, part: bytes, *, more: bool) -> bytes:
        """A part of a response in parts. What it holds can be unpacked as soon as it arrives."""
        assert self._stream is not None
        return await self._run(functools.partial(_packed_part, self._stream, part, more), size=len(part))

    async def _run(self, pack: Callable[[], bytes], *, size: int) -> bytes:
        return pack() if size <= _QUICK_BYTES else await self._run_in_thread(pack)

    def _may_compress(self, start: Message) -> bool:
        if start["status"] in _NO_BODY:
            return False
        if self._path.startswith(_OPEN_INFERENCE[1]) or self._path == _OPEN_INFERENCE[0]:
            return False
        content_type = b""
        for name, value in start["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"content-encoding" or (name == b"cache-control" and b"no-transform" in value):
                return False
        return is_text(content_type)


def _has_more(message: Message) -> bool:
    return bool(message.get("more_body", False))


def _packed(body: bytes) -> bytes:
    with current_trace().phase("encode"):
        return zlib.compress(body, _LEVEL, _GZIP)


def _packed_part(stream: zlib._Compress, part: bytes, more: bool) -> bytes:
    return stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)


def _headers_of_packed(headers: Iterable[tuple[bytes, bytes]], length: int | None) -> Headers:
    """Headers with the coding and the new length, or without a length.

    A strong ETag names the bytes without the coding, so it becomes a weak one (RFC 9110, section 8.8.3.3).
    """
    changed: Headers = []
    for name, value in headers:
        if name == b"content-length":
            continue
        changed.append((name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value))
    changed.append((b"content-encoding", b"gzip"))
    if length is not None:
        changed.append((b"content-length", b"%d" % length))
    return changed
