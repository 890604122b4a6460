"""When the rows that arrived run: at the end of their turn of the event loop, or with calls that follow.

Knows turns, a timer and the company of a call. Knows nothing of rows or graphs.

HTTP delivers in one turn all requests that have arrived. A server of grpcio delivers one call in some turns,
so its rows wait for the call that is about to be delivered: until none is, until no other may share their
run, or until the time is over. Nothing waits if nothing follows.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from typing import Final, Protocol

from service.engine.runtime.call import Company

#: Longest wait for calls that are about to be delivered.
GATHER_S: Final = 0.005
#: How often it is asked, meanwhile, whether one still is.
_LOOK_S: Final = 0.001
#: Turns from the delivery of one call to the beginning of the next one.
_TURNS: Final = 4


class Owner(Protocol):
    """The queue whose rows arrive."""

    def run_arrived(self) -> None:
        """Run the rows that have arrived, if there are any."""

    def may_wait(self) -> bool:
        """Whether another row may share their run, and their deadlines allow a wait."""


class Gathering:
    """The plan of one queue. Only one event loop uses it.

    It holds no reference to the queue for longer than the wait: a retired model leaves memory at once.
    """

    def __init__(self) -> None:
        self._is_due = False
        self._looks = False
        self._listens = False
        self._timer: asyncio.TimerHandle | None = None
        self._until_s = 0.0

    def arrived(self, loop: asyncio.AbstractEventLoop, company: Company | None, owner: Owner) -> None:
        """Plan the run of rows that have just arrived.

        Args:
            loop: The running loop.
            company: That of their call.
            owner: Their queue.
        """
        if company is None:
            if not self._is_due:
                self._is_due = True
                loop.call_soon(self._run, owner)
        elif not self._looks:
            self._looks = True
            loop.call_soon(self._look, loop, company, owner, _TURNS)

    def _look(self, loop: asyncio.AbstractEventLoop, company: Company, owner: Owner, turns: int) -> None:
        """After some turns, decide whether to wait."""
        if turns > 1:
            loop.call_soon(self._look, loop, company, owner, turns - 1)
            return
        self._looks = False
        if not (owner.may_wait() and company.more_follow()):
            self._run(owner)
            return
        if self._timer is None:
            self._until_s = loop.time() + GATHER_S
            self._timer = loop.call_later(_LOOK_S, self._look_again, loop, company, owner)
        if not self._listens:
            self._listens = True
            company.when_received(functools.partial(self._received, loop, company, weakref.ref(owner)))

    def _look_again(self, loop: asyncio.AbstractEventLoop, company: Company, owner: Owner) -> None:
        """While rows wait: whether the time is over, or the call that follows has become slow."""
        if loop.time() < self._until_s and owner.may_wait() and company.more_follow():
            self._timer = loop.call_later(_LOOK_S, self._look_again, loop, company, owner)
        else:
            self._run(owner)

    def _received(self, loop: asyncio.AbstractEventLoop, company: Company, owner: weakref.ref[Owner]) -> None:
        """A call has been delivered, perhaps to another queue."""
        self._listens = False
        alive = owner()
        if self._timer is not None and alive is not None:
            self.arrived(loop, company, alive)

    def _run(self, owner: Owner) -> None:
        self._is_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        owner.run_arrived()
