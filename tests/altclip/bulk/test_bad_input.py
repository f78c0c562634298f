"""Inputs that are damaged, endless or unreadable: an error names the file, and no part looks whole. Options
that would do nothing."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from altclip.bulk.flow.pool import ROOM_ROWS
from altclip.bulk.sources import lines
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import COMMAND, errors, json_lines, manifest, parts
from tests.server import RunningServer

GIBIBYTE = 1 << 30


def test_a_parquet_file_that_was_cut_off_is_refused_before_the_work_begins(bulk: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ran = bulk(path, tmp_path / "out")
    assert ran.status == 2
    assert "in.parquet: not a whole Parquet file" in ran.told
    assert not (tmp_path / "out").exists()


def test_parquet_that_is_damaged_in_the_middle_ends_the_run_and_keeps_what_is_whole(
    bulk: Run, tmp_path: Path
) -> None:
    path, out = tmp_path / "in.parquet", tmp_path / "out"
    # More rows before the damage than are read ahead, so that some of them are written by then.
    texts = [f"{n} {os.urandom(20).hex()}" for n in range(ROOM_ROWS + 4000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000)
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(file.num_row_groups - 1).column(0)
        start, size = column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    ran = bulk(path, out, "--rows-per-shard", 1000)
    assert ran.status == 2
    assert "in.parquet: " in ran.told
    whole = manifest(out)["parts"]
    assert [part["rows"] for part in whole] == [1000] * len(whole)
    assert len(whole) >= 3
    assert sorted(path.name for path in out.glob("*.parquet")) == [part["name"] for part in whole]
    assert not list(out.rglob(".*"))
    assert parts(out).column("text").to_pylist() == texts[: 1000 * len(whole)]


def test_ids_may_stand_twice_or_be_missing(bulk: Run, tmp_path: Path) -> None:
    twice = {"key": "same", "text": None}
    rows: list[dict[str, str | None]] = [twice, twice, {"text": None}, {"key": "d", "text": "d"}]
    ran = bulk(json_lines(tmp_path / "in.jsonl", rows), tmp_path / "out", "--id", "key")
    assert (ran.status, ran.last["errors"]) == (1, 3)
    assert [(row["row"], row["id"]) for row in errors(tmp_path / "out")] == [
        (0, "same"),
        (1, "same"),
        (2, None),
    ]
    assert bulk("verify", tmp_path / "out").status == 0
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "other", "--id", "nothing")
    assert ran.status == 2
    assert "no column 'nothing' in the input; there are: " in ran.told


def resident_peaks(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """The most bytes that the process held so far, again and again until it ends.

    `ru_maxrss` would not do: it counts what the parent held when it started the process.
    """
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):  # not of one that has ended
            yield 1024 * int(found[1])
        time.sleep(0.02)


def test_a_line_without_end_fails_alone_and_in_bounded_memory(stub: RunningServer, tmp_path: Path) -> None:
    # Members of gzip follow each other: a megabyte on the disk, and 1.25 GiB in all.
    piece = gzip.compress(b"a" * (64 << 20), 1)
    path, out = tmp_path / "in.jsonl.gz", tmp_path / "out"
    before, after = b'{"text": "one"}\n{"text": "', b'"}\n{"text": "three"}\n'
    path.write_bytes(gzip.compress(before) + piece * 20 + gzip.compress(after))
    with subprocess.Popen(
        [COMMAND, "bulk", path, out],
        env={**os.environ, "ALTCLIP_ADDRESS": stub.grpc},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        peaks = list(resident_peaks(process))
        told = process.communicate()[1].decode()
    assert process.returncode == 1, told
    assert 0 < max(peaks) < GIBIBYTE
    assert parts(out).column("text").to_pylist() == ["one", "three"]
    (row,) = errors(out)
    assert (row["row"], row["reason"]) == (1, "UNREADABLE_INPUT")
    assert row["message"].endswith("in.jsonl.gz line 2: longer than 256 MiB")


def test_a_cell_of_csv_is_bounded_though_it_has_many_lines(
    bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 20)
    (tmp_path / "in.csv").write_text('text\n"' + "many words\n" * 100_000 + '"\n')
    ran = bulk(tmp_path / "in.csv", tmp_path / "out")
    assert ran.status == 2
    assert "in.csv line " in ran.told
    assert "field larger than field limit (1048576)" in ran.told


def test_a_file_that_cannot_be_read_is_named(bulk: Run, tmp_path: Path) -> None:
    # Nobody, not even root, can read the first page of a process's memory.
    (tmp_path / "in.jsonl").symlink_to("/proc/self/mem")
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out")
    assert ran.status == 2
    assert "in.jsonl: Input/output error" in ran.told
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").symlink_to("/proc/self/mem")
    ran = bulk(folder, tmp_path / "vectors", "--id", "path")
    assert (ran.status, ran.last["errors"]) == (1, 1)
    (row,) = errors(tmp_path / "vectors")
    assert (row["id"], row["reason"]) == ("a.png", "UNREADABLE_INPUT")
    assert "Input/output error" in row["message"]


@pytest.mark.parametrize("kind", [pa.struct({"bytes": pa.int64()}), pa.struct({"path": pa.list_(pa.int8())})])
def test_a_struct_that_holds_no_image_is_refused(bulk: Run, tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"image": pa.nulls(3, kind)}), tmp_path / "in.parquet")
    ran = bulk(tmp_path / "in.parquet", tmp_path / "out", "--image", "image")
    assert ran.status == 2
    assert "the column 'image' is struct<" in ran.told
    assert ": no images" in ran.told


def test_a_model_that_the_service_does_not_have_ends_the_run_with_3(bulk: Run, tmp_path: Path) -> None:
    ran = bulk(json_lines(tmp_path / "in.jsonl", [{"text": "a"}]), tmp_path / "out", "--model", "nothing")
    assert ran.status == 3
    assert "nothing" in ran.told


def test_upright_turns_photographs_and_as_stored_does_not(bulk: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    stored = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    folder = tmp_path / "in"
    folder.mkdir()
    for name, picture, options in (
        ("photograph", stored, {"exif": exif}),
        ("stored", stored, {}),
        ("turned", stored.transpose(Image.Transpose.ROTATE_270), {}),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", **options)
        (folder / f"{name}.png").write_bytes(buffer.getvalue())
    found = {}
    for orientation in ("as_stored", "upright"):
        out = tmp_path / orientation
        assert bulk(folder, out, "--orientation", orientation).status == 0
        table = parts(out)
        assert table.column("width").to_pylist() == [60, 60, 40]
        found[orientation] = table.column("path_embedding").to_pylist()
    photograph, plain, turned = found["as_stored"]
    assert photograph == plain != turned
    photograph, plain, turned = found["upright"]
    assert photograph == turned != plain


@pytest.mark.parametrize(
    "arguments",
    [
        ("in.jsonl", "out", "--json"),
        ("extend", "in.jsonl", "out", "--json"),
        ("extend", "in.jsonl", "out", "--fresh"),
        ("verify", "out", "--json"),
        ("verify", "out", "--address", "localhost:1"),
        ("openai", "in.jsonl", "out", "--http", "http://localhost:1", "--model", "m"),
        ("openai", "in.jsonl", "out", "--http", "http://localhost:1", "--timeout", "1"),
    ],
)
def test_an_option_that_a_command_has_no_use_for_is_refused(
    bulk: Run, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        bulk(*arguments)
    assert left.value.code == 2
    assert "unrecognized arguments: " in capsys.readouterr().err
