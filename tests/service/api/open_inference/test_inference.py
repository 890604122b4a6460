"""Inference by the Open Inference Protocol: the same numbers as the native API, in every form of a body."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from inference_calls import (
    HEADER,
    Tensor,
    binary_request,
    infer,
    infer_json,
    json_request,
    read_result,
    refused,
)
from PIL import Image
from tiny_models import TinyModel

from service.app import create_app
from service.settings import Settings

X = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
Z = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)


def native(api: Caller, path: str, document: dict) -> dict:
    answer = api.post_json(path, document)
    assert answer.status == 200, answer.body[:300]
    return answer.json()


def numbers(value: object) -> np.ndarray:
    return np.array(value, np.float32)


@pytest.mark.parametrize("call", [infer, infer_json])
def test_whole_model_encodes_and_reconstructs_as_the_native_api(api: Caller, call, tiny: TinyModel) -> None:
    found = call(api, "mnist", Tensor("x", X))
    encoded = native(api, "/encode", {"images": X.tolist()})
    back = native(api, "/reconstruct", {"images": X.tolist()})
    assert list(found.arrays) == ["mu", "logvar", "x_hat"]
    np.testing.assert_array_equal(found.arrays["mu"], numbers(encoded["mu"]))
    np.testing.assert_array_equal(found.arrays["logvar"], numbers(encoded["logvar"]))
    np.testing.assert_array_equal(found.arrays["x_hat"], numbers(back["images"]))
    assert (found.document["model_name"], found.document["model_version"]) == ("mnist", "1")


@pytest.mark.parametrize("call", [infer, infer_json])
def test_halves_encode_and_decode(api: Caller, call) -> None:
    encoded = call(api, "mnist-encoder", Tensor("x", X))
    assert list(encoded.arrays) == ["mu", "logvar"]
    decoded = call(api, "mnist-decoder", Tensor("z", encoded.arrays["mu"].astype(np.float32)))
    whole = call(api, "mnist", Tensor("x", X))
    np.testing.assert_array_equal(decoded.arrays["x_hat"], whole.arrays["x_hat"])
    assert decoded.document["model_name"] == "mnist-decoder"


@pytest.mark.parametrize("call", [infer, infer_json])
def test_row_of_a_sampler_is_the_sample_of_its_seed(api: Caller, call) -> None:
    seeds = np.array([7, 0, 2**53 - 1, 7], np.int64)
    found = call(api, "mnist-sampler", Tensor("seed", seeds), parameters={"temperature": 0.5})
    for row, seed in enumerate(seeds):
        alone = native(api, "/sample", {"seed": int(seed), "temperature": 0.5})
        np.testing.assert_array_equal(found.arrays["z"][row], numbers(alone["z"])[0])
        np.testing.assert_array_equal(found.arrays["x_hat"][row], numbers(alone["images"])[0])
    assert found.document["parameters"] == {"temperature": 0.5, "prior": "standard"}


def test_many_seeds_are_the_samples_of_each(api: Caller) -> None:
    """More than are drawn on the event loop."""
    seeds = np.arange(50, dtype=np.int64)
    found = infer(api, "mnist-sampler", Tensor("seed", seeds))
    for row in (0, 17, 49):
        alone = native(api, "/sample", {"seed": row})
        np.testing.assert_array_equal(found.arrays["x_hat"][row], numbers(alone["images"])[0])


def test_version_of_the_path_answers(api: Caller) -> None:
    body, headers = binary_request(Tensor("x", X))
    answers = {}
    for version in ("1", "2"):
        answer = api.post(f"/v2/models/mnist/versions/{version}/infer", body, None, headers)
        found = read_result(answer.body, answer.headers)
        assert found.document["model_version"] == version
        assert answer.headers["x-model"] == f"mnist@{version}"
        answers[version] = found.arrays["mu"]
    assert not np.array_equal(answers["1"], answers["2"])
    np.testing.assert_array_equal(answers["1"], infer(api, "mnist", Tensor("x", X)).arrays["mu"])


def test_version_of_the_body_answers_if_the_path_has_none(api: Caller) -> None:
    """Clients of KServe put the model into the body as well."""
    found = infer(api, "mnist", Tensor("x", X), model_name="mnist", model_version="2", id="a-1")
    assert (found.document["model_version"], found.document["id"]) == ("2", "a-1")
    body, headers = binary_request(Tensor("x", X), model_name="plain")
    assert "model_name" in refused(api.post("/v2/models/mnist/infer", body, None, headers))


def test_nested_and_flat_numbers_are_the_same(api: Caller) -> None:
    flat = infer_json(api, "mnist-encoder", Tensor("x", X))
    for data in (X.tolist(), json.loads(json.dumps(X.tolist()))):
        inputs = [{"name": "x", "shape": list(X.shape), "datatype": "FP32", "data": data}]
        answer = api.post_json("/v2/models/mnist-encoder/infer", {"inputs": inputs})
        found = read_result(answer.body, answer.headers)
        np.testing.assert_array_equal(found.arrays["mu"], flat.arrays["mu"])


def test_keys_in_any_order_and_escapes_read_the_same(api: Caller) -> None:
    """The numbers are cut out of most bodies before the rest is parsed."""
    data = json.dumps(X[:1].ravel().tolist())
    wanted = infer(api, "mnist-encoder", Tensor("x", X[:1])).arrays["mu"]
    for body in (
        '{"inputs": [{"data": %s, "shape": [1, 1, 28, 28], "datatype": "FP32", "name": "x"}], "id": "data"}',
        '{"inputs": [{"name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32", "d\\u0061ta": %s}]}',
        '{"inputs":[{"name":"x","shape":[1,1,28,28],"datatype":"FP32","data":%s,"parameters":{}}],"outputs":[]}',
        '\n{ "inputs" : [ { "data" :\n%s , "name":"x","shape":[1,1,28,28],"datatype":"FP32" } ] }\n',
    ):
        answer = api.post("/v2/models/mnist-encoder/infer", (body % data).encode())
        assert answer.status == 200, answer.body[:300]
        np.testing.assert_array_equal(read_result(answer.body, answer.headers).arrays["mu"], wanted)


def test_half_precision_comes_as_bytes_alone(api: Caller) -> None:
    half = X.astype(np.float16)
    found = infer(api, "mnist-encoder", Tensor("x", half))
    wanted = infer(api, "mnist-encoder", Tensor("x", half.astype(np.float32)))
    np.testing.assert_array_equal(found.arrays["mu"], wanted.arrays["mu"])
    upper = (X.view(np.uint32) >> 16).astype("<u2")
    brain = (upper.astype(np.uint32) << 16).view(np.float32)
    found = infer(api, "mnist-encoder", Tensor("x", upper, "BF16"))
    wanted = infer(api, "mnist-encoder", Tensor("x", brain))
    np.testing.assert_array_equal(found.arrays["mu"], wanted.arrays["mu"])
    for datatype in ("FP16", "BF16"):
        body = json_request(Tensor("x", X, datatype))
        assert "binary" in refused(api.post("/v2/models/mnist/infer", body))


def test_tensor_may_begin_at_any_byte(api: Caller) -> None:
    """Few are aligned, because JSON of any length comes before them."""
    wanted = infer_json(api, "mnist-encoder", Tensor("x", X)).arrays["mu"]
    for size in range(16):
        found = infer(api, "mnist-encoder", Tensor("x", X), id="i" * size)
        assert found.document.get("id", "") == "i" * size
        np.testing.assert_array_equal(found.arrays["mu"], wanted)


def test_numbers_in_the_json_before_tensors_are_those_of_their_own_request(api: Caller) -> None:
    """Short JSON with a stated length is remembered."""
    for z in (Z[:1], Z[1:2], Z[:1]):
        rounded = z.round(3)
        body = json_request(Tensor("z", rounded))
        assert len(body) < 1024
        answer = api.post("/v2/models/mnist-decoder/infer", body, None, {HEADER: str(len(body))})
        found = read_result(answer.body, answer.headers).arrays["x_hat"]
        wanted = infer(api, "mnist-decoder", Tensor("z", rounded)).arrays["x_hat"]
        np.testing.assert_array_equal(found, wanted)


def test_body_of_one_tensor_alone(api: Caller) -> None:
    """A header length of 0: no JSON at all."""
    answer = api.post("/v2/models/mnist/infer", X.tobytes(), None, {HEADER: "0"})
    found = read_result(answer.body, answer.headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    np.testing.assert_array_equal(found.arrays["mu"], infer(api, "mnist", Tensor("x", X)).arrays["mu"])
    answer = api.post("/v2/models/mnist-decoder/infer", Z.tobytes(), None, {HEADER: "0"})
    assert read_result(answer.body, answer.headers).arrays["x_hat"].shape == (3, 1, 28, 28)
    answer = api.post("/v2/models/mnist-sampler/infer", np.int64(7).tobytes(), None, {HEADER: "0"})
    assert read_result(answer.body, answer.headers).arrays["z"].shape == (1, 8)
    for body in (b"", X.tobytes()[:-1], b"{}"):
        refused(api.post("/v2/models/mnist/infer", body, None, {HEADER: "0"}), code="malformed-body")


def test_picture_stands_for_x(api: Caller) -> None:
    png = api.get("/sample.png?seed=7").body
    wanted = native(api, "/encode", _as_images(png))["mu"]
    found = infer(api, "mnist-encoder", Tensor("image", [png, png]))
    np.testing.assert_array_equal(found.arrays["mu"], numbers([wanted[0], wanted[0]]))
    inputs = [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(png).decode()]}]
    answer = api.post_json("/v2/models/mnist/infer", {"inputs": inputs, "outputs": [{"name": "mu"}]})
    np.testing.assert_array_equal(read_result(answer.body, answer.headers).arrays["mu"], numbers(wanted))
    answer = api.post("/v2/models/mnist-encoder/infer", png, "image/png", {HEADER: "0"})
    np.testing.assert_array_equal(read_result(answer.body, answer.headers).arrays["mu"], numbers(wanted))


def _as_images(png: bytes) -> dict:
    """The picture's own pixels."""
    with Image.open(BytesIO(png)) as picture:
        return {
            "images": (np.asarray(picture, np.float32) / np.float32(255))[np.newaxis, np.newaxis].tolist()
        }


def test_picture_of_another_size_needs_resize(api: Caller) -> None:
    png = api.get("/sample.png?seed=7&scale=2").body
    body, headers = binary_request(Tensor("image", [png]))
    text = refused(api.post("/v2/models/mnist/infer", body, None, headers), code="invalid-value")
    assert text.startswith("image[0]: ")
    infer(api, "mnist", Tensor("image", [png]), parameters={"resize": True})


def test_outputs_choose_bytes_or_json_each(api: Caller) -> None:
    outputs = [{"name": "x_hat", "parameters": {"binary_data": True}}, {"name": "mu"}]
    answer = api.post("/v2/models/mnist/infer", json_request(Tensor("x", X), outputs=outputs))
    found = read_result(answer.body, answer.headers)
    assert list(found.arrays) == ["x_hat", "mu"]
    assert [("data" in each) for each in found.document["outputs"]] == [False, True]
    outputs = [{"name": "mu", "parameters": {"binary_data": False}}, "logvar"]
    found = infer(api, "mnist", Tensor("x", X), outputs=outputs)
    assert [("data" in each) for each in found.document["outputs"]] == [True, False]


def test_what_is_not_requested_is_not_computed(api: Caller) -> None:
    runs = api.app.state.app_state.metrics

    def counted() -> dict[str, float]:
        runs.flush()
        return {
            sample.labels["graph"]: sample.value
            for family in runs.model_runs.collect()
            for sample in family.samples
            if sample.name == "vae_model_runs_total" and sample.labels["model"] == "mnist@1"
        }

    infer(api, "mnist", Tensor("x", X))
    before = counted()
    infer(api, "mnist", Tensor("x", X), outputs=["mu"])
    infer(api, "mnist-sampler", Tensor("seed", np.array([1], np.int64)), outputs=["z"])
    after = counted()
    assert after["decoder.onnx"] == before["decoder.onnx"]
    assert after["encoder.onnx"] == before["encoder.onnx"] + 1


def test_colour_is_channels_first(api: Caller) -> None:
    x = np.random.default_rng(3).random((2, 3, 8, 10), dtype=np.float32)
    assert infer(api, "colour", Tensor("x", x)).arrays["x_hat"].shape == (2, 3, 8, 10)


def test_content_type_does_not_matter(api: Caller) -> None:
    """Triton's synchronous client sends none, its asynchronous one octets for JSON too."""
    body = json_request(Tensor("x", X))
    for content_type in (None, "application/octet-stream", "application/json", "text/plain; charset=x"):
        assert api.post("/v2/models/mnist/infer", body, content_type).status == 200


def test_timeout_shortens_the_time_limit(api: Caller) -> None:
    body, headers = binary_request(Tensor("x", X), parameters={"timeout": 1})
    refused(api.post("/v2/models/mnist/infer", body, None, headers), 504, "deadline-exceeded")
    infer(api, "mnist", Tensor("x", X), parameters={"timeout": 60_000_000})


@pytest.fixture
def hasty(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1, request_timeout_s=1e-9)
    with Caller(create_app(settings)) as caller:
        yield caller


def test_timeout_never_lengthens_the_time_limit(hasty: Caller) -> None:
    for timeout in (0, 60_000_000, 2**64 - 1):
        body, headers = binary_request(Tensor("x", X), parameters={"timeout": timeout})
        refused(hasty.post("/v2/models/mnist/infer", body, None, headers), 504, "deadline-exceeded")


def test_full_queue_refuses_before_the_body_is_read(api: Caller) -> None:
    pool = api.app.state.app_state.worker_pool
    most, pool.max_waiting = pool.max_waiting, 0
    try:
        answer = api.post("/v2/models/mnist/infer", b"no JSON")
    finally:
        pool.max_waiting = most
    refused(answer, 429, "too-busy")
    assert int(answer.headers["retry-after"]) >= 1


def test_many_at_once_have_each_their_own_rows(api: Caller) -> None:
    xs = [np.full((1, 1, 28, 28), n / 50, np.float32) for n in range(40)]
    wanted = [infer(api, "mnist", Tensor("x", x)).arrays["x_hat"] for x in xs]

    async def together() -> list:
        calls = []
        for n, x in enumerate(xs):
            body, headers = binary_request(Tensor("x", x), id=str(n), parameters={"priority": n % 10})
            calls.append(api.acall("POST", "/v2/models/mnist/infer", body=body, headers=headers))
        return await asyncio.gather(*calls)

    for n, answer in enumerate(api.run(together())):
        found = read_result(answer.body, answer.headers)
        assert found.document["id"] == str(n)
        np.testing.assert_array_equal(found.arrays["x_hat"], wanted[n])
