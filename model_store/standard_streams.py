"""Standard output and standard error of a command, in any condition.

Either may be closed, full, non-blocking, a pipe without a reader, or of an encoding that lacks a character.
`run_command` handles that for all three command lines: none of it ends in a traceback.

Knows streams, descriptors and exit codes. Knows nothing of the work or the output of a command.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Final

from model_store import interrupts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EXIT_INPUT_OUTPUT: Final = 74
EXIT_BROKEN_PIPE: Final = 141
#: The error handler that writes `\u00d7` for a character outside the encoding: valid inside JSON too, unlike
#: Python's own `\xd7`.
_ESCAPE: Final = "model_store.escape"


class OutputError(OSError):
    """Standard output is not writable. Raised once; later output is dropped.

    A command with remaining work may continue: `run_command` still ends it with the right exit code.
    """

    matters: bool = True
    """False, set by a command whose exit code alone is the result, keeps that code."""

    @property
    def reader_left(self) -> bool:
        """Whether it is a pipe whose reader has ended, as with `| head`."""
        return self.errno == errno.EPIPE

    def __str__(self) -> str:
        return f"standard output: expected a writable stream, got {self.strerror}. Redirect it elsewhere."


def run_command(program: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    Args:
        program: Name for messages, such as `vae-store`.
        command: Returns its exit code, or raises SystemExit as argparse does. A code other than 0 is kept
            even if the output fails too.

    Returns:
        The command's exit code; 74 if standard output is not writable, 141 if its reader ended, 130 after
        Ctrl-C, 143 after SIGTERM.

    Raises:
        SystemExit: From the command, unless its output failed.
        Exception: From the command, unless a signal caused it.
    """
    _open_closed_descriptors()
    with _lenient_streams() as output:
        code: int | None = None
        try:
            code = command()
            _flush()
        except OutputError:
            pass
        except KeyboardInterrupt as stop:
            return interrupts.report(program, stop)
        except SystemExit:
            with contextlib.suppress(OutputError):
                _flush()
            if output is None or output.failure is None:
                raise
        except Exception as error:
            cause = interrupts.stop_behind(error)
            if cause is None:
                raise
            return interrupts.report(program, cause)
        failure = None if output is None else output.failure
        if code is not None and (code or failure is None or not failure.matters):
            return code
        assert failure is not None, "only a failed output prevents a command from returning its code"
        if failure.reader_left:
            return EXIT_BROKEN_PIPE
        print(f"{program}: {failure}", file=sys.stderr)  # noqa: T201
        return EXIT_INPUT_OUTPUT


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _open_closed_descriptors() -> None:
    """Open /dev/null for each closed standard descriptor, as some daemon wrappers leave them.

    Otherwise the next socket or file gets the free number, and native libraries write their messages into it.
    Writing to such a standard output fails, as for the closed one; such a standard error accepts everything.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one: those below were opened before it.
            os.set_inheritable(os.open(os.devnull, mode), True)


@contextlib.contextmanager
def _lenient_streams() -> Iterator[_Output | None]:
    """Replace the process's own streams for the duration of a command; a caller's streams are unchanged."""
    codecs.register_error(_ESCAPE, _escaped)
    before = sys.stdout, sys.stderr
    output = _Output(1) if _is_own(sys.stdout, 1) else None
    if output is not None:
        sys.stdout = _text_stream(output, like=sys.stdout)
    if _is_own(sys.stderr, 2):
        sys.stderr = _text_stream(_Messages(2), like=sys.stderr, line_buffering=True)
    try:
        yield output
    finally:
        with contextlib.suppress(OutputError):
            _flush()
        sys.stdout, sys.stderr = before


def _is_own(stream: IO[str] | None, descriptor: int) -> bool:
    """Whether a stream is the interpreter's own for this descriptor, or None because that was closed."""
    if stream is None:
        return True
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False


def _text_stream(raw: _Stream, *, like: IO[str] | None, line_buffering: bool = False) -> io.TextIOWrapper:
    """It has its own buffer: an `io.BufferedWriter` raises if a signal handler prints during a write."""
    by_line = getattr(like, "write_through", False) or getattr(like, "line_buffering", False)
    return io.TextIOWrapper(
        raw,
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors=_ESCAPE,
        line_buffering=line_buffering or by_line,
    )


class _Stream(io.FileIO):
    """A standard descriptor with immediate writes.

    It waits if another process made it non-blocking: terminals and pipes are shared, and so is their mode.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def _write(self, data: ReadableBuffer) -> int:
        left = memoryview(data).cast("B")
        while left:
            written: int | None = super().write(left)
            if written is None:
                poll = select.poll()
                poll.register(self.fileno(), select.POLLOUT)
                poll.poll()
            else:
                left = left[written:]
        return memoryview(data).nbytes


class _Output(_Stream):
    """Standard output: its first failure is raised and kept."""

    failure: OutputError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        if self.failure is not None:
            return memoryview(data).nbytes
        try:
            return self._write(data)
        except OSError as error:
            self.failure = OutputError(error.errno, error.strerror)
            raise self.failure from None


class _Messages(_Stream):
    """Standard error: a failure of it has no other place to be reported."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return self._write(data)
        except OSError:
            return memoryview(data).nbytes


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end
