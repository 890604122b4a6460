"""mosec: a Rust front and Python workers; batched by the front where BENCH_BATCH allows."""

from __future__ import annotations

import sys
from typing import Any

from graphs import BATCH, PORT, WORKERS, Encoder
from mosec import Server, Worker


class Encode(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, data: Any) -> Any:
        if BATCH == 1:
            return self.encoder(data["images"])
        answer = self.encoder([image for one in data for image in one["images"]])
        pairs = zip(answer["mu"], answer["logvar"], strict=True)
        return [{"mu": [mu], "logvar": [logvar]} for mu, logvar in pairs]


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", str(PORT), "--log-level", "warning"]
    server = Server()
    if BATCH == 1:
        server.append_worker(Encode, num=WORKERS, route="/encode")
    else:
        server.append_worker(Encode, num=WORKERS, max_batch_size=BATCH, max_wait_time=1, route="/encode")
    server.run()
