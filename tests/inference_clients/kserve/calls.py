"""Every call of KServe's unchanged REST client against a running server.

    python calls.py http://127.0.0.1:8000 [KEY]

Prints one JSON object: what each call returned. Knows the client alone; the test that runs it judges.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

X = (np.arange(2 * 784, dtype=np.int64) % 97 / 96).astype(np.float32).reshape(2, 1, 28, 28)
Z = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
SEEDS = np.array([7, 2**53 - 1], np.int64)


def request(
    model: str, name: str, array: np.ndarray, datatype: str, *, binary: bool, **more: Any
) -> InferRequest:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], **more)


async def all_calls(base: str, headers: dict[str, str]) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))
    found: dict[str, Any] = {
        "live": await client.is_server_live(base, headers=dict(headers)),
        "ready": await client.is_server_ready(base, headers=dict(headers)),
        "model ready": await client.is_model_ready(base, "mnist", headers=dict(headers)),
        "unknown model ready": await client.is_model_ready(base, "none", headers=dict(headers)),
    }
    for name, sent in {
        "whole": request("mnist", "x", X, "FP32", binary=False),
        "whole in bytes": request("mnist", "x", X, "FP32", binary=True, parameters={"binary_data_output": True}),
        "one output": request(
            "mnist", "x", X, "FP32", binary=True, request_outputs=[RequestedOutput("mu")], request_id="r-1"
        ),
        "output in bytes": request(
            "mnist", "x", X, "FP32", binary=False,
            request_outputs=[RequestedOutput("x_hat", parameters={"binary_data": True})],
        ),
        "half precision": request("mnist-encoder", "x", X.astype(np.float16), "FP16", binary=True),
        "decoder": request("mnist-decoder", "z", Z, "FP32", binary=False),
        "sampler": request(
            "mnist-sampler", "seed", SEEDS, "INT64", binary=False, parameters={"temperature": 0.5}
        ),
    }.items():  # fmt: skip
        result = await client.infer(base, sent, model_name=sent.model_name, headers=dict(headers))
        found[name] = {
            "model": result.model_name,
            "id": result.id,
            "arrays": {output.name: output.as_numpy().tolist() for output in result.outputs},
        }
    try:
        await client.infer(
            base, request("none", "x", X, "FP32", binary=True), model_name="none", headers=dict(headers)
        )
    except httpx.HTTPStatusError as error:
        found["unknown model"] = [error.response.status_code, error.response.json()["error"]]
    await client.close()
    return found


def main() -> None:
    base, *key = sys.argv[1:]
    headers = {"Authorization": f"Bearer {key[0]}"} if key else {}
    json.dump(asyncio.run(all_calls(base, headers)), sys.stdout)


if __name__ == "__main__":
    main()
