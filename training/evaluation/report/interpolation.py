"""The section on interpolation: images between two images, and how evenly they change.

Knows codes, paths and the judge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.measures.geometry import largest_step, lerp, slerp
from training.evaluation.report.section_results import Figure, Picture, SectionResult
from training.plots import charts

Codes = Float64[np.ndarray, "n latent"]
_WAYS: dict[str, Callable[[Codes, Codes, int], Float64[np.ndarray, "n steps latent"]]] = {
    "lerp": lerp,
    "slerp": slerp,
}
_PAIRS = 100
_STEPS = 21
_SHOWN_PAIRS, _SHOWN_STEPS = 5, 11
_CHOOSE = 20


def find_interpolation(bench: EvaluationContext) -> SectionResult:
    """Interpolate between codes of pairs of test images, on straight lines and on arcs."""
    start, end = _pairs(bench)
    figures = []
    for name, way in _WAYS.items():
        paths = way(start, end, _STEPS)
        if bench.judge is None:
            # A path at a time: all images of all paths are gigabytes of large ones.
            decoded = (_decoded(bench, path[np.newaxis], name) for path in paths)
            steps = np.concatenate([_largest_step(frames) for frames in decoded])
        else:
            frames = _decoded(bench, paths, name)
            steps = _largest_step(frames)
        protocol = (
            f"{len(start)} random pairs of images of {bench.data.test.name}, of different labels where there "
            f"are labels; {_STEPS - 1} equal steps from mu to mu by {name}; seed {bench.seed}"
        )
        figures.append(
            Figure(
                name=f"largest_step_{name}",
                value=float(steps.mean()),
                unit="mean steps",
                protocol="largest pixel change of a step ÷ the mean change of its path, mean over paths; 1 "
                f"is even; {protocol}",
                better="lower",
            )
        )
        if bench.judge is not None:
            inner = frames[:, 1:-1].flatten(0, 1)
            figures.append(
                Figure(
                    name=f"readable_between_{name}",
                    value=bench.judge.ask(inner).readable,
                    unit="share",
                    protocol="images strictly between the ends in which the judge's top probability is at "
                    f"least ½; {protocol}",
                    better="higher",
                )
            )
    return SectionResult(
        key="interpolation",
        title="Interpolation",
        about=(
            "Whether the space between images is continuous: a path between two images should change a "
            "little at every step, and pass through images."
        ),
        figures=tuple(figures),
        pictures=(_picture(bench, start[:_SHOWN_PAIRS], end[:_SHOWN_PAIRS]),),
    )


def _decoded(
    bench: EvaluationContext, paths: Float64[np.ndarray, "n steps latent"], name: str
) -> Float[Tensor, "n steps c h w"]:
    count, steps, latent = paths.shape
    frames = bench.decode(paths.reshape(-1, latent), f"interpolations ({name})")
    return frames.view(count, steps, *frames.shape[1:])


def _largest_step(frames: Float[Tensor, "n steps c h w"]) -> Float64[np.ndarray, " n"]:
    return largest_step(frames.flatten(start_dim=2).double().numpy())


def _pairs(bench: EvaluationContext) -> tuple[Codes, Codes]:
    """Codes of random images, paired with others; of another label if the data has labels."""
    count = len(bench.mu)
    order = torch.randperm(count, generator=bench.generator(_CHOOSE)).numpy()
    first, second = order[: count // 2], order[count // 2 : 2 * (count // 2)]
    labels = bench.labels()
    different = np.ones(len(first), dtype=bool) if labels is None else labels[first] != labels[second]
    if not different.any():
        different[:] = True
    return bench.mu[first[different][:_PAIRS]], bench.mu[second[different][:_PAIRS]]


def _picture(bench: EvaluationContext, start: Codes, end: Codes) -> Picture:
    ways = np.stack([way(start, end, _SHOWN_STEPS) for way in _WAYS.values()], axis=1)
    return Picture(
        name="interpolations",
        caption="From one test image's mu to another's, in equal steps: along the straight line (lerp) and "
        "along the great circle (slerp).",
        png=charts.labelled_rows(
            bench.decode(ways.reshape(-1, start.shape[1]), "interpolations"),
            columns=_SHOWN_STEPS,
            row_names=list(_WAYS) * len(start),
            column_names=[f"{step / (_SHOWN_STEPS - 1):g}" for step in range(_SHOWN_STEPS)],
        ),
    )
