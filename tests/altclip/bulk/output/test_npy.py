"""`--format npy`: vectors in .npy files beside the metadata, as LAION's sets have them; and whatever else
holds of an output holds of this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, errors, json_lines, manifest, parts, texts

NPY = ("--format", "npy", "--rows-per-shard", 10)


def table(output: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted((output / "metadata").iterdir()))


def matrix(output: Path, folder: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.concatenate([np.load(path) for path in sorted((output / folder).iterdir())])


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
def test_the_vectors_are_those_of_parquet_row_by_row(bulk: Run, tmp_path: Path, encoding: str) -> None:
    rows = texts(35)
    rows[12]["text"] = None
    path = json_lines(tmp_path / "in.jsonl", rows)
    bulk(path, tmp_path / "parquet", "--encoding", encoding)
    out = tmp_path / "out"
    ran = bulk(path, out, "--encoding", encoding, *NPY)
    assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 34, 1)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*_00003.*")) == [
        "metadata/metadata_00003.parquet",
        "text_emb/text_emb_00003.npy",
    ]
    wanted, found = parts(tmp_path / "parquet"), table(out)
    stored = matrix(out, "text_emb")
    assert np.array_equal(stored, np.array(wanted.column("text_embedding").to_pylist()))
    assert stored.dtype == wanted.schema.field("text_embedding").type.value_type.to_pandas_dtype()
    assert found.equals(wanted.drop_columns("text_embedding"))
    assert [row["row"] for row in errors(out)] == [12]
    assert bulk("verify", out).last == {"rows": 35, "embedded": 34, "errors": 1, "faults": 0}


def test_columns_have_folders_of_their_own(bulk: Run, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", [{"en": f"cat {n}", "zh": f"猫 {n}"} for n in range(5)])
    assert bulk(path, tmp_path / "out", "--text", "en", "--text", "zh", *NPY).status == 0
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "en_emb", "errors", "manifest.json", "metadata", "zh_emb",
    ]  # fmt: skip
    json_lines(path, [{"a/b": "cat", "c": "dog"}])
    ran = bulk(path, tmp_path / "other", "--text", "a/b", "--text", "c", *NPY)
    assert ran.status == 2
    assert "'a/b' cannot be the name of a folder" in ran.told


def test_what_is_damaged_is_found_and_made_again_and_nothing_else(bulk: Run, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(40))
    out = tmp_path / "out"
    bulk(path, out, *NPY)
    before = digests(out)
    array = out / "text_emb" / "text_emb_00002.npy"
    array.write_bytes(array.read_bytes()[:-4])
    ran = bulk("verify", out)
    assert (ran.status, ran.last["faults"]) == (1, 1)
    assert bulk(path, out, *NPY).status == 0
    assert digests(out) == before
    (out / "text_emb" / "text_emb_00009.npy").write_bytes(array.read_bytes())
    assert bulk("verify", out).last["faults"] == 1


def test_failed_rows_are_tried_again_and_new_files_added(bulk: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture = next((Path(__file__).parents[4] / "docs" / "pictures").glob("*.png")).read_bytes()
    json_lines(folder / "a.jsonl", [{"image": f"{n}.png"} for n in range(15)])
    for n in range(25):
        (folder / f"{n}.png").write_bytes(picture if n != 7 else b"")
    pattern = folder / "*.jsonl"
    out = tmp_path / "out"
    assert bulk(pattern, out, *NPY).last["errors"] == 1
    (folder / "7.png").write_bytes(picture)
    assert bulk(pattern, out, *NPY, "--retry-failed").status == 0
    json_lines(folder / "b.jsonl", [{"image": f"{n}.png"} for n in range(15, 25)])
    assert bulk("extend", pattern, out, *NPY).last["embedded"] == 25
    bulk(pattern, tmp_path / "undisturbed", *NPY)
    assert digests(out) == digests(tmp_path / "undisturbed")
    assert matrix(out, "img_emb").shape == (25, 8)


def test_an_output_of_the_other_format_is_refused(bulk: Run, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(5))
    bulk(path, tmp_path / "out", "--rows-per-shard", 10)
    ran = bulk(path, tmp_path / "out", *NPY)
    assert ran.status == 2
    assert "format: parquet before, npy now" in ran.told
    assert bulk(path, tmp_path / "out", *NPY, "--fresh").status == 0
    assert manifest(tmp_path / "out")["parts"][0]["arrays"][0]["name"] == "text_emb/text_emb_00000.npy"
    assert not (tmp_path / "out" / "part-00000.parquet").exists()
