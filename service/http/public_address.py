"""The public address of this server, if a proxy puts a path before every other.

Knows the headers of proxies and the scope of a request. Knows nothing of routes or responses.

A proxy strips the prefix (nginx: `location /vae/ { proxy_pass http://127.0.0.1:8000/; }`) or passes it on. In
both cases the rest of the server sees a path without the prefix, and writes every link with it. The prefix
goes into links and into commands that people paste, so it is taken only in a form that needs no escaping.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.addresses import TrustedProxies
from service.http.connection import connection_of
from service.http.headers import first_header
from service.log_fields import fields
from service.setting_values import ROOT_PATH

#: Keys of this module's results in the scope of a request; each is absent if there is none.
PREFIX: Final = "vae.prefix"
HOST: Final = "vae.host"
ROOT: Final = "vae.root_path"
_LONGEST_PREFIX: Final = 1024
_NO_PROXY: Final = TrustedProxies("")
_log = logging.getLogger(__name__)


class PublicAddress:
    """The prefix of the links of one server: from a trusted proxy, otherwise from the setting `root_path`."""

    def __init__(self, root_path: str = "", *, trusted: TrustedProxies = _NO_PROXY) -> None:
        """Keep both.

        Args:
            root_path: `/vae`, or nothing.
            trusted: Proxies whose headers are believed: those that name the client also name the prefix.
        """
        self.root_path = root_path
        self._trusted = trusted
        self._has_reported = False

    def prefix(self, headers: Iterable[tuple[bytes, bytes]], *, peer: str | None) -> str:
        """Prefix of every link: `/vae`, or nothing.

        Args:
            headers: Headers of the request, lower-case.
            peer: Address of the other end of the connection.
        """
        if self._trusts(peer):
            sent = b",".join(value for name, value in headers if name == b"x-forwarded-prefix")
            if sent and len(sent) <= _LONGEST_PREFIX:
                # Each of several proxies adds the part that it stripped, the outermost first.
                parts = [part.strip().rstrip("/") for part in str(sent, "latin-1").split(",")]
                joined = "".join(parts)
                if re.fullmatch(ROOT_PATH, joined):
                    return joined
        return self.root_path

    def note(self, scope: Scope) -> None:
        """Store prefix and public host in a request's scope, and remove the prefix from its path."""
        peer = connection_of(scope).peer
        if prefix := self.prefix(scope["headers"], peer=peer):
            scope[PREFIX] = prefix
        if self._trusts(peer):
            hosts = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
            if hosts:
                scope[HOST] = str(hosts[0].partition(b",")[0].strip(), "latin-1")
        # Only the setting's prefix. A client can send the header through a careless proxy: `/x/metrics` with
        # the prefix `/x` would pass by a rule of the proxy for `/metrics`.
        if self.root_path:
            scope[ROOT] = self.root_path
            if f"{scope['path']}/".startswith(f"{self.root_path}/"):
                scope["path"] = scope["path"][len(self.root_path) :] or "/"

    def report_ignored(self, scope: Scope) -> None:
        """Log once that the links of a response have no prefix, because the server does not trust the sender.

        Call it where a person would miss the prefix. It is no step of other requests, because it reads all
        headers.
        """
        peer = connection_of(scope).peer
        if self._has_reported or self._trusts(peer) or first_header(scope, b"x-forwarded-prefix") is None:
            return
        self._has_reported = True
        _log.warning(
            "X-Forwarded-Prefix ignored",
            extra=fields(
                peer=peer,
                remedy=(
                    "If the peer is your proxy, add its address to VAE_TRUSTED_PROXIES (--trusted-proxies), "
                    "or set its path as VAE_ROOT_PATH (--root-path)."
                ),
            ),
        )

    def _trusts(self, peer: str | None) -> bool:
        return (peer or "") in self._trusted


class PublicPaths:
    """Pure ASGI, outermost: stores the public address of each request. Installed only if it can differ."""

    def __init__(self, app: ASGIApp, *, address: PublicAddress) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with this server's own path."""
        if scope["type"] == "http":
            self._address.note(scope)
        await self._app(scope, receive, send)


def prefix_of(scope: Scope) -> str:
    """Prefix of every link in the response to a request: `/vae`, or nothing."""
    prefix: str = scope.get(PREFIX, "")
    return prefix
