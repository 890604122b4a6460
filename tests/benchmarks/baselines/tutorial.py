"""The service that most tutorials show: float lists in pydantic, a `def` handler, one run per request.

Nothing in it is slow on purpose: it is what the first pages of a search give, with today's versions.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
if threads := int(os.environ.get("BENCH_THREADS", "0")):
    options.intra_op_num_threads = threads
session = ort.InferenceSession(os.environ["BENCH_ENCODER"], options, providers=["CPUExecutionProvider"])
input_name = session.get_inputs()[0].name
app = FastAPI()


class Images(BaseModel):
    images: list[list[list[float]]]


class Posterior(BaseModel):
    mu: list[list[float]]
    logvar: list[list[float]]


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/encode")
def encode(request: Images) -> Posterior:
    x = np.array(request.images, dtype=np.float32)[:, None]
    mu, logvar = session.run(["mu", "logvar"], {input_name: x})
    return Posterior(mu=mu.tolist(), logvar=logvar.tolist())
