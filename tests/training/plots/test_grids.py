"""Pictures show every image where it belongs, and a log however far it got."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from training.plots import grids

TILE = 28
GAP = 2
FRAME = 4
GREY = 0.27


def pixels(path, scale):
    """The sheet without its frame, at one pixel per image pixel, first channel."""
    sheet = imread(path)[::scale, ::scale, :3]
    return sheet[FRAME:-FRAME, FRAME:-FRAME]


def numbered(count, channels=1):
    """Flat images, each of a grey level of its own."""
    levels = torch.linspace(0.4, 1.0, count).view(-1, 1, 1, 1)
    return levels.expand(count, channels, TILE, TILE)


def tile(sheet, row, column):
    top, left = row * (TILE + GAP), column * (TILE + GAP)
    return sheet[top : top + TILE, left : left + TILE]


def test_samples_run_left_to_right_then_down(tmp_path):
    images = numbered(5)
    grids.sample_grid(tmp_path / "s.png", images, columns=3, scale=2)
    sheet = pixels(tmp_path / "s.png", 2)
    assert sheet.shape == (2 * TILE + GAP, 3 * TILE + 2 * GAP, 3)
    for number in range(5):
        np.testing.assert_allclose(
            tile(sheet, *divmod(number, 3)), images[number, 0, 0, 0].item(), atol=1 / 255
        )
    np.testing.assert_allclose(tile(sheet, 1, 2), GREY, atol=1 / 255)  # the place that is left over


def test_reconstruction_lies_right_below_its_image(tmp_path):
    x, x_hat = numbered(5), numbered(5) / 4.0
    grids.reconstruction_grid(tmp_path / "r.png", x, x_hat, columns=3, scale=1)
    sheet = pixels(tmp_path / "r.png", 1)
    band = 2 * TILE + GAP + 8  # two rows of tiles and the wider gap between pairs
    for number in range(5):
        below, column = divmod(number, 3)
        upper = sheet[below * band :]
        np.testing.assert_allclose(tile(upper, 0, column), x[number, 0, 0, 0].item(), atol=1 / 255)
        np.testing.assert_allclose(tile(upper, 1, column), x_hat[number, 0, 0, 0].item(), atol=1 / 255)


def test_colour_images_keep_their_channels_apart(tmp_path):
    image = torch.zeros(1, 3, 8, 8)
    image[0, 1] = 1.0
    grids.sample_grid(tmp_path / "s.png", image, scale=1)
    np.testing.assert_array_equal(pixels(tmp_path / "s.png", 1)[0, 0], [0.0, 1.0, 0.0])


def test_grid_is_squarest_when_columns_are_left_out(tmp_path):
    grids.sample_grid(tmp_path / "s.png", numbered(10), scale=1)
    assert pixels(tmp_path / "s.png", 1).shape[:2] == (3 * TILE + 2 * GAP, 4 * TILE + 3 * GAP)


def test_sheet_without_gaps_is_one_picture():
    sheet = grids.sheet(numbered(4), columns=2, gap_pixels=0)
    assert sheet.shape == (2 * TILE, 2 * TILE, 3)
    np.testing.assert_allclose(sheet[TILE:, TILE:], 1.0)
    assert sheet.min() == pytest.approx(0.4)


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 2, 4, 4)])
def test_what_cannot_be_drawn_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="expected images"):
        grids.sample_grid(tmp_path / "s.png", torch.zeros(shape))


def test_reconstructions_of_another_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected reconstructions of the images' shape"):
        grids.reconstruction_grid(tmp_path / "r.png", numbered(4), numbered(3))


def test_picture_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    """A viewer that looks while training writes sees the old picture or the new one."""
    path = tmp_path / "deep" / "s.png"
    grids.sample_grid(path, numbered(2))
    before = path.read_bytes()
    fdopen = os.fdopen

    def on_a_full_disk(handle, mode):
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), handle)
        return fdopen(handle, mode)

    monkeypatch.setattr("training.plots.grids.os.fdopen", on_a_full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        grids.sample_grid(path, numbered(3))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["s.png"]


LOG = "epoch,train_kl,validation_kl,learning_rate\n"


def write_log(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_text(text)
    return path


def test_log_columns_of_one_quantity_share_a_panel(tmp_path):
    log = write_log(tmp_path, LOG + "0,10,,0.1\n0,,12,\n1,8,9,0.05\n")
    axis, series = grids._read_log(log)
    assert axis == "epoch"
    assert {name: points.tolist() for name, points in series.items()} == {
        "train_kl": [[0.0, 10.0], [1.0, 8.0]],
        "validation_kl": [[0.0, 12.0], [1.0, 9.0]],
        "learning_rate": [[0.0, 0.1], [1.0, 0.05]],
    }
    assert grids._split_column("validation/kl") == ("validation", "kl")
    assert grids._split_column("learning_rate") == ("", "learning_rate")
    assert grids.curves(tmp_path / "c.png", log)
    assert imread(tmp_path / "c.png").ndim == 3


def test_log_cut_short_by_a_killed_process_is_drawn_as_far_as_it_goes(tmp_path):
    log = write_log(tmp_path, LOG + "0,10,12,0.1\n1,nan,inf,x\n2,7,")
    _, series = grids._read_log(log)
    assert series["train_kl"].tolist() == [[0.0, 10.0], [2.0, 7.0]]
    assert series["validation_kl"].tolist() == [[0.0, 12.0]]
    assert grids.curves(tmp_path / "c.png", log)


def test_log_without_numbers_draws_nothing(tmp_path):
    assert not grids.curves(tmp_path / "c.png", write_log(tmp_path, LOG))
    assert not (tmp_path / "c.png").exists()


def test_same_images_give_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        grids.sample_grid(tmp_path / name, numbered(4))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
