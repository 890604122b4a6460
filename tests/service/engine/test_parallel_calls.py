"""Calls at the same time: how many, in whose context, and what an error or a refused thread does."""

from __future__ import annotations

import contextvars
import threading

import pytest
from patience import PATIENCE_S

from service.engine.parallel_calls import run_together


def test_results_belong_to_their_items():
    assert run_together(lambda item: item * item, range(50), 4) == {item: item * item for item in range(50)}
    assert run_together(str, [], 4) == {}


def test_as_many_as_allowed_run_at_the_same_time():
    all_are_here = threading.Barrier(3)
    run_together(lambda _: all_are_here.wait(PATIENCE_S), range(3), 3)
    threads = run_together(lambda _: threading.current_thread(), range(3), 1)
    assert set(threads.values()) == {threading.current_thread()}


def test_every_call_has_the_context_of_the_caller():
    request = contextvars.ContextVar("request")
    request.set("mine")
    both_are_here = threading.Barrier(2)

    def call(_):
        both_are_here.wait(PATIENCE_S)
        return request.get()

    assert run_together(call, range(2), 2) == {0: "mine", 1: "mine"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_any_thread_is_raised_and_the_rest_is_left_out(error):
    both_are_here = threading.Barrier(2)
    seen = []

    def call(item):
        seen.append(item)
        if item < 2:
            both_are_here.wait(PATIENCE_S)
            raise error

    with pytest.raises(error):
        run_together(call, range(50), 2)
    assert sorted(seen) == [0, 1]


def test_where_no_thread_can_be_started_one_call_follows_the_other(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert run_together(str, range(3), 3) == {0: "0", 1: "1", 2: "2"}
