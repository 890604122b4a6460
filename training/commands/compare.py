"""`vae-train compare`: measure several models on the same images and compare them."""

from __future__ import annotations

import argparse

from training.commands.evaluate import wanted
from training.commands.progress import progress_of_evaluation, warn
from training.commands.tables import print_comparison
from training.compute.allocator import keep_freed_memory
from training.compute.threads import use_allowed_threads
from training.evaluation.evaluate import make_comparison


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the page, print the tables."""
    use_allowed_threads()
    keep_freed_memory()
    with progress_of_evaluation() as progress:
        comparison = make_comparison(
            arguments.models, wanted(arguments), out=arguments.out, progress=progress, tell=warn
        )
    print_comparison(comparison.reports)
    return 0
