"""`vae-train evaluate`: measure a run's model again, with other samples or another seed if wanted."""

from __future__ import annotations

import argparse

from training.commands.telling import progress_of_evaluation, warn
from training.evaluation import evaluate_run


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the figures into the run directory, print the table."""
    with progress_of_evaluation() as progress:
        evaluation = evaluate_run(
            arguments.run,
            arguments.data,
            importance_samples=arguments.importance_samples,
            importance_images=arguments.importance_images,
            seed=arguments.seed,
            progress=progress,
            tell=warn,
        )
    print(evaluation.to_markdown(), end="")  # noqa: T201  # this is what the command is for
    return 0
