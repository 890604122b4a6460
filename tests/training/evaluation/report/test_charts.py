"""Charts hold what they were given, whatever its size, and the same data gives the same file."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from training.plots import charts

pytestmark = pytest.mark.usefixtures("charts")


def size(png):
    return imread(io.BytesIO(png)).shape


def share_of_grey(png):
    """Of pixels in the very grey of a bar that is not filled."""
    pixels = (imread(io.BytesIO(png))[..., :3] * 255).round()
    return (pixels == 0xB8).all(axis=-1).mean()


def draw_bars(count, filled=None):
    return charts.bars(
        np.linspace(2.0, 0.1, count),
        names=[str(i) for i in range(count)],
        filled=np.ones(count, dtype=bool) if filled is None else filled,
        xlabel="latent",
        ylabel="nats",
        legend=("active", "not active"),
    )


@pytest.mark.parametrize("count", [1, 2, 32, 300])
def test_bars_of_any_number_make_a_picture_that_fits_a_page(count):
    assert 300 < size(draw_bars(count))[1] < 1300


def test_bars_that_are_not_filled_are_grey():
    assert share_of_grey(draw_bars(4)) < 0.001
    assert share_of_grey(draw_bars(4, np.array([True, True, False, False]))) > 0.03


@pytest.mark.parametrize("labels", [None, 1, 10, 40])
def test_scatter_takes_any_number_of_labels(labels):
    points = np.random.default_rng(0).standard_normal((80, 2))
    chosen = None if labels is None else np.arange(80) % labels
    none = np.zeros((0, 2))
    png = charts.scatter(points, chosen, axis_names=("a", "b"), centres=none, sigmas=none)
    assert size(png)[0] > 300


def test_ellipses_are_drawn_whole():
    """One point, and an ellipse that reaches to ±2 · 3 around it: the axes must hold all of it."""
    arguments: dict[str, Any] = {"axis_names": ("a", "b"), "sigmas": np.array([[3.0, 1.0]])}
    with_ellipse = charts.scatter(np.zeros((2, 2)), None, centres=np.zeros((1, 2)), **arguments)
    picture = imread(io.BytesIO(with_ellipse))[..., :3].mean(axis=-1)
    rows, columns = np.nonzero((picture > 0.3) & (picture < 0.6))
    inside = rows < picture.shape[0] * 0.85
    assert columns[inside].max() - columns[inside].min() > 300  # wide: 12 units of it
    assert picture.shape[1] - columns[inside].max() > 10  # and not cut off at the edge


def test_rows_and_columns_have_their_names_and_room_for_them():
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    short = charts.labelled_rows(images, columns=3, row_names=["a", "b"], column_names=["0", "1", "2"])
    long = charts.labelled_rows(images, columns=3, row_names=["a" * 30, "b"])
    assert size(long)[1] > size(short)[1] + 150


def test_names_of_labels_may_be_anything_a_folder_may_be_called():
    """Mathematics, underscores, other scripts and long names: no error, no warning, and none is left out."""
    names = ["$x^{$", "_hidden", "猫", "a" * 60]
    none = np.zeros((0, 2))

    def legend_of(**labels):
        points = np.random.default_rng(0).standard_normal((40, 2))
        return charts.scatter(
            points, np.arange(40) % 4, axis_names=("a", "b"), centres=none, sigmas=none, **labels
        )

    assert size(legend_of(label_names=names))[0] == size(legend_of())[0]
    assert legend_of(label_names=["a", "_", "c", "d"]) != legend_of(label_names=["a", "b", "c", "d"])
    values = np.array([0.1, 0.2, 0.3, 0.4])
    words: dict[str, Any] = {"legend": ("samples", "test images"), "xlabel": "label", "ylabel": "%"}
    assert size(charts.paired_bars(values, values, names=names, **words))[1] > 300
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert size(charts.labelled_rows(images, columns=1, row_names=names))[1] < 400


def test_same_data_gives_the_same_bytes():
    assert draw_bars(5) == draw_bars(5)
    values = np.array([0.2, 0.8])
    pairs: dict[str, Any] = {
        "names": ["0", "1"],
        "legend": ("samples", "test images"),
        "xlabel": "label",
        "ylabel": "%",
    }
    assert charts.paired_bars(values, values, **pairs) == charts.paired_bars(values, values, **pairs)
