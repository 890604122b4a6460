"""Compression of responses: text as zstd or gzip, for clients that accept it.

Knows Accept-Encoding (RFC 9110, section 12.5.3), media types and the messages of an ASGI response. Knows
nothing of routes or models. Starlette's own middleware looks for the letters `gzip` in the header, so it
compresses for `gzip;q=0`, and it wraps every response, also for clients that accept no coding.

zstd (RFC 8878) is the choice among equals: 2.1 MB of images as JSON take 6 ms and become 29 %, with gzip 16
ms and 34 %. It is part of Python from 3.14 on, and before of an extra (`vae-service[fast]`); without it the
server offers gzip alone.

A PNG is compressed already. npy and npz are compressed for no client: floats shrink to half, and 1 MB of them
takes 14 ms, where writing the file takes 0.03 ms. Clients choose these formats for their speed.

No response contains a secret: no key, no cookie, no token. So the length of a compressed response that
repeats a part of its request reveals none (BREACH).
"""

from __future__ import annotations

import functools
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol

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
#: Of zstd: 3, its own default, takes 10 ms for the same and becomes no shorter.
_ZSTD_LEVEL: Final = 1
#: zlib's number for the format of gzip, whose header then has no name and no time: equal bodies yield equal
#: bytes.
_GZIP: Final = 16 + zlib.MAX_WBITS
_MAX_CHARACTERS: Final = 1_000
_MAX_CODINGS: Final = 32
#: In addition to `text/…` and `…+json`.
_TEXTS: Final = frozenset({"application/json", "application/javascript", "application/xml", "image/svg+xml"})
#: Events must arrive one by one, also through proxies that unpack.
_NEVER: Final = frozenset({"text/event-stream"})
_NO_BODY: Final = (204, 205, 206, 304)
try:
    zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
except ImportError:  # the extra is not installed
    zstd = None
#: These answers are packed by their own rules: the asynchronous Triton client accepts gzip by default, and
#: unpacks only the results of inference.
_OPEN_INFERENCE: Final = "/v2"


class Stream(Protocol):
    """Compresses one body, part by part."""

    def part(self, data: bytes, *, more: bool) -> bytes:
        """What a client needs to unpack all of `data`; without `more`, also the end."""


class _Gzip:
    def __init__(self) -> None:
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def part(self, data: bytes, *, more: bool) -> bytes:
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)


class _Zstd:
    def __init__(self) -> None:
        self._packer: Any = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def part(self, data: bytes, *, more: bool) -> bytes:
        packed: bytes = self._packer.compress(
            data, self._packer.FLUSH_BLOCK if more else self._packer.FLUSH_FRAME
        )
        return packed


class Coding(NamedTuple):
    """One content coding."""

    name: bytes
    """In Content-Encoding."""
    names: tuple[str, ...]
    """In Accept-Encoding."""
    is_any: bool
    """Whether `*` means it as well: clients that send that alone know gzip, and few know zstd."""
    stream: type[_Gzip] | type[_Zstd]


_GZIP_CODING: Final = Coding(b"gzip", ("gzip", "x-gzip"), True, _Gzip)
_ZSTD_CODING: Final = Coding(b"zstd", ("zstd",), False, _Zstd)
#: What this process can write, the best among equals first.
CODINGS: Final = (_GZIP_CODING,) if zstd is None else (_ZSTD_CODING, _GZIP_CODING)


class Accepted(NamedTuple):
    """The codings that a client accepts."""

    coding: Coding | None
    """The most welcome one, if it is at least as welcome as no coding."""
    gzip: bool
    """gzip is accepted, and at least as welcome as no coding: for files that are compressed in advance."""
    identity: bool
    """No coding is accepted."""


_NO_CODING: Final = Accepted(coding=None, gzip=False, identity=True)


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
    welcome = {coding: _weight_of(coding, weights) for coding in CODINGS}
    best = max(CODINGS, key=welcome.__getitem__)  # among equals the first
    # Without a weight of its own, no coding is acceptable, but less welcome than any that the client names.
    identity = weights.get("identity", 0.0 if others is None else others)
    is_refused = weights.get("identity", others) == 0.0
    acceptable = {coding for coding in CODINGS if welcome[coding] > 0.0 and welcome[coding] >= identity}
    return Accepted(
        coding=best if best in acceptable else None,
        gzip=_GZIP_CODING in acceptable,
        identity=not is_refused,
    )


def _weight_of(coding: Coding, weights: Mapping[str, float]) -> float:
    unnamed = weights.get("*", 0.0) if coding.is_any else 0.0
    return max((weights[name] for name in coding.names if name in weights), default=unnamed)


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

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on. If its client accepts a coding, the response may be compressed.

        It returns the work of the next layer: a coroutine of its own would take part in every step of it.
        """
        if scope["type"] == "http":
            accepted = accepted_codings(joined_header(scope, b"accept-encoding"))
            if accepted.coding is not None:
                least = MIN_BYTES if accepted.identity else 1
                send = _Compressor(scope, send, self._run_in_thread, accepted.coding, min_bytes=least).send
        return self._app(scope, receive, send)


class _Compressor:
    """The messages of one response. Its headers wait for the first part of the body."""

    def __init__(
        self, scope: Scope, send: Send, run_in_thread: RunInThread, coding: Coding, *, min_bytes: int
    ) -> None:
        self._coding = coding
        self._path: str = scope["path"]
        self._send = send
        self._run_in_thread = run_in_thread
        self._min_bytes = min_bytes
        self._start: Message | None = None
        self._stream: Stream | None = None

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
            self._stream = self._coding.stream()
            packed, length = await self._next(body, more=True), None
        elif len(body) < self._min_bytes:
            packed, length = body, None
        else:
            packed = await self._run(functools.partial(_packed, self._coding, body), size=len(body))
            length = len(packed)
        if packed is not body:
            start = {**start, "headers": _headers_of_packed(start["headers"], self._coding, length)}
        await self._send(start)
        await self._send({**message, "body": packed})

    async def _next(self, part: bytes, *, more: bool) -> bytes:
        """A part of a response in parts, which a client can unpack as soon as it arrives."""
        assert self._stream is not None
        return await self._run(functools.partial(self._stream.part, part, more=more), size=len(part))

    async def _run(self, pack: Callable[[], bytes], *, size: int) -> bytes:
        return pack() if size <= _QUICK_BYTES else await self._run_in_thread(pack)

    def _may_compress(self, start: Message) -> bool:
        if start["status"] in _NO_BODY:
            return False
        if f"{self._path}/".startswith(f"{_OPEN_INFERENCE}/"):
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


def _packed(coding: Coding, body: bytes) -> bytes:
    with current_trace().phase("encode"):
        if coding is _GZIP_CODING:
            return zlib.compress(body, _LEVEL, _GZIP)
        packed: bytes = zstd.compress(body, _ZSTD_LEVEL)
        return packed


def _headers_of_packed(headers: Iterable[tuple[bytes, bytes]], coding: Coding, length: int | None) -> Headers:
    """Headers with the coding and the new length, or without a length.

    A strong ETag names the bytes without the coding, so it becomes a weak one (RFC 9110, section 8.8.3.3).
    """
    changed: Headers = []
    for name, value in headers:
        if name == b"content-length":
            continue
        changed.append((name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value))
    changed.append((b"content-encoding", coding.name))
    if length is not None:
        changed.append((b"content-length", b"%d" % length))
    return changed
