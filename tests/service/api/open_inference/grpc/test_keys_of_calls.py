"""Keys and administration over gRPC: the rules, the codes and the log of HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grpc_client import Client
from patience import eventually
from server_process import free_port, serving

from service.api.open_inference.grpc.definitions import inference as make
from service.security.api_keys import new_key

SERVICE = "/inference.GRPCInferenceService/"
USE, USE_ENTRY = new_key("use", "phone-app")
ADMIN, ADMIN_ENTRY = new_key("admin", "deploy")


@pytest.fixture(scope="module")
def guarded(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home, port = tmp_path_factory.mktemp("keys"), free_port()
    keys = home / "keys"
    keys.write_text(f"{USE_ENTRY.line}\n{ADMIN_ENTRY.line}\n")
    keys.chmod(0o600)
    with serving(tiny_store, home / "log", "--grpc-port", str(port), "--api-keys-file", str(keys)) as running:
        yield running, port


def bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


def test_call_needs_a_key_and_probes_need_none(grpc_client: Client, guarded: Any) -> None:
    running, port = guarded

    def lines() -> list[dict[str, Any]]:
        return [line for line in running.lines("request") if line["path"].endswith("ServerMetadata")]

    for path in ("ServerMetadata", "ModelInfer", "ModelStatistics", "RepositoryIndex"):
        done = grpc_client.call(port, SERVICE + path, b"")
        assert (done.code, done.problem) == ("UNAUTHENTICATED", "missing-key"), path
    for path in (SERVICE + "ServerLive", SERVICE + "ServerReady", "/grpc.health.v1.Health/Check"):
        assert grpc_client.call(port, path, b"").code == "OK", path
    done = grpc_client.call(port, SERVICE + "ServerMetadata", b"", metadata=bearer(USE))
    assert done.code == "OK"
    eventually(lambda: any(line["status"] == "OK" for line in lines()), lambda: running.log)
    assert {line.get("key") for line in lines() if line["status"] == "OK"} == {"phone-app"}
    assert not any("key" in line for line in lines() if line["status"] != "OK")
    assert USE not in running.log


@pytest.mark.parametrize(
    "metadata",
    [
        bearer("vae_wrong"),
        bearer(USE + "x"),
        [("authorization", "Basic abc")],
        [*bearer(USE), *bearer(USE)],
        [("authorization", "Bearer " + "a" * 600)],
    ],
    ids=["unknown", "longer", "scheme", "twice", "long"],
)
def test_wrong_key_is_unauthenticated(grpc_client: Client, guarded: Any, metadata: Any) -> None:
    _, port = guarded
    done = grpc_client.call(port, SERVICE + "ServerMetadata", b"", metadata=metadata)
    assert (done.code, done.problem) == ("UNAUTHENTICATED", "unknown-key")


def test_stream_needs_a_key(grpc_client: Client, guarded: Any) -> None:
    _, port = guarded
    request = make("ModelInferRequest", model_name="mnist-decoder", raw_input_contents=[bytes(32)])
    request.inputs.add(name="z", datatype="FP32", shape=[1, 8])
    sent = [request.SerializeToString()]
    done = grpc_client.stream(port, SERVICE + "ModelStreamInfer", sent)
    assert (done.code, done.problem) == ("UNAUTHENTICATED", "missing-key")
    done = grpc_client.stream(port, SERVICE + "ModelStreamInfer", sent, metadata=bearer(USE))
    assert (done.code, len(done.answers)) == ("OK", 1)


def test_only_a_key_for_administration_loads_and_unloads(grpc_client: Client, guarded: Any) -> None:
    _, port = guarded
    data = make("RepositoryModelLoadRequest", model_name="mnist").SerializeToString()
    for name in ("RepositoryModelLoad", "RepositoryModelUnload"):
        done = grpc_client.call(port, SERVICE + name, data, metadata=bearer(USE))
        assert (done.code, done.problem) == ("PERMISSION_DENIED", "insufficient-scope"), name
    assert grpc_client.call(port, SERVICE + "RepositoryModelLoad", data, metadata=bearer(ADMIN)).code == "OK"


def test_without_administration_nobody_loads(grpc_client: Client, tiny_store: Path, tmp_path: Path) -> None:
    port = free_port()
    data = make("RepositoryModelLoadRequest", model_name="mnist").SerializeToString()
    with serving(tiny_store, tmp_path / "log", "--grpc-port", str(port)):
        done = grpc_client.call(port, SERVICE + "RepositoryModelLoad", data)
    assert (done.code, done.problem) == ("PERMISSION_DENIED", "administration-off")
