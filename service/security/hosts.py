"""The host names of this server, and the pages that may administrate it.

Knows the headers Host, Origin and Sec-Fetch-Site, and the problem table. Knows nothing of keys, routes or
models.

A browser sets these headers itself, and a page cannot forge them. They reveal two attacks:

    another site   its page sends a form to this server: the browser names that site in Origin
    DNS rebinding  the name of a page changes to the address of this server, so that the browser takes both
                   for one site: only the name in Host is foreign. `localhost` and addresses are safe.
"""

from __future__ import annotations

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from model_store.echo import echo
from service.http.middleware import problem_response
from service.http.origins import is_same_host, split_authority
from service.http.problems import ProblemError
from service.observability.probes import PROBES


class KnownHosts:
    """The host names of one server, without ports.

    `localhost`, names below it and addresses are always known.
    """

    def __init__(self, allowed: str | None = None, *, bound: str = "127.0.0.1") -> None:
        """Read the setting.

        Args:
            allowed: Names, comma-separated; `*.a.example` is every name below `a.example`, `*` every name.
            bound: The setting `host`: known if it is a name.
        """
        names = [name.strip() for name in (allowed or "").split(",")]
        self._all = "*" in names
        self._names = frozenset(name for name in (bound.lower().rstrip("."), *names) if name)
        self._endings = (".localhost", *(name[1:] for name in names if name.startswith("*.")))

    def knows(self, host: str) -> bool:
        """Whether a name or an address, without a port, belongs to this server."""
        if self._all or _is_address(host):
            return True
        name = host.lower().rstrip(".")
        return name == "localhost" or name in self._names or name.endswith(self._endings)

    def require(self, scope: Scope) -> None:
        """Accept a request to a known host.

        A request without a host comes from no browser, and is accepted too.

        Raises:
            ProblemError: `host-not-allowed`.
        """
        values = _values(scope, b"host")
        if values and not (len(values) == 1 and self.knows(split_authority(values[0])[0])):
            raise ProblemError(
                "host-not-allowed",
                f"The Host header contains {', '.join(map(echo, values[:2]))}. This server accepts "
                "localhost, IP addresses and the names in VAE_ALLOWED_HOSTS: another may belong to a page "
                "elsewhere.",
            )

    def refuse_other_sites(self, scope: Scope) -> None:
        """Accept a request that no page of another site can have sent.

        Raises:
            ProblemError: `host-not-allowed` or `origin-not-allowed`.
        """
        self.require(scope)
        sites = _values(scope, b"sec-fetch-site")
        if sites:
            # Newer browsers send it, over TLS and to this machine. They compare the sites themselves, and
            # know the requested host, which a proxy may have replaced.
            if any(site not in ("same-origin", "none") for site in sites):
                raise ProblemError(
                    "origin-not-allowed", "A page of another site sent an administration request."
                )
            return
        hosts = _values(scope, b"host")
        if not all(any(is_same_host(origin, host) for host in hosts) for origin in _values(scope, b"origin")):
            raise ProblemError(
                "origin-not-allowed",
                "A page sent an administration request, and its Origin differs from the host in the Host "
                "header. If the page is this server's own, a proxy replaces that header: configure the "
                "proxy to keep it.",
            )


class HostGuard:
    """Rejects requests to other hosts. Probes pass: an orchestrator may use any name."""

    def __init__(self, app: ASGIApp, *, hosts: KnownHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send `host-not-allowed` before the body is read."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            try:
                self._hosts.require(scope)
            except ProblemError as error:
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [str(value, "latin-1") for found, value in scope["headers"] if found == name]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
