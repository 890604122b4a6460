"""The open threads, tasks, child processes and descriptors of this process, compared between two moments.

Knows Linux and asyncio. Knows nothing of pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, Final

#: What is ending may take so long to end. Only a test that leaves something waits for it, and it fails then.
PATIENCE_S: Final = 60.0
#: One thread each for the process, started at a library's first use and never ended.
_THREADS_OF_LIBRARIES: Final = ("tqdm_monitor",)
#: Files that a library keeps open for the process: matplotlib caches the fonts that it has read.
_FILES_OF_LIBRARIES: Final = (".ttf", ".afm", ".pfb")
#: OpenBLAS's own function, which it calls at each fork too. It starts its threads again at its next use.
_ENDS_THREADS_OF_OPENBLAS: Final = "blas_thread_shutdown_"
_TASKS: Final = "/proc/self/task"
_DESCRIPTORS: Final = "/proc/self/fd"


@dataclass(frozen=True)
class OpenThings:
    """Each kind by its identity, so that a new thread of an old name is seen."""

    threads: frozenset[int] = frozenset()
    """Ids of the kernel, native threads included."""
    tasks: frozenset[asyncio.Future[Any]] = frozenset()
    """Those not done, of any event loop."""
    children: frozenset[int] = frozenset()
    """Process ids, zombies included."""
    descriptors: frozenset[tuple[int, str]] = field(default=frozenset())
    """Number, and the file, socket or pipe behind it."""

    def __sub__(self, other: OpenThings) -> OpenThings:
        return OpenThings(
            self.threads - other.threads,
            self.tasks - other.tasks,
            self.children - other.children,
            self.descriptors - other.descriptors,
        )

    def __or__(self, other: OpenThings) -> OpenThings:
        return OpenThings(
            self.threads | other.threads,
            self.tasks | other.tasks,
            self.children | other.children,
            self.descriptors | other.descriptors,
        )

    def __and__(self, other: OpenThings) -> OpenThings:
        return OpenThings(
            self.threads & other.threads,
            self.tasks & other.tasks,
            self.children & other.children,
            self.descriptors & other.descriptors,
        )

    def __bool__(self) -> bool:
        return bool(self.threads or self.tasks or self.children or self.descriptors)

    def __str__(self) -> str:
        return "\n".join(f"  {line}" for line in self._lines())

    def _lines(self) -> Iterable[str]:
        named = {thread.native_id: thread for thread in threading.enumerate()}
        for tid in sorted(self.threads):
            thread = named.get(tid)
            yield f"thread {thread.name!r}" if thread else f"native thread {_name_of_native(tid)!r}"
        for task in self.tasks:
            yield f"task {task!r}"
        for pid in sorted(self.children):
            yield f"child process {pid}: {command_of(pid)}"
        for number, target in sorted(self.descriptors):
            yield f"descriptor {number}: {target}{_ends_of_socket(number, target)}"


def libraries_with_pools() -> frozenset[str]:
    """Those that are imported."""
    return frozenset({"uvloop", "torch", "sklearn.cluster"} & sys.modules.keys())


def native_threads() -> OpenThings:
    """The threads that Python did not start."""
    named = {thread.native_id for thread in threading.enumerate()}
    return OpenThings(threads=frozenset(map(int, _names_in(_TASKS))) - named)


def start_pools() -> None:
    """Starts what an imported library opens once for its process, at its first use, and never closes."""
    if "uvloop" in sys.modules:  # libuv: a pipe for signals, and four threads that look names up
        with asyncio.Runner(loop_factory=sys.modules["uvloop"].new_event_loop) as runner:
            runner.run(_look_a_name_up())
    if "torch" in sys.modules:  # OpenMP's threads, and the pipe of the libuv that torch carries
        torch = sys.modules["torch"]
        weights = torch.ones(512, 512, requires_grad=True)
        (weights @ weights).exp().sum().backward()
        torch.set_num_threads(torch.get_num_threads())  # which starts a second pool
        torch.distributed.TCPStore("127.0.0.1", 0, world_size=1, is_master=True)
    if "sklearn.cluster" in sys.modules:  # an OpenMP of its own
        points = [[float(row % 7), float(row % 5)] for row in range(512)]
        sys.modules["sklearn.cluster"].KMeans(2, n_init=1).fit(points)


def end_threads_of_openblas() -> None:
    """NumPy and scipy carry one OpenBLAS each. A fork ends its threads, so any test may start them again."""
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for library in sorted(path for path in loaded if "openblas" in path):
        with contextlib.suppress(AttributeError):
            getattr(ctypes.CDLL(library), _ENDS_THREADS_OF_OPENBLAS)()


async def _look_a_name_up() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


def look() -> OpenThings:
    """Everything that is open now."""
    return OpenThings(
        threads=frozenset(map(int, _names_in(_TASKS))),
        tasks=frozenset(_pending_tasks()),
        children=frozenset(_children(_names_in(_TASKS))),
        descriptors=frozenset(_targets(_numbers())),
    )


def glance(known: OpenThings) -> OpenThings:
    """As `look`, in a fifth of the time: what has a known number is taken for what it was.

    A descriptor whose number was closed and used again, and the child of another thread than the main one,
    are left to the next `look`.
    """
    numbers = _numbers()
    kept = frozenset(each for each in known.descriptors if each[0] in numbers)
    return OpenThings(
        threads=frozenset(map(int, _names_in(_TASKS))),
        tasks=frozenset(_pending_tasks()),
        children=known.children | frozenset(_children([str(os.getpid())])),
        descriptors=kept | frozenset(_targets(numbers - {number for number, _ in kept})),
    )


def left_since(
    before: OpenThings, *, patience_s: float, thorough: bool = True
) -> tuple[OpenThings, OpenThings]:
    """Everything that is open now, and the part of it that was not open `before`.

    A thread or process that is ending is given the time to end, and a cycle that holds a descriptor is
    collected: a file closed by the collector alone is reported by Python itself (ResourceWarning).
    """
    now = look() if thorough else glance(before)
    if not _of_tests(now - before):
        return now, OpenThings()
    gc.collect()
    end_threads_of_openblas()
    deadline = time.monotonic() + patience_s
    pause_s = 0.0005
    while (left := _of_tests((now := look()) - before)) and time.monotonic() < deadline:
        time.sleep(pause_s)
        pause_s = min(0.05, 2 * pause_s)
    return now, left


def _of_tests(left: OpenThings) -> OpenThings:
    """Without what libraries keep."""
    if not left:
        return left
    threads = {t.native_id for t in threading.enumerate() if t.name in _THREADS_OF_LIBRARIES}
    # The server that forks `vae-train` (`warm_processes.py`), and its tracker: one each for the process.
    fork: Any = forkserver._forkserver
    track: Any = resource_tracker._resource_tracker
    return replace(
        left,
        threads=left.threads - threads,
        children=left.children - {fork._forkserver_pid, track._pid},
        descriptors=frozenset(
            (number, target)
            for number, target in left.descriptors
            if number not in (fork._forkserver_alive_fd, track._fd)
            and not target.endswith(_FILES_OF_LIBRARIES)
        ),
    )


def command_of(pid: int) -> str:
    """The command line of a process, or its state if it has none any more."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "ended"
    return said or "ended, and its parent has not asked for its exit code (zombie)"


def processes_with(variable: str, value: str) -> frozenset[int]:
    """Ids of all other processes that were started with `variable=value` in their environment."""
    wanted = f"{variable}={value}".encode()
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{entry.name}/environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
    return frozenset(found - {os.getpid()})


def environment_of(pid: int, variable: str) -> str | None:
    """Value of `variable` when process `pid` was started, or None."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if line.startswith(f"{variable}=".encode()):
                return line.partition(b"=")[2].decode(errors="replace")
    return None


def _names_in(directory: str) -> list[str]:
    return os.listdir(directory)  # noqa: PTH208  # a tenth of the time of Path.iterdir


def _numbers() -> frozenset[int]:
    """Descriptors, that of this listing among them."""
    return frozenset(map(int, _names_in(_DESCRIPTORS)))


def _targets(numbers: Iterable[int]) -> Iterable[tuple[int, str]]:
    for number in numbers:
        with contextlib.suppress(OSError):  # that of the listing, which is closed
            yield number, os.readlink(f"{_DESCRIPTORS}/{number}")  # noqa: PTH115


def _pending_tasks() -> Iterable[asyncio.Future[Any]]:
    # asyncio.all_tasks() knows those of one loop; a test may have left a loop that we do not know.
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):  # 3.11; 3.12 and later
        for task in list(getattr(asyncio.tasks, name, ())):
            if not task.done():
                yield task


def _children(threads: Iterable[str]) -> Iterable[int]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # none at all
        return
    for tid in threads:
        with contextlib.suppress(OSError), open(f"{_TASKS}/{tid}/children") as file:  # noqa: PTH123
            yield from map(int, file.read().split())


def _name_of_native(tid: int) -> str:
    try:
        return Path(f"{_TASKS}/{tid}/comm").read_text().strip()
    except OSError:
        return "ended"


def _ends_of_socket(number: int, target: str) -> str:
    if not target.startswith("socket:"):
        return ""
    said = ""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as ours:
        said = f" {ours.family.name} {ours.getsockname()}"
        said += f" to {ours.getpeername()}"
    return said
