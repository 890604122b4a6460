"""/interpolate and /traverse over HTTP: every form, every way to send the start, every refusal."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from numpy.typing import NDArray
from PIL import Image
from tiny_models import TinyModel

Floats = NDArray[np.float32]


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def loaded(answer: Answer) -> Any:
    assert answer.status == 200, answer.body[:300]
    return np.load(io.BytesIO(answer.body), allow_pickle=False)


def size(answer: Answer) -> tuple[int, int]:
    assert answer.status == 200, answer.body[:300]
    return Image.open(io.BytesIO(answer.body)).size


@pytest.fixture(scope="module")
def images() -> Floats:
    return np.random.default_rng(5).random((2, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="module")
def ends() -> Floats:
    return np.random.default_rng(6).normal(size=(2, 8)).astype(np.float32)


def test_interpolation_tells_its_way_and_decodes_it(api: Caller, tiny: TinyModel, ends: Floats) -> None:
    answer = api.post_json("/interpolate", {"z": ends.tolist(), "steps": 5})
    document = answer.json()
    assert list(document) == ["model", "method", "z", "images"]
    assert (document["model"], document["method"]) == ("mnist@1", "slerp")
    assert answer.headers["x-model"] == "mnist@1"
    assert "x-seed" not in answer.headers
    np.testing.assert_array_equal(np.array(document["z"], np.float32)[[0, -1]], ends)
    np.testing.assert_allclose(
        document["images"], tiny.decode(np.array(document["z"], np.float32)), atol=1e-5
    )


@pytest.mark.parametrize("method", ["lerp", "slerp"])
def test_ends_are_what_decode_answers_byte_for_byte(api: Caller, ends: Floats, method: str) -> None:
    whole = loaded(api.post_json(f"/interpolate.npy?method={method}", {"z": ends.tolist(), "steps": 7}))
    for end, row in ((ends[:1], whole[0]), (ends[1:], whole[-1])):
        alone = loaded(api.post_json("/decode.npy", {"z": end.tolist()}))
        assert alone[0].tobytes() == row.tobytes()


def test_two_images_are_interpolated_by_their_means(api: Caller, images: Floats) -> None:
    by_images = loaded(api.post_json("/interpolate.npz", {"images": images.tolist()}))
    mu = api.post_json("/encode", {"images": images.tolist()}).json()["mu"]
    by_latents = loaded(api.post_json("/interpolate.npz", {"z": mu}))
    assert set(by_images) == {"z", "images"}
    assert by_images["images"].tobytes() == by_latents["images"].tobytes()
    assert by_images["z"].dtype == np.float32
    assert by_images["z"].shape == (8, 8)


def test_a_file_of_two_images_is_as_good_as_json(api: Caller, images: Floats) -> None:
    by_file = api.post("/interpolate.npy?steps=4", npy(images), "application/x-npy")
    by_json = api.post_json("/interpolate.npy", {"images": images.tolist(), "steps": 4})
    np.testing.assert_allclose(loaded(by_file), loaded(by_json), atol=1e-6)
    without_axis = api.post("/interpolate.npy?steps=4", npy(images[:, 0]), None)
    assert without_axis.body == by_file.body
    refused = api.post("/interpolate", npy(images[:1]), "application/x-npy")
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert "expected exactly 2, the two ends, got 1" in refused.json()["detail"]


def test_parameters_come_by_query_or_by_body_but_once(api: Caller, ends: Floats) -> None:
    by_query = api.post_json("/interpolate?steps=3&method=lerp", {"z": ends.tolist()})
    by_body = api.post_json("/interpolate", {"z": ends.tolist(), "steps": 3, "method": "lerp"})
    assert by_query.status == 200
    assert by_query.body == by_body.body
    twice = api.post_json("/interpolate?steps=3", {"z": ends.tolist(), "steps": 3})
    assert (twice.status, twice.code) == (422, "invalid-parameter")


def test_a_picture_shows_the_way_in_one_row(api: Caller, ends: Floats) -> None:
    body = {"z": ends.tolist()}
    assert size(api.post_json("/interpolate.png", body)) == (8 * 29 + 1, 30)
    assert size(api.post_json("/interpolate.png?columns=4", body)) == (4 * 29 + 1, 2 * 29 + 1)
    assert size(api.post_json("/interpolate.png?scale=2&steps=3", body)) == (2 * 88, 2 * 30)


def test_text_shows_as_many_as_fit_a_terminal(api: Caller, ends: Floats) -> None:
    lines = api.post_json("/interpolate.txt", {"z": ends.tolist()}).body.decode().splitlines()
    assert len(lines) == 7
    assert max(map(len, lines)) == 5 * 14 + 4 * 2 <= 80
    assert len(api.post_json("/interpolate.txt?steps=3", {"z": ends.tolist()}).body.decode()) < 7 * 50


def test_an_autoencoder_goes_straight(api: Caller, ends: Floats) -> None:
    assert api.post_json("/interpolate?model=plain", {"z": ends.tolist()}).json()["method"] == "lerp"
    assert api.get("/traverse?model=plain&dims=1").json()["spacing"] == "linear"
    refused = api.get("/traverse?model=plain&dims=1&spacing=quantile")
    assert (refused.status, refused.code) == (422, "invalid-parameter")
    assert "which is an autoencoder" in refused.json()["detail"]


def test_traversal_of_the_origin_needs_no_body(api: Caller, tiny: TinyModel) -> None:
    document = api.get("/traverse?dims=3&steps=5").json()
    assert list(document) == ["model", "dims", "steps", "spacing", "span", "z", "images"]
    assert (document["dims"], document["steps"], document["spacing"]) == ([3], 5, "quantile")
    z = np.array(document["z"], np.float32)
    assert (z[:, 3] == [-2, z[1, 3], 0, z[3, 3], 2]).all()
    assert np.count_nonzero(z) == 4
    np.testing.assert_allclose(document["images"], tiny.decode(z), atol=1e-5)
    for same in (
        api.post("/traverse?dims=3&steps=5", b"", None),
        api.post_json("/traverse", {"dims": [3], "steps": 5}),
        api.post_json("/traverse?dims=3", {"steps": 5}),
        api.post_json("/traverse?dims=3&steps=5", {"z": [[0] * 8]}),
    ):
        assert same.json() == document


def test_traversal_starts_from_an_image_however_it_is_sent(api: Caller) -> None:
    levels = (np.arange(784) % 256).astype(np.uint8).reshape(28, 28)
    x = (levels / np.float32(255)).reshape(1, 1, 28, 28)
    mu = api.post("/encode", npy(x), "application/x-npy").json()["mu"]
    expected = loaded(api.post_json("/traverse.npy?dims=0&steps=3", {"z": mu}))
    for body, content_type in (
        (npy(levels[np.newaxis]), "application/x-npy"),
        (npy(x), "application/x-npy"),
        (png(levels), "image/png"),
    ):
        got = loaded(api.post("/traverse.npy?dims=0&steps=3", body, content_type))
        np.testing.assert_allclose(got, expected, atol=1e-6)
    large = png(np.repeat(np.repeat(levels, 2, axis=0), 2, axis=1))
    assert api.post("/traverse", large, "image/png").status == 422
    assert api.post("/traverse?resize=true&invert=true", large, "image/png").status == 200


def test_a_grid_is_drawn_as_a_grid(api: Caller) -> None:
    assert size(api.get("/traverse.png?dims=0")) == (8 * 29 + 1, 30)
    assert size(api.get("/traverse.png?dims=0,1&steps=6")) == (6 * 29 + 1, 6 * 29 + 1)
    assert len(api.get("/traverse.txt").body.decode().splitlines()) == 5 * 7 + 4
    arrays = loaded(api.get("/traverse.npz?dims=2,5&steps=4&spacing=linear&span=3"))
    assert (int(arrays["steps"]), float(arrays["span"])) == (4, 3.0)
    z = arrays["z"].reshape(4, 4, 8)
    np.testing.assert_allclose(z[:, 0, 2], [-3, -1, 1, 3])
    np.testing.assert_allclose(z[0, :, 5], [-3, -1, 1, 3])


def test_first_two_dimensions_are_meant_when_none_is_named(api: Caller) -> None:
    document = api.get("/traverse").json()
    assert (document["dims"], document["steps"], len(document["images"])) == ([0, 1], 8, 64)
    assert api.get("/traverse?dims=1,0").json()["dims"] == [1, 0]


@pytest.mark.parametrize(
    ("target", "document", "where", "code"),
    [
        ("/interpolate", {}, "body: images or z", "invalid-value"),
        ("/interpolate", {"images": [], "z": []}, "body: images or z", "invalid-value"),
        ("/interpolate", {"z": [[0] * 8]}, "z", "invalid-value"),
        ("/interpolate", {"z": [[0] * 8] * 3}, "z", "invalid-value"),
        ("/interpolate", {"z": [[9e3] * 8, [0] * 8]}, "z[0]", "invalid-value"),
        ("/interpolate", {"z": [[0] * 8] * 2, "steps": 1}, "body: steps", "invalid-value"),
        ("/interpolate", {"z": [[0] * 8] * 2, "steps": 65}, "body: steps", "invalid-value"),
        ("/interpolate", {"z": [[0] * 8] * 2, "method": "cubic"}, "body: method", "invalid-value"),
        ("/interpolate", {"z": [[0] * 8] * 2, "dims": [1]}, "body: key 2", "invalid-value"),
        ("/interpolate?method=LERP", {"z": [[0] * 8] * 2}, "query: method", "invalid-parameter"),
        ("/traverse", {"z": [[0] * 8] * 2}, "z", "invalid-value"),
        ("/traverse", {"images": [], "z": []}, "body: images or z", "invalid-value"),
        ("/traverse", {"dims": [8]}, "dims[0]", "invalid-parameter"),
        ("/traverse", {"dims": [1, 1]}, "dims", "invalid-parameter"),
        ("/traverse", {"dims": []}, "body: dims", "invalid-value"),
        ("/traverse", {"dims": 1}, "body: dims", "invalid-value"),
        ("/traverse", {"dims": [0, 1, 2]}, "body: dims", "invalid-value"),
        ("/traverse", {"dims": [0.0]}, "body: dims", "invalid-value"),
        ("/traverse", {"dims": None}, "body: dims", "invalid-value"),
        ("/traverse", {"steps": 9}, "steps", "invalid-parameter"),
        ("/traverse", {"dims": [0], "steps": 65}, "body: steps", "invalid-value"),
        ("/traverse", {"span": 0}, "body: span", "invalid-value"),
        ("/traverse", {"span": 11}, "body: span", "invalid-value"),
        ("/traverse", {"spacing": "log"}, "body: spacing", "invalid-value"),
        ("/traverse?dims=1,", {}, "query: dims", "invalid-parameter"),
        ("/traverse?dims=", {}, "query: dims", "invalid-parameter"),
        ("/traverse?dims=[1]", {}, "query: dims", "invalid-parameter"),
        ("/traverse?dims=1&dims=2", {}, "query: dims", "invalid-parameter"),
        ("/traverse?dims=1,2,3", {}, "query: dims", "invalid-parameter"),
        ("/traverse?dims=-1", {}, "query: dims", "invalid-parameter"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(api: Caller, target: str, document: Any, where: str, code: str) -> None:
    answer = api.post_json(target, document)
    assert (answer.status, answer.code) == (422, code), answer.body[:300]
    assert answer.json()["errors"][0]["where"] == where


def test_remedies_can_be_pasted(api: Caller) -> None:
    (item,) = api.get("/traverse?dims=a").json()["errors"]
    assert item["expected"] == "1 to 2 integers from 0 to 65535"
    assert item["remedy"] == "Such as dims=0,1."
    (item,) = api.post_json("/traverse", {"dims": ["a"]}).json()["errors"]
    assert item["remedy"] == 'Such as {"dims": [0, 1]}.'
    (item,) = api.get("/traverse?spacing=log").json()["errors"]
    assert (item["expected"], item["remedy"]) == ("quantile or linear", "Such as spacing=linear.")
    (item,) = api.post_json("/traverse", {"spacing": 3}).json()["errors"]
    assert item["remedy"] == 'Such as {"spacing": "linear"}.'


def test_a_png_is_one_image_and_no_two_ends(api: Caller) -> None:
    answer = api.post("/interpolate", png(np.zeros((28, 28), np.uint8)), "image/png")
    assert (answer.status, answer.code) == (415, "media-type-not-supported")
    accepted = "application/json, multipart/form-data, application/zip, application/x-npy, application/x-npz"
    assert answer.headers["accept-post"] == accepted


def test_only_traverse_can_be_opened_in_a_browser(api: Caller) -> None:
    assert (
        api.get("/traverse", {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}).headers["content-type"]
        == "image/png"
    )
    assert api.get("/interpolate").status == 405
