"""The facts of the current request: its id, its timings, its model.

Knows names and seconds on the monotonic clock. Knows nothing of HTTP, models or logging. The middleware
creates one `Trace` per request. A context variable, which worker threads inherit, leads to it. The middleware
turns it into headers, a log line and metrics.
"""

from __future__ import annotations

import functools
import itertools
import re
import secrets
import time
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Protocol

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")


class Phase:
    """Times one block. It is a class, because a generator's context manager takes three times as long."""

    __slots__ = ("_begun", "_name", "_phases")

    def __init__(self, phases: dict[str, float], name: str) -> None:
        self._phases = phases
        self._name = name

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._begun
        self._phases[self._name] = self._phases.get(self._name, 0.0) + seconds


class Call(Protocol):
    """The times of one call, as the engine adds them up."""

    queued_s: float
    run_s: float


@dataclass(slots=True)
class Trace:
    """The facts of one request, filled in as they become known."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    answered_s: float | None = None
    """Seconds until the response's headers were sent; None before."""
    route: str | None = None
    """Template of the matched route, such as `/models/{name}`; never the path itself."""
    model: str | None = None
    """Label of the version that answered, such as `mnist@3`."""
    seed: int | None = None
    images: int = 0
    """Number of images in the request or the response, the larger of the two."""
    code: str | None = None
    """Code of the problem in the response."""
    body_bytes: int = 0
    """Received bytes of the request body."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds per phase: `read`, `parse`, `queue`, `run`, `encode`, and `pool`, which is part of `parse`."""
    is_open_inference: bool = False
    """Whether the path belongs to the Open Inference Protocol, whose errors have another form."""
    canary_key: str | None = None
    """The client's own key for an alias that splits. It may name a person: no log and no response has it."""
    prefix: str = ""
    """Prefix of every link in the response: the path that a proxy puts before this server's own."""

    @property
    def routing_key(self) -> str:
        """Decides which version of an alias that splits answers."""
        return self.canary_key or self.request_id

    def phase(self, name: str) -> Phase:
        """A context that adds the time spent inside to the phase `name`."""
        return Phase(self.phases, name)

    def ran(self, call: Call) -> None:
        """Record how long the rows of a call waited for a model, and ran."""
        self.phases["queue"] = call.queued_s
        self.phases["run"] = call.run_s

    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.started

    def answer_begins(self) -> None:
        """Record the time of the headers: later parts are not part of the time to the response."""
        self.answered_s = self.elapsed_s()

    def to_answer_s(self) -> float:
        """Seconds until the response's headers were sent; without a response, until now."""
        return self.elapsed_s() if self.answered_s is None else self.answered_s

    def server_timing(self) -> str:
        """Value of the Server-Timing header: milliseconds per phase, then the total until the headers."""
        times_ms = [1e3 * seconds for seconds in self.phases.values()]
        return _timing_form(tuple(self.phases)) % (*times_ms, 1e3 * self.to_answer_s())


@functools.lru_cache(maxsize=64)
def _timing_form(phases: tuple[str, ...]) -> str:
    """The value of Server-Timing without its numbers: one formatting takes half the time of one for each."""
    return ", ".join(f"{name};dur=%.3f" for name in (*phases, "total"))


_current: ContextVar[Trace | None] = ContextVar("vae_service_trace", default=None)


def current_trace() -> Trace:
    """The trace of the current request; a detached one outside of any request."""
    return _current.get() or Trace(request_id="-")


def current_request_id() -> str | None:
    """Id of this task's request; None outside of requests."""
    trace = _current.get()
    return trace.request_id if trace else None


_process = secrets.token_hex(4)
_numbers = itertools.count(secrets.randbits(32))


def new_request_id() -> str:
    """16 unique hexadecimal digits: eight for the process, and eight as a counter."""
    return f"{_process}{next(_numbers) & 0xFFFFFFFF:08x}"


def begin_trace(
    client_request_id: str | None, canary_key: str | None = None
) -> tuple[Trace, Token[Trace | None]]:
    """A new trace, current until `end_trace`. A client's id is kept if it is short and plain."""
    kept = client_request_id is not None and _REQUEST_ID.match(client_request_id) is not None
    trace = Trace(request_id=client_request_id if kept and client_request_id else new_request_id())
    trace.canary_key = canary_key
    return trace, _current.set(trace)


def end_trace(token: Token[Trace | None]) -> None:
    """Forget the trace of `begin_trace`."""
    _current.reset(token)
