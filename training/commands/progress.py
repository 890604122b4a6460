"""What the commands tell while they work: lines, and how far an evaluation has come.

Knows standard output, standard error and terminals. Knows nothing of models or files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from model_store.standard_streams import OutputError
from training.objectives.progress import Progress

#: Between two lines where standard error is no terminal, so that a log stays short.
_LINE_EVERY_S = 30.0
#: Between two states of the line that a terminal rewrites.
_REWRITE_EVERY_S = 0.2
_BAR_CHARACTERS = 24


def say(text: str) -> None:
    """A line on standard output, at once. Training goes on where it cannot be written; see `OutputError`."""
    with suppress(OutputError):
        print(text, flush=True)  # noqa: T201  # this is what the commands are for


def warn(text: str) -> None:
    """A line on standard error, for commands whose standard output is a document."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # as above


@contextmanager
def progress_of_evaluation() -> Iterator[Progress]:
    """Tells on standard error how far it has come: a bar that is rewritten, or a line each half minute.

    Nothing is told of an evaluation that ends sooner than that.
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
    """As much of a bar as is done."""
    filled = round(part * _BAR_CHARACTERS)
    return "█" * filled + "░" * (_BAR_CHARACTERS - filled)
