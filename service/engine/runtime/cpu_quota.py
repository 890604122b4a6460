"""Number of threads for this process: the smaller of its CPU affinity and its cgroup quota.

Knows /proc and /sys/fs/cgroup of Linux (versions 1 and 2). Knows nothing of onnxruntime, which would
otherwise size its pool from the cores of the host and be throttled by the container's quota
(microsoft/onnxruntime#29510). Reads a few small files, and only when called.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_V2_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_V1_MOUNTS = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")


@dataclass(frozen=True)
class ThreadBudget:
    """The number of threads that can run at the same time, and the sentence that explains it."""

    threads: int
    why: str


@dataclass(frozen=True)
class _Quota:
    cpus: float
    file: PurePosixPath


def allowed_threads(*, root: Path = Path("/")) -> ThreadBudget:
    """The smaller of the affinity mask and the tightest cgroup quota, rounded up, at least one.

    Rounded up because two threads use a quota of 1.5 CPUs fully, and one thread does not.

    Args:
        root: Directory that contains `proc` and `sys`; another one in tests.
    """
    cores = _cores_in_affinity()
    quota = min(_quotas(root), key=lambda found: found.cpus, default=None)
    if quota is None:
        return ThreadBudget(cores, f"{cores} by CPU affinity; no cgroup quota")
    by_quota = max(1, math.ceil(quota.cpus))
    return ThreadBudget(
        min(cores, by_quota),
        f"{cores} by CPU affinity, {by_quota} by a cgroup quota of {quota.cpus:.2f} CPUs (/{quota.file})",
    )


def _cores_in_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def groups(
    controller: str, *, v2_mounts: Sequence[str], v1_mounts: Sequence[str], root: Path = Path("/")
) -> list[PurePosixPath]:
    """The directories, below `root`, of this process's cgroup and of each group above it.

    Some of them may not exist.

    Args:
        controller: Such as `cpu` or `pids`.
        v2_mounts: Possible mount points of version 2.
        v1_mounts: Possible mount points of the controller's hierarchy of version 1.
        root: Directory that contains `proc` and `sys`; another one in tests.
    """
    found: list[PurePosixPath] = []
    for controllers, path in _memberships(root):
        if controllers is None:
            mounts = v2_mounts
        elif controller in controllers:
            mounts = v1_mounts
        else:
            continue
        found += [PurePosixPath(mount) / group for mount in mounts for group in _upwards(path)]
    return found


def _quotas(root: Path) -> list[_Quota]:
    """Every applicable quota; a directory of one version contains no file of the other."""
    quotas: list[_Quota] = []
    for directory in groups("cpu", v2_mounts=_V2_MOUNTS, v1_mounts=_V1_MOUNTS, root=root):
        for read in (_read_v2, _read_v1):
            cpus = read(root, directory)
            if cpus is not None:
                quotas.append(_Quota(cpus, directory))
    return quotas


def _memberships(root: Path) -> list[tuple[frozenset[str] | None, PurePosixPath]]:
    """(controllers, path) of each hierarchy; controllers is None for version 2."""
    found: list[tuple[frozenset[str] | None, PurePosixPath]] = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = PurePosixPath(path.lstrip("/"))
        # Inside a container the path may lead out of the mount: then only the mount's root counts.
        if ".." in group.parts:
            group = PurePosixPath()
        is_v2 = hierarchy == "0" and not controllers
        found.append((None if is_v2 else frozenset(controllers.split(",")), group))
    return found


def _upwards(path: PurePosixPath) -> list[PurePosixPath]:
    """The group itself, its parents, and the root of the mount, which is the container's own group."""
    return [path, *path.parents] if path.parts else [path]


def _read_v2(root: Path, directory: PurePosixPath) -> float | None:
    """`cpu.max` is "<quota µs> <period µs>", or "max …" without a limit."""
    fields = (_read(root / directory / "cpu.max") or "").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _read_v1(root: Path, directory: PurePosixPath) -> float | None:
    """A quota of -1 means no limit."""
    quota = _read(root / directory / "cpu.cfs_quota_us")
    period = _read(root / directory / "cpu.cfs_period_us")
    return _ratio(quota.strip(), period.strip()) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0 or int(quota) == 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")[:65_536]
    except OSError:
        return None
