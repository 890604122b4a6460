"""/nearest: the stored latents that lie nearest to images or latents."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, WithJsonSchema

from service.api.answer import Answer
from service.api.call import Call
from service.api.limit import FixedLimit
from service.api.operation import Operation
from service.api.parameters import ImagesQuery
from service.api.request_arrays import IMAGES, ArrayIn, Z
from service.engine.operations.nearest import MAX_STORED_LATENTS, Distance, nearest_queries
from service.engine.operations.nearest import nearest as search
from service.http.parameters import Parameters
from service.http.request_body import BodyKind

#: Differences that are computed on the event loop: about half a millisecond of work.
_QUICK_WORK: Final = 100_000

STORED: Final = ArrayIn(
    name="latents",
    axes="(M, latent)",
    component=None,
    as_npy=f"float32 or float64 (M, latent), at most {MAX_STORED_LATENTS:,} rows, such as mu of /encode.",
    is_images=False,
    max_rows=MAX_STORED_LATENTS,
)

Indices = Annotated[
    NDArray[np.int64],
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": MAX_STORED_LATENTS - 1},
            },
        }
    ),
]
Distances = Annotated[
    NDArray[np.float64],
    WithJsonSchema({"type": "array", "items": {"type": "array", "items": {"type": "number", "minimum": 0}}}),
]


class NearestParameters(Parameters):
    """How many, and by which distance."""

    k: Annotated[int | None, Field(ge=1, le=MAX_STORED_LATENTS, examples=[3])] = None
    """Neighbours of each image or latent, at most as many as `latents` has rows. Left out: 1."""
    distance: Annotated[Distance | None, Field(examples=["euclidean"])] = None
    """`euclidean`: from mu of the image, or from z. `mahalanobis`: from mu in standard deviations of the
    image's posterior, so that a dimension in which the image is uncertain counts less; only for images, and
    not for an autoencoder, which has no posterior. Left out: `euclidean`."""


class NearestQuery(ImagesQuery, NearestParameters):
    """Query of /nearest."""


class NearestAnswer(Answer):
    """The neighbours of each image or latent, the nearest first."""

    as_npz: ClassVar[str] = "`indices` as int64 and `distances` as float64, as numpy.savez writes them."

    distance: Distance
    """The distance that was measured."""
    indices: Annotated[Indices, Field(examples=[[[0, 2]]])]
    """(N, k): rows of `latents`, counted from 0."""
    distances: Annotated[Distances, Field(examples=[[[0.0, 0.0]]])]
    """(N, k): how far each of them lies."""


NEAREST: Final = Operation(
    path="/nearest",
    summary="The stored latents nearest to images or latents",
    description="For each image, or each row of `z`, the `k` nearest of the `latents` in the same request, "
    "such as an application has stored from earlier answers of /encode. Every distance is computed, in "
    "float64. Of equally distant latents, the one with the lower index comes first. No randomness is "
    "involved. A JSON object contains `latents` and either `images` or `z`; so do an npz file, a form and a "
    "zip archive, in which images may be pictures.",
    query=NearestQuery,
    body=NearestParameters,
    answer=NearestAnswer,
    bodies=MappingProxyType(
        {
            BodyKind.JSON: "-d @search.json",
            BodyKind.FORM: "-F images=@digit.png -F latents=@latents.npy",
            BodyKind.ZIP: "--data-binary @search.zip",
            BodyKind.NPZ: "--data-binary @search.npz",
        }
    ),
    arrays=(IMAGES, Z),
    company=(STORED,),
    limits=(
        FixedLimit(
            "max_stored_latents",
            MAX_STORED_LATENTS,
            "rows",
            "latents of one /nearest",
            "refused",
            ("invalid-value",),
        ),
    ),
    example=MappingProxyType({"k": 2}),
)


@NEAREST.handler
async def nearest(call: Call[NearestQuery]) -> NearestAnswer:
    """Indices and distances of the nearest latents."""
    asked = call.parameters
    latents = call.arrays[STORED.name]
    k = 1 if asked.k is None else asked.k
    distance: Distance = asked.distance or "euclidean"
    queries = await nearest_queries(
        call.engine_model,
        x=call.arrays.get("images"),
        z=call.arrays.get("z"),
        latents=latents,
        k=k,
        distance=distance,
        call=call.engine_call,
    )
    found = await call.compute(
        lambda: search(queries, latents, k=k), is_quick=queries.work(len(latents)) <= _QUICK_WORK
    )
    return NearestAnswer(
        model=call.model.label, distance=distance, indices=found.indices, distances=found.distances
    )
