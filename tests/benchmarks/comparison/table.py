"""Ratios beside their bars, as Markdown, and into README.md of the benchmarks between two markers.

Knows figures and bars. Knows nothing of how they were measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comparison.rounds import AS_SHOWN, BATCHES, RAW, SAMPLE, V2_BATCHES, V2_ONE, Figures, encode_at
from comparison.systems import ASGI, OURS, TUTORIAL

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
#: Where the tables are.
PAGE = Path(__file__).resolve().parents[1] / "README.md"
NOTHING = "–"
_BATCH = 64


@dataclass(frozen=True)
class Bar:
    """What a figure is compared with, for each pair."""

    what: str
    sign: str
    """`≥` or `≤`."""
    bars: dict[str, float]
    unit: str = ""
    digits: int = 2


BARS = {
    "batches": Bar(
        "Batches of 64 as npy, images/s ÷ raw onnxruntime's, both with one thread for the model", "≥",
        {"mlp": 0.70, "bundled": 0.95},
    ),
    "tutorial": Bar(
        "One image as JSON, 32 connections, requests/s ÷ tutorial service's", "≥",
        {"mlp": 5, "bundled": 4}, "×",
    ),
    "as_shown": Bar(
        "The same ÷ tutorial service's as tutorials start it, in one process", "≥",
        {"mlp": 5, "bundled": 4}, "×",
    ),
    "others": Bar(
        "One image as JSON, 32 connections, requests/s ÷ the best other model server's", "≥", {"mlp": 2,
        "bundled": 1.5}, "×"
    ),
    "v2_batches": Bar(
        "Batches of 64 under /v2 as bytes, requests/s ÷ as npy", "≥", {"mlp": 0.97, "bundled": 0.97}
    ),
    "v2_json": Bar(
        "One image as JSON under /v2, 32 connections, requests/s ÷ native JSON's", "≥",
        {"mlp": 0.85, "bundled": 0.85},
    ),
    "alone": Bar(
        "One connection, JSON `/encode`: p50 − (bare ASGI app's + raw session's)", "≤",
        {"mlp": 0.35, "bundled": 0.35}, " ms",
    ),
    "alone_png": Bar(
        "One connection, PNG `/sample?n=1`: p50 − (bare ASGI app's + raw session's)", "≤",
        {"mlp": 0.35, "bundled": 0.35}, " ms",
    ),
    "tail": Bar("32 connections: p99 ÷ p50", "≤", {"mlp": 4, "bundled": 4}),
    "ready": Bar("Start to ready", "≤", {"mlp": 2, "bundled": 2}, " s"),
    "memory": Bar("Resident after load, largest worker", "≤", {"mlp": 200, "bundled": 200}, " MB", 0),
    "idle": Bar("CPU of one core while idle", "<", {"mlp": 1, "bundled": 1}, " %"),
}  # fmt: skip


def judged(figures: Figures, pair: str) -> dict[str, float | None]:
    """The figure of each bar; None where something was not measured."""

    def median(system: str, measure: str, figure: str) -> float | None:
        return figures.median(pair, system, measure, figure)

    def above_the_floor(measure: str) -> float | None:
        ours, *floor = (median(system, measure, "p50_ms") for system in (OURS, ASGI, RAW))
        return (
            None if ours is None or None in floor else ours - sum(part for part in floor if part is not None)
        )

    json_32 = encode_at(32)
    our_json = median(OURS, json_32, "per_s")
    batches = median(OURS, BATCHES, "per_s")
    return {
        "batches": _ratio(
            None if batches is None else batches * _BATCH, [median(RAW, BATCHES, "images_per_s")]
        ),
        "tutorial": _ratio(our_json, [median(TUTORIAL, json_32, "per_s")]),
        "as_shown": _ratio(our_json, [median(TUTORIAL, AS_SHOWN, "per_s")]),
        "others": _ratio(our_json, [median(name, json_32, "per_s") for name in _others(figures, pair)]),
        "v2_batches": _ratio(median(OURS, V2_BATCHES, "per_s"), [batches]),
        "v2_json": _ratio(median(OURS, V2_ONE, "per_s"), [our_json]),
        "alone": above_the_floor(encode_at(1)),
        "alone_png": above_the_floor(SAMPLE),
        "tail": median(OURS, json_32, "tail"),
        "ready": median(OURS, "process", "ready_s"),
        "memory": median(OURS, "process", "rss_mb"),
        "idle": median(OURS, "process", "idle_percent"),
    }


def is_met(bar: Bar, pair: str, figure: float) -> bool:
    wanted = bar.bars[pair]
    return {"≥": figure >= wanted, "≤": figure <= wanted, "<": figure < wanted}[bar.sign]


def misses(figures: Figures, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Bars that were measured and not met."""
    return [
        f"{BARS[name].what}, {title}: {figure:.3g}, bar {BARS[name].sign} {BARS[name].bars[pair]:g}"
        for pair, title in pairs
        for name, figure in judged(figures, pair).items()
        if figure is not None and not is_met(BARS[name], pair, figure)
    ]


def markdown(figures: Figures, pairs: Sequence[tuple[str, str]], *, heading: str) -> str:
    """Both tables.

    Args:
        figures: What the rounds measured.
        pairs: Name and title of each.
        heading: A line on the machine and the rounds.
    """
    lines = [heading, "", "| | " + " | ".join(f"{title} | bar" for _, title in pairs) + " |"]
    lines.append("| --- |" + " ---: | --- |" * len(pairs))
    of_pair = {pair: judged(figures, pair) for pair, _ in pairs}
    for name, bar in BARS.items():
        cells = [_judged_cell(bar, pair, of_pair[pair][name]) for pair, _ in pairs]
        lines.append(f"| {bar.what} | " + " | ".join(cells) + " |")
    lines += ["", *_batch_table(figures, pairs)]
    for pair, title in pairs:
        lines += ["", *_system_table(figures, pair, title)]
    if figures.notes:
        lines += ["", "Left out or failed: " + "; ".join(dict.fromkeys(figures.notes)) + "."]
    return "\n".join(lines)


def write_between_markers(path: Path, text: str) -> None:
    """Raises ValueError where a marker is missing or double."""
    old = path.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"{path}: expected one line {BEGIN} and one {END}")
    pattern = re.escape(BEGIN) + r".*?" + re.escape(END)
    path.write_text(re.sub(pattern, lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.DOTALL))


def _others(figures: Figures, pair: str) -> list[str]:
    return [name for name in figures.systems(pair) if name not in (OURS, ASGI, TUTORIAL, RAW)]


def _ratio(ours: float | None, theirs: Sequence[float | None]) -> float | None:
    known = [one for one in theirs if one is not None]
    return None if ours is None or not known else ours / max(known)


def _judged_cell(bar: Bar, pair: str, figure: float | None) -> str:
    wanted = f"{bar.sign} {bar.bars[pair]:g}{bar.unit}"
    if figure is None:
        return f"{NOTHING} | {wanted}"
    said = f"{figure:.{bar.digits}f}{bar.unit}"
    return f"{said if is_met(bar, pair, figure) else f'**{said}, missed**'} | {wanted}"


def _batch_table(figures: Figures, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What one thread can do without HTTP, what HTTP leaves of it without a model, and both together."""
    lines = [
        f"| Batches of {_BATCH}, one process, one thread for the model, images/s | "
        + " | ".join(title for _, title in pairs)
        + " |",
        "| --- |" + " ---: |" * len(pairs),
    ]
    alone = [_number(figures.median(pair, RAW, BATCHES, "images_per_s"), 0) for pair, _ in pairs]
    lines.append(f"| {RAW} | " + " | ".join(alone) + " |")
    for system, said in ((ASGI, "bare ASGI app, npy in, the same npz out"), (OURS, "vae-serve, npy to npz")):
        rates = [figures.median(pair, system, BATCHES, "per_s") for pair, _ in pairs]
        cells = [_number(None if rate is None else rate * _BATCH, 0) for rate in rates]
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return lines


def _system_table(figures: Figures, pair: str, title: str) -> list[str]:
    """Requests per second at each concurrency, and the setting that was best."""
    counts = sorted(
        {
            int(measure.rpartition(" ")[2])
            for where, _, measure, _ in figures.samples
            if where == pair and measure.startswith("encode json ") and measure != AS_SHOWN
        }
    )
    lines = [
        f"| {title}: one image as JSON, requests/s | "
        + " | ".join(f"{count} conn." for count in counts)
        + " | p50 of 1 | p50, p99 of 32 | workers × threads |",
        "| --- |" + " ---: |" * (len(counts) + 2) + " --- |",
    ]
    for system in figures.systems(pair):
        if system == RAW:
            continue
        cells = [_number(figures.median(pair, system, encode_at(count), "per_s"), 0) for count in counts]
        cells.append(_ms(figures.median(pair, system, encode_at(1), "p50_ms")))
        tail = [figures.median(pair, system, encode_at(32), name) for name in ("p50_ms", "p99_ms")]
        cells.append(", ".join(map(_ms, tail)))
        chosen = figures.variants
        cells.append(chosen.get((pair, system, "many")) or chosen.get((pair, system, "alone")) or NOTHING)
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"


def _ms(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} ms"
