"""The protocol on arrays, without its transport: REST and gRPC are two ways to call this one object.

Knows models, tensors, deadlines and statistics. Knows nothing of JSON, of gRPC's messages or of headers.
Methods raise the errors of the engine, the codecs or `ProblemError`; `service.http.problems.problem_of` turns
the first two into the third.

    admit ─▶ (read the message) ─▶ infer ─▶ (send the message)

A transport that needs the model to read a message calls `find` before, and reads inside of `counting`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from service.api.open_inference import inference
from service.api.open_inference.messages import InferenceRequest, InferenceResponse, InputTensor
from service.api.open_inference.metadata import (
    ModelConfig,
    ModelMetadata,
    ServerMetadata,
    model_config,
    model_metadata,
    server_metadata,
)
from service.api.open_inference.names import ModelNames, ServedModel
from service.api.open_inference.parameters import InferenceParameters
from service.api.open_inference.repository import Repository
from service.api.open_inference.statistics import Statistics, StatisticsList
from service.api.open_inference.tensors import BYTES
from service.api.picture_room import decode_in_thread
from service.api.readiness import require_ready
from service.app_state import AppState
from service.engine import Batch, Call, Company, priority_head_start_s
from service.http.problems import ProblemError
from service.observability.request_trace import Trace

#: Values that are written as bytes on the event loop; text takes longer.
QUICK_VALUES_AS_BYTES: Final = 500_000
QUICK_VALUES_AS_TEXT: Final = 20_000
_S_PER_US: Final = 1e-6
W = TypeVar("W")


class Arrival(NamedTuple):
    """An admitted request: when its result becomes useless, and whether its client still waits."""

    at_s: float
    """When it arrived, on the monotonic clock."""
    deadline_s: float
    is_disconnected: Callable[[], bool]
    company: Company | None = None
    """As of `Call`."""


class Counting:
    """A context that counts an error inside as a failed request of a model."""

    __slots__ = ("_model", "_statistics", "_trace")

    def __init__(self, statistics: Statistics, model: ServedModel, trace: Trace) -> None:
        self._statistics = statistics
        self._model = model
        self._trace = trace

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._statistics.failed(self._model, self._trace)


class OpenInference:
    """The protocol in one application."""

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state
        self._timeout_s = app_state.settings.request_timeout_s
        self.names = ModelNames(app_state)
        self.statistics = Statistics(app_state.metrics.inferences)
        self.repository = Repository(app_state, self.names)

    # Inference

    def admit(
        self,
        is_disconnected: Callable[[], bool],
        *,
        timeout_s: float | None = None,
        company: Company | None = None,
    ) -> Arrival:
        """Accept a request, before its tensors are read.

        Args:
            is_disconnected: Whether the client will read no response. Called from any thread.
            timeout_s: The time limit of the transport's own call, if it has one. It shortens the server's and
                never lengthens it.
            company: As of `Call`.

        Raises:
            TooBusy: The queue is full.
        """
        self._app_state.worker_pool.refuse_when_full()
        now_s = time.monotonic()
        limit_s = self._timeout_s if timeout_s is None else min(self._timeout_s, timeout_s)
        return Arrival(now_s, now_s + limit_s, is_disconnected, company)

    async def find(self, name: str, version: str, trace: Trace) -> ServedModel:
        """The model of a request, which its trace then names.

        Args:
            name: Name of the model in the protocol, such as `mnist-encoder`.
            version: A number of the store; empty: the version of the default alias.
            trace: That of the request.

        Raises:
            UnknownModel: There is no such model or version.
            ModelUnavailable: It exists and cannot be served.
            NoPrior: The sampler of a version without a prior.
        """
        model = await self.names.find(name, version, trace.routing_key)
        trace.model = model.loaded.label
        return model

    def counting(self, model: ServedModel, trace: Trace) -> Counting:
        """Count an error inside as a failed request of the model: of its message, its tensors or its run."""
        return Counting(self.statistics, model, trace)

    async def infer(
        self,
        request: InferenceRequest,
        arrival: Arrival,
        trace: Trace,
        write: Callable[[InferenceResponse], W],
        *,
        quick_values: int = QUICK_VALUES_AS_BYTES,
        model: ServedModel | None = None,
    ) -> W:
        """Answer one request, and count it.

        Args:
            request: The request; its tensors are checked here.
            arrival: The result of `admit`.
            trace: Times of the request. Its phase `parse` has the time of reading the message already.
            write: Turns the response into the transport's message, in the phase `encode`. It runs in a thread
                if there are many values.
            quick_values: Maximum number of values for which `write` runs on the event loop.
            model: The result of `find` for the request, if the transport needed it to read the message.

        Raises:
            CodecError: The tensors do not fit the model.
            EngineError: As the operations of the engine.
            ProblemError: `invalid-value`, about a parameter.
        """
        if model is None:
            model = await self.find(request.model, request.version, trace)
        with self.counting(model, trace):
            plan = self._plan(model, request)
            call = self._call(plan.parameters, arrival)
            work = await self._read(plan, request, call, model, trace)
            try:
                arrays, facts = await inference.run(
                    model, work, plan, call=call, in_thread=self._app_state.pool.run
                )
            finally:
                trace.ran(call)
            response = InferenceResponse(
                model.name, model.version, inference.output_tensors(plan, arrays), request.id, facts
            )
            written = await self._write(response, trace, write, quick_values)
        self.statistics.succeeded(model, trace, rows=work.rows, batches=call.batches or ())
        return written

    def _plan(self, model: ServedModel, request: InferenceRequest) -> inference.Plan:
        limits = self._app_state.limits
        if request.plans is None:
            return inference.plan(model, request, limits)
        key = (limits.max_images, *model.signature)
        known: inference.Plan | None = request.plans.get(key)
        if known is None:
            known = request.plans[key] = inference.plan(model, request, limits)
        return known

    async def _read(
        self, plan: inference.Plan, request: InferenceRequest, call: Call, model: ServedModel, trace: Trace
    ) -> inference.Work:
        (tensor,) = request.inputs
        with trace.phase("parse"):
            if tensor.datatype == BYTES:
                work = await self._read_pictures(plan, tensor, call, model)
            elif inference.is_quick_to_read(tensor):
                work = inference.read_input(plan, tensor)
            else:
                work = await self._app_state.pool.run(inference.read_input, plan, tensor)
        trace.images = work.rows
        return work

    async def _read_pictures(
        self, plan: inference.Plan, tensor: InputTensor, call: Call, model: ServedModel
    ) -> inference.Work:
        pool = self._app_state.pool
        files = await pool.run(inference.read_files, plan, tensor)
        pixels = inference.pixels_of(files)
        return await decode_in_thread(
            pool,
            self._app_state.picture_room,
            max(pixels, default=0),
            call.deadline_s,
            inference.decode_files,
            files,
            pixels,
            model,
            plan,
            call.check_wanted,
        )

    def _call(self, parameters: InferenceParameters, arrival: Arrival) -> Call:
        deadline_s = arrival.deadline_s
        if parameters.timeout:
            deadline_s = min(deadline_s, arrival.at_s + parameters.timeout * _S_PER_US)
        batches: list[Batch] = []
        return Call(
            deadline_s=deadline_s,
            is_disconnected=arrival.is_disconnected,
            head_start_s=priority_head_start_s(parameters.priority or 0),
            batches=batches,
            company=arrival.company,
        )

    async def _write(
        self,
        response: InferenceResponse,
        trace: Trace,
        write: Callable[[InferenceResponse], W],
        quick_values: int,
    ) -> W:
        with trace.phase("encode"):
            if inference.values_of(response.outputs) <= quick_values:
                return write(response)
            return await self._app_state.pool.run(write, response)

    # Facts

    @property
    def is_ready(self) -> bool:
        """Whether requests for the default model can be answered; False while the server stops."""
        try:
            self.require_ready()
        except ProblemError:
            return False
        return True

    def require_ready(self) -> None:
        """Check that requests for the default model can be answered, as /readyz does.

        Raises:
            ProblemError: `shutting-down` or `not-ready`.
        """
        require_ready(self._app_state)

    def server_metadata(self) -> ServerMetadata:
        """The server."""
        return server_metadata()

    async def model_metadata(self, name: str, version: str = "") -> ModelMetadata:
        """One model, its versions and its tensors; raises as `ModelNames.find`."""
        model = await self.names.find(name, version)
        return model_metadata(model, await self.names.versions(model))

    async def model_config(self, name: str, version: str = "") -> ModelConfig:
        """The configuration of one model; raises as `ModelNames.find`."""
        return model_config(await self.names.find(name, version))

    async def model_statistics(self, name: str = "", version: str = "") -> StatisticsList:
        """The statistics of one model, or, without a name, of every model in memory.

        Raises:
            UnknownModel: There is no such model or version.
        """
        return self.statistics.of([await self.names.find(name, version)] if name else self.names.loaded())
