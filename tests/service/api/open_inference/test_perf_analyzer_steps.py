"""The steps of perf_analyzer over REST, in their order: what it asks, and the fields it reads in each answer.

The program itself runs on newer systems than this project supports, so its requests are written here as it
sends them: an empty `id`, tensors as bytes, and every output by name as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from inference_calls import HEADER, read_result

from service.app import create_app
from service.settings import Settings

X = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@pytest.fixture(scope="module")
def api(tiny_store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_images=64))) as caller:
        yield caller


def statistics(api: Caller, target: str = "/v2/models/mnist-encoder/stats") -> dict[str, Any]:
    """The entry of the version that answers: the program compares it before and after a window."""
    stats = api.get(target).json()["model_stats"]
    (found,) = [each for each in stats if (each["name"], each["version"]) == ("mnist-encoder", "1")]
    return dict(found)


def infer(api: Caller, *, rows: int = 2, **more: Any) -> tuple[int, Any]:
    raw = X[:rows].tobytes()
    document = {
        "id": "",
        "inputs": [
            {
                "name": "x",
                "shape": [rows, 1, 28, 28],
                "datatype": "FP32",
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in ("mu", "logvar")],
        **more,
    }
    head = json.dumps(document).encode()
    headers = {HEADER: str(len(head)), "Content-Type": "application/octet-stream"}
    answer = api.post("/v2/models/mnist-encoder/infer", head + raw, None, headers)
    return answer.status, answer


def test_server_is_alive_and_says_what_it_can(api: Caller) -> None:
    assert api.get("/v2/health/live").status == 200
    assert api.get("/v2/health/ready").status == 200
    found = api.get("/v2").json()
    assert {"statistics", "model_configuration", "binary_tensor_data"} <= set(found["extensions"])
    assert found["version"]


@pytest.mark.parametrize("target", ["/v2/models/mnist-encoder", "/v2/models/mnist-encoder/versions/1"])
def test_metadata_and_configuration_decide_the_kind_of_load(api: Caller, target: str) -> None:
    metadata = api.get(target).json()
    assert metadata["name"] == "mnist-encoder"
    assert "1" in metadata["versions"]
    assert [each["name"] for each in metadata["outputs"]] == ["mu", "logvar"]
    config = api.get(f"{target}/config").json()
    # A batch size above 0 means that shapes begin with the batch, so `-b 8` sends 8 rows.
    assert config["max_batch_size"] == 64
    assert (config["input"][0]["name"], config["input"][0]["dims"]) == ("x", [1, 28, 28])
    # The load of sequences, ensembles and decoupled models is another one.
    assert not {"sequence_batching", "ensemble_scheduling"} & set(config)
    assert not config.get("model_transaction_policy", {}).get("decoupled", False)
    assert "dynamic_batching" in config


def test_window_is_measured_by_two_statistics(api: Caller) -> None:
    before = statistics(api)
    answers = [infer(api, rows=1 + at % 2) for at in range(4)]
    after = statistics(api)
    assert [status for status, _ in answers] == [200] * 4
    assert after["inference_count"] - before["inference_count"] == 1 + 2 + 1 + 2
    assert 1 <= after["execution_count"] - before["execution_count"] <= 4
    for phase in PHASES:
        pair = [each["inference_stats"][phase] for each in (before, after)]
        assert pair[1]["count"] - pair[0]["count"] == (0 if phase == "fail" else 4), phase
        assert pair[1]["ns"] >= pair[0]["ns"], phase
    # Without a version, the program asks for all models and looks for its own.
    assert statistics(api, "/v2/models/stats") == statistics(api, "/v2/models/mnist-encoder/versions/1/stats")


def test_response_has_the_outputs_in_bytes(api: Caller) -> None:
    _, answer = infer(api)
    found = read_result(answer.body, answer.headers)
    assert list(found.arrays) == ["mu", "logvar"]
    assert "id" not in found.document or found.document["id"] == ""


@pytest.mark.parametrize(
    "more",
    [
        {"id": "17"},
        {"parameters": {"priority": 1}},
        {"parameters": {"timeout": 20_000_000}},
        {"parameters": {"priority": 9, "timeout": 20_000_000, "binary_data_output": True}},
    ],
    ids=["id", "priority", "timeout", "all"],
)
def test_id_priority_and_timeout_are_taken(api: Caller, more: dict[str, Any]) -> None:
    status, answer = infer(api, **more)
    assert status == 200, answer.body
    if "id" in more:
        assert read_result(answer.body, answer.headers).document["id"] == "17"
