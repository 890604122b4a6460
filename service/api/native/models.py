"""/models: what is loaded, what each version says about itself, and what failed to load."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store import FittedPrior
from service.api.parameters import NoParameters
from service.api.resource import JSON, Resource, named_model
from service.api.responses import document_response
from service.api.routing import route
from service.app_state import Services
from service.engine import LoadedModel
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
    """An `ae` can be sampled only where a prior was fitted."""
    image_shape: list[Size]
    """(channels, height, width)."""
    latent_size: Size
    """Length of one z."""
    priors: list[Annotated[str, Field(description="Densities over z to sample from, the best one last.")]]
    labels: list[Annotated[str, Field(description="Labels whose images /sample can be asked for.")]]
    description: str
    """What the publisher says about it."""


class LoadFailure(Document):
    """One version that was refused."""

    model: str
    """Name or label."""
    reason: str
    """What was wrong, with the file named."""


class ModelList(Document):
    """What is loaded, and what is not."""

    default: str
    """Reference that answers when none is named."""
    models: list[ModelSummary]
    failures: list[LoadFailure]
    """Versions that were refused."""


class Preprocessing(Document):
    """How a picture becomes an image."""

    fit: str
    """With `resize=true`: `crop` scales the middle part, `stretch` each axis by itself."""
    ground: str
    """What transparent pixels become: `black` or `white`."""
    levels: int | None
    """Pixels are rounded to so many; null: they are not."""


class Metric(Document):
    """One figure, and how it was measured."""

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
    """What to send as `label`."""
    components: Size
    """Gaussians of the mixture."""
    share: float
    """Share of the images that it was fitted to."""


class FittedPriorFacts(Document):
    """How a prior was fitted, and how well it describes other images; its file is the server's own matter."""

    components: Size
    """Gaussians of the mixture."""
    labels: list[LabelPrior]
    """One mixture for the images of each."""
    protocol: str
    """What it was fitted to, and how."""
    metrics: list[Metric]
    """On images that it was not fitted to."""


class Provenance(Document):
    """Where a version comes from."""

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
    """The summary, and what else of the manifest a client can use."""

    image_range: list[float]
    """Smallest and largest pixel value."""
    preprocessing: Preprocessing
    """How a picture file becomes an image of this model."""
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
    summary="What is loaded, and what failed to load",
    description="Every loaded version with its aliases, and every version that was refused, with the reason.",
    answer={JSON: ModelList},
    problems=("invalid-parameter", "form-not-available"),
)

MODEL: Final = Resource(
    path="/models/{name}",
    operation_id="models_by_name_get",
    tag="model",
    summary="One model: its manifest facts and metrics",
    description="`name` is a name, `name@version` or `name@alias`. Each metric carries its protocol.",
    answer={JSON: ModelFacts},
    problems=("invalid-parameter", "unknown-model", "model-unavailable", "form-not-available"),
    parameters=(named_model("`name`, `name@version` or `name@alias`."),),
    headers=("X-Model",),
)


class ModelRoutes:
    """What the registry holds, as JSON."""

    resources = (MODELS, MODEL)

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The list, and one version."""
        return [*route(MODELS.path, self.models), *route(MODEL.path, self.model)]

    async def models(self, request: Request) -> Response:
        """Every loaded version, and every one that was refused."""
        self._check(request)
        services = self._services
        return document_response(
            ModelList(
                default=services.settings.default_model,
                models=[ModelSummary(**_summary(model)) for model in services.registry.loaded()],
                failures=[LoadFailure.model_validate(failure) for failure in services.failures()],
            )
        )

    async def model(self, request: Request) -> Response:
        """One version, loaded if it exists and was not."""
        self._check(request)
        model = await self._services.pool.run(self._services.registry.get, request.path_params["name"])
        current_trace().model = model.label
        return document_response(_facts(model))

    def _check(self, request: Request) -> None:
        """There is JSON alone, and no parameter."""
        accept = joined_header(request.scope, b"accept")
        choose_format(suffix=None, accept=accept, forms=(Format.JSON,))
        read_query(request.scope["query_string"], NoParameters, self._services.limits)


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
    return ModelFacts(
        **_summary(model),
        image_range=list(manifest.image.range),
        preprocessing=Preprocessing.model_validate(manifest.image.preprocessing),
        likelihood=manifest.likelihood.model_dump(mode="json"),
        metrics=[Metric.model_validate(metric) for metric in manifest.metrics],
        fitted_prior=_fitted_prior(manifest.fitted_prior),
        licence=manifest.licence,
        provenance=Provenance.model_validate(manifest.provenance),
    )


def _fitted_prior(fitted: FittedPrior | None) -> FittedPriorFacts | None:
    return None if fitted is None else FittedPriorFacts.model_validate(fitted)
