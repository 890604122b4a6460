"""Output of the commands while they work: lines, and the progress of an evaluation.

Knows standard output, standard error and terminals. Knows nothing of models or files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from model_store.standard_streams import OutputError
from training.objectives.progress import Progress

#: Interval between two lines if standard error is no terminal, so that a log stays short.
_LINE_EVERY_S = 30.0
#: Interval between two states of the line that a terminal rewrites.
_REWRITE_EVERY_S = 0.2
_BAR_CHARACTERS = 24


def say(text: str) -> None:
    """Print a line on standard output at once. A failure does not stop training; see `OutputError`."""
    with suppress(OutputError):
        print(text, flush=True)  # noqa: T201  # this is what the commands are for


def warn(text: str) -> None:
    """Print a line on standard error, for commands whose standard output is a document."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # as above


@contextmanager
def progress_of_evaluation() -> Iterator[Progress]:
    """Reports progress on standard error: a bar that is rewritten, or a line each half minute.

    An evaluation that ends sooner prints no progress.
    """
    terminal = sys.stderr.isatty()
    interval_s = _REWRITE_EVERY_S if terminal else _LINE_EVERY_S
    start, end = ("\r\x1b[K", "") if terminal else ("", "\n")
    told_at, told = monotonic(), False

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told_at, told
        if monotonic() - told_at < interval_s:
            return
        told_at, told = monotonic(), True
        bar = f"{_bar(done / total)} " if terminal else ""
        print(f"{start}  {bar}{what}: {done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield progress
    finally:
        if terminal and told:
            print(start, end="", file=sys.stderr, flush=True)  # noqa: T201


def _bar(part: float) -> str:
    """The bar, filled by the finished share."""
    filled = round(part * _BAR_CHARACTERS)
    return "█" * filled + "░" * (_BAR_CHARACTERS - filled)
