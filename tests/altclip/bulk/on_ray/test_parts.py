"""What an actor does with a part, and the driver with what comes back, in one process and without Ray."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from altclip import Client, bulk
from altclip.bulk.flow.work import Work
from altclip.bulk.on_ray.cluster import OnRay
from altclip.bulk.on_ray.parts import Access, PartMaker, Row, row_of
from altclip.bulk.on_ray.staging import Staging
from altclip.bulk.plan import Task
from altclip.datasets.items import DataError
from altclip.errors import RevisionChanged, Unavailable
from altclip.output import OutputError
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import digests, errors, json_lines, manifest, parts, texts
from tests.altclip.bulk.test_images import png
from tests.server import RunningServer, free_port

RAY = SimpleNamespace(
    get=lambda reference: reference, exceptions=SimpleNamespace(RayError=type("RayError", (Exception,), {}))
)


class InThisProcess(OnRay):
    """As a cluster with one actor, which takes the parts from behind, and one of them twice."""

    def _connect(self) -> Any:
        return RAY

    def _rows(self, ray: Any, work: Work, tasks: Sequence[Task], staging: Staging) -> Generator[Row]:
        actor = PartMaker(work, self.access, staging.path)
        for task in [*reversed(tasks), tasks[0]]:
            yield actor(row_of(task))


@pytest.fixture(autouse=True)
def _ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", RAY)


@pytest.fixture
def bulk_run(bulk: Run) -> Run:
    """`bulk` is the module here."""
    return bulk


@pytest.fixture
def cluster(stub: RunningServer) -> InThisProcess:
    return InThisProcess("", Access((stub.grpc,)))


def test_whoever_shows_what_actors_are_given_shows_no_secret() -> None:
    access = Access(("localhost:1",), api_key="sesame", own_certificate=(b"chain", b"private key"))
    shown = repr(OnRay("auto", access))
    assert "localhost:1" in shown
    assert "sesame" not in shown
    assert "private key" not in shown


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_the_output_is_that_of_one_process(
    bulk_run: Run, cluster: InThisProcess, form: str, tmp_path: Path
) -> None:
    rows = [row | {"text": None if row["n"] % 70 == 3 else row["text"]} for row in texts(330)]
    path = json_lines(tmp_path / "in.jsonl", rows)
    bulk_run(path, tmp_path / "plain", "--rows-per-shard", 50, "--format", form)
    summary = bulk.run(path, tmp_path / "out", client=cluster, text="text", rows_per_shard=50, format=form)
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")
    assert (summary.rows, summary.embedded, summary.errors) == (330, 325, 5)
    assert cluster.done == 330


def test_rows_that_failed_are_tried_again_and_the_others_taken_over(
    cluster: InThisProcess, tmp_path: Path
) -> None:
    names = [f"{n}.png" for n in range(20)]
    for n, name in enumerate(names):
        if n % 5:
            (tmp_path / name).write_bytes(png(n))
    path = json_lines(tmp_path / "in.jsonl", [{"image": name} for name in names])
    assert bulk.run(path, tmp_path / "out", client=cluster, rows_per_shard=6).errors == 4
    assert {row["reason"] for row in errors(tmp_path / "out")} == {"UNREADABLE_INPUT"}
    for n, name in enumerate(names):
        if n % 5 == 0:
            (tmp_path / name).write_bytes(png(n))
        else:
            (tmp_path / name).unlink()  # their vectors are known
    summary = bulk.run(path, tmp_path / "out", client=cluster, rows_per_shard=6, retry_failed=True)
    assert (summary.embedded, summary.errors) == (20, 0)
    assert parts(tmp_path / "out").column("image").to_pylist() == names


def test_too_many_errors_end_the_run_and_keep_what_is_whole(cluster: InThisProcess, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", [{"text": None if n < 9 else "a"} for n in range(30)])
    with pytest.raises(bulk.TooManyErrors):
        bulk.run(path, tmp_path / "out", client=cluster, text="text", rows_per_shard=5, max_errors=5)
    assert [part["first_row"] for part in manifest(tmp_path / "out")["parts"]] == [0, 5, 10, 15, 20, 25]
    assert manifest(tmp_path / "out")["state"] == "running"


def test_what_ends_an_actors_part_ends_the_run_as_it_would_here(
    cluster: InThisProcess, stub: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(30))

    def run(access: Access) -> None:
        cluster.access = access
        bulk.run(path, tmp_path / "out", client=cluster, text="text", rows_per_shard=5, patience=1)

    with Client(stub.grpc) as client:
        model = client.get_model("")
    monkeypatch.setattr(cluster, "model", lambda *_: model)
    with pytest.raises(Unavailable, match="answer"):
        run(Access((f"127.0.0.1:{free_port()}",)))
    with pytest.raises(DataError, match="neither a directory nor a model"):
        run(Access(model="m=nothing"))
    with pytest.raises(RevisionChanged, match="a node has the model"):
        run(Access(model="m=stub:dimension=16"))
    monkeypatch.setattr(Staging, "__init__", lambda self, output: setattr(self, "path", output / "gone"))
    with pytest.raises(OutputError, match="every node of the cluster"):
        run(Access((stub.grpc,)))
    assert manifest(tmp_path / "out")["parts"] == []


def test_paths_hold_in_other_working_folders_too(
    cluster: InThisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd [name]"
    (folder / "elsewhere").mkdir(parents=True)
    json_lines(folder / "a.jsonl", texts(3))
    monkeypatch.chdir(folder)
    # The driver has left the folder by the time at which the actor reads.
    make = cluster.make

    def make_elsewhere(*arguments: Any) -> None:
        monkeypatch.chdir(folder / "elsewhere")
        make(*arguments)

    monkeypatch.setattr(cluster, "make", make_elsewhere)
    for given in ("a.jsonl", "*.jsonl"):
        monkeypatch.chdir(folder)
        output = f"out of {given[0]}"
        assert bulk.run(given, output, client=cluster).embedded == 3
        assert parts(folder / output).num_rows == 3
