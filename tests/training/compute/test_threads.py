"""Threads follow what the process is given."""

from __future__ import annotations

import os

import pytest

from training.compute.threads import allowed_threads

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000", CORES),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("6400000 100000", CORES),
        ("nonsense", CORES),
        ("100000 0", CORES),
    ],
)
def test_a_quota_of_cgroup_version_2_limits_the_threads(tmp_path, cpu_max, expected):
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert allowed_threads({}, tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", CORES), ("100000", 1)])
def test_a_quota_of_cgroup_version_1_limits_the_threads(tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert allowed_threads({}, tmp_path) == expected


def test_a_fraction_of_a_core_is_rounded_up(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cpu.max").write_text("250000 100000")
    assert allowed_threads({}, tmp_path) == 3


def test_without_a_control_group_affinity_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4})
    assert allowed_threads({}, tmp_path) == 1


def test_the_users_own_choice_is_left_alone(tmp_path):
    assert allowed_threads({"OMP_NUM_THREADS": "7"}, tmp_path) is None
