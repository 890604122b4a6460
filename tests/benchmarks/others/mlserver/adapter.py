"""MLServer: a runtime of its own behind the Open Inference Protocol, with parallel workers or without."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from graphs import PORT, WORKERS, Encoder
from mlserver import MLModel
from mlserver.cli.main import main
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    async def load(self) -> bool:
        self.encoder = Encoder()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answer = self.encoder.run(np.asarray(NumpyCodec.decode_input(payload.inputs[0]), np.float32))
        outputs = [NumpyCodec.encode_output(name, answer[name]) for name in ("mu", "logvar")]
        return InferenceResponse(model_name=self.name, outputs=outputs)


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(dir=os.environ["BENCH_HOME"]))
    grpc, metrics = (int(port) for port in os.environ["BENCH_MORE_PORTS"].split(","))
    settings = {
        "host": "127.0.0.1", "http_port": PORT, "grpc_port": grpc, "metrics_port": metrics, "debug": False,
        "parallel_workers": 0 if WORKERS == 1 else WORKERS,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "vae").mkdir()
    model = {"name": "vae", "implementation": "adapter.Runtime"}
    (folder / "vae/model-settings.json").write_text(json.dumps(model))
    sys.argv = ["mlserver", "start", str(folder)]
    main()
