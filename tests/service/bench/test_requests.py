"""What the load client sends, read back by the service's own codecs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pictures_in import decode_png

from service.bench.requests import (
    ModelFacts,
    Target,
    WrongRequest,
    authorization,
    build_requests,
    default_model_from,
    facts_from,
)
from service.codecs import decode_npy, images_from_json

TARGET = Target("127.0.0.1", 8000)
FACTS = ModelFacts("colour@1", (3, 8, 10), 5)


def parts(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, "")),
        ("localhost:81/", ("localhost", 81, "")),
        ("http://[::1]:9/api/", ("::1", 9, "/api")),
        ("http://example.org", ("example.org", 80, "")),
    ],
)
def test_url_is_read(url: str, target: tuple[str, int, str]) -> None:
    read = Target.of(url)
    assert (read.host, read.port, read.prefix) == target
    assert read.tls is None


def test_url_of_https_is_spoken_to_with_tls() -> None:
    read = Target.of("https://example.org/vae")
    assert (read.port, read.prefix) == (443, "/vae")
    assert read.tls is not None


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://x:99999", "http://x?y=1", "http://user:secret@x"]
)
def test_url_that_is_none_is_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(WrongRequest) as refused:
        Target.of(url)
    assert "secret" not in str(refused.value)


def test_bodies_hold_images_of_the_models_shape() -> None:
    json_body = json.loads(parts(build(form="json", images=3)[0])[2])
    assert images_from_json(json_body["images"], FACTS.image_shape, max_images=8).shape == (3, 3, 8, 10)
    assert decode_npy(parts(build(form="npy", images=3)[0])[2], FACTS.image_shape, max_images=8).shape == (
        (3, *FACTS.image_shape)
    )
    assert decode_png(parts(build(form="png")[0])[2], shape=FACTS.image_shape).shape == (
        (1, *FACTS.image_shape)
    )


def test_latents_have_the_models_size() -> None:
    body = json.loads(parts(build(operation="decode", form="json", images=2)[0])[2])
    assert np.array(body["z"]).shape == (2, 5)


def test_requests_declare_what_they_send() -> None:
    first, headers, body = parts(build(form="npy", model="colour@stable")[0])
    assert first == "POST /encode.npz?model=colour@stable HTTP/1.1"
    assert headers["Host"] == "127.0.0.1:8000"
    assert headers["Content-Type"] == "application/x-npy"
    assert int(headers["Content-Length"]) == len(body)


def test_samples_are_asked_for_by_get_with_different_seeds() -> None:
    firsts = [parts(request)[0] for request in build(operation="sample", form="png", images=4, seed=7)]
    assert firsts[0] == "GET /sample.png?n=4&seed=7 HTTP/1.1"
    assert len(set(firsts)) == len(firsts) > 1


def test_same_seed_sends_the_same_bytes_and_another_one_others() -> None:
    assert build(seed=1) == build(seed=1)
    assert build(seed=1) != build(seed=2)
    assert len(set(build(seed=1))) == len(build(seed=1)) > 1


def test_large_bodies_are_fewer() -> None:
    assert len(build(form="npy", images=8192)) == 2


def test_key_travels_in_its_header_and_a_broken_one_is_not_repeated() -> None:
    assert parts(build(headers=authorization("vae_abc"))[0])[1]["Authorization"] == "Bearer vae_abc"
    assert authorization(None) == authorization("") == {}
    with pytest.raises(WrongRequest) as refused:
        authorization("vae_abc\r\nX-Evil: 1")
    assert "vae_abc" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"operation": "encode", "form": "txt"}, "json, npy, png"),
        ({"operation": "dream", "form": "json"}, "encode, decode"),
        ({"form": "png", "images": 2}, "one image"),
        ({"images": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(asked: dict[str, object], said: str) -> None:
    with pytest.raises(WrongRequest, match=said):
        build(**asked)


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"model": "x"}', b'{"model": "x", "image_shape": [1]}'])
def test_server_that_is_no_vae_serve_is_told_as_such(answer: bytes) -> None:
    with pytest.raises(WrongRequest, match="is this a vae-serve"):
        facts_from(answer)
    with pytest.raises(WrongRequest, match="is this a vae-serve"):
        default_model_from(answer)


def build(**changed: object) -> list[bytes]:
    asked: dict[str, object] = {"operation": "encode", "form": "json", "images": 1, **changed}
    return build_requests(TARGET, FACTS, **asked)  # type: ignore[arg-type]
