"""The first steps of every request that runs a model over HTTP: admission, and the version that answers.

Knows the queue, deadlines, connections and the registry. Knows nothing of parameters, bodies or responses.
"""

from __future__ import annotations

import time

from starlette.requests import Request

from service.app_state import AppState
from service.engine import Call, LoadedModel
from service.http.connection import connection_of
from service.observability.request_trace import Trace


def admit(app_state: AppState, request: Request) -> Call:
    """Reject a request while the queue is full, before any of it is read; otherwise, its deadline begins.

    Raises:
        TooBusy: The queue is full.
    """
    app_state.worker_pool.refuse_when_full()
    return Call(
        deadline_s=time.monotonic() + app_state.settings.request_timeout_s,
        is_disconnected=connection_of(request.scope).is_disconnected,
    )


async def requested_model(app_state: AppState, reference: str | None, trace: Trace) -> LoadedModel:
    """The version for a reference, which the trace of the request then names.

    The key in the trace chooses between the versions of an alias that splits.

    Args:
        app_state: The registry, and threads for loading.
        reference: A name, `name@version` or `name@alias`; None means the default model.
        trace: That of the request.

    Raises:
        UnknownModel: There is no such model or version.
        ModelUnavailable: It exists and cannot be served.
    """
    model = app_state.registry.peek(reference, trace.routing_key)
    if model is None:
        model = await app_state.pool.run(app_state.registry.get, reference)
    trace.model = model.label
    return model
