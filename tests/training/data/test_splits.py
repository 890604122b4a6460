"""Held-back images are chosen by their content and the seed, and never trained on."""

import pytest
import torch

from training.data import ImageSet, count_held_back, split_train_validation
from training.data.splits import hold_out_test
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
        assert torch.equal(part.images[:][:, 0, 0, 0].long(), part.labels)


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


def parts_of(image_set, **how):
    """Grey levels of (training part, validation part)."""
    train, validation = split_train_validation(image_set, **{"validation_size": 0.3, "seed": 1, **how})
    return set(train.images[:][:, 0, 0, 0].tolist()), set(validation.images[:][:, 0, 0, 0].tolist())


def test_order_moves_no_image_to_the_other_part(numbered):
    shuffled = numbered.take(torch.randperm(100, generator=torch.Generator().manual_seed(0)))
    for size in (30, 0.3):
        assert parts_of(shuffled, validation_size=size) == parts_of(numbered, validation_size=size)


def test_adding_images_to_a_share_moves_none_to_the_other_part(numbered):
    fewer = parts_of(numbered.take(torch.arange(60)))
    more = parts_of(numbered)
    assert fewer[0] < more[0]
    assert fewer[1] < more[1]


def test_adding_images_to_a_number_makes_none_that_were_trained_on_measure(numbered):
    fewer = parts_of(numbered.take(torch.arange(60)), validation_size=20)
    assert not fewer[0] & parts_of(numbered, validation_size=20)[1]


def test_copies_of_an_image_never_lie_on_both_sides(numbered):
    """What is measured on copies of training images is memory, not learning."""
    twice = numbered.take(torch.arange(200) % 100)
    for size in (31, 0.3):
        train, validation = parts_of(twice, validation_size=size)
        assert not train & validation
        assert len(train | validation) == 100
    assert count_held_back(twice, validation_size=31, seed=1) == 32


def test_a_share_is_about_that_share_and_counted_as_it_is(numbered):
    _, validation = split_train_validation(numbered, validation_size=0.3, seed=1)
    assert 15 <= len(validation) <= 45
    assert count_held_back(numbered, validation_size=0.3, seed=1) == len(validation)
    assert validation.name == f"numbered, {len(validation)} held back (seed 1)"


def test_copies_of_one_image_cannot_be_split(numbered):
    alike = numbered.take(torch.zeros(50, dtype=torch.int64))
    with pytest.raises(DataError, match=r"expected images on both sides of the split, got (0|50) of the 50"):
        split_train_validation(alike, validation_size=0.5, seed=1)
    with pytest.raises(DataError, match="got 1 different ones"):
        hold_out_test(alike, name="alike")


def test_the_test_part_is_the_same_for_every_run_and_no_image_of_it_is_validated_on(numbered):
    train, test = hold_out_test(numbered, name="numbered")
    assert 2 <= len(test) <= 20
    assert len(train) + len(test) == 100
    assert test.name == "numbered test (a tenth of 100, held out by content hash)"
    levels = set(test.labels.tolist())
    assert levels == set(hold_out_test(numbered.take(torch.arange(100).flip(0)), name="x")[1].labels.tolist())
    # Chosen for another purpose: the lowest tenth for the test is not the lowest tenth for validation.
    assert levels != parts_of(numbered, validation_size=len(test), seed=0)[1]


def test_image_set_refuses_labels_of_another_number_and_float_pixels():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="one label for each of 3 images"):
        ImageSet(name="x", images=images, labels=torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_few_images_have_some_on_both_sides_whatever_their_pixels(count):
    """A tenth of nine is none for four sets of ten, and nine tenths of them all."""
    for seed in range(40):
        pixels = torch.randint(
            0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
        )
        few = ImageSet(name="few", images=pixels)
        for parts in (
            hold_out_test(few, name="few"),
            split_train_validation(few, validation_size=0.1, seed=seed),
            split_train_validation(few, validation_size=0.9, seed=seed),
        ):
            assert all(len(part) > 0 for part in parts)
            assert sum(map(len, parts)) == count
