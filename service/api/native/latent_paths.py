"""/interpolate and /traverse: images along a way through latent space.

Each path is one function: form and parameters, body, codec, engine, codec; what they share is in `steps.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.endpoint import Floats, RequestSteps, one_source
from service.api.latent_path_parameters import (
    InterpolateParameters,
    InterpolateQuery,
    TraverseParameters,
    TraverseQuery,
)
from service.api.operation import INTERPOLATE, TRAVERSE, Operation
from service.api.parameters import Drawing
from service.api.responses import TEXT_COLUMNS
from service.engine import DEFAULT_SPAN, DEFAULT_STEPS
from service.http.fast_routes import Handler
from service.http.negotiation import Format
from service.http.request_body import read_body


class WalkRoutes(RequestSteps):
    """Both over one registry."""

    @property
    def handlers(self) -> Sequence[tuple[Operation, Handler]]:
        """Each operation and the function that answers it."""
        return ((INTERPOLATE, self.interpolate), (TRAVERSE, self.traverse))

    async def interpolate(self, request: Request) -> Response:
        """Images on the way between two images or two latents."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, INTERPOLATE, InterpolateQuery)
        body = await read_body(request, path=INTERPOLATE.path, kinds=INTERPOLATE.bodies)
        model = await self._model(query.model)
        arrays, stated = await self._arrays(body, INTERPOLATE, model, InterpolateParameters)
        steps = self._steps(form, one_source("steps", query.steps, stated.steps))
        trace.images = steps
        try:
            walk = await model.queued.interpolate(
                x=arrays.get("images"),
                z=arrays.get("z"),
                steps=steps,
                method=one_source("method", query.method, stated.method),
                caller=caller,
            )
        finally:
            trace.ran(caller)
        facts = {"model": model.label, "method": walk.method}
        return await self._answer(form, facts, {"z": walk.z, "images": walk.x_hat}, _in_rows(query, steps))

    async def traverse(self, request: Request) -> Response:
        """A grid of images along one or two latent dimensions."""
        trace, caller = self._arrived(request)
        form, query = self._asked(request, TRAVERSE, TraverseQuery)
        body = None
        if request.method == "POST":
            body = await read_body(request, path=TRAVERSE.path, kinds=TRAVERSE.bodies)
        model = await self._model(query.model)
        arrays: dict[str, Floats] = {}
        stated = TraverseParameters()
        if body is not None:
            arrays, stated = await self._arrays(body, TRAVERSE, model, TraverseParameters, query)
        dims = one_source("dims", query.dims, stated.dims)
        axes = len(dims) if dims is not None else min(2, model.latent_size)
        steps = self._steps(form, one_source("steps", query.steps, stated.steps), axes=axes)
        span = one_source("span", query.span, stated.span)
        asked: dict[str, Any] = {
            "dims": dims,
            "steps": steps,
            "spacing": one_source("spacing", query.spacing, stated.spacing),
            "span": DEFAULT_SPAN if span is None else span,
        }
        if request.method == "HEAD":
            plan = model.queued.plan_traverse(**asked)
            drawing = _in_rows(query, steps)
            return self._headers_alone(form, {}, count=plan.count, model=model, drawing=drawing)
        trace.images = steps**axes
        try:
            grid = await model.queued.traverse(
                x=arrays.get("images"), z=arrays.get("z"), caller=caller, **asked
            )
        finally:
            trace.ran(caller)
        facts = {
            "model": model.label,
            "dims": grid.dims,
            "steps": grid.steps,
            "spacing": grid.spacing,
            "span": grid.span,
        }
        return await self._answer(form, facts, {"z": grid.z, "images": grid.x_hat}, _in_rows(query, steps))

    def _steps(self, form: Format, steps: int | None, *, axes: int = 1) -> int:
        """Those asked for, or as many as look well and are allowed."""
        if steps is not None:
            return steps
        allowed = math.isqrt(self._limits.max_images) if axes == 2 else self._limits.max_images
        return max(2, min(TEXT_COLUMNS if form is Format.TEXT else DEFAULT_STEPS, allowed))


def _in_rows(drawing: Drawing, steps: int) -> Drawing:
    """Drawn with a whole way in each row, unless somebody wants it otherwise."""
    return drawing.model_copy(update={"columns": drawing.columns or steps})
