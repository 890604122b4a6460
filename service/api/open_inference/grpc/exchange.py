"""One message of a client and its answer: its trace, its line in the log, and its counts.

Knows metadata, times and the parts for logs, metrics and spans. Knows nothing of models or of the messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Token
from types import TracebackType
from typing import Final

from grpc import StatusCode

from service.api.open_inference.grpc.peers import address_of
from service.api.open_inference.grpc.statuses import status_of
from service.engine import CallerDisconnected
from service.http.middleware import API_KEY
from service.http.problems import DOMAIN_ERRORS, ProblemError, problem_of
from service.log_fields import fields
from service.observability.access_log import AccessLog
from service.observability.request_facts import add_to_line
from service.observability.request_trace import Trace, begin_trace, end_trace
from service.observability.rpc_metrics import RpcMetrics
from service.observability.rpc_spans import RpcSpans
from service.security.access import Access

#: In the log, in the place of an HTTP method.
METHOD: Final = "GRPC"
_log = logging.getLogger(__name__)


class Caller:
    """The client of a call: its metadata, its address and its key."""

    def __init__(self, metadata: Sequence[tuple[str, str | bytes]], peer: str, path: str) -> None:
        """Read what a call states about its client.

        Args:
            metadata: Of the call.
            peer: As gRPC writes it, such as `ipv4:127.0.0.1:4711`.
            path: Of the method.
        """
        self.metadata = metadata
        self.peer = peer
        # As `Access` reads it. Metadata has no host: a page of a browser cannot make such a call.
        self.scope: dict[str, object] = {"type": "http", "path": path, "headers": ()}

    def first(self, name: str) -> str | None:
        """The first value of a key that is text."""
        for key, value in self.metadata:
            if key == name and isinstance(value, str):
                return value
        return None

    def authorise(self, access: Access) -> None:
        """Accept a call with a known key.

        Raises:
            ProblemError: `missing-key` or `unknown-key`.
        """
        if access.keys_required:
            self._read_keys()
            access.authorise(self.scope)

    def authorise_administration(self, access: Access) -> None:
        """Accept a call that `authorise` accepted and that may change the server.

        Raises:
            ProblemError: As `Access.authorise_administration`.
        """
        access.authorise_administration(self.scope)

    def _read_keys(self) -> None:
        self.scope["headers"] = [
            (b"authorization", value.encode("latin-1", "replace") if isinstance(value, str) else value)
            for key, value in self.metadata
            if key == "authorization"
        ]

    @property
    def key(self) -> str | None:
        """Label of its key, for the log."""
        entry = self.scope.get(API_KEY)
        return None if entry is None else getattr(entry, "label", None) or "unlabelled"

    @property
    def address(self) -> str | None:
        """Its address without the port."""
        return address_of(self.peer)


class Recorder:
    """The receivers of all exchanges: log, metrics, spans."""

    def __init__(self, metrics: RpcMetrics, spans: RpcSpans | None, *, access_log: AccessLog) -> None:
        self.metrics = metrics
        self.spans = spans
        self.access_log = access_log


class Exchange:
    """A context: the trace is current inside, and the exchange is counted and logged at its end."""

    __slots__ = (
        "_caller",
        "_is_probe",
        "_path",
        "_recorder",
        "_route",
        "_span",
        "_spans",
        "_token",
        "gone",
        "problem",
        "status",
        "trace",
    )

    def __init__(
        self, recorder: Recorder, caller: Caller, path: str, *, route: str | None, is_probe: bool = False
    ) -> None:
        """One exchange.

        Args:
            recorder: Its receivers.
            caller: The client.
            path: Of the method.
            route: The same for a method that exists, and None otherwise.
            is_probe: It has no span: those of periodic calls would bury all others.
        """
        self._recorder = recorder
        self._caller = caller
        self._path = path
        self._route = route
        self._is_probe = is_probe
        self._spans = None if is_probe else recorder.spans
        self.status: StatusCode = StatusCode.OK
        self.problem: ProblemError | None = None
        self.gone = False
        """The client has cancelled, or its deadline has passed."""

    def __enter__(self) -> Exchange:
        self.trace: Trace
        self._token: Token[Trace | None]
        caller = self._caller
        self.trace, self._token = begin_trace(caller.first("x-request-id"), caller.first("x-canary-key"))
        self.trace.route = self._route
        recorder = self._recorder
        recorder.metrics.open_calls += 1
        self._span = self._spans.begin(self._path, self._caller.metadata) if self._spans else None
        return self

    def fail(self, error: Exception) -> ProblemError:
        """Translate an error into the problem that the client gets."""
        problem = _problem(error)
        self.problem = problem
        self.status = status_of(problem)
        self.trace.code = problem.kind.code
        return problem

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Trailing metadata of every answer."""
        trace = self.trace
        entries: tuple[tuple[str, str], ...] = (
            ("x-request-id", trace.request_id),
            ("server-timing", trace.server_timing()),
        )
        if trace.model is not None:
            entries += (("x-model", trace.model),)
        return entries

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        left = kind is not None and issubclass(kind, asyncio.CancelledError) and self.problem is None
        if left:
            self.gone = True
            self.status = StatusCode.CANCELLED
        try:
            self._record(left=left)
        finally:
            end_trace(self._token)

    def _record(self, *, left: bool) -> None:
        trace, recorder = self.trace, self._recorder
        duration_s = trace.elapsed_s()
        status = self.status.name
        recorder.metrics.open_calls -= 1
        recorder.metrics.observe(trace, status=status, duration_s=duration_s)
        if self._span is not None and self._spans is not None:
            self._spans.end(self._span, trace, code=self.status.value[0])
        has_failed = self.status is not StatusCode.OK or trace.code is not None
        if not recorder.access_log.includes(is_probe=self._is_probe, has_failed=has_failed):
            return
        values: dict[str, object] = {
            "method": METHOD,
            "path": self._path[:120],
            "status": status,
            "ms": 1e3 * duration_s,
        }
        add_to_line(values, trace)
        if (key := self._caller.key) is not None:
            values["key"] = key
        if (address := self._caller.address) is not None:
            values["client"] = address
        _log.info("client left" if left else "request", extra=fields(**values))


def _problem(error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, CallerDisconnected):
        return ProblemError("deadline-exceeded", "The client cancelled the call.")
    if isinstance(error, tuple(kind for kind, _ in DOMAIN_ERRORS)):
        problem = problem_of(error)
        if problem.kind.status >= 500:
            _log.warning("no answer", extra=fields(code=problem.kind.code, reason=str(error)))
        return problem
    _log.error("request failed", exc_info=error)
    return ProblemError("internal-error", "An unexpected error stopped this request.")
