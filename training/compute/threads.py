"""The number of threads for torch: the processor share of this process, not the cores of the machine.

Knows joblib and torch. Knows nothing of models. torch respects CPU affinity but not cgroup quotas: in a
container limited to two cores of sixty-four it would start sixty-four threads, which wait for one another
most of the time. joblib, a dependency of scikit-learn, respects both (`joblib.cpu_count`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def allowed_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """min(affinity, quota rounded up), at least 1; None if the user has set OMP_NUM_THREADS."""
    if environment.get("OMP_NUM_THREADS"):
        return None
    import joblib  # noqa: PLC0415  # only those who compute need it

    cores: int = joblib.cpu_count()
    return cores


def use_allowed_threads(*, processes: int = 1) -> None:
    """Set torch's threads to this process's share of the available ones, at least one.

    A user's own choice is kept.

    Args:
        processes: Number of processes of this machine that compute at the same time, this one included.
    """
    import torch  # noqa: PLC0415  # only those who compute need it

    threads = allowed_threads()
    if threads is not None:
        torch.set_num_threads(max(1, threads // processes))
