"""`altclip search` finds what numpy finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from altclip import Client
from altclip.cli import main
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import json_lines, parts, texts
from tests.server import RunningServer


@pytest.mark.parametrize("encoding", ["float32", "int8"])
def test_the_nearest_rows_come_first(
    bulk: Run, stub: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    json_lines(tmp_path / "in.jsonl", texts(300))
    out = tmp_path / "out"
    bulk(tmp_path / "in.jsonl", out, "--rows-per-shard", 70, "--encoding", encoding)
    assert main(["search", str(out), "--text", "text number 123", "--top-k", "5", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    with Client(stub.grpc) as client:
        query = client.embed_text("text number 123").vectors[0]
    stored = np.array(parts(out).column("text_embedding").to_pylist(), np.float32)
    scores = stored @ query / np.linalg.norm(stored, axis=1)
    assert [hit["row"] for hit in hits] == np.argsort(-scores, kind="stable")[:5].tolist()
    assert hits[0] | {"score": 1} == {"row": 123, "score": 1, "n": 123, "text": "text number 123"}
    assert main(["search", str(out), "--text", "text number 123", "--top-k", "2"]) == 0
    assert "text number 123" in capsys.readouterr().out.splitlines()[2]


def test_an_output_of_other_weights_is_not_searched(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_lines(tmp_path / "in.jsonl", texts(3))
    bulk(tmp_path / "in.jsonl", tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"revision": "another"}))
    assert main(["search", str(tmp_path / "out"), "--text", "a"]) == 1
    assert "cannot be compared" in capsys.readouterr().err


def test_a_folder_without_a_manifest_is_refused(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(tmp_path), "--text", "a"]) == 2
    assert "no output of a bulk job" in capsys.readouterr().err
