"""An alias on two versions over gRPC: the same versions for the same keys as over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grpc_client import Client
from server_process import free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore
from service.engine.canary import Canary

INFER = "/inference.GRPCInferenceService/ModelInfer"


def test_key_in_the_metadata_decides_as_over_http(grpc_client: Client, messages: Any, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    for seed in (1, 2):
        published = publish_tiny(store, name="mnist", image_shape=(1, 4, 4), latent_size=2, seed=seed)
    store.split("mnist", "stable", {1: 50.0, 2: 50.0})
    canary = Canary("mnist@stable", published, 50.0)
    request = messages("ModelInferRequest", model_name="mnist", raw_input_contents=[bytes(64)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 4, 4])
    port = free_port()
    with serving(store.root, tmp_path / "log", "--grpc-port", str(port)) as running:
        seen = set()
        for number in range(24):
            for name in ("x-canary-key", "x-request-id"):
                key = f"{'person' if name == 'x-canary-key' else 'request'}-{number}"
                done = grpc_client.call(port, INFER, request.SerializeToString(), metadata=[(name, key)])
                assert done.code == "OK", done
                version = "2" if canary.takes(key) else "1"
                assert done.trailing["x-model"] == f"mnist@{version}"
                assert messages("ModelInferResponse").FromString(done.answer).model_version == version
                seen.add(version)
        assert seen == {"1", "2"}
        assert "person-" not in running.log
        assert running.stop() == 0
