"""Threads follow what the process is given: joblib's count, asked as a container would make it answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import unshared
from patience import PATIENCE_S

from training.compute.threads import allowed_threads

# Files below /sys/fs/cgroup and the threads that a process with eight cores may then use.
CASES: list[tuple[dict[str, str], int]] = [
    ({}, 8),
    ({"cpu.max": "max 100000\n"}, 8),
    ({"cpu.max": "100000 100000\n"}, 1),
    ({"cpu.max": "50000 100000\n"}, 1),
    ({"cpu.max": "250000 100000\n"}, 3),
    ({"cpu.max": "200000 50000\n"}, 4),
    ({"cpu.max": "6400000 100000\n"}, 8),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
]
PROBE = """
import json, os, pathlib, shutil, sys
os.cpu_count = lambda: 8
os.sched_getaffinity = lambda pid: set(range(8))
from training.compute.threads import allowed_threads
cgroup = pathlib.Path("/sys/fs/cgroup")
assert not list(cgroup.iterdir()), "the kernel's"
found = []
for files, _ in json.loads(sys.argv[1]):
    for old in list(cgroup.iterdir()):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name, text in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(text)
    found.append(allowed_threads({}))
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/sys/fs/cgroup").is_dir(), reason="no control groups on this machine")
def test_a_quota_of_either_cgroup_version_limits_the_threads(tmp_path):
    """In a mount namespace, where the files that the kernel would show are ours."""
    mount = ["sh", "-c", 'mount --bind "$1" /sys/fs/cgroup && shift && exec "$@"', "mount", str(tmp_path)]
    done = subprocess.run(
        [*unshared("--mount"), *mount, sys.executable, "-c", PROBE, json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [threads for _, threads in CASES]


def test_affinity_limits_the_threads():
    core = min(os.sched_getaffinity(0))
    script = (
        f"import os; os.sched_setaffinity(0, {{{core}}}); "
        "from training.compute.threads import allowed_threads; print(allowed_threads({}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_the_users_own_choice_is_left_alone():
    assert allowed_threads({"OMP_NUM_THREADS": "7"}) is None
