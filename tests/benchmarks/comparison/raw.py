"""onnxruntime without a server: runs of one batch size by so many threads.

Called as `python -m comparison.raw …`, in a process of its own, so that nothing of the driver is measured.
Knows a graph's file. Knows nothing of HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class RawRuns:
    """What onnxruntime did."""

    images_per_s: float
    p50_ms: float


def run_raw(
    graph: Path, *, batch: int, threads: int, callers: int, window_s: float, prefix: tuple[str, ...] = ()
) -> RawRuns:
    """One window. `prefix` such as `taskset -c 0`."""
    command = [
        *prefix, sys.executable, "-m", "comparison.raw", str(graph), "--batch", str(batch),
        "--threads", str(threads), "--callers", str(callers), "--window-s", str(window_s),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=window_s + 60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ORT_DISABLE_TELEMETRY": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return RawRuns(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("graph", type=Path)
    for flag in ("--batch", "--threads", "--callers"):
        parser.add_argument(flag, type=int, default=1)
    parser.add_argument("--window-s", type=float, default=1.0)
    given = parser.parse_args()
    from comparison.pair import session

    graph = session(given.graph, threads=given.threads)
    (wanted,) = graph.get_inputs()
    shape = [given.batch, *wanted.shape[1:]]
    fed = {wanted.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    for _ in range(3):
        graph.run(None, fed)
    took_s: list[list[float]] = [[] for _ in range(given.callers)]
    ends_s = time.perf_counter() + given.window_s

    def call(mine: list[float]) -> None:
        begun_s = time.perf_counter()
        while begun_s < ends_s:
            graph.run(None, fed)
            ended_s = time.perf_counter()
            mine.append(ended_s - begun_s)
            begun_s = ended_s

    callers = [threading.Thread(target=call, args=(mine,)) for mine in took_s]
    begun_s = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    took = time.perf_counter() - begun_s
    runs = [one for mine in took_s for one in mine]
    print(
        json.dumps({"images_per_s": len(runs) * given.batch / took, "p50_ms": float(np.median(runs)) * 1e3})
    )


if __name__ == "__main__":
    main()
