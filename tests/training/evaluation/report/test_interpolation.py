"""Ways between images: even ones, sudden ones, and which images are paired."""

import numpy as np
import pytest
import torch

from training.data import ImageData, ImageSet
from training.evaluation.report.interpolation import _pairs, find_interpolation


def figures(findings):
    return {figure.name: figure for figure in findings.figures}


def test_decoder_that_is_linear_in_z_changes_evenly_on_the_straight_line(bench_of, monkeypatch):
    bench = bench_of(latent_size=2)
    monkeypatch.setattr(bench.model, "decode", lambda z: z[:, :1].view(-1, 1, 1, 1).expand(-1, 1, 28, 28))
    found = figures(find_interpolation(bench))
    assert found["largest_step_lerp"].value == pytest.approx(1.0, abs=1e-3)
    assert found["largest_step_slerp"].value > 1.01


def test_decoder_that_knows_two_images_only_changes_at_once(bench_of, monkeypatch):
    """20 steps, and everything happens in one of them, or nothing in any."""
    bench = bench_of(latent_size=2)
    middle = float(np.median(bench.mu[:, 0]))
    monkeypatch.setattr(
        bench.model, "decode", lambda z: (z[:, :1] > middle).float().view(-1, 1, 1, 1).expand(-1, 1, 28, 28)
    )
    start, end = _pairs(bench)
    crossing = ((start[:, 0] > middle) != (end[:, 0] > middle)).mean()
    found = figures(find_interpolation(bench))["largest_step_lerp"].value
    assert found == pytest.approx(20.0 * crossing + 1.0 * (1.0 - crossing))


def test_pairs_are_of_different_labels_and_no_image_is_paired_twice(bench_of, digits):
    bench = bench_of()
    start, end = _pairs(bench)
    place = {code.tobytes(): i for i, code in enumerate(bench.mu)}
    firsts, seconds = ([place[code.tobytes()] for code in codes] for codes in (start, end))
    labels = digits.test.labels
    assert all(labels[a] != labels[b] for a, b in zip(firsts, seconds, strict=True))
    assert len({*firsts, *seconds}) == 2 * len(firsts)
    assert len(firsts) > 30


def test_images_of_one_label_are_paired_all_the_same(bench_of, digits):
    same = ImageSet("same test", digits.test.images[:10], torch.zeros(10, dtype=torch.int64))
    start, end = _pairs(bench_of(data=ImageData("same", digits.train, same)))
    assert len(start) == len(end) == 5


def test_judge_is_asked_about_what_lies_strictly_between(bench_of, judge):
    found = figures(find_interpolation(bench_of(judge=judge)))
    assert list(found) == [
        "largest_step_lerp",
        "readable_between_lerp",
        "largest_step_slerp",
        "readable_between_slerp",
    ]
    assert 0.0 <= found["readable_between_lerp"].value <= 1.0
