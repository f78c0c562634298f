"""Which of several limits of memory is the one that matters, and how much of it is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.supervisor.memory_limit import Memory, nearest_limit

MACHINE = "MemTotal:       4000 kB\nMemFree:          10 kB\nMemAvailable:   3000 kB\n"
NONE_OF_VERSION_1 = "9223372036854771712"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return write(tmp_path / "meminfo", MACHINE)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def version_2(directory: Path, limit: str, current: int, inactive_file: int = 0) -> None:
    write(directory / "memory.max", f"{limit}\n")
    write(directory / "memory.current", f"{current}\n")
    write(directory / "memory.stat", f"anon 5\ninactive_file {inactive_file}\n")


def version_1(directory: Path, limit: str, usage: int, inactive_file: int = 0) -> None:
    write(directory / "memory.limit_in_bytes", f"{limit}\n")
    write(directory / "memory.usage_in_bytes", f"{usage}\n")
    write(directory / "memory.stat", f"inactive_file 7\ntotal_inactive_file {inactive_file}\n")


def test_a_containers_limit_counts_and_its_file_pages_do_not(tmp_path: Path, machine: Path) -> None:
    version_2(tmp_path / "cgroup", "1000", current=900, inactive_file=100)
    membership = write(tmp_path / "membership", "0::/\n")
    assert nearest_limit(tmp_path / "cgroup", membership, machine) == Memory(used=800, limit=1000)


def test_the_limit_that_is_nearest_to_being_reached_counts(tmp_path: Path, machine: Path) -> None:
    version_2(tmp_path / "cgroup" / "pods" / "a", "1000", current=500)
    version_2(tmp_path / "cgroup" / "pods", "1100", current=1050)
    membership = write(tmp_path / "membership", "0::/pods/a\n")
    assert nearest_limit(tmp_path / "cgroup", membership, machine) == Memory(used=1050, limit=1100)


def test_a_limit_of_version_1_counts(tmp_path: Path, machine: Path) -> None:
    version_1(tmp_path / "cgroup" / "memory" / "docker", "2000", usage=1900, inactive_file=300)
    membership = write(tmp_path / "membership", "4:memory:/docker\n3:cpu:/docker\n")
    assert nearest_limit(tmp_path / "cgroup", membership, machine) == Memory(used=1600, limit=2000)


@pytest.mark.parametrize("membership", ["0::/\n", "4:memory:/\n"])
def test_without_a_limit_the_machines_memory_counts(tmp_path: Path, machine: Path, membership: str) -> None:
    version_2(tmp_path / "cgroup", "max", current=900)
    version_1(tmp_path / "cgroup" / "memory", NONE_OF_VERSION_1, usage=900)
    found = nearest_limit(tmp_path / "cgroup", write(tmp_path / "membership", membership), machine)
    assert found == Memory(used=1000 * 1024, limit=4000 * 1024)


def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert nearest_limit(tmp_path / "a", tmp_path / "b", tmp_path / "c") == Memory(0, 0)
