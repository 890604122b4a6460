"""The bare ASGI app with a bare gRPC port: reads a message, answers bytes that it was given.

What grpcio alone costs. The folder BENCH_ANSWERS holds the answer as `infer.pb`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
from asgi import app as answer_http  # type: ignore[import-not-found]

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_ANSWER = (Path(os.environ["BENCH_ANSWERS"]) / "infer.pb").read_bytes()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, handler_call_details: Any) -> Any:
        return _infer if handler_call_details.method == _METHOD else None


async def _answer(_message: bytes, _context: Any) -> bytes:
    return _ANSWER


_infer = grpc.unary_unary_rpc_method_handler(_answer)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await answer_http(scope, receive, send)
        return
    await receive()
    server = grpc.aio.server(handlers=[_Handler()], options=[("grpc.so_reuseport", 1)])
    server.add_insecure_port(f"127.0.0.1:{os.environ['BENCH_MORE_PORTS'].partition(',')[0]}")
    await server.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await server.stop(0)
    await send({"type": "lifespan.shutdown.complete"})
