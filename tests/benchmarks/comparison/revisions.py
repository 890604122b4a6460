"""`make bench ARGS="revisions --before PYTHON"`: this tree's server next to that of another revision.

Knows systems, windows and bars. Both servers run all the time on the same store, and are asked in turn. Each
pair of windows gives one ratio; a figure is the median of its ratios. The store is that of the other
revision, because an older server cannot read newer models.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comparison.pair import Pair, bundled_pair
from comparison.systems import ONE_THREAD, System, npy_batch, ours, sample_png
from comparison.wrk import Question, paired_ratios

#: Of each figure: this tree may be this much slower.
BAR = 0.97
_STORE = "from model_store import default_store_root; print(default_store_root())"


@dataclass(frozen=True)
class _Measure:
    title: str
    question: Question
    concurrency: int


def at_revision(python: Path) -> System:
    """The server of the environment to which an interpreter belongs."""
    system = ours()
    return replace(
        system, name="vae-serve before", command=(str(python), *system.command[1:]), environment={}
    )


def store_of(python: Path) -> Path:
    """The bundled models of that environment.

    Raises:
        RuntimeError: It has no model store of this project.
    """
    done = subprocess.run([str(python), "-c", _STORE], capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(
            f"{python}: expected an environment with this project installed\n{done.stderr[-500:]}"
        )
    return Path(done.stdout.strip())


def measure_revisions(
    pairs: Sequence[Pair], python: Path, *, rounds: int, window_s: float, say: Callable[[str], None]
) -> tuple[str, bool]:
    """A Markdown table of ratios, and whether every one meets the bar."""
    lines, met = [], True
    for given in pairs:
        pair = bundled_pair(given.home.parent, store_of(python)) if given.name == "bundled" else given
        with ours().start(pair, ONE_THREAD) as now, at_revision(python).start(pair, ONE_THREAD) as before:
            for measure in _measures(pair):
                ratios = paired_ratios(
                    (measure.question, before.port),
                    (measure.question, now.port),
                    concurrency=measure.concurrency,
                    rounds=rounds,
                    window_s=window_s,
                )
                figure = statistics.median(ratios)
                met = met and figure >= BAR
                told = f"{figure:.3f}" if figure >= BAR else f"**{figure:.3f}, missed**"
                spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
                lines.append(f"| {measure.title} | {pair.title} | {told} | {spread} | ≥ {BAR} |")
                say(lines[-1])
    head = [
        "| requests/s of this tree ÷ before, one process, one thread | model | median | pairs | bar |",
        "| --- | --- | ---: | --- | --- |",
    ]
    return "\n".join([*head, *lines]), met


def _measures(pair: Pair) -> list[_Measure]:
    encode = ours().encode(pair)
    return [
        _Measure("One image as JSON, 1 connection", encode, 1),
        _Measure("One image as JSON, 32 connections", encode, 32),
        _Measure("64 images as npy, 4 connections", npy_batch(pair), 4),
        _Measure("PNG of one sample, 1 connection", sample_png(), 1),
    ]
