"""A server with a gRPC port over a tiny store, and a client in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc_client import Client, client_process
from server_process import Running, free_port, serving

pytest.importorskip("grpc", reason="the extra grpc is not installed")


@dataclass(frozen=True)
class GrpcServer:
    """A server and its port for gRPC."""

    running: Running
    port: int


@pytest.fixture(scope="session")
def grpc_client() -> Iterator[Client]:
    with client_process() as client:
        yield client


@pytest.fixture(scope="module")
def grpc_server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServer]:
    home = tmp_path_factory.mktemp("grpc")
    port = free_port()
    with serving(tiny_store, home / "log", "--grpc-port", str(port), "--admin", "true") as running:
        yield GrpcServer(running, port)


@pytest.fixture(scope="session")
def messages() -> Any:
    """`messages("ModelInferRequest", id="a")`."""
    from service.api.open_inference.grpc.definitions import inference

    return inference
