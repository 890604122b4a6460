"""Held-back images are drawn by the seed and never trained on."""

import pytest
import torch

from training.data import ImageSet, split_train_validation
from training.errors import DataError


@pytest.fixture
def numbered():
    """100 images, each of one grey level of its own."""
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).repeat(1, 1, 2, 2)
    return ImageSet(name="numbered", images=images, labels=torch.arange(100))


def test_parts_are_disjoint_and_complete_and_labels_follow(numbered):
    train, validation = split_train_validation(numbered, validation_size=30, seed=1)
    assert (len(train), len(validation)) == (70, 30)
    assert sorted(train.labels.tolist() + validation.labels.tolist()) == list(range(100))
    for part in (train, validation):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)


def test_the_seed_decides_who_is_held_back(numbered):
    def held_back(seed):
        return split_train_validation(numbered, validation_size=30, seed=seed)[1].labels.tolist()

    assert held_back(1) == held_back(1) != held_back(2)


def test_global_random_state_neither_matters_nor_changes(numbered):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = split_train_validation(numbered, validation_size=30, seed=1)[1].labels
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert torch.equal(split_train_validation(numbered, validation_size=30, seed=1)[1].labels, first)


def test_holding_nothing_back_keeps_the_whole_set(numbered):
    train, validation = split_train_validation(numbered, validation_size=0, seed=1)
    assert train is numbered
    assert validation is None


@pytest.mark.parametrize("size", [-1, 100, 101])
def test_size_that_leaves_nothing_to_train_on_is_refused(numbered, size):
    with pytest.raises(DataError, match=f"expected 0 to 99 of the 100 images of numbered, got {size}"):
        split_train_validation(numbered, validation_size=size, seed=1)


def test_image_set_refuses_labels_of_another_number_and_float_pixels():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="one label for each of 3 images"):
        ImageSet(name="x", images=images, labels=torch.zeros(2, dtype=torch.int64))
