"""Output of the commands while they work: messages, and the progress of a computation.

A message goes to standard output (`say`) or standard error (`warn`), at once also into a pipe. Progress goes
to standard error: one line that a terminal rewrites, or a line each half minute. A message takes the place of
the rewritten line, so that the two never share a line.

Knows standard output, standard error and terminals. Knows nothing of models or files.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import IO, Final

from model_store.standard_streams import OutputError
from training.objectives.progress import Progress

#: Interval between two lines if standard error is no terminal, so that a log stays short.
_LINE_EVERY_S: Final = 30.0
#: Interval between two states of the line that a terminal rewrites.
_REWRITE_EVERY_S: Final = 0.2
_BAR_CHARACTERS: Final = 24
#: Back to the first column, and erase the line.
_ERASE: Final = "\r\x1b[K"


def is_terminal(stream: IO[str]) -> bool:
    """Whether lines on the stream can be rewritten: a terminal that understands control sequences."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def width_of(stream: IO[str]) -> int:
    """Columns of the terminal behind a stream; COLUMNS, or 80, if it is none."""
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return shutil.get_terminal_size().columns


def can_print(text: str, stream: IO[str]) -> bool:
    """Whether the encoding of the stream has every character of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def say(text: str) -> None:
    """Print a line on standard output at once. A failure does not stop training; see `OutputError`."""
    _line.clear()
    with suppress(OutputError):
        print(text, flush=True)  # noqa: T201  # this is what the commands are for


def warn(text: str) -> None:
    """Print a line on standard error, for commands whose standard output is a document."""
    _line.clear()
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # as above


@contextmanager
def progress_of_evaluation() -> Iterator[Progress]:
    """Reports progress on standard error: a bar that is rewritten, or a line each half minute.

    A computation that ends sooner prints no progress.
    """
    terminal = is_terminal(sys.stderr)
    interval_s = _REWRITE_EVERY_S if terminal else _LINE_EVERY_S
    shown_at = monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal shown_at
        if monotonic() - shown_at < interval_s:
            return
        shown_at = monotonic()
        text = f"{what}: {done:,} of {total:,} images"
        if terminal:
            _line.show(text, done / total)
        else:
            print(f"  {text}", file=sys.stderr, flush=True)  # noqa: T201  # as above

    try:
        yield progress
    finally:
        _line.clear()


class _RewrittenLine:
    """The last line of a terminal, while it shows progress."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, text: str, part: float) -> None:
        """Replace the line; a narrow terminal shows no bar, or only the start of the text."""
        room = width_of(sys.stderr) - 1
        line = f"  {_bar(part)} {text}"
        if len(line) > room:
            line = f"  {text}"[: max(0, room)]
        self._is_shown = True
        print(f"{_ERASE}{line}", end="", file=sys.stderr, flush=True)  # noqa: T201  # as above

    def clear(self) -> None:
        """Erase the line, if there is one."""
        if self._is_shown:
            self._is_shown = False
            print(_ERASE, end="", file=sys.stderr, flush=True)  # noqa: T201  # as above


def _bar(part: float) -> str:
    """The bar, filled by the finished share; of ASCII characters if the encoding has no others."""
    filled = round(part * _BAR_CHARACTERS)
    full, empty = "█░" if can_print("█░", sys.stderr) else "#-"
    return full * filled + empty * (_BAR_CHARACTERS - filled)


_line = _RewrittenLine()
