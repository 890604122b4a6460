"""The baseline of a reconstruction is what scikit-learn's PCA gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from training.data import ImageSet
from training.evaluation.measures.principal_components import PrincipalComponents, most_components


def blobs(count: int, *, channels: int = 1, side: int = 12, seed: int = 0) -> ImageSet:
    """A soft blob somewhere: many directions, of slowly falling variance."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    top, left = rng.uniform(2, side - 2, (2, count, channels, 1, 1))
    levels = 255 * np.exp(-((y - top) ** 2 + (x - left) ** 2) / 8)
    return ImageSet(name="blobs", images=torch.from_numpy(levels.astype(np.uint8)))


def rows(images: ImageSet) -> np.ndarray:
    return images.whole().flatten(1).numpy() / 255.0


@pytest.mark.parametrize(("count", "channels", "components"), [(400, 1, 1), (400, 1, 16), (90, 3, 10)])
def test_the_error_is_that_of_an_exact_decomposition(count: int, channels: int, components: int) -> None:
    train, test = blobs(count, channels=channels), blobs(50, channels=channels, seed=1)
    exact = PCA(n_components=components, svd_solver="full").fit(rows(train))
    given_back = exact.inverse_transform(exact.transform(rows(test)))
    expected = np.sqrt(np.mean((given_back - rows(test)) ** 2))
    assert PrincipalComponents.of(train, components).rmse(test) == pytest.approx(expected, rel=1e-3)


def test_no_component_is_the_mean_image() -> None:
    train, test = blobs(100), blobs(20, seed=1)
    expected = np.sqrt(np.mean((rows(test) - rows(train).mean(axis=0)) ** 2))
    assert PrincipalComponents.of(train, 0).rmse(test) == pytest.approx(expected)


def test_more_components_than_images_or_pixels_are_as_many_as_there_are() -> None:
    train = blobs(5)
    components = PrincipalComponents.of(train, 64)
    assert components.directions.shape == (144, 5)
    assert components.rmse(train) == pytest.approx(0.0, abs=1e-6)


def test_components_of_large_images_are_bounded_and_those_of_small_ones_are_not() -> None:
    assert most_components((1, 28, 28)) > 784
    assert most_components((3, 64, 64)) > 512
    assert 100 < most_components((3, 128, 128)) < 200
    assert most_components((3, 256, 256)) >= 1
