"""nearest: the stored latents that lie nearest to images or latents.

Knows two distances, and how ties are broken. Knows nothing of queues, threads or HTTP, nor of who stored the
latents.

    x ──encoder──▶ mu, logvar ─┐
    z ─────────────────────────┴─▶ the distance to every stored latent ──▶ the k smallest of each row

After the encoder every number is float64: float32 sums over latent dimensions change which of two latents at
almost the same distance is nearer (test_nearest).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import InferenceFailed, InvalidParameter
from service.engine.operations.arrays import Float32Array, Float64Array
from service.engine.operations.encode import encode
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.operations.validation import validate_latents, validate_word
from service.engine.runtime.call import Call

Distance = Literal["euclidean", "mahalanobis"]
DISTANCES: Final[tuple[Distance, ...]] = get_args(Distance)
#: Most stored latents of one search.
MAX_STORED_LATENTS: Final = 16_384
#: Distances that are held at a time: 4 MB of float64.
_DISTANCES_AT_A_TIME: Final = 524_288


@dataclass(frozen=True, slots=True)
class Queries:
    """The points that neighbours are searched of, float64 (N, latent)."""

    points: Float64Array
    precisions: Float64Array | None
    """1/σ² of each dimension, for the Mahalanobis distance."""
    model: EncoderDecoder

    def work(self, stored: int) -> int:
        """Differences that a search among so many latents computes."""
        return self.points.size * stored


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest latents of each query, the nearest first."""

    indices: NDArray[np.int64]
    """Rows of the stored latents, (N, k)."""
    distances: Float64Array
    """(N, k), in the units of z; Mahalanobis distances in standard deviations of the posterior."""


async def nearest_queries(
    model: EncoderDecoder,
    *,
    x: Float32Array | None = None,
    z: Float32Array | None = None,
    latents: Float32Array,
    k: int,
    distance: Distance,
    call: Call | None = None,
) -> Queries:
    """The queries of `nearest`: mu of images, or latents. Rejects everything invalid.

    Args:
        model: The version to run.
        x: Images, float32 (1 … max_batch, C, H, W) in [0, 1]; or
        z: latents, float32 (1 … max_batch, latent), finite and within ±`LATENT_BOUND`.
        latents: Stored latents, float32 (M, latent), M at most `MAX_STORED_LATENTS`, within the same bound.
        k: Neighbours of each, 1 … M.
        distance: `mahalanobis` measures in standard deviations of the posterior of each image, which a
            latent and the images of an autoencoder do not have.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: An array or a parameter is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    assert (x is None) != (z is None), "images or latents"
    validate_word(distance, where="distance", words=DISTANCES)
    if distance == "mahalanobis":
        _refuse_without_variance(model, is_latent=z is not None)
    validate_latents(
        latents, size=model.latent_size, max_batch=MAX_STORED_LATENTS, model=model.label, where="latents"
    )
    if not 1 <= k <= len(latents):
        raise InvalidParameter(
            "k",
            f"an integer from 1 to {len(latents)}, which is how many latents came",
            str(k),
            "Ask for fewer, or send more latents.",
        )
    if z is not None:
        z = validate_latents(z, size=model.latent_size, max_batch=model.max_batch, model=model.label)
        return Queries(z.astype(np.float64), None, model)
    assert x is not None
    posterior = await encode(model, x, call=call)
    precisions = None
    if distance == "mahalanobis":
        with np.errstate(over="ignore"):
            precisions = np.exp(-posterior.logvar.astype(np.float64))
    return Queries(posterior.mu.astype(np.float64), precisions, model)


def nearest(queries: Queries, latents: Float32Array, *, k: int) -> Neighbours:
    """The `k` latents nearest to each query; of equally distant ones, the one with the lower index.

    The square of the Mahalanobis distance to N(mu, diag(σ²)) is Σ_d (latent_d - mu_d)² / σ_d².

    Args:
        queries: As `nearest_queries` made them.
        latents: The same as there.
        k: The same as there.

    Raises:
        InferenceFailed: A posterior is so narrow that its distances are infinite.
    """
    columns = latents.T.astype(np.float64)
    count = len(queries.points)
    found = Neighbours(np.empty((count, k), np.int64), np.empty((count, k)))
    at_a_time = max(1, _DISTANCES_AT_A_TIME // len(latents))
    for first in range(0, count, at_a_time):
        rows = slice(first, first + at_a_time)
        squares = _squared_distances(queries, rows, columns)
        if not np.isfinite(squares).all():
            raise InferenceFailed(
                f"{queries.model.label}: {queries.model.encoder_file}: expected a posterior of a measurable "
                "width, got one that makes distances infinite. Use another version of the model; the "
                "operator should look at this one."
            )
        for row, square in enumerate(squares, start=first):
            chosen = _smallest(square, k)
            found.indices[row] = chosen
            found.distances[row] = np.sqrt(square[chosen])
    return found


def _squared_distances(queries: Queries, rows: slice, columns: Float64Array) -> Float64Array:
    """(rows, M), summed over the dimensions in their order, so that equal latents are equally distant."""
    points = queries.points[rows]
    squares = np.zeros((len(points), columns.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for dimension, stored in enumerate(columns):
            gaps = points[:, dimension, np.newaxis] - stored
            gaps *= gaps
            if queries.precisions is not None:
                gaps *= queries.precisions[rows, dimension, np.newaxis]
            squares += gaps
    return squares


def _smallest(values: Float64Array, k: int) -> NDArray[np.int64]:
    """Indices of the `k` smallest values, in the order of value and then of index."""
    largest = np.partition(values, k - 1)[k - 1]
    candidates = np.flatnonzero(values <= largest)
    return candidates[np.argsort(values[candidates], kind="stable")[:k]]


def _refuse_without_variance(model: EncoderDecoder, *, is_latent: bool) -> None:
    if is_latent:
        raise InvalidParameter(
            "distance",
            "euclidean for z, which has no variance",
            "mahalanobis",
            "Send images, which have a posterior, or leave distance out.",
        )
    if not model.has_posterior:
        raise InvalidParameter(
            "distance",
            f"euclidean for '{model.label}', which is an autoencoder",
            "mahalanobis",
            "Its images have no posterior; leave distance out.",
        )
