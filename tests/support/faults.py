"""System calls that can be counted, made to fail, or made the last thing a process does.

Knows Python's `os` and `fcntl` functions. Knows nothing of the store. Everything that calls them through
those modules, the standard library included, passes through here while a `SystemCalls` is active.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

WATCHED = (
    (os, "mkdir"),
    (os, "open"),
    (os, "write"),
    (os, "fsync"),
    (os, "rename"),
    (os, "close"),
    (os, "scandir"),
    (os, "fstat"),
    (os, "read"),
    (fcntl, "flock"),
)


class SystemCalls:
    """While active, `act(index, name, arguments)` runs before each watched call, which raises what it raises.

    `index` counts from 1. A close happens first and fails afterwards, as the kernel does it.
    """

    def __init__(self, act: Callable[[int, str, tuple[Any, ...]], None]) -> None:
        self._act = act
        self._originals: list[tuple[Any, str, Any]] = []
        self.names: list[str] = []

    def __enter__(self) -> SystemCalls:
        for module, name in WATCHED:
            original = getattr(module, name)
            self._originals.append((module, name, original))
            setattr(module, name, self._wrapped(name, original))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for module, name, original in self._originals:
            setattr(module, name, original)

    def _wrapped(self, name: str, original: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.names.append(name)
            index = len(self.names)
            if name == "close":
                original(*arguments, **keywords)
                self._act(index, name, arguments)
                return None
            self._act(index, name, arguments)
            return original(*arguments, **keywords)

        return call


def counting() -> SystemCalls:
    """Calls pass unharmed and are counted in `names`."""
    return SystemCalls(lambda index, name, arguments: None)


def failing_at(step: int, number: int) -> SystemCalls:
    """The call of this index fails with this error number, and no other."""

    def act(index: int, name: str, arguments: tuple[Any, ...]) -> None:
        if index == step:
            raise OSError(number, os.strerror(number))

    return SystemCalls(act)


def refusing(entry: str, number: int = errno.EACCES) -> SystemCalls:
    """Whatever opens an entry of this name fails, for root too, whom no permission keeps out."""

    def act(index: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open" and Path(os.fspath(arguments[0])).name == entry:
            raise OSError(number, os.strerror(number))

    return SystemCalls(act)


def full_from(step: int, number: int) -> SystemCalls:
    """From this call on nothing can be created, written or synced; removing and renaming still work."""

    def act(index: int, name: str, arguments: tuple[Any, ...]) -> None:
        creates = name == "open" and len(arguments) > 1 and bool(arguments[1] & os.O_EXCL)
        if index >= step and (creates or name in ("mkdir", "write", "fsync")):
            raise OSError(number, os.strerror(number))

    return SystemCalls(act)
