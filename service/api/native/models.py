"""/models: the loaded versions, their manifests, and the versions that failed to load."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store import FittedPrior
from service.api.parameters import NoParameters
from service.api.request_images import usual_fit
from service.api.resource import JSON, Resource, named_model
from service.api.responses import document_response
from service.api.routing import route
from service.app_state import AppState
from service.engine import LoadedModel
from service.http.caching import Reuse
from service.http.document import Document
from service.http.headers import joined_header
from service.http.negotiation import Format, choose_format
from service.http.parameters import read_query
from service.observability.request_trace import current_trace

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
#: Written with its offset, `+00:00` for UTC.
Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class ModelSummary(Document):
    """One loaded version."""

    model: str
    """Label of the version, `name@version`."""
    name: str
    """Name of the model."""
    version: Size
    """Number of the version."""
    aliases: list[Annotated[str, Field(description="Names that point to this version, such as `stable`.")]]
    kind: Literal["vae", "ae"]
    """An `ae` can be sampled only if it has a fitted prior."""
    image_shape: list[Size]
    """(channels, height, width)."""
    latent_size: Size
    """Length of one z."""
    priors: list[Annotated[str, Field(description="Densities over z to sample from, the best one last.")]]
    labels: list[Annotated[str, Field(description="Labels that /sample accepts.")]]
    description: str
    """The publisher's description."""


class LoadFailure(Document):
    """One version that was refused."""

    model: str
    """Name or label."""
    reason: str
    """The fault, with the name of its file."""


class ModelList(Document):
    """The loaded and the refused versions."""

    default: str
    """Reference of the default model."""
    models: list[ModelSummary]
    failures: list[LoadFailure]
    """Refused versions."""


class Preprocessing(Document):
    """The conversion of an image file into an image."""

    fit: str
    """With `resize=true`: `crop` scales the middle part, `stretch` each axis separately, and `contain`, for a
    version that does not state its way, the whole picture on the ground."""
    ground: str
    """The colour under transparent pixels: `black` or `white`."""
    levels: int | None
    """Pixels are rounded to so many levels; null: they are not rounded."""


class Metric(Document):
    """One figure and its protocol."""

    name: str
    """Such as `negative_elbo`."""
    value: float
    unit: str
    """Such as `nats per image`."""
    protocol: str
    """Data, number of images, binarisation, samples, seed."""


class LabelPrior(Document):
    """The mixture of one label."""

    label: str
    """The value for `label`."""
    components: Size
    """Gaussians of the mixture."""
    share: float
    """Share of the fitted images."""


class FittedPriorFacts(Document):
    """The origin of a prior, and its quality on other images. Its file is internal to the server."""

    components: Size
    """Gaussians of the mixture."""
    labels: list[LabelPrior]
    """One mixture for the images of each label."""
    protocol: str
    """Its data and protocol."""
    metrics: list[Metric]
    """Figures on images that it was not fitted to."""


class Provenance(Document):
    """Origin of a version."""

    data: str
    """Name and size of the training data."""
    data_fingerprint: str
    """SHA-256 over the training images."""
    epochs: Count
    seed: Count
    git_revision: str
    """Revision of the training code."""
    created_at: Moment
    libraries: dict[str, str]


class ModelFacts(ModelSummary):
    """The summary, and the other parts of the manifest that are useful to a client."""

    image_range: list[float]
    """Smallest and largest pixel value."""
    preprocessing: Preprocessing
    """The conversion of an image file into an image of this model."""
    likelihood: Annotated[
        dict[str, Any],
        WithJsonSchema({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}),
    ]
    metrics: list[Metric]
    fitted_prior: FittedPriorFacts | None
    """Mixtures of Gaussians, fitted after training."""
    licence: str
    """SPDX expression for the weights."""
    provenance: Provenance


MODELS: Final = Resource(
    path="/models",
    operation_id="models_get",
    tag="model",
    summary="The loaded versions, and those that failed to load",
    description="Every loaded version with its aliases, and every refused version with the reason.",
    answer={JSON: ModelList},
    problems=("invalid-parameter", "form-not-available"),
)

MODEL: Final = Resource(
    path="/models/{name}",
    operation_id="models_by_name_get",
    tag="model",
    summary="One model: its description and metrics",
    description="`name` is a name, `name@version` or `name@alias`. Each metric has its protocol.",
    answer={JSON: ModelFacts},
    problems=("invalid-parameter", "unknown-model", "model-unavailable", "form-not-available"),
    parameters=(named_model("`name`, `name@version` or `name@alias`."),),
    headers=("X-Model",),
)


class ModelRoutes:
    """The contents of the registry, as JSON."""

    resources = (MODELS, MODEL)

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state

    def routes(self) -> list[Route]:
        """The list, and one version."""
        return [*route(MODELS.path, self.models), *route(MODEL.path, self.model)]

    async def models(self, request: Request) -> Response:
        """Every loaded version, and every one that was refused."""
        self._check(request)
        app_state = self._app_state
        return self._response(
            ModelList(
                default=app_state.settings.default_model,
                models=[ModelSummary(**_summary(model)) for model in app_state.registry.loaded()],
                failures=[LoadFailure.model_validate(failure) for failure in app_state.failures()],
            )
        )

    async def model(self, request: Request) -> Response:
        """One version; it is loaded if it exists and is not in memory."""
        self._check(request)
        model = await self._app_state.pool.run(self._app_state.registry.get, request.path_params["name"])
        current_trace().model = model.label
        return self._response(_facts(model))

    def _response(self, document: Document) -> Response:
        return document_response(document, reuse=Reuse.ASKING, by_key=self._app_state.access.keys_required)

    def _check(self, request: Request) -> None:
        """Accept only JSON and no parameter."""
        accept = joined_header(request.scope, b"accept")
        choose_format(suffix=None, accept=accept, forms=(Format.JSON,))
        read_query(request.scope["query_string"], NoParameters, self._app_state.limits)


def _summary(model: LoadedModel) -> dict[str, Any]:
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


def _facts(model: LoadedModel) -> ModelFacts:
    manifest = model.manifest
    how = manifest.image.preprocessing
    return ModelFacts(
        **_summary(model),
        image_range=list(manifest.image.range),
        preprocessing=Preprocessing(
            fit=usual_fit(how) or how.fit,
            ground=how.ground,
            levels=how.levels,
        ),
        likelihood=manifest.likelihood.model_dump(mode="json"),
        metrics=[Metric.model_validate(metric) for metric in manifest.metrics],
        fitted_prior=_fitted_prior(manifest.fitted_prior),
        licence=manifest.licence,
        provenance=Provenance.model_validate(manifest.provenance),
    )


def _fitted_prior(fitted: FittedPrior | None) -> FittedPriorFacts | None:
    return None if fitted is None else FittedPriorFacts.model_validate(fitted)
