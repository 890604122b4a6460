"""POST /models/{name}/reload: read the store again now, and report the result.

Only if administration is on, and with keys only for those of the scope admin (`service.security.access`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.native.models import LoadFailure
from service.api.parameters import NoParameters
from service.api.resource import JSON, Resource, named_model
from service.api.responses import document_response
from service.api.routing import route
from service.app_state import AppState
from service.engine import ModelRegistry, UnknownModel
from service.http.document import Document
from service.http.parameters import read_query
from service.log_fields import fields

_log = logging.getLogger(__name__)


Label = Annotated[str, Field(description="Label of a version, `name@version`.", examples=["mnist@4"])]


class ReloadReport(Document):
    """The result of one reload, and its failures."""

    name: Annotated[str, Field(examples=["mnist"])]
    """The requested name."""
    loaded: list[Label]
    """Versions that were loaded now."""
    kept: list[Label]
    """Versions that were loaded before and stay."""
    failures: list[LoadFailure]
    """Versions that could not be loaded."""
    others_told: bool
    """Whether there are other workers, which received the same request."""


RELOAD: Final = Resource(
    path="/models/{name}/reload",
    method="POST",
    operation_id="reload",
    tag="administration",
    summary="Load the store's versions of this name now.",
    answer={JSON: ReloadReport},
    problems=(
        "invalid-parameter",
        "administration-off",
        "insufficient-scope",
        "host-not-allowed",
        "origin-not-allowed",
        "unknown-model",
    ),
    parameters=(named_model("Name of a model."),),
    note=(
        "Requires administration to be on and, if the server has keys, one of the scope `admin`. A "
        "version that cannot be loaded is listed under `failures`; the previous version continues to be "
        "served."
    ),
)


class AdministrationRoutes:
    """Changes of a running server."""

    resources = (RELOAD,)

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state
        self._one_at_a_time = asyncio.Lock()

    def routes(self) -> list[Route]:
        """The one route, POST alone."""
        return [*route(RELOAD.path, self.reload, methods=(RELOAD.method,))]

    async def reload(self, request: Request) -> Response:
        """Load the store's versions of a name, in this process and, if there are several, in the others.

        A version that cannot be loaded is an entry of the report and not an error: the previous version
        continues to be served.
        """
        app_state = self._app_state
        app_state.access.authorise_administration(request.scope)
        read_query(request.scope["query_string"], NoParameters, app_state.limits)
        name: str = request.path_params["name"]
        async with self._one_at_a_time:
            # Not in the pool that requests share: loading takes seconds.
            report = await asyncio.to_thread(_reload, app_state, name)
        others = app_state.reload_siblings() if app_state.reload_siblings is not None else False
        _log.info(
            "models reloaded over HTTP",
            extra=fields(name=name, loaded=",".join(report.loaded), failures=len(report.failures)),
        )
        return document_response(report.model_copy(update={"others_told": others}))


def _reload(app_state: AppState, name: str) -> ReloadReport:
    """The store's versions of one name, loaded in this process; previously loaded ones stay."""
    registry = app_state.registry
    before = _labels(registry, name)
    registry.allow(name)
    app_state.load_all()
    after = _labels(registry, name)
    stored = registry.name_of(name)
    refused = (*app_state.failures(), *app_state.ignored())
    failures = [
        LoadFailure.model_validate(each)
        for each in refused
        if each.model.partition("@")[0] in (stored, "the store")
    ]
    if not after and not failures:
        raise UnknownModel(name, tuple(model.label for model in registry.loaded()))
    return ReloadReport(
        name=name,
        loaded=sorted(after - before),
        kept=sorted(after & before),
        failures=failures,
        others_told=False,
    )


def _labels(registry: ModelRegistry, name: str) -> set[str]:
    stored = registry.name_of(name)
    return {model.label for model in registry.loaded() if model.id.name == stored}
