"""The section on cost: the size of a version's files, and its time in comparison with another version.

Knows subjects, priors and the processor's clock. Knows nothing of images or of a judge. Both versions run in
one process, in turns, so that other work on the machine slows both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import process_time

import numpy as np
import torch

from training.evaluation.report.priors import SamplePrior, default_prior
from training.evaluation.report.section_results import Figure, SectionResult
from training.evaluation.subject import Subject
from training.randomness.seeding import generator_for

_BATCH = 64
#: The first turns warm caches and count for nothing.
_WARM_TURNS, _TURNS = 3, 25
#: Number of the noise stream.
_DRAW = 40
_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, eq=False)
class Timed:
    """A version and its reference, with runtimes of one thread each."""

    version: Subject
    reference: Subject


def find_cost(subject: Subject, timed: Timed | None) -> tuple[SectionResult, ...]:
    """Sizes, and times if there is a reference; nothing of a run, which has no published files."""
    if not subject.file_bytes:
        return ()
    return (
        SectionResult(
            key="cost",
            title="Cost",
            about="The size of the graphs and of the prior, and the time of an image.",
            figures=(_size(subject), *(() if timed is None else _times(timed))),
        ),
    )


def _size(subject: Subject) -> Figure:
    sizes = ", ".join(f"{name} {size / _BYTES_PER_MB:.2f}" for name, size in subject.file_bytes.items())
    return Figure(
        name="graphs_and_prior",
        value=sum(subject.file_bytes.values()) / _BYTES_PER_MB,
        unit="MB",
        protocol=f"{sizes}; without golden vectors, preview and card",
        better="lower",
    )


def _times(timed: Timed) -> list[Figure]:
    pair = (timed.version, timed.reference)
    figures = _compared("decode", timed, [_decode(each) for each in pair], "a decode of z")
    priors = [default_prior(each) for each in pair]
    if all(prior is not None for prior in priors):
        tasks = [_sample(each, prior) for each, prior in zip(pair, priors, strict=True) if prior is not None]
        figures += _compared(
            "sample",
            timed,
            tasks,
            "a draw from the prior of `/sample` and its decode, with the sampler of this command",
        )
    return figures


def _compared(name: str, timed: Timed, tasks: list[Callable[[], object]], what: str) -> list[Figure]:
    """Processor time of both in turns."""
    spent: list[list[float]] = [[], []]
    for turn in range(_WARM_TURNS + _TURNS):
        for which in (0, 1) if turn % 2 else (1, 0):
            started = process_time()
            tasks[which]()
            if turn >= _WARM_TURNS:
                spent[which].append(process_time() - started)
    each = 1000.0 * median(spent[0]) / _BATCH
    protocol = (
        f"{what}; batches of {_BATCH}, one thread; processor time, median of {_TURNS} turns in one process "
        f"with {timed.reference.label}"
    )
    return [
        Figure(name=f"{name}_time", value=each, unit="ms per image", protocol=protocol, better="lower"),
        Figure(
            name=f"{name}_time_ratio",
            value=median(own / other for own, other in zip(*spent, strict=True)),
            unit=f"times {timed.reference.label}",
            protocol=protocol,
            better="lower",
        ),
    ]


def _decode(subject: Subject) -> Callable[[], object]:
    z = torch.randn(_BATCH, subject.model.latent_size, generator=generator_for(0, "report", _DRAW))

    def run() -> object:
        with torch.inference_mode():
            return subject.model.decode(z)

    return run


def _sample(subject: Subject, prior: SamplePrior) -> Callable[[], object]:
    generator = generator_for(0, "report", _DRAW)

    def run() -> object:
        z = prior.draw(_BATCH, generator, None)
        with torch.inference_mode():
            return subject.model.decode(torch.from_numpy(z.astype(np.float32)))

    return run
