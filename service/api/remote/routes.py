"""The paths of the remote VAE and their handlers.

Knows requests, bodies and the order of the work, which is that of the native paths: the same registry, queue,
limits and traces. Errors are problems, as everywhere: a client of this protocol reads any of them as JSON.

    admit ─▶ query ─▶ model ─▶ read the body ─▶ check its bytes ─▶ run ─▶ write
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import engine
from service.api.admission import admit, requested_model
from service.api.image_size import of_images, of_picture
from service.api.picture_room import decode_in_thread
from service.api.remote.answers import decoded, tensor_response
from service.api.remote.described import DECODE, DECODE_RESOURCE, ENCODE, ENCODE_RESOURCE, TILED_HEADER
from service.api.remote.latents import for_decoder, from_encoder
from service.api.remote.query import RemoteQuery, read_remote_query
from service.api.request_images import Reading, read_picture
from service.api.resource import Resource
from service.api.routing import route
from service.app_state import AppState
from service.codecs.describe import shape_text
from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.picture_reader import stated_pixels
from service.codecs.raw_tensor import array_from_bytes, bytes_from_array
from service.engine import Call, DeadlineExceeded, LoadedModel, TileBounds, Tiles
from service.http.headers import joined_header
from service.http.problems import Item, ProblemError
from service.http.request_body import read_all
from service.observability.request_trace import Trace, current_trace
from service.thread_pool import Room

R = TypeVar("R")
#: Work on arrays of so many values runs on the event loop.
_QUICK_VALUES: Final = 20_000


class RemoteRoutes:
    """Both paths in one application."""

    resources: tuple[Resource, ...] = (DECODE_RESOURCE, ENCODE_RESOURCE)

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state
        self._limits = app_state.limits
        self._tile_bounds = TileBounds(
            run_pixels=app_state.settings.max_run_pixels, values=app_state.limits.max_values
        )
        self._tile_room = Room(2 * app_state.limits.max_values)

    def routes(self) -> list[Route]:
        """Each path, and the same path with a slash at its end, which some clients send."""
        return [
            each
            for path, handler in ((DECODE, self.decode), (ENCODE, self.encode))
            for way in (path, path + "/")
            for each in route(way, handler, methods=("POST",), is_documented=way == path)
        ]

    async def decode(self, request: Request) -> Response:
        """A picture or a tensor of latents."""
        call, trace = admit(self._app_state, request), current_trace()
        query = read_remote_query(request.scope["query_string"], is_decode=True)
        if not query.shape:
            raise _missing_shape()
        if query.dtype == "uint8":
            raise InvalidValue("dtype", "float16, bfloat16 or float32", "uint8", "Send latents as floats.")
        model = await self._model(query, trace)
        with trace.phase("read"):
            body = await read_all(request)
        with trace.phase("parse"):
            latents = array_from_bytes(body, shape=query.shape, dtype=query.dtype)
            z, plan = await self._in_thread(
                latents.size, lambda: for_decoder(latents, query, model, bounds=self._tile_bounds)
            )
        trace.images = len(z)
        try:
            images = await self._images(z, plan, call)
        finally:
            trace.ran(call)
        accept = joined_header(request.scope, b"accept")
        most = self._limits.most_drawn(images.shape[1:])
        with trace.phase("encode"):
            response = await self._in_thread(
                images.size, lambda: decoded(images, query, accept=accept, max_pixels=most)
            )
        if isinstance(plan, Tiles):
            response.headers[TILED_HEADER] = "exact" if plan.is_exact else "approximate"
        return response

    async def _images(
        self, z: NDArray[np.float32], plan: LoadedModel | Tiles, call: Call
    ) -> NDArray[np.float32]:
        """The decoder's output, in one run or in tiles."""
        if not isinstance(plan, Tiles):
            return await engine.decode_unclipped(plan.queued, z, call=call)
        # Tiles of all requests take turns, so every request with a first tile has its image in memory.
        values = len(z) * math.prod(plan.image_shape)
        try:
            async with self._tile_room.hold(values, deadline_s=call.deadline_s):
                return await engine.decode_tiled(plan, z, max_batch=self._limits.max_images, call=call)
        except TimeoutError:
            raise DeadlineExceeded from None

    async def encode(self, request: Request) -> Response:
        """Latents of a picture or of a tensor."""
        call, trace = admit(self._app_state, request), current_trace()
        query = read_remote_query(request.scope["query_string"], is_decode=False)
        model = await self._model(query, trace)
        with trace.phase("read"):
            body = await read_all(request)
        with trace.phase("parse"):
            if query.shape:
                images, model = await self._in_thread(len(body), lambda: self._tensor(body, query, model))
            else:
                images, model = await self._picture(bytes(body), model, call)
        trace.images = len(images)
        try:
            done = await engine.reconstruct_latents(
                model.queued, images, sample=query.sample, seed=query.seed, call=call
            )
        finally:
            trace.ran(call)
        trace.seed = done.seed
        dtype = query.dtype if query.shape and query.dtype != "uint8" else "float32"
        with trace.phase("encode"):
            latents = from_encoder(done.z, query, model)
            return tensor_response(bytes_from_array(latents, dtype), latents.shape, dtype)

    async def _model(self, query: RemoteQuery, trace: Trace) -> LoadedModel:
        model = await requested_model(self._app_state, query.model, trace)
        if not model.queued.is_bounded:
            raise InvalidValue(
                "model", "one of images", f"'{model.label}', whose values are no pixels", "Use /decode."
            )
        return model

    async def _in_thread(self, values: int, work: Callable[[], R]) -> R:
        return work() if values <= _QUICK_VALUES else await self._app_state.pool.run(work)

    def _tensor(
        self, body: bytes | bytearray, query: RemoteQuery, model: LoadedModel
    ) -> tuple[NDArray[np.float32], LoadedModel]:
        """Images in [0, 1] from a tensor in [-1, 1], or of uint8."""
        values = array_from_bytes(body, shape=query.shape, dtype=query.dtype)
        if model.sizes is not None:
            model = of_images(model, values.shape, where="shape")
        if values.shape[1:] != model.image_shape:
            raise InvalidValue(
                "shape",
                f"images {shape_text(('N', *model.image_shape))} of '{model.label}'",
                shape_text(values.shape),
                "Send the batch axis first, and channels before height and width.",
            )
        images = values.astype(np.float32)
        if query.dtype == "uint8":
            return images / np.float32(255.0), model
        _refuse_beyond(images)
        return np.clip(images * np.float32(0.5) + np.float32(0.5), 0.0, 1.0), model

    async def _picture(
        self, body: bytes, model: LoadedModel, call: Call
    ) -> tuple[NDArray[np.float32], LoadedModel]:
        """One image from a picture file of any mode."""
        if not body:
            raise MalformedBody("body", "a picture, or a tensor with shape and dtype", "nothing", "Send one.")
        most = self._limits.max_picture_pixels

        def read() -> tuple[NDArray[np.float32], LoadedModel]:
            sized = model if model.sizes is None else of_picture(model, body, max_pixels=most)
            done = read_picture(
                body,
                shape=sized.image_shape,
                max_pixels=most,
                preprocessing=model.manifest.image.preprocessing,
                reading=Reading(),
            )
            return done.image[np.newaxis], sized

        pool, room = self._app_state.pool, self._app_state.picture_room
        return await decode_in_thread(pool, room, stated_pixels(body), call.deadline_s, read)


def _refuse_beyond(images: NDArray[np.float32]) -> None:
    """Programs send [-1, 1]; float16 rounds its ends exactly."""
    least, most = float(images.min()), float(images.max())
    if not (least >= -1.0 and most <= 1.0):
        raise InvalidValue(
            "body",
            "pixels in [-1, 1]",
            f"values from {least:g} to {most:g}",
            "Use VaeImageProcessor.preprocess, then .contiguous(), or send the picture itself.",
        )


def _missing_shape() -> ProblemError:
    return ProblemError.of_item(
        "invalid-parameter",
        Item(
            "query: shape",
            "one parameter for each axis of the latents",
            "none",
            "Such as shape=1&shape=4&shape=64&shape=64&dtype=float16.",
        ),
    )
