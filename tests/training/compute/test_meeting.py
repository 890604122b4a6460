"""Processes find one another in every attempt of torchrun, whatever earlier attempts left in its store."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from patience import eventually
from torch.distributed import HashStore, Store  # type: ignore[attr-defined]

from training.compute.child_processes import Helpers
from training.compute.meeting import meet
from training.errors import ConfigError

SIZE = "--devices 3 --nodes 1"


def arrive(store: Store, rank: int, size: str = SIZE) -> Store:
    return meet(store, rank=rank, count=3, size=size, helpers=Helpers())


@pytest.fixture
def pool():
    with ThreadPoolExecutor(max_workers=3) as threads:
        yield threads


def test_three_processes_share_a_part_of_the_store(pool):
    store = HashStore()
    shared = list(pool.map(lambda rank: arrive(store, rank), range(3)))
    shared[2].set("word", "hello")
    assert shared[0].get("word") == b"hello"
    assert not store.check(["word"])


def test_a_restarted_process_waits_for_the_others_of_its_own_attempt(pool):
    """The second and third come first, and find an attempt that is complete, and was not theirs."""
    store = HashStore()
    earlier = list(pool.map(lambda rank: arrive(store, rank), range(3)))
    earlier[0].set("address", "of a process that is gone")
    answered = threading.Event()
    first = store.get("attempt")
    attempt = first.decode().split('"')[1]

    def words() -> list[bytes]:
        return [store.get(f"{attempt}/here/{rank}") for rank in (1, 2)]

    of_the_gone = words()

    def follow(rank: int) -> Store:
        found = arrive(store, rank)
        assert answered.is_set(), "it took the attempt that it found for its own"
        return found

    came = [pool.submit(follow, rank) for rank in (1, 2)]
    # They have found the earlier attempt, and left other words than the processes before them.
    eventually(
        lambda: not set(words()) & set(of_the_gone) or any(each.done() for each in came),
        lambda: f"the words are {words()}, and were {of_the_gone}",
    )
    answered.set()
    leader = arrive(store, 0)
    later = [each.result() for each in came]
    assert store.get("attempt") != first
    assert not leader.check(["address"])
    later[0].set("address", "of this one")
    assert later[1].get("address") == leader.get("address") == b"of this one"


def test_another_number_of_processes_is_refused(pool):
    store = HashStore()
    leads = pool.submit(arrive, store, 0)
    with pytest.raises(ConfigError, match=r"expected --devices 3 --nodes 1, as in the first process, got"):
        arrive(store, 1, "--devices 2 --nodes 1")
    pool.submit(arrive, store, 1)
    arrive(store, 2)
    leads.result()
