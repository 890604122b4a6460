"""Calls of the protocol against a real server: the same numbers, limits and lines as over HTTP."""

from __future__ import annotations

import io
import json
import urllib.request
from typing import Any

import numpy as np
import pytest
from grpc_client import Client, Done
from patience import eventually
from tiny_models import TinyModel

from service.api.open_inference.grpc.definitions import inference as make
from service.api.open_inference.grpc.definitions import message

SERVICE = "/inference.GRPCInferenceService/"
X = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
Server = Any


def infer_request(
    model: str = "mnist", *, x: np.ndarray = X, outputs: tuple[str, ...] = (), **kwargs: Any
) -> Any:
    made = make("ModelInferRequest", model_name=model, raw_input_contents=[x.tobytes()], **kwargs)
    made.inputs.add(name="x", datatype="FP32", shape=x.shape)
    for name in outputs:
        made.outputs.add(name=name)
    return made


def arrays(found: Any) -> dict[str, np.ndarray]:
    return {
        output.name: np.frombuffer(raw, "<f4").reshape(tuple(output.shape))
        for output, raw in zip(found.outputs, found.raw_output_contents, strict=True)
    }


class Calls:
    def __init__(self, client: Client, server: Server) -> None:
        self.client, self.server = client, server

    def done(self, name: str, request: Any = None, **kwargs: Any) -> Done:
        sent = request if request is not None else make(f"{name}Request")
        return self.client.call(self.server.port, SERVICE + name, sent.SerializeToString(), **kwargs)

    def __call__(self, name: str, request: Any = None, **kwargs: Any) -> Any:
        done = self.done(name, request, **kwargs)
        assert done.code == "OK", done
        return message(f"inference.{name}Response").FromString(done.answer)

    def post(self, target: str, array: np.ndarray) -> Any:
        body = io.BytesIO()
        np.save(body, array)
        address = f"http://127.0.0.1:{self.server.running.port}{target}"
        sent = urllib.request.Request(address, body.getvalue(), {"Content-Type": "application/x-npy"})
        with urllib.request.urlopen(sent) as answer:
            return np.load(io.BytesIO(answer.read()))


@pytest.fixture
def calls(grpc_client: Client, grpc_server: Server) -> Calls:
    return Calls(grpc_client, grpc_server)


def test_server_answers_about_itself(calls: Calls) -> None:
    assert calls("ServerLive").live is True
    assert calls("ServerReady").ready is True
    found = calls("ServerMetadata")
    assert found.name == "vae-service"
    assert "binary_tensor_data" in found.extensions


def test_model_answers_about_itself(calls: Calls) -> None:
    found = calls("ModelMetadata", make("ModelMetadataRequest", name="mnist-encoder"))
    assert (found.name, list(found.versions)) == ("mnist-encoder", ["1", "2"])
    assert [(each.name, each.datatype, list(each.shape)) for each in found.inputs] == [
        ("x", "FP32", [-1, 1, 28, 28])
    ]
    assert [each.name for each in found.outputs] == ["mu", "logvar"]
    config = calls("ModelConfig", make("ModelConfigRequest", name="mnist-decoder", version="2")).config
    assert (config.name, config.max_batch_size > 0, list(config.version_policy.specific.versions)) == (
        "mnist-decoder",
        True,
        [2],
    )
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("z", 11, [8])]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"


def test_readiness_of_a_model(calls: Calls) -> None:
    for name, version, expected in (
        ("mnist", "", True),
        ("mnist", "1", True),
        ("mnist", "9", False),
        ("no", "", False),
    ):
        request = make("ModelReadyRequest", name=name, version=version)
        assert calls("ModelReady", request).ready is expected, (name, version)


def test_inference_has_the_numbers_of_http_to_the_last_bit(calls: Calls, tiny: TinyModel) -> None:
    found = calls("ModelInfer", infer_request("mnist-encoder", id="seven"))
    assert (found.model_name, found.id) == ("mnist-encoder", "seven")
    got = arrays(found)
    assert list(got) == ["mu", "logvar"]
    label = f"mnist@{found.model_version}"
    posterior = calls.post(f"/encode.npz?model={label}", X)
    np.testing.assert_array_equal(got["mu"], posterior["mu"])
    np.testing.assert_array_equal(got["logvar"], posterior["logvar"])
    whole = arrays(calls("ModelInfer", infer_request(outputs=("x_hat",))))
    assert list(whole) == ["x_hat"]
    np.testing.assert_array_equal(whole["x_hat"], calls.post(f"/reconstruct.npy?model={label}", X))


def test_typed_contents_give_the_same_bytes_as_raw_ones(calls: Calls) -> None:
    typed = make("ModelInferRequest", model_name="mnist-encoder")
    tensor = typed.inputs.add(name="x", datatype="FP32", shape=X.shape)
    tensor.contents.fp32_contents.extend(X.ravel().tolist())
    one, other = calls("ModelInfer", typed), calls("ModelInfer", infer_request("mnist-encoder"))
    assert list(one.raw_output_contents) == list(other.raw_output_contents)


def test_seeds_give_the_samples_of_http(calls: Calls) -> None:
    request = make("ModelInferRequest", model_name="mnist-sampler", model_version="1")
    request.inputs.add(name="seed", datatype="INT64", shape=[2]).contents.int64_contents.extend([7, 8])
    got = arrays(calls("ModelInfer", request))["x_hat"]
    for row, seed in enumerate((7, 8)):
        _, _, body = calls.server.running.get(f"/sample.npy?model=mnist@1&seed={seed}")
        np.testing.assert_array_equal(got[row], np.load(io.BytesIO(body))[0])


def test_pictures_are_read_from_bytes_contents(calls: Calls) -> None:
    _, _, png = calls.server.running.get("/sample.png?seed=3&n=1")
    request = make("ModelInferRequest", model_name="mnist-encoder")
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(png)
    assert arrays(calls("ModelInfer", request))["mu"].shape == (1, 8)


def test_statistics_count_the_calls(calls: Calls) -> None:
    request = make("ModelStatisticsRequest", name="mnist-decoder")
    before = calls("ModelStatistics", request).model_stats[0]
    z = make("ModelInferRequest", model_name="mnist-decoder", raw_input_contents=[bytes(64)])
    z.inputs.add(name="z", datatype="FP32", shape=[2, 8])
    calls("ModelInfer", z)
    after = calls("ModelStatistics", request).model_stats[0]
    assert after.inference_count - before.inference_count == 2
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    names = [each.name for each in calls("ModelStatistics").model_stats]
    assert {"mnist", "mnist-encoder", "plain", "colour-sampler"} <= set(names)


def test_index_and_loading_serve_the_fields_of_both_families_of_clients(calls: Calls) -> None:
    index = calls("RepositoryIndex")
    assert ("mnist", "1", "READY") in {(each.name, each.version, each.state) for each in index.models}
    triton = make("RepositoryModelUnloadRequest", model_name="plain")
    calls("RepositoryModelUnload", triton)
    assert calls("ModelReady", make("ModelReadyRequest", name="plain")).ready is False
    states = {each.name: each.state for each in calls("RepositoryIndex").models}
    assert states["plain"] == "UNAVAILABLE"
    ready = calls("RepositoryIndex", make("RepositoryIndexRequest", ready=True)).models
    assert "plain" not in {each.name for each in ready}
    kserve = make("RepositoryModelLoadRequest", repository_name="plain")  # field 1
    answer = calls("RepositoryModelLoad", kserve)
    assert (answer.model_name, answer.isLoaded) == ("plain", True)
    assert calls("ModelReady", make("ModelReadyRequest", name="plain")).ready is True


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("SystemSharedMemoryStatus", "shared memory"),
        ("SystemSharedMemoryRegister", "raw_input_contents"),
        ("SystemSharedMemoryUnregister", "shared memory"),
        ("CudaSharedMemoryStatus", "shared memory"),
        ("CudaSharedMemoryRegister", "raw_input_contents"),
        ("CudaSharedMemoryUnregister", "shared memory"),
        ("TraceSetting", "--telemetry"),
        ("LogSettings", "--log-level"),
    ],
)
def test_call_that_this_server_does_not_have_is_refused_with_what_to_do(
    calls: Calls, name: str, word: str
) -> None:
    done = calls.done(name)
    assert (done.code, done.problem) == ("UNIMPLEMENTED", "not-supported")
    assert name in done.details
    assert word in done.details


def bad(what: str) -> Any:
    made = infer_request("mnist-encoder")
    if what == "dtype":
        made.inputs[0].datatype = "FP64"
    elif what == "shape":
        made.inputs[0].shape[:] = [3, 784]
    elif what == "size":
        made.raw_input_contents[0] = bytes(8)
    elif what == "range":
        made.raw_input_contents[0] = (X + 2).tobytes()
    elif what == "nan":
        made.raw_input_contents[0] = np.full_like(X, np.nan).tobytes()
    elif what == "name":
        made.inputs[0].name = "y"
    elif what == "output":
        made.outputs.add(name="mux")
    elif what == "parameter":
        made.parameters["tempo"].int64_param = 1
    elif what == "shared memory":
        del made.raw_input_contents[:]
        made.inputs[0].parameters["shared_memory_region"].string_param = "a"
    elif what == "many":
        x = np.zeros((300, 1, 28, 28), np.float32)
        made = infer_request("mnist-encoder", x=x)
    return made


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("dtype", "x: datatype"),
        ("shape", "x: shape"),
        ("size", "x: data"),
        ("range", "[0, 1]"),
        ("nan", "[0, 1]"),
        ("name", "inputs[0]: name"),
        ("output", "mu"),
        ("parameter", "tempo"),
        ("shared memory", "shared memory"),
        ("many", "256"),
    ],
)
def test_faulty_request_is_an_invalid_argument_that_says_what_to_send(
    calls: Calls, what: str, word: str
) -> None:
    done = calls.done("ModelInfer", bad(what))
    assert done.code == "INVALID_ARGUMENT", done
    assert word in done.details
    assert done.problem in ("invalid-value", "malformed-body", "invalid-parameter")
    assert done.trailing["x-request-id"]


@pytest.mark.parametrize(
    ("name", "version"), [("nothing", ""), ("mnist", "99"), ("mnist", "x"), ("../etc", "")]
)
def test_unknown_model_is_not_found(calls: Calls, name: str, version: str) -> None:
    done = calls.done("ModelInfer", infer_request(name, model_version=version))
    assert (done.code, done.problem) == ("NOT_FOUND", "unknown-model")
    request = make("ModelMetadataRequest", name=name, version=version)
    assert calls.done("ModelMetadata", request).code == "NOT_FOUND"


def test_bytes_that_are_no_message_are_an_invalid_argument(calls: Calls) -> None:
    for name in ("ModelInfer", "ModelMetadata", "ServerLive", "RepositoryIndex"):
        done = calls.client.call(calls.server.port, SERVICE + name, b"\xff\xff\xff")
        assert (done.code, done.problem) == ("INVALID_ARGUMENT", "malformed-body"), name


@pytest.mark.parametrize("path", [SERVICE + "Nothing", "/no.Service/Method", "/"])
def test_unknown_method_is_unimplemented(calls: Calls, path: str) -> None:
    done = calls.client.call(calls.server.port, path, b"")
    assert (done.code, done.problem) == ("UNIMPLEMENTED", "unknown-path")


def test_answer_has_the_id_the_model_and_the_times(calls: Calls) -> None:
    done = calls.done("ModelInfer", infer_request("mnist-encoder"), metadata=[("x-request-id", "my-call-7")])
    assert done.trailing["x-request-id"] == "my-call-7"
    assert done.trailing["x-model"].startswith("mnist@")
    for phase in ("read", "parse", "queue", "run", "encode", "total"):
        assert f"{phase};dur=" in done.trailing["server-timing"]


def test_call_is_one_line_in_the_log(calls: Calls) -> None:
    calls.done("ModelInfer", infer_request("mnist-encoder"), metadata=[("x-request-id", "line-of-a-call")])
    calls.done("ModelInfer", infer_request("nothing"), metadata=[("x-request-id", "line-of-an-error")])

    def lines() -> list[dict[str, Any]]:
        every = calls.server.running.lines("request")
        return [line for line in every if line["request_id"].startswith("line-of-")]

    eventually(lambda: len(lines()) == 2, lambda: calls.server.running.log)
    good, failed = lines()
    assert good["method"] == "GRPC"
    assert good["path"] == SERVICE + "ModelInfer"
    assert good["status"] == "OK"
    assert good["images"] == 3
    assert good["model"].startswith("mnist@")
    assert good["body_bytes"] > X.nbytes
    assert good["client"] == "127.0.0.1"
    assert failed["status"] == "NOT_FOUND"
    assert failed["code"] == "unknown-model"


def test_call_is_counted_in_the_metrics(calls: Calls) -> None:
    def values() -> dict[str, float]:
        text = calls.server.running.get("/metrics")[2].decode()
        rows = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in rows}

    before = values()
    calls.done("ModelInfer", infer_request("mnist-encoder"))
    calls.done("ModelInfer", infer_request("nothing"))
    after = values()
    path = SERVICE + "ModelInfer"

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown(f'vae_grpc_requests_total{{route="{path}",status="OK"}}') == 1
    assert grown(f'vae_grpc_requests_total{{route="{path}",status="NOT_FOUND"}}') == 1
    assert grown(f'vae_grpc_request_duration_seconds_count{{route="{path}"}}') == 2
    assert grown('vae_problems_total{code="unknown-model"}') == 1
    assert grown("vae_request_body_bytes_total") > X.nbytes
    images = [name for name in after if name.startswith("vae_request_images_sum") and path in name]
    assert sum(map(grown, images)) == 3
    assert after["vae_grpc_requests_in_flight"] == 0


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_messages_are_read(calls: Calls, compression: str) -> None:
    found = calls("ModelInfer", infer_request("mnist-encoder"), compression=compression)
    assert arrays(found)["mu"].shape == (3, 8)


def test_log_has_no_traceback(calls: Calls) -> None:
    lines = [json.loads(line) for line in calls.server.running.log.splitlines()]
    assert [line for line in lines if "traceback" in line or line["level"] == "error"] == []
