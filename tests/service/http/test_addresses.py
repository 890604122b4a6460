"""One form for each address, and proxies that are trusted in whatever form they were written."""

from __future__ import annotations

import pytest

from service.http.addresses import TrustedProxies, is_loopback_address, plain_address


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::192.0.2.1", "::c000:201"),  # the deprecated form of RFC 4291, 2.5.5.1, is no IPv4 client
        ("unix:", "unix:"),
        ("example.org", "example.org"),
        ("", ""),
    ],
)
def test_every_address_has_one_form(text: str, plain: str) -> None:
    assert plain_address(text) == plain


@pytest.mark.parametrize(
    ("trusted", "host", "is_trusted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "11.1.2.3", False),
        ("::/0", "10.1.2.3", False),
        ("10.1.2.3/8", "10.9.9.9", True),  # a network by one of its addresses
        ("10.0.0.0/8, 2001:db8::/32 ,", "2001:db8::7", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("fe80::1%eth0", "fe80::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("*", "anything", True),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "unknown", False),
        ("127.0.0.1", "127.0.0.1" + " " * 300, False),
    ],
)
def test_trust_follows_the_address_and_not_its_form(trusted: str, host: str, is_trusted: bool) -> None:
    assert (host in TrustedProxies(trusted)) is is_trusted


@pytest.mark.parametrize("wrong", ["nginx", "10.0.0.0/33", "127.0.0.1, *", "10.0.0.256", "10.0.0.1:80"])
def test_entry_that_could_never_match_is_refused_by_its_place(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"entry 2 is neither") as caught:
        TrustedProxies(f"192.0.2.1,{wrong.rpartition(', ')[2]}")
    assert wrong not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "only_here"),
    [
        ("::ffff:127.0.0.9", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("::ffff:10.0.0.1", False),
        ("a", False),
    ],
)
def test_mapped_loopback_is_loopback(text: str, only_here: bool) -> None:
    assert is_loopback_address(text) is only_here
