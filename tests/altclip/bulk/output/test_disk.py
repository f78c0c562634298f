"""A full disk: the run says so and ends with 4; what is whole is kept, and goes on where there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, json_lines, manifest, texts


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("nobody may mount a tmpfs here")
    yield folder
    # Lazily: whoever still has a file there open does not keep it mounted.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_costs_the_part_under_way(bulk: Run, small_disk: Path, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(9_000))
    out, arguments = small_disk / "out", ("--rows-per-shard", 1000)
    (small_disk / "filler").write_bytes(bytes(800_000))
    ran = bulk(path, out, *arguments)
    assert ran.status == 4
    assert "cannot be written: No space left on device" in ran.told
    whole = manifest(out)["parts"]
    assert 0 < len(whole) < 9
    assert not list(out.glob(".*"))
    (small_disk / "filler").unlink()
    assert bulk(path, out, *arguments).status == 0
    bulk(path, tmp_path / "undisturbed", *arguments)
    assert digests(out) == digests(tmp_path / "undisturbed")
