"""What is beyond the bounds of a server: images, bytes, pixels, time."""

from __future__ import annotations

import numpy as np

from recorded.models import steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, json_of, npy, png, ramp

_GREY = (1, 4, 6)


def bounds(notebook: Notebook) -> None:
    """Each bound, at it and one beyond."""
    with notebook.application(
        "few images", max_images=4, max_stream_images=70, max_score_draws=8, max_png_pixels=1024
    ) as ask:
        for count in (4, 5):
            ask.get(f"/sample?seed=1&n={count}")
            ask.get(f"/sample.npy?seed=1&n={count}")
            ask.post("/encode", npy(steps(count, _GREY)))
            ask.post("/encode", {"images": steps(count, _GREY)})
            ask.post("/decode", {"z": np.zeros((count, 3))})
            ask.post("/decode", npy(np.zeros((count, 3), np.float32)))
            ask.post("/decode.npy", npy(np.zeros((count, 3), np.float32)))
            ask.get(f"/traverse?dims=0&steps={count}")
        for count in (64, 65, 70, 71):
            ask.get(f"/sample.npy?seed=1&n={count}")
            ask.post("/decode.npy", npy(np.zeros((count, 3), np.float32)))
            ask.ask("HEAD", f"/sample.npy?seed=1&n={count}")
        ask.get("/sample.txt?seed=1")
        ask.get("/traverse.png")
        ask.get("/traverse?steps=3")
        ask.post("/interpolate", {"z": [[1, 0, 0], [0, 1, 0]]})
        for draws in (8, 9):
            ask.post(
                f"/score?model=binary&seed=1&importance_samples={draws}",
                npy(np.ones((1, *_GREY), np.float32)),
            )
        for scale in (5, 6):
            ask.get(f"/sample.png?seed=1&scale={scale}")
            ask.get(f"/sample.png?seed=1&n=4&scale={scale}")
        ask.post("/sample.npy", {"seed": 1, "n": 70})
        ask.get("/sample.npy?seed=1&n=70&model=deep")
    with notebook.application("short bodies", max_body_bytes=1024) as ask:
        for length in (1024, 1025):
            body = Payload(b'{"z":[[1,2,3]]}'.ljust(length), "application/json")
            ask.post("/decode", body)
            ask.ask("POST", "/decode", [("content-type", "application/json")], body, parts=4)
        ask.post("/sample?seed=1", Payload(b"{}".ljust(2000), "application/json"))
        ask.post("/nothing", Payload(b"x" * 2000, "application/json"))
        ask.ask("POST", "/decode", [("content-length", "99999999999999999999999")])
        ask.ask("POST", "/decode", [("content-length", "0002000")])
        ask.ask("GET", "/sample?seed=1", [("content-length", "2000")])
        ask.post(
            "/encode",
            Payload(png(6, 4, ramp(24), chunks=[(b"tEXt", b"x" * 1000)]).data, "image/png", "(PNG)"),
        )
    with notebook.application("no room for bodies", max_buffered_bytes=1024) as ask:
        ask.post("/decode", Payload(b'{"z":[[1,2,3]]}'.ljust(1024), "application/json"))
        ask.post("/decode", Payload(b'{"z":[[1,2,3]]}'.ljust(1025), "application/json"))
    with notebook.application("no time", request_timeout_s=1e-9) as ask:
        ask.get("/sample?seed=1")
        ask.get("/sample.npy?seed=1&n=300")
        ask.post("/encode", {"images": steps(1, _GREY)})
        ask.post("/score?model=binary", {"images": steps(1, _GREY)})
        ask.post("/interpolate", json_of({"images": steps(2, _GREY)}))
        ask.get("/models")
    with notebook.application("a queue of one image", max_queue_images=1) as ask:
        ask.get("/sample?seed=1&n=3")
