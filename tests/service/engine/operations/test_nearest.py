"""nearest against brute force and closed cases: distances, ties, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from direct import directly
from engine_models import LATENT, images
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import TinyModel

from service.engine import InferenceFailed, InvalidInput, InvalidParameter, LoadedModel
from service.engine.operations.nearest import (
    MAX_STORED_LATENTS,
    Neighbours,
    Queries,
    nearest,
    nearest_queries,
)


def search(model: LoadedModel, latents: np.ndarray, **asked: Any) -> Neighbours:
    asked = {"k": 1, "distance": "euclidean", **asked}
    queries = directly(nearest_queries, model, latents=latents, **asked)
    return nearest(queries, latents, k=asked["k"])


def of_points(points: np.ndarray, latents: np.ndarray, k: int, precisions: Any = None) -> Neighbours:
    model: Any = None  # named in errors alone
    return nearest(Queries(points.astype(np.float64), precisions, model), latents, k=k)


def brute_force(points: np.ndarray, latents: np.ndarray, k: int, weights: Any = None) -> Neighbours:
    """Every difference at once, in float64, and a sort by distance and then by index."""
    gaps = points.astype(np.float64)[:, None] - latents.astype(np.float64)[None]
    squares: Any = (gaps**2 if weights is None else gaps**2 * weights[:, None]).sum(axis=2)
    order = np.stack([np.lexsort((np.arange(len(latents)), row)) for row in squares])[:, :k]
    return Neighbours(order, np.sqrt(np.take_along_axis(squares, order, axis=1)))


@pytest.mark.parametrize("k", [1, 3, 50])
def test_neighbours_of_latents_are_those_of_brute_force(loaded: LoadedModel, k: int) -> None:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((7, LATENT)).astype(np.float32)
    latents = rng.standard_normal((50, LATENT)).astype(np.float32)
    found, expected = search(loaded, latents, z=z, k=k), brute_force(z, latents, k)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-12)
    assert found.indices.dtype == np.int64


def test_images_are_searched_by_mu_and_by_their_own_posterior(loaded: LoadedModel, tiny: TinyModel) -> None:
    x = images(5)
    mu, logvar = tiny.encode(x)
    latents = np.random.default_rng(2).standard_normal((40, LATENT)).astype(np.float32)
    euclidean = search(loaded, latents, x=x, k=4)
    expected = brute_force(mu, latents, 4)
    np.testing.assert_array_equal(euclidean.indices, expected.indices)
    np.testing.assert_allclose(euclidean.distances, expected.distances, atol=1e-5)
    mahalanobis = search(loaded, latents, x=x, k=4, distance="mahalanobis")
    expected = brute_force(mu, latents, 4, weights=np.exp(-logvar.astype(np.float64)))
    np.testing.assert_array_equal(mahalanobis.indices, expected.indices)
    np.testing.assert_allclose(mahalanobis.distances, expected.distances, rtol=1e-4)


def test_mahalanobis_counts_standard_deviations() -> None:
    """N((0, 0), diag(4, 1/4)): 2 along the first axis is 1 deviation, 1/2 along the second one is 1 too."""
    latents = np.array([[2, 0], [0, 0.5], [0, 1], [4, 0], [2, 0.5]], np.float32)
    found = of_points(np.zeros((1, 2)), latents, 5, precisions=np.array([[0.25, 4.0]]))
    assert found.indices.tolist() == [[0, 1, 4, 2, 3]]
    np.testing.assert_allclose(found.distances, [[1, 1, np.sqrt(2), 2, 2]])


def test_distances_of_a_right_angle_are_those_of_pythagoras() -> None:
    latents = np.array([[3, 4], [0, 0], [-5, 12], [8, -6]], np.float32)
    found = of_points(np.zeros((1, 2)), latents, 4)
    assert found.indices.tolist() == [[1, 0, 3, 2]]
    assert found.distances.tolist() == [[0, 5, 10, 13]]


@given(st.integers(1, 30), st.data())
def test_ties_go_to_the_lower_index(count: int, data: st.DataObject) -> None:
    """Whole numbers, so that equal distances are equal to the bit; more ties than k admits among them."""
    numbers = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    latents = np.array(data.draw(st.lists(numbers, min_size=count, max_size=count)), np.float32)
    k = data.draw(st.integers(1, count))
    points = np.array([[0.0, 0.0], [1.0, 0.0]])
    found, expected = of_points(points, latents, k), brute_force(points, latents, k)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_float32_would_choose_another_neighbour() -> None:
    """The second one is nearer by less than float32 can say: 4096² + 1 and 4096² are one number to it."""
    latents = np.array([[4096, 1], [4096, 0]], np.float32)
    squares = (latents[:, 0] * latents[:, 0] + latents[:, 1] * latents[:, 1]).astype(np.float32)
    assert squares[0] == squares[1]
    assert of_points(np.zeros((1, 2)), latents, 1).indices.tolist() == [[1]]


def test_latents_far_from_the_origin_are_nearest_to_themselves() -> None:
    """|a|² + |b|² - 2ab, as search libraries compute it, loses all digits here (faiss#3245)."""
    latents = (9_000 + np.arange(40).reshape(20, 2) / 1024).astype(np.float32)
    found = of_points(latents, latents, 2)
    assert found.indices[:, 0].tolist() == list(range(20))
    assert not found.distances[:, 0].any()
    np.testing.assert_array_equal(found.distances[:, 1], np.sqrt(2.0) / 512)


def test_many_queries_are_searched_a_part_at_a_time() -> None:
    rng = np.random.default_rng(3)
    points, latents = rng.standard_normal((130, 2)), rng.standard_normal((9_000, 2)).astype(np.float32)
    found = of_points(points, latents, 2)
    for row in (0, 57, 58, 129):
        alone = of_points(points[row : row + 1], latents, 2)
        np.testing.assert_array_equal(found.indices[row], alone.indices[0])
        np.testing.assert_array_equal(found.distances[row], alone.distances[0])


@pytest.mark.parametrize("k", [0, -1, 4])
def test_more_neighbours_than_latents_are_refused(loaded: LoadedModel, k: int) -> None:
    z = np.zeros((3, LATENT), np.float32)
    with pytest.raises(InvalidParameter, match="k: expected an integer from 1 to 3") as caught:
        search(loaded, z, z=z, k=k)
    assert caught.value.got == str(k)


def test_variance_is_asked_of_posteriors_alone(loaded: LoadedModel, auto: LoadedModel) -> None:
    z = np.zeros((1, LATENT), np.float32)
    with pytest.raises(InvalidParameter, match="distance: expected euclidean for z, which has no variance"):
        search(loaded, z, z=z, distance="mahalanobis")
    with pytest.raises(InvalidParameter, match="which is an autoencoder, got mahalanobis"):
        search(auto, z, x=images(1), distance="mahalanobis")
    assert search(auto, z, x=images(1)).indices.tolist() == [[0]]


def test_stored_latents_are_checked_under_their_own_name(loaded: LoadedModel) -> None:
    z = np.zeros((1, LATENT), np.float32)
    for latents, wrong in (
        (np.zeros((2, LATENT - 1), np.float32), r"latents: expected float32 of shape"),
        (np.full((2, LATENT), 20_000, np.float32), r"latents\[0\]\[0\]: expected a finite number within"),
        (np.full((2, LATENT), np.nan, np.float32), r"latents\[0\]\[0\]"),
        (np.zeros((0, LATENT), np.float32), f"latents: expected 1 to {MAX_STORED_LATENTS} rows"),
        (np.zeros((MAX_STORED_LATENTS + 1, LATENT), np.float32), "latents: expected 1 to"),
    ):
        with pytest.raises(InvalidInput, match=wrong):
            search(loaded, latents, z=z)


def test_posterior_without_width_is_the_fault_of_the_model(loaded: LoadedModel) -> None:
    latents = np.zeros((2, LATENT), np.float32)
    points = np.zeros((1, LATENT))
    with pytest.raises(InferenceFailed, match="expected a posterior of a measurable width"):
        nearest(Queries(points, np.full((1, LATENT), np.inf), loaded.queued), latents, k=1)
