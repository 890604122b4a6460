"""The processes that train one run together: their number, their meeting and their end.

Knows environment variables and torch's process group. Knows nothing of models, images or run directories. The
first process (rank 0) leads; the first of each machine starts the others there. A single process needs none
of this.

torchrun may start them instead, and start them again after a failure; then it decides their number. It is not
what `--devices` uses: its workers outlive an agent that is killed, a stop kills those that take more than 30
seconds to save, and each end but success becomes exit code 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from training.compute.child_processes import Helpers
from training.compute.meeting import listen, meet, reach
from training.errors import ConfigError, ProcessLost
from training.randomness.noise import Share

T = TypeVar("T")

#: Longest wait of one CPU process for another in one exchange. gloo sees most lost connections at once, the
#: others, and a process that hangs, only then. The first process does everything that is done alone, such as
#: evaluation, and the others wait for it.
FIRST_WAITS: Final = timedelta(minutes=5)
OTHERS_WAIT: Final = timedelta(minutes=30)
_LOOPBACK = "127.0.0.1"
#: Variables in which launchers put the number of a machine; the first one that is set counts.
_NODE_RANKS = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")
#: Set by torchrun, all of them, and by nothing else that starts this command.
_OF_TORCHRUN = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE")


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
    devices: int | None,
    nodes: int | None,
    accelerator: Literal["auto", "cpu", "gpu"],
    environment: Mapping[str, str] = os.environ,
) -> Processes:
    """The requested processes, and this process's place among them.

    LOCAL_RANK and NODE_RANK contain the place, as torchrun and Lightning set them, or GROUP_RANK or
    SLURM_NODEID instead of the latter. Without LOCAL_RANK, this process is the first of its machine. If
    torchrun started it, LOCAL_WORLD_SIZE and WORLD_SIZE contain the numbers, and GROUP_RANK counts before
    NODE_RANK: with a c10d rendezvous, any machine may become the first.

    Args:
        devices: Processes on each machine; None for those of torchrun, or one.
        nodes: Number of machines; None for those of torchrun, or one.
        accelerator: `auto` is a GPU if torch finds one.
        environment: The variables.

    Raises:
        ConfigError: The number of devices is unavailable or not torchrun's, or a variable is missing or no
            number.
    """
    by_torchrun = _numbers_of_torchrun(environment)
    for name, value, started in zip(
        ("--devices", "--nodes"), (devices, nodes), by_torchrun or (None, None), strict=True
    ):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: expected a number from 1, got {value}.")
        if value is not None and started is not None and value != started:
            raise ConfigError(
                f"{name}: expected {started}, as torchrun started them, got {value}. Leave the option out."
            )
    devices, nodes = by_torchrun or (devices or 1, nodes or 1)
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
    ranks = ("GROUP_RANK", *_NODE_RANKS) if by_torchrun else _NODE_RANKS
    if nodes > 1 or launched:
        needed = ["MASTER_ADDR", "MASTER_PORT"]
        missing = [name for name in needed if not environment.get(name)]
        if nodes > 1 and not any(environment.get(name) for name in ranks):
            missing.append("NODE_RANK")
        if missing:
            raise ConfigError(
                f"--nodes {nodes}: expected {', '.join(missing)} in the environment, found nothing. Start "
                "the same command on every machine with MASTER_ADDR and MASTER_PORT, an address of the first "
                f"machine and a free port on it, and NODE_RANK, 0 on the first up to {nodes - 1} on the last."
            )
        _number(environment, "MASTER_PORT", below=65_536)
    node_rank = next((name for name in ranks if environment.get(name)), "NODE_RANK")
    return Processes(
        devices=devices,
        nodes=nodes,
        accelerator=accelerator,
        node_rank=_number(environment, node_rank, below=nodes) if nodes > 1 else 0,
        local_rank=_number(environment, "LOCAL_RANK", below=devices),
        launched=launched,
    )


def was_restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun started this process after a failure on this machine."""
    return environment.get("TORCHELASTIC_RESTART_COUNT", "0") not in {"", "0"}


def _numbers_of_torchrun(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Processes on each machine and number of machines, if torchrun started this process.

    Raises:
        ConfigError: The machines have different numbers of processes.
    """
    if not all(environment.get(name) for name in _OF_TORCHRUN):
        return None
    devices, count = (_number(environment, name, below=1 << 20) for name in _OF_TORCHRUN[1:])
    nodes = _number(environment, "GROUP_WORLD_SIZE", below=1 << 20) or count // max(1, devices)
    if not devices * nodes == count > 0:
        raise ConfigError(
            f"LOCAL_WORLD_SIZE, WORLD_SIZE: expected the same number of processes on each of {nodes} "
            f"machines, got {devices} of {count} on this one. Start torchrun with the same --nproc-per-node "
            "on every machine."
        )
    return devices, nodes


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
            backend, wait = "nccl", None
        else:
            backend, wait = "gloo", FIRST_WAITS if processes.leads else OTHERS_WAIT
        distributed.init_process_group(
            backend,
            store=store,
            rank=processes.rank,
            world_size=processes.count,
            timeout=wait,
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
    words = ("gloo", "NCCL", "Connection", "pair closure")
    return isinstance(error, distributed.DistError) or any(word in text for word in words)


def _meet(processes: Processes, helpers: Helpers, command: Sequence[str]) -> Store:
    """Start the other processes of this machine, unless a launcher does, and wait for all."""
    several_machines = processes.nodes > 1 or processes.launched
    address = os.environ["MASTER_ADDR"] if several_machines else _LOOPBACK
    # A free port, if no other machine needs to know it beforehand.
    port = int(os.environ["MASTER_PORT"]) if several_machines else 0
    size = f"--devices {processes.devices} --nodes {processes.nodes}"
    # torchrun listens there itself.
    by_agent = processes.launched and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    listens = processes.leads and not by_agent
    if listens:
        store = listen(address, port)
        port = store.port
    if not processes.launched and processes.local_rank == 0:
        place = {"MASTER_ADDR": address, "MASTER_PORT": str(port), **_place(processes)}
        for local_rank in range(1, processes.devices):
            helpers.start(command, {**place, "LOCAL_RANK": str(local_rank)})
    if not listens:
        store = reach(address, port, helpers)
    return meet(
        # An attempt of torchrun with another number of machines has left its keys in the same store.
        PrefixStore(size, store) if by_agent else store,
        rank=processes.rank,
        count=processes.count,
        size=size,
        helpers=helpers,
    )


def _place(processes: Processes) -> dict[str, str]:
    """The variables of torchrun for a further process of this machine, except its number there."""
    return {
        "NODE_RANK": str(processes.node_rank),
        "GROUP_RANK": str(processes.node_rank),
        "GROUP_WORLD_SIZE": str(processes.nodes),
        "LOCAL_WORLD_SIZE": str(processes.devices),
        "WORLD_SIZE": str(processes.count),
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }


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
