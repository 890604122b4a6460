"""The check that nothing outlives a test: it fails for each kind, and for none that was closed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from leftovers import glance, look
from patience import PATIENCE_S, slowness

SUPPORT = Path(__file__).parent / "support"
#: What a leaking test does, and how the error names it.
LEAKS = {
    "thread": ("threading.Thread(target=never.wait, name='left', daemon=True).start()", r"thread 'left'"),
    "task": ("loop.create_task(asyncio.sleep(3600), name='left')", r"task <Task pending name='left'"),
    "child": ("kept.append(subprocess.Popen(['sleep', '20']))", r"child process \d+: sleep 20"),
    "zombie": ("kept.append(os.posix_spawn('/bin/true', ['true'], {}))", r"child process \d+: ended"),
    "socket": (
        "kept.append(socket.create_server(('127.0.0.1', 0)))",
        r"descriptor \d+: socket:\[\d+\] AF_INET \('127.0.0.1', \d+\)",
    ),
    "pipe": ("kept.append(os.pipe())", r"descriptor \d+: pipe:\[\d+\]"),
    "file": ("kept.append(open(__file__))", r"descriptor \d+: /.*test_suite\.py"),
    "module_fixture": ("request.getfixturevalue('careless')", r"descriptor \d+: pipe:\[\d+\]"),
    "orphan": (
        "subprocess.run(['sh', '-c', 'sleep 20 & echo $!'], check=True, stdout=subprocess.DEVNULL)",
        r"process \d+ of test_suite.py::test_orphan \(call\): sleep 20",
    ),
}
SUITE = """
import asyncio, os, socket, subprocess, threading, time
import pytest

kept, never = [], threading.Event()

@pytest.fixture(scope="session")
def loop():
    with asyncio.Runner() as runner:
        yield runner.get_loop()

@pytest.fixture(scope="module")
def careful():
    ends = os.pipe()
    yield ends
    for end in ends: os.close(end)

@pytest.fixture(scope="module")
def careless():
    yield os.pipe()

def test_first(loop, careful): pass  # from here on, both are known
"""


def run(folder: Path, body: str, *, patience_s: float) -> str:
    (folder / "test_suite.py").write_text(SUITE + body)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "leftovers_plugin", "-p", "no:cacheprovider",
         "-p", "no:schemathesis", "--leftovers-patience-s", str(patience_s), "-rfEp", "--tb=short",
         "-c", os.devnull, "--rootdir", ".", "test_suite.py"],
        cwd=folder, env={
            **os.environ,
            "PYTHONPATH": str(SUPPORT),
            "PYTHONWARNINGS": "ignore",
            "OPENBLAS_NUM_THREADS": "2",  # the server's process sets 1 in the environment of this one
        },
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_each_kind_that_is_left_fails_its_own_test_and_is_named(tmp_path: Path) -> None:
    body = "".join(f"\ndef test_{name}(loop, request): {leak}\n" for name, (leak, _) in LEAKS.items())
    said = run(tmp_path, body, patience_s=0.3)
    failed = re.findall(r"^ERROR test_suite\.py::test_(\w+)", said, re.MULTILINE)
    # A fixture of the module ends with the last test of the module, as do processes that no test owns.
    assert failed == [*(name for name in LEAKS if name not in ("module_fixture", "orphan")), "orphan"], said
    for name, (_, named) in LEAKS.items():
        assert re.search(named, said), f"{name}: {said}"
    for pid in re.findall(r"process (\d+).*: sleep", said):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_nothing_that_is_closed_or_about_to_end_fails(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        textwrap.dedent("""
        def test_thread():
            thread = threading.Thread(target=never.wait, args=(0.01,))
            thread.start()
            thread.join()

        def test_thread_that_is_about_to_end():
            threading.Thread(target=time.sleep, args=(0.2,)).start()

        def test_task(loop): loop.run_until_complete(loop.create_task(asyncio.sleep(0)))

        def test_child(): subprocess.run(["true"], check=True)

        def test_child_that_is_about_to_end(): subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)

        def test_socket():
            with socket.create_server(("127.0.0.1", 0)): pass

        def test_what_a_wider_fixture_opened_is_no_leak(careful): os.fstat(careful[0])

        def test_cycle():
            class Holder: pass
            holder = Holder()
            holder.itself, holder.file = holder, open(__file__)

        def test_descriptor_that_is_closed_before_its_number_is_used_again(careful):
            os.close(os.dup(careful[0]))

        def test_threads_of_a_library_that_a_fork_ended_and_that_it_starts_again():
            import numpy
            if (child := os.fork()) == 0: os._exit(0)
            os.waitpid(child, 0)
            before = len(os.listdir("/proc/self/task"))
            numpy.ones((600, 600)) @ numpy.ones((600, 600))
            assert len(os.listdir("/proc/self/task")) > before or len(os.sched_getaffinity(0)) == 1
        """),
        patience_s=PATIENCE_S,
    )
    assert "11 passed" in said
    assert "error" not in said, said


def test_a_glance_costs_next_to_nothing() -> None:
    """There are three thousand of them: 0.1 ms beside 60 descriptors and 10 threads, on a quiet machine."""
    ends = [end for _ in range(20) for end in os.pipe()]
    try:
        known, took_s = look(), []
        for _ in range(100):
            begun_s = time.thread_time()
            glance(known)
            took_s.append(time.thread_time() - begun_s)
    finally:
        for end in ends:
            os.close(end)
    assert min(took_s) < 0.3e-3 * slowness()
