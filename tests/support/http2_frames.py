"""Bytes of HTTP/2, for tests that speak it by hand (RFC 9113).

Knows frames. Knows nothing of their meaning or of gRPC.
"""

from __future__ import annotations

from typing import Final

#: The first bytes of a client.
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame, section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


#: SETTINGS without any, which follows the preface.
NO_SETTINGS: Final = frame(4, 0, 0, b"")
