"""`vae-train judge`: fit the classifier that decides whether samples are recognisable."""

from __future__ import annotations

import argparse

from training.commands.progress import progress_of_evaluation, say
from training.compute.allocator import keep_freed_memory
from training.compute.threads import use_allowed_threads
from training.evaluation.evaluate import make_judge
from training.judge.fitting import EPOCHS


def run(arguments: argparse.Namespace) -> int:
    """Fit, write, and report the accuracy."""
    use_allowed_threads()
    keep_freed_memory()
    with progress_of_evaluation() as progress:
        make_judge(
            arguments.out,
            data_dir=arguments.data,
            seed=arguments.seed,
            epochs=EPOCHS if arguments.epochs is None else arguments.epochs,
            progress=progress,
            tell=say,
        )
    return 0
