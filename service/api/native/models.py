"""/models: the loaded versions, their manifests, and the versions that failed to load."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store import FittedPrior, LearnedPrior
from model_store.manifest import Likelihood, Manifest
from service.api.parameters import NoParameters
from service.api.request_images import usual_fit
from service.api.resource import JSON, Resource, named_model
from service.api.responses import document_response
from service.api.routing import route
from service.app_state import AppState
from service.engine import LoadedModel, Split
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


_ALIAS: Final = "Names that point to this version, such as `stable`."
_PRIOR: Final = "Densities over z to sample from, the best one last."


def _is_none(value: object) -> bool:
    return value is None


class ImageSizes(Document):
    """Sides of images that a model accepts, each independent of the other."""

    multiple: Annotated[Size, Field(examples=[8])]
    """Every side is a multiple of it."""
    least: Annotated[Size, Field(examples=[64])]
    """Shortest side."""
    most: Annotated[Size, Field(examples=[1024])]
    """Longest side."""


class ImportedFacts(Document):
    """A model that was made elsewhere. Requests send pixels in [0, 1] to it as well."""

    graphs: Annotated[list[Literal["encoder", "decoder"]], Field(examples=[["encoder", "decoder"]])]
    """The graphs that it has."""
    latent_shape: Annotated[list[Size], Field(examples=[[4, 8, 8]])]
    """Shape of one z, for an image of `image_shape`."""
    sizes: ImageSizes | None
    """Other sizes of images that it accepts; null: none."""
    graph_range: Annotated[list[float] | None, Field(examples=[[-1.0, 1.0]])]
    """The graphs' own values of black and white; null: the values are no pixels."""
    scaling_factor: Annotated[float | None, Field(examples=[0.18215])]
    """Programs such as diffusers store (z - shift_factor) · scaling_factor; z here is without both."""
    shift_factor: Annotated[float | None, Field(examples=[None])]
    latent_mean: Annotated[list[float] | None, Field(examples=[None])]
    """One for each channel: newer programs store (z - mean) / std."""
    latent_std: Annotated[list[float] | None, Field(examples=[None])]


class ModelSummary(Document):
    """One loaded version."""

    model: Annotated[str, Field(examples=["mnist@4"])]
    """Label of the version, `name@version`."""
    name: Annotated[str, Field(examples=["mnist"])]
    """Name of the model."""
    version: Annotated[Size, Field(examples=[4])]
    """Number of the version."""
    aliases: list[Annotated[str, Field(description=_ALIAS, examples=["stable"])]]
    kind: Literal["vae", "ae"]
    """An `ae` can be sampled only if it has a fitted prior."""
    image_shape: Annotated[list[Size], Field(examples=[[1, 28, 28]])]
    """(channels, height, width)."""
    latent_size: Annotated[Size, Field(examples=[32])]
    """Number of values of one z."""
    latent_shape: Annotated[list[Size] | None, Field(exclude_if=lambda shape: shape is None)] = None
    """Shape of one z, for an image of `image_shape`. A version with flat latents has no such key."""
    priors: list[Annotated[str, Field(description=_PRIOR, examples=["standard"])]]
    labels: list[Annotated[str, Field(description="Labels that /sample accepts.", examples=["7"])]]
    description: Annotated[str, Field(examples=["Variational autoencoder of 28 × 28 grey images."])]
    """The publisher's description."""
    preview: Annotated[bool, Field(examples=[True])]
    """Whether GET /models/{name}/preview has posterior means of some real images."""
    imported: Annotated[ImportedFacts | None, Field(exclude_if=lambda facts: facts is None)] = None
    """Only of a model that was made elsewhere."""
    precision: Annotated[Literal["bfloat16"] | None, Field(exclude_if=lambda value: value is None)] = None
    """Number format of the computation, if it is not float32."""


class LoadFailure(Document):
    """One version that was refused."""

    model: Annotated[str, Field(examples=["mnist@3"])]
    """Name or label."""
    reason: Annotated[str, Field(examples=["decoder.onnx: its SHA-256 is not the one in the manifest."])]
    """The fault, with the name of its file."""


class Share(Document):
    """One version of an alias that splits."""

    model: Annotated[str, Field(examples=["mnist@6"])]
    """Label of the version."""
    percent: Annotated[float, Field(ge=0, le=100, examples=[5.0])]
    """Its share of the requests."""


class SplitAlias(Document):
    """An alias for which two versions answer."""

    alias: Annotated[str, Field(examples=["mnist@stable"])]
    """The reference, `name@alias`. A bare name means `name@stable`."""
    versions: list[Share]
    """The alias's own version, then its canary."""


class ModelList(Document):
    """The loaded and the refused versions."""

    default: Annotated[str, Field(examples=["mnist"])]
    """Reference of the default model."""
    models: list[ModelSummary]
    splits: list[SplitAlias]
    """Aliases for which two versions answer. `X-Canary-Key` of a request chooses one of them: the same key,
    the same version. Without it, `X-Request-Id` chooses."""
    failures: list[LoadFailure]
    """Refused versions."""


class Preprocessing(Document):
    """The conversion of an image file into an image."""

    fit: Annotated[str, Field(examples=["crop"])]
    """With `resize=true`: `crop` scales the middle part, `stretch` each axis separately, and `contain`, for a
    version that does not state its way, the whole picture on the ground."""
    ground: Annotated[str, Field(examples=["black"])]
    """The colour under transparent pixels: `black` or `white`."""
    levels: Annotated[int | None, Field(examples=[256])]
    """Pixels are rounded to so many levels; null: they are not rounded."""


class Metric(Document):
    """One figure and its protocol."""

    name: Annotated[str, Field(examples=["negative_elbo"])]
    """Such as `negative_elbo`."""
    value: Annotated[float, Field(examples=[84.27])]
    unit: Annotated[str, Field(examples=["nats per image"])]
    """Such as `nats per image`."""
    protocol: Annotated[
        str, Field(examples=["all 10,000 images of mnist test, dynamic binarisation, seed 0"])
    ]
    """Data, number of images, binarisation, samples, seed."""


class LabelPrior(Document):
    """The mixture of one label."""

    label: Annotated[str, Field(examples=["7"])]
    """The value for `label`."""
    components: Annotated[Size, Field(examples=[16])]
    """Gaussians of the mixture."""
    share: Annotated[float, Field(examples=[0.1046])]
    """Share of the fitted images."""


class FittedPriorFacts(Document):
    """The origin of a prior, and its quality on other images. Its file is internal to the server."""

    components: Annotated[Size, Field(examples=[16])]
    """Gaussians of the mixture."""
    labels: list[LabelPrior]
    """One mixture for the images of each label."""
    protocol: Annotated[str, Field(examples=["all 58,000 images of mnist train, seed 0"])]
    """Its data and protocol."""
    metrics: list[Metric]
    """Figures on images that it was not fitted to."""


class LearnedPriorFacts(Document):
    """The density over z that the version was trained with. Its files are internal to the server."""

    components: Annotated[Size, Field(examples=[120])]
    """Gaussians of its mixture."""
    labels: list[LabelPrior]
    """The Gaussians of each label; empty if the prior has no labels."""
    protocol: Annotated[str, Field(examples=["learned with encoder and decoder by the bound itself"])]
    """Its parts and its training."""


class Provenance(Document):
    """Origin of a version."""

    data: Annotated[str, Field(examples=["mnist: 58,000 images to train on"])]
    """Name and size of the training data."""
    data_fingerprint: Annotated[
        str, Field(examples=["f035de44535e00d0555e27516e803b8a8449e7b62d247ad69db05679be7c4c83"])
    ]
    """SHA-256 over the training images."""
    epochs: Annotated[Count, Field(examples=[125])]
    seed: Annotated[Count, Field(json_schema_extra={"format": "int64"}, examples=[0])]
    git_revision: Annotated[str, Field(examples=["adf9198db96471b396481149cb77e78d25807f35"])]
    """Revision of the training code."""
    created_at: Annotated[Moment, Field(examples=["2026-11-28T14:53:36+00:00"])]
    libraries: Annotated[dict[str, str], Field(examples=[{"torch": "2.13.0"}])]


class ImportedProvenance(Document):
    """Origin of a version that was made elsewhere."""

    origin: Literal["imported"]
    source: Annotated[str, Field(examples=["Optimum's folder sd-onnx"])]
    """Where it came from, in the words of the person who imported it."""
    producer: Annotated[str, Field(examples=["pytorch 2.13.0"])]
    """The exporter that the graphs name."""
    libraries: Annotated[dict[str, str], Field(examples=[{"onnxruntime": "1.31.0"}])]
    encoder_sha256: str
    """Of the imported file; `none` without an encoder."""
    decoder_sha256: str
    created_at: Annotated[Moment, Field(examples=["2026-11-28T14:53:36+00:00"])]


class UnknownLikelihood(Document):
    """p(x|z) is not known."""

    name: Literal["unknown"]


class BernoulliLikelihood(Document):
    """p(x|z) is a Bernoulli of each pixel."""

    name: Literal["bernoulli"]


class GaussianLikelihood(Document):
    """p(x|z) is N(x_hat, sigma² I)."""

    name: Literal["gaussian"]
    sigma: Annotated[float, Field(examples=[0.25])]
    """Standard deviation of a pixel, in units of the pixel range."""
    learned: bool
    """Whether sigma was fitted with the weights."""


class ModelFacts(ModelSummary):
    """The summary, and the other parts of the manifest that are useful to a client."""

    image_range: Annotated[list[float], Field(examples=[[0.0, 1.0]])]
    """Smallest and largest pixel value in requests and responses; empty if the values are no pixels."""
    preprocessing: Preprocessing
    """The conversion of an image file into an image of this model."""
    likelihood: BernoulliLikelihood | GaussianLikelihood | UnknownLikelihood
    metrics: list[Metric]
    fitted_prior: FittedPriorFacts | None
    """Mixtures of Gaussians, fitted after training."""
    learned_prior: Annotated[LearnedPriorFacts | None, Field(exclude_if=_is_none)] = None
    """The prior of training, where it is not N(0, I). A version without one has no such key."""
    licence: Annotated[str, Field(examples=["MIT"])]
    """SPDX expression for the weights."""
    provenance: Provenance | ImportedProvenance


MODELS: Final = Resource(
    path="/models",
    operation_id="list_models",
    tag="model",
    summary="The loaded versions, and those that failed to load",
    description="Every loaded version with its aliases, and every refused version with the reason.",
    answer={JSON: ModelList},
    problems=("invalid-parameter", "form-not-available"),
)

MODEL: Final = Resource(
    path="/models/{name}",
    operation_id="get_model",
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
                default=app_state.registry.default,
                models=[ModelSummary(**_summary(model)) for model in app_state.registry.loaded()],
                splits=[_split(split) for split in app_state.registry.splits()],
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


def _split(split: Split) -> SplitAlias:
    own = Share(model=split.own, percent=round(100.0 - split.percent, 6))
    return SplitAlias(alias=split.alias, versions=[own, Share(model=split.canary, percent=split.percent)])


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
        "latent_shape": None if manifest.latent is None else list(manifest.latent_shape),
        "priors": [prior.name for prior in manifest.priors],
        "labels": list(model.labels),
        "description": manifest.description,
        "preview": model.preview is not None,
        "imported": _imported(manifest) if manifest.is_imported else None,
        "precision": None if model.precision == "float32" else model.precision,
    }


def _imported(manifest: Manifest) -> ImportedFacts:
    latent, sizes = manifest.latent, manifest.image.sizes
    graphs: list[Literal["encoder", "decoder"]] = []
    if manifest.encoder is not None:
        graphs.append("encoder")
    if manifest.decoder is not None:
        graphs.append("decoder")
    return ImportedFacts(
        graphs=graphs,
        latent_shape=list(manifest.latent_shape),
        sizes=None if sizes is None else ImageSizes.model_validate(sizes),
        graph_range=None if manifest.image.range is None else list(manifest.image.range),
        scaling_factor=latent.scaling_factor if latent else None,
        shift_factor=latent.shift_factor if latent else None,
        latent_mean=list(latent.mean) if latent and latent.mean else None,
        latent_std=list(latent.std) if latent and latent.std else None,
    )


def _facts(model: LoadedModel) -> ModelFacts:
    manifest = model.manifest
    how = manifest.image.preprocessing
    return ModelFacts(
        **_summary(model),
        image_range=[] if manifest.image.range is None else [0.0, 1.0],
        preprocessing=Preprocessing(
            fit=usual_fit(how) or how.fit,
            ground=how.ground,
            levels=how.levels,
        ),
        likelihood=_likelihood(manifest.likelihood),
        metrics=[Metric.model_validate(metric) for metric in manifest.metrics],
        fitted_prior=_fitted_prior(manifest.fitted_prior),
        learned_prior=_learned_prior(manifest.learned_prior),
        licence=manifest.licence,
        provenance=(ImportedProvenance if manifest.is_imported else Provenance).model_validate(
            manifest.provenance
        ),
    )


def _likelihood(stated: Likelihood) -> BernoulliLikelihood | GaussianLikelihood | UnknownLikelihood:
    if stated.name == "gaussian":
        return GaussianLikelihood.model_validate(stated)
    if stated.name == "unknown":
        return UnknownLikelihood.model_validate(stated)
    return BernoulliLikelihood.model_validate(stated)


def _fitted_prior(fitted: FittedPrior | None) -> FittedPriorFacts | None:
    return None if fitted is None else FittedPriorFacts.model_validate(fitted)


def _learned_prior(learned: LearnedPrior | None) -> LearnedPriorFacts | None:
    return None if learned is None else LearnedPriorFacts.model_validate(learned)
