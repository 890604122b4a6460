"""The decoding of pictures in threads: small ones at once, large ones within a bound on all their pixels.

Knows threads, deadlines and the allocator. Knows nothing of codecs or requests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from service.engine import DeadlineExceeded
from service.engine.runtime.allocator import return_memory
from service.thread_pool import Room, WorkPool

P = ParamSpec("P")
R = TypeVar("R")

#: Pictures of so many pixels are decoded by as many threads as there are; larger ones share a room.
_SMALL_PIXELS: Final = 262_144


async def decode_in_thread(
    pool: WorkPool,
    room: Room,
    pixels: int,
    deadline_s: float,
    read: Callable[P, R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Call `read` in a thread, as soon as its largest picture fits into memory.

    Args:
        pool: The threads.
        room: The pixels that may be decoded at a time.
        pixels: Of the largest picture.
        deadline_s: When the result is no longer wanted, on the monotonic clock.
        read: Decodes the pictures.
        args: Of `read`.
        kwargs: Of `read`.

    Raises:
        DeadlineExceeded: There was no room before.
    """
    if pixels <= _SMALL_PIXELS:
        return await pool.run(read, *args, **kwargs)
    try:
        async with room.hold(pixels, deadline_s=deadline_s):
            return await pool.run(_then_return_memory, functools.partial(read, *args, **kwargs))
    except TimeoutError:
        raise DeadlineExceeded from None


def _then_return_memory(read: Callable[[], R]) -> R:
    """Each thread would keep what its largest picture took."""
    try:
        return read()
    finally:
        return_memory()
