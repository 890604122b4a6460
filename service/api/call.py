"""One request to an operation, as its handler sees it.

Knows parameters, arrays and the model that answers. Knows nothing of HTTP: the skeleton in `endpoint` has
read and checked everything, and writes what the handler returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.api.parameters import ModelChoice
from service.engine import Call as EngineCall
from service.engine import CallerDisconnected, DeadlineExceeded, EncoderDecoder, LoadedModel
from service.http.negotiation import Format
from service.http.parameters import Limits
from service.http.problems import Item, ProblemError
from service.observability.request_trace import Trace
from service.thread_pool import WorkPool

Q = TypeVar("Q", bound=ModelChoice)
R = TypeVar("R")
Floats = NDArray[np.float32]


@dataclass(slots=True)
class Call(Generic[Q]):
    """What a handler works with."""

    parameters: Q
    """Those of the query and of the body together; None where neither has it."""
    arrays: Mapping[str, Floats]
    """By name: `images` float32 (N, C, H, W) in [0, 1], `z` float32 (N, latent)."""
    model: LoadedModel
    format: Format
    engine_call: EngineCall
    """Deadline and connection of the request, for every operation of the engine."""
    pool: WorkPool
    limits: Limits
    part_limit_s: float
    """Each part of a streamed answer after the first has so long."""
    trace: Trace
    columns: int | None = None
    """Images per row of a picture, where the client does not say."""

    @property
    def engine_model(self) -> EncoderDecoder:
        """The model as an operation of the engine takes it."""
        return self.model.queued

    def counts(self, images: int) -> None:
        """States how many images the answer has, for logs and metrics; left out, as many as the array."""
        self.trace.images = images

    async def compute(self, function: Callable[[], R], *, is_quick: bool = False) -> R:
        """Runs a computation that needs no model; in a thread, unless it is quick.

        Args:
            function: What is computed. Its time is part of the phase `run`.
            is_quick: Whether it takes less than about half a millisecond.

        Raises:
            DeadlineExceeded: The deadline of the request came before its turn.
            CallerDisconnected: The client left before.
        """

        def while_wanted() -> R:
            engine_call = self.engine_call
            if engine_call.is_disconnected():
                raise CallerDisconnected
            if time.monotonic() > engine_call.deadline_s:
                raise DeadlineExceeded
            begun = time.perf_counter()
            try:
                return function()
            finally:
                engine_call.run_s += time.perf_counter() - begun

        return while_wanted() if is_quick else await self.pool.run(while_wanted)

    def is_long(self, images: int) -> bool:
        """Whether an answer of so many images is sent part by part, which npy is.

        Raises:
            ProblemError: `invalid-parameter`: it would be, and the format is another one.
        """
        most = self.limits.max_images
        if images <= most:
            return False
        if self.format is not Format.NPY:
            raise ProblemError.of_item(
                "invalid-parameter",
                Item(
                    "images of the answer",
                    f"at most {most} in this form",
                    str(images),
                    "Ask for .npy, which is sent part by part, or for fewer at a time.",
                ),
            )
        return True


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of an answer before any model runs: what HEAD answers."""

    images: int
    seed: int | None = None
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Those that are headers."""
