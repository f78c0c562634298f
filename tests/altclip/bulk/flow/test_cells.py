"""Cells of every type that an image column may have, and of any length: what is sent, and what is told."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from altclip.bulk.columns import Embedded
from altclip.bulk.flow.cells import SHOWN_MESSAGE, reason_and_message
from altclip.errors import InvalidImage
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import errors, json_lines, parts


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (number * 40, 0, 99)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [png(n) for n in range(5)]
STRUCTS = [{"bytes": content, "path": None} for content in PICTURES]
VIEWS = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])


def columns() -> dict[str, pa.Array]:
    return {
        "binary": pa.array(PICTURES, pa.binary()),
        "large": pa.array(PICTURES, pa.large_binary()),
        "dictionary": pa.array(PICTURES).dictionary_encode(),
        "view": pa.array(PICTURES, pa.binary_view()),
        "views in a struct": pa.array(STRUCTS, VIEWS),
    }


def test_bytes_of_every_type_have_the_same_vectors(bulk: Run, tmp_path: Path) -> None:
    found = {}
    for name, column in columns().items():
        path, out = tmp_path / f"{name}.parquet", tmp_path / f"out of {name}"
        labels = pa.array([f"picture {n}" for n in range(5)], pa.string_view())
        lists = pa.array([[f"picture {n}"] for n in range(5)], pa.list_(pa.string_view()))
        pq.write_table(pa.table({"image": column, "label": labels, "labels": lists}), path)
        with pq.ParquetFile(path) as file:  # what is tested is what a reader finds
            assert file.schema_arrow.field("image").type == column.type
        assert bulk(path, out, "--image", "image", "--id", "label").status == 0, name
        table = parts(out)
        found[name] = table.column("image_embedding").to_pylist()
        assert table.column("image").to_pylist() == column.to_pylist()
        assert table.column("label").to_pylist() == labels.to_pylist()
        assert table.column("labels").to_pylist() == lists.to_pylist()
        assert bulk("verify", out).status == 0
    assert all(each == found["binary"] for each in found.values())
    assert len({tuple(vector) for vector in found["binary"]}) == 5


def test_a_null_of_a_dictionary_fails_as_any_null(bulk: Run, tmp_path: Path) -> None:
    images = pa.array([PICTURES[0], None, PICTURES[1]]).dictionary_encode()
    pq.write_table(pa.table({"image": images}), tmp_path / "in.parquet")
    assert bulk(tmp_path / "in.parquet", tmp_path / "out").last["embedded"] == 2
    assert [(row["row"], row["reason"]) for row in errors(tmp_path / "out")] == [(1, "INVALID_REQUEST")]


@pytest.mark.parametrize("length", [6_000, 3_000_000])
def test_a_text_too_long_for_a_path_is_no_path_and_is_not_in_the_message(
    bulk: Run, tmp_path: Path, length: int
) -> None:
    content = base64.b64encode(bytes(length)).decode()
    path = json_lines(tmp_path / "in.jsonl", [{"image": content}])
    assert bulk(path, tmp_path / "out").last["errors"] == 1
    (row,) = errors(tmp_path / "out")
    assert (row["column"], row["reason"]) == ("image", "INVALID_REQUEST")
    told = f"has {len(content):,} bytes, and is neither a path nor an address"
    assert row["message"] == f"the cell of column 'image' {told}"


def test_a_long_path_is_shown_by_its_ends(bulk: Run, tmp_path: Path) -> None:
    name = "/".join(["deep" * 20] * 20)
    bulk(json_lines(tmp_path / "in.jsonl", [{"path": f"{name}/last.png"}]), tmp_path / "out")
    (row,) = errors(tmp_path / "out")
    assert row["reason"] == "UNREADABLE_INPUT"
    assert row["message"].startswith(str(tmp_path)[:50])
    assert row["message"].endswith("/last.png: No such file or directory")
    assert len(row["message"]) < 250


def test_a_folder_whose_name_is_not_unicode_can_be_told_of(bulk: Run, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "good.png").write_bytes(PICTURES[0])
    rows = [{"path": "missing.png"}, {"path": "good.png"}]
    ran = bulk(json_lines(folder / "in.jsonl", rows), tmp_path / "out")
    assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 1, 1)
    (row,) = errors(tmp_path / "out")
    assert row["message"].endswith(r"/caf\xe9/missing.png: No such file or directory")


def test_the_message_of_a_service_is_bounded_too() -> None:
    error = InvalidImage(f"begin {'x' * 5000} end", reason="URI_FETCH_FAILED")
    reason, message = reason_and_message(error, Embedded("image", is_text=False))
    assert reason == "URI_FETCH_FAILED"
    assert message.startswith("begin x")
    assert message.endswith("x end")
    assert len(message) == SHOWN_MESSAGE + 1
