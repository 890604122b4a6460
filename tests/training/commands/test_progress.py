"""The line that a terminal rewrites, and the messages that meet it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from itertools import count

import pytest
from patience import PATIENCE_S

from training.commands.progress import can_print, is_terminal, progress_of_evaluation, say, warn, width_of
from training.objectives.progress import Progress

ERASE = "\r\x1b[K"


class Screen(io.StringIO):
    """A terminal, as far as a stream of Python is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a terminal gets of a call, whose every look at the clock is a while later."""

    def shown_by(
        call: Callable[[Progress], None],
        *,
        term: str = "xterm",
        columns: int = 80,
        encoding: str = "utf-8",
        look_s: float = 1.0,
    ) -> str:
        clock = count(step=look_s)
        screen = Screen()
        screen.encoding = encoding
        with monkeypatch.context() as patch:  # within the test: pytest sets its own streams before it
            patch.setattr("training.commands.progress.monotonic", lambda: next(clock))
            patch.setattr(sys, "stdout", screen)
            patch.setattr(sys, "stderr", screen)
            patch.setenv("TERM", term)
            patch.setenv("COLUMNS", str(columns))
            with progress_of_evaluation() as progress:
                call(progress)
        return screen.getvalue()

    return shown_by


@pytest.mark.parametrize("message", [say, warn])
def test_a_message_takes_the_place_of_the_progress(message, shown) -> None:
    """`wrote runs/x/report.html` stood behind `100 of 400 images`."""

    def call(progress: Progress) -> None:
        progress("bound", 100, 400)
        message("wrote a file")
        message("and another")
        progress("bound", 400, 400)

    assert shown(call) == (
        f"{ERASE}  ██████░░░░░░░░░░░░░░░░░░ bound: 100 of 400 images"
        f"{ERASE}wrote a file\nand another\n"
        f"{ERASE}  ████████████████████████ bound: 400 of 400 images{ERASE}"
    )


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_the_line_fits_into_a_narrow_terminal(columns: int, shown) -> None:
    """A longer one would wrap, and only its last row be rewritten."""
    what = "epoch 12/200, loss 103.22, at most 45 min left"
    text = shown(lambda progress: progress(what, 1_280, 58_000), columns=columns)
    assert 0 < len(text.removeprefix(ERASE).removesuffix(ERASE)) < columns


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_without_control_sequences_gets_lines(term: str, shown) -> None:
    text = shown(lambda progress: progress("bound", 100, 400), term=term, look_s=60.0)
    assert text == "  bound: 100 of 400 images\n"


def test_a_bar_is_of_characters_that_the_terminal_has(shown) -> None:
    text = shown(lambda progress: progress("bound", 200, 400), encoding="latin-1")
    assert text == f"{ERASE}  {'#' * 12}{'-' * 12} bound: 200 of 400 images{ERASE}"


def test_streams_that_are_no_terminal_are_recognised(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "33")
    stream = io.StringIO()
    assert not is_terminal(stream)
    assert width_of(stream) == 33
    assert can_print("σ", stream)
    assert not can_print("σ", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))


def test_the_width_is_that_of_the_stream_s_own_terminal() -> None:
    """Standard output may be a pipe while standard error is a narrow terminal."""
    program = (
        "import sys, termios\n"
        "termios.tcsetwinsize(2, (24, 44))\n"
        "from training.commands.progress import width_of\n"
        "print(width_of(sys.stderr))\n"
    )
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env=environment,
        timeout=PATIENCE_S,
        check=True,
    )
    os.close(ours)
    os.close(theirs)
    assert done.stdout == "44\n"
