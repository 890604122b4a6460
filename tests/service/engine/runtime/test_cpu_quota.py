"""Thread budgets: affinity and cgroup quota, real and faked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from faked_files import written

from service.engine import ThreadBudget, allowed_threads
from service.engine.runtime import cpu_quota

pytestmark = pytest.mark.hazard_row("cpu-quota")

PROBE = "import json; from service.engine import allowed_threads as a; print(json.dumps(a().threads))"


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_quota, "_cores_in_affinity", lambda: 8)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed")
def test_one_core_by_taskset_is_one_thread():
    core = str(min(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", core, sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == 1


def test_an_affinity_mask_set_from_within_is_seen_too():
    setter = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); "
    done = subprocess.run([sys.executable, "-c", setter + PROBE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == 1


def test_without_a_cgroup_the_affinity_decides(tmp_path, eight_cores):
    assert allowed_threads(root=tmp_path) == ThreadBudget(8, "8 by CPU affinity; no cgroup quota")


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000", 8),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("300000 100000", 3),
        ("300001 100000", 4),
        ("1600000 100000", 8),
        ("200000 50000", 4),
        ("", 8),
        ("nonsense", 8),
        ("100000 0", 8),
        ("-1 100000", 8),
        ("100000", 8),
    ],
)
def test_a_version_2_quota_is_rounded_up(tmp_path, eight_cores, cpu_max, expected):
    root = written(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": cpu_max + "\n"})
    assert allowed_threads(root=root).threads == expected


def test_the_tightest_group_on_the_way_up_decides(tmp_path, eight_cores):
    """Kubernetes limits the pod, systemd the slice: the process's own group often says max."""
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kube/pod/container\n",
            "sys/fs/cgroup/kube/pod/container/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kube/pod/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/kube/cpu.max": "600000 100000\n",
        },
    )
    budget = allowed_threads(root=root)
    assert budget.threads == 3
    assert "2.50 CPUs (/sys/fs/cgroup/kube/pod)" in budget.why


def test_a_path_that_leads_out_of_the_mount_falls_back_to_its_root(tmp_path, eight_cores):
    root = written(
        tmp_path / "root",
        {"proc/self/cgroup": "0::/../../outside\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
    )
    written(tmp_path, {"outside/cpu.max": "100000 100000\n"})
    assert allowed_threads(root=root).threads == 2


def test_a_group_that_the_container_cannot_see_falls_back_to_the_root_of_the_mount(tmp_path, eight_cores):
    root = written(
        tmp_path,
        {"proc/self/cgroup": "0::/docker/0123abc\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
    )
    assert allowed_threads(root=root).threads == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "expected"), [("150000", 2), ("-1", 8)])
def test_a_version_1_quota_is_read(tmp_path, eight_cores, mount, quota, expected):
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "12:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/\n0::/\n",
            f"sys/fs/cgroup/{mount}/docker/a/cpu.cfs_quota_us": quota + "\n",
            f"sys/fs/cgroup/{mount}/docker/a/cpu.cfs_period_us": "100000\n",
        },
    )
    assert allowed_threads(root=root).threads == expected


def test_broken_files_never_stop_the_server(tmp_path, eight_cores):
    root = written(tmp_path, {"proc/self/cgroup": "\n::\n0::\nabc\n0::/\u00e4\n"})
    (tmp_path / "sys/fs/cgroup/cpu.max").mkdir(parents=True)
    assert allowed_threads(root=root).threads == 8


def test_this_machine_gives_at_least_one_thread_and_a_reason():
    budget = allowed_threads()
    assert 1 <= budget.threads <= len(os.sched_getaffinity(0))
    assert str(budget.threads) in budget.why
