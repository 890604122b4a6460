"""The running mean of the weights: how much of the past it keeps."""

import pytest
import torch

from training.fitting.ema import RunningMeanOfWeights, decay_after


@pytest.mark.parametrize(
    ("updates", "kept"),
    [(0.0, 0.1), (1.0, 2 / 11), (8.0, 0.5), (90.0, 0.91), (8981.0, 0.998999), (1e6, 0.999)],
)
def test_the_past_counts_more_the_longer_the_run_up_to_the_stated_decay(updates, kept):
    assert decay_after(updates, decay=0.999) == pytest.approx(kept, abs=1e-6)


def test_the_mean_of_weights_takes_the_rest_from_the_current_ones():
    mean = RunningMeanOfWeights(0.999)._kwargs["avg_fn"]
    averaged = mean(torch.tensor([4.0]), torch.tensor([0.0]), torch.tensor(8))
    assert averaged.item() == pytest.approx(2.0)
