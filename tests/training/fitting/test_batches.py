"""Batches: every image once an epoch, and back to any position exactly."""

from __future__ import annotations

import pytest
import torch

from training.fitting.batches import OrderedBatches, ShuffledBatches, steps_per_epoch
from training.randomness.noise import Share
from training.randomness.seeding import generator_for

IMAGES = torch.arange(103, dtype=torch.uint8).view(103, 1, 1, 1)


def epochs_of(batches: ShuffledBatches, count: int) -> list[list[list[int]]]:
    return [[batch.flatten().tolist() for batch in batches] for _ in range(count)]


def test_an_epoch_serves_full_batches_and_no_image_twice():
    [epoch] = epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=0), 1)
    served = [image for batch in epoch for image in batch]
    assert [len(batch) for batch in epoch] == [10] * 10
    assert len(set(served)) == 100


def test_epochs_differ_and_seeds_differ():
    first, second = epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=0), 2)
    [other] = epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=1), 1)
    assert first != second
    assert first != other


def test_images_left_out_of_one_epoch_come_in_others():
    epochs = epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=0), 20)
    assert {image for epoch in epochs for batch in epoch for image in batch} == set(range(103))


@pytest.mark.parametrize(
    ("images", "at_least", "expected"),
    [(103, 0, 10), (103, 10, 10), (103, 13, 13), (103, 25, 25), (10, 7, 7), (9, 7, 0), (0, 7, 0)],
)
def test_an_epoch_has_the_steps_of_one_pass_or_the_fewest_asked_for(images, at_least, expected):
    """None where there is no batch: passes over nothing would never end."""
    assert steps_per_epoch(images, batch_size=10, at_least=at_least) == expected
    assert len(ShuffledBatches(IMAGES[:images], batch_size=10, seed=0, at_least=at_least)) == expected


def test_an_epoch_of_more_steps_than_a_pass_goes_on_with_the_next_pass():
    """The same batches in the same order as without it: only where an epoch ends is another place."""
    passes = [b for epoch in epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=1), 5) for b in epoch]
    epochs = epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=1, at_least=25), 2)
    assert [len(epoch) for epoch in epochs] == [25, 25]
    assert [batch for epoch in epochs for batch in epoch] == passes


@pytest.mark.parametrize("steps", [10, 13])
def test_from_any_position_the_rest_is_the_same_as_without_a_stop(steps):
    def anew() -> ShuffledBatches:
        return ShuffledBatches(IMAGES, batch_size=10, seed=3, at_least=steps)

    whole = [b for epoch in epochs_of(anew(), 3) for b in epoch]
    for position in range(3 * steps):
        served = whole[:position]
        resumed = anew()
        begun = iter(resumed)
        resumed.go_to(position)
        if position % steps:
            served += [batch.flatten().tolist() for batch in begun]
        rest: list[list[int]] = []
        while len(served) + len(rest) < 3 * steps:
            rest += [batch.flatten().tolist() for batch in resumed]
        assert served + rest == whole


def test_ordered_batches_keep_order_and_the_smaller_rest():
    batches = OrderedBatches(IMAGES, batch_size=25)
    served = list(batches)
    assert [len(batch) for batch in served] == [25, 25, 25, 25, 3]
    assert len(batches) == 5
    assert torch.equal(torch.cat(served), IMAGES)


def test_every_use_seed_and_number_has_noise_of_its_own():
    draws = {
        tuple(torch.rand(4, generator=generator_for(seed, use, number)).tolist())
        for seed in (0, 1)
        for use in ("order", "binarisation", "posterior", "grey", "pictures", "weights")
        for number in (0, 1, 2)
    }
    assert len(draws) == 2 * 6 * 3


def test_the_same_place_has_the_same_noise():
    first, second = (torch.rand(4, generator=generator_for(7, "grey", 5)) for _ in range(2))
    assert torch.equal(first, second)


def test_labels_stay_with_their_images():
    labels = torch.arange(len(IMAGES))
    plain = ShuffledBatches(IMAGES, batch_size=10, seed=4)
    labelled = ShuffledBatches(IMAGES, batch_size=10, seed=4, labels=labels)
    for images, (same, theirs) in zip(plain, labelled, strict=True):
        assert torch.equal(images, same)
        assert torch.equal(IMAGES[theirs], same)


def test_the_shares_of_a_batch_make_it_up_and_keep_its_order():
    [whole] = epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=4), 1)
    first, second = (
        epochs_of(ShuffledBatches(IMAGES, batch_size=10, seed=4, share=Share(index, 2)), 1)[0]
        for index in (0, 1)
    )
    assert [a + b for a, b in zip(first, second, strict=True)] == whole
