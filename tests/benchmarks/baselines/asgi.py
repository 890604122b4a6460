"""A bare ASGI app: reads the body, answers bytes that it was given. What HTTP alone costs under uvicorn.

The folder BENCH_ANSWERS holds one file for each path; its name is the path without slashes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_TYPES = {"encode": b"application/json", "sample.png": b"image/png"}
_ANSWERS = {
    f"/{path.name}": (
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", _TYPES.get(path.name, b"application/octet-stream")),
                (b"content-length", str(path.stat().st_size).encode()),
            ],
        },
        {"type": "http.response.body", "body": path.read_bytes()},
    )
    for path in Path(os.environ["BENCH_ANSWERS"]).iterdir()
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    b"".join(parts)
    start, body = _ANSWERS[scope["path"]]
    await send(start)
    await send(body)
