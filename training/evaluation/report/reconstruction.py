"""The section on reconstruction: images, what the model gives back, and whether it is still the same digit.

Knows images, reconstructions and the judge.
"""

from __future__ import annotations

import torch

from training.evaluation.evaluation_context import Workbench
from training.evaluation.report.section_results import Figure, Findings, Picture
from training.plots import grids

_PAIRS = 48
_CHOICE = 1


def find_reconstruction(bench: Workbench) -> Findings:
    """Compare grey test images with their reconstructions from z = mu."""
    shown = bench.choice(_PAIRS, len(bench.x), _CHOICE)
    pictures = [
        Picture(
            name="reconstructions",
            caption="Test images, drawn at random, and right below each what the model gives back.",
            png=grids.reconstruction_png(bench.x[shown], bench.reconstructions[shown], scale=2),
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
                protocol=f"all {len(seen):,} images of {bench.data.test.name}; the judge sees in the "
                "reconstruction (grey pixels, z = mu) what it sees in the image",
                better="higher",
            )
        )
        lost = torch.nonzero(seen != back).flatten()[:32]
        if len(lost):
            pictures.append(
                Picture(
                    name="lost_digits",
                    caption=f"The first {len(lost)} of {int((seen != back).sum()):,} test images in whose "
                    "reconstruction the judge sees something else.",
                    png=grids.reconstruction_png(bench.x[lost], bench.reconstructions[lost], scale=2),
                )
            )
    return Findings(
        key="reconstruction",
        title="Reconstruction",
        about="What of an image survives the way through the latents and back.",
        figures=tuple(figures),
        pictures=tuple(pictures),
    )
