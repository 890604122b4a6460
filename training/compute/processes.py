"""The processes that train one run together: their number, their meeting and their end.

Knows environment variables and torch's process group. Knows nothing of models, images or run directories. The
first process (rank 0) leads; the first of each machine starts the others there. A single process needs none
of this.

torchrun may start them instead. It is not what `--devices` uses: its workers outlive an agent that is killed,
a stop kills those that take more than 30 seconds to save, and each end but success becomes exit code 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import Literal, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from training.compute.child_processes import Helpers
from training.errors import ConfigError, ProcessLost
from training.randomness.noise import Share

T = TypeVar("T")

_LOOPBACK = "127.0.0.1"
#: Variables in which launchers put the number of a machine; the first one that is set counts.
_NODE_RANKS = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")
#: Time for processes to find one another: on other machines, people start them.
_MEETING_S = 600.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Processes:
    """How many processes train together, their hardware, and the place of this one."""

    devices: int = 1
    """Processes on each machine."""
    nodes: int = 1
    """Number of machines."""
    accelerator: Literal["cpu", "gpu"] = "cpu"
    node_rank: int = 0
    """Number of this machine, counted from 0."""
    local_rank: int = 0
    """Number of this process on its machine, counted from 0."""
    launched: bool = False
    """The launcher of this process also starts the others of this machine."""

    @property
    def count(self) -> int:
        """Number of processes on all machines."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Number of this process among all, counted from 0."""
        return self.node_rank * self.devices + self.local_rank

    @property
    def share(self) -> Share:
        """The share of this process in every batch."""
        return Share(self.rank, self.count)

    @property
    def leads(self) -> bool:
        """Whether this process has the run directory, the console and the evaluation."""
        return self.rank == 0


def find_processes(
    *,
    devices: int,
    nodes: int,
    accelerator: Literal["auto", "cpu", "gpu"],
    environment: Mapping[str, str] = os.environ,
) -> Processes:
    """The requested processes, and this process's place among them.

    LOCAL_RANK and NODE_RANK contain the place, as torchrun and Lightning set them, or GROUP_RANK or
    SLURM_NODEID instead of the latter. Without LOCAL_RANK, this process is the first of its machine.

    Raises:
        ConfigError: The number of devices is unavailable, or a variable is missing or no number.
    """
    for name, value in (("--devices", devices), ("--nodes", nodes)):
        if value < 1:
            raise ConfigError(f"{name}: expected a number from 1, got {value}.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "auto":
        accelerator = "gpu" if gpus else "cpu"
    if accelerator == "gpu" and devices > gpus:
        raise ConfigError(
            f"--devices, --accelerator: expected as many GPUs as devices, {devices}; torch finds {gpus}. "
            "Use a lower --devices, or --accelerator cpu."
        )
    if devices * nodes == 1:
        return Processes(accelerator=accelerator)
    launched = "LOCAL_RANK" in environment
    if nodes > 1 or launched:
        needed = ["MASTER_ADDR", "MASTER_PORT"]
        missing = [name for name in needed if not environment.get(name)]
        if nodes > 1 and not any(environment.get(name) for name in _NODE_RANKS):
            missing.append("NODE_RANK")
        if missing:
            raise ConfigError(
                f"--nodes {nodes}: expected {', '.join(missing)} in the environment, found nothing. Start "
                "the same command on every machine with MASTER_ADDR and MASTER_PORT, an address of the first "
                f"machine and a free port on it, and NODE_RANK, 0 on the first up to {nodes - 1} on the last."
            )
        _number(environment, "MASTER_PORT", below=65_536)
    node_rank = next((name for name in _NODE_RANKS if environment.get(name)), "NODE_RANK")
    return Processes(
        devices=devices,
        nodes=nodes,
        accelerator=accelerator,
        node_rank=_number(environment, node_rank, below=nodes) if nodes > 1 else 0,
        local_rank=_number(environment, "LOCAL_RANK", below=devices),
        launched=launched,
    )


def _number(environment: Mapping[str, str], name: str, *, below: int) -> int:
    text = environment.get(name, "0")
    if not text.isdecimal() or int(text) >= below:
        raise ConfigError(
            f"{name}: expected a number from 0 to {below - 1}, got {text[:40]!r}. Set it in agreement with "
            "--devices and --nodes, or unset it."
        )
    return int(text)


#: One process, on the CPU.
ALONE = Processes()


@contextmanager
def joined(processes: Processes, command: Sequence[str]) -> Iterator[None]:
    """Connect the processes of a run; all of them run the body of the context.

    The first process of a machine starts the others there. They have ended when the context is left.

    Args:
        processes: Their number, and this one's place.
        command: Starts a further process; its place is added to the environment.

    Raises:
        ProcessLost: A process ended early, or did not come.
        ConfigError: Another number of processes than the first one expects.
    """
    if processes.count == 1:
        yield
        return
    helpers = Helpers()
    try:
        store = _meet(processes, helpers, command)
        if processes.accelerator == "gpu":
            torch.cuda.set_device(processes.local_rank)
        distributed.init_process_group(
            "nccl" if processes.accelerator == "gpu" else "gloo",
            store=store,
            rank=processes.rank,
            world_size=processes.count,
        )
        try:
            yield
            distributed.barrier()
        finally:
            distributed.destroy_process_group()
        helpers.wait()
    except RuntimeError as error:
        if not _is_of_a_connection(error):
            raise
        why = helpers.why_one_ended() or "the connection to another process was lost"
        raise ProcessLost(
            f"{why}. The last checkpoint is kept. Continue with the same command and --resume."
        ) from error
    finally:
        helpers.end()


def _is_of_a_connection(error: RuntimeError) -> bool:
    """Whether torch reports that another process is unreachable; it has no class for that."""
    text = str(error)
    return isinstance(error, distributed.DistError) or any(w in text for w in ("gloo", "NCCL", "Connection"))


def _meet(processes: Processes, helpers: Helpers, command: Sequence[str]) -> Store:
    """Wait until all processes are there.

    Not with torch's own rendezvous, which waits without checking processes or signals.
    """
    several_machines = processes.nodes > 1 or processes.launched
    address = os.environ["MASTER_ADDR"] if several_machines else _LOOPBACK
    # A free port, if no other machine needs to know it beforehand.
    port = int(os.environ["MASTER_PORT"]) if several_machines else 0
    # torchrun listens there itself.
    listens = processes.leads and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if listens:
        store = _listen(address, port)
        port = store.port
    if not processes.launched and processes.local_rank == 0:
        place = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "NODE_RANK": str(processes.node_rank)}
        for local_rank in range(1, processes.devices):
            helpers.start(command, {**place, "LOCAL_RANK": str(local_rank)})
    if not listens:
        store = _reach(address, port, helpers)

    size = f"--devices {processes.devices} --nodes {processes.nodes}"
    if processes.leads:
        store.set("size", size)
    _await("size", store, "the first process", helpers)
    expected = store.get("size").decode()
    if expected != size:
        raise ConfigError(f"--devices, --nodes: expected {expected}, as in the first process, got {size}.")
    store.set(f"here/{processes.rank}", "")
    for rank in range(processes.count):
        _await(f"here/{rank}", store, f"process {rank} of {processes.count}", helpers)
    return PrefixStore("group", store)


def _listen(address: str, port: int) -> TCPStore:
    try:
        return TCPStore(address, port, is_master=True, wait_for_workers=False)
    except RuntimeError as error:
        raise ConfigError(
            f"MASTER_ADDR, MASTER_PORT: expected an address of this machine and a free port, could not "
            f"listen at {address}:{port}: {str(error)[:200]}. Choose another port."
        ) from error


def _reach(address: str, port: int, helpers: Helpers) -> TCPStore:
    """A connection to the first process, which may not have been started yet."""
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


def _await(key: str, store: Store, who: str, helpers: Helpers) -> None:
    until = monotonic() + _MEETING_S
    while not store.check([key]):
        helpers.raise_if_one_ended()
        if monotonic() > until:
            raise ProcessLost(
                f"{who}: expected it within {_MEETING_S / 60:g} minutes, it did not come. Start the same "
                "command, with the same --devices and --nodes, on every machine."
            )
        sleep(_POLL_S)


def summed_over_processes(figures: Tensor) -> Tensor:
    """The sum over all processes, in place; the same tensor for a single process."""
    if distributed.is_initialized():
        distributed.all_reduce(figures)
    return figures


def from_first_process(make: Callable[[], T]) -> T:
    """The result of `make` in the first process, for all of them; the others do not call it."""
    if not distributed.is_initialized():
        return make()
    given: list[T | None] = [make() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(given)
    return given[0]  # type: ignore[return-value]  # the first process has filled it
