"""One request to an operation, from the view of its handler.

Knows parameters, arrays and the model. Knows nothing of HTTP: the skeleton in `endpoint` has read and checked
everything, and writes the handler's result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.api.parameters import Drawing, ModelChoice
from service.codecs.images import MAX_SIDE_PIXELS, plan_sheet
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

#: Formats with a bound on pixels.
_DRAWN: Final = frozenset({Format.PNG, Format.JPEG, Format.WEBP})
#: Values of images whose picture is planned before a model runs for them.
_LARGE_VALUES: Final = 1_048_576


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

    @property
    def most_images(self) -> int:
        """Most images of a whole response in this format: fewer large ones, and fewer of these in JSON."""
        most = self.model.max_batch
        if self.format is Format.JSON:
            return min(most, self.limits.max_json_values // self.model.queued.values_per_row)
        return most

    @property
    def most_streamed(self) -> int:
        """Most images of a response that is sent part by part."""
        most_values = self.limits.max_stream_values // self.model.queued.values_per_row
        return min(self.limits.max_stream_images, max(1, most_values))

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
            PictureTooLarge: The picture of a few large images.
        """
        if images <= self.most_images:
            self._refuse_large_picture(images)
            return False
        if self.format is not Format.NPY:
            raise self._too_many(images, "Request .npy, which is sent part by part, or fewer at a time.")
        return True

    def refuse_too_many(self, images: int) -> None:
        """Refuse a whole response that its format cannot hold, before a model runs for it.

        Args:
            images: Images of the response. The engine refuses more than the model accepts.

        Raises:
            ProblemError: `invalid-parameter`: JSON would have too many numbers.
            PictureTooLarge: The picture of a few large images.
        """
        if self.most_images < images <= self.model.max_batch:
            raise self._too_many(images, "Request .npy, or fewer at a time.")
        self._refuse_large_picture(images)

    def _too_many(self, images: int, remedy: str) -> ProblemError:
        expected = f"at most {self.most_images} in this form"
        if not self.most_images:
            values = self.model.queued.values_per_row
            expected = f"another form, because an image has {values} values and JSON may have "
            expected += str(self.limits.max_json_values)
        return ProblemError.of_item(
            "invalid-parameter", Item("images of the answer", expected, str(images), remedy)
        )

    def _refuse_large_picture(self, images: int) -> None:
        """Refuse now, because large images take long; small ones are drawn, and then refused."""
        if self.format not in _DRAWN or images * self.model.queued.values_per_row < _LARGE_VALUES:
            return
        asked = self.parameters
        assert isinstance(asked, Drawing), "operations with these formats have it"
        shape = self.model.image_shape
        plan_sheet(
            (images, *shape),
            scale=asked.scale,
            columns=asked.columns or self.columns,
            max_pixels=self.limits.most_drawn(shape),
            max_side=None if self.format is Format.PNG else MAX_SIDE_PIXELS,
        )


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
