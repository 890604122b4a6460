"""How many threads torch may use: what this process is really given, not what the machine has.

Knows joblib and torch. Knows nothing of models. torch looks at CPU affinity but not at cgroup quotas: in a
container limited to two cores of sixty-four it would start sixty-four threads, which wait for one another
most of the time. joblib, which scikit-learn brings, looks at both (`joblib.cpu_count`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def allowed_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """min(affinity, quota rounded up), at least 1; None where the user has set OMP_NUM_THREADS."""
    if environment.get("OMP_NUM_THREADS"):
        return None
    import joblib  # noqa: PLC0415  # only those who compute need it

    cores: int = joblib.cpu_count()
    return cores


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
