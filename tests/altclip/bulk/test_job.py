"""A bulk job as its user sees it: what goes in, what comes out, and how it goes on."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from altclip import Client, bulk
from altclip.bulk.output.folder import Folder
from altclip.datasets.items import DataError
from tests.altclip.bulk.conftest import POISON, Run
from tests.altclip.bulk.outputs import digests, errors, json_lines, manifest, parts, texts
from tests.server import RunningServer


def test_parts_hold_every_column_its_place_and_its_vector(
    bulk: Run, stub: RunningServer, tmp_path: Path
) -> None:
    rows = [{"n": n, "text": f"text {n} " * n, "tags": ["a"] * n, "more": {"x": n}} for n in range(100)]
    ran = bulk(json_lines(tmp_path / "in.jsonl", rows), tmp_path / "out", "--rows-per-shard", 30)
    assert ran.status == 0
    assert ran.last | {"seconds": 0, "rows_per_second": 0} == {
        "rows": 100, "embedded": 100, "errors": 0, "seconds": 0, "rows_per_second": 0,
    }  # fmt: skip
    assert [len(pq.read_table(path)) for path in sorted((tmp_path / "out").glob("*.parquet"))] == [
        30, 30, 30, 10,
    ]  # fmt: skip
    table = parts(tmp_path / "out")
    assert table.select(["n", "text", "tags", "more"]).to_pylist() == rows
    assert table.column("row").to_pylist() == list(range(100))
    kind = table.schema.field("text_embedding").type
    assert (kind.list_size, kind.value_type, kind.value_field.nullable) == (8, pa.float32(), False)
    with Client(stub.grpc) as client:
        wanted = client.embed_text([str(row["text"]) for row in rows])
    assert np.array_equal(np.array(table.column("text_embedding").to_pylist(), np.float32), wanted.vectors)
    assert table.column("text_tokens").to_pylist() == list(wanted.token_counts)
    assert np.flatnonzero(table.column("text_truncated")).tolist() == list(wanted.truncated)


@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "jsonl", "csv.gz", "jsonl.gz", "jsonl.zst"])
def test_every_form_of_a_table_gives_the_same_vectors(bulk: Run, tmp_path: Path, form: str) -> None:
    rows = [{"key": f"00{n}", "text": f'several, "quoted"\twords\n{n} 红气球'} for n in range(20)]
    path = tmp_path / f"in.{form}"
    table = pa.Table.from_pylist(rows)
    if form == "parquet":
        pq.write_table(table, path, row_group_size=7)
    elif "csv" in form or form == "tsv":
        options = pyarrow.csv.WriteOptions(delimiter="\t" if form == "tsv" else ",")
        pyarrow.csv.write_csv(table, path.with_suffix("") if form.endswith("gz") else path, options)
    else:
        json_lines(path.with_suffix("") if form.count(".") else path, rows)
    if form.endswith(".gz"):
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    elif form.endswith(".zst"):
        path.write_bytes(pa.compress(path.with_suffix("").read_bytes(), "zstd", asbytes=True))
    assert bulk(path, tmp_path / "out").status == 0
    found = parts(tmp_path / "out")
    assert found.select(["key", "text"]).to_pylist() == rows
    json_lines(tmp_path / "same.jsonl", rows)
    bulk(tmp_path / "same.jsonl", tmp_path / "same")
    assert found.column("text_embedding") == parts(tmp_path / "same").column("text_embedding")


def test_a_folder_and_a_glob_are_read_in_the_order_of_their_paths(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    for number, name in enumerate(["a/2.jsonl", "b.jsonl", "c.jsonl"]):
        json_lines(tmp_path / "data" / name, texts(5, number * 5))
    (tmp_path / "data" / "_SUCCESS").touch()
    assert bulk(tmp_path / "data", tmp_path / "folder").status == 0
    assert parts(tmp_path / "folder").column("n").to_pylist() == list(range(15))
    assert bulk(tmp_path / "data" / "*.jsonl", tmp_path / "glob").status == 0
    assert parts(tmp_path / "glob").column("n").to_pylist() == list(range(5, 15))


@pytest.mark.parametrize("vector_type", ["fixed", "list"])
@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
def test_every_encoding_is_stored_in_its_own_type(
    bulk: Run, stub: RunningServer, tmp_path: Path, encoding: str, vector_type: str
) -> None:
    json_lines(tmp_path / "in.jsonl", texts(10))
    out = tmp_path / "out"
    assert bulk(tmp_path / "in.jsonl", out, "--encoding", encoding, "--vector-type", vector_type).status == 0
    table = parts(out)
    kind = table.schema.field("text_embedding").type
    assert pa.types.is_fixed_size_list(kind) == (vector_type == "fixed")
    assert not kind.value_field.nullable
    with Client(stub.grpc) as client:
        wanted = client.embed_text([row["text"] for row in texts(10)], encoding=encoding).embeddings  # type: ignore[arg-type]
    assert kind.value_type.to_pandas_dtype() == wanted.codes.dtype
    assert np.array_equal(np.array(table.column("text_embedding").to_pylist()), wanted.codes)
    assert ("text_scale" in table.column_names) == (encoding == "int8")
    if encoding == "int8":
        assert np.array_equal(table.column("text_scale").to_numpy(), wanted.scales)
    assert bulk("verify", out).status == 0


def test_several_columns_are_embedded_in_one_pass(bulk: Run, tmp_path: Path) -> None:
    rows = [{"en": f"a cat {n}", "zh": f"一只猫 {n}"} for n in range(20)]
    ran = bulk(json_lines(tmp_path / "in.jsonl", rows), tmp_path / "out", "--text", "en", "--text", "zh")
    assert ran.status == 0
    table = parts(tmp_path / "out")
    assert {"en_embedding", "en_tokens", "zh_embedding", "zh_truncated"} <= set(table.column_names)
    assert table.column("en_embedding") != table.column("zh_embedding")


def test_rows_that_fail_are_in_the_errors_table_and_nowhere_else(bulk: Run, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"key": f"k{n}", "text": f"text {n}"} for n in range(200)]
    rows[7]["text"] = None
    rows[77] = {"key": None}
    rows[111]["text"] = f"{POISON} text"
    rows[150]["text"] = "long " * 20_000
    rows[199]["text"] = 5
    out = tmp_path / "out"
    ran = bulk(json_lines(tmp_path / "in.jsonl", rows), out, "--id", "key", "--rows-per-shard", 50)
    assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 195, 5)
    assert [(row["row"], row["id"], row["column"], row["reason"]) for row in errors(out)] == [
        (7, "k7", "text", "INVALID_REQUEST"),
        (77, None, "text", "INVALID_REQUEST"),
        (111, "k111", "text", "INTERNAL"),
        (150, "k150", "text", "TEXT_TOO_LONG"),
        (199, "k199", "text", "INVALID_REQUEST"),
    ]
    assert parts(out).column("row").to_pylist() == [n for n in range(200) if n not in {7, 77, 111, 150, 199}]
    assert bulk("verify", out).status == 0
    assert manifest(out)["errors"] == 5


def test_the_same_command_once_more_changes_nothing(bulk: Run, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(50))
    bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 20)
    before = digests(tmp_path / "out")
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 20)
    assert (ran.status, ran.last["embedded"], ran.last["rows_per_second"]) == (0, 50, 0)
    assert digests(tmp_path / "out") == before


def test_a_part_that_was_cut_off_is_found_and_made_again(bulk: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    json_lines(tmp_path / "in.jsonl", texts(100))
    bulk(tmp_path / "in.jsonl", out, "--rows-per-shard", 10)
    before = digests(out)
    part = out / "part-00003.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    (out / "part-00005.parquet").unlink()
    ran = bulk("verify", out)
    assert (ran.status, ran.last["faults"]) == (1, 2)
    assert bulk(tmp_path / "in.jsonl", out, "--rows-per-shard", 10).status == 0
    assert digests(out) == before
    assert bulk("verify", out).status == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rows-per-shard", 20], "rows per shard: 10 before, 20 now"),
        (["--encoding", "int8"], "encoding: float32 before, int8 now"),
        (["--vector-type", "list"], "vector type: fixed before, list now"),
        (["--text", "other"], "text: text before, other now"),
        (["--orientation", "upright"], "orientation: as_stored before, upright now"),
    ],
)
def test_an_output_that_was_made_otherwise_is_refused(
    bulk: Run, tmp_path: Path, arguments: list[str | int], told: str
) -> None:
    rows = [row | {"other": "words"} for row in texts(20)]
    json_lines(tmp_path / "in.jsonl", rows)
    bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 10)
    before = digests(tmp_path / "out")
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 10, *arguments)
    assert ran.status == 2
    assert told in ran.told
    assert digests(tmp_path / "out") == before


def test_an_input_that_has_changed_is_refused_and_fresh_begins_anew(bulk: Run, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(20))
    bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 5)
    json_lines(tmp_path / "in.jsonl", [row | {"text": "other words"} for row in texts(10)])
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 5)
    assert ran.status == 2
    assert "in.jsonl has changed" in ran.told
    assert bulk(tmp_path / "in.jsonl", tmp_path / "out", "--rows-per-shard", 5, "--fresh").status == 0
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
    assert bulk("verify", tmp_path / "out").status == 0


def test_an_input_whose_name_is_not_utf8_is_known_again(bulk: Run, tmp_path: Path) -> None:
    path = json_lines(tmp_path / os.fsdecode(b"caf\xe9.jsonl"), texts(5))
    assert bulk(path, tmp_path / "out").status == 0
    again = bulk(path, tmp_path / "out")
    assert (again.status, again.last["embedded"], again.last["rows_per_second"]) == (0, 5, 0), again.told
    json_lines(path, texts(6))
    assert r"caf\xe9.jsonl has changed" in bulk(path, tmp_path / "out").told


def test_a_folder_that_holds_something_else_is_left_alone(bulk: Run, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(5))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000.parquet").write_text("somebody else's")
    for arguments in ([], ["--fresh"]):
        ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", *arguments)
        assert ran.status == 2
        assert "holds something else (part-00000.parquet)" in ran.told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part-00000.parquet"]


def test_a_file_that_the_manifest_does_not_name_is_found(bulk: Run, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(20))
    out, arguments = tmp_path / "out", ("--rows-per-shard", 5)
    bulk(tmp_path / "in.jsonl", out, *arguments)
    (out / "part-00009.parquet").write_bytes((out / "part-00000.parquet").read_bytes())
    assert bulk("verify", out).last["faults"] == 1
    ran = bulk(tmp_path / "in.jsonl", out, *arguments, "--fresh")
    assert ran.status == 2
    assert "holds something else (part-00009.parquet)" in ran.told
    (out / "part-00009.parquet").unlink()
    assert bulk("verify", out).status == 0


def test_a_second_run_on_one_output_is_refused_and_may_be_tried_again(bulk: Run, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(5))
    with Folder(tmp_path / "out"):
        ran = bulk(tmp_path / "in.jsonl", tmp_path / "out")
    assert ran.status == 2
    assert "another run uses it now" in ran.told
    assert bulk(tmp_path / "in.jsonl", tmp_path / "out").status == 0


def test_a_file_system_without_locks_holds_an_output(
    bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:  # as Lustre's
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    path, out = json_lines(tmp_path / "in.jsonl", texts(20)), tmp_path / "out"
    assert bulk(path, out).status == 0
    with Folder(out) as first, Folder(out) as second:
        found = [each.prepare() for each in (first, second)]
        assert found[0] is not None
        first.save(replace(found[0], state="running"))
        with pytest.raises(DataError, match="another run uses it now"):
            second.save(found[0])
    assert bulk(path, out).last["embedded"] == 20


def test_an_input_without_rows_gives_one_part_without_rows(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,n\n")
    assert bulk(tmp_path / "in.csv", tmp_path / "out").status == 0
    assert parts(tmp_path / "out").column_names[:3] == ["text", "n", "row"]
    assert bulk("verify", tmp_path / "out").status == 0


def test_so_many_errors_end_the_job_and_it_goes_on_later(bulk: Run, tmp_path: Path) -> None:
    rows = [{"text": None if 50 <= n < 60 else f"text {n}"} for n in range(100)]
    json_lines(tmp_path / "in.jsonl", rows)
    out = tmp_path / "out"
    ran = bulk(tmp_path / "in.jsonl", out, "--max-errors", 5, "--rows-per-shard", 10)
    assert ran.status == 1
    assert "--max-errors" in ran.told
    assert ran.last["embedded"] < 90
    assert bulk(tmp_path / "in.jsonl", out, "--rows-per-shard", 10).last["errors"] == 10


def test_rows_that_failed_are_tried_again_and_take_their_place(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    rows = [{"text": f"text {n}", "image": f"{n}.png"} for n in range(4)]
    json_lines(tmp_path / "words" / "in.jsonl", rows)
    out = tmp_path / "out"
    arguments = (tmp_path / "words" / "in.jsonl", out, "--text", "text", "--image", "image")
    png = (Path(__file__).parents[3] / "docs" / "pictures").glob("*.png")
    picture = next(png).read_bytes()
    for n in (0, 2, 3):
        (tmp_path / "words" / f"{n}.png").write_bytes(picture)
    assert bulk(*arguments).status == 1
    (row,) = errors(out)
    assert (row["row"], row["column"], row["reason"]) == (1, "image", "UNREADABLE_INPUT")
    (tmp_path / "words" / "1.png").write_bytes(picture)
    assert bulk(*arguments).last["errors"] == 1
    assert bulk(*arguments, "--retry-failed").status == 0
    assert (errors(out), parts(out).column("row").to_pylist()) == ([], [0, 1, 2, 3])
    bulk(*arguments[:1], tmp_path / "undisturbed", *arguments[2:])
    assert digests(out) == digests(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": "float8"}, {"vector_type": "Fixed"}, {"orientation": "up"}, {"format": "csv"}],
)
def test_a_word_that_nobody_knows_is_refused_before_anything_is_written(
    stub: RunningServer, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(3))
    ((name, word),) = wrong.items()
    with Client(stub.grpc) as client, pytest.raises(DataError, match=f"{name} is one of .*, not '{word}'"):
        bulk.run(path, tmp_path / "out", client=client, **wrong)
    assert not (tmp_path / "out").exists()


def test_the_python_face_gives_a_summary(stub: RunningServer, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(30))
    with Client(stub.grpc) as client:
        summary = bulk.run(tmp_path / "in.jsonl", tmp_path / "out", client=client, text="text")
    assert (summary.rows, summary.embedded, summary.errors) == (30, 30, 0)
    assert summary.slowest in {"reading", "preparing", "writing", "server"}
