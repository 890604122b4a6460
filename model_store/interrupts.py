"""Ctrl-C and SIGTERM in a command: one line and an exit code at every moment, never a traceback.

    entry point ── end_at_once ──▶ imports, arguments ── raise_errors ──▶ the work ──▶ the end of Python
        SIGINT     one line, exit 130                    KeyboardInterrupt, 130         its own exit code
        SIGTERM    one line, exit 143                    Terminated, 143                at once

Within an import no exception is raised: native modules and `except` clauses turn it into another one, or drop
it. During the work an exception is raised, so that files, locks and child processes are cleaned up.

Knows signals, exit codes and standard error. Knows nothing of any command. Imports little, because entry
points import it first. A signal that the parent process ignores, as `nohup` does, stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # importing `typing` takes milliseconds, in which a signal would print a traceback
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: The running command: its name for messages. Empty if no entry point called `end_at_once`.
_program = ""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: handled like Ctrl-C, with another exit code."""


def end_at_once(program: str) -> None:
    """From now on SIGINT and SIGTERM end the process with one line. Only entry points call it.

    Args:
        program: Name for messages, such as `vae-store`.
    """
    global _program  # noqa: PLW0603  # handlers belong to the process
    _program = program
    _handle(lambda number, _: _end(number))


def raise_errors() -> None:
    """From now on SIGINT and SIGTERM raise an exception. Without effect in a caller's process."""
    if _program:
        sys.unraisablehook = _unraisable
        # Python's own handler, because asyncio replaces only that one by its graceful stop.
        _handle(signal.default_int_handler, _terminate)


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM."""
    return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED


def stop_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The stop that caused an error, or None: libraries turn it into errors of their own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def report(program: str, stop: KeyboardInterrupt) -> int:
    """Print the line and return the exit code. A further signal ends the process at once."""
    code = exit_code_of(stop)
    _leave_with(code)
    try:
        sys.stderr.write(_line(program))
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # standard error is closed or full, and there is no other place
    return code


def run(program: str, main: Callable[[], int]) -> int:
    """Run the command line between `end_at_once` and the end of Python, which takes a second with torch.

    Args:
        program: Name for messages.
        main: The command line; returns its exit code or raises SystemExit.
    """
    code = 1
    try:
        code = main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        raise
    except KeyboardInterrupt as stop:
        code = report(program, stop)
    finally:
        _leave_with(code)
    return code


def _end(number: int) -> None:
    # Without Python's streams: the signal may come while one of them writes.
    try:  # noqa: SIM105  # importing contextlib takes milliseconds
        os.write(2, _line(_program).encode())
    except OSError:
        pass  # as above
    os._exit(128 + number)


def _line(program: str) -> str:
    start = ""
    if os.isatty(2):
        # The terminal shows ^C, perhaps after a progress bar: the line replaces both.
        start = "\n" if os.environ.get("TERM", "dumb") == "dumb" else "\r\x1b[K"
    return f"{start}{program}: stopped\n"


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _leave_with(code: int) -> None:
    """The result is known: a signal only shortens the end of the process."""
    if _program:
        _handle(lambda _number, _frame: os._exit(code))


def _handle(
    interrupt: Callable[[int, FrameType | None], object],
    terminate: Callable[[int, FrameType | None], object] | None = None,
) -> None:
    for number, handler in zip(_SIGNALS, (interrupt, terminate or interrupt), strict=True):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """A stop within a finaliser cannot leave it: Python would print a traceback and continue."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _end(signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT)
    sys.__unraisablehook__(unraisable)
