"""What /proc tells of a process: memory, descriptors, threads.

Knows Linux. Knows nothing of what runs there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def children(pid: int) -> list[int]:
    """Process ids, in the order in which they were started; none of a process that has ended."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """Seconds that all its threads have computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_asleep(pid: int) -> bool:
    """Whether no thread of a process, or of its children, computes or waits for a core."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        states = [(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks]
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended just now
        return True
    return not {"R", "D"} & set(states) and all(map(is_asleep, children))


def settled(value: Callable[[], int], wanted: Callable[[int], bool], *, within_s: float = 10.0) -> int:
    """`value()` as soon as it is as wanted, or what it is in the end."""
    deadline = time.monotonic() + within_s
    while not wanted(found := value()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def ends(pid: int, *, within_s: float) -> bool:
    """Whether a process that is nobody's child here has gone, or is but a zombie."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def send_queues(port: int) -> dict[int, int]:
    """Bytes in the kernel that peers of a local IPv4 port have not acknowledged, by the peer's port."""
    queues = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, peer, state, queue, *_ = line.split()
        listens = state == "0A"
        if int(local.partition(":")[2], 16) == port and not listens:
            queues[int(peer.partition(":")[2], 16)] = int(queue.partition(":")[0], 16)
    return queues


def kernel_tcp_bytes() -> int:
    """Memory of all TCP sockets of this machine, in the kernel."""
    (line,) = (each for each in Path("/proc/net/sockstat").read_text().splitlines() if each[:4] == "TCP:")
    words = line.split()
    return int(words[words.index("mem") + 1]) * _PAGE_BYTES
