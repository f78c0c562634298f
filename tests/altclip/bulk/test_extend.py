"""`altclip bulk extend`: all parts of an output have the same columns, so that they are read as one table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, json_lines, parts, texts
from tests.altclip.bulk.test_images import png, tar

SHARDS = ("--rows-per-shard", 10)


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({"n": 0.5, "text": "a"}, "the column 'n' is double, another type than in part-00000.parquet"),
        ({"n": 1, "text": "a", "more": 1}, "a column 'more' more than in part-00000.parquet"),
        ({"n": "one", "text": "a"}, "the column 'n' is string, another type than in part-00000.parquet"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_new_lines_with_other_columns_are_refused_before_anything_changes(
    bulk: Run, tmp_path: Path, form: str, new: dict[str, object], told: str
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    json_lines(folder / "a.jsonl", texts(15))
    arguments = (folder, out, *SHARDS, "--format", form)
    bulk(*arguments)
    before = digests(out)
    json_lines(folder / "b.jsonl", [new])
    ran = bulk("extend", *arguments)
    assert ran.status == 2
    wanted = told.replace("part-00000", "metadata/metadata_00000") if form == "npy" else told
    assert f"{wanted}; give the new files another output" in ran.told
    assert digests(out) == before
    (folder / "b.jsonl").unlink()
    assert bulk(*arguments).status == 0
    json_lines(folder / "b.jsonl", texts(1, 15))
    assert bulk("extend", *arguments).last["embedded"] == 16
    assert bulk("verify", out).status == 0


def test_a_tar_file_with_another_suffix_is_refused(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar({f"{n:02}.png": png(n) for n in range(12)}))
    arguments = (tmp_path / "*.tar", tmp_path / "out", *SHARDS)
    assert bulk(*arguments).status == 0
    (tmp_path / "1.tar").write_bytes(tar({"12.png": png(12), "12.json": b"{}"}))
    ran = bulk("extend", *arguments)
    assert ran.status == 2
    assert "a column 'json' more than in part-00000.parquet" in ran.told
    assert bulk("verify", tmp_path / "out").status == 0


def test_where_every_part_is_made_again_the_columns_may_change(bulk: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    json_lines(folder / "a.jsonl", texts(5))
    bulk(folder, out, *SHARDS)
    json_lines(folder / "b.jsonl", [{"n": 0.5, "text": "b"}])
    assert bulk("extend", folder, out, *SHARDS).last["embedded"] == 6
    assert parts(out).column("n").to_pylist() == [0, 1, 2, 3, 4, 0.5]
    assert bulk("verify", out).status == 0


def test_types_that_parquet_does_not_have_are_no_other_columns(bulk: Run, tmp_path: Path) -> None:
    rows = pa.table(
        {
            "text": [f"text {n}" for n in range(15)],
            "kind": pa.array(["a", "b", "c"] * 5, pa.dictionary(pa.int8(), pa.string())),
            "day": pa.array(range(15), pa.int64()).cast(pa.timestamp("s")),
            "long": pa.array(["x"] * 15, pa.large_string()),
            "view": pa.array(["x"] * 15, pa.string_view()),
            "nothing": pa.nulls(15),
            "list": pa.array([[1.0]] * 15, pa.list_(pa.field("x", pa.float16(), nullable=False))),
        }
    )
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    pq.write_table(rows, folder / "a.parquet")
    bulk(folder, out, *SHARDS)
    texts = pa.array([None if n == 3 else f"text {n}" for n in range(15)])
    pq.write_table(rows.set_column(0, "text", texts), folder / "b.parquet")
    ran = bulk("extend", folder, out, *SHARDS)
    assert (ran.status, ran.last["embedded"]) == (1, 29), ran.told
    assert parts(out).column("view").to_pylist() == ["x"] * 29
    assert bulk("verify", out).status == 0
