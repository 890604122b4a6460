"""nearest: a search that may need several requests, put together again.

Knows the API and limits. Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vae_client import arrays
from vae_client.context import Context
from vae_client.images_in import ArrayBatch, Batch, ImagesLike
from vae_client.operations import (
    Fit,
    Invert,
    LatentsLike,
    latents_in,
    rows_of_latents,
    whole,
)
from vae_client.results import Neighbours, Timing
from vae_client.server_limits import fitting, known_limit, rows_in_one
from vae_client.wire import NPY, NPZ, Body, Call, Plan


@dataclass(frozen=True)
class _Part:
    """Queries that fit into one request."""

    z: NDArray[np.float32] | None
    batch: Batch | None

    def __len__(self) -> int:
        return len(self.batch) if self.z is None and self.batch is not None else len(self.z)  # type: ignore[arg-type]

    def body(self, stored: NDArray[np.float32]) -> Body:
        if self.z is not None:
            return Body(arrays.to_npz(z=self.z, latents=stored), NPZ)
        if isinstance(self.batch, ArrayBatch):
            return Body(arrays.to_npz(images=self.batch.array, latents=stored), NPZ)
        assert self.batch is not None
        latents = ("latents", ("latents.npy", arrays.to_npy(stored), NPY))
        return Body(files=[*self.batch.files(), latents])


def nearest(
    context: Context,
    query: ImagesLike | LatentsLike,
    among: LatentsLike,
    *,
    k: int,
    distance: Literal["euclidean", "mahalanobis"] | None,
    fit: Fit | None,
    invert: Invert | None,
    resize: bool | None,
) -> Plan[Neighbours]:
    """The `k` nearest of stored latents, of each image or latent.

    The server measures every distance by itself, so the nearest of all are among the nearest of each part.
    """
    k = whole("k", k)
    stored = yield from rows_of_latents(context, among)
    latents = latents_in(query)
    among_latents = latents_in(among)
    expected = context.expect_version([latents, among if among_latents is None else among_latents])
    most_stored = len(stored)
    if most_stored > 1:
        half = (yield from known_limit(context, "max_body_bytes")) // 2 - 1_000
        most_stored = min(
            (yield from known_limit(context, "max_stored_latents")), max(1, half // stored[:1].nbytes)
        )
    parts: list[_Part] = []
    scaling = {"fit": fit, "invert": invert, "resize": resize}
    if latents is None:
        parts = [_Part(None, batch) for batch in (yield from fitting(context, query, scaling, share=2))]
    else:
        z = yield from rows_of_latents(context, latents)
        most = 1 if len(z) == 1 else (yield from rows_in_one(context, z.shape[1:], is_latent=True))
        parts = [_Part(z[first : first + most], None) for first in range(0, len(z), most)]
    version: str | None = None
    timing: Timing | None = None
    request_id: str | None = None
    found: list[tuple[NDArray[Any], NDArray[Any]]] = []
    first = 0
    for part in parts:
        near: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for start, chunk in _chunks(stored, most_stored):
            # The server refuses a k above all rows, and a chunk alone may have fewer.
            wanted = k if most_stored >= len(stored) or k > len(stored) else min(k, len(chunk))
            parameters = context.query(version, k=wanted, distance=distance, **scaling)
            answer = yield Call("POST", "/nearest.npz", parameters, part.body(chunk), first, expected)
            version = context.note(answer)
            read = answer.npz()
            near.append((read["indices"] + start, read["distances"]))
            timing = answer.timing if timing is None else timing + answer.timing
            request_id = answer.request_id
        found.append(_best(near, k))
        first += len(part)
    assert version is not None
    assert timing is not None
    return Neighbours(
        model=version,
        timing=timing,
        request_id=request_id,
        indices=np.concatenate([indices for indices, _ in found]),
        distances=np.concatenate([distances for _, distances in found]),
    )


def _chunks(stored: NDArray[np.float32], most: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    return ((start, stored[start : start + most]) for start in range(0, len(stored), most))


def _best(near: list[tuple[NDArray[Any], NDArray[Any]]], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The `k` nearest of the nearest of each chunk; of equally distant ones the lower index comes first."""
    if len(near) == 1:
        return near[0]
    indices = np.concatenate([each for each, _ in near], axis=1)
    distances = np.concatenate([each for _, each in near], axis=1)
    # Chunks are in the order of the rows, and a stable sort keeps it.
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)
