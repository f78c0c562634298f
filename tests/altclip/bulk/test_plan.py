"""What a run decides before it begins: what fits, and which parts are made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from altclip.bulk.output.manifest import DONE, Manifest, Part, load, misfits
from altclip.bulk.plan import Options, Task, begin, runs, tasks
from altclip.datasets.items import DataError


def manifest(**changes: Any) -> Manifest:
    files = [{"path": "a.jsonl", "size": 3, "hash": "x"}]
    made: dict[str, Any] = {
        "input": {"kind": "jsonl", "files": files},
        "options": {"text": ["text"], "rows_per_shard": 10},
        "model": "m",
        "revision": "r",
        "dtype": "float32",
        "dimension": 8,
        "encoding": "float32",
        "rows": 25,
    }
    return Manifest(**(made | changes))


def part(number: int, rows: int, errors: int = 0) -> Part:
    return Part(f"part-{number:05d}.parquet", number * 10, rows, 1, "x", errors, 1, "x")


def whole(part: Part) -> bool:
    return part.sha256 == "x"


def test_a_manifest_is_read_as_it_was_written() -> None:
    given = replace(manifest().with_part(part(1, 9, 1)).with_part(part(0, 10)), state=DONE)
    assert load(given.dump(), "m").dump() == given.dump()
    assert [each.name for each in given.parts] == ["part-00000.parquet", "part-00001.parquet"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"version": 1}', b'{"version": 2}', b"\xff"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^where: "):
        load(content, "where")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"revision": "s"}, ["revision: r before, s now"]),
        ({"model": "n"}, ["model: m before, n now"]),
        ({"dtype": "int8"}, ["dtype: float32 before, int8 now"]),
        ({"options": {"text": ["a", "b"], "rows_per_shard": 10}}, ["text: text before, a, b now"]),
        ({"input": {"kind": "csv", "files": []}}, ["input: jsonl before, csv now"]),
        (
            {"input": {"kind": "jsonl", "files": [{"path": "b.jsonl", "size": 3, "hash": "x"}]}},
            ["input: a.jsonl is gone", "input: b.jsonl is new"],
        ),
        ({"rows": 30}, []),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], told: list[str]) -> None:
    assert misfits(manifest(), manifest(**changes)) == told


def test_the_same_files_with_other_rows_are_refused() -> None:
    found = manifest(rows=25)
    assert begin(found, manifest(rows=25), Options()).rows == 25
    with pytest.raises(DataError, match="input: 25 rows before, 24 now"):
        begin(found, manifest(rows=24), Options())
    assert begin(found, manifest(rows=24), Options(fresh=True)).rows == 24


def test_names_of_files_that_are_not_utf8_are_the_same_when_they_are_read_again() -> None:
    files = [
        {"path": "caf\udce9.jsonl", "size": 3, "hash": "x"},
        {"path": "猫.jsonl", "size": 3, "hash": "x"},
    ]
    given = manifest(input={"kind": "jsonl", "base": "/\udce9", "files": files})
    assert "猫.jsonl".encode() in given.dump()
    assert misfits(load(given.dump(), "m"), given) == []


def test_missing_damaged_short_and_failed_parts_are_made() -> None:
    found = manifest().with_part(part(0, 9, 1)).with_part(part(1, 10)).with_part(part(2, 3))
    assert tasks(found, 10, whole, retry=False) == [Task(2, 20, 5, part(2, 3))]
    assert tasks(found, 10, whole, retry=True)[0] == Task(0, 0, 10, part(0, 9, 1))
    damaged = found.with_part(replace(part(1, 10), sha256="y"))
    assert [task.number for task in tasks(damaged, 10, whole, retry=False)] == [1, 2]
    assert tasks(manifest(rows=0), 10, whole, retry=False) == [Task(0, 0, 0)]


def test_parts_that_follow_each_other_are_read_in_one_go() -> None:
    given = [Task(number, number * 10, 10) for number in (0, 1, 4, 6, 7)]
    assert [[task.number for task in run] for run in runs(given)] == [[0, 1], [4], [6, 7]]


def test_an_extension_needs_an_output_and_unchanged_files() -> None:
    first = manifest()
    second = {"path": "b.jsonl", "size": 1, "hash": "y"}
    grown = manifest(input={"kind": "jsonl", "files": [*first.input["files"], second]}, rows=30)
    assert begin(first, grown, Options(extend=True)).rows == 30
    with pytest.raises(DataError, match="no output"):
        begin(None, grown, Options(extend=True))
    with pytest.raises(DataError, match=r"b.jsonl is new"):
        begin(first, grown, Options())
    early = manifest(input={"kind": "jsonl", "files": [second, *first.input["files"]]})
    with pytest.raises(DataError, match=r"b.jsonl is new, and does not follow"):
        begin(first, early, Options(extend=True))
    assert begin(first, early, Options(fresh=True)) == early
