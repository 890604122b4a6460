"""Headers for caches: whether a response may be used again, and for which requests.

Knows Cache-Control and Vary (RFC 9111; RFC 9110, section 12.5.5). Knows nothing of models or routes: they
choose a row of the table, `Reuse`. A cache that must ask again sends the ETag that it has. Files of a page
and responses of a model without chance have an ETag; others are sent whole.

Equal strong ETags promise equal bytes (RFC 9110, section 8.8.1). The ETag of a computed response is known
before the computation, so it contains everything that decides the bytes: request and version, and also the
evidence of what this process computes and writes. Another processor or library then has other ETags.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from enum import Enum
from importlib.metadata import version
from typing import Final

from service.codecs.fingerprint import written_sha256
from service.engine import installed_runtimes
from service.http.compression import is_text

Headers = list[tuple[bytes, bytes]]

_CACHE_CONTROL: Final = b"cache-control"
_VARY: Final = b"vary"
#: An opaque tag with its quotes, which a weak one has after `W/` (RFC 9110, section 8.8.3).
_ETAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_MAX_CHARACTERS: Final = 4_000
#: Another version of these may compute or write the same pixels as other bytes. Most differences show in the
#: evidence as well; this list covers numbers as text, and what the fixed examples do not contain.
_WRITERS: Final = ("vae-service", "numpy", "onnxruntime", "orjson", "pillow")


class Reuse(Enum):
    """The table: what a cache may do with a response. A response without a row is `NEVER` used again."""

    NEVER = (b"no-store", b"no-store")
    """A problem, the response to POST, a random draw, the state of the moment."""
    ASKING = (b"no-cache", b"private, no-cache")
    """The same until a model, an alias, a setting or the release changes."""
    FIXED = (b"public, max-age=31536000, immutable", b"private, max-age=31536000, immutable")
    """One version by its number, and a seed: z and pixels never change. A release may write the same pixels
    as other bytes. Both are right, each with its own ETag, so a cache may keep the one that it has."""
    FILE = (b"public, max-age=86400", b"public, max-age=86400")
    """A file of this release, the same for all."""
    DIGEST = (b"public, max-age=31536000, immutable", b"public, max-age=31536000, immutable")
    """A file whose address contains a digest of it: another release has another address."""

    def __init__(self, for_all: bytes, by_key: bytes) -> None:
        self.for_all = for_all
        self.by_key = by_key


def cache_control(reuse: Reuse, *, by_key: bool = False) -> tuple[bytes, bytes]:
    """The header Cache-Control of a response.

    Never `public` for a response that a key may decide. A key that this server does not require may be for a
    proxy: `public` would permit a cache in front of the proxy to send the response to users without one (RFC
    9111, section 3.5).

    Args:
        reuse: The row of the table.
        by_key: Whether an API key, or another `Authorization`, decides who receives the response.
    """
    return (_CACHE_CONTROL, reuse.by_key if by_key else reuse.for_all)


_NO_STORE: Final = cache_control(Reuse.NEVER)


def complete(headers: Headers) -> None:
    """Add what every response has for caches: Cache-Control, and for text Vary.

    Text may be compressed, so a cache must compare Accept-Encoding, also if this response is not compressed.
    """
    values = dict(headers)
    if _CACHE_CONTROL not in values:
        headers.append(_NO_STORE)
    content_type = values.get(b"content-type")
    if content_type is not None and is_text(content_type):
        varies = values.get(_VARY)
        if varies is None or varies != _with_name(varies, b"Accept-Encoding"):
            vary_by(headers, b"Accept-Encoding")


def computed_etag(*decisive: bytes) -> bytes:
    """The strong ETag of a response that follows from its request and a version, known before it is computed.

    Args:
        decisive: All that decides the bytes, apart from the libraries: such as the digest of the version,
            that of this process's results with it, and the parameters.
    """
    whole = hashlib.sha256(_writers())
    for part in decisive:
        whole.update(b"%d:" % len(part) + part)
    return b'"' + whole.hexdigest()[:32].encode() + b'"'


def prepare_etags() -> None:
    """Collect what all computed ETags contain before the first request needs it: it takes milliseconds."""
    _writers()


@functools.lru_cache(maxsize=1)
def _writers() -> bytes:
    versions = (f"{name}-{version(name)}" for name in _distributions())
    return ",".join((*versions, f"written-{written_sha256()}")).encode()


def _distributions() -> Iterator[str]:
    """Those of `_WRITERS`; an accelerator has another distribution of onnxruntime."""
    for name in _WRITERS:
        yield from installed_runtimes() if name == "onnxruntime" else (name,)


def tag_in_hand(if_none_match: str | None, etag: bytes) -> bytes | None:
    """The ETag by which a client already has a response: it then receives 304 with this ETag, and no body.

    The comparison is the weak one (RFC 9110, section 13.1.2). A proxy that packs a response weakens its ETag.
    A cache that stored the weak one may not use a 304 with the strong one (RFC 9111, section 4.3.4), so the
    result is the ETag as the client sent it. Only the beginning of a very long header is read; the client
    then receives the whole response.

    Args:
        if_none_match: The header If-None-Match; several lines are joined by commas.
        etag: The ETag of the response that would be sent, with its quotes.

    Returns:
        None: the client does not have it.
    """
    if not if_none_match:
        return None
    if if_none_match.strip() == "*":
        return etag
    opaque = etag.removeprefix(b"W/").decode("latin-1")
    for weak, tag in _ETAG.findall(if_none_match[:_MAX_CHARACTERS]):
        if tag == opaque:
            return f"{weak}{tag}".encode("latin-1")
    return None


def vary_by(headers: Headers, name: bytes) -> None:
    """Declare to caches that requests with another value of the header `name` receive another response."""
    for place, (found, value) in enumerate(headers):
        if found == _VARY:
            headers[place] = (found, _with_name(value, name))
            return
    headers.append((_VARY, name))


@functools.lru_cache(maxsize=64)  # the server has a dozen lists
def _with_name(names: bytes, name: bytes) -> bytes:
    """A list of headers with one more, if it is not there yet."""
    return names if name.lower() in names.lower().replace(b" ", b"").split(b",") else names + b", " + name
