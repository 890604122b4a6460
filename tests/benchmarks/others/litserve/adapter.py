"""LitServe: one image per request, batched by its own loop where BENCH_BATCH allows."""

from __future__ import annotations

from typing import Any

import litserve as ls
from graphs import BATCH, PORT, WORKERS, Encoder


class Api(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.encoder = Encoder()

    # LitServe looks for an argument of this very name and makes its route from the annotation, if any.
    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]
        return request["images"]

    def batch(self, inputs: list[Any]) -> Any:
        return [image for images in inputs for image in images]

    def predict(self, x: Any) -> Any:
        return self.encoder(x)

    def unbatch(self, output: dict[str, Any]) -> list[dict[str, Any]]:
        pairs = zip(output["mu"], output["logvar"], strict=True)
        return [{"mu": [mu], "logvar": [logvar]} for mu, logvar in pairs]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    server = ls.LitServer(
        Api(max_batch_size=BATCH, batch_timeout=0.0, api_path="/encode"),
        accelerator="cpu",
        workers_per_device=WORKERS,
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning", access_log=False)
