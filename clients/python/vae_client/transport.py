"""The errors of the HTTP library as errors of this package, and the arguments of its clients.

Knows httpx2. Knows nothing of the API.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2

from vae_client.errors import ConnectionFailed, InvalidInput, TimedOut

__version__ = "0.1.0"


def arguments(url: str, api_key: str | None, timeout_s: float | None) -> dict[str, Any]:
    """Arguments of `httpx2.Client` and `httpx2.AsyncClient`.

    Args:
        url: Address of the server; a path in it is a prefix of every path.
        api_key: Key of the server.
        timeout_s: Seconds that a connection, and each wait for more of an answer, may take; None has no end.

    Raises:
        InvalidInput: The address, the key or the time limit cannot be used.
    """
    is_number = isinstance(timeout_s, (int, float)) and math.isfinite(timeout_s) and timeout_s > 0
    if timeout_s is not None and not is_number:
        raise InvalidInput(f"timeout_s: expected a number of seconds above 0, or None, got {timeout_s!r}.")
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"url: expected http://HOST:PORT or https://HOST, got {url!r}: {error}") from error
    if address.scheme not in ("http", "https") or not address.host or (address.port or 0) > 65_535:
        raise InvalidInput(f"url: expected http://HOST:PORT or https://HOST, got {url!r}.")
    if address.query or address.fragment:
        raise InvalidInput("url: expected an address without ? and #, because paths are added to it.")
    if address.userinfo and api_key is not None:
        raise InvalidInput("url: expected no user in the address, because api_key needs the same header.")
    headers = {"Accept": "application/json", "User-Agent": f"vae-client/{__version__}"}
    if api_key is not None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise InvalidInput("api_key: expected a key of printable ASCII without spaces.")
        headers["Authorization"] = f"Bearer {api_key}"
    # Callers that wait for a free connection of the pool are not slow answers, so they wait without a limit.
    timeout = httpx2.Timeout(timeout_s, pool=None)
    base = address.copy_with(raw_path=address.raw_path.rstrip(b"/") or b"/")
    return {"base_url": base, "headers": headers, "timeout": timeout, "follow_redirects": False}


def shown(url: str) -> str:
    """An address for messages, without the password that it may contain."""
    address = httpx2.URL(url)
    return str(address.copy_with(userinfo=b"")) if address.userinfo else url


@contextmanager
def environment_proxies() -> Iterator[None]:
    """Make the client of the library inside: it reads the proxies of the environment, which may be unusable.

    Raises:
        InvalidInput: They are.
    """
    try:
        yield
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        names = ", ".join(f"{name.upper()}_PROXY" for name in sorted(getproxies()) if name != "no")
        raise InvalidInput(
            f"{names}: the proxies of the environment cannot be used: {error} Correct or unset them, set "
            "NO_PROXY=*, or pass transport=httpx2.HTTPTransport(), which uses none."
        ) from error


def failure(
    error: httpx2.RequestError, url: str, timeout_s: float | None, tries: int, *, by_environment: bool = False
) -> ConnectionFailed:
    """The error for a caller.

    Args:
        error: That of the library.
        url: Address of the server.
        timeout_s: The time limit of the client.
        tries: Number of times that the request was sent.
        by_environment: Whether the client uses the proxies of the environment.
    """
    url = shown(url)
    sent = "" if tries == 1 else f", {tries} times"
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        return TimedOut(
            f"No answer of {url} within timeout_s={timeout_s}{sent}. Raise timeout_s, or send less at a time."
        )
    reason = str(error) or type(error).__name__
    remedy = (by_environment and _proxy_remedy(url)) or "Check the address; is the server running?"
    return ConnectionFailed(f"No answer of {url}{sent}: {reason}. {remedy}")


def _proxy_remedy(url: str) -> str:
    """What to do if a proxy of the environment was asked instead of the server."""
    address, proxies = httpx2.URL(url), getproxies()
    name = next((name for name in (address.scheme, "all") if name in proxies), None)
    if name is None or proxy_bypass(address.host):
        return ""
    return (
        f"{name.upper()}_PROXY sends the request through a proxy: is that intended? "
        f"NO_PROXY={address.host} reaches the server without it."
    )


def is_repeatable(error: httpx2.RequestError) -> bool:
    """Whether the connection could not be made, or broke."""
    return isinstance(error, (httpx2.ConnectTimeout, httpx2.NetworkError, httpx2.RemoteProtocolError))
