"""Every call of Triton's unchanged HTTP client, synchronous and asynchronous, against a running server.

    python calls.py 127.0.0.1:8000 [KEY]

Prints one JSON object: what each call returned. Knows the client alone; the test that runs it judges.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as sync
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

X = (np.arange(2 * 784, dtype=np.int64) % 97 / 96).astype(np.float32).reshape(2, 1, 28, 28)
Z = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
SEEDS = np.array([7, 2**53 - 1], np.int64)


def inputs(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> list[Any]:
    tensor = sync.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def outputs(*names: str, binary: bool = True) -> list[Any]:
    return [sync.InferRequestedOutput(name, binary_data=binary) for name in names]


def infer_calls(png: bytes) -> dict[str, dict[str, Any]]:
    """Arguments of every way to call `infer`."""
    picture = np.array([png], dtype=object)
    calls: dict[str, dict[str, Any]] = {
        "whole": {"model_name": "mnist", "inputs": inputs("x", X, "FP32")},
        "whole of version 2": {
            "model_name": "mnist", "inputs": inputs("x", X, "FP32"), "model_version": "2", "request_id": "r-2",
        },
        "one output": {
            "model_name": "mnist", "inputs": inputs("x", X, "FP32"), "outputs": outputs("mu"),
            "priority": 1, "timeout": 20_000_000, "sequence_id": 3, "sequence_start": True,
            "sequence_end": True, "query_params": {"a": 1},
        },
        "JSON in": {"model_name": "mnist-encoder", "inputs": inputs("x", X, "FP32", binary=False)},
        "JSON in and out": {
            "model_name": "mnist", "inputs": inputs("x", X, "FP32", binary=False),
            "outputs": outputs("mu", "logvar", "x_hat", binary=False),
        },
        "half precision": {"model_name": "mnist-encoder", "inputs": inputs("x", X.astype(np.float16), "FP16")},
        "picture": {"model_name": "mnist-encoder", "inputs": inputs("image", picture, "BYTES")},
        "decoder": {"model_name": "mnist-decoder", "inputs": inputs("z", Z, "FP32")},
        "sampler": {
            "model_name": "mnist-sampler", "inputs": inputs("seed", SEEDS, "INT64"),
            "parameters": {"temperature": 0.5, "prior": "standard"},
        },
        "sampler in JSON": {"model_name": "mnist-sampler", "inputs": inputs("seed", SEEDS, "INT64", binary=False)},
    }  # fmt: skip
    for algorithm in ("gzip", "deflate"):
        calls[f"request in {algorithm}"] = {
            "model_name": "mnist", "inputs": inputs("x", X, "FP32"), "request_compression_algorithm": algorithm,
        }  # fmt: skip
        calls[f"response in {algorithm}"] = {
            "model_name": "mnist", "inputs": inputs("x", X, "FP32"), "response_compression_algorithm": algorithm,
        }  # fmt: skip
    return calls


def arrays(result: Any) -> dict[str, Any]:
    response = result.get_response()
    return {
        "model": response["model_name"],
        "version": response["model_version"],
        "id": response.get("id"),
        "arrays": {each["name"]: result.as_numpy(each["name"]).tolist() for each in response["outputs"]},
    }


FACTS: dict[str, Callable[..., Any]] = {
    "live": lambda c, h: c.is_server_live(headers=h),
    "ready": lambda c, h: c.is_server_ready(headers=h),
    "model ready": lambda c, h: c.is_model_ready("mnist", headers=h),
    "version ready": lambda c, h: c.is_model_ready("mnist", "2", headers=h),
    "unknown model ready": lambda c, h: c.is_model_ready("none", headers=h),
    "unknown version ready": lambda c, h: c.is_model_ready("mnist", "9", headers=h),
    "server": lambda c, h: c.get_server_metadata(headers=h),
    "metadata": lambda c, h: c.get_model_metadata("mnist", headers=h),
    "metadata of version": lambda c, h: c.get_model_metadata("mnist-sampler", "2", headers=h),
    "config": lambda c, h: c.get_model_config("mnist", headers=h),
    "config of version": lambda c, h: c.get_model_config("mnist-decoder", "2", headers=h),
    "index": lambda c, h: c.get_model_repository_index(headers=h),
    "statistics": lambda c, h: c.get_inference_statistics(headers=h),
    "statistics of model": lambda c, h: c.get_inference_statistics("mnist", headers=h),
    "statistics of version": lambda c, h: c.get_inference_statistics("mnist", "1", headers=h),
    "unload": lambda c, h: c.unload_model("plain", headers=h),
    "load": lambda c, h: c.load_model("plain", headers=h),
}
#: Calls that must raise the client's own exception.
REFUSED: dict[str, Callable[..., Any]] = {
    "unknown model": lambda c, h: c.infer("none", inputs("x", X, "FP32"), headers=h),
    "wrong shape": lambda c, h: c.infer("mnist", inputs("x", X[:, 0], "FP32"), headers=h),
    "wrong type": lambda c, h: c.infer("mnist", inputs("x", X.astype(np.float64), "FP64"), headers=h),
    "unknown output": lambda c, h: c.infer("mnist", inputs("x", X, "FP32"), outputs=outputs("y"), headers=h),
    "class": lambda c, h: c.infer(
        "mnist", inputs("x", X, "FP32"), outputs=[sync.InferRequestedOutput("mu", class_count=2)], headers=h
    ),
    "metadata of unknown": lambda c, h: c.get_model_metadata("none", headers=h),
    "load unknown": lambda c, h: c.load_model("none", headers=h),
    "shared memory status": lambda c, h: c.get_system_shared_memory_status(headers=h),
    "shared memory": lambda c, h: c.register_system_shared_memory("r", "/r", 64, headers=h),
    "unregister": lambda c, h: c.unregister_system_shared_memory(headers=h),
    "CUDA status": lambda c, h: c.get_cuda_shared_memory_status(headers=h),
    "CUDA": lambda c, h: c.register_cuda_shared_memory("r", b"x" * 64, 0, 64, headers=h),
    "trace settings": lambda c, h: c.get_trace_settings(headers=h),
    "log settings": lambda c, h: c.get_log_settings(headers=h),
    "tensor in shared memory": lambda c, h: c.infer("mnist", [in_shared_memory()], headers=h),
}


def in_shared_memory() -> Any:
    tensor = sync.InferInput("x", list(X.shape), "FP32")
    tensor.set_shared_memory("r", X.nbytes)
    return tensor


def with_sync(url: str, headers: dict[str, str], png: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with sync.InferenceServerClient(url, concurrency=2) as client:
        for name, arguments in infer_calls(png).items():
            found[name] = arrays(client.infer(**arguments, headers=dict(headers)))
        asked = client.async_infer("mnist", inputs("x", X, "FP32"), headers=dict(headers))
        found["async_infer"] = arrays(asked.get_result())
        body, length = client.generate_request_body(inputs("x", X, "FP32"))
        assert length is not None
        assert body[:1] == b"{"
        for name, call in FACTS.items():
            found[name] = call(client, dict(headers))
        for name, call in REFUSED.items():
            found[name] = refusal(lambda call=call: call(client, dict(headers)))
    return found


async def with_aio(url: str, headers: dict[str, str], png: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with aio.InferenceServerClient(url) as client:
        for name, arguments in infer_calls(png).items():
            found[name] = arrays(await client.infer(**arguments, headers=dict(headers)))
        for name, call in FACTS.items():
            found[name] = await call(client, dict(headers))
        for name, call in REFUSED.items():
            try:
                await call(client, dict(headers))
                found[name] = None
            except InferenceServerException as error:
                found[name] = [error.status(), error.message()]
    return found


def refusal(call: Callable[[], Any]) -> list[str] | None:
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def main() -> None:
    url, *key = sys.argv[1:]
    headers = {"Authorization": f"Bearer {key[0]}"} if key else {}
    png = sys.stdin.buffer.read()
    found = {"sync": with_sync(url, headers, png), "aio": asyncio.run(with_aio(url, headers, png))}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
