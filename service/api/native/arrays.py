"""The native API's first four: /sample, /encode, /decode and /reconstruct.

Each path is one function: form and parameters, body, codec, engine, codec; what they share is in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.endpoint import RequestSteps, one_source
from service.api.operation import DECODE, ENCODE, RECONSTRUCT, SAMPLE, Operation
from service.api.parameters import (
    Drawing,
    ImagesQuery,
    NoParameters,
    ReconstructParameters,
    ReconstructQuery,
    SampleParameters,
    SampleQuery,
)
from service.api.responses import LABEL, PRIOR, NpyInParts
from service.codecs.tensors import parse_json_object
from service.engine import Caller, LoadedModel, Parts
from service.http.fast_routes import Handler
from service.http.negotiation import Format
from service.http.parameters import read_object
from service.http.problems import Item, ProblemError
from service.http.request_body import read_body
from service.observability.request_trace import Trace

#: Images that /sample draws when `n` is left out.
DEFAULT_IMAGES = 1
DEFAULT_IMAGES_AS_TEXT = 10


class NativeRoutes(RequestSteps):
    """The four operations over one registry."""

    @property
    def handlers(self) -> Sequence[tuple[Operation, Handler]]:
        """Each operation and the function that answers it."""
        return (
            (SAMPLE, self.sample),
            (ENCODE, self.encode),
            (DECODE, self.decode),
            (RECONSTRUCT, self.reconstruct),
        )

    async def sample(self, request: Request) -> Response:
        """Images drawn from the prior by a seed."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, SAMPLE, SampleQuery)
        stated = SampleParameters()
        if request.method == "POST":
            body = await read_body(request, path=SAMPLE.path, kinds=SAMPLE.bodies)
            if not body.is_blank:
                with trace.phase("parse"):
                    stated = read_object(
                        parse_json_object(body.data, max_values=0), SampleParameters, self._limits
                    )
        model = await self._model(query.model)
        n = one_source("n", query.n, stated.n)
        if n is None:
            default = DEFAULT_IMAGES_AS_TEXT if form is Format.TEXT else DEFAULT_IMAGES
            n = min(default, self._limits.max_images)
        temperature = one_source("temperature", query.temperature, stated.temperature)
        asked: dict[str, Any] = {
            "seed": one_source("seed", query.seed, stated.seed),
            "temperature": 1.0 if temperature is None else temperature,
            PRIOR: one_source(PRIOR, query.prior, stated.prior),
            LABEL: one_source(LABEL, query.label, stated.label),
        }
        most = self._limits.max_images
        if n > most:
            self._refuse_long(form, n)
            most = self._limits.max_stream_images
        if request.method == "HEAD":
            plan = model.queued.plan_sample(n=n, max_images=most, **asked)
            trace.seed = asked["seed"]  # without one, GET draws another
            facts = {
                "temperature": plan.temperature,
                PRIOR: plan.density.prior,
                LABEL: plan.density.label,
            }
            return self._headers_alone(form, facts, count=n, model=model, drawing=query)
        trace.images = n
        if n > self._limits.max_images:
            parts = model.queued.sample_in_parts(
                n=n,
                max_images=most,
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
        """The posterior of each image: `mu` and `logvar`."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, ENCODE, ImagesQuery)
        body = await read_body(request, path=ENCODE.path, kinds=ENCODE.bodies)
        model = await self._model(query.model)
        arrays, _ = await self._arrays(body, ENCODE, model, NoParameters, query)
        x = arrays["images"]
        trace.images = len(x)
        try:
            posterior = await model.queued.encode(x, caller=caller)
        finally:
            trace.ran(caller)
        return await self._answer(
            form, {"model": model.label}, {"mu": posterior.mu, "logvar": posterior.logvar}
        )

    async def decode(self, request: Request) -> Response:
        """The image of each latent."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, DECODE, Drawing)
        body = await read_body(request, path=DECODE.path, kinds=DECODE.bodies)
        model = await self._model(query.model)
        arrays, _ = await self._arrays(body, DECODE, model, NoParameters)
        z = arrays["z"]
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
        """Each image encoded and decoded again, by the posterior mean or a sample of it."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, RECONSTRUCT, ReconstructQuery)
        body = await read_body(request, path=RECONSTRUCT.path, kinds=RECONSTRUCT.bodies)
        model = await self._model(query.model)
        arrays, stated = await self._arrays(body, RECONSTRUCT, model, ReconstructParameters, query)
        x = arrays["images"]
        trace.images = len(x)
        sample = bool(one_source("sample", query.sample, stated.sample))
        seed = one_source("seed", query.seed, stated.seed)
        try:
            back = await model.queued.reconstruct(
                x, sample=sample, seed=seed if sample else None, caller=caller
            )
        finally:
            trace.ran(caller)
        trace.seed = back.seed
        facts = {"model": model.label, "sample": sample, "seed": back.seed}
        return await self._answer(form, facts, {"z": back.z, "images": back.x_hat}, query)

    def _refuse_long(self, form: Format, count: int) -> None:
        """More images than are held whole come as npy or not at all."""
        if form is not Format.NPY:
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
