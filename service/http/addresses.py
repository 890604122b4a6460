"""Addresses of clients and proxies: one form for each, and the trusted proxies.

Knows IP addresses as text. Knows nothing of requests or sockets.

A socket on `::` reports an IPv4 client as `::ffff:192.0.2.1` (RFC 4291, section 2.5.5.2). That is the same
client as `192.0.2.1`, so only the second form is used. A link-local address has a zone: `fe80::1%eth0`.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
#: The longest IPv6 address has 45 characters, and a zone 15. Longer texts are no addresses and are not
#: cached.
_LONGEST: Final = 64
EVERYONE: Final = "*"


def plain_address(text: str) -> str:
    """An IP address in its usual form: an IPv4-mapped one as IPv4. Any other text is unchanged."""
    if ":" not in text:
        return text
    found = _parsed(text)
    return text if found is None else str(found)


def is_loopback_address(text: str) -> bool:
    """Whether only this machine reaches an IP address; False for any other text."""
    found = _parsed(text)
    return found is not None and found.is_loopback


class TrustedProxies:
    """Addresses and networks of proxies, or everyone.

    An address without a zone stands for that address in every zone.
    """

    def __init__(self, text: str) -> None:
        """Read the operator's text.

        Args:
            text: `*`, or addresses and networks, separated by commas.

        Raises:
            ValueError: An entry is neither; the message names its position and never quotes it.
        """
        self.everyone = text.strip() == EVERYONE
        self._addresses: set[_Address] = set()
        self._networks: list[_Network] = []
        for number, entry in enumerate(() if self.everyone else text.split(","), start=1):
            if entry.strip():
                self._add(entry.strip(), number)
        self._trusts = functools.lru_cache(maxsize=4096)(self._find)

    def __contains__(self, host: str) -> bool:
        """Whether the host is a trusted proxy. A host that is no IP address is only trusted with everyone."""
        return self.everyone or (len(host) <= _LONGEST and self._trusts(host))

    def _add(self, entry: str, number: int) -> None:
        try:
            if "/" in entry:
                self._networks.append(_plain_network(ipaddress.ip_network(entry, strict=False)))
                return
        except ValueError:
            pass
        else:
            if (found := _parsed(entry)) is not None:
                self._addresses.add(found)
                return
        raise ValueError(
            f"entry {number} is neither an IP address nor a network such as 10.0.0.0/8; * stands alone"
        )

    def _find(self, host: str) -> bool:
        found = _parsed(host)
        if found is None:
            return False
        return (
            found in self._addresses
            or _without_zone(found) in self._addresses
            or any(found in network for network in self._networks)
        )


def _parsed(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found if found.version == 4 else found.ipv4_mapped or found


def _without_zone(address: _Address) -> _Address:
    return address if address.version == 4 else ipaddress.IPv6Address(int(address))


def _plain_network(network: _Network) -> _Network:
    """`::ffff:10.0.0.0/104`, the former way to trust IPv4 behind `::`, is `10.0.0.0/8`."""
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((str(address), network.prefixlen - _MAPPED.prefixlen))
    return network
