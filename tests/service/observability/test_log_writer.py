"""Lines reach their descriptor whole and in order, and nobody waits for one that does not take them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.observability.log_writer import LogWriter

PIPE_BYTES = 4096


def report(lines: int, reason: str) -> str:
    return f"lost {lines}: {reason}"


class Pipe:
    """A pipe of one page, whose reading end a test reads when it wants to."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._read = b""

    def lines_until(self, last: str) -> list[str]:
        """Every line up to this one."""
        while f"\n{last}\n".encode() not in b"\n" + self._read:
            part = os.read(self.reading, 65_536)
            assert part, "the writing end is open"
            self._read += part
        whole, _, self._read = self._read.rpartition(b"\n")
        return whole.decode().split("\n")

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@contextlib.contextmanager
def writing(descriptor: int, capacity: int = 1 << 20) -> Iterator[LogWriter]:
    writer = LogWriter(descriptor, report=report, capacity=capacity)
    yield writer
    writer.close()
    assert not any(thread.name == "vae-log" for thread in threading.enumerate())


def test_lines_of_every_thread_come_whole_and_in_order(pipe: Pipe) -> None:
    with writing(pipe.writing) as writer:

        def put(name: str) -> None:
            for number in range(500):
                writer.put(f"{name} {number} {'x' * (number % 300)}")

        threads = [threading.Thread(target=put, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        puts = threading.Thread(target=lambda: [thread.join() for thread in threads] and writer.put("end"))
        puts.start()
        lines = pipe.lines_until("end")
        puts.join()
    assert len(lines) == 2001
    for name in "abcd":
        mine = [line.split(" ") for line in lines if line.startswith(name)]
        assert [int(number) for _, number, _ in mine] == list(range(500))
        assert all(len(rest) == int(number) % 300 for _, number, rest in mine)


def test_a_gap_is_counted_and_told_in_one_line_in_its_place(pipe: Pipe) -> None:
    with writing(pipe.writing, capacity=20_000) as writer:
        for number in range(1_000):  # 50 characters each: 20,000 wait, the rest has no room
            writer.put(f"{number:050}")
        assert 500 < writer.lost < 700
        kept = 1_000 - writer.lost
        lines = pipe.lines_until(f"lost {writer.lost}: the log is read too slowly, or not at all")
        assert lines[:-1] == [f"{number:050}" for number in range(kept)]
        writer.put("after")
        assert pipe.lines_until("after") == ["after"], "told once"


def test_a_line_longer_than_the_buffer_is_written(pipe: Pipe) -> None:
    with writing(pipe.writing, capacity=100) as writer:
        writer.put("x" * 10_000)
        assert pipe.lines_until("x" * 10_000)
        assert writer.flush()
        writer.put("after")
        assert pipe.lines_until("after") == ["after"]
        assert writer.lost == 0


def test_flush_of_an_unread_pipe_ends(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writing, report=report)
    for _ in range(1_000):
        writer.put("x" * 100)
    assert not writer.flush()
    threading.Thread(target=pipe.lines_until, args=("end",)).start()
    writer.put("end")
    assert writer.flush()
    writer.close()


def test_a_disk_that_was_full_for_a_while_is_told_of(tmp_path: Path) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with writing(descriptor) as writer, (tmp_path / "log").open("wb") as disk:
        for number in range(10):
            writer.put(f"lost {number}")
        assert writer.flush()
        assert writer.lost == 10
        os.dup2(disk.fileno(), descriptor)
        writer.put("room again")
        assert writer.flush()
    os.close(descriptor)
    assert (tmp_path / "log").read_text() == "lost 10: No space left on device\nroom again\n"


def test_a_line_cut_off_by_a_full_disk_is_ended_before_the_next(tmp_path: Path) -> None:
    """A limit on the size of files cuts a write as a full disk does."""
    script = f"""
import os, resource, signal, sys
from service.observability.log_writer import LogWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
descriptor = os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT)
writer = LogWriter(descriptor, report=lambda lines, reason: f"lost {{lines}}")
writer.put("0123456")
writer.put("89abcdef")
writer.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.put("after")
writer.close()
"""
    subprocess.run([sys.executable, "-c", script], timeout=100, check=True)
    assert (tmp_path / "log").read_text() == "0123456\n89\nlost 1\nafter\n"


def test_a_reader_that_left_costs_its_lines_and_the_next_one_gets_them(tmp_path: Path) -> None:
    """Such as a named pipe whose logger is started anew."""
    os.mkfifo(tmp_path / "log")
    first = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    descriptor = os.open(tmp_path / "log", os.O_WRONLY)
    with writing(descriptor) as writer:
        os.close(first)
        writer.put("nobody reads this")
        assert writer.flush()
        second = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
        writer.put("this is read")
        assert writer.flush()
        assert os.read(second, 1000) == b"lost 1: Broken pipe\nthis is read\n"
        assert writer.lost == 1
    os.close(second)
    os.close(descriptor)


def test_a_pipe_made_non_blocking_by_another_process_gets_everything(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    with writing(pipe.writing) as writer:
        for number in range(1_000):
            writer.put(f"{number:050}")
        writer.put("end")
        assert len(pipe.lines_until("end")) == 1_001
        assert writer.lost == 0


def test_lines_are_written_even_if_no_thread_can_be_started(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with writing(pipe.writing) as writer:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        writer.put("direct")
        assert pipe.lines_until("direct") == ["direct"]
        monkeypatch.undo()
        writer.put("by the thread")
        assert pipe.lines_until("by the thread") == ["by the thread"]


LOGGING = """
import logging, os, signal, sys, threading, warnings
from service.log_fields import fields
from service.observability.logs import configure_logging
configure_logging(log_format="text", level="info")
log = logging.getLogger("service.test")
"""


def ended(script: str, *, code: int = 0) -> str:
    """What a program with the server's logging wrote."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGING + script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return re.sub(r"(?m)^[0-9:.]{12} ", "", done.stderr)


def test_what_was_logged_before_an_exit_is_written() -> None:
    written = ended(
        "for number in range(5000): log.info('line', extra=fields(number=number))\nsys.exit(3)", code=3
    )
    assert written.splitlines() == [f"info    line number={number}" for number in range(5000)]


def test_what_was_logged_before_a_crash_is_written_and_then_the_traceback() -> None:
    written = ended("log.info('before')\nraise ValueError('crashed')", code=1).splitlines()
    assert written[:2] == ["info    before", "Traceback (most recent call last):"]
    assert written[-1] == "ValueError: crashed"


def test_messages_of_python_keep_their_order_with_the_log() -> None:
    written = ended(
        """
log.info("first")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
warnings.warn("careful")
log.info("%d", "not a number")
log.info("last")
"""
    )
    places = [
        written.index(text)
        for text in ("info    first", "ZeroDivisionError", "careful", "not a number", "info    last")
    ]
    assert places == sorted(places)


def test_a_forked_child_writes_its_own_lines_and_not_its_parents() -> None:
    written = ended(
        """
for number in range(100): log.info("parent", extra=fields(number=number))
child = os.fork()
log.info("child" if child == 0 else "forked")
if child:
    assert os.waitpid(child, 0)[1] == 0
sys.exit()
"""
    ).splitlines()
    assert written.count("info    child") == written.count("info    forked") == 1
    assert len(written) == 102


def test_a_signal_handler_may_log_while_a_line_is_logged() -> None:
    written = ended(
        """
signal.signal(signal.SIGALRM, lambda *_: log.info("handled"))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(5000): log.info("line")
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    ).splitlines()
    assert written.count("info    line") == 5000
    assert written.count("info    handled") == len(written) - 5000 > 0


@pytest.mark.parametrize(("end", "code"), [("return 3", 3), ("raise ValueError", 1)])
def test_a_program_ends_although_nothing_reads_its_log(pipe: Pipe, end: str, code: int) -> None:
    script = f"""
import logging, sys
from model_store.standard_streams import run_command
from service.observability.logs import configure_logging
def command():
    configure_logging(log_format="text", level="info")
    for _ in range(5000): logging.getLogger("service.test").info("x" * 300)
    {end}
sys.exit(run_command("program", command))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=pipe.writing)
    assert process.wait(timeout=100) == code


def test_lines_of_several_processes_on_one_pipe_stay_whole(pipe: Pipe) -> None:
    script = LOGGING + "for _ in range(500): log.info(sys.argv[1] * 300)\nlogging.shutdown()"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, letter], stderr=pipe.writing) for letter in "abc"
    ]
    os.close(pipe.writing)
    with os.fdopen(pipe.reading, "rb") as reading:
        lines = reading.read().decode().splitlines()
    assert [process.wait(timeout=100) for process in processes] == [0, 0, 0]
    assert len(lines) == 1500
    assert {line.partition("info    ")[2] for line in lines} == {letter * 300 for letter in "abc"}
