"""Ray Serve: one deployment of as many replicas as are asked for, on a Ray of its own."""

from __future__ import annotations

import os
import signal
from typing import Any

import ray
from graphs import PORT, WORKERS, Encoder
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=WORKERS, ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=256)
class Vae:
    def __init__(self) -> None:
        self.encoder = Encoder()

    async def __call__(self, request: Request) -> Any:
        if request.method == "GET":
            return {"status": "ok"}
        return self.encoder((await request.json())["images"])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=os.environ["BENCH_HOME"], log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    try:
        serve.run(Vae.bind(), route_prefix="/encode", blocking=False)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
        ray.shutdown()
