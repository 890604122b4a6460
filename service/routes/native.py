"""The native API: /sample, /encode, /decode, /reconstruct and /models.

Each path is one function that waits for the body and one that does the work in a thread: codec,
engine, codec. The second takes plain values and could be called without a request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.bodies import Body, BodyKind, read_body
from service.codecs.images import decode_png
from service.codecs.tensors import decode_npy, images_from_json, latents_from_json, parse_json_object
from service.engine import LoadedModel, new_seed
from service.negotiation import Form, choose_form
from service.problems import Item, ProblemError
from service.routes.answers import answer
from service.routes.contract import DECODE, ENCODE, RECONSTRUCT, SAMPLE, Operation
from service.routes.routing import route
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
from service.trace import current_trace

S = TypeVar("S", bound=Scalars)
Floats = NDArray[np.float32]

#: Images that /sample draws when `n` is left out.
DEFAULT_IMAGES = 1
DEFAULT_IMAGES_AS_TEXT = 10


class NativeRoutes:
    """The four operations over one registry."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.limits

    def routes(self) -> list[Route]:
        """Each path, and the same path with a suffix that chooses the form."""
        return [
            *route(SAMPLE.path, self.sample, methods=SAMPLE.methods, suffixes=True),
            *route(ENCODE.path, self.encode, methods=ENCODE.methods, suffixes=True),
            *route(DECODE.path, self.decode, methods=DECODE.methods, suffixes=True),
            *route(RECONSTRUCT.path, self.reconstruct, methods=RECONSTRUCT.methods, suffixes=True),
        ]

    async def sample(self, request: Request) -> Response:
        form, query = self._asked(request, SAMPLE, SampleQuery)
        body = await self._body(request, SAMPLE) if request.method == "POST" else None
        return await self._services.pool.run(self._sample, form, query, body)

    async def encode(self, request: Request) -> Response:
        form, query = self._asked(request, ENCODE, ImagesQuery)
        body = await self._body(request, ENCODE)
        return await self._services.pool.run(self._encode, form, query, body)

    async def decode(self, request: Request) -> Response:
        form, query = self._asked(request, DECODE, Drawing)
        body = await self._body(request, DECODE)
        return await self._services.pool.run(self._decode, form, query, body)

    async def reconstruct(self, request: Request) -> Response:
        form, query = self._asked(request, RECONSTRUCT, ReconstructQuery)
        body = await self._body(request, RECONSTRUCT)
        return await self._services.pool.run(self._reconstruct, form, query, body)

    def _sample(self, form: Form, query: SampleQuery, body: Body | None) -> Response:
        trace = current_trace()
        stated = SampleScalars()
        if body is not None and body.data.strip():
            with trace.phase("parse"):
                stated = read_object(parse_json_object(body.data, max_values=0), SampleScalars, self._limits)
        model = self._model(query.model)
        n = _once("n", query.n, stated.n)
        if n is None:
            default = DEFAULT_IMAGES_AS_TEXT if form is Form.TEXT else DEFAULT_IMAGES
            n = min(default, self._limits.max_images)
        seed = _once("seed", query.seed, stated.seed)
        temperature = _once("temperature", query.temperature, stated.temperature)
        with trace.phase("run"):
            drawn = model.sample(
                n=n,
                seed=new_seed() if seed is None else seed,
                temperature=1.0 if temperature is None else temperature,
            )
        trace.seed, trace.images = drawn.seed, n
        facts = {"model": model.label, "seed": drawn.seed, "temperature": drawn.temperature}
        return self._answer(form, facts, {"z": drawn.z, "images": drawn.x_hat}, query)

    def _encode(self, form: Form, query: ImagesQuery, body: Body) -> Response:
        trace = current_trace()
        model = self._model(query.model)
        with trace.phase("parse"):
            x, _ = self._images(body, query, model, NoParameters)
        with trace.phase("run"):
            posterior = model.encode(x)
        trace.images = len(x)
        return self._answer(form, {"model": model.label}, {"mu": posterior.mu, "logvar": posterior.logvar})

    def _decode(self, form: Form, query: Drawing, body: Body) -> Response:
        trace = current_trace()
        model = self._model(query.model)
        with trace.phase("parse"):
            z = self._latents(body, model)
        with trace.phase("run"):
            x_hat = model.decode(z)
        trace.images = len(z)
        return self._answer(form, {"model": model.label}, {"images": x_hat}, query)

    def _reconstruct(self, form: Form, query: ReconstructQuery, body: Body) -> Response:
        trace = current_trace()
        model = self._model(query.model)
        with trace.phase("parse"):
            x, stated = self._images(body, query, model, ReconstructScalars)
        sample = bool(_once("sample", query.sample, stated.sample))
        seed = _once("seed", query.seed, stated.seed)
        if sample and seed is None:
            seed = new_seed()
        with trace.phase("run"):
            back = model.reconstruct(x, sample=sample, seed=seed if sample else None)
        trace.images = len(x)
        trace.seed = seed if sample else None
        facts = {"model": model.label, "sample": sample, "seed": trace.seed}
        return self._answer(form, facts, {"z": back.z, "images": back.x_hat}, query)

    def _asked(self, request: Request, operation: Operation, query: type[S]) -> tuple[Form, S]:
        """Form and parameters, both checked before anything is read."""
        form = choose_form(
            suffix=request.path_params.get("suffix"),
            accept=", ".join(request.headers.getlist("accept")) or None,
            forms=operation.forms,
        )
        return form, read_query(request.scope["query_string"], query, self._limits)

    async def _body(self, request: Request, operation: Operation) -> Body:
        return await read_body(request, path=operation.path, kinds=operation.bodies)

    def _model(self, reference: str | None) -> LoadedModel:
        model = self._services.registry.get(reference)
        current_trace().model = model.label
        return model

    def _images(
        self, body: Body, query: ImagesQuery, model: LoadedModel, scalars: type[S]
    ) -> tuple[Floats, S]:
        """The images of a body, float32 (N, C, H, W) in [0, 1], and the scalars of a JSON body."""
        shape, most = model.image_shape, self._limits.max_images
        if body.kind is BodyKind.JSON:
            value, stated = _split(body, "images", scalars, self._limits, row_size=math.prod(shape))
            return images_from_json(value, shape, max_images=most), stated
        if body.kind is BodyKind.PNG:
            return decode_png(body.data, shape=shape, resize=query.resize, invert=query.invert), scalars()
        return decode_npy(body.data, shape, max_images=most), scalars()

    def _latents(self, body: Body, model: LoadedModel) -> Floats:
        """The latents of a body, float32 (N, latent)."""
        size, most = model.latent_size, self._limits.max_images
        if body.kind is BodyKind.JSON:
            value, _ = _split(body, "z", NoParameters, self._limits, row_size=size)
            return latents_from_json(value, size, max_images=most)
        return decode_npy(body.data, (size,), max_images=most)

    def _answer(
        self,
        form: Form,
        facts: Mapping[str, object],
        arrays: Mapping[str, Floats],
        drawing: Drawing | None = None,
    ) -> Response:
        return answer(
            form,
            facts=facts,
            arrays=arrays,
            drawing=drawing,
            max_png_pixels=self._services.settings.max_png_pixels,
        )


def _split(body: Body, name: str, scalars: type[S], limits: Limits, *, row_size: int) -> tuple[object, S]:
    """The array called `name` in a JSON body, and the scalars beside it; every key is known."""
    values = parse_json_object(body.data, max_values=limits.max_images * row_size)
    parsed = read_object(values, scalars, limits, also=(name,))
    if name not in values:
        shape = "(N, latent)" if name == "z" else "(N, C, H, W)"
        raise ProblemError.of_item(
            "invalid-value",
            Item(f"body: {name}", f"an array of numbers, {shape}", "nothing", f'Send {{"{name}": [...]}}.'),
        )
    return values[name], parsed


def _once(name: str, in_query: Any, in_body: Any) -> Any:
    """A parameter that may come in the query or in the body, but not in both."""
    if in_query is not None and in_body is not None:
        raise ProblemError.of_item(
            "invalid-parameter",
            Item(f"query: {name}", "one value", "one here and one in the body", f"Send {name} in one place."),
        )
    return in_body if in_query is None else in_query
