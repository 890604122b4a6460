"""Everything of the Open Inference Protocol but inference: health, metadata, statistics, repository."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from inference_calls import Tensor, binary_request, infer, json_request, refused
from tiny_models import publish_tiny

from model_store import ModelStore
from service.api.open_inference.metadata import ModelConfig, ModelMetadata, ServerMetadata
from service.api.open_inference.statistics import StatisticsList
from service.app import create_app
from service.settings import Settings

X = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)


def test_server_describes_itself_with_and_without_the_slash(api: Caller) -> None:
    for path in ("/v2", "/v2/", "/v2?verbose=true"):
        answer = api.get(path)
        assert answer.status == 200
        found = ServerMetadata.model_validate_json(answer.body)
    assert found.name == "vae-service"
    assert {"binary_tensor_data", "statistics", "model_configuration"} <= set(found.extensions)


def test_health(api: Caller) -> None:
    assert api.get("/v2/health/live").json() == {"live": True}
    assert api.get("/v2/health/ready").json() == {"ready": True}
    assert api.get("/v2/models/mnist/ready").json() == {"name": "mnist", "ready": True}
    assert api.get("/v2/models/mnist/versions/2/ready").status == 200
    for path in ("none", "mnist/versions/9", "plain-sampler"):
        assert api.get(f"/v2/models/{path}/ready").status in (400, 404)


def test_stopping_server_is_not_ready(tiny_store: Path) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1))) as caller:
        caller.app.state.app_state.lifecycle.draining = True
        assert "stop" in refused(caller.get("/v2/health/ready"), 503, "shutting-down")
        assert caller.get("/v2/health/live").status == 200


def test_list_of_models_has_four_of_each_that_can_be_drawn_from(api: Caller) -> None:
    found = api.get("/v2/models").json()["models"]
    assert found == sorted(
        [name + part for name in ("colour", "mnist") for part in ("", "-encoder", "-decoder", "-sampler")]
        + ["plain", "plain-encoder", "plain-decoder"]
    )


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("mnist", {"x": ("FP32", [-1, 1, 28, 28])}, ["mu", "logvar", "x_hat"]),
        ("mnist-encoder", {"x": ("FP32", [-1, 1, 28, 28])}, ["mu", "logvar"]),
        ("mnist-decoder", {"z": ("FP32", [-1, 8])}, ["x_hat"]),
        ("mnist-sampler", {"seed": ("INT64", [-1])}, ["z", "x_hat"]),
        ("colour", {"x": ("FP32", [-1, 3, 8, 10])}, ["mu", "logvar", "x_hat"]),
    ],
)
def test_metadata_and_configuration_state_the_tensors(
    api: Caller, name: str, inputs: dict, outputs: list[str]
) -> None:
    metadata = ModelMetadata.model_validate_json(api.get(f"/v2/models/{name}").body)
    assert {each.name: (each.datatype, each.shape) for each in metadata.inputs} == inputs
    assert [each.name for each in metadata.outputs] == outputs
    assert metadata.versions == (["1"] if name == "colour" else ["1", "2"])
    config = ModelConfig.model_validate_json(api.get(f"/v2/models/{name}/config").body)
    assert config.name == name
    assert config.max_batch_size == 64
    assert [each.name for each in config.input] == list(inputs)
    assert all(each.data_type in ("TYPE_FP32", "TYPE_INT64") for each in config.input)
    assert [each.dims for each in config.input] == [shape[1:] for _, shape in inputs.values()]


def test_longest_name_of_the_store_counts(tmp_path: Path) -> None:
    """A model may itself be called like a part of another one."""
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", latent_size=8, seed=1)
    publish_tiny(store, name="mnist-encoder", image_shape=(1, 4, 4), latent_size=3, seed=2)
    with Caller(create_app(Settings(model_store=tmp_path / "models", threads=1))) as caller:
        inputs = caller.get("/v2/models/mnist-encoder").json()["inputs"]
        assert inputs[0]["shape"] == [-1, 1, 4, 4]
        outputs = caller.get("/v2/models/mnist-encoder-encoder").json()["outputs"]
        assert [each["shape"] for each in outputs] == [[-1, 3], [-1, 3]]
        assert caller.get("/v2/models/mnist-decoder").json()["inputs"][0]["shape"] == [-1, 8]
        listed = caller.get("/v2/models").json()["models"]
        assert listed.count("mnist-encoder") == 1
        assert "mnist-encoder-sampler" in listed


def test_broken_model_with_the_longer_name_hides_the_part(tmp_path: Path) -> None:
    """The part must not answer in its place."""
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", latent_size=8, seed=1)
    version = publish_tiny(store, name="mnist-encoder", latent_size=8, seed=2)
    (tmp_path / "models" / "mnist-encoder" / str(version.version) / "encoder.onnx").write_bytes(b"x")
    with Caller(create_app(Settings(model_store=tmp_path / "models", threads=1))) as caller:
        refused(caller.get("/v2/models/mnist-encoder"), 503, "model-unavailable")
        index = {entry["name"]: entry for entry in caller.post("/v2/repository/index").json()}
        assert index["mnist-encoder"]["state"] == "UNAVAILABLE"
        assert index["mnist-encoder"]["reason"]


@pytest.fixture
def alone(tiny_store: Path) -> Iterator[Caller]:
    """An application whose counts no other test changes, and with administration."""
    settings = Settings(model_store=tiny_store, threads=1, max_images=64, admin=True)
    with Caller(create_app(settings)) as caller:
        yield caller


def test_statistics_are_those_of_the_requests(alone: Caller) -> None:
    for _ in range(2):
        infer(alone, "mnist", Tensor("x", X))
    infer(alone, "mnist-decoder", Tensor("z", np.zeros((5, 8), np.float32)))
    refused(alone.post("/v2/models/mnist/infer", b"{}"))
    (of_whole,) = alone.get("/v2/models/mnist/stats").json()["model_stats"]
    assert (of_whole["name"], of_whole["version"]) == ("mnist", "1")
    assert of_whole["inference_count"] == 6
    assert of_whole["execution_count"] == 4  # the encoder and the decoder, twice
    stats = of_whole["inference_stats"]
    assert stats["success"]["count"] == 2
    assert stats["fail"]["count"] == 1
    for part in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert stats[part]["count"] == 2
    assert stats["compute_infer"]["ns"] > 0
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert stats["success"]["ns"] >= sum(stats[part]["ns"] for part in parts)
    assert [(each["batch_size"], each["compute_infer"]["count"]) for each in of_whole["batch_stats"]] == [
        (3, 4)
    ]
    assert of_whole["last_inference"] > 1_600_000_000_000
    answer = alone.get("/v2/models/stats")
    every = StatisticsList.model_validate_json(answer.body).model_stats
    assert {(each.name, each.version): each.inference_count for each in every}["mnist-decoder", "1"] == 5
    assert {each.name for each in every} == set(alone.get("/v2/models").json()["models"])
    (of_version,) = alone.get("/v2/models/mnist/versions/1/stats").json()["model_stats"]
    assert of_version["inference_count"] == 6
    (of_other,) = alone.get("/v2/models/mnist/versions/2/stats").json()["model_stats"]
    assert of_other["inference_count"] == 0


def test_requests_that_share_a_run_count_it_once(alone: Caller) -> None:
    """So rows divided by runs is the size of a batch, which perf_analyzer reports."""

    async def together() -> None:
        import asyncio

        body, headers = binary_request(Tensor("x", X[:1]))
        sent = {**headers}
        await asyncio.gather(
            *(
                alone.acall("POST", "/v2/models/mnist-encoder/infer", body=body, headers=sent)
                for _ in range(8)
            )
        )

    alone.run(together())
    (found,) = alone.get("/v2/models/mnist-encoder/stats").json()["model_stats"]
    assert found["inference_count"] == 8
    runs = sum(each["compute_infer"]["count"] for each in found["batch_stats"])
    assert found["execution_count"] == runs <= 8
    rows = sum(each["batch_size"] * each["compute_infer"]["count"] for each in found["batch_stats"])
    assert rows == 8


def test_metrics_have_the_same_counts(alone: Caller) -> None:
    infer(alone, "mnist", Tensor("x", X))
    text = alone.get("/metrics").body.decode()
    assert 'vae_inference_requests_total{model="mnist",result="success",version="1"} 1.0' in text
    assert 'vae_inference_rows_total{model="mnist",version="1"} 3.0' in text
    assert 'route="/v2/models/{model}/infer"' in text
    assert 'vae_request_images_sum{model="mnist@1",route="/v2/models/{model}/infer"} 3.0' in text


def test_index_lists_every_version_in_memory(api: Caller) -> None:
    for body in (b"", b"{}", b' {"ready": true} '):
        answer = api.post("/v2/repository/index", body, None)
        assert answer.headers["content-type"] == "application/json"
        entries = answer.json()
        assert {"name": "mnist", "version": "1", "state": "READY", "reason": ""} in entries
    for body in (b"[]", b'{"ready": 1}', b"x"):
        refused(api.post("/v2/repository/index", body))


def test_loading_and_unloading_need_administration(api: Caller) -> None:
    for call in ("load", "unload"):
        refused(api.post(f"/v2/repository/models/mnist/{call}"), 403, "administration-off")


def test_unloaded_model_is_served_by_no_api_until_it_is_loaded(alone: Caller) -> None:
    names = ("colour", "colour-encoder", "colour-decoder", "colour-sampler")
    assert alone.post("/v2/repository/models/colour/unload", b"{}").status == 200
    for name in names:
        refused(alone.get(f"/v2/models/{name}/ready"), 503, "model-unavailable")
    assert alone.get("/sample?model=colour").status == 503
    assert alone.get("/sample?model=colour@1").status == 503
    assert not set(names) & set(alone.get("/v2/models").json()["models"])
    index = {entry["name"]: entry["state"] for entry in alone.post("/v2/repository/index").json()}
    assert index["colour"] == "UNAVAILABLE"
    ready = alone.post("/v2/repository/index", b'{"ready": true}').json()
    assert "colour" not in {entry["name"] for entry in ready}
    alone.app.state.app_state.load_all()  # as on SIGHUP
    assert alone.get("/v2/models/colour/ready").status == 503
    assert alone.get("/readyz").status == 200
    assert alone.post("/v2/repository/models/colour/load").status == 200
    assert alone.get("/v2/models/colour/ready").status == 200
    assert alone.get("/sample?model=colour").status == 200


def test_unloaded_default_model_makes_the_server_not_ready(alone: Caller) -> None:
    assert alone.post("/v2/repository/models/mnist/unload").status == 200
    assert "unloaded" in refused(alone.get("/v2/health/ready"), 503, "not-ready")
    assert alone.get("/readyz").status == 503
    assert alone.get("/sample").status == 503
    assert alone.post("/models/mnist/reload").status == 200, "a reload of the name loads it too"
    assert alone.get("/v2/health/ready").status == 200


def test_loading_finds_what_was_published_since(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", latent_size=8, seed=1)
    settings = Settings(model_store=tmp_path / "models", threads=1, admin=True, store_poll_s=3600)
    with Caller(create_app(settings)) as caller:
        refused(caller.post("/v2/repository/models/new/load"), 404, "unknown-model")
        refused(caller.post("/v2/repository/models/new/unload"), 404, "unknown-model")
        publish_tiny(store, name="new", latent_size=8, seed=2)
        assert caller.post("/v2/repository/models/new/load").status == 200
        assert caller.get("/v2/models/new-encoder").status == 200
        shutil.rmtree(tmp_path / "models" / "new")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/systemsharedmemory/status",
        "/v2/systemsharedmemory/region/r/register",
        "/v2/systemsharedmemory/unregister",
        "/v2/cudasharedmemory/region/r/unregister",
        "/v2/trace/setting",
        "/v2/models/mnist/trace/setting",
        "/v2/logging",
    ],
)
def test_parts_of_triton_that_are_missing_are_refused_clearly(api: Caller, path: str) -> None:
    for answer in (api.get(path), api.post(path, b"{}")):
        assert "not" in refused(answer, 400, "not-supported")


def test_protocol_can_be_switched_off(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1, open_inference=False)
    with Caller(create_app(settings)) as caller:
        for answer in (
            caller.get("/v2"),
            caller.get("/v2/health/live"),
            caller.post("/v2/models/mnist/infer", json_request(Tensor("x", X))),
        ):
            assert (answer.status, answer.code) == (404, "unknown-path")
        assert not [path for path in caller.get("/openapi.json").json()["paths"] if path.startswith("/v2")]


def test_errors_of_the_edge_have_the_form_of_the_protocol(tiny_store: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{'0' * 64} use\n")
    keys.chmod(0o600)
    settings = Settings(
        model_store=tiny_store,
        threads=1,
        api_keys_file=keys,
        allowed_hosts="vae.example",
        max_body_bytes=1024,
    )
    with Caller(create_app(settings)) as caller:
        answer = caller.get("/v2/models")
        refused(answer, 401, "missing-key")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert caller.get("/v2/health/ready").status == 200, "a probe has no key"
        refused(caller.get("/v2/models", {"host": "other.example"}), 403, "host-not-allowed")
        assert caller.get("/v20").code == "missing-key"


def test_pages_of_other_origins_may_send_and_read_tensors(tiny_store: Path) -> None:
    origin = "https://a.example"
    settings = Settings(model_store=tiny_store, threads=1, cors_origins=origin)
    with Caller(create_app(settings)) as caller:
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "inference-header-content-length, content-encoding",
        }
        assert caller.call("OPTIONS", "/v2/models/mnist/infer", headers=asked).status == 204
        body, headers = binary_request(Tensor("x", X))
        answer = caller.post("/v2/models/mnist/infer", body, None, {**headers, "origin": origin})
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert "inference-header-content-length" in exposed
