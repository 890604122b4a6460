"""How long a test waits for something that must come: a slow machine is not a fault, a hang is.

Knows clocks. Knows nothing of what is awaited.

    eventually(lambda: "ready" in log.read_text(), log.read_text)   # something must come
    assert cpu_s < 0.02 * slowness()                                # something must be cheap
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from typing import Final

#: Seconds after which a wait is a hang: one machine runs two suites at once, another is six times slower.
#: Less than the limit of a whole test (`timeout` in pyproject.toml), so that the message is that of the wait.
PATIENCE_S: Final = 240.0
#: CPU seconds of the task of `slowness` on the machine where the bars on cost were measured.
_REFERENCE_S: Final = 0.0092


def eventually(found: Callable[[], bool], why: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Waits until `found`, and fails with `why` when that takes longer than `within_s`."""
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


@functools.cache
def slowness() -> float:
    """CPU time of a fixed task as a multiple of that on the machine where the bars were measured, at least 1.

    Bars on cost are for the thread's CPU time, so that neighbours count little; a slower core counts here.
    """
    took_s = []
    for _ in range(5):
        begun_s = time.thread_time()
        total = 0
        for number in range(100_000):
            total += number * number % 7
        json.loads(json.dumps(list(range(20_000))))
        took_s.append(time.thread_time() - begun_s)
    return max(1.0, min(took_s) / _REFERENCE_S)
