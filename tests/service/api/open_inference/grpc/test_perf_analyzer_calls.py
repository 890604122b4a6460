"""The calls of perf_analyzer over gRPC, in their order: what it asks, and the fields it reads in each answer.

The program itself runs on newer systems than this project supports, so its calls are written here as it makes
them; `tests/service/api/open_inference/test_perf_analyzer_steps.py` has those of REST.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grpc_client import Client

from service.api.open_inference.grpc.definitions import inference as make
from service.api.open_inference.grpc.definitions import message

SERVICE = "/inference.GRPCInferenceService/"
MODEL = "mnist-encoder"
X = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
PHASES = ("success", "queue", "compute_input", "compute_infer", "compute_output")
Server = Any


def request(name: str = "", *, rows: int = 2, **parameters: int) -> Any:
    made = make("ModelInferRequest", model_name=MODEL, id=name, raw_input_contents=[X[:rows].tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=[rows, 1, 28, 28])
    for output in ("mu", "logvar"):
        made.outputs.add(name=output)
    for parameter, value in parameters.items():
        made.parameters[parameter].int64_param = value
    return made


class Calls:
    """Calls of one server, by name."""

    def __init__(self, client: Client, server: Server) -> None:
        self.client, self.server = client, server

    def __call__(self, name: str, request: Any) -> Any:
        done = self.client.call(self.server.port, SERVICE + name, request.SerializeToString())
        assert done.code == "OK", done
        return message(f"inference.{name}Response").FromString(done.answer)

    def stream(self, *requests: Any) -> list[Any]:
        sent = [each.SerializeToString() for each in requests]
        done = self.client.stream(self.server.port, SERVICE + "ModelStreamInfer", sent)
        assert done.code == "OK", done
        return [message("inference.ModelStreamInferResponse").FromString(each) for each in done.answers]

    def statistics(self) -> Any:
        """The entry of the version that answers."""
        found = self("ModelStatistics", make("ModelStatisticsRequest", name=MODEL, version="1"))
        (stats,) = found.model_stats
        assert (stats.name, stats.version) == (MODEL, "1")
        return stats


@pytest.fixture
def calls(grpc_client: Client, grpc_server: Server) -> Calls:
    return Calls(grpc_client, grpc_server)


def test_server_is_alive_and_says_what_it_can(calls: Calls) -> None:
    assert calls("ServerLive", make("ServerLiveRequest")).live
    assert calls("ServerReady", make("ServerReadyRequest")).ready
    assert "statistics" in calls("ServerMetadata", make("ServerMetadataRequest")).extensions


@pytest.mark.parametrize("version", ["", "1"])
def test_metadata_and_configuration_decide_the_kind_of_load(calls: Calls, version: str) -> None:
    metadata = calls("ModelMetadata", make("ModelMetadataRequest", name=MODEL, version=version))
    assert [list(each.shape) for each in metadata.inputs] == [[-1, 1, 28, 28]]
    config = calls("ModelConfig", make("ModelConfigRequest", name=MODEL, version=version)).config
    assert config.max_batch_size > 0
    assert [list(each.dims) for each in config.input] == [[1, 28, 28]]
    # The load of sequences, ensembles and decoupled models is another one.
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert not config.model_transaction_policy.decoupled


def test_window_is_measured_by_two_statistics(calls: Calls) -> None:
    before = calls.statistics()
    found = calls("ModelInfer", request(rows=1))
    calls.stream(request("1"), request("2"))
    after = calls.statistics()
    assert [each.name for each in found.outputs] == ["mu", "logvar"]
    assert [len(raw) for raw in found.raw_output_contents] == [4 * 8, 4 * 8]
    assert after.inference_count - before.inference_count == 5
    assert 1 <= after.execution_count - before.execution_count <= 3
    for phase in PHASES:
        pair = [getattr(each.inference_stats, phase) for each in (before, after)]
        assert pair[1].count - pair[0].count == 3, phase
        assert pair[1].ns >= pair[0].ns, phase
    assert after.inference_stats.fail.count == before.inference_stats.fail.count


def test_priority_and_timeout_are_taken(calls: Calls) -> None:
    found = calls("ModelInfer", request("a", priority=1, timeout=20_000_000))
    assert found.id == "a"


def test_stream_answers_each_id_and_marks_the_last_response(calls: Calls) -> None:
    """The program asks for an empty last response, and takes a marked one in its place."""
    requests = [request(str(at), rows=1) for at in range(8)]
    for each in requests:
        each.parameters["triton_enable_empty_final_response"].bool_param = True
    answers = calls.stream(*requests)
    assert [each.error_message for each in answers] == [""] * 8
    assert sorted(each.infer_response.id for each in answers) == sorted(map(str, range(8)))
    assert all(each.infer_response.parameters["triton_final_response"].bool_param for each in answers)
