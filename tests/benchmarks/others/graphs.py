"""The encoder as every other server is given it: the same file, the same session options as ours."""

from __future__ import annotations

import os
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort

PORT = int(os.environ.get("BENCH_PORT", "8000"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
BATCH = int(os.environ.get("BENCH_BATCH", "1"))


class Encoder:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("BENCH_THREADS", "1"))
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            os.environ["BENCH_ENCODER"], options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __reduce__(self) -> Any:
        return Encoder, ()  # KServe sends its models to its processes

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Images (N, 1, 28, 28) to mu and logvar, without a list between."""
        mu, logvar = self._session.run(["mu", "logvar"], {self._input: x})
        return {"mu": mu, "logvar": logvar}

    def __call__(self, images: Any) -> dict[str, Any]:
        """Lists of 28 × 28 to lists of mu and logvar."""
        x = np.asarray(images, dtype=np.float32).reshape(-1, 1, 28, 28)
        mu, logvar = self._session.run(["mu", "logvar"], {self._input: x})
        return {"mu": mu.tolist(), "logvar": logvar.tolist()}
