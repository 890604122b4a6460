"""Threads within what may be started: faked limits, and a real one that a server meets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faked_files import written
from namespaces import with_few_processes
from process_facts import threads as threads_of
from server_process import serving

from model_store import default_store_root
from service.engine import ThreadBudget, WorkerPool
from service.process.thread_room import (
    GRPC_THREADS,
    OTHER_THREADS,
    ThreadRoom,
    family_of,
    fit_threads,
    thread_room,
)
from service.thread_pool import WorkPool, startable_now, started_executor

CORES = ThreadBudget(128, "128 by CPU affinity; no cgroup quota")
STATUS = "Name:\tx\nUid:\t10001\t10001\t10001\t10001\nCapEff:\t{capabilities}\nThreads:\t{threads}\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/pids.max": "max\n"}, None),
        # What others in the group have is not ours; what we have is.
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/pids.max": "128\n",
                "sys/fs/cgroup/pids.current": "30\n",
                "proc/7/status": STATUS.format(capabilities="0", threads=5),
            },
            128 - 25,
        ),
        # The tightest group, of version 2 and below the mount.
        (
            {
                "proc/self/cgroup": "0::/pod/server\n",
                "sys/fs/cgroup/pod/server/pids.max": "max\n",
                "sys/fs/cgroup/pod/pids.max": "64\n",
                "sys/fs/cgroup/pod/pids.current": "4\n",
            },
            60,
        ),
        # Version 1, of which only the container's own group is mounted.
        (
            {
                "proc/self/cgroup": "8:pids:/docker/abc\n0::/\n",
                "sys/fs/cgroup/pids/pids.max": "100\n",
                "sys/fs/cgroup/pids/pids.current": "1\n",
            },
            99,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/pids.max": "rubbish\n"}, None),
    ],
)
def test_room_is_the_tightest_limit_less_what_others_have(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    room = thread_room([7], root=written(tmp_path, files))
    assert (room and room.threads) == expected
    assert room is None or "pids.max" in room.why


@pytest.mark.parametrize(
    ("capabilities", "expected"), [("0000000000000000", 40 - 6), ("0000000001000000", None)]
)
def test_limit_of_the_user_counts_all_that_is_his_and_binds_no_privileged_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: str, expected: int | None
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (40, 40))
    own = STATUS.format(capabilities=capabilities, threads=2)
    files = {
        "proc/self/status": own,
        "proc/7/status": own,
        "proc/8/status": STATUS.format(capabilities="0", threads=6),
        "proc/9/status": STATUS.format(capabilities="0", threads=60).replace("10001", "10002"),
    }
    room = thread_room([7], root=written(tmp_path, files))
    assert (room and room.threads) == expected


@pytest.mark.parametrize(
    ("room", "processes", "most"), [(128, 1, 54), (128, 2, 24), (128, 16, 1), (20, 1, 1), (4096, 1, 128)]
)
def test_two_pools_in_each_process_fit_into_the_room(room: int, processes: int, most: int) -> None:
    budget = fit_threads(CORES, room=ThreadRoom(room, "1 of 128 by /pids.max"), processes=processes)
    assert 1 <= budget.threads <= most
    if most > 1:
        assert processes * 2 * budget.threads < room
    assert ("/pids.max" in budget.why) == (budget.threads < 128)
    assert fit_threads(CORES, room=None, processes=processes) == CORES


def test_threads_of_grpc_leave_less_room_for_the_pools() -> None:
    room = ThreadRoom(128, "1 of 128 by /pids.max")
    without = fit_threads(CORES, room=room, processes=1).threads
    with_grpc = fit_threads(CORES, room=room, processes=1, others=OTHER_THREADS + GRPC_THREADS).threads
    assert with_grpc == without - GRPC_THREADS // 2


@pytest.fixture
def ten_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """A system that starts ten threads, and after these no more before one has ended."""
    started: list[threading.Thread] = []
    really = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if sum(each.is_alive() for each in started) >= 10:
            raise RuntimeError("can't start new thread")
        really(thread)
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return started


def test_what_the_system_starts_is_tried_and_ended_again(ten_threads: list[threading.Thread]) -> None:
    assert startable_now(4) == 4
    assert startable_now(200) == 10
    assert not any(thread.is_alive() for thread in ten_threads)


def test_pools_are_as_large_as_the_system_lets_them_be(ten_threads: list[threading.Thread]) -> None:
    """A pool that grows when it is used fails in the request that needs its next thread."""
    executor, threads = started_executor(200, name="try")
    executor.shutdown()
    assert threads == 10
    worker_pool = WorkerPool(128)
    assert (worker_pool.start(3), worker_pool.count) == (3, 3)
    pool = WorkPool(128)
    assert (pool.start(128), pool.threads) == (7, 7)
    more = WorkerPool(4)
    assert (more.start(4), more.count) == (0, 4)
    worker_pool.close()
    pool.close()


def test_family_is_the_supervisor_and_its_workers() -> None:
    assert len(family_of(None)) == 1


@pytest.mark.hazard_row("few-processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_128_threads_within_a_limit_of_60_answer_everybody(tmp_path: Path, workers: int) -> None:
    """The server started, and every request that needed a further thread was answered 500."""
    store = default_store_root()  # readable for every user, as a test's own files are not
    flags = ("--threads", "128", "--workers", str(workers))
    with serving(store, tmp_path / "log", *flags, prefix=with_few_processes(60)) as running:

        def threads() -> int:
            return sum(map(threads_of, (running.process.pid, *running.workers)))

        with ThreadPoolExecutor(16) as callers:
            answers = list(callers.map(lambda _: running.get("/sample.png?n=64")[0], range(200)))
        assert set(answers) == {200}
        assert threads() < 55
        for line in running.lines("serving"):
            assert 1 <= int(str(line["threads"])) < 25
            assert "60 by RLIMIT_NPROC" in str(line["why"])
            assert "set by --threads" in str(line["why"])
        assert "start new thread" not in running.log
        assert running.stop() == 0
