"""A reader is warned of images that a model was not made for."""

import pytest
import torch

from training.config.model_section import GaussianConfig
from training.data import ImageData, ImageSet
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.report.warnings import data_alarms


def bench_with(bench_of, test_images, **changes):
    train = bench_of().data.train
    test = ImageSet(name="odd test", images=test_images)
    return bench_of(data=ImageData(name="odd", train=train, test=test), **changes)


def levels(*values):
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, 1, -1).expand(20, 1, 28, -1).repeat(1, 1, 1, 7)


def test_the_images_of_training_raise_none(bench_of):
    assert list(data_alarms(bench_of())) == []


def test_other_training_images_than_the_model_saw_are_told(bench_of, make_model, subject_of, digits):
    subject = subject_of(make_model(), trained_on="0" * 64)
    (alarm,) = data_alarms(EvaluationContext(subject=subject, data=digits, seed=0, judge=None))
    assert alarm.startswith("other data: runs/x was not trained on the training images of this folder")


def test_images_that_were_scaled_down_are_told(bench_of):
    (alarm,) = data_alarms(bench_with(bench_of, levels(0, 1, 0, 50)))
    assert alarm.startswith("data out of range: the brightest pixel of odd test is 50 of 255")


def test_images_without_anything_on_them_are_told(bench_of):
    alarms = list(data_alarms(bench_with(bench_of, levels(255, 255, 255, 255))))
    assert alarms == ["data out of range: every pixel of odd test is 255: there is nothing to measure on."]


@pytest.mark.parametrize(("likelihood", "rings"), [(None, True), (GaussianConfig(sigma=0.2), False)])
def test_grey_pictures_and_a_bernoulli_do_not_fit(bench_of, likelihood, rings):
    changes = {} if likelihood is None else {"likelihood": likelihood}
    alarms = list(data_alarms(bench_with(bench_of, levels(90, 255, 100, 150), **changes)))
    assert [alarm.split(":")[0] for alarm in alarms] == ["a likelihood that does not fit the data"] * rings
    assert not rings or "73 % of the variance of the binarised pixels of odd test is random" in alarms[0]
