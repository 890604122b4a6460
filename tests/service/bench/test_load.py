"""Closed and open loops: what is counted, and from when."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import uvloop
from patience import PATIENCE_S
from scripted_server import Say, ok, scripted_server

from service.bench.client import NO_ANSWER
from service.bench.load import CutRequest, LeavingRequest, Load, LoadResult, run_load
from service.bench.requests import Target
from service.bench.timer import Timer

#: Tries that a server which closes two connections of three never uses up.
PATIENT = 100
REQUEST = b"GET /sample HTTP/1.1\r\nHost: x\r\n\r\n"


def loaded(
    answer: Callable[[bytes], Say],
    *,
    requests: Sequence[bytes] | Callable[[], bytes] = (REQUEST,),
    duration_s: float | None = 0.3,
    connected: Callable[[], object] = lambda: None,
    **how: Any,
) -> LoadResult:
    async def test() -> LoadResult:
        async with scripted_server(answer, connected=connected) as url:
            return await run_load(url, requests, duration_s=duration_s, **how)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(test())


def test_closed_loop_counts_every_request_that_the_server_saw() -> None:
    seen = itertools.count()

    def answer(_: bytes) -> Say:
        next(seen)
        return ok()

    result = loaded(answer, concurrency=4)
    assert len(result.latency_s) == next(seen) > 20
    assert result.statuses == {200: len(result.latency_s)}
    assert result.failed == 0
    assert 0 < result.ok_per_s * result.took_s <= len(result.latency_s)
    assert (result.latency_s > 0).all()


@pytest.mark.parametrize("how", [{"concurrency": 3}, {"rate_per_s": 1000, "max_connections": 3}])
def test_connections_are_kept_for_the_whole_load(how: dict[str, Any]) -> None:
    opened: list[None] = []
    result = loaded(lambda _: ok(), connected=lambda: opened.append(None), **how)
    assert len(result.status) > 50
    assert 1 <= len(opened) <= 3


def test_answers_that_are_not_2xx_are_counted_by_status() -> None:
    turn = itertools.cycle([ok(), ok(status="429 Too Many Requests"), ok(status="500 Oops")])
    result = loaded(lambda _: next(turn), concurrency=2)
    statuses = result.statuses
    assert set(statuses) == {200, 429, 500}
    assert result.failed == statuses[429] + statuses[500]
    assert len(result.ok_latency_s) == statuses[200]


def test_connection_that_the_server_closes_after_an_answer_is_opened_anew() -> None:
    bye = Say(ok(headers="Connection: close\r\n").data, close=True)
    result = loaded(lambda _: bye, concurrency=3)
    assert set(result.statuses) == {200}
    assert len(result.status) > 20


def test_connection_lost_before_an_answer_is_counted_with_its_reason() -> None:
    turn = itertools.cycle([ok(), Say(close=True)])
    result = loaded(lambda _: next(turn), concurrency=1)
    assert result.statuses[200] >= 1
    assert result.statuses[NO_ANSWER] == result.reasons["closed before the response was whole"] >= 1


def test_answer_that_does_not_come_in_time_is_counted_and_the_rest_goes_on() -> None:
    first = itertools.chain([Say(after_s=PATIENCE_S)], itertools.repeat(ok()))
    result = loaded(lambda _: next(first), concurrency=2, duration_s=2.5, timeout_s=2.0)
    assert result.reasons == {"no response within 2 s": 1}
    assert result.statuses[200] > 20


@pytest.mark.parametrize("how", [{"concurrency": 3}, {"rate_per_s": 2000}])
def test_load_ends_when_its_requests_do(how: dict[str, Any]) -> None:
    requests = [REQUEST.replace(b"sample", b"%d" % number) for number in range(40)]
    seen: list[bytes] = []

    def answer(request: bytes) -> Say:
        seen.append(request)
        return ok()

    result = loaded(answer, requests=iter(requests).__next__, duration_s=None, **how)
    assert sorted(seen) == sorted(requests)
    assert sorted(map(requests.index, result.sent)) == list(range(40))
    assert set(result.statuses) == {200}


@pytest.mark.parametrize("how", [{"concurrency": 2}, {"rate_per_s": 300}])
def test_request_whose_connection_ends_is_tried_on_another_one(how: dict[str, Any]) -> None:
    turn = itertools.cycle([ok(), Say(close=True), Say(close=True)])
    requests = iter([REQUEST] * 20).__next__
    result = loaded(lambda _: next(turn), requests=requests, duration_s=None, tries=PATIENT, **how)
    assert result.statuses == {200: 20}
    assert result.reasons == {}


def test_request_that_is_lost_each_time_is_counted_once() -> None:
    seen = itertools.count()

    def answer(_: bytes) -> Say:
        next(seen)
        return Say(close=True)

    result = loaded(answer, requests=iter([REQUEST]).__next__, duration_s=None, concurrency=1, tries=3)
    assert result.statuses == {NO_ANSWER: 1}
    assert next(seen) == 3


def test_client_that_leaves_reads_no_answer_and_is_not_tried_again() -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> Say:
        seen.append(request)
        return Say(ok().data, after_s=0.05)

    leaving = [LeavingRequest(REQUEST), REQUEST] * 5
    result = loaded(answer, requests=iter(leaving).__next__, duration_s=None, concurrency=1, tries=3)
    assert [status == NO_ANSWER for status in result.status] == [
        type(one) is LeavingRequest for one in result.sent
    ]
    assert len(result.status) == len(seen) == 10


def test_connection_is_closed_after_a_request_that_was_cut() -> None:
    """The server may answer before the body is whole; what came next would be taken for the body."""
    opened: list[None] = []
    cut = [CutRequest(REQUEST), REQUEST, CutRequest(REQUEST), REQUEST]
    result = loaded(
        lambda _: ok(),
        requests=iter(cut).__next__,
        duration_s=None,
        concurrency=1,
        connected=lambda: opened.append(None),
    )
    assert result.statuses == {200: 4}
    assert len(opened) == 3


def test_answer_to_head_is_whole_without_a_body() -> None:
    head = b"HEAD /sample HTTP/1.1\r\nHost: x\r\n\r\n"
    opened: list[None] = []

    def answer(request: bytes) -> Say:
        return Say(ok(b"12345").data.removesuffix(b"12345")) if request.startswith(b"HEAD") else ok(b"12345")

    result = loaded(answer, requests=(head, REQUEST), concurrency=1, connected=lambda: opened.append(None))
    assert set(result.statuses) == {200}
    assert len(result.status) > 10
    assert len(opened) == 1


def test_server_that_is_not_there_is_an_error_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(OSError, match=r"refused|Connect"):
        asyncio.run(run_load(url, [REQUEST], concurrency=1, duration_s=0.1))


def test_open_loop_sends_at_its_rate_and_not_at_the_servers_speed() -> None:
    result = loaded(lambda _: ok(), rate_per_s=200, arrivals="constant", duration_s=0.5)
    assert 0.8 * 200 * result.took_s <= len(result.status) <= 200 * result.took_s + 1
    assert np.diff(np.sort(result.due_s)) == pytest.approx(0.005)


def test_poisson_arrivals_are_the_same_for_the_same_seed() -> None:
    first, second = (loaded(lambda _: ok(), rate_per_s=300, duration_s=0.2, seed=5) for _ in range(2))
    count = min(len(first.due_s), len(second.due_s))
    assert count > 30
    gaps = np.diff(np.sort(first.due_s))[: count - 1]
    assert gaps == pytest.approx(np.diff(np.sort(second.due_s))[: count - 1])
    assert gaps.std() > 0.3 * gaps.mean()


def test_open_loop_counts_the_wait_that_a_stalled_server_causes() -> None:
    """The closed loop sends nothing while it waits, and so has one slow request where users saw fifty."""

    def stalling() -> Callable[[bytes], Say]:
        turn = itertools.chain([Say(ok().data, after_s=0.5)], itertools.repeat(ok()))
        return lambda _: next(turn)

    honest = loaded(stalling(), rate_per_s=100, arrivals="constant", duration_s=0.8, max_connections=1)
    hiding = loaded(stalling(), concurrency=1, duration_s=0.8)
    # Of the 50 that were due during the stall, 40 waited for more than 0.1 s of it; beside them, a busy
    # machine makes some wait, of thousands.
    assert (honest.latency_s > 0.1).sum() >= 35
    assert (hiding.latency_s > 0.1).sum() <= 5
    assert hiding.latency_s.max() > 0.4


def test_open_loop_opens_connections_only_up_to_its_bound() -> None:
    result = loaded(lambda _: Say(ok().data, after_s=0.05), rate_per_s=400, duration_s=0.3, max_connections=4)
    assert set(result.statuses) == {200}
    assert result.ok_per_s < 4 / 0.05 * 1.3
    assert result.latency_s.max() > 0.2


def test_windows_of_a_load_that_goes_on_share_no_request() -> None:
    async def test() -> tuple[list[LoadResult], int]:
        seen = itertools.count()

        def answer(_: bytes) -> Say:
            next(seen)
            return ok()

        async with scripted_server(answer) as url:
            load = Load(Target.of(url), lambda: REQUEST, concurrency=2)
            await load.start()
            taken = []
            for _ in range(3):
                await asyncio.sleep(0.1)
                taken.append(load.take())
            await load.stop(drain_s=PATIENCE_S)
            return [*taken, load.take()], next(seen)

    windows, seen = asyncio.run(test())
    assert sum(len(window.status) for window in windows) == seen
    for one, following in itertools.pairwise(windows):
        assert following.begun_s == pytest.approx(one.begun_s + one.took_s)
    for one in windows[:3]:
        ended_s = one.due_s + one.latency_s
        assert (ended_s >= one.begun_s).all()
        assert (ended_s <= one.begun_s + one.took_s + 1e-6).all()
        assert one.waiting <= 2


@pytest.mark.parametrize(
    "how", [{}, {"concurrency": 1, "rate_per_s": 1}, {"concurrency": 0}, {"rate_per_s": -1}]
)
def test_load_that_is_neither_closed_nor_open_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"concurrency|rate_per_s"):
        Load(Target("127.0.0.1", 1), lambda: REQUEST, **how)


@pytest.mark.parametrize("precise", [True, False])
def test_timer_wakes_when_asked_and_not_before(precise: bool) -> None:
    async def test() -> float:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[float] = loop.create_future()

        timer = Timer(lambda: woken.set_result(time.perf_counter()), precise=precise)
        due_s = time.perf_counter() + 0.02
        timer.wake_at(due_s)
        late_s = await asyncio.wait_for(woken, PATIENCE_S) - due_s
        timer.close()
        return late_s

    assert asyncio.run(test()) > -0.0015
