"""Clients and schemes behind proxies, as the application sees them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.http.addresses import TrustedProxies
from service.http.forwarded import ForwardedHeaders
from service.settings import Settings, SettingsError


def seen(
    trusted: str, *, peer: tuple[str, int] | None = ("10.0.0.1", 5), **headers: str | list[str]
) -> tuple[Any, str]:
    """Client and scheme of a request that a peer sends with these headers."""
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)

    lines = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    scope = {"type": "http", "client": peer, "scheme": "http", "headers": lines}
    wrapped = ForwardedHeaders(app, trusted=TrustedProxies(trusted))
    asyncio.run(wrapped(scope, None, None))
    return found["client"], found["scheme"]


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        ("203.0.113.9", ("203.0.113.9", 0)),
        ("::ffff:203.0.113.9", ("203.0.113.9", 0)),
        ("[::ffff:203.0.113.9]:4711", ("203.0.113.9", 4711)),
        ("203.0.113.9:4711", ("203.0.113.9", 4711)),
        ("[2001:DB8::1]", ("2001:db8::1", 0)),
        ("fe80::1%eth0", ("fe80::1%eth0", 0)),
        ("198.51.100.1, 203.0.113.9, 10.0.0.2, ::ffff:10.0.0.3", ("203.0.113.9", 0)),
        (["198.51.100.1", "203.0.113.9, 10.0.0.2"], ("203.0.113.9", 0)),
        ("10.0.0.7, 10.0.0.2", ("10.0.0.7", 0)),
        ("unknown", ("unknown", 0)),
        ("[10.0.0.2", ("[10.0.0.2", 0)),
        ("[10.0.0.2]x", ("[10.0.0.2]x", 0)),
        ("10.0.0.2:http", ("10.0.0.2:http", 0)),
        ("203.0.113.9:99999999999", ("203.0.113.9", 0)),
        ("", ("10.0.0.1", 5)),
        (",".join(["203.0.113.9", *["10.0.0.2"] * 20_000]), ("10.0.0.2", 0)),
    ],
)
def test_client_is_the_last_address_that_is_no_trusted_proxy(sent: Any, client: tuple[str, int]) -> None:
    assert seen("10.0.0.0/8", x_forwarded_for=sent)[0] == client


def test_where_everyone_is_trusted_the_first_address_is_the_client() -> None:
    assert seen("*", x_forwarded_for="::ffff:203.0.113.9, 198.51.100.1")[0] == ("203.0.113.9", 0)
    assert seen("*", peer=None, x_forwarded_for="203.0.113.9")[0] == ("203.0.113.9", 0)


def test_peer_that_is_no_trusted_proxy_changes_nothing() -> None:
    for peer in (("198.51.100.1", 5), None):
        found = seen("10.0.0.0/8", peer=peer, x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
        assert found == (peer, "http")


@pytest.mark.parametrize(
    ("sent", "scheme"), [("https", "https"), (" https ", "https"), ("javascript", "http"), ("", "http")]
)
def test_scheme_is_one_of_two(sent: str, scheme: str) -> None:
    assert seen("10.0.0.0/8", x_forwarded_proto=sent)[1] == scheme


def test_trusted_proxy_that_is_no_address_is_refused_with_the_setting(tmp_path: Path) -> None:
    """It was taken for a name, which no peer ever has, so that the proxy was silently not trusted."""
    with pytest.raises(SettingsError, match=r"VAE_TRUSTED_PROXIES: entry 2 .*10\.0\.0\.0/8"):
        create_app(Settings(model_store=tmp_path, trusted_proxies="127.0.0.1,nginx"))
