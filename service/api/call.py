"""One request to an operation, from the view of its handler.

Knows parameters, arrays and the model. Knows nothing of HTTP: the skeleton in `endpoint` has read and checked
everything, and writes the handler's result.
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
    """The input of a handler."""

    parameters: Q
    """Parameters of the query and of the body together; None for missing ones."""
    arrays: Mapping[str, Floats]
    """By name: `images` float32 (N, C, H, W) in [0, 1], `z` float32 (N, latent)."""
    model: LoadedModel
    format: Format
    engine_call: EngineCall
    """Deadline and connection of the request, for every operation of the engine."""
    pool: WorkPool
    limits: Limits
    part_limit_s: float
    """Maximum time of each part of a streamed response after the first."""
    trace: Trace
    columns: int | None = None
    """Images per row of a PNG or text, if the client does not choose."""

    @property
    def engine_model(self) -> EncoderDecoder:
        """The model as an argument for operations of the engine."""
        return self.model.queued

    def counts(self, images: int) -> None:
        """Record the number of images for logs and metrics; by default it is the length of the array."""
        self.trace.images = images

    async def compute(self, function: Callable[[], R], *, is_quick: bool = False) -> R:
        """Runs a computation that needs no model; in a thread, unless it is quick.

        Args:
            function: The computation. Its time is part of the phase `run`.
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
        """Whether a response with so many images is sent part by part, which only npy supports.

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
                    "Request .npy, which is sent part by part, or fewer at a time.",
                ),
            )
        return True


@dataclass(frozen=True, slots=True)
class Outline:
    """The facts of a response before any model runs: the response to HEAD."""

    images: int
    seed: int | None = None
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Facts that are headers."""
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Values for parameters that the request may have left out: with them, requests that mean the same are
    equal."""
