"""The native API's first four: /sample, /encode, /decode and /reconstruct.

Each path is one function: form and parameters, body, codec, engine, codec; what they share is in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.endpoint import RequestSteps, once
from service.api.operation import DECODE, ENCODE, RECONSTRUCT, SAMPLE, Operation
from service.api.parameters import (
    Drawing,
    ImagesQuery,
    NoParameters,
    ReconstructQuery,
    ReconstructScalars,
    SampleQuery,
    SampleScalars,
)
from service.api.responses import LABEL, PRIOR, NpyInParts
from service.codecs.tensors import parse_json_object
from service.engine import (
    Call,
    LoadedModel,
    Parts,
    decode,
    decode_in_parts,
    encode,
    plan_sample,
    reconstruct,
    sample,
    sample_in_parts,
)
from service.http.fast_routes import Handler
from service.http.negotiation import Form
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
        trace, call = self._arrived(request)
        form, query = self._asked(request, SAMPLE, SampleQuery)
        stated = SampleScalars()
        if request.method == "POST":
            body = await read_body(request, path=SAMPLE.path, kinds=SAMPLE.bodies)
            if not body.is_blank:
                with trace.phase("parse"):
                    stated = read_object(
                        parse_json_object(body.data, max_values=0), SampleScalars, self._limits
                    )
        model = await self._model(query.model)
        n = once("n", query.n, stated.n)
        if n is None:
            default = DEFAULT_IMAGES_AS_TEXT if form is Form.TEXT else DEFAULT_IMAGES
            n = min(default, self._limits.max_images)
        temperature = once("temperature", query.temperature, stated.temperature)
        asked: dict[str, Any] = {
            "seed": once("seed", query.seed, stated.seed),
            "temperature": 1.0 if temperature is None else temperature,
            PRIOR: once(PRIOR, query.prior, stated.prior),
            LABEL: once(LABEL, query.label, stated.label),
        }
        most = self._limits.max_images
        if n > most:
            self._refuse_long(form, n)
            most = self._limits.max_stream_images
        if request.method == "HEAD":
            plan = plan_sample(model.queued, n=n, max_images=most, **asked)
            trace.seed = asked["seed"]  # without one, GET draws another
            facts = {
                "temperature": plan.temperature,
                PRIOR: plan.density.prior,
                LABEL: plan.density.label,
            }
            return self._headers_alone(form, facts, count=n, model=model, drawing=query)
        trace.images = n
        if n > self._limits.max_images:
            parts = sample_in_parts(
                model.queued,
                n=n,
                max_images=most,
                call=call,
                part_limit_s=self._services.settings.request_timeout_s,
                **asked,
            )
            return await self._long_answer(parts, model, trace, call)
        try:
            drawn = await sample(model.queued, n=n, call=call, **asked)
        finally:
            trace.ran(call)
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
        trace, call = self._arrived(request)
        form, query = self._asked(request, ENCODE, ImagesQuery)
        body = await read_body(request, path=ENCODE.path, kinds=ENCODE.bodies)
        model = await self._model(query.model)
        arrays, _ = await self._arrays(body, ENCODE, model, NoParameters, query)
        x = arrays["images"]
        trace.images = len(x)
        try:
            posterior = await encode(model.queued, x, call=call)
        finally:
            trace.ran(call)
        return await self._answer(
            form, {"model": model.label}, {"mu": posterior.mu, "logvar": posterior.logvar}
        )

    async def decode(self, request: Request) -> Response:
        """The image of each latent."""
        trace, call = self._arrived(request)
        form, query = self._asked(request, DECODE, Drawing)
        body = await read_body(request, path=DECODE.path, kinds=DECODE.bodies)
        model = await self._model(query.model)
        arrays, _ = await self._arrays(body, DECODE, model, NoParameters)
        z = arrays["z"]
        trace.images = len(z)
        if len(z) > self._limits.max_images:
            self._refuse_long(form, len(z))
            parts = decode_in_parts(
                model.queued,
                z,
                max_images=self._limits.max_stream_images,
                call=call,
                part_limit_s=self._services.settings.request_timeout_s,
            )
            return await self._long_answer(parts, model, trace, call)
        try:
            x_hat = await decode(model.queued, z, call=call)
        finally:
            trace.ran(call)
        return await self._answer(form, {"model": model.label}, {"images": x_hat}, query)

    async def reconstruct(self, request: Request) -> Response:
        """Each image encoded and decoded again, by the posterior mean or a sample of it."""
        trace, call = self._arrived(request)
        form, query = self._asked(request, RECONSTRUCT, ReconstructQuery)
        body = await read_body(request, path=RECONSTRUCT.path, kinds=RECONSTRUCT.bodies)
        model = await self._model(query.model)
        arrays, stated = await self._arrays(body, RECONSTRUCT, model, ReconstructScalars, query)
        x = arrays["images"]
        trace.images = len(x)
        is_drawn = bool(once("sample", query.sample, stated.sample))
        seed = once("seed", query.seed, stated.seed)
        try:
            back = await reconstruct(
                model.queued, x, sample=is_drawn, seed=seed if is_drawn else None, call=call
            )
        finally:
            trace.ran(call)
        trace.seed = back.seed
        facts = {"model": model.label, "sample": is_drawn, "seed": back.seed}
        return await self._answer(form, facts, {"z": back.z, "images": back.x_hat}, query)

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

    async def _long_answer(self, parts: Parts, model: LoadedModel, trace: Trace, call: Call) -> Response:
        """The first part is computed before the answer begins: what can go wrong then still has a status."""
        trace.seed = parts.seed
        try:
            first = await anext(parts.images)
        finally:
            trace.ran(call)
        return NpyInParts(parts, first, shape=model.image_shape, is_disconnected=call.is_disconnected)
