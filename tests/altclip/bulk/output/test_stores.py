"""Inputs and outputs in stores that fsspec knows. `memory://` has no rename and no lock, as object stores."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from altclip.bulk.output.files import Upload
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, json_lines, parts, texts
from tests.altclip.bulk.test_images import png, tar

SHARDS = ("--rows-per-shard", 10)


@pytest.fixture
def store() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def stored(system: Any, folder: str) -> dict[str, str]:
    """As `digests`."""
    return {
        name.removeprefix(f"{folder}/"): hashlib.sha256(system.cat_file(name)).hexdigest()
        for name in system.find(folder)
    }


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_an_output_in_a_store_is_that_of_a_folder(bulk: Run, store: Any, tmp_path: Path, form: str) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(35))
    assert bulk(path, "memory://bucket/out", *SHARDS, "--format", form).status == 0
    bulk(path, tmp_path / "out", *SHARDS, "--format", form)
    assert stored(store, "/bucket/out") == digests(tmp_path / "out")
    assert bulk("verify", "memory://bucket/out").status == 0
    again = bulk(path, "memory://bucket/out", *SHARDS, "--format", form)
    assert (again.status, again.last["embedded"], again.last["rows_per_second"]) == (0, 35, 0)


def test_a_part_that_is_missing_or_cut_off_is_made_again(bulk: Run, store: Any, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(35))
    bulk(path, "memory://bucket/out", *SHARDS)
    before = stored(store, "/bucket/out")
    name = "/bucket/out/part-00001.parquet"
    store.pipe_file(name, store.cat_file(name)[:-9])
    store.rm_file("/bucket/out/part-00002.parquet")
    assert bulk("verify", "memory://bucket/out").last["faults"] == 2
    assert bulk(path, "memory://bucket/out", *SHARDS).status == 0
    assert stored(store, "/bucket/out") == before


def test_a_run_that_ended_in_the_middle_of_an_upload_goes_on(
    bulk: Run, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(35))
    put = MemoryFileSystem.put_file

    def half(self: Any, local: str, remote: str, **options: Any) -> None:
        if remote.endswith("part-00002.parquet"):
            self.pipe_file(remote, Path(local).read_bytes()[:100])
            raise ConnectionError("the line is dead")
        put(self, local, remote, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", half)
    ran = bulk(path, "memory://bucket/out", *SHARDS)
    assert ran.status == 4
    assert "memory://bucket/out/errors/part-00002.parquet: cannot be written: the line is dead" in ran.told
    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    assert bulk(path, "memory://bucket/out", *SHARDS).status == 0
    bulk(path, tmp_path / "out", *SHARDS)
    assert stored(store, "/bucket/out") == digests(tmp_path / "out")


def test_a_run_ends_where_another_one_has_written(
    bulk: Run, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(35))
    commit = Upload.commit

    def other(self: Upload) -> None:
        commit(self)
        if str(self._location).endswith("/part-00001.parquet"):
            content = store.cat_file("/bucket/out/manifest.json")
            store.pipe_file("/bucket/out/manifest.json", content + b" ")

    monkeypatch.setattr(Upload, "commit", other)
    ran = bulk(path, "memory://bucket/out", *SHARDS)
    assert ran.status == 2
    assert "memory://bucket/out: another run uses it now" in ran.told


@pytest.mark.parametrize("error", [ConnectionError("the line is dead"), RuntimeError("access denied")])
def test_what_cannot_be_removed_is_an_output_that_cannot_be_written(
    bulk: Run, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(35))
    bulk(path, "memory://bucket/out", *SHARDS)

    def failing(self: Any, path: str) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "rm_file", failing)
    ran = bulk(path, "memory://bucket/out", *SHARDS, "--fresh")
    assert ran.status == 4
    assert f"memory://bucket/out/part-00000.parquet: cannot be removed: {error}" in ran.told


def test_each_run_sees_what_is_in_the_store_now(
    bulk: Run, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, listings = MemoryFileSystem.find, dict[str, Any]()

    def remembered(self: Any, path: str, **options: Any) -> Any:  # as those of S3 and GCS do
        if path not in listings:
            listings[path] = find(self, path, **options)
        return listings[path]

    monkeypatch.setattr(MemoryFileSystem, "find", remembered)
    monkeypatch.setattr(MemoryFileSystem, "invalidate_cache", lambda self, path=None: listings.clear())
    store.pipe_file("/in/a.jsonl", b'{"text": "a"}\n')
    assert bulk("memory://in", tmp_path / "out").last["rows"] == 1
    store.pipe_file("/in/b.jsonl", b'{"text": "b"}\n')
    assert bulk("extend", "memory://in", tmp_path / "out").last["rows"] == 2


def test_an_object_that_stands_for_a_folder_is_no_file(
    bulk: Run, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = MemoryFileSystem.find

    def with_markers(self: Any, path: str, **options: Any) -> Any:
        names = (f"{path}/", f"{path}/errors/")
        return {name: {"name": name, "size": 0, "type": "file"} for name in names} | find(
            self, path, **options
        )

    monkeypatch.setattr(MemoryFileSystem, "find", with_markers)
    path = json_lines(tmp_path / "in.jsonl", texts(3))
    for _ in range(2):
        ran = bulk(path, "memory://bucket/out")
        assert (ran.status, ran.last["embedded"]) == (0, 3), ran.told


def test_a_glob_passes_hidden_files_of_a_store_over(bulk: Run, store: Any, tmp_path: Path) -> None:
    store.pipe_file("/in/a.jsonl", b'{"text": "a"}\n')
    store.pipe_file("/in/._a.jsonl", b"of macOS")
    assert bulk("memory://in/*.jsonl", tmp_path / "out").last["rows"] == 1


@pytest.mark.parametrize("given", ["memory://data", "memory://data/**/*.parquet"])
def test_an_output_in_a_store_may_lie_in_its_input(bulk: Run, store: Any, given: str) -> None:
    for number in range(2):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(texts(12, 12 * number)), buffer)
        store.pipe_file(f"/data/in/{number}.parquet", buffer.getvalue())
    arguments = (given, "memory://data/vectors", *SHARDS)
    assert bulk(*arguments).last["rows"] == 24
    before = stored(store, "/data/vectors")
    again = bulk(*arguments)
    assert (again.status, again.last["embedded"], again.last["rows_per_second"]) == (0, 24, 0), again.told
    assert stored(store, "/data/vectors") == before


def test_something_else_in_a_store_is_left_alone(bulk: Run, store: Any, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(3))
    store.pipe_file("/bucket/out/mine.txt", b"mine")
    ran = bulk(path, "memory://bucket/out")
    assert ran.status == 2
    assert "holds something else (mine.txt)" in ran.told


def test_every_kind_of_input_is_read_from_a_store(bulk: Run, store: Any, tmp_path: Path) -> None:
    for n in range(12):
        store.pipe_file(f"/in/pictures/deep/{n:02}.png", png(n))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [png(n) for n in range(12)]}), buffer, row_group_size=5)
    store.pipe_file("/in/table.parquet", buffer.getvalue())
    store.pipe_file(
        "/in/names.jsonl", b"".join(b'{"image": "pictures/deep/%02d.png"}\n' % n for n in range(12))
    )
    store.pipe_file("/in/set.tar", tar({f"{n:02}.png": png(n) for n in range(12)}))
    found = []
    for number, given in enumerate(("pictures", "table.parquet", "names.jsonl", "set.tar", "*.tar")):
        out = tmp_path / f"out-{number}"
        assert bulk(f"memory://in/{given}", out).status == 0, given
        found.append(parts(out).column(-1))
    assert all(each.equals(found[0]) for each in found)
    first = parts(tmp_path / "out-0").to_pylist()[0]
    assert (first["path"], first["width"], first["height"]) == ("deep/00.png", 6, 4)


def test_an_input_in_a_store_that_changed_is_refused(bulk: Run, store: Any, tmp_path: Path) -> None:
    store.pipe_file("/in/a.jsonl", b'{"text": "a"}\n')
    assert bulk("memory://in/a.jsonl", tmp_path / "out").status == 0
    assert bulk("memory://in/a.jsonl", tmp_path / "out").status == 0
    store.pipe_file("/in/a.jsonl", b'{"text": "b"}\n')
    ran = bulk("memory://in/a.jsonl", tmp_path / "out")
    assert ran.status == 2
    assert "a.jsonl has changed" in ran.told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("memory://in/nothing.jsonl", "memory://in/nothing.jsonl: no files to read"),
        ("memory://in/a.txt", "not a kind of file that is read here"),
        ("nosuchstore://in/a.jsonl", "nosuchstore"),
        ("memory://in/bad.parquet", "not a whole Parquet file"),
    ],
)
def test_what_cannot_be_read_is_named(bulk: Run, store: Any, tmp_path: Path, given: str, told: str) -> None:
    store.pipe_file("/in/a.txt", b"a")
    store.pipe_file("/in/bad.parquet", b"PAR1 and no more")
    ran = bulk(given, tmp_path / "out")
    assert ran.status == 2
    assert told in ran.told


def test_a_table_is_read_over_http(bulk: Run, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(20)]}), folder / "in.parquet")
    json_lines(folder / "in.jsonl", texts(20))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        for name in ("in.parquet", "in.jsonl"):
            ran = bulk(f"{base}/{name}", tmp_path / name)
            assert ran.last["embedded"] == 20, ran.told
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""
