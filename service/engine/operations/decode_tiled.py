"""decode, for an image that is too large for one run: window after window, and the cores put together.

Knows a grid, latents and runs of the decoder. Knows nothing of the choice of a grid, of queues or HTTP.

    z (c, h, w) ──windows──▶ decoder ──cores──▶ x_hat (C, h f, w f)

Each window is a call of its own in the queue, so it waits its turn, and none runs for a caller that left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, check_finite
from service.engine.operations.parts import run_ahead
from service.engine.operations.tile_grid import Axis, Span, TileGrid
from service.engine.operations.validation import validate_latents
from service.engine.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a latent is decoded in windows."""

    model: EncoderDecoder
    """Of the size of a window."""
    grid: TileGrid
    latent_shape: tuple[int, int, int]
    """Of the whole."""
    image_shape: tuple[int, int, int]
    at_once: int
    """Windows of one image that may be in memory together."""
    is_exact: bool
    """Whether the decoder reaches no farther than the halo. If not, neighbours are blended."""


async def decode_tiled(
    tiles: Tiles, z: Float32Array, *, max_batch: int, call: Call | None = None
) -> Float32Array:
    """The decoder's own output for each latent, which may leave [0, 1].

    Exact tiles give the values of one run within 1e-5 of the range of pixels.

    Args:
        tiles: The windows.
        z: Latents, float32 (1 … max_batch, latent), flat, finite and within ±`LATENT_BOUND`.
        max_batch: Maximum number of rows.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: `z` is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run, or the deadline came before all windows were.
    """
    model, call = tiles.model, call or Call()
    z = validate_latents(
        z, size=math.prod(tiles.latent_shape), max_batch=max_batch, model=model.label
    ).reshape(len(z), *tiles.latent_shape)
    places = [(row, *place) for row in range(len(z)) for place in _places(tiles.grid)]
    model.check_decoding_time(len(places), call)
    factor = tiles.image_shape[1] // tiles.latent_shape[1]
    ramps = None if tiles.is_exact else (_ramps(tiles.grid.rows, factor), _ramps(tiles.grid.columns, factor))
    runs = run_ahead(
        model.run_decoder,
        (_window(z[row], down, right, tiles.grid) for row, (_, down), (_, right) in places),
        call=call,
        part_limit_s=None,
        ahead=tiles.at_once,
    )
    whole: Float32Array | None = None
    async with aclosing(runs) as outputs:
        at = iter(places)
        async for (x_hat,) in outputs:
            check_finite(model, model.decoder_file, x_hat)
            if whole is None:  # while it waits for its first turn, it takes no memory
                whole = np.zeros((len(z), *tiles.image_shape), np.float32)
            row, (i, down), (j, right) = next(at)
            if ramps is None:
                _place(whole[row], x_hat[0], down, right, factor)
            else:
                weights = ramps[0][i][:, np.newaxis] * ramps[1][j]
                top, left = down.start * factor, right.start * factor
                height, width = x_hat.shape[2:]
                whole[row, :, top : top + height, left : left + width] += x_hat[0] * weights
    assert whole is not None, "a grid has a window"
    return whole


_Place = tuple[tuple[int, Span], tuple[int, Span]]


def _places(grid: TileGrid) -> Iterator[_Place]:
    """Index and span along both axes, row by row."""
    for down in enumerate(grid.rows.spans):
        for right in enumerate(grid.columns.spans):
            yield down, right


def _window(z: Float32Array, down: Span, right: Span, grid: TileGrid) -> Float32Array:
    part = z[
        :,
        down.start : down.start + grid.rows.window,
        right.start : right.start + grid.columns.window,
    ]
    return np.ascontiguousarray(part).reshape(1, -1)


def _place(whole: Float32Array, x_hat: Float32Array, down: Span, right: Span, factor: int) -> None:
    """Copy the core of a window."""
    (top, bottom, y), (left, right_end, x) = (
        (span.first * factor, span.last * factor, (span.first - span.start) * factor)
        for span in (down, right)
    )
    whole[:, top:bottom, left:right_end] = x_hat[:, y : y + bottom - top, x : x + right_end - left]


def _ramps(axis: Axis, factor: int) -> list[Float32Array]:
    """The weight of each pixel of each window along an axis: a ramp where windows overlap, 1 in sum."""
    length = axis.spans[-1].last * factor
    window = axis.window * factor
    total = np.zeros(length, np.float64)
    found = []
    for span in axis.spans:
        distance = np.minimum(np.arange(1, window + 1), np.arange(window, 0, -1)).astype(np.float64)
        start = span.start * factor
        if start == 0:
            distance[: window // 2] = window
        if start + window == length:
            distance[window // 2 :] = window
        total[start : start + window] += distance
        found.append((start, distance))
    return [np.asarray(each / total[start : start + window], np.float32) for start, each in found]
