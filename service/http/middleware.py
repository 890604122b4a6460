"""The outer layers of every request and every response, as pure ASGI.

Knows headers, byte counts and the problem table. Knows nothing of models or codecs.

    Envelope      request id, timing headers, one log line, metrics; the last resort for any exception
      BodyCeiling   counts body bytes as they arrive, declared or chunked
        application
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http import caching
from service.http.connection import connection_of
from service.http.cross_origin import CrossOrigin
from service.http.headers import first_header
from service.http.problem_documents import open_inference_body, open_inference_status, problem_body
from service.http.problems import MEDIA_TYPE, Item, ProblemError, problem_headers
from service.http.public_address import prefix_of
from service.log_fields import fields
from service.observability.access_log import AccessLog
from service.observability.metrics import Metrics
from service.observability.probes import PROBES
from service.observability.request_facts import add_to_line
from service.observability.request_trace import Trace, begin_trace, current_trace, end_trace

_log = logging.getLogger(__name__)

#: The client's key for an alias that splits: the same key, the same version.
CANARY_KEY: Final = b"x-canary-key"
#: Status in the log and the metrics for a request whose client disconnected before the response.
CLIENT_LEFT = 499
_LOWEST_ERROR = 400
#: Key in a scope for the entry of the request's API key, from `service.security.access`; the log contains its
#: label.
API_KEY = "vae.api_key"


def problem_response(error: ProblemError) -> Response:
    """The response for one problem, with the id of the current request."""
    trace = current_trace()
    trace.code = error.kind.code
    if trace.is_open_inference:
        return Response(
            open_inference_body(error, request_id=trace.request_id, prefix=trace.prefix),
            status_code=open_inference_status(error.kind),
            media_type="application/json",
            headers=problem_headers(error),
        )
    return Response(
        problem_body(error, request_id=trace.request_id, prefix=trace.prefix),
        status_code=error.kind.status,
        media_type=MEDIA_TYPE,
        headers=problem_headers(error),
    )


class Envelope:
    """Outermost: adds id, timing, safety and CORS headers to every response, and handles every exception.

    An exception that no other code turned into a response is logged once, with its traceback, and becomes
    `internal-error`. If a stopping server cancels a request after the grace time, the cancellation becomes
    `shutting-down`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        access_log: AccessLog,
        is_draining: Callable[[], bool],
        cross_origin: CrossOrigin,
        open_inference: bool = False,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._access_log = access_log
        self._is_draining = is_draining
        self._cross_origin = cross_origin
        self._open_inference = open_inference

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request with its id and timing, and count and log it once."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace, token = begin_trace(first_header(scope, b"x-request-id"), first_header(scope, CANARY_KEY))
        trace.prefix, trace.is_open_inference = prefix_of(scope), self._is_open_inference(scope["path"])
        status = 0
        in_parts = False

        async def send_enveloped(message: Message) -> None:
            nonlocal status, in_parts
            if message["type"] == "http.response.start":
                status = message["status"]
                trace.answer_begins()
                self._complete(message["headers"], scope, trace)
            elif message.get("more_body"):
                in_parts = True
            await send(message)

        self._metrics.open_requests += 1
        try:
            if connection_of(scope).only_probes and scope["path"] not in PROBES:
                raise ProblemError(
                    "too-many-connections",
                    "The server has too many open connections.",
                    headers={"Retry-After": "1", "Connection": "close"},
                )
            await self._app(scope, receive, send_enveloped)
        except ProblemError as problem:
            if status:
                raise
            await problem_response(problem)(scope, receive, send_enveloped)
        except ClientDisconnect:
            if status == 0 and connection_of(scope).timed_out:
                late = ProblemError(
                    "receipt-timeout", "The body did not arrive completely within the time limit."
                )
                await problem_response(late)(scope, receive, send_enveloped)
            else:
                status = CLIENT_LEFT
        except asyncio.CancelledError:
            stops = self._is_draining()
            # Also for half a response: its status is 200.
            trace.code = "shutting-down" if stops else trace.code
            if status or not stops:
                raise
            stopped = ProblemError("shutting-down", "The server stopped before this request was done.")
            await problem_response(stopped)(scope, receive, send_enveloped)
        except Exception as error:
            if status:
                raise  # half a response cannot be withdrawn: the server closes the connection
            _log.error("request failed", exc_info=error)
            answer = ProblemError("internal-error", "An unexpected error stopped this request.")
            await problem_response(answer)(scope, receive, send_enveloped)
        finally:
            self._metrics.open_requests -= 1
            self._record(scope, trace, status, in_parts=in_parts)
            end_trace(token)

    def _is_open_inference(self, path: str) -> bool:
        """Whether a path belongs to the Open Inference Protocol."""
        return self._open_inference and path.startswith("/v2") and path[3:4] in ("", "/")

    def _complete(self, headers: list[tuple[bytes, bytes]], scope: Scope, trace: Trace) -> None:
        """Add the headers of every response, including those for pages of allowed origins."""
        _add_headers(headers, trace, self._cross_origin.resource_policy)
        self._cross_origin.permit(scope["headers"], headers)

    def _record(self, scope: Scope, trace: Trace, status: int, *, in_parts: bool) -> None:
        """One line and one count per request.

        The line, the metric and Server-Timing have the same time until the response's headers. A response in
        parts has the time of its stream as well; any other is passed on at once.
        """
        trace.route = getattr(scope.get("endpoint"), "route_template", None)
        duration_s = trace.to_answer_s()
        stream_s = trace.elapsed_s() - duration_s if in_parts else None
        self._metrics.observe_request(
            route=trace.route,
            method=scope["method"],
            status=status,
            duration_s=duration_s,
            stream_s=stream_s,
            phases=trace.phases,
            code=trace.code,
            model=trace.model,
            images=trace.images,
            body_bytes=trace.body_bytes,
        )
        has_failed = has_failed_with(status, trace.code)
        if not self._access_log.includes(is_probe=trace.route in PROBES, has_failed=has_failed):
            return
        values: dict[str, object] = {
            "method": scope["method"][:16],
            "path": scope["path"][:120],
            "status": status,
            "ms": 1e3 * duration_s,
        }
        if stream_s is not None:
            values["stream_ms"] = 1e3 * stream_s
        add_to_line(values, trace)
        if (key := scope.get(API_KEY)) is not None:
            values["key"] = key.label or "unlabelled"
        if scope.get("client"):
            values["client"] = scope["client"][0]
        _log.info("client left" if status == CLIENT_LEFT else "request", extra=fields(**values))


def has_failed_with(status: int, code: str | None) -> bool:
    """Whether a request has failed, for the access log.

    Args:
        status: Status of its response; 499 if the client left, 0 if there was no response.
        code: Code of its problem, also if it arose after a status of success.
    """
    return status >= _LOWEST_ERROR or status == 0 or code is not None


def _add_headers(headers: list[tuple[bytes, bytes]], trace: Trace, resource_policy: bytes) -> None:
    """Append to the raw headers of a response. No other code adds any of these, except for caches."""
    headers.append((b"x-request-id", trace.request_id.encode("ascii")))
    headers.append((b"server-timing", trace.server_timing().encode("ascii")))
    if trace.model is not None:
        headers.append((b"x-model", trace.model.encode("ascii")))
    if trace.seed is not None:
        headers.append((b"x-seed", b"%d" % trace.seed))
    headers.append((b"x-content-type-options", b"nosniff"))
    headers.append((b"cross-origin-resource-policy", resource_policy))
    caching.complete(headers)


class BodyBudget:
    """Bytes of all request bodies in memory. One event loop, so plain arithmetic."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class BodyCeiling:
    """Rejects a body longer than `max_bytes`, by the declared length if there is one, otherwise by counting.

    Both ways raise the same problem, so both lead to the same response. The server drops later bytes without
    storing them. A body that fits, but exceeds the budget of all bodies together, is rejected as too busy.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, budget: BodyBudget) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that is counted as it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = first_header(scope, b"content-length") or ""
        if (
            declared.isascii()
            and declared.isdigit()
            and int(declared.lstrip("0")[:20] or 0) > self._max_bytes
        ):
            await problem_response(self._too_large())(scope, receive, send)
            return
        if not declared and scope["method"] in ("GET", "HEAD"):
            # There is no body, or no code reads it: the server bounds its buffer for it.
            await self._app(scope, receive, send)
            return
        trace = current_trace()
        budget = self._budget

        async def receive_counted() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                trace.body_bytes += size
                budget.held += size
                if trace.body_bytes > self._max_bytes:
                    raise self._too_large()
                if budget.held > budget.most:
                    raise self._no_room()
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            budget.held -= trace.body_bytes

    def _no_room(self) -> ProblemError:
        return ProblemError(
            "too-busy",
            f"All request bodies together exceed {self._budget.most} bytes at the moment.",
            headers={"Retry-After": "1"},
        )

    def _too_large(self) -> ProblemError:
        return ProblemError.of_item(
            "body-too-large",
            Item(
                "body",
                f"at most {self._max_bytes} bytes",
                "more",
                "Split the images over several requests, or send them as application/x-npy.",
            ),
        )
