"""Times of a run are told apart: one epoch, all so far, the rest."""

from __future__ import annotations

import pytest
from clocks import Clock

from training.config.reading import parse_config
from training.fitting.console import Console, RunProgress
from training.fitting.pace import Pace, in_words


def test_the_rest_is_estimated_by_the_mean_pace_so_far() -> None:
    clock = Clock()
    pace = Pace(40, clock=clock)
    assert pace.left_s(0) is None
    clock.now_s += 10.0
    assert (pace.lap_s(), pace.so_far_s, pace.left_s(10)) == (10.0, 10.0, 30.0)
    clock.now_s += 30.0
    assert (pace.lap_s(), pace.so_far_s, pace.left_s(20)) == (30.0, 40.0, 40.0)
    assert pace.left_s(40) == 0.0


def test_a_resumed_run_counts_its_own_steps_alone() -> None:
    clock = Clock()
    pace = Pace(40, clock=clock)
    clock.now_s += 1000.0
    pace.begin(20)
    assert pace.left_s(20) is None
    clock.now_s += 10.0
    assert pace.left_s(30) == 10.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (45.4, "45 s"),
        (89.0, "89 s"),
        (91.0, "2 min"),
        (720.0, "12 min"),
        (7500.0, "2 h 05 min"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def lines_of_epochs(clock: Clock, monkeypatch, **trainer: int) -> list[str]:
    """What a run of three epochs of 10 and then 20 s says."""
    monkeypatch.setattr("training.fitting.console.Pace", lambda steps: Pace(steps, clock=clock))
    config = parse_config({"name": "x", "trainer": {"epochs": 3, **trainer}}, where="test")
    said: list[str] = []
    progress = RunProgress(config, Console(say=said.append, width=60), steps_per_epoch=10)
    for epoch, took_s in ((1, 10.0), (2, 20.0), (3, 20.0)):
        clock.now_s += took_s
        costs = {f"{part}_{name}": 1.0 for part in ("train", "validation")
                 for name in ("negative_elbo", "reconstruction_nll", "kl")}  # fmt: skip
        progress.announce({"epoch": epoch, "step": 10 * epoch, "beta": 1.0, "learning_rate": 0.1, **costs})
    return said


def test_the_line_of_an_epoch_names_its_own_time_the_sum_and_the_rest(monkeypatch) -> None:
    first, second, last = lines_of_epochs(Clock(), monkeypatch)
    assert " ".join(first.split()).endswith("10 s this epoch, 10 s so far, 20 s left")
    assert " ".join(second.split()).endswith("20 s this epoch, 30 s so far, 15 s left")
    assert " ".join(last.split()).endswith("20 s this epoch, 50 s so far"), "nothing is left"
    assert max(len(line) for line in first.splitlines()) <= 60
    assert first.splitlines()[1].startswith("    ")


def test_with_early_stopping_the_rest_is_an_upper_bound(monkeypatch) -> None:
    first, *_ = lines_of_epochs(Clock(), monkeypatch, early_stopping_epochs=2)
    assert " ".join(first.split()).endswith("10 s so far, at most 20 s left")
