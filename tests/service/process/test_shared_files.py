"""Where several workers share their metrics: in memory, where they are told, or nowhere and with a remedy."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from namespaces import child_of, unshared
from server_process import free_port, serving

from model_store import default_store_root
from service.process.shared_files import VARIABLE, NoDirectoryError, shared_directory

#: Turns every place for temporary files into one that cannot be written, and then runs the rest.
NOTHING_WRITABLE = (
    "set -e; mount --make-rprivate /; "
    'for d in /dev/shm /tmp /var/tmp; do mount --bind "$d" "$d"; mount -o remount,bind,ro "$d"; done; '
    'exec "$@"'
)


def test_memory_comes_before_a_disk_and_is_left_as_it_was(tmp_path: Path) -> None:
    with shared_directory(2, environ={}, memory=str(tmp_path)) as found:
        assert found.parent == tmp_path
        (found / "counter_0.db").write_bytes(b"x")
        assert found.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", [VARIABLE, "TMPDIR"])
def test_operator_names_another_directory(tmp_path: Path, variable: str) -> None:
    with shared_directory(2, environ={variable: str(tmp_path)}) as found:
        assert found.parent == tmp_path


def test_directory_that_is_named_and_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    with (
        pytest.raises(NoDirectoryError, match=r"none: No such file or directory.*--workers 1"),
        shared_directory(2, environ={VARIABLE: str(missing)}),
    ):
        pass


def test_directory_without_room_is_not_taken(tmp_path: Path) -> None:
    """A file that is mapped into memory and finds no room ends its process with SIGBUS."""
    with (
        pytest.raises(NoDirectoryError, match=r"bytes free, [0-9]+ needed"),
        shared_directory(1 << 40, environ={VARIABLE: str(tmp_path)}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_killed_supervisors_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """/dev/shm outlives a container that starts again in the same pod, until it is full."""
    gone, lives, new, old, other = (
        tmp_path / name
        for name in (*(f"vae-serve-metrics-{n}" for n in ("gone", "lives", "new", "old")), "other")
    )
    for path in (gone, lives, new, old, other):
        path.mkdir()
        (path / "counter_0.db").write_bytes(b"x")
    for path in (gone, lives):
        (path / "lock").touch()
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    (tmp_path / "vae-serve-metrics-link").symlink_to(other)
    with (lives / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with shared_directory(2, environ={VARIABLE: str(tmp_path)}):
            assert (gone.exists(), lives.exists(), new.exists(), old.exists()) == (False, True, True, False)
            assert (other / "counter_0.db").exists()


@pytest.mark.hazard_row("nothing-writable")
def test_with_nothing_writable_two_workers_say_what_to_do() -> None:
    prefix = [*unshared("--mount"), "sh", "-c", NOTHING_WRITABLE, "sh"]
    command = [sys.executable, "-m", "service", "run", "--workers", "2", "--port", str(free_port())]
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    for word in ("/dev/shm", "/var/tmp", VARIABLE, "TMPDIR", "--workers 1"):
        assert word in done.stderr


@pytest.mark.hazard_row("nothing-writable")
def test_one_process_needs_nothing_writable(tmp_path: Path) -> None:
    """What another program's environment names for its own metrics changes nothing."""
    prefix = [*unshared("--mount"), "sh", "-c", NOTHING_WRITABLE, "sh"]
    elsewhere = {VARIABLE: "/nowhere", "HOME": "/nowhere"}
    with serving(default_store_root(), tmp_path / "log", prefix=prefix, environment=elsewhere) as running:
        assert running.get("/sample")[0] == 200
        status, _, body = running.get("/metrics")
        assert status == 200
        assert b"vae_model_runs_total{" in body
        os.kill(child_of(running.process), signal.SIGTERM)
        assert running.process.wait(timeout=60) == 0
        assert "Traceback" not in running.log
