"""Who may do what: API keys at the door, administration behind it.

Knows headers, paths and the problem table. Knows nothing of bodies, models or routes' work.

    Access       the rules of one application: which paths are open, which keys there are, who administrates
    AccessGuard  pure ASGI, inside the envelope and before anything reads a body; only there when keys are set

A key never leaves this module: what is kept for the log is its label, and no problem repeats a header.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.addresses import is_loopback_address
from service.http.middleware import API_KEY, problem_response
from service.http.problems import ProblemError
from service.log_fields import fields
from service.security.api_keys import MAX_KEY_CHARACTERS, ApiKey, KeyFileError, KeyRing, read_key_file
from service.security.hosts import KnownHosts
from service.settings import Settings

#: Probes, and what describes the server without saying what it does: `/docs` has to show a page before
#: somebody can type a key into it. /metrics is not among them; Prometheus can send a key.
OPEN_PATHS: Final = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json", "/problems", "/limits"})
_OPEN_BELOW: Final = ("/docs/", "/problems/")
#: RFC 6750, section 2.1: the characters of a bearer token.
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_CHALLENGE: Final = 'Bearer realm="vae-service"'
_log = logging.getLogger(__name__)


class Access:
    """The rules of one application."""

    def __init__(self, *, key_file: Path | None, admin: bool | None, hosts: KnownHosts | None = None) -> None:
        """Reads the file, if there is one.

        Args:
            key_file: API keys, or None: nobody needs one.
            admin: Whether administration is on; None: when the file holds a key for it.
            hosts: The hosts of this server. Left out: `localhost` and addresses.

        Raises:
            KeyFileError: The file cannot be used.
        """
        self._key_file = key_file
        self._admin = admin
        self.hosts = hosts or KnownHosts()
        self._keys = self._read()

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """As the settings say.

        Raises:
            KeyFileError: The file that they name cannot be used.
        """
        hosts = KnownHosts(settings.allowed_hosts, bound=settings.host)
        return cls(key_file=settings.api_keys_file, admin=settings.admin, hosts=hosts)

    @property
    def keys_required(self) -> bool:
        """Whether anything but the open paths takes a key."""
        return self._keys is not None

    @property
    def administration(self) -> bool:
        """Whether models can be administrated over HTTP."""
        if self._admin is not None:
            return self._admin
        return self._keys is not None and self._keys.has_admin

    def reread(self) -> None:
        """Takes over what the file says now; what cannot be used is logged, and changes nothing."""
        if self._key_file is None:
            return
        try:
            keys = self._read()
        except KeyFileError as error:
            _log.error("key file refused, the keys stay as they were", extra=fields(reason=str(error)))
            return
        self._keys = keys
        _log.info(
            "key file read", extra=fields(keys=len(keys) if keys else 0, administration=self.administration)
        )

    def authorise(self, scope: Scope) -> None:
        """Lets a request pass whose path is open or whose key is known; leaves the key's entry in `scope`.

        Raises:
            ProblemError: `missing-key` or `unknown-key`.
        """
        keys = self._keys
        if keys is None or is_open(scope["path"]):
            return
        scope[API_KEY] = _entry_of(scope, keys)

    def authorise_administration(self, scope: Scope) -> None:
        """For the routes that change something: lets pass whom `authorise` let pass and who may administrate.

        Raises:
            ProblemError: `administration-off` or `insufficient-scope`; without keys, `host-not-allowed` or
                `origin-not-allowed`, if a page of another site may have sent the request.
        """
        if not self.administration:
            raise ProblemError(
                "administration-off",
                "This server was started without administration: no key of the scope admin, or admin=false.",
            )
        key: ApiKey | None = scope.get(API_KEY)
        if self._keys is not None and (key is None or key.scope != "admin"):
            raise ProblemError(
                "insufficient-scope",
                "The key that was sent has the scope use; this takes one with the scope admin.",
                headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="admin"'},
            )
        if key is None:  # a page cannot send a key that it does not have
            self.hosts.refuse_other_sites(scope)

    def warn_when_exposed(self, host: str) -> None:
        """Logs what an operator should know about who reaches this server.

        Args:
            host: Address of the bound socket.
        """
        if self._keys is not None or is_loopback(host):
            return
        _log.warning(
            "anybody who reaches this address can use the server",
            extra=fields(
                address=host,
                administration=self.administration,
                remedy="Set VAE_API_KEYS_FILE (vae-serve key makes a key), listen on 127.0.0.1, "
                "or let only a proxy that knows its users reach it.",
            ),
        )

    def _read(self) -> KeyRing | None:
        if self._key_file is None:
            return None
        keys, warning = read_key_file(self._key_file)
        if self._admin and not keys.has_admin:
            raise KeyFileError(
                f"{self._key_file}: expected a key of the scope admin, because admin is on, got none: nobody "
                "could administrate. Add one (vae-serve key --scope admin), or leave admin out."
            )
        if warning is not None:
            _log.warning("key file", extra=fields(reason=warning))
        return keys


class AccessGuard:
    """Answers what may not pass, before a byte of its body is read. OPTIONS asks for methods alone."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when its key permits it; else answer the problem."""
        if scope["type"] == "http" and scope["method"] != "OPTIONS":
            try:
                self._access.authorise(scope)
            except ProblemError as error:
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether a path takes no key. No route below the open ones leads anywhere else."""
    return path in OPEN_PATHS or path.startswith(_OPEN_BELOW)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name that is no address may be anywhere."""
    return host == "localhost" or is_loopback_address(host)


def _entry_of(scope: Scope, keys: KeyRing) -> ApiKey:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        raise ProblemError(
            "missing-key",
            "This server takes API keys, and none was sent.",
            headers={"WWW-Authenticate": _CHALLENGE},
        )
    if len(values) > 1:
        raise _unknown(f"The header Authorization came {len(values)} times; send it once.")
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise _unknown("The header Authorization names another scheme than Bearer.")
    token = token.strip(b" ")
    if len(token) > MAX_KEY_CHARACTERS or _TOKEN.fullmatch(token) is None:
        raise _unknown(
            f"What follows Bearer is no key: expected 1 to {MAX_KEY_CHARACTERS} of A-Z a-z 0-9 . _ ~ + / - "
            f"and then =, got {len(token)} bytes that are something else."
        )
    key = keys.find(token)
    if key is None:
        raise _unknown("The key that was sent is none of this server's.")
    return key


def _unknown(detail: str) -> ProblemError:
    return ProblemError(
        "unknown-key", detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
    )
