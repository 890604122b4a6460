"""The skeleton of a request to any operation, written once.

    admit ─▶ negotiate ─▶ read ─▶ model ─▶ parse ─▶ run ─▶ record ─▶ answer

A client that has the answer already receives 304 after `negotiate`, also while the queue is full.

Knows bodies, codecs and the registry. Knows nothing of the work of operations: `run` is the handler of one
(`service.api.native`). The engine batches and waits. Quick codecs run on the event loop, others in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic
from weakref import ref

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.admission import admit, requested_model
from service.api.call import Call, Floats, Outline, Q
from service.api.known_answers import KnownAnswer, KnownAnswers, key_of
from service.api.operation import A, Operation
from service.api.parameters import Drawing, ImagesQuery, ModelChoice
from service.api.picture_room import decode_in_thread
from service.api.request_arrays import BodyReader, Read, is_of_numbers, is_quick_to_open, read_parameters
from service.api.request_images import picture_headers
from service.api.response_identity import drawing_of, etag_of, reuse_of_call
from service.api.responses import (
    HeadersAlone,
    NotModified,
    NpyInParts,
    WholeResponse,
    is_quick,
    make_not_modified,
    respond,
)
from service.api.routing import fast_paths, route
from service.app_state import AppState
from service.engine import Call as EngineCall
from service.engine import LoadedModel, Parts
from service.http.caching import Reuse, prepare_etags, tag_in_hand, vary_by
from service.http.fast_routes import FastPath
from service.http.headers import first_header, joined_header
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
        self._known_answers = KnownAnswers()

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        is_post = request.scope["method"] == "POST"
        if not is_post:
            known = self._known_answer(request)
            if known is not None:
                return known
        trace, engine_call = current_trace(), admit(self._app_state, request)
        chosen, query = self._negotiate(request)
        body = None
        if is_post:
            body = await read_body(request, path=self._operation.path, kinds=self._operation.bodies)
        parameters = self._none_in_body
        if body is not None and not self._has_arrays:
            parameters = self._parse_parameters(body, trace)  # these require no model
        model = await requested_model(self._app_state, query.model, trace)
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
        call = self._call(query, model, chosen, trace, arrays=arrays, engine_call=engine_call)
        if is_post:
            response = await self._answer(call, await self._run(call))
            if headers:
                response.raw_headers += headers
            return response
        return await self._answer_to_get(request, call)

    def _call(
        self,
        query: Q,
        model: LoadedModel,
        chosen: Format,
        trace: Trace,
        *,
        arrays: Mapping[str, Floats],
        engine_call: EngineCall,
    ) -> Call[Q]:
        pool, limits = self._app_state.pool, self._limits
        return Call(query, arrays, model, chosen, engine_call, pool, limits, self._timeout_s, trace)

    def _known_answer(self, request: Request) -> Response | None:
        """The response to a client that has the body already: no room in the queue, no model run.

        None: the client does not have it, or its version must be loaded before.
        """
        scope, registry, trace = request.scope, self._app_state.registry, current_trace()
        if_none_match = joined_header(scope, b"if-none-match")
        if if_none_match is None:
            return None
        key = key_of(scope)
        sent = self._known_answers.find(key)
        if (
            sent is not None
            and (model := sent.model()) is not None
            and model is registry.peek(sent.reference)
            and not registry.is_split(sent.reference)
        ):
            in_hand = tag_in_hand(if_none_match, sent.etag)
            if in_hand is None:
                return None
            trace.model, trace.seed = model.label, sent.seed
            return NotModified(sent.headers, in_hand)
        chosen, query = self._negotiate(request)
        found = registry.peek(query.model, trace.routing_key)
        reuse = reuse_of_call(self._operation, query)
        if found is None or reuse is Reuse.NEVER:
            return None
        trace.model = found.label
        call = self._call(query, found, chosen, trace, arrays={}, engine_call=EngineCall())
        outline = self._operation.outlined(call)
        etag = etag_of(self._operation, call, outline)
        response = self._not_modified(request, call, reuse, outline, etag)
        if response is not None and not registry.is_split(query.model):
            headers = tuple(response.raw_headers)
            self._known_answers.add(key, KnownAnswer(query.model, ref(found), etag, outline.seed, headers))
        return response

    async def _answer_to_get(self, request: Request, call: Call[Q]) -> Response:
        """The response to GET or HEAD, with headers for caches."""
        reuse = reuse_of_call(self._operation, call.parameters)
        is_head = request.scope["method"] == "HEAD"
        outline, etag = None, None
        if is_head or reuse is not Reuse.NEVER:
            outline = self._operation.outlined(call)
        if outline is not None and reuse is not Reuse.NEVER:
            etag = etag_of(self._operation, call, outline)
            if (known := self._not_modified(request, call, reuse, outline, etag)) is not None:
                return known  # its version was not loaded before
        response: WholeResponse
        if is_head and outline is not None:
            response = self._headers_alone(call, outline)
        else:
            response = await self._answer(call, await self._run(call))
        self._may_be_kept(request, response, reuse, call.parameters.model)
        if etag is not None:
            response.identified(etag)
        if call.format in _FILES and not (self._is_seeded and call.trace.seed is None):
            response.named(self._file_name(call))
        return response

    def _not_modified(
        self, request: Request, call: Call[Q], reuse: Reuse, outline: Outline, etag: bytes
    ) -> Response | None:
        """The response to a client whose `If-None-Match` contains the ETag; None: it does not."""
        in_hand = tag_in_hand(joined_header(request.scope, b"if-none-match"), etag)
        if in_hand is None:
            return None
        response = self._headers_alone(call, outline)
        self._may_be_kept(request, response, reuse, call.parameters.model)
        response.identified(in_hand)
        make_not_modified(response)
        return response

    def _may_be_kept(
        self, request: Request, response: WholeResponse, reuse: Reuse, reference: str | None
    ) -> None:
        scope = request.scope
        by_key = self._by_key or first_header(scope, b"authorization") is not None
        response.may_be_kept(reuse, by_key=by_key, by_accept="suffix" not in scope["path_params"])
        if self._app_state.registry.is_split(reference):
            vary_by(response.raw_headers, b"X-Canary-Key")

    def _negotiate(self, request: Request) -> tuple[Format, Q]:
        """Format of the response and parameters of the query, both checked before a body is read."""
        scope = request.scope
        chosen = choose_format(
            suffix=scope["path_params"].get("suffix"),
            accept=joined_header(scope, b"accept"),
            forms=self._formats,
        )
        return chosen, read_query(scope["query_string"], self._operation.query, self._limits)

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
        drawing, most = None, 0
        if self._is_drawn:
            drawing, most = drawing_of(call), self._limits.most_drawn(call.model.image_shape)
        if is_quick(call.format, done, drawing):
            return respond(call.format, done, drawing=drawing, max_png_pixels=most)
        return await self._app_state.pool.run(
            respond, call.format, done, drawing=drawing, max_png_pixels=most
        )

    def _file_name(self, call: Call[Q]) -> str:
        """Such as `sample-mnist@4-seed-7.png`."""
        seed = "" if call.trace.seed is None else f"-seed-{call.trace.seed}"
        return f"{self._operation.name}-{call.model.label}{seed}.{call.format.suffix}"

    def _headers_alone(self, call: Call[Q], outline: Outline) -> HeadersAlone:
        """The response to HEAD, or to a client that has the body."""
        call.trace.seed = outline.seed
        drawing = drawing_of(call)
        assert drawing is not None, "operations that take GET have images"
        return HeadersAlone(
            call.format,
            outline.facts,
            answer=self._operation.answer,
            shape=(outline.images, *call.model.image_shape),
            drawing=drawing,
            max_png_pixels=self._limits.most_drawn(call.model.image_shape),
        )


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
        prepare_etags()
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
