"""Every public method of KServe's two clients against a server, and what came of each call. Prints JSON.

    python every_method.py HOST:HTTP_PORT HOST:GRPC_PORT MODEL

MODEL takes `x`, FP32 (N, 1, 28, 28), and returns `mu`. Knows the clients alone: the caller judges.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.errors import UnsupportedProtocol

X = (np.arange(2 * 784) % 97 / 96).astype(np.float32).reshape(2, 1, 28, 28)
Call = tuple[Callable[[Any], Awaitable[Any]], Callable[[Any], bool]]


def request(model: str, *, binary: bool, array: np.ndarray = X, datatype: str = "FP32") -> InferRequest:
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="r-1")


def is_answer(result: Any) -> bool:
    outputs = {output.name: output for output in result.outputs}
    return result.id == "r-1" and outputs["mu"].as_numpy().shape[0] == 2


def rest_calls(base: str, model: str) -> dict[str, Call]:
    return {
        "infer": (lambda c: c.infer(base, request(model, binary=True), model_name=model), is_answer),
        "infer: JSON": (lambda c: c.infer(base, request(model, binary=False), model_name=model), is_answer),
        "infer: FP16": (
            lambda c: c.infer(
                base, request(model, binary=True, array=X.astype(np.float16), datatype="FP16"), model_name=model
            ),
            is_answer,
        ),
        "is_server_live": (lambda c: c.is_server_live(base), bool),
        "is_server_ready": (lambda c: c.is_server_ready(base), bool),
        "is_model_ready": (lambda c: c.is_model_ready(base, model), bool),
        "explain": (lambda c: c.explain(base, model, {}), lambda _: True),
    }  # fmt: skip


def grpc_calls(model: str) -> dict[str, Call]:
    return {
        "infer": (lambda c: c.infer(request(model, binary=True)), is_answer),
        "infer: typed contents": (lambda c: c.infer(request(model, binary=False)), is_answer),
        "infer: FP16": (
            lambda c: c.infer(request(model, binary=True, array=X.astype(np.float16), datatype="FP16")), is_answer,
        ),
        "is_server_live": (lambda c: c.is_server_live(), bool),
        "is_server_ready": (lambda c: c.is_server_ready(), bool),
        "is_model_ready": (lambda c: c.is_model_ready(model), bool),
    }  # fmt: skip


async def outcome(client: Any, call: Call) -> str:
    make, is_right = call
    try:
        result = await make(client)
        return "works" if is_right(result) else f"wrong: {str(result)[:200]}"
    except httpx.HTTPStatusError as error:
        return f"refused: {error.response.status_code}: {error.response.text}"[:400]
    except grpc.RpcError as error:
        return f"refused: {error.code()}: {error.details()}"[:400]
    except UnsupportedProtocol:
        return "not in v2"
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


async def main() -> None:
    http, grpc_address, model = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))
    found = {
        "kserve REST": await outcomes(rest, rest_calls(f"http://{http}", model)),
        "kserve gRPC": await outcomes(
            InferenceGRPCClient(url=grpc_address, use_ssl=False), grpc_calls(model)
        ),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
