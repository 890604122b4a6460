"""The parts of a data set are numbered alike, compared with one another, and each is used for what it is."""

import numpy as np
import pytest
import torch

from training.data import count_fitting_parts, describe_split, fitting_parts
from training.data.assembly import Part, data_of_parts
from training.errors import DataError

SIZE = 0.25


def part(first: int, count: int, *, words: bool = True) -> Part:
    """Images that no other number has, cats and dogs in turn."""
    images = np.stack(
        [
            np.random.default_rng(number).integers(0, 256, (1, 8, 8), np.uint8)
            for number in range(first, first + count)
        ]
    )
    labels = np.array([("cat", "dog")[number % 2] for number in range(count)])
    return Part(torch.from_numpy(images), labels if words else None)


def test_validation_images_that_are_given_are_validated_on_and_none_is_held_back():
    data = data_of_parts("pets", "pets", part(0, 40), part(40, 10), validation=part(50, 12))
    train, validation = fitting_parts(data, validation_size=SIZE, seed=3)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 12, 10)
    assert (train, validation) == (data.train, data.validation)
    assert count_fitting_parts(data, validation_size=SIZE, seed=3) == (40, 12)
    assert data.validation.name == "pets validation"
    assert data.validation.labels.tolist() == [0, 1] * 6
    assert data.notes == ("the data has validation images: data.validation_size has no effect",)


def test_without_them_some_training_images_are_held_back():
    data = data_of_parts("pets", "pets", part(0, 40), part(40, 10))
    train, validation = fitting_parts(data, validation_size=SIZE, seed=3)
    assert data.validation is None
    assert count_fitting_parts(data, validation_size=SIZE, seed=3) == (len(train), len(validation))
    assert len(train) + len(validation) == 40 > len(train) > 0


def test_a_test_is_held_out_of_the_training_images_where_only_validation_images_are_given():
    data = data_of_parts("pets", "pets", part(0, 60), None, validation=part(60, 12))
    assert len(data.train) + len(data.test) == 60 > len(data.train)
    assert len(data.validation) == 12
    assert any("the data has no test images" in note for note in data.notes)


def test_the_split_tells_which_validation_images_were_given():
    held_back, given, others = (
        data_of_parts("pets", "pets", part(0, 40), part(40, 10), validation=validation)
        for validation in (None, part(50, 12), part(51, 12))
    )
    assert describe_split(held_back) == "content"
    assert describe_split(given) == f"given {given.validation.fingerprint}" != describe_split(others)


@pytest.mark.parametrize("what", ["test", "validation"])
def test_a_part_that_does_not_fit_the_training_part_is_named(what):
    def refusal(odd: Part) -> str:
        others = {"test": part(40, 10), "validation": part(50, 10), what: odd}
        with pytest.raises(DataError) as caught:
            data_of_parts("pets", "pets", part(0, 40), others["test"], validation=others["validation"])
        return str(caught.value)

    other_shape = Part(torch.randint(256, (4, 1, 9, 8), dtype=torch.uint8), None)
    assert f"training and {what} images of one shape, got (1, 8, 8) and (1, 9, 8)" in refusal(other_shape)
    assert f"all 10 {what} images are training images too" in refusal(part(5, 10))
    too_few = Part(part(70, 10).images, part(70, 9).labels)
    assert f"one label for each of the 10 {what} images, got 9" in refusal(too_few)
    owls = Part(part(70, 10).images, np.array(["owl"] * 10))
    assert f"no class in the {what} part that the training part lacks, got owl" in refusal(owls)
    numbered = Part(part(70, 10).images, np.arange(10))
    assert "words or numbers as labels of all parts, got some of each" in refusal(numbered)


def test_images_that_two_parts_share_are_told():
    data = data_of_parts("pets", "pets", part(0, 40), part(38, 10), validation=part(47, 10))
    assert data.notes[:2] == (
        "2 of the 10 test images are training images too, so that the figures flatter the model",
        "1 of the 10 test images are validation images too",
    )


def test_a_class_that_no_version_can_be_published_with_gets_a_name_that_is_told():
    train, test = (Part(part(first, 40).images, np.array([" cat", "dog"] * 20)) for first in (0, 40))
    data = data_of_parts("pets", "pets", train, test)
    assert (data.label_names, data.test.labels.tolist()) == (("cat", "dog"), [0, 1] * 20)
    told = "names of classes were changed, because a published version cannot contain them: ' cat' became cat"
    assert data.notes == (told,)


@pytest.mark.parametrize(("most", "factor"), [(15, 17), (16, 15), (31, 8), (63, 4)])
def test_levels_that_were_counted_in_fewer_bits_are_told_with_the_factor(most, factor):
    """They train, as very dark pictures do, and figures of them say little."""

    def dim(given: Part) -> Part:
        return Part((given.images.int() * most // 255).to(torch.uint8), None)

    data = data_of_parts("pets", "pets", dim(part(0, 40)), dim(part(40, 10)))
    (note,) = data.notes
    assert note.startswith(f"levels out of range: no pixel is brighter than {most} of 255")
    assert f"multiply the pixels by {factor}," in note


def test_pictures_of_the_usual_range_are_not_told_of():
    assert data_of_parts("pets", "pets", part(0, 40), part(40, 10)).notes == ()
