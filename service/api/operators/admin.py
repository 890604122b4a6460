"""POST /models/{name}/reload: look at the store again now, and tell what came of it.

Only where administration is on, and with keys only for those of the scope admin (`service.security.access`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.parameters import NoParameters
from service.api.routing import route
from service.app_state import Services
from service.engine import LoadFailure, ModelRegistry, UnknownModel
from service.http.parameters import read_query
from service.log_fields import fields

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Report:
    """What one reload did: labels, `name@version`, and what failed."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    failures: tuple[LoadFailure, ...]


class AdministrationRoutes:
    """What changes a running server."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._one_at_a_time = asyncio.Lock()

    def routes(self) -> list[Route]:
        """The one route, POST alone."""
        return [*route("/models/{name}/reload", self.reload, methods=("POST",))]

    async def reload(self, request: Request) -> Response:
        """Loads what the store has for a name, in this process and, where there are several, in the others.

        A version that cannot be loaded is an entry of the report and not an error: what answered before goes
        on answering.
        """
        services = self._services
        services.access.authorise_administration(request.scope)
        read_query(request.scope["query_string"], NoParameters, services.limits)
        name: str = request.path_params["name"]
        async with self._one_at_a_time:
            # Not in the pool that requests share: loading takes seconds.
            report = await asyncio.to_thread(_reload, services, name)
        others = services.reload_siblings() if services.reload_siblings is not None else False
        _log.info(
            "models reloaded over HTTP",
            extra=fields(name=name, loaded=",".join(report.loaded), failures=len(report.failures)),
        )
        document = {
            "name": name,
            "loaded": list(report.loaded),
            "kept": list(report.kept),
            "failures": [{"model": f.model, "reason": f.reason} for f in report.failures],
            "others_told": others,
        }
        return Response(orjson.dumps(document), media_type="application/json")


def _reload(services: Services, name: str) -> _Report:
    """What the store says of one name, loaded; what was loaded before stays."""
    registry = services.registry
    before = _labels(registry, name)
    services.load_all()
    after = _labels(registry, name)
    refused = (*services.failures(), *services.ignored())
    failures = tuple(f for f in refused if f.model.partition("@")[0] in (name, "the store"))
    if not after and not failures:
        raise UnknownModel(name, tuple(model.label for model in registry.loaded()))
    return _Report(tuple(sorted(after - before)), tuple(sorted(after & before)), failures)


def _labels(registry: ModelRegistry, name: str) -> set[str]:
    return {model.label for model in registry.loaded() if model.id.name == name}
