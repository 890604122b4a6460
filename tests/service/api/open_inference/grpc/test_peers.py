"""The socket of a peer is found by its address, and only that one is closed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from service.api.open_inference.grpc.peers import address_of, hang_up


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv4 within IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(request.param, socket.SOCK_STREAM) as found:
        found.bind(("127.0.0.1" if request.param == socket.AF_INET else "::ffff:127.0.0.1", 0))
        found.listen()
        yield found


def test_connection_of_the_peer_ends_and_others_stay(listener: socket.socket) -> None:
    address = ("127.0.0.1", listener.getsockname()[1])
    with socket.create_connection(address) as one, socket.create_connection(address) as other:
        first, _ = listener.accept()
        second, _ = listener.accept()
        with first, second:
            assert hang_up(f"ipv4:127.0.0.1:{one.getsockname()[1]}") is True
            assert one.recv(1) == b""
            second.sendall(b"x")
            assert other.recv(1) == b"x"
            # The socket is still its owner's to close.
            assert first.fileno() >= 0


@pytest.mark.parametrize(
    "peer", ["ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:1", "unix:/run/a", "unknown", "ipv4:a", ""]
)
def test_unknown_peer_closes_nothing(peer: str) -> None:
    assert hang_up(peer) is False


def test_address_of_a_peer_has_no_port() -> None:
    assert address_of("ipv4:10.1.2.3:4711") == "10.1.2.3"
    assert address_of("ipv6:%5B2001:db8::1%5D:4711") == "2001:db8::1"
    assert address_of("ipv6:%5B::ffff:10.1.2.3%5D:4711") == "10.1.2.3"
    assert address_of("unix:/run/a") is None
