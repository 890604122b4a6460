"""Every call of the unchanged `kserve.InferenceGRPCClient` against a server. Prints JSON.

python grpc_calls.py PORT
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

X = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)


async def calls(address: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    client = InferenceGRPCClient(url=address, use_ssl=False)
    try:
        found["live"] = await client.is_server_live()
        found["ready"] = await client.is_server_ready()
        found["model_ready"] = await client.is_model_ready("mnist")
        for binary in (True, False):
            tensor = InferInput("x", list(X.shape), "FP32")
            tensor.set_data_from_numpy(X, binary_data=binary)
            request = InferRequest(model_name="mnist-encoder", infer_inputs=[tensor], request_id="r7")
            answer = await client.infer(request)
            found[f"infer_{binary}"] = (
                answer.model_name, answer.id, [output.name for output in answer.outputs],
                answer.outputs[0].as_numpy().shape,
            )  # fmt: skip
        try:
            tensor = InferInput("x", list(X.shape), "FP32")
            tensor.set_data_from_numpy(X, binary_data=True)
            await client.infer(InferRequest(model_name="nothing", infer_inputs=[tensor]))
        except grpc.RpcError as error:
            found["unknown"] = error.code().name
    finally:
        await client.close()
    return found


async def repository(address: str) -> dict[str, Any]:
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

    async with grpc.aio.insecure_channel(address) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        unloaded = await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="plain"))
        loaded = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="plain"))
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="mnist"))
        server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    return {
        "unloaded": [unloaded.model_name, unloaded.isUnloaded],
        "loaded": [loaded.model_name, loaded.isLoaded],
        "metadata": [each.name for each in metadata.inputs],
        "server": server.name,
    }


async def main() -> None:
    address = f"127.0.0.1:{sys.argv[1]}"
    print(json.dumps({**await calls(address), **await repository(address)}))


if __name__ == "__main__":
    asyncio.run(main())
