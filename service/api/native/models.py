"""/models: what is loaded, what each version says about itself, and what failed to load."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store import FittedPrior
from service.api.operation import MODEL, MODELS, Operation
from service.api.routing import route
from service.app_state import Services
from service.engine import LoadedModel
from service.http.headers import joined_header
from service.http.negotiation import choose_format
from service.http.parameters import read_query
from service.observability.request_trace import current_trace


class ModelRoutes:
    """What the registry holds, as JSON."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The list, and one version."""
        return [*route(MODELS.path, self.models), *route(MODEL.path, self.model)]

    async def models(self, request: Request) -> Response:
        """Every loaded version, and every one that was refused."""
        self._check(request, MODELS)
        registry = self._services.registry
        document = {
            "default": self._services.settings.default_model,
            "models": [_summary(model) for model in registry.loaded()],
            "failures": [{"model": f.model, "reason": f.reason} for f in self._services.failures()],
        }
        return Response(orjson.dumps(document), media_type="application/json")

    async def model(self, request: Request) -> Response:
        """One version, loaded if it exists and was not."""
        self._check(request, MODEL)
        model = await self._services.pool.run(self._services.registry.get, request.path_params["name"])
        current_trace().model = model.label
        return Response(orjson.dumps(_facts(model)), media_type="application/json")

    def _check(self, request: Request, operation: Operation) -> None:
        accept = joined_header(request.scope, b"accept")
        choose_format(suffix=None, accept=accept, forms=operation.forms)
        read_query(request.scope["query_string"], operation.query, self._services.limits)


def _summary(model: LoadedModel) -> dict[str, object]:
    manifest = model.manifest
    return {
        "model": model.label,
        "name": manifest.name,
        "version": manifest.version,
        "aliases": list(model.aliases),
        "kind": manifest.kind,
        "image_shape": list(manifest.image.shape),
        "latent_size": manifest.latent_size,
        "priors": [prior.name for prior in manifest.priors],
        "labels": list(model.labels),
        "description": manifest.description,
    }


def _facts(model: LoadedModel) -> dict[str, object]:
    """The summary, and what else of the manifest a caller can use."""
    manifest = model.manifest
    provenance = manifest.provenance
    return {
        **_summary(model),
        "image_range": list(manifest.image.range),
        "preprocessing": manifest.image.preprocessing.model_dump(mode="json"),
        "likelihood": manifest.likelihood.model_dump(mode="json"),
        "metrics": [metric.model_dump(mode="json") for metric in manifest.metrics],
        "fitted_prior": _fitted_prior(manifest.fitted_prior),
        "licence": manifest.licence,
        "provenance": {
            "data": provenance.data,
            "data_fingerprint": provenance.data_fingerprint,
            "epochs": provenance.epochs,
            "seed": provenance.seed,
            "git_revision": provenance.git_revision,
            "created_at": provenance.created_at.isoformat(),
            "libraries": dict(provenance.libraries),
        },
    }


def _fitted_prior(fitted: FittedPrior | None) -> dict[str, object] | None:
    """How it was fitted, and how well it describes other images; the file is the server's own matter."""
    if fitted is None:
        return None
    return fitted.model_dump(mode="json", include={"components", "labels", "protocol", "metrics"})
