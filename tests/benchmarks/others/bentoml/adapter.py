"""BentoML: one service with as many workers as are asked for."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import bentoml
from graphs import PORT, WORKERS, Encoder


@bentoml.service(workers=WORKERS, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Vae:
    def __init__(self) -> None:
        self.encoder = Encoder()

    @bentoml.api(route="/encode")
    def encode(self, images: list[list[list[float]]]) -> dict[str, Any]:
        return self.encoder(images)


if __name__ == "__main__":
    sys.argv = ["bentoml", "serve", "adapter:Vae", "--host", "127.0.0.1", "--port", str(PORT)]
    runpy.run_module("bentoml", run_name="__main__")
