"""/models/{name}/preview: the posterior means of some real images, for a map of the latent space.

Knows the preview of a loaded version. Knows nothing of its making, or of encoders: no model runs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store import Preview
from model_store.npz import pack_arrays
from service.api.parameters import NoParameters
from service.api.resource import JSON, Resource, named_model
from service.api.responses import document_response, make_not_modified, reuse_of
from service.api.routing import route
from service.app_state import AppState
from service.codecs.images import encode_png
from service.engine import LoadedModel
from service.http.caching import computed_etag, tag_in_hand, vary_by
from service.http.document import Document, json_bytes
from service.http.headers import first_header, joined_header
from service.http.negotiation import Format, choose_format
from service.http.parameters import read_query
from service.http.problems import ProblemError
from service.observability.request_trace import current_trace

_PATH: Final = "/models/{name}/preview"
#: Thumbnails in a row of the PNG.
COLUMNS: Final = 25
#: Bodies in memory: 8 MiB at most.
_MOST_KEPT: Final = 8
_LARGEST_KEPT_BYTES: Final = 1 << 20
_CHANNELS_OF_PICTURES: Final = (1, 3)

Row = list[Annotated[float, Field(examples=[0.5])]]


class PreviewAnswer(Document):
    """The posterior means of some images of the data, in the order of the thumbnails."""

    model: Annotated[str, Field(examples=["mnist@6"])]
    """Label of the version."""
    protocol: Annotated[str, Field(examples=["500 of 10,000 images of mnist test, as many of each label"])]
    """Choice of the images, and the images whose KL was averaged."""
    thumbnail: Annotated[list[Annotated[int, Field(ge=1)]], Field(examples=[[1, 28, 28]])]
    """(channels, height, width) of a thumbnail in the npz and the PNG."""
    labels: Annotated[list[str] | None, Field(examples=[["7"]])]
    """Label of each image; null if they have none."""
    kl: Annotated[Row | None, Field(examples=[[2.8, 0.9]])]
    """Mean KL of each latent dimension in nats: how much it describes; null for an autoencoder."""
    mu: Annotated[list[Row], Field(examples=[[[0.5, -1.25]]])]
    """(N, latent): posterior mean of each image, to three decimals."""
    logvar: Annotated[list[Row] | None, Field(examples=[[[-3.1, -2.4]]])]
    """(N, latent): log variance of each image, to three decimals; null for an autoencoder."""


def _file(description: str, media_type: str) -> dict[str, Any]:
    return {
        "type": "string",
        "format": "binary",
        "contentMediaType": media_type,
        "description": description,
    }


def _resource(suffix: str, answer: Mapping[str, Any], *, summary: str, description: str) -> Resource:
    return Resource(
        path=_PATH + suffix,
        operation_id=f"get_preview{suffix.replace('.', '_')}",
        tag="model",
        summary=summary,
        description=description,
        answer=answer,
        problems=(
            *("invalid-parameter", "unknown-model", "no-preview", "model-unavailable"),
            *(() if suffix else ("form-not-available",)),
        ),
        parameters=(named_model("`name`, `name@version` or `name@alias`."),),
        headers=("X-Model", "ETag"),
    )


PREVIEW: Final = _resource(
    "",
    {JSON: PreviewAnswer},
    summary="Posterior means of some real images",
    description=(
        "Up to 500 test images as points of the latent space, by label, and the mean KL of each dimension: "
        "for a map. GET /models lists the versions that have a preview. `.npz` has the images as well, and "
        "`.png` is a sheet of them."
    ),
)
PREVIEW_NPZ: Final = _resource(
    ".npz",
    {
        Format.NPZ.media_type: _file(
            "`mu`, `logvar` float32 (N, latent), `kl` float32 (latent), `labels` as text (N), `thumbnails` "
            "uint8 (N, C, h, w) and `model`, as numpy.savez_compressed writes them.",
            Format.NPZ.media_type,
        )
    },
    summary="Posterior means of some real images, as npz",
    description="The arrays of the preview, and the images as `thumbnails`.",
)
PREVIEW_PNG: Final = _resource(
    ".png",
    {Format.PNG.media_type: _file("A contact sheet, row by row.", Format.PNG.media_type)},
    summary="The images of the preview, as PNG",
    description=f"The thumbnails, {COLUMNS} in a row, in the order of `mu`, with a pixel around each.",
)


class PreviewRoutes:
    """The previews of the loaded versions."""

    resources = (PREVIEW, PREVIEW_NPZ, PREVIEW_PNG)

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state
        #: By label and ETag. Packing an npz costs ten times what sending it does, and each page wants one.
        self._bodies: dict[tuple[str, bytes], bytes] = {}

    def routes(self) -> list[Route]:
        """The path, and the same with a suffix."""
        return route(_PATH, self.preview, suffixes=True)

    async def preview(self, request: Request) -> Response:
        """The preview of one version."""
        read_query(request.scope["query_string"], NoParameters, self._app_state.limits)
        asked = request.path_params
        # A suffix that no model can have is refused before one is loaded.
        self._chosen(request, tuple(_WRITERS))
        trace, registry = current_trace(), self._app_state.registry
        model = await self._app_state.pool.run(registry.get, asked["name"], trace.routing_key)
        trace.model = model.label
        preview = model.preview
        if preview is None:
            raise ProblemError(
                "no-preview", f"{model.label} was published without a preview, so its images are not known."
            )
        forms = tuple(_WRITERS) if preview.thumbnails.shape[1] in _CHANNELS_OF_PICTURES else _WITHOUT_PICTURES
        chosen = self._chosen(request, forms)
        etag = computed_etag(_PATH.encode(), model.manifest.manifest_sha256.encode(), chosen.suffix.encode())
        in_hand = tag_in_hand(joined_header(request.scope, b"if-none-match"), etag)
        headers = {"ETag": (in_hand or etag).decode("latin-1")}
        if "suffix" not in asked:
            headers["Vary"] = "Accept"
        key = (model.label, etag)
        body = b"" if in_hand else self._bodies.get(key)
        if body is None:
            body = await self._app_state.pool.run(_WRITERS[chosen], model, preview)
            self._keep(key, body)
        response = document_response(
            body,
            chosen.content_type,
            reuse=reuse_of(asked["name"]),
            by_key=self._app_state.access.keys_required
            or first_header(request.scope, b"authorization") is not None,
            headers=headers,
        )
        if registry.is_split(asked["name"]):
            vary_by(response.raw_headers, b"X-Canary-Key")
        if in_hand:
            make_not_modified(response)
        return response

    def _keep(self, key: tuple[str, bytes], body: bytes) -> None:
        if len(body) > _LARGEST_KEPT_BYTES:
            return
        self._bodies[key] = body
        if len(self._bodies) > _MOST_KEPT:
            del self._bodies[next(iter(self._bodies))]

    def _chosen(self, request: Request, forms: tuple[Format, ...]) -> Format:
        return choose_format(
            suffix=request.path_params.get("suffix"),
            accept=joined_header(request.scope, b"accept"),
            forms=forms,
        )


def _json(model: LoadedModel, preview: Preview) -> bytes:
    spec = model.manifest.preview
    assert spec is not None
    labels = _label_of_each(model, preview)
    return json_bytes(
        {
            "model": model.label,
            "protocol": spec.protocol,
            "thumbnail": list(spec.thumbnail),
            "labels": None if labels is None else labels.tolist(),
            "kl": preview.kl,
            "mu": preview.mu,
            "logvar": preview.logvar,
        }
    )


def _npz(model: LoadedModel, preview: Preview) -> bytes:
    labels = _label_of_each(model, preview)
    arrays = {**preview.arrays, "model": np.asarray(model.label)}
    return pack_arrays(arrays if labels is None else {**arrays, "labels": labels})


def _png(_: LoadedModel, preview: Preview) -> bytes:
    return encode_png(preview.thumbnails.astype(np.float32) / np.float32(255), columns=COLUMNS)


def _label_of_each(model: LoadedModel, preview: Preview) -> NDArray[np.str_] | None:
    spec = model.manifest.preview
    if preview.labels is None or spec is None:
        return None
    return np.asarray(spec.labels)[preview.labels]


_WRITERS: Final = {Format.JSON: _json, Format.NPZ: _npz, Format.PNG: _png}
_WITHOUT_PICTURES: Final = (Format.JSON, Format.NPZ)
