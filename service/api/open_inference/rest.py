"""The protocol over HTTP: each path and its handler.

Knows requests, responses and their headers. Knows nothing of tensors or of the work of a model, which is in
`core`, for gRPC as well. A query is ignored, because clients and proxies add their own.

    admit ─▶ read the body ─▶ decompress ─▶ find ─▶ parse ─▶ infer ─▶ write
"""

from __future__ import annotations

import re
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_store.echo import echo
from service.api.open_inference import resources
from service.api.open_inference.compression import decompressed, request_encoding
from service.api.open_inference.core import QUICK_VALUES_AS_BYTES, QUICK_VALUES_AS_TEXT, OpenInference
from service.api.open_inference.messages import InferenceResponse
from service.api.open_inference.metadata import ModelNameList, ModelReady, ServerLive, ServerReady
from service.api.open_inference.names import ServedModel
from service.api.open_inference.rest_request import (
    ParsedRequest,
    header_length,
    read_raw_request,
    read_request,
)
from service.api.open_inference.rest_response import response_encoding, write_response
from service.api.resource import JSON, Resource
from service.api.responses import document_response
from service.api.routing import route
from service.app_state import AppState
from service.codecs.describe import describe
from service.codecs.errors import InvalidValue
from service.codecs.strict_json import parse_json_object
from service.engine import ModelUnavailable, UnknownModel
from service.http.connection import connection_of
from service.http.fast_routes import FastPath
from service.http.headers import first_header
from service.http.middleware import BodyBudget
from service.http.problems import ProblemError
from service.http.request_body import read_all
from service.observability.request_trace import Trace, current_trace

HEADER_LENGTH: Final = b"inference-header-content-length"
#: Longer JSON is parsed, and longer compressed bodies are decompressed, in a thread.
_QUICK_JSON_BYTES: Final = 65_536
_QUICK_COMPRESSED_BYTES: Final = 4_096
_POST: Final = frozenset({"POST"})
_INFER_PATH: Final = re.compile(r"/v2/models/([^/]{1,80})(?:/versions/([^/]{1,16}))?/infer")

#: Parts of Triton's protocol that are refused.
_SHARED_MEMORY: Final = tuple(
    f"/v2/{kind}sharedmemory{rest}"
    for kind in ("system", "cuda")
    for rest in (
        *("/status", "/unregister"),
        *(f"/region/{{region}}/{what}" for what in ("status", "register", "unregister")),
    )
)
_SETTINGS: Final = ("/v2/trace/setting", "/v2/models/{model}/trace/setting", "/v2/logging")


class OpenInferenceRoutes:
    """The paths of the protocol in one application."""

    resources: tuple[Resource, ...] = resources.RESOURCES

    def __init__(self, app_state: AppState, core: OpenInference) -> None:
        settings = app_state.settings
        self._app_state = app_state
        self._core = core
        self._pool = app_state.pool
        self._max_bytes = settings.max_body_bytes
        # Bodies are counted as they arrive; decompressed ones have a budget of the same size.
        self._budget = BodyBudget(settings.max_buffered_bytes)
        self._numbers = settings.max_images

    def routes(self) -> list[Route]:
        """Each path; `stats` before the name of a model."""
        found = [
            *route(resources.SERVER.path, self.server),
            *route(resources.SERVER.path + "/", self.server, is_documented=False),
            *route(resources.LIVE.path, self.live),
            *route(resources.READY.path, self.ready),
            *route(resources.MODELS.path, self.models),
            *route(resources.ALL_STATISTICS.path, self.statistics),
            *route(resources.INDEX.path, self.index, methods=("POST",)),
            *route(resources.LOAD.path, self.load, methods=("POST",)),
            *route(resources.UNLOAD.path, self.unload, methods=("POST",)),
        ]
        for of_model, handler in (
            (resources.MODEL, self.model),
            (resources.MODEL_READY, self.model_ready),
            (resources.CONFIG, self.config),
            (resources.STATISTICS, self.statistics),
        ):
            found += [each for resource in of_model for each in route(resource.path, handler)]
        for resource in resources.INFER:
            found += route(resource.path, self.infer, methods=("POST",))
        for paths, refuse in ((_SHARED_MEMORY, self.no_shared_memory), (_SETTINGS, self.no_setting)):
            for path in paths:
                found += route(path, refuse, methods=("GET", "POST"), is_documented=False)
        return found

    def fast_path(self, path: str) -> FastPath | None:
        """The path of an inference, for the look-up before the router; None for any other."""
        found = _INFER_PATH.fullmatch(path)
        if found is None:
            return None
        name, version = found.groups()
        params = {"model": name} if version is None else {"model": name, "version": version}
        template = resources.INFER[0 if version is None else 1].path
        return FastPath(self.infer, template, _POST, params)

    # Inference

    async def infer(self, request: Request) -> Response:
        """Answer one inference."""
        core, trace, scope = self._core, current_trace(), request.scope
        arrival = core.admit(connection_of(scope).is_disconnected)
        encoding = request_encoding(first_header(scope, b"content-encoding"))
        with trace.phase("read"):
            body = await read_all(request)
        held = 0
        try:
            if encoding is not None:
                body = await self._decompress(body, encoding)
                held = len(body)
                self._hold(held)
            length = header_length(first_header(scope, HEADER_LENGTH), body_bytes=len(body))
            name: str = request.path_params["model"]
            version: str = request.path_params.get("version") or ""
            model = await core.find(name, version, trace)
            try:
                parsed = await self._parse(body, length, model, version, trace)
            except BaseException:
                core.statistics.failed(model, trace)
                raise
            asked = parsed.request.version
            if asked not in (version, model.version):
                model = await self._of_body(name, asked, trace)

            def write(response: InferenceResponse) -> Response:
                return write_response(
                    response,
                    is_binary=parsed.is_binary,
                    encoding=response_encoding(first_header(scope, b"accept-encoding")),
                )

            quick = QUICK_VALUES_AS_BYTES if parsed.is_all_binary else QUICK_VALUES_AS_TEXT
            return await core.infer(parsed.request, arrival, trace, write, quick_values=quick, model=model)
        finally:
            self._budget.held -= held

    async def _of_body(self, name: str, version: str, trace: Trace) -> ServedModel:
        """The model whose version only the body names."""
        try:
            return await self._core.find(name, version, trace)
        except UnknownModel as error:
            raise InvalidValue(
                "body: model_version",
                f"one of the versions of {echo(name)}",
                echo(version),
                "GET /v2/models/NAME lists the versions.",
            ) from error

    async def _decompress(self, body: bytes | bytearray, encoding: str) -> bytes:
        if len(body) <= _QUICK_COMPRESSED_BYTES:
            return decompressed(body, encoding, max_bytes=self._max_bytes)
        return await self._pool.run(decompressed, body, encoding, max_bytes=self._max_bytes)

    def _hold(self, size: int) -> None:
        self._budget.held += size
        if self._budget.held > self._budget.most:
            raise ProblemError(
                "too-busy",
                f"All decompressed bodies together exceed {self._budget.most} bytes at the moment.",
                headers={"Retry-After": "1"},
            )

    async def _parse(
        self, body: bytes | bytearray, length: int | None, model: ServedModel, version: str, trace: Trace
    ) -> ParsedRequest:
        with trace.phase("parse"):
            if length == 0:
                return read_raw_request(body, model, version=version)
            most = model.row_values * self._numbers
            if (len(body) if length is None else length) <= _QUICK_JSON_BYTES:
                return read_request(body, length, model=model.name, version=version, max_values=most)
            return await self._pool.run(
                read_request, body, length, model=model.name, version=version, max_values=most
            )

    # Facts

    async def server(self, _: Request) -> Response:
        """Name, version and extensions."""
        return document_response(self._core.server_metadata())

    async def live(self, _: Request) -> Response:
        """The event loop turns: reaching this line is the evidence."""
        return document_response(ServerLive(live=True))

    async def ready(self, _: Request) -> Response:
        """As /readyz: the default model reproduced its golden vectors."""
        self._core.require_ready()
        return document_response(ServerReady(ready=True))

    async def models(self, _: Request) -> Response:
        """Names of all models in memory."""
        return document_response(ModelNameList(models=list(self._core.names.known())))

    async def model(self, request: Request) -> Response:
        """Versions and tensors of one model."""
        return document_response(await self._core.model_metadata(*self._named(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether one model can answer; 404 or 503 if it cannot."""
        model = await self._core.names.find(*self._named(request))
        if self._app_state.lifecycle.draining:
            raise ModelUnavailable(model.name, "The server is stopping.")
        return document_response(ModelReady(name=model.name, ready=True))

    async def config(self, request: Request) -> Response:
        """The configuration of one model."""
        return document_response(await self._core.model_config(*self._named(request)))

    async def statistics(self, request: Request) -> Response:
        """The statistics of one model, or of all."""
        return document_response(await self._core.model_statistics(*self._named(request)))

    @staticmethod
    def _named(request: Request) -> tuple[str, str]:
        return request.path_params.get("model", ""), request.path_params.get("version", "")

    # Repository

    async def index(self, request: Request) -> Response:
        """Every model in memory; with `{"ready": true}` only those that can answer."""
        body = await read_all(request)
        only_ready = False
        if body and not body.isspace():
            ready = parse_json_object(body, max_values=0, example='{"ready": true}').get("ready", False)
            if not isinstance(ready, bool):
                raise InvalidValue(
                    "body: ready", "true or false", describe(ready), 'Such as {"ready": true}.'
                )
            only_ready = ready
        entries = [entry.model_dump(mode="json") for entry in self._core.repository.index(ready=only_ready)]
        return Response(orjson.dumps(entries), media_type=JSON)

    async def load(self, request: Request) -> Response:
        """Load the store's versions of a name now."""
        self._app_state.access.authorise_administration(request.scope)
        await self._core.repository.load(request.path_params["model"])
        return Response(b"{}", media_type=JSON)

    async def unload(self, request: Request) -> Response:
        """Serve no version of a name until it is loaded again."""
        self._app_state.access.authorise_administration(request.scope)
        await self._core.repository.unload(request.path_params["model"])
        return Response(b"{}", media_type=JSON)

    # Parts of Triton's protocol that this server does not have

    async def no_shared_memory(self, _: Request) -> Response:
        """Refuse a region of shared memory."""
        raise ProblemError(
            "not-supported",
            "Shared memory is not supported: send and receive tensors in the body of a request.",
        )

    async def no_setting(self, _: Request) -> Response:
        """Refuse a setting of traces or of the log."""
        raise ProblemError(
            "not-supported",
            "The settings of the log and of traces do not change over the network: restart the server.",
        )
