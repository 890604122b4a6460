"""An address that cannot be listened on: the message says what to change."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from service.process.sockets import AddressError, bind


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), "Stop what uses the port"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "Choose one from 1024 on with --port or VAE_PORT"),
        (OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)), "--host or VAE_HOST"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "--host or VAE_HOST"),
    ],
)
def test_address_that_cannot_be_used_is_told_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, error: OSError, remedy: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(AddressError) as told:
        bind("127.0.0.1", 80)
    assert str(told.value).startswith("--host 127.0.0.1 --port 80: cannot listen there: ")
    assert remedy in str(told.value)
    assert ("Stop what uses the port" in str(told.value)) == (error.errno == errno.EADDRINUSE)


def test_address_of_another_machine_is_told_with_what_helps() -> None:
    with pytest.raises(AddressError, match=r"--host or VAE_HOST"):
        bind("192.0.2.1", 0)
