"""How many cores a container's quota leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.runtime.cores import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_a_quota_of_version_2_is_kept(tmp_path: Path, quota: str, cores: int) -> None:
    write(tmp_path / "cpu.max", quota)
    assert usable_cores(tmp_path, write(tmp_path / "membership", "0::/\n")) == cores


def test_the_tightest_quota_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    write(tmp_path / "pods" / "cpu.max", "300000 100000")
    write(tmp_path / "pods" / "a" / "cpu.max", "max 100000")
    assert usable_cores(tmp_path, write(tmp_path / "membership", "0::/pods/a\n")) == 3


def test_a_path_of_the_host_is_no_hindrance_in_a_container(tmp_path: Path) -> None:
    write(tmp_path / "cpu.max", "400000 100000")
    assert usable_cores(tmp_path, write(tmp_path / "membership", "0::/kubepods/pod1/c1\n")) == 4


def test_a_quota_of_version_1_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "cpu" / "docker" / "cpu.cfs_quota_us", "150000\n")
    write(tmp_path / "cpu" / "docker" / "cpu.cfs_period_us", "50000\n")
    membership = write(tmp_path / "membership", "4:memory:/docker\n3:cpu,cpuacct:/docker\n")
    assert usable_cores(tmp_path, membership) == 3


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path / "none") == 8
