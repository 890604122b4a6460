"""How to spend two cores: threads inside of one run against runs beside one another.

Knows raw onnxruntime and taskset. Knows nothing of servers.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence

from comparison.pair import Pair
from comparison.raw import run_raw

BATCHES = (1, 16, 64)


def measure_split(pairs: Sequence[Pair], *, rounds: int, window_s: float, say: Callable[[str], None]) -> str:
    """A Markdown table: images/s of each split, the best of each row in bold."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    lines = []
    for pair in pairs:
        for graph in (pair.encoder, pair.decoder):
            for count in range(1, len(cores) + 1):
                splits = [(threads, runs) for threads in (1, 2) for runs in (1, 2)]
                for batch in BATCHES:
                    found: dict[tuple[int, int], list[float]] = {split: [] for split in splits}
                    for _ in range(rounds):
                        for threads, runs in splits:
                            prefix = ("taskset", "-c", ",".join(map(str, cores[:count])))
                            one = run_raw(
                                graph,
                                batch=batch,
                                threads=threads,
                                callers=runs,
                                window_s=window_s,
                                prefix=prefix,
                            )
                            found[threads, runs].append(one.images_per_s)
                    medians = [statistics.median(found[split]) for split in splits]
                    cells = [
                        f"**{value:,.0f}**" if value == max(medians) else f"{value:,.0f}" for value in medians
                    ]
                    lines.append(
                        f"| {pair.title}, {graph.stem} | {count} | {batch} | " + " | ".join(cells) + " |"
                    )
                    say(lines[-1])
    head = "| graph | cores | batch | 1 thread × 1 run | 1 × 2 | 2 × 1 | 2 × 2 |"
    return "\n".join([head, "| --- |" + " ---: |" * 6, *lines])
