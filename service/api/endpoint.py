"""The skeleton of a request to any operation, written once.

    admit ─▶ negotiate ─▶ read ─▶ model ─▶ parse ─▶ run ─▶ record ─▶ answer

Knows bodies, codecs and the registry. Knows nothing of the work of operations: `run` is the handler of one
(`service.api.native`). The engine batches and waits. Quick codecs run on the event loop, others in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.call import Call, Floats, Q
from service.api.operation import A, Operation
from service.api.parameters import Drawing, ImagesQuery, ModelChoice
from service.api.picture_room import decode_in_thread
from service.api.request_arrays import BodyReader, Read, is_of_numbers, is_quick_to_open, read_parameters
from service.api.request_images import picture_headers
from service.api.responses import (
    HeadersAlone,
    NpyInParts,
    WholeResponse,
    is_quick,
    make_not_modified,
    respond,
    reuse_of,
)
from service.api.routing import fast_paths, route
from service.app_state import AppState
from service.engine import Call as EngineCall
from service.engine import LoadedModel, Parts
from service.http.caching import Reuse, computed_etag, tag_in_hand
from service.http.connection import connection_of
from service.http.fast_routes import FastPath
from service.http.headers import joined_header
from service.http.negotiation import Format, choose_format
from service.http.parameters import Parameters, read_query
from service.http.problems import Item, ProblemError
from service.http.request_body import Body, read_body
from service.observability.request_trace import Trace, current_trace

#: Formats that a person saves. Browsers show the others, or a script reads them.
_FILES: Final = frozenset({Format.PNG, Format.JPEG, Format.WEBP, Format.NPY, Format.NPZ, Format.SAFETENSORS})
_DRAWN: Final = frozenset({Format.PNG, Format.JPEG, Format.WEBP, Format.TEXT})


class Endpoint(Generic[Q, A]):
    """One operation in one application: a request to a response."""

    def __init__(self, operation: Operation[Q, A], app_state: AppState) -> None:
        self._operation = operation
        self._app_state = app_state
        self._limits = app_state.limits
        self._timeout_s = app_state.settings.request_timeout_s
        # Looked up once: some of these cost a microsecond each time.
        self._formats = operation.formats
        self._is_seeded = operation.is_seeded
        self._is_drawn = issubclass(operation.query, Drawing)
        self._has_arrays = bool(operation.arrays)
        self._by_key = app_state.access.keys_required
        self._reader = BodyReader(
            operation.arrays,
            operation.body,
            app_state.limits,
            company=operation.company,
            is_optional=operation.is_array_optional,
            in_query=operation.query.model_fields,
        )
        self._none_in_body = self._reader.none_in_body

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        trace, engine_call = self._admit(request)
        chosen, query = self._negotiate(request)
        body = None
        if request.scope["method"] == "POST":
            body = await read_body(request, path=self._operation.path, kinds=self._operation.bodies)
        parameters = self._none_in_body
        if body is not None and not self._has_arrays:
            parameters = self._parse_parameters(body, trace)  # these require no model
        model = await self._model(query.model, trace)
        if not model.queued.is_bounded and self._is_drawn and chosen in _DRAWN:
            raise _not_drawn(model, chosen)
        arrays: Mapping[str, Floats] = {}
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if body is not None and self._has_arrays:
            read = await self._parse(body, model, query, engine_call)
            arrays, parameters = read.arrays, read.parameters
            model = read.model or model
            if read.treatments:
                headers = picture_headers(read.treatments, ground=_expected_ground(model, query))
        if parameters is not self._none_in_body:
            query = _one_source(query, parameters)
        call = Call(
            query,
            arrays,
            model,
            chosen,
            engine_call,
            self._app_state.pool,
            self._limits,
            self._timeout_s,
            trace,
        )
        if request.scope["method"] == "POST":
            response = await self._answer(call, await self._run(call))
            if headers:
                response.raw_headers += headers
            return response
        return await self._answer_to_get(request, call)

    async def _answer_to_get(self, request: Request, call: Call[Q]) -> Response:
        """The response to GET or HEAD, with headers for caches."""
        reuse = self._reuse(call.parameters)
        etag = None if reuse is Reuse.NEVER else self._etag(request, call)
        in_hand = etag and tag_in_hand(joined_header(request.scope, b"if-none-match"), etag)
        response: WholeResponse
        if in_hand or request.scope["method"] == "HEAD":
            response = self._headers_alone(call)
        else:
            response = await self._answer(call, await self._run(call))
        response.may_be_kept(
            reuse, by_key=self._by_key, by_accept="suffix" not in request.scope["path_params"]
        )
        if etag is not None:
            response.identified(in_hand or etag)
        if in_hand:
            make_not_modified(response)
            return response
        if call.format in _FILES and not (self._is_seeded and call.trace.seed is None):
            response.named(self._file_name(call))
        return response

    def _admit(self, request: Request) -> tuple[Trace, EngineCall]:
        """Reject the request while the queue is full, before any of it is read.

        Raises:
            TooBusy: The queue is full.
        """
        self._app_state.worker_pool.refuse_when_full()
        engine_call = EngineCall(
            deadline_s=time.monotonic() + self._timeout_s,
            is_disconnected=connection_of(request.scope).is_disconnected,
        )
        return current_trace(), engine_call

    def _negotiate(self, request: Request) -> tuple[Format, Q]:
        """Format of the response and parameters of the query, both checked before a body is read."""
        scope = request.scope
        chosen = choose_format(
            suffix=scope["path_params"].get("suffix"),
            accept=joined_header(scope, b"accept"),
            forms=self._formats,
        )
        return chosen, read_query(scope["query_string"], self._operation.query, self._limits)

    async def _model(self, reference: str | None, trace: Trace) -> LoadedModel:
        registry = self._app_state.registry
        model = registry.peek(reference)
        if model is None:
            model = await self._app_state.pool.run(registry.get, reference)
        trace.model = model.label
        return model

    def _parse_parameters(self, body: Body, trace: Trace) -> Parameters:
        """Parameters of a body without arrays."""
        if body.is_blank:
            return self._none_in_body
        with trace.phase("parse"):
            return read_parameters(
                body, self._operation.body, self._limits, in_query=self._operation.query.model_fields
            )

    async def _parse(self, body: Body, model: LoadedModel, query: Q, engine_call: EngineCall) -> Read:
        """The content of a body. A short body is read here, others in a thread."""
        trace = current_trace()
        with trace.phase("parse"):
            if not is_of_numbers(body):
                read = await self._parse_files(body, model, query, engine_call)
            elif is_quick_to_open(body):
                read = self._reader.read(body, model)
            else:
                read = await self._app_state.pool.run(self._reader.read, body, model)
        trace.images = len(next(iter(read.arrays.values()), ()))
        return read

    async def _parse_files(self, body: Body, model: LoadedModel, query: Q, engine_call: EngineCall) -> Read:
        """The content of a picture, a form or an archive.

        Raises:
            DeadlineExceeded: The deadline came before all pictures were decoded.
            CallerDisconnected: The client left before.
        """
        reader, pool = self._reader, self._app_state.pool
        is_quick = is_quick_to_open(body)
        contents = reader.open(body, model) if is_quick else await pool.run(reader.open, body, model)
        if (is_quick and not contents.pictures) or contents.is_quick:
            return reader.read_contents(contents, model, query, engine_call.check_wanted)
        return await decode_in_thread(
            pool,
            self._app_state.picture_room,
            max(contents.pixels, default=0),
            engine_call.deadline_s,
            reader.read_contents,
            contents,
            model,
            query,
            engine_call.check_wanted,
        )

    async def _run(self, call: Call[Q]) -> A | NpyInParts:
        """Run the handler, and record its measurements."""
        trace, engine_call = call.trace, call.engine_call
        try:
            done = await self._operation.run(call)
            if isinstance(done, Parts):
                # The first part is computed before the response begins, so that an error has its status.
                trace.seed = done.seed
                first = await anext(done.images)
        except ProblemError:
            raise  # rejected before any model ran
        except BaseException:
            trace.ran(engine_call)
            raise
        trace.ran(engine_call)
        if isinstance(done, Parts):
            answer, shape = self._operation.answer, call.model.image_shape
            return NpyInParts(
                done, first, answer=answer, shape=shape, is_disconnected=engine_call.is_disconnected
            )
        if self._is_seeded:
            trace.seed = done.seed  # type: ignore[attr-defined]
        latent_shape = call.model.queued.latent_shape
        return done.with_latents_of(latent_shape) if latent_shape else done

    async def _answer(self, call: Call[Q], done: A | NpyInParts) -> WholeResponse:
        """Write the response here if that is quick, otherwise in a thread."""
        if isinstance(done, NpyInParts):
            return done
        most = self._app_state.settings.max_png_pixels
        drawing = self._drawing(call)
        if is_quick(call.format, done, drawing):
            return respond(call.format, done, drawing=drawing, max_png_pixels=most)
        return await self._app_state.pool.run(
            respond, call.format, done, drawing=drawing, max_png_pixels=most
        )

    def _file_name(self, call: Call[Q]) -> str:
        """Such as `sample-mnist@4-seed-7.png`."""
        seed = "" if call.trace.seed is None else f"-seed-{call.trace.seed}"
        return f"{self._operation.name}-{call.model.label}{seed}.{call.format.suffix}"

    def _reuse(self, asked: Q) -> Reuse:
        """Whether the same request receives the same response again: without chance, from one version."""
        if self._is_seeded and getattr(asked, "seed", None) is None:
            return Reuse.NEVER
        return reuse_of(asked.model or "")

    def _etag(self, request: Request, call: Call[Q]) -> bytes:
        """The ETag of a response without chance: the version, the format and the query decide its bytes."""
        manifest = call.model.manifest
        return computed_etag(
            self._operation.path.encode(),
            manifest.manifest_sha256.encode(),
            call.format.suffix.encode(),
            request.scope["query_string"],
        )

    def _headers_alone(self, call: Call[Q]) -> HeadersAlone:
        """The response to HEAD, or to a client that has the body."""
        outline = self._operation.outlined(call)
        call.trace.seed = outline.seed
        drawing = self._drawing(call)
        assert drawing is not None, "operations that take GET have images"
        return HeadersAlone(
            call.format,
            outline.facts,
            answer=self._operation.answer,
            shape=(outline.images, *call.model.image_shape),
            drawing=drawing,
            max_png_pixels=self._app_state.settings.max_png_pixels,
        )

    def _drawing(self, call: Call[Q]) -> Drawing | None:
        """The drawing of images; rows follow the operation unless the client chooses."""
        if not self._is_drawn:
            return None
        asked = cast(Drawing, call.parameters)
        if call.columns is None or asked.columns:
            return asked
        return asked.model_copy(update={"columns": call.columns})


def _not_drawn(model: LoadedModel, chosen: Format) -> ProblemError:
    """The problem of a picture of values that are no pixels."""
    return ProblemError.of_item(
        "form-not-available",
        Item(
            "format",
            f"json, npy or npz, because the values of '{model.label}' are no pixels",
            chosen.suffix,
            "Request .npy.",
        ),
    )


def _expected_ground(model: LoadedModel, query: ModelChoice) -> str | None:
    """The ground of the model's training, if pictures of another one deserve a warning."""
    if not isinstance(query, ImagesQuery) or query.invert is not None or model.image_shape[0] != 1:
        return None
    return model.manifest.image.preprocessing.ground


def _one_source(query: Q, body: Parameters) -> Q:
    """The parameters of query and body together.

    Raises:
        ProblemError: `invalid-parameter`: query and body contain the same parameter.
    """
    stated = {name: value for name, value in body if value is not None}
    for name in stated:
        if getattr(query, name) is not None:
            raise ProblemError.of_item(
                "invalid-parameter",
                Item(
                    f"query: {name}",
                    "one value",
                    "one here and one in the body",
                    f"Send {name} in one place.",
                ),
            )
    return query.model_copy(update=stated)


class Endpoints:
    """All operations in one application."""

    def __init__(self, operations: Sequence[Operation[Any, Any]], app_state: AppState) -> None:
        self._endpoints = [(operation, Endpoint(operation, app_state)) for operation in operations]

    def routes(self) -> list[Route]:
        """Each path, and the same path with a suffix that chooses the format."""
        return [
            each
            for operation, endpoint in self._endpoints
            for each in route(operation.path, endpoint, methods=operation.methods, suffixes=True)
        ]

    def fast_paths(self) -> dict[str, FastPath]:
        """The same, for the look-up before the router."""
        found: dict[str, FastPath] = {}
        for operation, endpoint in self._endpoints:
            found |= fast_paths(operation.path, endpoint, methods=operation.methods, forms=operation.formats)
        return found
