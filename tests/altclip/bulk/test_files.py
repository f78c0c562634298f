"""An output may lie in the folder of its input: what is in it is never read as input."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, json_lines, parts, texts
from tests.altclip.bulk.test_images import png

SHARDS = ("--rows-per-shard", 10)


def table(path: Path, count: int, start: int = 0) -> None:
    pq.write_table(pa.Table.from_pylist(texts(count, start)), path)


@pytest.mark.parametrize("given", ["data", "data/**/*.parquet", "link/../data"])
@pytest.mark.parametrize("output", ["data/vectors", "linked", "data/deep/../deep/vectors"])
def test_a_job_goes_on_with_an_output_in_its_input(
    bulk: Run, tmp_path: Path, given: str, output: str
) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "linked").symlink_to(data / "deep" / "vectors")
    (data / "deep" / "vectors").mkdir()
    table(data / "deep" / "0.parquet", 12)
    table(data / "deep" / "1.parquet", 12, 12)
    arguments = (tmp_path / given, tmp_path / output, *SHARDS)
    assert bulk(*arguments).last["rows"] == 24
    before = digests(tmp_path / output)
    again = bulk(*arguments)
    assert (again.status, again.last["embedded"], again.last["rows_per_second"]) == (0, 24, 0), again.told
    assert digests(tmp_path / output) == before
    table(data / "deep" / "2.parquet", 12, 24)
    assert bulk("extend", *arguments).status == 0
    assert parts(tmp_path / output).column("n").to_pylist() == list(range(36))
    assert bulk(*arguments, "--fresh").last["rows"] == 36


def test_hidden_files_in_an_output_are_left_alone(bulk: Run, tmp_path: Path) -> None:
    path, out = json_lines(tmp_path / "in.jsonl", texts(5)), tmp_path / "out"
    bulk(path, out)
    hidden = [out / ".DS_Store", out / "errors" / "._part-00000.parquet", out / ".nfs0000000000000042"]
    for each in hidden:
        each.write_bytes(b"of somebody else")
    for command in ((path, out), (path, out, "--fresh"), ("verify", out)):
        assert bulk(*command).status == 0
    assert all(each.read_bytes() == b"of somebody else" for each in hidden)


def test_a_glob_gives_each_file_once(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for number, name in enumerate(("a/x.jsonl", "a/b/y.jsonl")):
        json_lines(tmp_path / name, texts(2, 2 * number))
    assert bulk(tmp_path / "**" / "**" / "*.jsonl", tmp_path / "out").last["rows"] == 4


def test_pictures_may_have_their_vectors_beside_them(bulk: Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(15):
        (photos / f"{n:02}.png").write_bytes(png(n))
    arguments = (photos, photos / "vectors", *SHARDS)
    assert bulk(*arguments).last["embedded"] == 15
    assert bulk(*arguments).status == 0
    (photos / "15.png").write_bytes(png(15))
    assert bulk("extend", *arguments).last["embedded"] == 16


def test_an_input_that_lies_in_its_output_is_refused(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "in").mkdir(parents=True)
    json_lines(tmp_path / "out" / "in" / "a.jsonl", texts(5))
    for given in ("out", "out/in", "out/in/a.jsonl", "out/in/*.jsonl"):
        ran = bulk(tmp_path / given, tmp_path / "out")
        assert ran.status == 2
        assert "holds something else (in/a.jsonl)" in ran.told
