"""Who is measured when: a pilot that finds each system's best variant, then interleaved rounds.

Knows systems and figures. Knows nothing of bars. Every system is started for its turn and ended after it, so
that nobody's idle processes disturb the next; every other round goes backwards, so that a machine that grows
slower does not favour the first.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from comparison.pair import BATCH, Pair
from comparison.processes import Started
from comparison.raw import run_raw
from comparison.systems import (
    ASGI,
    ONE_THREAD,
    OURS,
    TUTORIAL,
    System,
    Variant,
    ask,
    npy_batch,
    sample_png,
    v2_batch,
    v2_one,
)
from comparison.wrk import Question, run_wrk

RAW = "raw onnxruntime"
SAMPLE = "sample png 1"
BATCHES = "encode npy 64"
V2_ONE = "v2 json 32"
V2_BATCHES = "v2 binary 64"
AS_SHOWN = "encode json in one process"
#: Purpose of what is measured with one process and one thread for the model, whatever else would be faster.
ONE = "one thread"
#: Connections of the batches: enough that somebody always waits.
_BATCH_CONCURRENCY = 4
#: Starts of a variant in the pilot whose processes share connections by luck.
_PILOTS = 3

Say = Callable[[str], None]


def encode_at(concurrency: int) -> str:
    """Name of a measure."""
    return f"encode json {concurrency}"


@dataclass(frozen=True)
class Plan:
    """How much."""

    rounds: int = 3
    window_s: float = 4.0
    pilot_s: float = 2.0
    warm_up_s: float = 1.0
    idle_s: float = 10.0
    concurrency: Sequence[int] = (1, 8, 32, 128)


@dataclass
class Figures:
    """Samples by (pair, system, measure, figure); their median is what is told."""

    samples: dict[tuple[str, str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    variants: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Which one was best, by (pair, system, purpose)."""
    notes: list[str] = field(default_factory=list)

    def add(self, pair: str, system: str, measure: str, **figures: float) -> None:
        for name, value in figures.items():
            self.samples[pair, system, measure, name].append(value)

    def median(self, pair: str, system: str, measure: str, figure: str) -> float | None:
        values = self.samples.get((pair, system, measure, figure))
        return statistics.median(values) if values else None

    def systems(self, pair: str) -> list[str]:
        return list(dict.fromkeys(system for where, system, *_ in self.samples if where == pair))


@dataclass(frozen=True)
class _Measure:
    name: str
    purpose: str
    """Measures of one purpose share a variant."""
    question: Question
    concurrency: int


def _measures(system: System, pair: Pair, plan: Plan) -> list[_Measure]:
    found = [
        _Measure(encode_at(count), "alone" if count == 1 else "many", system.encode(pair), count)
        for count in plan.concurrency
    ]
    if system.name in (OURS, ASGI):
        found.append(_Measure(SAMPLE, "alone", sample_png(), 1))
        found.append(_Measure(BATCHES, ONE, npy_batch(pair), _BATCH_CONCURRENCY))
    if system.name == OURS:
        found.append(_Measure(V2_BATCHES, ONE, v2_batch(pair), _BATCH_CONCURRENCY))
        found.append(_Measure(V2_ONE, "many", v2_one(pair), 32))
    if system.name == TUTORIAL:
        found.append(_Measure(AS_SHOWN, ONE, system.encode(pair), 32))
    return found


def capture_answers(system: System, pair: Pair) -> None:
    """What the bare app shall answer: our own bytes."""
    folder = pair.home / "answers"
    folder.mkdir(exist_ok=True)
    with system.start(pair, system.variants[0]) as running:
        for name, question in (
            ("encode", system.encode(pair)),
            ("sample.png", sample_png()),
            ("encode.npz", npy_batch(pair)),
        ):
            status, body = ask(running.port, question)
            if status != 200:
                raise RuntimeError(f"{question}: expected 200, got {status}: {body[:300]!r}")
            (folder / name).write_bytes(body)


def find_best(systems: Sequence[System], pair: Pair, plan: Plan, figures: Figures, say: Say) -> list[System]:
    """Fills in `figures.variants`; gives the systems that work."""
    working = []
    for system in systems:
        measures = [one for one in _measures(system, pair, plan) if one.purpose != ONE]
        figures.variants[pair.name, system.name, ONE] = str(ONE_THREAD)
        # One measure stands for its purpose: 32 connections for many, else the first.
        pilots: dict[str, _Measure] = {}
        for one in sorted(measures, key=lambda one: one.concurrency != 32):
            pilots.setdefault(one.purpose, one)
        if len(system.variants) == 1:
            figures.variants |= {
                (pair.name, system.name, purpose): str(system.variants[0]) for purpose in pilots
            }
            working.append(system)
            continue
        found: dict[str, list[tuple[float, Variant]]] = defaultdict(list)
        for variant in _starts(system):
            try:
                with system.start(pair, variant) as running:
                    for purpose, one in pilots.items():
                        run_wrk(
                            one.question, running.port, concurrency=one.concurrency, window_s=plan.warm_up_s
                        )
                        window = run_wrk(
                            one.question, running.port, concurrency=one.concurrency, window_s=plan.pilot_s
                        )
                        found[purpose].append(
                            (-window.p50_ms if one.concurrency == 1 else window.per_s, variant)
                        )
                        say(f"pilot {pair.name} {system.name} [{variant}] {one.name}: {window.per_s:,.0f}/s, "
                            f"p50 {window.p50_ms:.2f} ms")  # fmt: skip
            except RuntimeError as error:
                figures.notes.append(f"{system.name} [{variant}], {pair.title}: {_in_short(error)}")
                say(f"pilot {system.name} [{variant}] failed: {error}")
        for purpose, tried in found.items():
            best = max(tried, key=lambda one: one[0])[1]
            figures.variants[pair.name, system.name, purpose] = str(best)
        if found:
            working.append(system)
    return working


def _starts(system: System) -> Iterator[Variant]:
    """Each variant once, and several times where the first may be unlucky: its best start is what counts."""
    for variant in system.variants:
        yield from [variant] * (_PILOTS if system.shares_by_luck and variant.workers > 1 else 1)


def measure_rounds(systems: Sequence[System], pair: Pair, plan: Plan, figures: Figures, say: Say) -> None:
    for number in range(plan.rounds):
        turns = [*systems]
        if number % 2:
            turns.reverse()
        _raw(pair, plan, figures)
        for system in turns:
            try:
                _turn(system, pair, plan, figures, is_last=number == plan.rounds - 1)
            except RuntimeError as error:
                figures.notes.append(f"{system.name}, {pair.title}: {_in_short(error)}")
                say(f"{system.name} failed: {error}")
            else:
                say(f"round {number + 1} of {plan.rounds}, {pair.name}: {system.name} measured")


def _raw(pair: Pair, plan: Plan, figures: Figures) -> None:
    seconds = max(1.0, plan.window_s / 2)
    runs = run_raw(pair.encoder, batch=BATCH, threads=1, callers=1, window_s=seconds)
    figures.add(pair.name, RAW, BATCHES, images_per_s=runs.images_per_s)
    for measure, graph in ((encode_at(1), pair.encoder), (SAMPLE, pair.decoder)):
        runs = run_raw(graph, batch=1, threads=1, callers=1, window_s=seconds)
        figures.add(pair.name, RAW, measure, p50_ms=runs.p50_ms, per_s=runs.images_per_s)


def _turn(system: System, pair: Pair, plan: Plan, figures: Figures, *, is_last: bool) -> None:
    """One start for each variant that is best at something."""
    by_variant: dict[str, list[_Measure]] = defaultdict(list)
    for one in _measures(system, pair, plan):
        by_variant[figures.variants[pair.name, system.name, one.purpose]].append(one)
    for variant in system.variants:
        measures = by_variant.get(str(variant))
        if not measures:
            continue
        with _ready(system, pair, variant, figures) as running:
            for one in measures:
                run_wrk(one.question, running.port, concurrency=one.concurrency, window_s=plan.warm_up_s)
                window = run_wrk(
                    one.question, running.port, concurrency=one.concurrency, window_s=plan.window_s
                )
                if window.failed:
                    figures.notes.append(
                        f"{system.name}, {pair.title}, {one.name}: {window.failed} requests failed"
                    )
                figures.add(
                    pair.name,
                    system.name,
                    one.name,
                    per_s=window.per_s,
                    p50_ms=window.p50_ms,
                    p99_ms=window.p99_ms,
                    tail=window.p99_ms / window.p50_ms if window.p50_ms else float("nan"),
                )
            figures.add(pair.name, system.name, "process", rss_mb=running.largest_resident_mb())
            if is_last and system.name == OURS:
                figures.add(
                    pair.name, system.name, "process", idle_percent=running.idle_cpu_percent(plan.idle_s)
                )


@contextlib.contextmanager
def _ready(system: System, pair: Pair, variant: Variant, figures: Figures) -> Iterator[Started]:
    with system.start(pair, variant) as running:
        figures.add(pair.name, system.name, "process", ready_s=running.ready_s)
        yield running


def _in_short(error: Exception) -> str:
    """What was tried, and the last that its log says."""
    lines = str(error).strip().splitlines()
    return " … ".join(line[:200] for line in dict.fromkeys((lines[0], lines[-1])))
