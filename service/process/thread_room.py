"""How many threads the system allows here: the process limits of the cgroups and of the user.

Knows /proc, cgroups (versions 1 and 2) and RLIMIT_NPROC of Linux, where each thread counts as a process.
Knows nothing of the work of the threads.

128 cores and a container with a limit of 128 processes are a common pair. A server with a thread for each
core in each of its pools cannot start the last of them, and without this module a request would discover it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from service.engine import ThreadBudget
from service.engine.runtime.cpu_quota import groups

#: Threads of one server process outside the pools: main, store, log, telemetry, copy of a store, and a few.
OTHER_THREADS: Final = 12
#: Threads of grpcio in a server with a gRPC port: 4 to 16 by the cores of the host, and four more.
GRPC_THREADS: Final = 20
#: Reserved for other processes in the same container: its health check, a shell, the supervisor.
OTHER_PROCESSES: Final = 10
_V2_MOUNTS: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_V1_MOUNTS: Final = ("sys/fs/cgroup/pids",)
#: Either of them (CAP_SYS_ADMIN, CAP_SYS_RESOURCE) lifts RLIMIT_NPROC, as user 0 does.
_CAPABILITIES: Final = 1 << 21 | 1 << 24


@dataclass(frozen=True)
class ThreadRoom:
    """Number of threads for all processes of the server together, and the limit behind it."""

    threads: int
    why: str


def thread_room(family: Iterable[int], *, root: Path = Path("/")) -> ThreadRoom | None:
    """The tightest limit, less the threads of other programs; None without any limit.

    Args:
        family: Process ids of the server; their existing threads are part of the room.
        root: Directory that contains `proc` and `sys`; another one in tests.
    """
    own = sum(_threads_of(pid, root) for pid in set(family))
    rooms = [
        ThreadRoom(max(0, most - max(0, used - own)), why)
        for most, used, why in (*_by_cgroups(root), *_by_user(root))
    ]
    return min(rooms, key=lambda room: room.threads, default=None)


def fit_threads(
    wanted: ThreadBudget, *, room: ThreadRoom | None, processes: int, others: int = OTHER_THREADS
) -> ThreadBudget:
    """Threads of one pool: as many as wanted, or as the room allows.

    A process has two pools of that size: one runs models, the other reads and writes.

    Args:
        wanted: The wish of the operator, or the number of cores.
        room: The limit of the system.
        processes: Number of server processes that share the room.
        others: Threads of one process outside of the two pools.
    """
    if room is None:
        return wanted
    fits = max(1, ((room.threads - OTHER_PROCESSES) // processes - others) // 2)
    if fits >= wanted.threads:
        return wanted
    return ThreadBudget(fits, f"{fits} because of {room.why}; wanted: {wanted.why}")


def family_of(parent: int | None) -> tuple[int, ...]:
    """The process ids of this server.

    Args:
        parent: The supervisor, for one of several workers.
    """
    if parent is None:
        return (os.getpid(),)
    found = _read(Path(f"/proc/{parent}/task/{parent}/children")) or ""
    return (parent, os.getpid(), *map(int, found.split()))


def _by_cgroups(root: Path) -> Iterator[tuple[int, int, str]]:
    for directory in groups("pids", v2_mounts=_V2_MOUNTS, v1_mounts=_V1_MOUNTS, root=root):
        most, used = _number(root / directory / "pids.max"), _number(root / directory / "pids.current")
        if most is not None and used is not None:
            yield most, used, f"{used} of {most} by /{PurePosixPath(directory)}/pids.max"


def _by_user(root: Path) -> Iterator[tuple[int, int, str]]:
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    status = _status(root / "proc/self")
    user = (status.get("Uid") or "0").split()[0]
    lifted = user == "0" or int(status.get("CapEff") or "0", 16) & _CAPABILITIES
    if most == resource.RLIM_INFINITY or lifted:
        return
    used = 0
    for process in (root / "proc").glob("[0-9]*"):
        found = _status(process)
        if (found.get("Uid") or "").split()[:1] == [user]:
            used += int(found.get("Threads") or 0)
    yield most, used, f"{used} of {most} by RLIMIT_NPROC of user {user}"


def _threads_of(pid: int, root: Path) -> int:
    return int(_status(root / "proc" / str(pid)).get("Threads") or 0)


def _status(process: Path) -> dict[str, str]:
    lines = (_read(process / "status") or "").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _number(file: Path) -> int | None:
    """None also for `max`, which means no limit."""
    text = (_read(file) or "").strip()
    return int(text) if text.isdecimal() else None


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
