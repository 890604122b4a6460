"""Long responses in parts: a part of the latents is decoded while the previous part is sent.

Knows latents, parts and deadlines. Knows nothing of the origin of latents, of queues or of HTTP. Times are
seconds on the monotonic clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, PendingRun, RunGraph, as_images
from service.engine.runtime.call import Call

#: Most images in one part of a long response: 200 kB of 28 × 28 floats.
PART_ROWS = 64
#: Most values of the images in one part, 4 MB, but in any case one image.
_PART_VALUES = 1_048_576
#: Parts of one response that are computed ahead of the part that is being sent.
_PARTS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """A long response, a part at a time: `part_rows` images each, the last one fewer."""

    count: int
    """Images in all parts together."""
    seed: int | None
    temperature: float | None
    images: AsyncGenerator[Float32Array]
    prior: str | None = None
    """As in `Samples`; None if nothing was drawn."""
    label: str | None = None


def part_rows(model: EncoderDecoder) -> int:
    """Images in one part: 64, or fewer large ones."""
    return max(1, min(PART_ROWS, _PART_VALUES // model.values_per_row))


def part_sizes(model: EncoderDecoder, count: int) -> Iterator[tuple[int, int]]:
    """(first, size) of each part of `count` images."""
    most = part_rows(model)
    return ((first, min(most, count - first)) for first in range(0, count, most))


async def decode_ahead(
    model: EncoderDecoder,
    latents: Iterator[Float32Array],
    *,
    call: Call,
    part_limit_s: float | None,
    run: RunGraph | None = None,
) -> AsyncGenerator[Float32Array]:
    """Decode parts in their order, a few of them ahead of the reader.

    Args:
        model: The version to run.
        latents: The z of each part, valid, computed when its turn is near.
        call: Deadline and connection of the request.
        part_limit_s: As of `run_ahead`.
        run: Runs the latents, with x_hat as its first output; left out, the decoder.

    Yields:
        The images of each part.
    """
    runs = run_ahead(run or model.run_decoder, latents, call=call, part_limit_s=part_limit_s)
    async with aclosing(runs) as parts:
        async for x_hat, *_ in parts:
            yield as_images(model, x_hat)


async def run_ahead(
    run: RunGraph,
    latents: Iterator[Float32Array],
    *,
    call: Call,
    part_limit_s: float | None,
    ahead: int = _PARTS_AHEAD,
) -> AsyncGenerator[tuple[Float32Array, ...]]:
    """Run parts in their order, a few of them ahead of the reader.

    Args:
        run: Runs one part.
        latents: The rows of each part, valid, computed when its turn is near.
        call: Deadline and connection of the request.
        part_limit_s: Seconds that each part after the first may take, from when it is submitted; None keeps
            the deadline of `call` for all parts.
        ahead: Parts that wait or run at the same time.

    Yields:
        The outputs of each part.
    """
    pending: deque[PendingRun] = deque()
    part_call = call
    try:
        while True:
            while len(pending) < ahead and (rows := next(latents, None)) is not None:
                pending.append(run(rows, part_call))
                if part_limit_s is not None:
                    part_call = call.with_deadline(deadline_s=time.monotonic() + part_limit_s)
            if not pending:
                return
            yield await pending.popleft()
    finally:
        for each in pending:  # the reader has disconnected: drop these when their turn comes
            each.cancel()
