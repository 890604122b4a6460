"""Origins of pages, and hosts of requests.

Knows the forms `scheme://host:port` and `host:port`. Knows nothing of requests.
"""

from __future__ import annotations

from typing import Final

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def split_authority(authority: str) -> tuple[str, str]:
    """`host:port` → host without brackets, port or nothing."""
    host, _, port = authority.rpartition(":")
    if not host or "]" in port:
        host, port = authority, ""
    return host.removeprefix("[").removesuffix("]"), port


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page's origin is on the requested host; a proxy may have removed the TLS."""
    scheme, separator, authority = origin.lower().partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    if not separator or default is None:
        return False  # "null": a file, or a frame without rights
    (theirs, their_port), (ours, our_port) = split_authority(authority), split_authority(host.lower())
    return (theirs, their_port or default) == (ours, our_port or default)
