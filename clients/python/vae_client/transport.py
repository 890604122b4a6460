"""The errors of the HTTP library as errors of this package, and the arguments of its clients.

Knows httpx2. Knows nothing of the API.
"""

from __future__ import annotations

from typing import Any

import httpx2

from vae_client.errors import ConnectionFailed, InvalidInput, TimedOut

__version__ = "0.1.0"


def arguments(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Arguments of `httpx2.Client` and `httpx2.AsyncClient`.

    Args:
        url: Address of the server; a path in it is a prefix of every path.
        api_key: Key of the server.
        timeout_s: Seconds that a connection, and each wait for more of an answer, may take.

    Raises:
        InvalidInput: The address or the key cannot be sent.
    """
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"url: expected http://HOST:PORT or https://HOST, got {url!r}: {error}") from error
    if address.scheme not in ("http", "https") or not address.host or (address.port or 0) > 65_535:
        raise InvalidInput(f"url: expected http://HOST:PORT or https://HOST, got {url!r}.")
    headers = {"Accept": "application/json", "User-Agent": f"vae-client/{__version__}"}
    if api_key is not None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise InvalidInput("api_key: expected a key of printable ASCII without spaces.")
        headers["Authorization"] = f"Bearer {api_key}"
    # Callers that wait for a free connection of the pool are not slow answers, so they wait without a limit.
    timeout = httpx2.Timeout(timeout_s, pool=None)
    return {"base_url": url, "headers": headers, "timeout": timeout, "follow_redirects": False}


def failure(error: httpx2.RequestError, url: str, timeout_s: float, tries: int) -> ConnectionFailed:
    """The error for a caller.

    Args:
        error: That of the library.
        url: Address of the server.
        timeout_s: The time limit of the client.
        tries: Number of times that the request was sent.
    """
    sent = "" if tries == 1 else f", {tries} times"
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        return TimedOut(
            f"No answer of {url} within timeout_s={timeout_s:g}{sent}. "
            "Raise timeout_s, or send less at a time."
        )
    reason = str(error) or type(error).__name__
    return ConnectionFailed(f"No answer of {url}{sent}: {reason}. Check the address; is the server running?")


def is_repeatable(error: httpx2.RequestError) -> bool:
    """Whether the connection could not be made, or broke."""
    return isinstance(error, (httpx2.ConnectTimeout, httpx2.NetworkError, httpx2.RemoteProtocolError))
