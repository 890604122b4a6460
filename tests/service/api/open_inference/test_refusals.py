"""Requests that are refused: each with 400, the place, the expected value and the remedy."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from inference_calls import HEADER, Tensor, binary_request, infer, json_request, read_result, refused

from service.app import create_app
from service.settings import Settings

X = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
INFER = "/v2/models/mnist/infer"


def one(**changes: object) -> dict:
    """A sound request for one image of zeros, with changes of its input."""
    tensor = {"name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.0] * 784, **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value != "left out"}]}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": [1]}, "inputs"),
        ({"inputs": [{}]}, "inputs[0]: name"),
        (one(name=7), "inputs[0]: name"),
        (one(name="y"), "inputs[0]: name"),
        (one(datatype="FP64"), "x: datatype"),
        (one(datatype="UINT8", data=[0] * 784), "x: datatype"),
        (one(datatype="FLOAT"), "datatype"),
        (one(datatype=None), "inputs[0]: datatype"),
        (one(shape=[1, 28, 28]), "x: shape"),
        (one(shape=[28, 28]), "x: shape"),
        (one(shape=[1, 1, 28, 29]), "x: shape"),
        (one(shape=[-1, 1, 28, 28]), "inputs[0]: shape[0]"),
        (one(shape=[1.0, 1, 28, 28]), "inputs[0]: shape[0]"),
        (one(shape=[True, 1, 28, 28]), "inputs[0]: shape[0]"),
        (one(shape=[2**31, 1, 28, 28]), "inputs[0]: shape[0]"),
        (one(shape=[2**62, 2**62, 28, 28]), "inputs[0]: shape[0]"),
        (one(shape=[]), "inputs[0]: shape"),
        (one(shape=[1] * 9), "inputs[0]: shape"),
        (one(shape="1"), "inputs[0]: shape"),
        (one(shape=[0, 1, 28, 28], data=[]), "x"),
        (one(shape=[65, 1, 28, 28], data=[0.0] * 784), "x"),
        (one(data=[0.0] * 783), "x: data"),
        (one(data=[0.0] * 785), "x: data"),
        (one(data="left out"), "inputs[0]"),
        (one(data=None), "inputs[0]: data"),
        (one(data="0"), "inputs[0]: data"),
        (one(data=[[0.0] * 784]), "data"),
        (one(data=[[0.0] * 28] * 28), "data"),
        (one(data=[[[[0.0] * 28] * 27 + [[0.0] * 27]]]), "data"),
        (one(data=["0"] * 784), "x: data[0]"),
        (one(data=[True] + [0.0] * 783), "x: data[0]"),
        (one(data=[0.0] * 783 + [None]), "x: data[783]"),
        (one(data=[0.0] * 783 + [1.5]), "x[0][0][27][27]"),
        (one(data=[-1e-9] + [0.0] * 783), "x[0][0][0][0]"),
        (one(extra=1), "inputs[0]: key 5"),
        (one(parameters=1), "inputs[0]: parameters"),
        (one(parameters={"binary_data_size": 3136}), "inputs[0]"),
        (one(parameters={"shared_memory_region": "r"}), "inputs[0]: parameters"),
        (one(parameters={"colour": 1}), "inputs[0]: parameters"),
        ({**one(), "inputs": one()["inputs"] * 2}, "inputs[1]: name"),
        ({**one(), "inputs": one()["inputs"] * 17}, "inputs"),
        ({**one(), "outputs": [{"name": "y"}]}, "outputs[0]: name"),
        ({**one(), "outputs": [{"name": "mu"}, {"name": "mu"}]}, "outputs[1]: name"),
        ({**one(), "outputs": [{"name": "mu", "parameters": {"classification": 2}}]}, "outputs[0]"),
        ({**one(), "outputs": [{"name": "mu", "parameters": {"binary_data": 1}}]}, "outputs[0]"),
        ({**one(), "outputs": [{"name": "mu", "parameters": {"shared_memory_offset": 1}}]}, "outputs[0]"),
        ({**one(), "outputs": "mu"}, "outputs"),
        ({**one(), "id": 7}, "id"),
        ({**one(), "id": "x" * 1025}, "id"),
        ({**one(), "model_version": "1" * 10}, "model_version"),
        ({**one(), "what": 7}, "body: key 2"),
        ({**one(), "parameters": []}, "parameters"),
        ({**one(), "parameters": {"binary_data_output": "yes"}}, "binary_data_output"),
        ({**one(), "parameters": {"timeout": -1}}, "timeout"),
        ({**one(), "parameters": {"timeout": "1"}}, "timeout"),
        ({**one(), "parameters": {"priority": 1.5}}, "priority"),
        ({**one(), "parameters": {"temperature": 1.0}}, "key 1"),
        ({**one(), "parameters": {"resize": 1}}, "resize"),
        ({**one(), "parameters": {str(n): n for n in range(65)}}, "parameters"),
        ([one()], "body"),
    ],
)
def test_fault_in_json_is_named(api: Caller, document: object, place: str) -> None:
    answer = api.post_json(INFER, document)
    text = refused(answer)
    assert place in text
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"null", b'"x"', b"\xff", b"\xef\xbb\xbf{}", b'{"inputs": NaN}', b"[" * 100_000,
        b'{"inputs": [], "inputs": []}', b'{"inputs":[{"data":[1,2],[3]}]}', b'{"inputs":[{"data":[1,}]}',
        b'{"inputs":[{"name":"x","shape":[1,1,28,28],"datatype":"FP32","data":[1,2}]}',
        b'{"inputs":[{"name":"x","shape":[1,1,28,28],"datatype":"FP32","data":[1 2]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"data":[2]}]}',
        b'{"inputs":[{"name":"x","shape":[1,1,28,28],"datatype":"FP32","data":0}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"data":[1]},"data":0}]}',
        b'{"inputs":[{"name":"x","shape":[1,1,28,28],"datatype":"FP32","data":[1e400]}]}',
        b'{"inputs":[{"name":"x","shape":[1,1,28,28],"datatype":"FP32","data":[' + b"[" * 2000 + b"]}]}",
        b'{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"FP32","data":[1]}]}',
    ],
)  # fmt: skip
def test_body_that_is_no_json_of_the_protocol_is_refused(api: Caller, body: bytes) -> None:
    refused(api.post(INFER, body))


@pytest.mark.parametrize("value", ["9" * 30, "-1", "+1", "1.0", "x", "", "0x10", "٣", "1 2"])
def test_header_length_that_is_none_is_refused(api: Caller, value: str) -> None:
    body, _ = binary_request(Tensor("x", X))
    encoded = value.encode("utf-8").decode("latin-1")
    text = refused(api.post(INFER, body, None, {HEADER: encoded}), code="malformed-body")
    assert "Inference-Header-Content-Length" in text


def with_size(size: object, tensor: bytes = X.tobytes(), **changes: object) -> tuple[bytes, dict[str, str]]:
    described = {
        "name": "x", "shape": [2, 1, 28, 28], "datatype": "FP32", "parameters": {"binary_data_size": size},
        **changes,
    }  # fmt: skip
    head = json.dumps({"inputs": [described]}).encode()
    return head + tensor, {HEADER: str(len(head))}


@pytest.mark.parametrize(
    ("size", "tensor", "changes"),
    [
        (X.nbytes - 1, X.tobytes(), {}),
        (X.nbytes + 1, X.tobytes(), {}),
        (X.nbytes, X.tobytes() + b"\0", {}),
        (X.nbytes, X.tobytes()[:-1], {}),
        (0, b"", {}),
        (-1, X.tobytes(), {}),
        (2**63, X.tobytes(), {}),
        (float(X.nbytes), X.tobytes(), {}),
        ("6272", X.tobytes(), {}),
        (True, X.tobytes(), {}),
        (X.nbytes, X.tobytes(), {"shape": [3, 1, 28, 28]}),
        (X.nbytes, X.tobytes(), {"shape": [2**31 - 1, 1, 28, 28]}),
        (X.nbytes, X.tobytes(), {"datatype": "FP64"}),
        (X.nbytes, X.tobytes(), {"datatype": "FP16"}),
        (X.nbytes, X.tobytes(), {"data": []}),
        (X.nbytes, (-X).tobytes(), {}),
        (X.nbytes, (X * np.float32("nan")).tobytes(), {}),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(
    api: Caller, size: object, tensor: bytes, changes: dict
) -> None:
    body, headers = with_size(size, tensor, **changes)
    refused(api.post(INFER, body, None, headers))


@pytest.mark.parametrize(
    ("shape", "raw"),
    [
        ([1], b""),
        ([1], b"\1\0\0"),
        ([1], struct.pack("<I", 2**32 - 1)),
        ([1], struct.pack("<I", 5) + b"abcd"),
        ([1], struct.pack("<I", 4) + b"abcde"),
        ([1], struct.pack("<I", 4) + b"abcd"),
        ([2**31 - 1], struct.pack("<I", 0)),
        ([2], struct.pack("<I", 0)),
        ([0], b""),
        ([1, 1], struct.pack("<I", 0)),
    ],
)
def test_elements_that_are_no_pictures_are_refused(api: Caller, shape: list[int], raw: bytes) -> None:
    body, headers = with_size(len(raw), raw, name="image", datatype="BYTES", shape=shape)
    refused(api.post(INFER, body, None, headers))


def test_seed_out_of_range_is_refused(api: Caller) -> None:
    for seed in (-1, 2**53):
        body, headers = binary_request(Tensor("seed", np.array([1, seed], np.int64)))
        assert "seed[1]" in refused(api.post("/v2/models/mnist-sampler/infer", body, None, headers))
    for value in ("1", 1.0, True, 2**64, None):
        inputs = [{"name": "seed", "shape": [1], "datatype": "INT64", "data": [value]}]
        refused(api.post_json("/v2/models/mnist-sampler/infer", {"inputs": inputs}))


def test_parameters_of_a_sampler_are_checked(api: Caller) -> None:
    seed = Tensor("seed", np.array([1], np.int64))
    for parameters, code in (
        ({"temperature": 11}, "invalid-value"),
        ({"prior": "best"}, "invalid-value"),
        ({"prior": "fitted"}, "no-prior"),
        ({"prior": "standard", "label": "7"}, "invalid-parameter"),
    ):
        body, headers = binary_request(seed, parameters=parameters)
        refused(api.post("/v2/models/mnist-sampler/infer", body, None, headers), code=code)


def test_reserved_parameters_have_no_effect(api: Caller) -> None:
    reserved = {
        "sequence_id": 7, "sequence_start": True, "sequence_end": False, "headers": "x", "priority": 0,
        "timeout": 0, "triton_enable_empty_final_response": True, "content_type": "np",
    }  # fmt: skip
    plain, with_all = (
        infer(api, "mnist", Tensor("x", X)),
        infer(api, "mnist", Tensor("x", X), parameters=reserved),
    )
    np.testing.assert_array_equal(plain.arrays["mu"], with_all.arrays["mu"])


def test_unknown_models_paths_and_methods_have_errors_of_the_protocol(api: Caller) -> None:
    body = json_request(Tensor("x", X))
    for name in (
        "none",
        "none-encoder",
        "mnist-",
        "mnist@1",
        "mnist@stable",
        "MNIST",
        "x" * 300,
        "%00",
        "..%2f",
    ):
        answer = api.post(f"/v2/models/{name}/infer", body)
        refused(answer, 404)
    for version in ("3", "0", "01", "stable", "-1", "1.0", "9" * 12):
        refused(api.post(f"/v2/models/mnist/versions/{version}/infer", body), 404)
    refused(api.get("/v2/nothing"), 404, "unknown-path")
    refused(api.get(INFER), 405, "method-not-allowed")
    refused(api.post("/v2"), 405, "method-not-allowed")
    refused(api.post_json("/v2/models/plain-sampler/infer", {"inputs": []}), 400, "no-prior")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_compressed_body_is_read_and_an_asked_for_answer_compressed(
    api: Caller, algorithm: str, in_parts: bool
) -> None:
    body, headers = binary_request(Tensor("x", X))
    packed = gzip.compress(body) if algorithm == "gzip" else zlib.compress(body)
    sent = [packed[:1000], packed[1000:]] if in_parts else packed
    encodings = {**headers, "content-encoding": algorithm, "accept-encoding": algorithm}
    answer = api.post(INFER, sent, None, encodings)
    assert answer.status == 200, answer.body[:300]
    assert answer.headers["content-encoding"] == algorithm
    plain = gzip.decompress(answer.body) if algorithm == "gzip" else zlib.decompress(answer.body)
    assert int(answer.headers["content-length"]) == len(answer.body)
    found = read_result(plain, answer.headers)
    np.testing.assert_array_equal(found.arrays["mu"], infer(api, "mnist", Tensor("x", X)).arrays["mu"])


@pytest.mark.parametrize(
    "accepted", ["gzip, deflate", "gzip, deflate, br", "br", "*", "gzip;q=1.0", "identity", ""]
)
def test_answer_is_compressed_for_one_named_algorithm_alone(api: Caller, accepted: str) -> None:
    """Libraries list several by themselves; Triton's asynchronous client reads only what it asked for."""
    body, headers = binary_request(Tensor("x", X))
    answer = api.post(INFER, body, None, {**headers, "accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    read_result(answer.body, answer.headers)
    for path in ("/v2", "/v2/models/mnist", "/v2/models/mnist/config", "/v2/models/stats"):
        assert "content-encoding" not in api.get(path, {"accept-encoding": accepted}).headers
    assert "content-encoding" not in api.get("/v2/models/mnist", {"accept-encoding": "gzip"}).headers


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_broken_compression_is_refused(api: Caller, algorithm: str) -> None:
    body, headers = binary_request(Tensor("x", X))
    packed = gzip.compress(body) if algorithm == "gzip" else zlib.compress(body)
    for broken in (b"", packed[:-1], packed[:50], packed + b"x", packed + packed, body, packed[::-1]):
        answer = api.post(INFER, broken, None, {**headers, "content-encoding": algorithm})
        refused(answer, code="malformed-body")
    for other in ("br", "gzip, gzip", "zstd", "compress"):
        refused(api.post(INFER, packed, None, {**headers, "content-encoding": other}), 415)


@pytest.fixture
def small(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1, max_images=64, max_body_bytes=65_536)
    with Caller(create_app(settings)) as caller:
        yield caller


def test_limit_of_a_body_is_on_its_decompressed_size(small: Caller) -> None:
    for size, status in ((65_536, 400), (65_537, 413), (50_000_000, 413)):
        for packed, algorithm in (
            (gzip.compress(b" " * size), "gzip"),
            (zlib.compress(b" " * size), "deflate"),
        ):
            answer = small.post(INFER, packed, None, {"content-encoding": algorithm})
            refused(answer, status)
    refused(small.post(INFER, b" " * 65_537), 413, "body-too-large")


def test_error_never_repeats_a_body(api: Caller) -> None:
    secret = "s3cret" * 30
    for document in (
        one(name=secret), one(datatype=secret), one(data=[secret]), {**one(), secret: 1},
        {**one(), "parameters": {secret: secret}}, {**one(), "id": [secret]},
    ):  # fmt: skip
        assert secret not in refused(api.post_json(INFER, document))
