"""Every path that Python code hands to the operating system, while a test watches.

Knows the functions of `os`, `io` and `builtins` that take a path. Knows nothing of stores or servers. It
takes their place for a while: an audit hook would stay for the life of the process, and CPython 3.11 then
fails now and then to install coverage's tracer in a new thread ("while another trace function is being
installed"). `stat` and `readlink` are not watched, because `Path.resolve` calls them for every parent.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, Final
from unittest import mock

_IN_OS: Final = (
    "chmod", "chown", "link", "listdir", "mkdir", "open", "remove", "rename",
    "replace", "rmdir", "scandir", "symlink", "truncate", "unlink", "utime",
)  # fmt: skip
_WATCHED: Final[tuple[tuple[ModuleType, str], ...]] = (
    (builtins, "open"),
    (io, "open"),
    *((os, name) for name in _IN_OS),
)


@contextmanager
def watched_paths() -> Iterator[list[str]]:
    """The list that grows by each path, of any thread, in the spelling of the call."""
    seen: list[str] = []

    def watching(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(*given: Any, **named: Any) -> Any:
            for item in (*given, *named.values()):
                if isinstance(item, (str, bytes, os.PathLike)):
                    seen.append(os.fsdecode(item))
            return call(*given, **named)

        return watched

    with ExitStack() as places:
        for module, name in _WATCHED:
            places.enter_context(mock.patch.object(module, name, watching(getattr(module, name))))
        yield seen
