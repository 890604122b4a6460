"""The services that tools and orchestrators call: gRPC's health checking and server reflection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_client import Client, watch_to_end
from patience import eventually
from server_process import free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore
from service.api.open_inference.grpc.definitions import message

CHECK, LIST, WATCH = (f"/grpc.health.v1.Health/{name}" for name in ("Check", "List", "Watch"))
REQUEST: Any = message("grpc.health.v1.HealthCheckRequest")
RESPONSE: Any = message("grpc.health.v1.HealthCheckResponse")
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3
Server = Any


def asked(service: str = "") -> bytes:
    return bytes(REQUEST(service=service).SerializeToString())


def status(data: bytes) -> int:
    return int(RESPONSE.FromString(data).status)


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_ready_server_serves(grpc_client: Client, grpc_server: Server, service: str) -> None:
    done = grpc_client.call(grpc_server.port, CHECK, asked(service))
    assert (done.code, status(done.answer)) == ("OK", SERVING)


def test_unknown_service_is_not_found_and_unknown_to_watchers(
    grpc_client: Client, grpc_server: Server
) -> None:
    from grpc_client import watch

    assert grpc_client.call(grpc_server.port, CHECK, asked("mnist")).code == "NOT_FOUND"
    (first,) = grpc_client.run(watch, grpc_server.port, WATCH, asked("mnist"), 1)
    assert status(first) == UNKNOWN


def test_list_has_every_service(grpc_client: Client, grpc_server: Server) -> None:
    kind: Any = message("grpc.health.v1.HealthListResponse")
    found = kind.FromString(grpc_client.call(grpc_server.port, LIST, b"").answer)
    assert {name: each.status for name, each in found.statuses.items()} == {
        "": SERVING,
        "inference.GRPCInferenceService": SERVING,
    }


def test_watcher_sees_the_first_model_and_the_stop(grpc_client: Client, tmp_path: Path) -> None:
    """An empty store is not ready; a published model makes it ready; SIGTERM ends that before the calls."""
    store, port = ModelStore(tmp_path / "models"), free_port()
    store.root.mkdir()
    with serving(store.root, tmp_path / "log", "--grpc-port", str(port), "--drain-delay-s", "2") as running:
        assert status(grpc_client.call(port, CHECK, asked()).answer) == NOT_SERVING
        future = grpc_client._pool.submit(watch_to_end, port, WATCH, asked())
        eventually(future.running, lambda: "never began")
        publish_tiny(store, name="mnist", image_shape=(1, 4, 4), latent_size=2, seed=1)
        eventually(lambda: running.get("/readyz")[0] == 200, lambda: running.log)
        # The watcher looks four times a second; its call has the only process of the client.
        import time

        time.sleep(1.0)
        assert running.stop() == 0
        done = future.result(60)
    assert [status(answer) for answer in done.answers] == [NOT_SERVING, SERVING, NOT_SERVING]
    assert (done.code, done.problem) == ("UNAVAILABLE", "shutting-down")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_every_service_and_message(
    grpc_client: Client, grpc_server: Server, version: str
) -> None:
    package = f"grpc.reflection.{version}"
    request: Any = message(f"{package}.ServerReflectionRequest")
    response: Any = message(f"{package}.ServerReflectionResponse")
    asked = [
        request(list_services="*"),
        request(file_containing_symbol="inference.GRPCInferenceService"),
        request(file_containing_symbol="inference.GRPCInferenceService.ModelInfer"),
        request(file_containing_symbol="inference.ModelInferRequest.InferInputTensor"),
        request(file_by_filename="service/health.proto"),
        request(all_extension_numbers_of_type="inference.ModelInferRequest"),
        request(file_containing_symbol="no.Thing"),
        request(),
    ]
    done = grpc_client.stream(
        grpc_server.port,
        f"/{package}.ServerReflection/ServerReflectionInfo",
        [each.SerializeToString() for each in asked],
    )
    assert done.code == "OK", done
    listed, *files, numbers, missing, nothing = [response.FromString(answer) for answer in done.answers]
    assert {each.name for each in listed.list_services_response.service} == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    names = []
    for answer in files:
        (data,) = answer.file_descriptor_response.file_descriptor_proto
        file = FileDescriptorProto.FromString(data)
        assert list(file.dependency) == []
        names.append(file.name)
    assert names == ["service/open_inference.proto"] * 3 + ["service/health.proto"]
    assert numbers.all_extension_numbers_response.base_type_name == "inference.ModelInferRequest"
    assert (missing.error_response.error_code, nothing.error_response.error_code) == (5, 5)
    assert missing.original_request.file_containing_symbol == "no.Thing"
