"""/nearest over HTTP: the same neighbours by every way in, and refusals with their reason."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from numpy.typing import NDArray
from tiny_models import TinyModel

from service.api.native import nearest as endpoint
from service.engine.operations.nearest import MAX_STORED_LATENTS

RNG = np.random.default_rng(7)
LATENTS = RNG.standard_normal((60, 8)).astype(np.float32)
IMAGES = RNG.random((3, 1, 28, 28), dtype=np.float32)
Z = RNG.standard_normal((2, 8)).astype(np.float32)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def by_file(api: Caller, target: str, **arrays: Any) -> Answer:
    return api.post(target, npz(**arrays), "application/x-npz")


def distances_to(points: NDArray[Any], weights: Any = 1.0) -> NDArray[np.float64]:
    gaps = points.astype(np.float64)[:, None] - LATENTS.astype(np.float64)
    return np.sqrt((gaps**2 * weights).sum(axis=2))


def test_neighbours_of_latents_come_with_their_distances(api: Caller) -> None:
    answer = by_file(api, "/nearest?k=3", z=Z, latents=LATENTS)
    document = answer.json()
    assert list(document) == ["model", "distance", "indices", "distances"]
    assert (document["model"], document["distance"]) == ("mnist@1", "euclidean")
    expected = distances_to(Z)
    order = np.argsort(expected, axis=1, kind="stable")[:, :3]
    assert document["indices"] == order.tolist()
    np.testing.assert_allclose(document["distances"], np.take_along_axis(expected, order, axis=1))
    assert answer.headers["x-model"] == "mnist@1"


def test_every_way_in_gives_the_same_neighbours(api: Caller) -> None:
    latents = LATENTS.tolist()
    answers = [
        by_file(api, "/nearest?k=2", images=IMAGES, latents=LATENTS),
        by_file(api, "/nearest?k=2", images=IMAGES.astype(np.float64), latents=LATENTS.astype(np.float64)),
        api.post_json("/nearest?k=2", {"images": IMAGES.tolist(), "latents": latents}),
        api.post_json("/nearest", {"images": IMAGES[:, 0].tolist(), "latents": latents, "k": 2}),
        api.post_json(
            "/nearest", {"k": 2, "distance": "euclidean", "latents": latents, "images": IMAGES.tolist()}
        ),
    ]
    assert answers[0].status == 200
    assert len({answer.body for answer in answers}) == 1
    mu = api.post_json("/encode", {"images": IMAGES.tolist()}).json()["mu"]
    of_mu = by_file(api, "/nearest?k=2", z=np.array(mu, np.float32), latents=LATENTS)
    assert of_mu.body == answers[0].body


def test_mahalanobis_is_measured_under_the_posterior_of_each_image(api: Caller, tiny: TinyModel) -> None:
    mu, logvar = tiny.encode(IMAGES)
    answer = by_file(api, "/nearest?k=4&distance=mahalanobis", images=IMAGES, latents=LATENTS).json()
    expected = distances_to(mu, np.exp(-logvar.astype(np.float64))[:, None])
    order = np.argsort(expected, axis=1, kind="stable")[:, :4]
    assert (answer["distance"], answer["indices"]) == ("mahalanobis", order.tolist())
    np.testing.assert_allclose(answer["distances"], np.take_along_axis(expected, order, axis=1), rtol=1e-4)


def test_npz_holds_the_same_numbers(api: Caller) -> None:
    document = by_file(api, "/nearest?k=5", z=Z, latents=LATENTS).json()
    answer = by_file(api, "/nearest.npz?k=5", z=Z, latents=LATENTS)
    arrays = dict(np.load(io.BytesIO(answer.body)))
    assert set(arrays) == {"indices", "distances"}
    assert (arrays["indices"].dtype, arrays["distances"].dtype) == (np.int64, np.float64)
    assert arrays["indices"].tolist() == document["indices"]
    assert arrays["distances"].tolist() == document["distances"]
    assert by_file(api, "/nearest.png", z=Z, latents=LATENTS).code == "form-not-available"


def test_one_neighbour_is_found_where_k_is_left_out_and_ties_go_to_the_lower_index(api: Caller) -> None:
    latents = np.repeat(Z[:1], 4, axis=0)
    document = by_file(api, "/nearest", z=Z[:1], latents=latents).json()
    assert (document["indices"], document["distances"]) == ([[0]], [[0.0]])
    all_of_them = by_file(api, "/nearest?k=4", z=Z[:1], latents=latents).json()
    assert all_of_them["indices"] == [[0, 1, 2, 3]]


def test_large_search_in_a_thread_finds_the_same(api: Caller) -> None:
    many = np.concatenate([LATENTS + 50] * 200 + [LATENTS])
    assert Z.size * len(many) > endpoint._QUICK_WORK > Z.size * len(LATENTS)
    large = by_file(api, "/nearest?k=3", z=Z, latents=many)
    small = by_file(api, "/nearest?k=3", z=Z, latents=LATENTS).json()
    assert (np.array(large.json()["indices"]) - 200 * len(LATENTS)).tolist() == small["indices"]
    assert large.json()["distances"] == small["distances"]
    assert "run;dur=" in large.headers["server-timing"]


@pytest.mark.parametrize(
    ("query", "body", "code", "detail"),
    [
        ("?k=3", {"z": Z[:1], "latents": Z}, "invalid-parameter", "k: expected an integer from 1 to 2"),
        ("?k=0", {"z": Z, "latents": Z}, "invalid-parameter", "query: k: expected an integer from 1 to"),
        ("", {"z": Z, "latents": Z, "k": 2.0}, "invalid-value", "body: k: expected an integer"),
        ("?k=1", {"z": Z, "latents": Z, "k": 1}, "invalid-parameter", "query: k: expected one value"),
        ("?distance=manhattan", {"z": Z, "latents": Z}, "invalid-parameter", "query: distance: expected"),
        ("", {"z": Z, "latents": Z[:, :7]}, "invalid-value", "latents[0]: expected 8 numbers, got 7."),
        ("", {"z": Z[:, :7], "latents": Z}, "invalid-value", "z[0]: expected 8 numbers, got 7."),
        ("", {"z": Z, "latents": []}, "invalid-value", f"latents: expected 1 to {MAX_STORED_LATENTS}"),
        ("", {"z": Z, "latents": Z * 1e5}, "invalid-value", "latents[0][0]: expected a finite number within"),
        ("", {"z": Z}, "invalid-value", "body: latents: expected an array of numbers, (M, latent)"),
        ("", {"latents": Z}, "invalid-value", "body: images or z: expected an array of numbers"),
        ("", {"z": Z, "images": IMAGES, "latents": Z}, "invalid-value", "body: images or z: expected"),
        (
            "?distance=mahalanobis",
            {"z": Z, "latents": Z},
            "invalid-parameter",
            "distance: expected euclidean for z, which has no variance, got mahalanobis. Send images",
        ),
        (
            "?distance=mahalanobis&model=plain",
            {"images": IMAGES, "latents": Z},
            "invalid-parameter",
            "distance: expected euclidean for 'plain@1', which is an autoencoder, got mahalanobis.",
        ),
    ],
)
def test_refusals_say_what_to_send(
    api: Caller, query: str, body: dict[str, Any], code: str, detail: str
) -> None:
    document = {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in body.items()
    }
    refused = api.post_json(f"/nearest{query}", document)
    assert (refused.status, refused.code) == (422, code), refused.body[:300]
    assert refused.json()["detail"].startswith(detail)


def test_files_are_refused_by_the_name_of_their_array(api: Caller) -> None:
    too_many = np.zeros((MAX_STORED_LATENTS + 1, 8), np.float32)
    refused = by_file(api, "/nearest", z=Z, latents=too_many)
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert refused.json()["detail"].startswith(f"latents: expected 1 to {MAX_STORED_LATENTS} entries")
    assert by_file(api, "/nearest", z=Z, latents=LATENTS, k=np.int64(3)).code == "invalid-value"
    png = api.post("/nearest", b"\x89PNG\r\n\x1a\n", "image/png")
    accepted = "application/json, multipart/form-data, application/zip, application/x-npz"
    assert (png.status, png.headers["accept-post"]) == (415, accepted)


def test_limit_is_told_where_the_others_are(api: Caller) -> None:
    rows = {row["name"]: row for row in api.get("/limits").json()["limits"]}
    assert rows["max_stored_latents"]["value"] == MAX_STORED_LATENTS
