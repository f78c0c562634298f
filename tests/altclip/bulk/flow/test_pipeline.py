"""A run that ends before its time leaves the output to the next one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from altclip import Client
from altclip.bulk.flow import pipeline
from altclip.bulk.flow.servers import Servers
from altclip.bulk.job import Job
from altclip.bulk.output.manifest import Part
from altclip.bulk.output.parts import PartWriter
from altclip.bulk.plan import Options, Wanted
from tests.altclip.bulk.outputs import json_lines, manifest, texts
from tests.server import RunningServer


def test_a_run_that_is_interrupted_ends_after_the_part_that_is_being_written(
    stub: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "JOIN_SECONDS", 0.0)
    began, interrupted = threading.Event(), threading.Event()
    commit = PartWriter.commit

    def slow(self: PartWriter) -> Part:
        began.set()
        assert interrupted.wait(60)
        time.sleep(0.2)
        return commit(self)

    def look() -> None:
        if began.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(PartWriter, "commit", slow)
    path = json_lines(tmp_path / "in.jsonl", texts(30))
    with Client(stub.grpc) as client:
        job = Job(str(path), tmp_path / "out", Wanted(rows_per_shard=10), Options(), Servers([client]), look)
        with pytest.raises(KeyboardInterrupt):
            job.run()
        parts = [part["name"] for part in manifest(tmp_path / "out")["parts"]]
    assert parts
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == parts
    assert not list((tmp_path / "out").rglob(".*"))
