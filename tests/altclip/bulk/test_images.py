"""Images as they come: folders, paths, bytes, structs and tar files; good ones and damaged ones."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from altclip.bulk import rehearsal
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, errors, json_lines, parts


def png(number: int, size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (number * 5 % 256, number % 256, 99)).save(buffer, "PNG")
    return buffer.getvalue()


def tar(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def vectors(output: Path, column: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(parts(output).column(column).to_pylist(), np.float32)


def test_an_image_has_one_vector_however_it_is_given(bulk: Run, tmp_path: Path) -> None:
    pictures = {f"{n:02}.png": png(n, (6 + n, 4)) for n in range(12)}
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name, content in pictures.items():
        (tmp_path / "folder" / ("deep" if name < "05" else "") / name).write_bytes(content)
    (tmp_path / "files").mkdir()
    for name, content in pictures.items():
        (tmp_path / "files" / name).write_bytes(content)
    tables = {
        "bytes": [*pictures.values()],
        "structs": [{"bytes": content, "path": name} for name, content in pictures.items()],
        "paths": [{"bytes": None, "path": f"files/{name}"} for name in pictures],
    }
    for name, cells in tables.items():
        pq.write_table(pa.table({"image": cells}), tmp_path / f"{name}.parquet", row_group_size=5)
    json_lines(tmp_path / "names.jsonl", [{"image": f"files/{name}"} for name in pictures])
    samples = {f"s{name[:2]}.{kind}": content for name, content in pictures.items() for kind in ["png"]}
    (tmp_path / "set.tar").write_bytes(tar(samples))
    (tmp_path / "set.tar.gz").write_bytes(gzip.compress(tar(samples)))
    found = {}
    for given in (
        "bytes.parquet",
        "structs.parquet",
        "paths.parquet",
        "names.jsonl",
        "set.tar",
        "set.tar.gz",
    ):
        assert bulk(tmp_path / given, tmp_path / f"out-{given}", "--rows-per-shard", 5).status == 0, given
        found[given] = vectors(tmp_path / f"out-{given}", "image_embedding")
    assert all(np.array_equal(each, found["bytes.parquet"]) for each in found.values())
    assert bulk(tmp_path / "folder", tmp_path / "out").status == 0
    table = parts(tmp_path / "out")
    assert table.column("path").to_pylist() == sorted(
        f"deep/{name}" if name < "05" else name for name in pictures
    )
    assert set(table.column("width").to_pylist()) == set(range(6, 18))
    assert set(table.column("height").to_pylist()) == {4}
    order = [int(Path(name).stem) for name in table.column("path").to_pylist()]
    assert np.array_equal(vectors(tmp_path / "out", "path_embedding"), found["bytes.parquet"][order])
    assert bulk("verify", tmp_path / "out").status == 0


def test_a_webdataset_keeps_keys_captions_and_json(bulk: Run, tmp_path: Path) -> None:
    members = {}
    for n in range(4):
        members[f"a/{n}.jpg"] = png(n)
        members[f"a/{n}.json"] = b'{"width": 6}'
        members[f"a/{n}.txt"] = f"caption {n}".encode()
        members[f"a/{n}.npy"] = b"passed over"
    (tmp_path / "0.tar").write_bytes(tar(members))
    (tmp_path / "1.tar").write_bytes(tar({"b/0.png": b"no image", "b/1.txt": b"no image either"}))
    ran = bulk(tmp_path / "?.tar", tmp_path / "out", "--image", "image", "--text", "txt", "--id", "key")
    assert (ran.status, ran.last["rows"], ran.last["embedded"]) == (1, 6, 4)
    table = parts(tmp_path / "out")
    assert table.column_names[:4] == ["key", "json", "txt", "row"]
    assert "image" not in table.column_names
    assert table.column("txt").to_pylist() == [f"caption {n}" for n in range(4)]
    assert sorted((row["id"], row["column"], row["reason"]) for row in errors(tmp_path / "out")) == [
        ("b/0", "image", "UNDECODABLE_IMAGE"),
        ("b/0", "txt", "INVALID_REQUEST"),
        ("b/1", "image", "INVALID_REQUEST"),
    ]


def test_a_key_of_a_webdataset_that_is_not_unicode_shows_its_bytes(bulk: Run, tmp_path: Path) -> None:
    members = {os.fsdecode(name): png(n) for n, name in enumerate((b"caf\xe9.png", b"caf\xe8.png"))}
    (tmp_path / "in.tar").write_bytes(tar(members))
    assert bulk(tmp_path / "in.tar", tmp_path / "out").status == 0
    assert parts(tmp_path / "out").column("key").to_pylist() == [r"caf\xe9", r"caf\xe8"]


def test_hidden_members_of_a_webdataset_are_no_rows(bulk: Run, tmp_path: Path) -> None:
    hidden = {"./._0.png": b"of macOS", "__MACOSX/._0.png": b"of macOS", ".trash/1.png": png(1)}
    (tmp_path / "in.tar").write_bytes(tar(hidden | {"./0.png": png(0), "./2.png": png(2)}))
    assert bulk(tmp_path / "in.tar", tmp_path / "out").status == 0
    assert parts(tmp_path / "out").column("key").to_pylist() == ["./0", "./2"]


def test_a_caption_that_is_not_utf8_costs_its_own_row(bulk: Run, tmp_path: Path) -> None:
    for shard in range(2):
        members = {}
        for n in range(4 * shard, 4 * shard + 4):
            members[f"{n}.png"] = png(n)
            members[f"{n}.txt"] = b"caf\xe9" if n in (0, 6) else f"caption {n}".encode()
        (tmp_path / f"{shard}.tar").write_bytes(tar(members))
    arguments = (tmp_path / "*.tar", tmp_path / "out", "--id", "key", "--rows-per-shard", 3)
    assert bulk(*arguments[:1], tmp_path / "none", "--dry-run").status == 0
    ran = bulk(*arguments)
    assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 6, 2)
    found = [(row["row"], row["reason"], row["message"]) for row in errors(tmp_path / "out")]
    assert [(row, reason) for row, reason, _ in found] == [(0, "UNREADABLE_INPUT"), (6, "UNREADABLE_INPUT")]
    assert found[1][2].endswith("1.tar: 6.txt line 1: not UTF-8")
    assert parts(tmp_path / "out").column("txt").to_pylist() == [f"caption {n}" for n in (1, 2, 3, 4, 5, 7)]
    assert bulk(*arguments, "--retry-failed").last["errors"] == 2


@pytest.mark.parametrize("damage", ["cut", "header"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_tar_file_is_refused_before_the_work_begins(
    bulk: Run, tmp_path: Path, damage: str, compressed: bool
) -> None:
    content = bytearray(tar({f"{n}.png": png(n) for n in range(5)}))
    if damage == "cut":
        del content[2500:]
    else:
        content[2048:2100] = b"x" * 52
    path = tmp_path / f"in.tar{'.gz' if compressed else ''}"
    path.write_bytes(gzip.compress(bytes(content)) if compressed else bytes(content))
    ran = bulk(path, tmp_path / "out")
    assert ran.status == 2
    assert "in.tar" in ran.told
    assert not (tmp_path / "out").exists()


def test_one_image_in_a_hundred_that_is_damaged_is_told_and_costs_no_other(bulk: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    bad = {7, 133, 250}
    for n in range(300):
        (tmp_path / "in" / f"{n:03}.png").write_bytes(png(n)[: 40 if n in bad else None])
    ran = bulk(tmp_path / "in", tmp_path / "out", "--id", "path", "--rows-per-shard", 100)
    assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 297, 3)
    assert [(row["row"], row["id"], row["reason"]) for row in errors(tmp_path / "out")] == [
        (n, f"{n:03}.png", "UNDECODABLE_IMAGE") for n in sorted(bad)
    ]
    assert parts(tmp_path / "out").column("row").to_pylist() == [n for n in range(300) if n not in bad]
    assert bulk("verify", tmp_path / "out").status == 0


def test_what_is_no_file_is_unreadable_and_links_in_a_circle_end(bulk: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    (folder / "loop").symlink_to(folder)
    (folder / "self.png").symlink_to(folder / "self.png")
    os.mkfifo(folder / "pipe.png")
    ran = bulk(folder, tmp_path / "out", "--id", "path")
    assert (ran.status, ran.last["rows"], ran.last["embedded"]) == (1, 3, 1)
    assert [(row["id"], row["reason"]) for row in errors(tmp_path / "out")] == [
        ("pipe.png", "UNREADABLE_INPUT"),
        ("self.png", "UNREADABLE_INPUT"),
    ]


def test_a_table_that_is_a_pipe_is_refused(bulk: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.jsonl")
    for given in (tmp_path / "in.jsonl", tmp_path, tmp_path / "*.jsonl"):
        ran = bulk(given, tmp_path / "out")
        assert ran.status == 2
        assert "in.jsonl: not a file" in ran.told or "no files to read" in ran.told


def test_new_images_and_new_files_extend_an_output(bulk: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(15):
        (folder / f"{n:03}.png").write_bytes(png(n))
    arguments = (folder, tmp_path / "out", "--rows-per-shard", 10)
    bulk(*arguments)
    for n in range(15, 25):
        (folder / f"{n:03}.png").write_bytes(png(n))
    assert bulk(*arguments).status == 2
    assert bulk("extend", *arguments).last["embedded"] == 25
    bulk(folder, tmp_path / "undisturbed", "--rows-per-shard", 10)
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")
    (folder / "000.png").write_bytes(png(99))
    assert bulk("extend", *arguments).status == 2


@pytest.mark.parametrize("change", ["content", "new", "gone"])
def test_an_image_that_is_not_what_it_was_is_named(bulk: Run, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for n in range(1030):
        (folder / "deep" / f"{n:04}.png").write_bytes(b"no image, which is quick")
    arguments = (folder, tmp_path / "out", "--rows-per-shard", 500)
    assert bulk(*arguments).last["errors"] == 1030
    if change == "content":
        (folder / "deep" / "0517.png").write_bytes(png(1))
    elif change == "new":
        (folder / "deep" / "0517b.png").write_bytes(png(1))
    else:
        for n in range(1024, 1030):
            (folder / "deep" / f"{n:04}.png").unlink()
    told = {
        "content": "deep/0517.png has changed or is new, or an image near it is gone (1,030 images before",
        "new": "deep/0517b.png has changed or is new",
        "gone": "images are gone: 1,030 images before, 1,024 now",
    }[change]
    for command in (arguments, ("extend", *arguments)):
        ran = bulk(*command)
        assert ran.status == 2
        assert told in ran.told
    assert bulk("verify", tmp_path / "out").status == 0


def test_files_that_do_not_follow_the_old_ones_extend_nothing(bulk: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    json_lines(folder / "b.jsonl", [{"text": "b"}])
    bulk(folder, tmp_path / "out")
    json_lines(folder / "c.jsonl", [{"text": "c"}])
    assert bulk("extend", folder, tmp_path / "out").last["embedded"] == 2
    json_lines(folder / "a.jsonl", [{"text": "a"}])
    ran = bulk("extend", folder, tmp_path / "out")
    assert ran.status == 2
    assert "does not follow" in ran.told


def test_a_dry_run_counts_and_writes_nothing(bulk: Run, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", [{"text": f"text {n}"} for n in range(3000)])
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", "--dry-run")
    assert (ran.status, ran.last["rows"], ran.last["embedded"]) == (0, 3000, 0)
    assert ran.last["rows_per_second"] > 0
    assert "a sample of 1,024 rows" in ran.told
    assert not (tmp_path / "out").exists()


def test_the_sample_of_a_dry_run_is_small_where_rows_are_large(
    bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "SAMPLE_BYTES", 6000)
    table = pa.table({"text": [f"text {n}" for n in range(50)], "ballast": [bytes(500)] * 50})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=10)
    ran = bulk(tmp_path / "in.parquet", tmp_path / "out", "--dry-run")
    assert (ran.status, ran.last["rows"]) == (0, 50)
    assert "a sample of 20 rows" in ran.told
