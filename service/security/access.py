"""Permissions: API keys for every request, and the right to administrate.

Knows headers, paths and the problem table. Knows nothing of bodies, models or the work of routes.

    Access       the rules of one application: open paths, known keys, and the right to administrate
    AccessGuard  pure ASGI, inside the envelope and before any reading of a body; only with keys

A key never leaves this module: the log contains only its label, and no problem repeats a header.
"""

from __future__ import annotations

import base64
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

#: Probes, and pages that describe the server without its state: `/docs` must show a page before a person can
#: enter a key. /metrics requires a key; Prometheus can send one.
OPEN_PATHS: Final = frozenset(
    {
        *("/", "/livez", "/readyz", "/docs", "/openapi.json", "/problems", "/limits"),
        *("/v2/health/live", "/v2/health/ready"),
        *("/favicon.ico", "/robots.txt"),  # of browsers and crawlers, which have no key
    }
)
_OPEN_BELOW: Final = ("/docs/", "/playground/", "/problems/")
#: RFC 6750, section 2.1: the characters of a bearer token.
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_CHALLENGE: Final = 'Bearer realm="vae-service"'
#: Below these paths a key may also be the password of the address, `http://any:KEY@host`: the functions of
#: diffusers that use them can send no header.
_BASIC_BELOW: Final = "/remote/"
_log = logging.getLogger(__name__)


class Access:
    """The rules of one application."""

    def __init__(self, *, key_file: Path | None, admin: bool | None, hosts: KnownHosts | None = None) -> None:
        """Read the key file, if there is one.

        Args:
            key_file: API keys, or None: no request needs one.
            admin: Whether administration is on; None: if the file contains a key for it.
            hosts: The hosts of this server. Left out: `localhost` and addresses.

        Raises:
            KeyFileError: The file is unusable.
        """
        self._key_file = key_file
        self._admin = admin
        self.hosts = hosts or KnownHosts()
        self._keys = self._read()

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """The access rules of these settings.

        Raises:
            KeyFileError: The key file of the settings is unusable.
        """
        hosts = KnownHosts(settings.allowed_hosts, bound=settings.host)
        return cls(key_file=settings.api_keys_file, admin=settings.admin, hosts=hosts)

    @property
    def keys_required(self) -> bool:
        """Whether paths other than the open ones require a key."""
        return self._keys is not None

    @property
    def administration(self) -> bool:
        """Whether clients may administrate models over HTTP."""
        if self._admin is not None:
            return self._admin
        return self._keys is not None and self._keys.has_admin

    def reread(self) -> None:
        """Read the key file again. An unusable file is logged and changes nothing."""
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
        """Accept a request with an open path or a known key, and store the key's entry in `scope`.

        Raises:
            ProblemError: `missing-key` or `unknown-key`.
        """
        keys = self._keys
        if keys is None or is_open(scope["path"]):
            return
        scope[API_KEY] = _entry_of(scope, keys)

    def authorise_administration(self, scope: Scope) -> None:
        """For routes that change the server: accept a request that passed `authorise` and may administrate.

        Raises:
            ProblemError: `administration-off` or `insufficient-scope`; without keys, `host-not-allowed` or
                `origin-not-allowed`, if a page of another site may have sent the request.
        """
        if not self.administration:
            raise ProblemError(
                "administration-off",
                "Administration is off: the server has no key of the scope admin, or admin=false.",
            )
        key: ApiKey | None = scope.get(API_KEY)
        if self._keys is not None and (key is None or key.scope != "admin"):
            raise ProblemError(
                "insufficient-scope",
                "The key has the scope use; this request requires the scope admin.",
                headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="admin"'},
            )
        if key is None:  # a page cannot send a key that it does not have
            self.hosts.refuse_other_sites(scope)

    def warn_when_exposed(self, host: str) -> None:
        """Log a warning if other machines can reach this server without a key.

        Args:
            host: Address of the bound socket.
        """
        if self._keys is not None or is_loopback(host):
            return
        _log.warning(
            "every client that reaches this address can use the server",
            extra=fields(
                address=host,
                administration=self.administration,
                remedy=(
                    "Set VAE_API_KEYS_FILE (vae-serve key makes a key), listen on 127.0.0.1, or "
                    "restrict access to a proxy that authenticates its users."
                ),
            ),
        )

    def _read(self) -> KeyRing | None:
        if self._key_file is None:
            return None
        keys, warning = read_key_file(self._key_file)
        if self._admin and not keys.has_admin:
            raise KeyFileError(
                f"{self._key_file}: expected a key of the scope admin, because admin is on, got none: no "
                "client could administrate. Add one (vae-serve key --scope admin), or leave out admin."
            )
        if warning is not None:
            _log.warning("key file", extra=fields(reason=warning))
        return keys


class AccessGuard:
    """Rejects forbidden requests before their bodies are read. OPTIONS only asks for methods."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its key permits it; otherwise send the problem."""
        if scope["type"] == "http" and scope["method"] != "OPTIONS":
            try:
                self._access.authorise(scope)
            except ProblemError as error:
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether a path requires no key. No route below the open ones leads elsewhere."""
    return path in OPEN_PATHS or path.startswith(_OPEN_BELOW)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name may belong to any machine."""
    return host == "localhost" or is_loopback_address(host)


def _entry_of(scope: Scope, keys: KeyRing) -> ApiKey:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        raise ProblemError(
            "missing-key",
            "This server requires an API key, and the request has none.",
            headers={"WWW-Authenticate": _CHALLENGE},
        )
    if len(values) > 1:
        raise _unknown(f"The header Authorization came {len(values)} times; send it once.")
    scheme, _, token = values[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() == b"basic" and scope["path"].startswith(_BASIC_BELOW):
        token = _password(token)
    elif scheme.lower() != b"bearer":
        raise _unknown("The header Authorization names another scheme than Bearer.")
    if len(token) > MAX_KEY_CHARACTERS or _TOKEN.fullmatch(token) is None:
        raise _unknown(
            f"The text after Bearer is no key: expected 1 to {MAX_KEY_CHARACTERS} of A-Z a-z 0-9 . _ ~ + / "
            f"- and then =, got {len(token)} other bytes."
        )
    key = keys.find(token)
    if key is None:
        raise _unknown("The server does not know this key.")
    return key


def _password(credentials: bytes) -> bytes:
    """The password of `USER:PASSWORD` in base64, as RFC 7617 writes it.

    Raises:
        ProblemError: `unknown-key`: not of that form.
    """
    try:
        if len(credentials) > 2 * MAX_KEY_CHARACTERS:
            raise ValueError
        return base64.b64decode(credentials, validate=True).split(b":", 1)[1]
    except (ValueError, IndexError):
        raise _unknown(
            "The text after Basic is no user and password in base64; the password is the key."
        ) from None


def _unknown(detail: str) -> ProblemError:
    return ProblemError(
        "unknown-key", detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
    )
