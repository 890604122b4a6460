"""Write lines to a descriptor that may block: a bounded buffer, and one thread that writes it.

Knows lines, a descriptor and seconds on the monotonic clock. Knows nothing of logging or the contents of
lines.

A write blocks while a pipe is not read, a terminal is held (Ctrl-S) or a disk hangs. So callers only append,
and only the thread waits. Beyond the buffer, and while a disk is full, lines are dropped. Each gap is
counted, and one line in its place reports it as soon as lines can be written again.

Lines of several processes on one pipe stay whole: one write has at most PIPE_BUF bytes, which the system
never divides, or is a single longer line.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from typing import Final

#: About 4,000 lines of requests.
CAPACITY_CHARACTERS: Final = 1 << 20
#: Pause of the thread after a write: under load one wake-up serves several lines. One for each line would
#: cost a tenth of a core at 3,400 requests/s.
_REST_S: Final = 0.002
#: `flush` waits while lines are still being written: until none was for `_STALL_S`, and at most `_FLUSH_S`.
_STALL_S: Final = 1.0
_FLUSH_S: Final = 4.0
_NOT_READ: Final = "the log is read too slowly, or not at all"


class LogWriter:
    """Writes lines in the order of `put`. Any thread may use it, also signal handlers and a forked child.

    The thread is a daemon, and the first line starts it: a process without log lines has none, and at its end
    a process waits for it only in `flush`.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        report: Callable[[int, str], str],
        encoding: str = "utf-8",
        capacity: int = CAPACITY_CHARACTERS,
    ) -> None:
        """Nothing is started yet.

        Args:
            descriptor: Descriptor of the output. It stays open.
            report: Returns the line about a gap, from the number of lost lines and the reason.
            encoding: Encoding of the lines; other characters are escaped.
            capacity: Maximum number of waiting characters. A single line may be longer.
        """
        self._descriptor, self._report, self._encoding = descriptor, report, encoding
        self._capacity = capacity
        self._begin()

    def _begin(self) -> None:
        """Reset to a new process: a forked child has the parent's lines but not its thread, nor its locks."""
        self._process = os.getpid()
        self._lock = threading.RLock()  # reentrant: a signal handler may log while its thread does
        self._lines: queue.SimpleQueue[str | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting = 0  # characters in the queue, or being written
        self._lost = 0
        self._gap = 0  # lost since the buffer was full, while its contents are written
        self._unreported = 0
        self._reason = _NOT_READ
        self._written_bytes = 0
        self._is_torn = False

    @property
    def lost(self) -> int:
        """Lines of this process that were never written."""
        return self._lost

    def put(self, line: str) -> None:
        """Queue a line without its line feed. It never waits."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if self._thread is None and not self._start():
                self._write([line])  # without a thread it must wait here; that is better than losing the line
                return
            if self._waiting and (self._gap or self._waiting + len(line) > self._capacity):
                self._gap += 1
                self._lost += 1
                return
            self._waiting += len(line)
            self._lines.put(line)

    def flush(self) -> bool:
        """Wait until every line is written, while the output accepts lines; see `_STALL_S`.

        Returns:
            Whether every line was written.
        """
        if self._process != os.getpid() or self._thread is None or not self._thread.is_alive():
            return True
        done = threading.Event()
        self._lines.put(done)
        until_s = time.monotonic() + _FLUSH_S
        seen = self._written_bytes
        while not done.wait(_STALL_S):
            if seen == self._written_bytes or time.monotonic() >= until_s:
                return False
            seen = self._written_bytes
        return True

    def close(self) -> None:
        """Flush and end the thread; a thread that waits on its descriptor ends with the process."""
        if self.flush() and self._process == os.getpid() and self._thread is not None:
            self._lines.put(None)
            self._thread.join(_STALL_S)
            self._thread = None

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, args=(self._lines,), name="vae-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no further thread can be started, or the interpreter is ending
            return False
        self._thread = thread
        return True

    def _run(self, lines: queue.SimpleQueue[str | threading.Event | None]) -> None:
        item = lines.get()
        while item is not None:
            if isinstance(item, threading.Event):
                item.set()
                item = lines.get()
                continue
            batch, length = [item], len(item)
            following: str | threading.Event | None = ""
            while isinstance(following, str):
                try:
                    following = lines.get_nowait()
                except queue.Empty:
                    break
                if isinstance(following, str):
                    batch.append(following)
                    length += len(following)
            self._write(batch)
            with self._lock:
                self._waiting -= length
                if not self._waiting:
                    self._unreported += self._gap
                    self._gap = 0
            self._tell_gap()
            time.sleep(_REST_S)
            item = lines.get() if isinstance(following, str) else following

    def _tell_gap(self) -> bool:
        """Write the line about lost lines, if there are any. Returns whether lines can be written now."""
        if not self._unreported:
            return True
        lines, reason = self._unreported, self._reason
        if self._write_bytes(self._encoded(self._report(lines, reason))):
            return False
        self._unreported -= lines
        self._reason = _NOT_READ
        return True

    def _write(self, lines: list[str]) -> None:
        """All lines, in groups that one write leaves whole."""
        parts: list[bytes] = []
        size = 0
        for line in lines:
            data = self._encoded(line)
            if parts and size + len(data) > select.PIPE_BUF:
                self._write_part(parts)
                parts, size = [], 0
            parts.append(data)
            size += len(data)
        self._write_part(parts)

    def _write_part(self, parts: list[bytes]) -> None:
        data = b"".join(parts)
        left = self._write_bytes(data) if self._tell_gap() else data
        if left:
            lost = left.count(b"\n")
            self._unreported += lost
            with self._lock:
                self._lost += lost

    def _write_bytes(self, data: bytes) -> bytes:
        """The unwritten rest. A line that it cuts is ended before the next one."""
        left = memoryview(b"\n" + data if self._is_torn else data)
        while left:
            try:
                written = os.write(self._descriptor, left)
            except BlockingIOError:  # another process made it non-blocking: terminals and pipes are shared
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
                continue
            except OSError as error:
                self._reason = error.strerror or type(error).__name__
                return bytes(left)
            self._written_bytes += written
            self._is_torn = left[written - 1] != ord("\n")
            left = left[written:]
        return b""

    def _encoded(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")


class LogStream(io.TextIOBase):
    """A text stream into a `LogWriter`, for Python's own writes to standard error."""

    def __init__(self, writer: LogWriter, descriptor: int) -> None:
        """Its lines keep their order among those of the writer."""
        super().__init__()
        self._writer, self._descriptor = writer, descriptor
        self._begun = ""

    def write(self, text: str, /) -> int:
        """Keep a line that is not complete."""
        whole, line_feed, self._begun = (self._begun + text).rpartition("\n")
        if line_feed:
            self._writer.put(whole)
        return len(text)

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with contextlib.suppress(OSError):
            return os.isatty(self._descriptor)
        return False

    def fileno(self) -> int:
        """The descriptor of the output."""
        return self._descriptor
