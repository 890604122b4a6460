"""The steps of a request to any operation: admission, form and parameters, body, model, answer.

Knows bodies, codecs and the registry. Knows nothing of what the operations do: each is a function in a module
that builds on this one. The engine batches and waits; the codecs run on the event loop while they are quick
and in a thread when they are not.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.operation import Operation
from service.api.parameters import Drawing, ImagesQuery
from service.api.request_images import decode_png
from service.api.responses import Arrays, HeadersAlone, answer, is_quick
from service.api.routing import fast_paths, route
from service.app_state import Services
from service.codecs.tensors import (
    decode_npy,
    holds_only_numbers,
    images_from_json,
    latents_from_json,
    parse_json_object,
    plain_images,
    plain_latents,
)
from service.engine import Caller, LoadedModel
from service.http.connection import connection_of
from service.http.fast_routes import FastPath, Handler
from service.http.headers import joined_header
from service.http.negotiation import Format, choose_format
from service.http.parameters import Parameters, read_object, read_query
from service.http.problems import Item, ProblemError
from service.http.request_body import Body, BodyKind
from service.observability.request_trace import Trace, current_trace

S = TypeVar("S", bound=Parameters)
Floats = NDArray[np.float32]

#: Longest bodies that are read on the event loop, in bytes: about half a millisecond of work each. A PNG is
#: short and its pixels many.
_QUICK_BODY_BYTES = {BodyKind.JSON: 65_536, BodyKind.NPY: 1_048_576, BodyKind.PNG: 2_048}
_SHAPES = {"images": "(N, C, H, W)", "z": "(N, latent)"}


class RequestSteps(ABC):
    """What the handlers of several operations share over one registry."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.limits

    @property
    @abstractmethod
    def handlers(self) -> Sequence[tuple[Operation, Handler]]:
        """Each operation and the function that answers it."""

    def routes(self) -> list[Route]:
        """Each path, and the same path with a suffix that chooses the form."""
        return [
            each
            for operation, handler in self.handlers
            for each in route(operation.path, handler, methods=operation.methods, suffixes=True)
        ]

    def fast_paths(self) -> dict[str, FastPath]:
        """The same, for the look-up that comes before the router."""
        found: dict[str, FastPath] = {}
        for operation, handler in self.handlers:
            found |= fast_paths(operation.path, handler, methods=operation.methods, forms=operation.forms)
        return found

    def _arrived(self, request: Request) -> tuple[Trace, Caller]:
        """Turns the request away while the queue is full, before anything of it is read.

        Raises:
            TooBusy: It is.
        """
        self._services.lanes.refuse_when_full()
        connection = connection_of(request.scope)
        caller = Caller(
            deadline_s=time.monotonic() + self._services.settings.request_timeout_s,
            has_left=connection.has_left,
        )
        return current_trace(), caller

    def _asked(self, request: Request, operation: Operation, query: type[S]) -> tuple[Format, S]:
        """Format and parameters, both checked before anything is read."""
        form = choose_format(
            suffix=request.path_params.get("suffix"),
            accept=joined_header(request.scope, b"accept"),
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

    async def _arrays(
        self,
        body: Body,
        operation: Operation,
        model: LoadedModel,
        scalars: type[S],
        query: ImagesQuery | None = None,
    ) -> tuple[dict[str, Floats], S]:
        """The array of a body by its name, none if it may be left out, and the scalars of a JSON body.

        `images` are float32 (N, C, H, W) in [0, 1], `z` float32 (N, latent). A PNG and npy hold what the
        operation names first. A short body is read here, else in a thread.

        Args:
            body: Of a kind that the operation takes.
            operation: Says which arrays there may be.
            model: Whose sizes they must have.
            scalars: Parameters that a JSON body may hold too.
            query: How a PNG is to be read, where one may come.
        """
        with current_trace().phase("parse"):
            if len(body.data) <= _QUICK_BODY_BYTES[body.kind]:
                return self._parse(body, operation, model, scalars, query)
            return await self._services.pool.run(self._parse, body, operation, model, scalars, query)

    def _parse(
        self,
        body: Body,
        operation: Operation,
        model: LoadedModel,
        scalars: type[S],
        query: ImagesQuery | None,
    ) -> tuple[dict[str, Floats], S]:
        if body.kind is BodyKind.JSON:
            return self._parse_json(body, operation, model, scalars)
        shape, most = model.image_shape, self._limits.max_images
        if body.kind is BodyKind.PNG:
            assert query is not None, "paths that take a PNG say how it is read"
            x = decode_png(
                bytes(body.data),
                shape=shape,
                preprocessing=model.manifest.image.preprocessing,
                resize=query.resize,
                invert=query.invert,
            )
            return {"images": x}, scalars()
        if operation.takes[0] == "images":
            return {"images": decode_npy(body.data, shape, max_images=most)}, scalars()
        longest = max(most, self._limits.max_stream_images)
        return {"z": decode_npy(body.data, (model.latent_size,), max_images=longest)}, scalars()

    def _parse_json(
        self, body: Body, operation: Operation, model: LoadedModel, scalars: type[S]
    ) -> tuple[dict[str, Floats], S]:
        """Every key is known, and one of them at most is an array."""
        takes, is_optional = operation.takes, operation.is_body_optional
        if is_optional and body.is_blank:
            return {}, scalars()
        shape, size, most = model.image_shape, model.latent_size, self._limits.max_images
        for name in takes:  # the short way, for a body that holds nothing but that
            rows = (
                plain_images(body.data, shape, max_images=most)
                if name == "images"
                else plain_latents(body.data, size, max_images=most)
            )
            if rows is not None:
                return {name: rows}, read_object({}, scalars, self._limits)
        row_size = max({"images": math.prod(shape), "z": size}[name] for name in takes)
        values = parse_json_object(body.data, max_values=most * row_size)
        parsed = read_object(values, scalars, self._limits, also=takes)
        there = _only_array(values, takes, is_optional=is_optional)
        if there is None:
            return {}, parsed
        plain = holds_only_numbers(body.data, values)
        array = (
            images_from_json(values[there], shape, max_images=most, only_numbers=plain)
            if there == "images"
            else latents_from_json(values[there], size, max_images=most, only_numbers=plain)
        )
        return {there: array}, parsed

    async def _answer(
        self,
        form: Format,
        facts: Mapping[str, object],
        arrays: Arrays,
        drawing: Drawing | None = None,
    ) -> Response:
        """Written here if that is quick, else in a thread."""
        limit = self._services.settings.max_png_pixels
        if is_quick(form, arrays, drawing):
            return answer(form, facts=facts, arrays=arrays, drawing=drawing, max_png_pixels=limit)
        return await self._services.pool.run(
            answer, form, facts=facts, arrays=arrays, drawing=drawing, max_png_pixels=limit
        )

    def _headers_alone(
        self, form: Format, facts: Mapping[str, object], *, count: int, model: LoadedModel, drawing: Drawing
    ) -> Response:
        """The answer to HEAD, for `count` images."""
        return HeadersAlone(
            form,
            facts=facts,
            shape=(count, *model.image_shape),
            drawing=drawing,
            max_png_pixels=self._services.settings.max_png_pixels,
        )


def _only_array(values: Mapping[str, object], takes: tuple[str, ...], *, is_optional: bool) -> str | None:
    """Which of the arrays a JSON body holds; None: none, where that is allowed.

    Raises:
        ProblemError: None where there must be one, or more than one.
    """
    there = [name for name in takes if name in values]
    if len(there) == 1 or (not there and is_optional):
        return there[0] if there else None
    listed = " or ".join(f"{name} {_SHAPES[name]}" for name in takes)
    raise ProblemError.of_item(
        "invalid-value",
        Item(
            f"body: {' or '.join(takes)}",
            f"an array of numbers, {listed if len(takes) > 1 else _SHAPES[takes[0]]}",
            "both" if there else "nothing",
            f'Send {{"{takes[0]}": [...]}}.',
        ),
    )


def one_source(name: str, in_query: Any, in_body: Any) -> Any:
    """A parameter that may come in the query or in the body, but not in both."""
    if in_query is not None and in_body is not None:
        raise ProblemError.of_item(
            "invalid-parameter",
            Item(f"query: {name}", "one value", "one here and one in the body", f"Send {name} in one place."),
        )
    return in_body if in_query is None else in_query
