"""How many threads torch may use: what this process is really given, not what the machine has.

Knows CPU affinity and cgroup quotas. Knows nothing of models. torch looks at affinity but not at
quotas: in a container limited to two cores of sixty-four it would start sixty-four threads, which
wait for one another most of the time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def allowed_threads(environment: Mapping[str, str] = os.environ, cgroup: Path = _CGROUP) -> int | None:
    """min(affinity, quota rounded up), at least 1; None where the user has set OMP_NUM_THREADS."""
    if environment.get("OMP_NUM_THREADS"):
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def use_allowed_threads(*, processes: int = 1) -> None:
    """Give torch this process's part of the threads that it may use together with others, at least one.

    Left alone where the user has chosen.

    Args:
        processes: Of this machine that compute at the same time, this one included.
    """
    import torch  # noqa: PLC0415  # only those who compute need it

    threads = allowed_threads()
    if threads is not None:
        torch.set_num_threads(max(1, threads // processes))


def _quota(cgroup: Path) -> float | None:
    """Cores that the control group may use at once, or None where it may use all."""
    try:
        if (cgroup / "cpu.max").is_file():  # version 2: "quota period" or "max period"
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        cores = float("inf") if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no such control group, or none that says anything: nothing is limited
    return cores if 0.0 < cores < math.inf else None
