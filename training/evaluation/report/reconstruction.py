"""The section on reconstruction: images, their reconstructions, and whether they show the same digit.

Knows images, reconstructions and the judge.
"""

from __future__ import annotations

import torch

from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.report.section_results import Figure, Picture, SectionResult
from training.plots import grids

_PAIRS = 48
_CHOICE = 1


def find_reconstruction(bench: EvaluationContext) -> SectionResult:
    """Compare grey test images with their reconstructions from z = mu."""
    shown = bench.choice(_PAIRS, bench.count, _CHOICE)
    pictures = [
        Picture(
            name="reconstructions",
            caption="Test images, drawn at random, and below each its reconstruction.",
            png=grids.reconstruction_png(bench.images(shown), bench.reconstructed(shown), scale=2),
        )
    ]
    figures = []
    if bench.judge is not None:
        seen = bench.verdicts.labels
        back = bench.judge.ask(
            bench.reconstructions, what="judging reconstructions", progress=bench.progress
        ).labels
        figures.append(
            Figure(
                name="same_digit",
                value=(seen == back).double().mean().item(),
                unit="share",
                protocol=(
                    f"all {len(seen):,} images of {bench.data.test.name}; the judge finds the same "
                    "label in the reconstruction (grey pixels, z = mu) and in the image"
                ),
                better="higher",
            )
        )
        lost = torch.nonzero(seen != back).flatten()[:32]
        if len(lost):
            pictures.append(
                Picture(
                    name="lost_digits",
                    caption=(
                        f"The first {len(lost)} of {int((seen != back).sum()):,} test images whose "
                        "reconstruction has another label for the judge."
                    ),
                    png=grids.reconstruction_png(
                        bench.images(lost.numpy()), bench.reconstructions[lost], scale=2
                    ),
                )
            )
    return SectionResult(
        key="reconstruction",
        title="Reconstruction",
        about="The part of an image that survives encoding and decoding.",
        figures=tuple(figures),
        pictures=tuple(pictures),
    )
