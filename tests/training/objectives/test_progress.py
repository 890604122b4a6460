"""A long computation goes over every row once and says how far it has come."""

from __future__ import annotations

import torch

from training.objectives.progress import in_batches


def test_every_row_comes_once_and_each_batch_is_reported_after_it_was_dealt_with():
    told, seen = [], []
    for batch in in_batches(torch.arange(7), 3, "rows", lambda *said: told.append(said)):
        assert len(told) == len(seen)
        seen.append(batch.tolist())
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]
    assert told == [("rows", 3, 7), ("rows", 6, 7), ("rows", 7, 7)]


def test_part_of_a_computation_counts_on_from_the_parts_before_it():
    told = []
    list(in_batches(torch.zeros(4, 2), 2, "z", lambda *said: told.append(said), earlier=4, total=8))
    assert told == [("z", 6, 8), ("z", 8, 8)]


def test_nobody_need_be_told():
    assert len(list(in_batches(torch.arange(4), 3, "rows", None))) == 2
