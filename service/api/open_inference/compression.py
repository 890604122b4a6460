"""Compressed request bodies: gzip and deflate, with a limit on the decompressed size.

Knows zlib and byte counts. Knows nothing of the contents of a body.
"""

from __future__ import annotations

import zlib
from typing import Final

from model_store.echo import echo
from service.codecs.errors import MalformedBody
from service.http.problems import Item, ProblemError

#: Window bits of zlib for each encoding: deflate of HTTP has zlib's head (RFC 9110, 8.4.1.2).
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
_STEP_BYTES: Final = 1_048_576


def request_encoding(content_encoding: str | None) -> str | None:
    """The compression of a request; None: it is not compressed.

    Raises:
        ProblemError: `media-type-not-supported`: another encoding.
    """
    stated = (content_encoding or "").strip().lower()
    if stated in ("", "identity"):
        return None
    if stated in _WINDOW_BITS:
        return stated
    raise ProblemError.of_item(
        "media-type-not-supported",
        Item(
            "Content-Encoding",
            "gzip, deflate or none",
            echo(stated),
            "Compress the body with one of them, or send it as it is.",
        ),
    )


def decompressed(data: bytes | bytearray, encoding: str, *, max_bytes: int) -> bytes:
    """The body that was compressed.

    Args:
        data: The whole body, as it came.
        encoding: The result of `request_encoding`.
        max_bytes: Maximum size of the result; memory never exceeds it by more than a step.

    Raises:
        ProblemError: `body-too-large`: the result would be longer.
        MalformedBody: Not that format, cut short, or followed by other bytes.
    """
    stream = zlib.decompressobj(wbits=_WINDOW_BITS[encoding])
    parts: list[bytes] = []
    size = 0
    rest: bytes | bytearray = data
    try:
        while not stream.eof:
            part = stream.decompress(rest, min(_STEP_BYTES, max_bytes + 1 - size))
            if not part and not stream.eof:
                raise _malformed(encoding, "fewer bytes")
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
            parts.append(part)
            rest = stream.unconsumed_tail
    except zlib.error:
        raise _malformed(encoding, "other bytes") from None
    if stream.unused_data:
        # Several members of gzip would be valid, and reading thousands of empty ones would take long.
        raise _malformed(encoding, "bytes after its end")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _malformed(encoding: str, got: str) -> MalformedBody:
    return MalformedBody(
        "body",
        f"one whole stream of {encoding}, as Content-Encoding states",
        got,
        "Send the compressed body and nothing after it, or leave out Content-Encoding.",
    )


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError.of_item(
        "body-too-large",
        Item(
            "body",
            f"at most {max_bytes} bytes after decompression",
            "more",
            "Split the rows over several requests, or send tensors as binary data.",
        ),
    )
