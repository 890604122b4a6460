"""The meeting of the processes that train one run: a store that all reach, and an agreement on who is there.

Knows torch's stores. Knows nothing of process groups, models or run directories. Not torch's own rendezvous,
which waits without checking processes or signals.

torchrun keeps one store for all its attempts, and each of its agents counts the restarts by itself
(pytorch/pytorch#135712). So no number names an attempt: the first process draws a name for it, and answers
each process that came.
"""

from __future__ import annotations

import json
from datetime import timedelta
from time import monotonic, sleep
from uuid import uuid4

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from training.compute.child_processes import Helpers
from training.errors import ConfigError, ProcessLost

#: Time for processes to find one another: on other machines, people start them.
_MEETING_S = 600.0
_POLL_S = 0.1
#: Key of the current attempt: its name and its number of processes.
_ATTEMPT = "attempt"


def listen(address: str, port: int) -> TCPStore:
    """A store in this process, for the others to reach; with port 0 the system chooses one.

    Raises:
        ConfigError: The address is not of this machine, or the port is taken.
    """
    try:
        return TCPStore(address, port, is_master=True, wait_for_workers=False)
    except RuntimeError as error:
        raise ConfigError(
            f"MASTER_ADDR, MASTER_PORT: expected an address of this machine and a free port, could not "
            f"listen at {address}:{port}: {str(error)[:200]}. Choose another port."
        ) from error


def reach(address: str, port: int, helpers: Helpers) -> TCPStore:
    """A connection to the store, which may not exist yet.

    Raises:
        ProcessLost: Nothing listens there in time, or a child process ended.
    """
    until = monotonic() + _MEETING_S
    while True:
        try:
            store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
            # Short, because it limits a single attempt.
            store.set_timeout(timedelta(seconds=_MEETING_S))
            return store
        except RuntimeError as error:
            helpers.raise_if_one_ended()
            if monotonic() > until:
                raise ProcessLost(
                    f"{address}:{port}: expected the first process to listen there within "
                    f"{_MEETING_S / 60:g} minutes, got: {error}. Start it with NODE_RANK=0 on the machine of "
                    "MASTER_ADDR, and open that port."
                ) from error


def meet(store: Store, *, rank: int, count: int, size: str, helpers: Helpers) -> PrefixStore:
    """Wait until all processes of this attempt are there; the part of the store that is theirs alone.

    Args:
        store: May contain the keys of earlier attempts.
        rank: Number of this process, counted from 0.
        count: Number of processes.
        size: The options that decide `count`; the same for all.
        helpers: The child processes; none of them may end meanwhile.

    Raises:
        ConfigError: Another `size` than the first process has.
        ProcessLost: A process did not come in time, or a child process ended.
    """
    attempt = _call(store, count, size, helpers) if rank == 0 else _answer(store, rank, size, helpers)
    return PrefixStore(attempt, store)


def _call(store: Store, count: int, size: str, helpers: Helpers) -> str:
    """As the first process: name the attempt, and confirm each process by the word that it left."""
    attempt = uuid4().hex
    store.set(_ATTEMPT, json.dumps([attempt, size]))
    here = []
    for rank in range(1, count):
        key = f"{attempt}/here/{rank}"
        until = monotonic() + _MEETING_S
        while not store.check([key]):
            _wait(until, f"process {rank} of {count}", helpers)
        here.append(store.get(key).decode())
    store.set(f"{attempt}/all", json.dumps(here))
    return attempt


def _answer(store: Store, rank: int, size: str, helpers: Helpers) -> str:
    """As a further process: leave a word in the attempt, or in the next one, until the first confirms it.

    An earlier attempt may still be named here, and may even be complete: then it lacks this word.
    """
    word, left_in, until = uuid4().hex, "", monotonic() + _MEETING_S
    while True:
        if store.check([_ATTEMPT]):
            attempt, expected = json.loads(store.get(_ATTEMPT))
            if expected != size:
                raise ConfigError(
                    f"--devices, --nodes: expected {expected}, as in the first process, got {size}."
                )
            if attempt != left_in:
                store.set(f"{attempt}/here/{rank}", word)
                left_in = attempt
            if store.check([f"{attempt}/all"]) and word in json.loads(store.get(f"{attempt}/all")):
                return str(attempt)
        _wait(until, "another process" if left_in else "the first process", helpers)


def _wait(until: float, who: str, helpers: Helpers) -> None:
    helpers.raise_if_one_ended()
    if monotonic() > until:
        raise ProcessLost(
            f"{who}: expected it within {_MEETING_S / 60:g} minutes, it did not come. Start the same "
            "command, with the same --devices and --nodes, on every machine."
        )
    sleep(_POLL_S)
