"""/remote/decode and /remote/encode answer what unchanged clients of diffusers send, and refuse what harms.

The requests are those that diffusers 0.42.1, SD.Next and ComfyUI-HFRemoteVae send, byte for byte in their
queries and headers. `tests/hard/test_diffusers_client.py` drives the client itself.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from http_calls import Answer, Caller
from imported_graphs import KL, SCALING, SHIFT, TINY, optimum_folder, two_files
from PIL import Image

from model_store import ModelStore
from model_store.cli import main
from service.api.remote.query import read_remote_query
from service.app import create_app
from service.commands.runtime_commands import COMMANDS
from service.http.problems import ProblemError
from service.security.api_keys import new_key
from service.settings import Settings

TENSOR = "tensor/binary"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    for name, arguments in {
        "kl": [str(optimum_folder(folder / "sd-onnx")), "--size", "64x64"],
        "tiny": [*two_files(folder, TINY.encoder, TINY.decoder), "--size", "32x48", "--range=0:1"],
    }.items():
        argv = ["import", *arguments, "--name", name, "--store", str(folder / "store")]
        assert main(argv, more=COMMANDS) == 0
    return folder / "store"


@pytest.fixture(scope="module")
def api(store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=store, default_model="kl", threads=1))) as caller:
        yield caller


def latents(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32) * np.float32(0.4)


def bfloat16(array: np.ndarray) -> bytes:
    """As torch rounds: to the nearest, and to the even one in the middle."""
    bits = array.astype("<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def raw(array: np.ndarray, dtype: str) -> bytes:
    if dtype == "bfloat16":
        return bfloat16(array)
    return array.astype({"float16": "<f2", "float32": "<f4", "uint8": "u1"}[dtype]).tobytes()


def values(body: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype == "bfloat16":
        return (np.frombuffer(body, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    kind = {"float16": "<f2", "float32": "<f4", "uint8": "u1"}[dtype]
    return np.frombuffer(body, kind).reshape(shape).astype(np.float32)


def tensor_of(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body[:500]
    return values(answer.body, answer.headers["dtype"], json.loads(answer.headers["shape"]))


def decode(
    api: Caller,
    z: np.ndarray,
    *,
    dtype: str = "float32",
    accept: str = TENSOR,
    path: str = "/remote/decode",
    content_type: str | None = TENSOR,
    **query: object,
) -> Answer:
    """As `remote_decode` sends it: booleans of Python, `shape` once for each axis."""
    stated = {"image_format": "jpg", "output_type": "pt", "partial_postprocess": False, **query}
    text = urlencode({**stated, "shape": list(z.shape), "dtype": dtype}, doseq=True)
    return api.post(f"{path}?{text}", raw(z, dtype), content_type=content_type, headers={"accept": accept})


TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_pt_is_in_the_range_of_the_programs_and_not_clipped(api: Caller, dtype: str) -> None:
    z = latents(2, 4, 6, 9) * np.float32(4.0)
    sent = values(raw(z, dtype), dtype, list(z.shape))
    answer = decode(api, z, dtype=dtype)
    assert answer.headers["dtype"] == dtype
    images = KL.decode(sent) * 2.0 - 1.0
    assert np.abs(images).max() > 1.0, "values beyond the range of pixels are tried"
    np.testing.assert_allclose(tensor_of(answer), images, atol=5 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_partial_postprocess_is_levels_with_the_channels_last(api: Caller, dtype: str) -> None:
    z = latents(3, 4, 5, 4)
    answer = decode(api, z, dtype=dtype, partial_postprocess=True)
    assert answer.headers["dtype"] == "uint8"
    assert json.loads(answer.headers["shape"]) == [3, 40, 32, 3]
    sent = values(raw(z, dtype), dtype, list(z.shape))
    levels = np.rint(np.clip(KL.decode(sent), 0.0, 1.0) * 255.0).transpose(0, 2, 3, 1)
    assert np.abs(tensor_of(answer) - levels).max() <= 1.0


def test_only_accept_tells_pil_with_a_processor(api: Caller) -> None:
    z = latents(1, 4, 5, 4)
    pixels = np.clip(KL.decode(z), 0.0, 1.0)
    with_processor = decode(api, z, output_type="pil", accept=TENSOR)
    np.testing.assert_allclose(tensor_of(with_processor), pixels, atol=1e-5)
    for image_format, media_type, bar in (("png", "image/png", 1), ("jpg", "image/jpeg", 40)):
        answer = decode(api, z, output_type="pil", image_format=image_format, accept=media_type)
        assert answer.headers["content-type"] == media_type
        with Image.open(io.BytesIO(answer.body)) as picture:
            levels = np.asarray(picture.convert("RGB"), np.float32)
        assert np.abs(levels - pixels[0].transpose(1, 2, 0) * 255.0).max() <= bar


def test_latents_are_divided_by_the_factor_and_then_shifted(api: Caller) -> None:
    z = latents(1, 4, 4, 4)
    stored = (z - np.float32(0.1159)) * np.float32(0.3611)
    plain = tensor_of(decode(api, z))
    scaled = tensor_of(decode(api, stored, scaling_factor=0.3611, shift_factor=0.1159))
    np.testing.assert_allclose(scaled, plain, atol=1e-5)


@pytest.mark.parametrize("word", ["True", "true", "1"])
def test_do_scaling_means_the_factors_of_the_model(api: Caller, word: str) -> None:
    z = latents(1, 4, 4, 4)
    stored = (z - np.float32(SHIFT)) * np.float32(SCALING)
    scaled = tensor_of(decode(api, stored, do_scaling=word))
    np.testing.assert_allclose(scaled, tensor_of(decode(api, z)), atol=1e-5)


def test_do_scaling_of_a_model_without_factors_is_refused(api: Caller) -> None:
    answer = decode(api, latents(1, 4, 8, 8), do_scaling=True, model="tiny")
    assert (answer.status, answer.code) == (422, "invalid-parameter")
    assert "scaling_factor" in answer.json()["detail"]


@pytest.mark.parametrize("word", ["False", "false", None])
def test_without_scaling_latents_are_as_they_come(api: Caller, word: str | None) -> None:
    """ComfyUI-HFRemoteVae sends do_scaling=False."""
    z = latents(1, 4, 4, 4)
    query = {} if word is None else {"do_scaling": word}
    np.testing.assert_array_equal(tensor_of(decode(api, z, **query)), tensor_of(decode(api, z)))


def test_packed_latents_are_told_by_their_rank(api: Caller) -> None:
    z = latents(2, 4, 6, 4)
    packed = z.reshape(2, 4, 3, 2, 2, 2).transpose(0, 2, 4, 1, 3, 5).reshape(2, 6, 16)
    unpacked = tensor_of(decode(api, packed, height=48, width=32))
    np.testing.assert_array_equal(unpacked, tensor_of(decode(api, z)))
    assert decode(api, packed, width=32).status == 422
    assert decode(api, packed, height=64, width=32).status == 422


def test_the_requests_of_other_clients_are_answered(api: Caller) -> None:
    """SD.Next: input and output types; one latent at a time. Some send no Content-Type, others a slash."""
    z = latents(1, 4, 4, 4)
    wanted = tensor_of(decode(api, z, dtype="float16"))
    for query in (
        {"input_tensor_type": "binary", "output_tensor_type": "binary"},
        {"shift_factor": "None"},
        {"content_type": None},
        {"path": "/remote/decode/"},
        {"model": "kl@1"},
    ):
        np.testing.assert_array_equal(tensor_of(decode(api, z, dtype="float16", **query)), wanted)


def test_encode_of_a_tensor_and_of_a_picture_is_the_mean(api: Caller) -> None:
    x = np.random.default_rng(6).integers(0, 256, (1, 3, 24, 40), np.uint8).astype(np.float32) / 255.0
    mu, _ = KL.encode(x)
    query = urlencode({"shape": [1, 3, 24, 40], "dtype": "float32"}, doseq=True)
    sent = raw(x * 2.0 - 1.0, "float32")
    answer = api.call("POST", f"/remote/encode?{query}", headers={"accept": "*/*"}, body=sent)
    np.testing.assert_allclose(tensor_of(answer), mu, atol=1e-5)
    out = io.BytesIO()
    Image.fromarray(np.rint(x[0].transpose(1, 2, 0) * 255).astype(np.uint8)).save(out, "PNG")
    picture = api.call("POST", "/remote/encode", headers={"accept": "*/*"}, body=out.getvalue())
    assert json.loads(picture.headers["shape"]) == [1, 4, 3, 5]
    np.testing.assert_allclose(tensor_of(picture), mu, atol=1e-5)
    scaled = api.call(
        "POST", "/remote/encode?scaling_factor=0.5&shift_factor=0.25", headers={}, body=out.getvalue()
    )
    np.testing.assert_allclose(tensor_of(scaled), (mu - SHIFT) * SCALING, atol=1e-5)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_encode_takes_a_picture_of_any_mode(api: Caller, mode: str) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 24, 3), 77, np.uint8)).convert(mode).save(out, "PNG")
    answer = api.call("POST", "/remote/encode", headers={}, body=out.getvalue())
    mu = tensor_of(answer)
    assert mu.shape == (1, 4, 2, 3)
    np.testing.assert_allclose(mu[:, :3], 77 / 255 * 2 - 1, atol=2e-2)


def test_a_draw_of_the_posterior_follows_its_seed(api: Caller) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 24, 3), 77, np.uint8)).save(out, "PNG")

    def drawn(query: str) -> np.ndarray:
        return tensor_of(api.call("POST", f"/remote/encode?{query}", headers={}, body=out.getvalue()))

    np.testing.assert_array_equal(drawn("sample=true&seed=3"), drawn("sample=True&seed=3"))
    assert (drawn("sample=true&seed=3") != drawn("sample=true&seed=4")).any()


SHAPE = "shape=1&shape=4&shape=8&shape=8&dtype=float32"
BYTES = 4 * 8 * 8 * 4


@pytest.mark.parametrize(
    ("query", "size", "status"),
    [
        ("dtype=float32", BYTES, 422),
        (f"{SHAPE}&shape=1", BYTES, 422),
        ("&".join(["shape=1"] * 65) + "&dtype=float32", 4, 422),
        ("shape=0&shape=4&shape=8&shape=8&dtype=float32", 0, 422),
        ("shape=-1&shape=4&shape=8&shape=8&dtype=float32", BYTES, 422),
        ("shape=65536&shape=65536&shape=65536&shape=65536&dtype=float32", BYTES, 400),
        ("shape=99999999999&shape=99999999999&dtype=float32", BYTES, 422),
        ("shape=1.0&shape=4&shape=8&shape=8&dtype=float32", BYTES, 422),
        ("shape=١&shape=4&shape=8&shape=8&dtype=float32", BYTES, 422),
        (SHAPE, BYTES - 1, 400),
        (SHAPE, BYTES + 4, 400),
        (SHAPE, 0, 400),
        (SHAPE.replace("float32", "float64"), BYTES * 2, 422),
        (SHAPE.replace("float32", "uint8"), BYTES // 4, 422),
        (f"{SHAPE}&scaling_factor=0", BYTES, 422),
        (f"{SHAPE}&scaling_factor=1e-40", BYTES, 422),
        (f"{SHAPE}&scaling_factor=nan", BYTES, 422),
        (f"{SHAPE}&scaling_factor=inf", BYTES, 422),
        (f"{SHAPE}&scaling_factor=-0.5", BYTES, 422),
        (f"{SHAPE}&shift_factor=1e300", BYTES, 422),
        (f"{SHAPE}&scaling_facter=0.5", BYTES, 422),
        (f"{SHAPE}&output_type=mp4", BYTES, 422),
        (f"{SHAPE}&partial_postprocess=perhaps", BYTES, 422),
        (f"{SHAPE}&dtype=float16", BYTES, 422),
        (f"{SHAPE}&model=nobody", BYTES, 404),
        ("shape=1&shape=3&shape=8&shape=8&dtype=float32", 3 * 8 * 8 * 4, 422),
        ("shape=1&shape=4&shape=1&shape=8&shape=8&dtype=float32", BYTES, 422),
        ("shape=1&shape=4&shape=4096&shape=1&dtype=float32", 4 * 4096 * 4, 422),
        ("&".join(f"a{i}=1" for i in range(200)), 0, 422),
    ],
)
def test_hostile_shapes_and_factors_are_refused_before_a_run(
    api: Caller, query: str, size: int, status: int
) -> None:
    runs = "vae_service_model_runs_total"
    before = [line for line in api.get("/metrics").body.decode().splitlines() if line.startswith(runs)]
    path = f"/remote/decode?{query}".encode().decode("latin-1")
    answer = api.post(path, b"\0" * size, content_type=TENSOR)
    assert answer.status == status, answer.body
    assert answer.json()["detail"], "JSON, whatever is wrong"
    after = [line for line in api.get("/metrics").body.decode().splitlines() if line.startswith(runs)]
    assert after == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_latents_that_are_not_finite_are_refused(api: Caller, value: float) -> None:
    z = latents(1, 4, 4, 4)
    z[0, 1, 2, 3] = value
    answer = decode(api, z)
    assert (answer.status, answer.code) == (422, "invalid-value")


def test_several_latents_are_no_picture(api: Caller) -> None:
    answer = decode(api, latents(2, 4, 4, 4), output_type="pil", accept="image/jpeg")
    assert answer.status == 422
    assert "output_type=pt" in answer.json()["detail"]


def test_a_size_that_the_model_does_not_accept_is_refused(api: Caller) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(out, "PNG")
    answer = api.call("POST", "/remote/encode", headers={}, body=out.getvalue())
    assert answer.status == 422
    assert "multiples of 8" in answer.json()["detail"]


def test_an_alias_that_splits_is_followed_as_on_every_path(tmp_path: Path) -> None:
    arguments = [*two_files(tmp_path, TINY.encoder, TINY.decoder), "--size", "32x48", "--range=0:1"]
    shared = ModelStore(tmp_path / "store")
    for _ in range(2):
        argv = ["import", *arguments, "--name", "tiny", "--alias", "stable", "--store", str(shared.root)]
        assert main(argv, more=COMMANDS) == 0
    shared.split("tiny", "stable", {1: 50.0, 2: 50.0})
    out = io.BytesIO()
    Image.fromarray(np.full((32, 48, 3), 77, np.uint8)).save(out, "PNG")
    found = set()
    with Caller(create_app(Settings(model_store=shared.root, default_model="tiny", threads=1))) as caller:
        for number in range(12):
            headers = {"X-Canary-Key": str(number)}
            versions = {
                caller.post("/encode", out.getvalue(), "image/png", headers).headers["x-model"],
                caller.call("POST", "/remote/encode", headers=headers, body=out.getvalue()).headers[
                    "x-model"
                ],
            }
            assert len(versions) == 1
            found |= versions
    assert found == {"tiny@1", "tiny@2"}


@pytest.mark.parametrize(("path", "is_decode"), [("/remote/decode", True), ("/remote/encode", False)])
def test_the_document_has_every_parameter_that_is_read(api: Caller, path: str, is_decode: bool) -> None:
    """And each value that it names is accepted: what is declared is what `read_remote_query` reads."""
    document = api.get("/openapi.json").json()
    described = document["paths"][path]["post"]
    of_name = document["components"]["parameters"]
    found = [of_name[each["$ref"].rpartition("/")[2]] for each in described["parameters"]]
    parameters = {each["name"]: each for each in found}
    with pytest.raises(ProblemError) as refused:
        read_remote_query(b"nothing-of-this-name=1", is_decode=is_decode)
    known = refused.value.items[0].expected.removeprefix("one of ").split(", ")
    assert sorted(parameters) == sorted(known)
    assert [name for name, each in parameters.items() if each["required"]] == ["shape"] * is_decode
    for name, each in parameters.items():
        schema = each["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        numbers = [str(schema[bound]) for bound in ("minimum", "maximum") if bound in schema]
        booleans = ["true", "false"] if schema["type"] == "boolean" else []
        for word in [*schema.get("enum", []), *numbers, *booleans]:
            read_remote_query(urlencode({name: word}).encode(), is_decode=is_decode)
    answers = described["responses"]
    assert {"200", "400", "404", "422", "429", "503", "504"} <= set(answers)
    assert "tensor/binary" in answers["200"]["content"]
    assert {"shape", "dtype"} <= set(answers["200"]["headers"])


def test_the_paths_can_be_turned_off(store: Path) -> None:
    settings = Settings(model_store=store, default_model="kl", threads=1, remote_vae=False)
    with Caller(create_app(settings)) as api:
        assert decode(api, latents(1, 4, 4, 4)).status == 404
        assert not [path for path in api.get("/openapi.json").json()["paths"] if "remote" in path]


def test_a_key_in_the_address_is_accepted_here_alone_and_never_logged(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, entry = new_key()
    file = tmp_path / "keys"
    file.write_text(f"{entry.line}\n")
    file.chmod(0o600)
    basic = base64.b64encode(f"any:{key}".encode()).decode()
    settings = Settings(model_store=store, default_model="kl", threads=1, api_keys_file=file)
    with caplog.at_level(logging.DEBUG), Caller(create_app(settings)) as api:
        z = latents(1, 4, 4, 4)
        query = urlencode({"shape": list(z.shape), "dtype": "float32", "output_type": "pt"}, doseq=True)
        path = f"/remote/decode?{query}"

        def status(authorization: str | None, target: str = path) -> int:
            headers = {} if authorization is None else {"authorization": authorization}
            return api.call("POST", target, headers=headers, body=z.tobytes()).status

        assert status(f"Basic {basic}") == 200
        assert status(f"Bearer {key}") == 200
        wrong = base64.b64encode(b"any:vae_wrong").decode()
        for bad in (None, f"Basic {wrong}", "Basic !!", "Basic " + "A" * 5000, "Basic " + "QQ=="):
            assert status(bad) == 401
        assert status(f"Basic {basic}", "/decode") == 401
    assert key not in caplog.text
    assert basic not in caplog.text
