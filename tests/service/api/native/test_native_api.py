"""The four operations, in every form, against a model whose answers are known."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from numpy.typing import NDArray
from PIL import Image
from server_process import Running, raw_answer
from tiny_models import TinyModel

Floats = NDArray[np.float32]


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def from_npy(answer: Answer) -> NDArray[Any]:
    assert answer.headers["content-type"] == "application/x-npy"
    return np.load(io.BytesIO(answer.body), allow_pickle=False)


def from_npz(answer: Answer) -> dict[str, NDArray[Any]]:
    assert answer.headers["content-type"] == "application/x-npz"
    return dict(np.load(io.BytesIO(answer.body), allow_pickle=False))


@pytest.fixture(scope="module")
def images() -> Floats:
    rng = np.random.default_rng(5)
    return rng.random((3, 1, 28, 28), dtype=np.float32)


def test_encode_gives_the_posterior_of_each_image(api: Caller, tiny: TinyModel, images: Floats) -> None:
    mu, logvar = tiny.encode(images)
    answer = api.post_json("/encode", {"images": images.tolist()})
    assert answer.status == 200
    document = answer.json()
    assert list(document) == ["model", "mu", "logvar"]
    np.testing.assert_allclose(document["mu"], mu, atol=1e-5)
    np.testing.assert_allclose(document["logvar"], logvar, atol=1e-5)
    assert answer.headers["x-model"] == document["model"] == "mnist@1"


def test_encode_as_npz_holds_the_same_numbers(api: Caller, images: Floats) -> None:
    document = api.post_json("/encode", {"images": images.tolist()}).json()
    arrays = from_npz(api.post_json("/encode.npz", {"images": images.tolist()}))
    assert set(arrays) == {"mu", "logvar"}
    np.testing.assert_array_equal(arrays["mu"], np.float32(document["mu"]))
    assert arrays["mu"].dtype == np.float32


def test_images_without_channel_axis_are_the_same_images(api: Caller, images: Floats) -> None:
    with_axis = api.post_json("/encode", {"images": images.tolist()})
    without = api.post_json("/encode", {"images": images[:, 0].tolist()})
    assert with_axis.body == without.body


def test_npy_images_are_bytes_or_floats(api: Caller, images: Floats) -> None:
    levels = np.rint(images * 255).astype(np.uint8)
    as_bytes = api.post("/encode", npy(levels), "application/x-npy")
    as_floats = api.post("/encode", npy(levels.astype(np.float32) / np.float32(255)), "application/x-npy")
    assert as_bytes.status == 200
    assert as_bytes.body == as_floats.body


def test_png_goes_in_and_comes_out(api: Caller, tiny: TinyModel) -> None:
    levels = (np.arange(784) % 256).astype(np.uint8).reshape(28, 28)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    answer = api.post("/reconstruct.png", buffer.getvalue(), "image/png")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(answer.body)))
    mu, _ = tiny.encode((levels / np.float32(255)).astype(np.float32).reshape(1, 1, 28, 28))
    assert np.abs(drawn / 255 - tiny.decode(mu)[0, 0]).max() < 1 / 255
    inverted = api.post("/reconstruct.png?invert=true", buffer.getvalue(), "image/png")
    assert inverted.body != answer.body


def test_png_of_another_size_is_refused_unless_it_may_be_resized(api: Caller) -> None:
    buffer = io.BytesIO()
    Image.new("L", (56, 40), 200).save(buffer, format="PNG")
    refused = api.post("/encode", buffer.getvalue(), "image/png")
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert "resize=true" in refused.json()["errors"][0]["remedy"]
    assert api.post("/encode?resize=true", buffer.getvalue(), "image/png").status == 200


def test_decode_gives_the_mean_image_of_each_latent(api: Caller, tiny: TinyModel) -> None:
    z = np.random.default_rng(6).normal(size=(4, 8)).astype(np.float32)
    document = api.post_json("/decode", {"z": z.tolist()}).json()
    assert list(document) == ["model", "images"]
    np.testing.assert_allclose(document["images"], tiny.decode(z), atol=1e-5)
    by_file = from_npy(api.post("/decode.npy", npy(z), "application/x-npy"))
    np.testing.assert_array_equal(by_file, np.float32(document["images"]))


def test_sample_tells_what_it_takes_to_draw_it_again(api: Caller, tiny: TinyModel) -> None:
    answer = api.get("/sample")
    document = answer.json()
    assert list(document) == ["model", "prior", "label", "seed", "temperature", "z", "images"]
    assert np.shape(document["images"]) == (1, 1, 28, 28)
    assert answer.headers["x-seed"] == str(document["seed"])
    assert 0 <= document["seed"] < 2**53
    np.testing.assert_allclose(
        tiny.decode(np.array(document["z"], np.float32)), document["images"], atol=1e-5
    )
    told = [np.float32(value) for value in answer.headers["x-z"].split(",")]
    np.testing.assert_array_equal(told, np.float32(document["z"][0]))
    again = api.get(f"/sample?seed={document['seed']}")
    assert again.body == answer.body


def test_seeds_left_out_differ(api: Caller) -> None:
    assert len({api.get("/sample").headers["x-seed"] for _ in range(20)}) == 20


def test_sample_takes_the_same_by_query_and_by_body(api: Caller) -> None:
    by_query = api.get("/sample?n=3&seed=7&temperature=0.5")
    by_body = api.post_json("/sample", {"n": 3, "seed": 7, "temperature": 0.5})
    mixed = api.post_json("/sample?n=3", {"seed": 7, "temperature": 0.5})
    assert by_query.status == 200
    assert by_query.body == by_body.body == mixed.body
    assert api.post("/sample", b"", None).status == 200
    twice = api.post_json("/sample?n=3", {"n": 3})
    assert (twice.status, twice.code) == (422, "invalid-parameter")


def test_image_of_a_seed_does_not_depend_on_how_many_are_drawn(api: Caller) -> None:
    """1,000 pairs of seed and number; the same bytes whatever stands beside them."""
    rng = np.random.default_rng(11)
    for seed in rng.integers(0, 2**53, size=40).tolist():
        whole = from_npy(api.get(f"/sample.npy?n=64&seed={seed}"))
        for n in rng.permutation(64)[:25].tolist():
            part = from_npy(api.get(f"/sample.npy?n={n + 1}&seed={seed}"))
            assert part.tobytes() == whole[: n + 1].tobytes()


def test_temperature_scales_the_noise(api: Caller) -> None:
    one = api.get("/sample?seed=3").json()
    half = api.get("/sample?seed=3&temperature=0.5").json()
    np.testing.assert_allclose(np.multiply(one["z"], 0.5), half["z"], rtol=1e-6)
    zero = api.get("/sample?temperature=0&n=2").json()
    assert zero["images"][0] == zero["images"][1]


def test_sample_as_npz_holds_images_latents_and_seed(api: Caller) -> None:
    arrays = from_npz(api.get("/sample.npz?n=2&seed=9"))
    document = api.get("/sample?n=2&seed=9").json()
    assert set(arrays) == {"prior", "seed", "temperature", "z", "images"}
    assert int(arrays["seed"]) == 9
    np.testing.assert_array_equal(arrays["z"], np.array(document["z"], np.float32))
    np.testing.assert_array_equal(arrays["images"], np.float32(document["images"]))


def test_text_shows_ten_digits_that_fit_a_terminal(api: Caller) -> None:
    answer = api.get("/sample.txt")
    lines = answer.body.decode().splitlines()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(lines) == 7 + 1 + 7
    assert max(map(len, lines)) <= 80
    assert all("⠀" <= c <= "⣿" or c == " " for line in lines for c in line)
    assert len(api.get("/sample.txt?n=1").body.decode().splitlines()) == 7


def test_png_is_one_image_or_a_sheet_and_scales(api: Caller) -> None:
    def size(target: str) -> tuple[int, int]:
        return Image.open(io.BytesIO(api.get(target).body)).size

    assert size("/sample.png") == (28, 28)
    assert size("/sample.png?scale=4") == (112, 112)
    width, height = size("/sample.png?n=6&columns=3")
    assert width > 3 * 28 > 2 * 28 + 4
    assert height < 3 * 28
    too_large = api.get("/sample.png?n=64&scale=64")
    assert too_large.status == 422
    assert "scale" in too_large.json()["errors"][0]["where"]


def test_reconstruct_goes_through_mu_unless_it_samples(api: Caller, tiny: TinyModel, images: Floats) -> None:
    body = {"images": images.tolist()}
    answer = api.post_json("/reconstruct", body)
    document = answer.json()
    mu, logvar = tiny.encode(images)
    assert (document["sample"], document["seed"]) == (False, None)
    assert "x-seed" not in answer.headers
    np.testing.assert_allclose(document["z"], mu, atol=1e-5)
    np.testing.assert_allclose(document["images"], tiny.decode(mu), atol=1e-5)
    drawn = api.post_json("/reconstruct", {**body, "sample": True, "seed": 4})
    assert drawn.headers["x-seed"] == "4"
    assert drawn.body == api.post_json("/reconstruct?sample=true&seed=4", body).body
    eps = (np.float32(drawn.json()["z"]) - mu) / np.exp(0.5 * logvar)
    assert 0.3 < eps.std() < 3.0
    told = api.post_json("/reconstruct?sample=true", body)
    assert told.headers["x-seed"] == str(told.json()["seed"])


def test_reconstruct_from_a_file_samples_by_query(api: Caller, images: Floats) -> None:
    by_file = api.post("/reconstruct?sample=true&seed=4", npy(images), "application/x-npy")
    by_json = api.post_json("/reconstruct", {"images": images.tolist(), "sample": True, "seed": 4})
    assert by_file.status == 200
    np.testing.assert_allclose(by_file.json()["images"], by_json.json()["images"], atol=1e-6)


def test_model_chooses_who_answers(api: Caller) -> None:
    for reference, label in (
        ("mnist", "mnist@1"),
        ("mnist@2", "mnist@2"),
        ("mnist@stable", "mnist@1"),
        ("mnist@latest", "mnist@2"),
        ("colour", "colour@1"),
    ):
        answer = api.get(f"/sample?model={reference}")
        assert answer.headers["x-model"] == answer.json()["model"] == label


def test_colour_images_come_in_every_form(api: Caller) -> None:
    assert np.shape(api.get("/sample?model=colour&n=2").json()["images"]) == (2, 3, 8, 10)
    assert Image.open(io.BytesIO(api.get("/sample.png?model=colour").body)).mode == "RGB"
    assert api.get("/sample.txt?model=colour").status == 200


def test_autoencoder_encodes_and_reconstructs_but_is_not_sampled(api: Caller, images: Floats) -> None:
    assert api.post_json("/reconstruct?model=plain", {"images": images.tolist()}).status == 200
    refused = api.get("/sample?model=plain")
    assert (refused.status, refused.code) == (422, "no-prior")


def test_unknown_model_is_told_what_there_is(api: Caller) -> None:
    answer = api.get("/sample?model=mnits")
    assert (answer.status, answer.code) == (404, "unknown-model")
    assert "mnist" in answer.json()["detail"]
    assert api.get("/sample?model=mnist@9").status == 404
    assert api.get("/sample?model=mnist@@1").status == 422


def test_suffix_wins_over_accept_and_every_form_has_one(api: Caller) -> None:
    types = {
        "json": "application/json",
        "png": "image/png",
        "npy": "application/x-npy",
        "npz": "application/x-npz",
        "txt": "text/plain; charset=utf-8",
    }
    for suffix, content_type in types.items():
        by_suffix = api.get(f"/sample.{suffix}?seed=1&n=2", {"accept": "image/avif"})
        by_accept = api.get("/sample?seed=1&n=2", {"accept": content_type.partition(";")[0]})
        assert by_suffix.headers["content-type"] == content_type
        assert by_suffix.body == by_accept.body
        assert by_accept.headers["vary"].startswith("Accept")


def test_form_that_does_not_exist_gets_406_with_those_that_do(api: Caller) -> None:
    for target, headers in (("/sample.gif", {}), ("/sample", {"accept": "image/gif"}), ("/sample.PNG", {})):
        answer = api.get(target, headers)
        assert (answer.status, answer.code) == (406, "form-not-available")
        assert ".png (image/png)" in answer.json()["errors"][0]["expected"]
    encode = api.post_json("/encode.png", {"images": []})
    assert (encode.status, encode.code) == (406, "form-not-available")
    assert ".npz" in encode.json()["detail"]


def test_every_answer_carries_id_timing_and_model(api: Caller) -> None:
    answer = api.get("/sample", {"x-request-id": "my-id.1"})
    assert answer.headers["x-request-id"] == "my-id.1"
    phases = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert {"queue", "run", "encode", "total"} <= set(phases)
    assert float(phases["total"]) >= float(phases["run"]) > 0
    for odd in ("a b", "x" * 65, "é", "a\tb", ""):
        assert api.get("/livez", {"x-request-id": odd}).headers["x-request-id"] != odd
    for target in ("/nowhere", "/sample?n=0", "/livez", "/metrics", "/docs"):
        answer = api.get(target)
        assert len(answer.headers["x-request-id"]) == 16
        assert "total;dur=" in answer.headers["server-timing"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_models_tell_what_is_loaded_and_how_good_it_is(api: Caller) -> None:
    document = api.get("/models").json()
    assert document["default"] == "mnist"
    assert document["failures"] == []
    by_label = {model["model"]: model for model in document["models"]}
    assert by_label["mnist@1"]["aliases"] == ["stable"]
    assert by_label["plain@1"]["kind"] == "ae"
    facts = api.get("/models/mnist@2").json()
    assert facts["model"] == "mnist@2"
    assert facts["image_shape"] == [1, 28, 28]
    assert all(metric["protocol"] for metric in facts["metrics"])
    assert facts["provenance"]["data_fingerprint"]
    assert api.get("/models/none").status == 404


def test_curl_without_content_type_works(api: Caller, images: Floats) -> None:
    """`curl -d '{…}'` and `curl --data-binary @file` call everything a form."""
    form = "application/x-www-form-urlencoded"
    assert api.post("/sample", b' {"n": 2, "seed": 1}', form).json()["seed"] == 1
    assert api.post("/encode", npy(images), form).status == 200
    buffer = io.BytesIO()
    Image.new("L", (28, 28)).save(buffer, format="PNG")
    assert api.post("/encode", buffer.getvalue(), form).status == 200
    assert api.post("/encode", buffer.getvalue(), None).status == 200
    assert api.post("/sample", b'{"n": 2}', "application/json; charset=utf-8").status == 200


@pytest.mark.parametrize(
    ("content_type", "headers", "body"),
    [
        ("application/x-www-form-urlencoded", {}, b"n=3"),
        ("multipart/form-data; boundary=x", {}, b"--x--"),
        ("text/plain", {}, b'{"n": 3}'),
        ("application/json", {"content-encoding": "gzip"}, b"\x1f\x8b"),
        ("image/jpeg", {}, b"\xff\xd8\xff"),
    ],
)
def test_unsupported_body_is_told_the_exact_command(
    api: Caller, content_type: str, headers: dict[str, str], body: bytes
) -> None:
    answer = api.post("/sample", body, content_type, headers)
    assert (answer.status, answer.code) == (415, "media-type-not-supported")
    command = answer.json()["errors"][0]["remedy"]
    assert command == (
        "curl -H 'Content-Type: application/json' -d '{\"n\": 4, \"seed\": 7}' http://localhost:8000/sample"
    )
    assert answer.headers["accept-post"] == "application/json"


def test_host_header_is_repeated_only_when_it_is_a_host(api: Caller) -> None:
    assert "http://box.lan:81/sample.txt" in api.get("/", {"host": "box.lan:81"}).body.decode()
    assert "http://[::1]:8000/sample" in api.get("/", {"host": "[::1]:8000"}).body.decode()
    for odd in (
        "evil.example/$(id)",
        "a'b",
        "x" * 200,
        "a b",
        "-x",
        "[::1",
        "[",
        "]",
        "a:b:c",
        ":",
        "a:99999999",
    ):
        text = api.get("/", {"host": odd}).body.decode()
        assert f"http://{odd}" not in text
        assert "http://localhost:8000/sample.txt" in text


def test_head_is_answered_where_get_is(api: Caller) -> None:
    for target in ("/", "/sample", "/models", "/livez", "/docs"):
        assert api.call("HEAD", target).status == 200


def test_other_methods_get_405_with_allow(api: Caller) -> None:
    for method, target, allow in (
        ("DELETE", "/sample", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/encode", "OPTIONS, POST"),
        ("PUT", "/decode.png", "OPTIONS, POST"),
        ("POST", "/livez", "GET, HEAD, OPTIONS"),
    ):
        answer = api.call(method, target)
        assert (answer.status, answer.code) == (405, "method-not-allowed")
        assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("/sample", "GET, HEAD, OPTIONS, POST"),
        ("/sample.png", "GET, HEAD, OPTIONS, POST"),
        ("/encode", "OPTIONS, POST"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/models/mnist/reload", "OPTIONS, POST"),
        ("*", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_tells_the_methods(api: Caller, target: str, allow: str) -> None:
    answer = api.call("OPTIONS", target)
    assert (answer.status, answer.headers["allow"], answer.body) == (204, allow, b"")
    assert len(answer.headers["x-request-id"]) == 16


def test_options_of_nothing_is_no_path_and_a_star_is_for_options_alone(api: Caller) -> None:
    for method, target in (("OPTIONS", "/nowhere"), ("GET", "*"), ("POST", "*")):
        assert api.call(method, target).code == "unknown-path"


def test_every_path_answers_options_without_its_work(api: Caller) -> None:
    for route in api.app.router.routes:
        names = {"name": "mnist", "suffix": "png", "code": "not-ready", "asset": "swagger-ui.css"}
        names |= {"digest": "0", "path": "main.js"}
        target = route.path_format.format(**names, model="mnist", version="1", region="r")
        answer = api.call("OPTIONS", target)
        assert answer.status == 204, target
        assert answer.headers["allow"] == ", ".join(sorted({*route.methods, "OPTIONS"})), target


def test_options_of_the_server_is_answered_on_the_wire(server: Running) -> None:
    head, body = raw_answer(server, b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204 ")
    assert b"allow: get, head, options, post" in head.lower()
    assert body == b""


def test_trailing_slash_redirects_to_no_other_host(api: Caller) -> None:
    """A redirect that is built from the Host header leads wherever a client chooses."""
    answer = api.get("/sample/?seed=7", {"host": "evil.example"})
    assert answer.status == 307
    assert answer.headers["location"] == "../sample?seed=7"
    assert b"evil" not in answer.body
