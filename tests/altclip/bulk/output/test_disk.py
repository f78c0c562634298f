"""A full disk: the run says so and ends with 4; what is whole is kept, and goes on where there is room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from altclip.bulk.store import Store
from altclip.output import OutputError
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import COMMAND, digests, json_lines, manifest, parts, texts
from tests.server import RunningServer


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


def test_an_output_that_became_read_only_cannot_be_written(
    bulk: Run, small_disk: Path, tmp_path: Path
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(20))
    out = small_disk / "out"
    bulk(path, out)
    before = digests(out)
    (out / ".altclip-0123456789abcdef.partial").write_bytes(b"of a run that was killed")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for options in ([], ["--fresh"]):
        ran = bulk(path, out, *options)
        assert ran.status == 4
        assert "cannot be removed: Read-only file system" in ran.told
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert bulk(path, out).status == 0
    assert digests(out) == before


def test_rows_of_an_evaluation_have_their_room_before_they_are_written(small_disk: Path) -> None:
    marks = list(range(1, 100_000))  # these find no room beside the values
    for _ in range(2):
        with pytest.raises(OutputError, match=r"marks\.npy: cannot be written: No space left on device"):
            Store(small_disk, marks, 1, np.float32, {})
    with Store(small_disk, marks[:1000], 1, np.float32, {}) as found:
        found.put(0, [1.0])
        assert found.done.sum() == 1


def test_messages_that_find_no_room_end_no_run(stub: RunningServer, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(20))
    environment = {**os.environ, "ALTCLIP_ADDRESS": stub.grpc}
    environment.pop("PYTHONUNBUFFERED", None)  # or nothing is left for Python's exit
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [str(COMMAND), "bulk", str(path), str(tmp_path / "out")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["embedded"] == 20
    assert parts(tmp_path / "out").num_rows == 20
