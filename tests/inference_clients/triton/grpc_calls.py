"""Every call of the unchanged `tritonclient.grpc`, sync and asyncio, against a server. Prints JSON.

python grpc_calls.py PORT
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

X = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)


def inputs(module: Any, *, typed: bool = False) -> list[Any]:
    tensor = module.InferInput("x", list(X.shape), "FP32")
    tensor.set_data_from_numpy(X)
    return [tensor]


def outputs(module: Any, *names: str) -> list[Any]:
    return [module.InferRequestedOutput(name) for name in names]


def seeds(module: Any) -> list[Any]:
    tensor = module.InferInput("seed", [2], "INT64")
    tensor.set_data_from_numpy(np.array([7, 8], np.int64))
    return [tensor]


def picture(module: Any, png: bytes) -> list[Any]:
    tensor = module.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([png], dtype=object))
    return [tensor]


def refused(call: Any) -> str:
    try:
        call()
    except InferenceServerException as error:
        return str(error.status())
    return "no error"


def sync_calls(address: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with triton.InferenceServerClient(address) as client:
        found["live"] = client.is_server_live()
        found["ready"] = client.is_server_ready()
        found["model_ready"] = client.is_model_ready("mnist"), client.is_model_ready("nothing")
        found["server"] = client.get_server_metadata(as_json=True)["name"]
        found["metadata"] = client.get_model_metadata("mnist", as_json=True)["name"]
        found["config"] = client.get_model_config("mnist").config.max_batch_size
        stats = client.get_inference_statistics("mnist", "1", as_json=True)
        found["statistics"] = [each["version"] for each in stats["model_stats"]]
        found["all_statistics"] = len(client.get_inference_statistics().model_stats)
        found["index"] = sorted({each.name for each in client.get_model_repository_index().models})[:2]
        for compression in (None, "gzip", "deflate"):
            answer = client.infer(
                "mnist-encoder", inputs(triton), outputs=outputs(triton, "mu"), request_id="r7",
                compression_algorithm=compression, client_timeout=60, priority=1, timeout=60_000_000,
            )  # fmt: skip
            found[f"infer_{compression}"] = answer.as_numpy("mu").shape, answer.get_response().id
        answer = client.infer("mnist", inputs(triton))
        found["all_outputs"] = [each.name for each in answer.get_response().outputs]
        sampled = client.infer("mnist-sampler", seeds(triton), parameters={"temperature": 0.5})
        found["sampled"] = sampled.as_numpy("x_hat").shape
        done: queue.Queue[Any] = queue.Queue()
        client.async_infer("mnist", inputs(triton), callback=lambda result, error: done.put((result, error)))
        result, error = done.get(timeout=60)
        found["async_infer"] = error is None and result.as_numpy("mu").shape
        client.start_stream(callback=lambda result, error: done.put((result, error)))
        for at in range(5):
            client.async_stream_infer(
                "mnist-encoder" if at != 3 else "nothing", inputs(triton), request_id=str(at)
            )
        streamed = [done.get(timeout=60) for _ in range(5)]
        client.stop_stream()
        found["stream"] = [
            "error" if error is not None else result.get_response().id for result, error in streamed
        ]
        client.unload_model("plain")
        found["unloaded"] = client.is_model_ready("plain")
        client.load_model("plain")
        found["loaded"] = client.is_model_ready("plain")
        found["shared_memory"] = refused(client.get_system_shared_memory_status)
        found["register"] = refused(lambda: client.register_system_shared_memory("a", "/a", 10))
        found["cuda"] = refused(client.get_cuda_shared_memory_status)
        found["trace"] = refused(client.get_trace_settings)
        found["log"] = refused(client.get_log_settings)
        found["unknown"] = refused(lambda: client.infer("nothing", inputs(triton)))
        wrong = triton.InferInput("x", [1, 784], "FP32")
        wrong.set_data_from_numpy(np.zeros((1, 784), np.float32))
        found["wrong"] = refused(lambda: client.infer("mnist", [wrong]))
        found["late"] = refused(lambda: client.infer("mnist", inputs(triton), client_timeout=1e-6))
    return found


async def aio_calls(address: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with triton_aio.InferenceServerClient(address) as client:
        found["live"] = await client.is_server_live()
        found["metadata"] = (await client.get_model_metadata("mnist", as_json=True))["name"]
        for compression in (None, "gzip", "deflate"):
            answer = await client.infer(
                "mnist-encoder",
                inputs(triton_aio),
                compression_algorithm=compression,
                headers={"x-request-id": "a7"},
            )
            found[f"infer_{compression}"] = answer.as_numpy("logvar").shape

        async def requests() -> Any:
            for at in range(4):
                yield {"model_name": "mnist-encoder", "inputs": inputs(triton_aio), "request_id": str(at)}

        found["stream"] = []
        async for result, error in client.stream_infer(requests()):
            found["stream"].append("error" if error else result.get_response().id)
    return found


if __name__ == "__main__":
    address = f"127.0.0.1:{sys.argv[1]}"
    print(json.dumps({"sync": sync_calls(address), "aio": asyncio.run(aio_calls(address))}))
