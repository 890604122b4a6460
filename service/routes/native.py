"""The native API: /sample, /encode, /decode and /reconstruct.

Each path is one function: form and parameters, body, codec, engine, codec. The engine batches and waits; the
codecs run on the event loop while they are quick and in a thread when they are not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.bodies import Body, BodyKind, read_body
from service.codecs.images import decode_png
from service.codecs.tensors import (
    decode_npy,
    holds_only_numbers,
    images_from_json,
    latents_from_json,
    parse_json_object,
)
from service.connection import connection_of
from service.dispatch import FastPath
from service.engine import Caller, LoadedModel, Parts
from service.negotiation import Form, choose_form
from service.problems import Item, ProblemError
from service.routes.answers import LABEL, PRIOR, NpyInParts, answer, is_quick
from service.routes.contract import DECODE, ENCODE, RECONSTRUCT, SAMPLE, Operation
from service.routes.routing import fast_paths, route
from service.schemas.base import Limits, Scalars, read_object, read_query
from service.schemas.native import (
    Drawing,
    ImagesQuery,
    NoParameters,
    ReconstructQuery,
    ReconstructScalars,
    SampleQuery,
    SampleScalars,
)
from service.services import Services
from service.trace import Trace, current_trace

S = TypeVar("S", bound=Scalars)
P = ParamSpec("P")
R = TypeVar("R")
Floats = NDArray[np.float32]

#: Images that /sample draws when `n` is left out.
DEFAULT_IMAGES = 1
DEFAULT_IMAGES_AS_TEXT = 10
#: Longest bodies that are read on the event loop, in bytes: about half a millisecond of work each. A PNG is
#: short and its pixels many.
_QUICK_BODY_BYTES = {BodyKind.JSON: 65_536, BodyKind.NPY: 1_048_576, BodyKind.PNG: 2_048}


class NativeRoutes:
    """The four operations over one registry."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.limits
        self._operations = (
            (SAMPLE, self.sample),
            (ENCODE, self.encode),
            (DECODE, self.decode),
            (RECONSTRUCT, self.reconstruct),
        )

    def routes(self) -> list[Route]:
        """Each path, and the same path with a suffix that chooses the form."""
        return [
            each
            for operation, handler in self._operations
            for each in route(operation.path, handler, methods=operation.methods, suffixes=True)
        ]

    def fast_paths(self) -> dict[str, FastPath]:
        """The same, for the look-up that comes before the router."""
        found: dict[str, FastPath] = {}
        for operation, handler in self._operations:
            found |= fast_paths(operation.path, handler, methods=operation.methods, forms=operation.forms)
        return found

    async def sample(self, request: Request) -> Response:
        trace, caller = self._arrived(request)
        form, query = self._asked(request, SAMPLE, SampleQuery)
        stated = SampleScalars()
        if request.method == "POST":
            body = await read_body(request, path=SAMPLE.path, kinds=SAMPLE.bodies)
            if body.data.strip():
                with trace.phase("parse"):
                    stated = read_object(
                        parse_json_object(body.data, max_values=0), SampleScalars, self._limits
                    )
        model = await self._model(query.model)
        n = _once("n", query.n, stated.n)
        if n is None:
            default = DEFAULT_IMAGES_AS_TEXT if form is Form.TEXT else DEFAULT_IMAGES
            n = min(default, self._limits.max_images)
        temperature = _once("temperature", query.temperature, stated.temperature)
        asked: dict[str, Any] = {
            "seed": _once("seed", query.seed, stated.seed),
            "temperature": 1.0 if temperature is None else temperature,
            PRIOR: _once(PRIOR, query.prior, stated.prior),
            LABEL: _once(LABEL, query.label, stated.label),
        }
        trace.images = n
        if n > self._limits.max_images:
            self._refuse_long(form, n)
            parts = model.queued.sample_in_parts(
                n=n,
                max_images=self._limits.max_stream_images,
                caller=caller,
                part_limit_s=self._services.settings.request_timeout_s,
                **asked,
            )
            return await self._long_answer(parts, model, trace, caller)
        try:
            drawn = await model.queued.sample(n=n, caller=caller, **asked)
        finally:
            trace.ran(caller)
        trace.seed = drawn.seed
        facts = {
            "model": model.label,
            PRIOR: drawn.prior,
            LABEL: drawn.label,
            "seed": drawn.seed,
            "temperature": drawn.temperature,
        }
        return await self._answer(form, facts, {"z": drawn.z, "images": drawn.x_hat}, query)

    async def encode(self, request: Request) -> Response:
        trace, caller = self._arrived(request)
        form, query = self._asked(request, ENCODE, ImagesQuery)
        body = await read_body(request, path=ENCODE.path, kinds=ENCODE.bodies)
        model = await self._model(query.model)
        with trace.phase("parse"):
            x, _ = await self._read(body, self._images, body, query, model, NoParameters)
        trace.images = len(x)
        try:
            posterior = await model.queued.encode(x, caller=caller)
        finally:
            trace.ran(caller)
        return await self._answer(
            form, {"model": model.label}, {"mu": posterior.mu, "logvar": posterior.logvar}
        )

    async def decode(self, request: Request) -> Response:
        trace, caller = self._arrived(request)
        form, query = self._asked(request, DECODE, Drawing)
        body = await read_body(request, path=DECODE.path, kinds=DECODE.bodies)
        model = await self._model(query.model)
        with trace.phase("parse"):
            z = await self._read(body, self._latents, body, model)
        trace.images = len(z)
        if len(z) > self._limits.max_images:
            self._refuse_long(form, len(z))
            parts = model.queued.decode_in_parts(
                z,
                max_images=self._limits.max_stream_images,
                caller=caller,
                part_limit_s=self._services.settings.request_timeout_s,
            )
            return await self._long_answer(parts, model, trace, caller)
        try:
            x_hat = await model.queued.decode(z, caller=caller)
        finally:
            trace.ran(caller)
        return await self._answer(form, {"model": model.label}, {"images": x_hat}, query)

    async def reconstruct(self, request: Request) -> Response:
        trace, caller = self._arrived(request)
        form, query = self._asked(request, RECONSTRUCT, ReconstructQuery)
        body = await read_body(request, path=RECONSTRUCT.path, kinds=RECONSTRUCT.bodies)
        model = await self._model(query.model)
        with trace.phase("parse"):
            x, stated = await self._read(body, self._images, body, query, model, ReconstructScalars)
        trace.images = len(x)
        sample = bool(_once("sample", query.sample, stated.sample))
        seed = _once("seed", query.seed, stated.seed)
        try:
            back = await model.queued.reconstruct(
                x, sample=sample, seed=seed if sample else None, caller=caller
            )
        finally:
            trace.ran(caller)
        trace.seed = back.seed
        facts = {"model": model.label, "sample": sample, "seed": back.seed}
        return await self._answer(form, facts, {"z": back.z, "images": back.x_hat}, query)

    def _arrived(self, request: Request) -> tuple[Trace, Caller]:
        """Turns the request away while the queue is full, before anything of it is read.

        Raises:
            TooBusy: It is.
        """
        self._services.lanes.refuse_when_full()
        connection = connection_of(request.scope)
        caller = Caller(
            deadline_s=time.monotonic() + self._services.settings.request_timeout_s,
            has_left=lambda: connection.gone,
        )
        return current_trace(), caller

    def _asked(self, request: Request, operation: Operation, query: type[S]) -> tuple[Form, S]:
        """Form and parameters, both checked before anything is read."""
        form = choose_form(
            suffix=request.path_params.get("suffix"),
            accept=", ".join(request.headers.getlist("accept")) or None,
            forms=operation.forms,
        )
        return form, read_query(request.scope["query_string"], query, self._limits)

    async def _model(self, reference: str | None) -> LoadedModel:
        registry = self._services.registry
        model = registry.peek(reference)
        if model is None:
            model = await self._services.pool.run(registry.get, reference)
        current_trace().model = model.label
        return model

    async def _read(self, body: Body, read: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Reads a body here if it is short, else in a thread."""
        if len(body.data) <= _QUICK_BODY_BYTES[body.kind]:
            return read(*args, **kwargs)
        return await self._services.pool.run(read, *args, **kwargs)

    def _images(
        self, body: Body, query: ImagesQuery, model: LoadedModel, scalars: type[S]
    ) -> tuple[Floats, S]:
        """The images of a body, float32 (N, C, H, W) in [0, 1], and the scalars of a JSON body."""
        shape, most = model.image_shape, self._limits.max_images
        if body.kind is BodyKind.JSON:
            value, stated, plain = _split(body, "images", scalars, self._limits, row_size=math.prod(shape))
            return images_from_json(value, shape, max_images=most, only_numbers=plain), stated
        if body.kind is BodyKind.PNG:
            return decode_png(body.data, shape=shape, resize=query.resize, invert=query.invert), scalars()
        return decode_npy(body.data, shape, max_images=most), scalars()

    def _latents(self, body: Body, model: LoadedModel) -> Floats:
        """The latents of a body, float32 (N, latent)."""
        size, most = model.latent_size, self._limits.max_images
        if body.kind is BodyKind.JSON:
            value, _, plain = _split(body, "z", NoParameters, self._limits, row_size=size)
            return latents_from_json(value, size, max_images=most, only_numbers=plain)
        return decode_npy(body.data, (size,), max_images=max(most, self._limits.max_stream_images))

    def _refuse_long(self, form: Form, count: int) -> None:
        """More images than are held whole come as npy or not at all."""
        if form is not Form.NPY:
            raise ProblemError.of_item(
                "invalid-parameter",
                Item(
                    "images of the answer",
                    f"at most {self._limits.max_images} in this form",
                    str(count),
                    "Ask for .npy, which is sent part by part, or for fewer at a time.",
                ),
            )

    async def _long_answer(self, parts: Parts, model: LoadedModel, trace: Trace, caller: Caller) -> Response:
        """The first part is computed before the answer begins: what can go wrong then still has a status."""
        trace.seed = parts.seed
        try:
            first = await anext(parts.images)
        finally:
            trace.ran(caller)
        return NpyInParts(parts, first, shape=model.image_shape, has_left=caller.has_left)

    async def _answer(
        self,
        form: Form,
        facts: Mapping[str, object],
        arrays: Mapping[str, Floats],
        drawing: Drawing | None = None,
    ) -> Response:
        """Written here if that is quick, else in a thread."""
        limit = self._services.settings.max_png_pixels
        if is_quick(form, arrays, drawing):
            return answer(form, facts=facts, arrays=arrays, drawing=drawing, max_png_pixels=limit)
        return await self._services.pool.run(
            answer, form, facts=facts, arrays=arrays, drawing=drawing, max_png_pixels=limit
        )


def _split(
    body: Body, name: str, scalars: type[S], limits: Limits, *, row_size: int
) -> tuple[object, S, bool]:
    """The array called `name` in a JSON body, the scalars beside it, and whether there is but numbers in it.

    Every key is known.
    """
    values = parse_json_object(body.data, max_values=limits.max_images * row_size)
    parsed = read_object(values, scalars, limits, also=(name,))
    if name not in values:
        shape = "(N, latent)" if name == "z" else "(N, C, H, W)"
        raise ProblemError.of_item(
            "invalid-value",
            Item(f"body: {name}", f"an array of numbers, {shape}", "nothing", f'Send {{"{name}": [...]}}.'),
        )
    return values[name], parsed, holds_only_numbers(body.data, values)


def _once(name: str, in_query: Any, in_body: Any) -> Any:
    """A parameter that may come in the query or in the body, but not in both."""
    if in_query is not None and in_body is not None:
        raise ProblemError.of_item(
            "invalid-parameter",
            Item(f"query: {name}", "one value", "one here and one in the body", f"Send {name} in one place."),
        )
    return in_body if in_query is None else in_query
