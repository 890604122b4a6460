"""The client behind a trusted proxy: `X-Forwarded-For` and `X-Forwarded-Proto`, as pure ASGI.

Knows these two headers and the trusted proxies. Knows nothing of routes.

Each proxy appends the address of its peer, so the last address that is no trusted proxy is the client.
Earlier addresses may be forged.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.addresses import TrustedProxies, plain_address

_SCHEMES: Final = ("http", "https")
#: No chain of proxies is longer. A client can send thousands of addresses, and each must be parsed.
_MOST_PROXIES: Final = 32


class ForwardedHeaders:
    """Replaces `client` and `scheme` of requests from a trusted proxy."""

    def __init__(self, app: ASGIApp, *, trusted: TrustedProxies) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; change only requests of trusted proxies."""
        if scope["type"] == "http":
            client = scope.get("client")
            if (client[0] if client else "") in self._trusted:
                self._replace(scope)
        await self._app(scope, receive, send)

    def _replace(self, scope: Scope) -> None:
        addresses: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                addresses += value.decode("latin-1").split(",")
            elif name == b"x-forwarded-proto":
                scheme = value.decode("latin-1").strip()
                if scheme in _SCHEMES:
                    scope["scheme"] = scheme
        if not addresses:
            return
        # If all addresses are trusted, the first one is the client.
        considered = addresses[:1] if self._trusted.everyone else addresses[-_MOST_PROXIES:]
        for address in reversed(considered):
            found = _host_and_port(address.strip())
            if found[0] not in self._trusted:
                break
        if found[0]:
            scope["client"] = found


def _host_and_port(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:80`, `::1`, `[::1]` or `[::1]:80`; port 0 if there is none.

    Any other text stays whole: no part of it may pass for an address.
    """
    host, port = text, ""
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if bracket and (not rest or rest.startswith(":")):
            host, port = inner, rest[1:]
    elif text.count(":") == 1:
        before, _, after = text.partition(":")
        if after.isascii() and after.isdigit():
            host, port = before, after
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return plain_address(host), number
