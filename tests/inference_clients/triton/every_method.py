"""Every public method of Triton's four clients against a server, and what came of each call. Prints JSON.

    python every_method.py HOST:HTTP_PORT HOST:GRPC_PORT MODEL

MODEL takes `x`, FP32 (N, 1, 28, 28), and returns `mu`. With KEEP_MODEL=1 it is not unloaded. Knows the clients alone: the caller judges.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import queue
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_sync
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_sync
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

X = (np.arange(2 * 784) % 97 / 96).astype(np.float32).reshape(2, 1, 28, 28)
PATIENCE_S = 60
#: Name of the row, the call, and whether its result is right.
Call = tuple[Callable[[Any], Any], Callable[[Any], bool]]


class Plugin(http_sync.InferenceServerClientPlugin):
    """Adds a header to each request."""

    def __call__(self, request: Any) -> None:
        request.headers["x-request-id"] = "plugin"


def inputs(module: Any, array: np.ndarray = X, datatype: str = "FP32", **kwargs: Any) -> list[Any]:
    tensor = module.InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **kwargs)
    return [tensor]


def of(result: Any, name: str) -> Any:
    """A field of a document: a dictionary, or a message."""
    return result[name] if isinstance(result, dict) else getattr(result, name)


def is_answer(result: Any) -> bool:
    mu = result.as_numpy("mu")
    return mu is not None and mu.shape[0] == 2 and bool(np.isfinite(mu).all())


def facts(model: str) -> dict[str, Call]:
    """Calls that all four clients have, with the same arguments."""
    memory = {"name": "region", "byte_size": 64}
    return {
        "is_server_live": (lambda c: c.is_server_live(), bool),
        "is_server_ready": (lambda c: c.is_server_ready(), bool),
        "is_model_ready": (lambda c: c.is_model_ready(model), bool),
        "get_server_metadata": (lambda c: c.get_server_metadata(), lambda r: bool(of(r, "name"))),
        "get_model_metadata": (
            lambda c: c.get_model_metadata(model),
            lambda r: of(r, "name") == model and of(of(r, "inputs")[0], "name") == "x",
        ),
        "get_model_config": (
            lambda c: c.get_model_config(model),
            lambda r: of(r if isinstance(r, dict) else r.config, "max_batch_size") > 0,
        ),
        "get_model_repository_index": (
            lambda c: c.get_model_repository_index(),
            lambda r: model in {of(each, "name") for each in (r if isinstance(r, list) else r.models)},
        ),
        "get_inference_statistics": (
            lambda c: c.get_inference_statistics(model),
            lambda r: of(of(r, "model_stats")[0], "inference_count") > 0,
        ),
        "unload_model": (lambda c: c.unload_model(model), lambda _: True),
        "load_model": (lambda c: c.load_model(model), lambda _: True),
        "get_trace_settings": (lambda c: c.get_trace_settings(), lambda _: True),
        "update_trace_settings": (
            lambda c: c.update_trace_settings(settings={"trace_rate": "1"}), lambda _: True,
        ),
        "get_log_settings": (lambda c: c.get_log_settings(), lambda _: True),
        "update_log_settings": (
            lambda c: c.update_log_settings({"log_verbose_level": 1}), lambda _: True,
        ),
        "get_system_shared_memory_status": (lambda c: c.get_system_shared_memory_status(), lambda _: True),
        "register_system_shared_memory": (
            lambda c: c.register_system_shared_memory(key="/region", **memory), lambda _: True,
        ),
        "unregister_system_shared_memory": (lambda c: c.unregister_system_shared_memory(), lambda _: True),
        "get_cuda_shared_memory_status": (lambda c: c.get_cuda_shared_memory_status(), lambda _: True),
        "register_cuda_shared_memory": (
            lambda c: c.register_cuda_shared_memory(raw_handle=b"x" * 64, device_id=0, **memory), lambda _: True,
        ),
        "unregister_cuda_shared_memory": (lambda c: c.unregister_cuda_shared_memory(), lambda _: True),
        "register_plugin": (lambda c: c.register_plugin(Plugin()), lambda _: True),
        "plugin": (lambda c: c.plugin(), lambda r: r is not None),
        "unregister_plugin": (lambda c: c.unregister_plugin(), lambda _: True),
    }  # fmt: skip


def inferences(module: Any, model: str, *, is_http: bool) -> dict[str, Call]:
    """Every way to ask for an inference."""
    calls: dict[str, Call] = {
        "infer": (lambda c: c.infer(model, inputs(module)), is_answer),
        "infer: one output, an id, priority and timeout": (
            lambda c: c.infer(
                model, inputs(module), outputs=[module.InferRequestedOutput("mu")], request_id="r-1", priority=1,
                timeout=30_000_000,
            ),
            lambda r: is_answer(r) and of(r.get_response(), "id") == "r-1",
        ),
        "infer: a version": (
            lambda c: c.infer(model, inputs(module), model_version="1"),
            lambda r: is_answer(r) and of(r.get_response(), "model_version") == "1",
        ),
        "infer: FP16": (lambda c: c.infer(model, inputs(module, X.astype(np.float16), "FP16")), is_answer),
        "infer: a sequence": (
            lambda c: c.infer(
                model, inputs(module), sequence_id=3, sequence_start=True, sequence_end=True
            ),
            is_answer,
        ),
    }  # fmt: skip
    for name in ("gzip", "deflate"):
        if is_http:
            calls[f"infer: {name}, request"] = (
                lambda c, name=name: c.infer(model, inputs(module), request_compression_algorithm=name),
                is_answer,
            )
            calls[f"infer: {name}, response"] = (
                lambda c, name=name: c.infer(model, inputs(module), response_compression_algorithm=name),
                is_answer,
            )
        else:
            calls[f"infer: {name}, request"] = (
                lambda c, name=name: c.infer(model, inputs(module), compression_algorithm=name), is_answer,
            )  # fmt: skip
    if is_http:
        asked = [module.InferRequestedOutput("mu", binary_data=False)]
        calls["infer: JSON"] = (
            lambda c: c.infer(model, inputs(module, binary_data=False), outputs=asked), is_answer,
        )  # fmt: skip
        calls["generate_request_body"] = (
            lambda c: c.generate_request_body(inputs(module)), lambda r: r[0].startswith(b"{"),
        )  # fmt: skip
        calls["parse_response_body"] = (
            lambda c: c.parse_response_body(
                b'{"model_name": "m", "outputs": [{"name": "mu", "datatype": "FP32", "shape": [2, 1], '
                b'"data": [1, 2]}]}'
            ),
            is_answer,
        )
    return calls


def with_callbacks(model: str) -> dict[str, Call]:
    """Calls of the synchronous gRPC client whose results come to a function."""
    found: queue.Queue[Any] = queue.Queue()

    def put(result: Any, error: Any) -> None:
        found.put(error or result)

    def result_of() -> Any:
        got = found.get(timeout=PATIENCE_S)
        if isinstance(got, Exception):
            raise got
        return got

    def asked(client: Any) -> Any:
        client.async_infer(model, inputs(grpc_sync), callback=put)
        return result_of()

    def streamed(client: Any) -> Any:
        client.async_stream_infer(model, inputs(grpc_sync), request_id="s-1")
        return result_of()

    return {
        "async_infer": (asked, is_answer),
        "start_stream": (lambda c: c.start_stream(put), lambda _: True),
        "async_stream_infer": (streamed, lambda r: is_answer(r) and r.get_response().id == "s-1"),
        "stop_stream": (lambda c: c.stop_stream(), lambda _: True),
    }


async def outcome(client: Any, call: Call) -> str:
    make, is_right = call
    try:
        result = make(client)
        if inspect.isawaitable(result):
            result = await result
        return "works" if is_right(result) else f"wrong: {str(result)[:200]}"
    except InferenceServerException as error:
        return f"refused: {error.status()}: {error.message()}"[:400]
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"[:400]


async def outcomes(client: Any, calls: dict[str, Call]) -> dict[str, str]:
    """Of every call, and of every public method that none of them is."""
    found = {name: await outcome(client, call) for name, call in calls.items()}
    kind = type(client)
    methods = {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}
    called = {name.partition(":")[0] for name in calls}
    found |= dict.fromkeys(sorted(methods - called - {"close"}), "not called")
    return {**found, "close": await outcome(client, (lambda c: c.close(), lambda _: True))}


async def stream_infer(client: Any, model: str) -> Any:
    async def requests() -> Any:
        yield {"model_name": model, "inputs": inputs(grpc_aio), "request_id": "s-1"}

    ((result, error),) = [each async for each in client.stream_infer(requests())]
    if error is not None:
        raise error
    return result


async def main() -> None:
    http, grpc, model = sys.argv[1:]

    def get_result(client: Any) -> Any:
        return client.async_infer(model, inputs(http_sync)).get_result()

    common = facts(model)
    if os.environ.get("KEEP_MODEL"):
        del common["unload_model"], common["load_model"]
    found = {
        "tritonclient.http": await outcomes(
            http_sync.InferenceServerClient(http),
            {**inferences(http_sync, model, is_http=True), "async_infer": (get_result, is_answer), **common},
        ),
        "tritonclient.http.aio": await outcomes(
            http_aio.InferenceServerClient(http), {**inferences(http_aio, model, is_http=True), **common}
        ),
        "tritonclient.grpc": await outcomes(
            grpc_sync.InferenceServerClient(grpc),
            {**inferences(grpc_sync, model, is_http=False), **with_callbacks(model), **common},
        ),
        "tritonclient.grpc.aio": await outcomes(
            grpc_aio.InferenceServerClient(grpc),
            {
                **inferences(grpc_aio, model, is_http=False),
                "stream_infer": (lambda c: stream_infer(c, model), is_answer),
                **common,
            },
        ),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
