"""KServe: a model of its Python server behind the Open Inference Protocol, with one process or several."""

from __future__ import annotations

import os
from typing import Any

from graphs import PORT, WORKERS, Encoder
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Runtime(Model):  # type: ignore[misc]
    def load(self) -> bool:
        self.encoder = Encoder()
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        answer = self.encoder.run(payload.inputs[0].as_numpy().astype("float32", copy=False))
        outputs = []
        for name, array in answer.items():
            output = InferOutput(name, list(array.shape), "FP32")
            output.set_data_from_numpy(array, binary_data=payload.from_grpc)
            outputs.append(output)
        return InferResponse(payload.id or "", self.name, outputs)


if __name__ == "__main__":
    grpc, _ = (int(port) for port in os.environ["BENCH_MORE_PORTS"].split(","))
    runtime = Runtime("vae")
    runtime.load()
    server = ModelServer(
        http_port=PORT, grpc_port=grpc, workers=WORKERS, access_log_format=None, enable_docs_url=False
    )
    server.start([runtime])
