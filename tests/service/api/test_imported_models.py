"""Imported versions are served like others: pixels in [0, 1], latents in their own shape, any legal size."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from imported_graphs import FLAT, KL, TINY, flat_encoder, optimum_folder, two_files
from numpy.typing import NDArray
from PIL import Image

from model_store.cli import main
from service.app import create_app
from service.commands.runtime_commands import COMMANDS
from service.settings import Settings


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """One model of each family: `free` has values that are no pixels, `half` no encoder."""
    folder = tmp_path_factory.mktemp("imported")
    files = two_files(folder, TINY.encoder, TINY.decoder)
    flat_folder = folder / "flat"
    flat_folder.mkdir()
    flat = two_files(flat_folder, flat_encoder(), FLAT.decoder)
    for name, arguments in {
        "kl": [str(optimum_folder(folder / "sd-onnx")), "--size", "64x64", "--alias", "stable"],
        "tiny": [*files, "--size", "32x48", "--range=0:1"],
        "flat": [*flat, "--range=0:1"],
        "half": [*files[2:], "--range=0:1"],
        "free": [*flat, "--range=none"],
    }.items():
        argv = ["import", *arguments, "--name", name, "--store", str(folder / "store")]
        assert main(argv, more=COMMANDS) == 0
    settings = Settings(model_store=folder / "store", default_model="kl", threads=1)
    with Caller(create_app(settings)) as caller:
        yield caller


def pictures(count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(4).random((count, *shape), dtype=np.float32)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def post_npy(api: Caller, path: str, array: np.ndarray) -> Answer:
    return api.post(path, npy(array), content_type="application/x-npy")


def npz(answer: Answer) -> dict[str, np.ndarray]:
    assert answer.status == 200, answer.body[:500]
    with np.load(io.BytesIO(answer.body)) as file:
        return dict(file)


def images_of(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body[:500]
    return np.load(io.BytesIO(answer.body))


def safetensors(body: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Written and read by the format's own description, not by the code under test."""
    (length,) = struct.unpack("<Q", body[:8])
    header = json.loads(body[8 : 8 + length])
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            raw = body[8 + length + first : 8 + length + last]
            arrays[name] = np.frombuffer(raw, "<f4").reshape(entry["shape"])
    return header, arrays


@pytest.mark.parametrize("size", [(64, 64), (40, 88), (8, 8)])
def test_encode_and_decode_of_any_size_agree_with_the_formula(api: Caller, size: tuple[int, int]) -> None:
    x = pictures(2, (3, *size))
    mu, logvar = KL.encode(x)
    found = npz(post_npy(api, "/encode.npz", x))
    np.testing.assert_allclose(found["mu"], mu, atol=1e-5)
    np.testing.assert_array_equal(found["logvar"], logvar, err_msg="clamped as diffusers does")
    images = images_of(post_npy(api, "/decode.npy", mu))
    np.testing.assert_allclose(images, np.clip(KL.decode(mu), 0.0, 1.0), atol=1e-5)


def test_json_has_latents_in_their_own_shape_and_takes_them_back(api: Caller) -> None:
    x = pictures(1, (3, 16, 24))
    answer = api.post_json("/encode", {"images": x.tolist()})
    assert answer.status == 200, answer.body[:300]
    mu = np.array(answer.json()["mu"], np.float32)
    assert mu.shape == (1, 4, 2, 3)
    images = api.post_json("/decode", {"z": mu.tolist()}).json()["images"]
    np.testing.assert_allclose(images, np.clip(KL.decode(mu), 0.0, 1.0), atol=1e-5)


def test_flat_latents_of_the_default_size_are_taken_too(api: Caller) -> None:
    """Programs that know only `latent_size` send them."""
    mu, _ = KL.encode(pictures(1, (3, 64, 64)))
    flat = images_of(post_npy(api, "/decode.npy", mu.reshape(1, -1)))
    np.testing.assert_array_equal(flat, images_of(post_npy(api, "/decode.npy", mu)))
    as_json = api.post_json("/decode", {"z": mu.reshape(1, -1).tolist()}).json()["images"]
    np.testing.assert_allclose(as_json, flat, atol=1e-6)


def test_latents_as_float16_are_taken(api: Caller) -> None:
    mu, _ = KL.encode(pictures(1, (3, 32, 32)))
    images = images_of(post_npy(api, "/decode.npy", mu.astype(np.float16)))
    np.testing.assert_allclose(images, np.clip(KL.decode(mu), 0.0, 1.0), atol=2e-3)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_safetensors_of_encode_go_back_to_decode(api: Caller, dtype: str) -> None:
    x = pictures(2, (3, 24, 16))
    answer = post_npy(api, "/encode.safetensors", x)
    assert answer.headers["content-type"] == "application/x-safetensors"
    header, arrays = safetensors(answer.body)
    assert header["__metadata__"]["model"] == "kl@1"
    np.testing.assert_allclose(arrays["mu"], KL.encode(x)[0], atol=1e-5)
    body = answer.body
    if dtype != "F32":
        bits = arrays["mu"].view("<u4") >> 16
        raw = arrays["mu"].astype("<f2").tobytes() if dtype == "F16" else bits.astype("<u2").tobytes()
        text = json.dumps({"z": {"dtype": dtype, "shape": [2, 4, 3, 2], "data_offsets": [0, len(raw)]}})
        body = struct.pack("<Q", len(text)) + text.encode() + raw
    images = images_of(api.post("/decode.npy", body, content_type="application/x-safetensors"))
    np.testing.assert_allclose(images, np.clip(KL.decode(arrays["mu"]), 0.0, 1.0), atol=2e-2)


@pytest.mark.parametrize("body", [b"", b"\xff" * 9, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2**40)])
def test_a_file_that_is_no_safetensors_is_refused(api: Caller, body: bytes) -> None:
    answer = api.post("/decode", body, content_type="application/x-safetensors")
    assert answer.status == 400
    assert answer.code == "malformed-body"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_of_any_accepted_size_goes_in_and_out(api: Caller, kind: str) -> None:
    out = io.BytesIO()
    level = np.full((48, 80, 3), 128, np.uint8)
    Image.fromarray(level).save(out, kind)
    answer = api.post("/reconstruct.png", out.getvalue(), content_type=f"image/{kind.lower()}")
    assert answer.status == 200, answer.body[:300]
    with Image.open(io.BytesIO(answer.body)) as picture:
        assert picture.size == (80, 48)
        middle = np.asarray(picture)[8:-8, 8:-8]
    assert np.abs(middle.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("shape", [(1, 3, 20, 64), (1, 3, 64, 2048), (1, 3, 4, 4)])
def test_a_size_that_the_graphs_do_not_accept_is_refused_with_the_rule(
    api: Caller, shape: tuple[int, ...]
) -> None:
    answer = post_npy(api, "/encode", np.zeros(shape, np.float32))
    assert answer.status == 422
    assert "multiples of 8" in answer.json()["detail"]


def test_a_picture_may_be_scaled_to_the_default_size(api: Caller) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((50, 30, 3), np.uint8)).save(out, "PNG")
    assert api.post("/encode", out.getvalue(), "image/png").status == 422
    scaled = api.post("/encode?resize=true", out.getvalue(), "image/png").json()["mu"]
    assert np.array(scaled).shape == (1, 4, 8, 8)


def test_a_path_between_two_images_has_their_size(api: Caller) -> None:
    x = pictures(2, (3, 24, 40))
    found = npz(post_npy(api, "/interpolate.npz?steps=3", x))
    assert found["z"].shape == (3, 4, 3, 5)
    np.testing.assert_allclose(found["z"][[0, 2]], KL.encode(x)[0], atol=1e-5)
    np.testing.assert_allclose(found["images"], np.clip(KL.decode(found["z"]), 0.0, 1.0), atol=1e-5)


def test_a_grid_changes_one_latent_by_its_index(api: Caller) -> None:
    found = npz(api.post("/traverse.npz?steps=3&dims=5", b""))
    assert found["z"].shape == (3, 4, 8, 8)
    flat = found["z"].reshape(3, -1)
    assert np.flatnonzero(flat.any(axis=0)).tolist() == [5]


def test_requests_of_several_sizes_at_once_get_their_own_answers(api: Caller) -> None:
    """Rows of different sizes never share a run."""
    sizes = [(64, 64), (32, 64), (64, 32), (40, 40)] * 3
    inputs = [pictures(1, (3, *size)) for size in sizes]

    async def all_at_once() -> list[Answer]:
        import asyncio

        sent = {"content-type": "application/x-npy"}
        return await asyncio.gather(
            *(api.acall("POST", "/encode.npz", headers=sent, body=npy(x)) for x in inputs)
        )

    for x, answer in zip(inputs, api.run(all_at_once()), strict=True):
        np.testing.assert_allclose(npz(answer)["mu"], KL.encode(x)[0], atol=1e-5)


def test_sampling_and_scoring_are_refused_with_the_reason(api: Caller) -> None:
    sample = api.get("/sample")
    assert (sample.status, sample.code) == (422, "no-prior")
    assert "not known to follow N(0, I)" in sample.json()["detail"]
    score = post_npy(api, "/score", pictures(1, (3, 64, 64)))
    assert (score.status, score.code) == (422, "no-density")
    assert "known likelihood" in score.json()["detail"]


def test_flat_latents_with_a_prior_are_sampled(api: Caller) -> None:
    found = npz(api.get("/sample.npz?model=flat&n=2&seed=1"))
    np.testing.assert_allclose(found["images"], FLAT.decode(found["z"]), atol=1e-5)
    x = pictures(3, (1, 6, 7))
    posterior = npz(post_npy(api, "/encode.npz?model=flat", x))
    for name, values in zip(("mu", "logvar"), FLAT.encode(x), strict=True):
        np.testing.assert_allclose(posterior[name], values, atol=1e-5)


def test_an_encoder_without_a_logvar_has_almost_no_spread(api: Caller) -> None:
    x = pictures(1, (3, 32, 48))
    found = npz(post_npy(api, "/encode.npz?model=tiny", x))
    np.testing.assert_allclose(found["mu"], TINY.encode(x)[0], atol=1e-5)
    assert found["logvar"].max() == -30.0
    assert post_npy(api, "/reconstruct?model=tiny&sample=true", x).code == "no-prior"


def test_a_version_without_an_encoder_says_so(api: Caller) -> None:
    answer = post_npy(api, "/encode?model=half", pictures(1, (3, 32, 32)))
    assert (answer.status, answer.code) == (422, "no-graph")
    assert "encoder" in answer.json()["detail"]
    z = np.zeros((1, 4, 8, 8), np.float32)
    assert images_of(post_npy(api, "/decode.npy?model=half", z)).shape == (1, 3, 32, 32)


def test_values_that_are_no_pixels_are_numbers_only(api: Caller) -> None:
    x = pictures(2, (1, 6, 7)) * np.float32(100.0) - np.float32(50.0)
    found = npz(post_npy(api, "/encode.npz?model=free", x))
    np.testing.assert_allclose(found["mu"], FLAT.encode(x)[0], atol=1e-3)
    assert post_npy(api, "/reconstruct.png?model=free", x).code == "form-not-available"
    out = io.BytesIO()
    Image.fromarray(np.zeros((6, 7), np.uint8)).save(out, "PNG")
    assert api.post("/encode?model=free", out.getvalue(), content_type="image/png").status == 422


def test_models_states_what_a_client_needs(api: Caller) -> None:
    facts = api.get("/models/kl").json()
    assert facts["imported"] == {
        "graphs": ["encoder", "decoder"],
        "latent_shape": [4, 8, 8],
        "sizes": {"multiple": 8, "least": 8, "most": 1024},
        "graph_range": [-1.0, 1.0],
        "scaling_factor": 0.5,
        "shift_factor": 0.25,
        "latent_mean": None,
        "latent_std": None,
    }
    assert facts["likelihood"] == {"name": "unknown"}
    assert facts["provenance"]["origin"] == "imported"
    assert facts["image_range"] == [0.0, 1.0]
    assert api.get("/models/free").json()["image_range"] == []


def test_the_document_follows_the_shape_of_the_default_model(api: Caller) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    depth, schema = 0, schemas["Latents"]
    while schema["type"] == "array":
        depth, schema = depth + 1, schema["items"]
    assert depth == 4


def test_open_inference_has_the_shapes_of_the_default_size(api: Caller) -> None:
    metadata = api.get("/v2/models/kl-decoder").json()
    assert metadata["inputs"][0]["shape"] == [-1, 4, 8, 8]
    mu, _ = KL.encode(pictures(1, (3, 64, 64)))
    tensor = {"name": "z", "datatype": "FP32", "shape": [1, 4, 8, 8], "data": mu.ravel().tolist()}
    answer = api.post_json("/v2/models/kl-decoder/infer", {"inputs": [tensor]})
    assert answer.status == 200, answer.body[:300]
    (output,) = answer.json()["outputs"]
    images = np.array(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(images, np.clip(KL.decode(mu), 0.0, 1.0), atol=1e-5)
    assert api.get("/v2/models/half").status == 404 or api.get("/v2/models/half-decoder").status == 200


def test_text_art_and_metrics_follow(api: Caller) -> None:
    answer = post_npy(api, "/reconstruct.txt", pictures(1, (3, 40, 24)))
    assert answer.status == 200
    assert 'model="kl@1"' in api.get("/metrics").body.decode()
