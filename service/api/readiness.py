"""Whether the server can answer, from evidence: one check for every protocol.

Knows the stage of the process and the registry. Knows nothing of requests.
"""

from __future__ import annotations

from service.app_state import AppState
from service.engine import Readiness
from service.http.problems import ProblemError


def require_ready(app_state: AppState) -> Readiness:
    """The evidence: the golden vectors of the default model agreed when it was loaded.

    Raises:
        ProblemError: `shutting-down` or `not-ready`.
    """
    lifecycle = app_state.lifecycle
    if lifecycle.draining:
        raise ProblemError("shutting-down", "The server received the signal to stop and accepts no new work.")
    if not lifecycle.loaded:
        raise ProblemError("not-ready", "The models are being loaded and checked. Try again in a second.")
    readiness = app_state.registry.readiness()
    if not readiness.ready:
        raise ProblemError("not-ready", f"{readiness.reason} {readiness.remedy}")
    return readiness
