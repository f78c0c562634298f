"""Requests of a batch file that fail: they are tried again when asked for, and so many end the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.altclip.bulk.conftest import Ran, Run
from tests.altclip.bulk.openai.http_service import Service
from tests.altclip.bulk.outputs import digests, json_lines, running
from tests.server import until

COUNT = 20


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    made = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/embeddings", "body": {"input": str(n)}}
        for n in range(COUNT)
    ]
    return json_lines(tmp_path / "in.jsonl", made)


def ids(path: Path) -> list[int]:
    return [int(json.loads(line)["custom_id"]) for line in path.read_text("utf-8").splitlines()]


def found(out: Path) -> tuple[list[int], list[int]]:
    return ids(out / "output.jsonl"), ids(out / "errors.jsonl")


def counts(ran: Ran) -> tuple[int, Any, Any, Any]:
    return ran.status, ran.last["rows"], ran.last["embedded"], ran.last["errors"]


def test_those_that_failed_are_tried_again_and_stand_in_their_places(
    bulk: Run, service: Service, requests: Path, tmp_path: Path
) -> None:
    out, http = tmp_path / "out", ("--http", service.url)
    service.failing = {"3", "7", "19"}
    assert counts(bulk("openai", requests, out, *http)) == (1, COUNT, COUNT - 3, 3)
    service.asked.clear()
    service.failing = {"7"}
    assert counts(bulk("openai", requests, out, *http)) == (1, COUNT, COUNT - 3, 3)
    assert service.asked == []
    assert counts(bulk("openai", requests, out, *http, "--retry-failed")) == (1, COUNT, COUNT - 1, 1)
    assert sorted(service.asked) == ["19", "3", "7"]
    assert found(out) == ([n for n in range(COUNT) if n != 7], [7])
    service.failing = set()
    assert counts(bulk("openai", requests, out, *http, "--retry-failed")) == (0, COUNT, COUNT, 0)
    assert bulk("openai", requests, tmp_path / "undisturbed", *http).status == 0
    assert digests(out) == digests(tmp_path / "undisturbed")


def test_a_kill_while_they_are_tried_again_loses_no_answer(
    bulk: Run, service: Service, requests: Path, tmp_path: Path
) -> None:
    out, http = tmp_path / "out", ("--http", service.url)
    service.failing = {"3", "7"}
    assert bulk("openai", requests, out, *http).status == 1
    service.failing, service.held = set(), {"7"}
    retried = out / ".retried.jsonl.partial"
    with running("", "openai", requests, out, *http, "--retry-failed") as process:
        until(lambda: retried.exists() and b"\n" in retried.read_bytes(), seconds=60, what="an answer")
        process.kill()
        process.wait()
    assert ids(retried) == [3]
    with retried.open("ab") as file:
        file.write(b'{"id": "batch_req_')  # a line that is cut off
    service.released.set()
    assert counts(bulk("openai", requests, out, *http)) == (1, COUNT, COUNT - 1, 1)
    assert found(out) == ([n for n in range(COUNT) if n != 7], [7])
    assert not retried.exists()
    assert counts(bulk("openai", requests, out, *http, "--retry-failed")) == (0, COUNT, COUNT, 0)
    assert found(out) == (list(range(COUNT)), [])


@pytest.mark.parametrize("killed_before", ["output.jsonl", "the removal"])
def test_a_kill_while_their_answers_are_put_in_place_changes_nothing(
    bulk: Run, service: Service, requests: Path, tmp_path: Path, killed_before: str
) -> None:
    out, http = tmp_path / "out", ("--http", service.url)
    service.failing = {"3", "7"}
    assert bulk("openai", requests, out, *http).status == 1
    before, failed = (out / "output.jsonl").read_bytes(), (out / "errors.jsonl").read_text("utf-8")
    service.failing = {"7"}
    assert bulk("openai", requests, out, *http, "--retry-failed").status == 1
    whole = digests(out)
    # What a kill leaves: the file of further tries, and the files that had not yet been replaced.
    three = next(line for line in (out / "output.jsonl").read_text("utf-8").splitlines() if '"3"' in line)
    (out / ".retried.jsonl.partial").write_text(f"{three}\n{failed.splitlines()[1]}\n", "utf-8")
    if killed_before == "output.jsonl":
        (out / "output.jsonl").write_bytes(before)
    assert counts(bulk("openai", requests, out, *http)) == (1, COUNT, COUNT - 1, 1)
    assert digests(out) == whole


@pytest.mark.parametrize("again", [False, True])
def test_so_many_that_fail_end_the_run_and_the_same_command_goes_on(
    bulk: Run, service: Service, requests: Path, tmp_path: Path, again: bool
) -> None:
    out, http = tmp_path / "out", ("--http", service.url)
    service.failing = {str(n) for n in range(10, COUNT)}
    more = ("--retry-failed",) if again else ()
    if again:
        assert bulk("openai", requests, out, *http).last["errors"] == 10
    ran = bulk("openai", requests, out, *http, *more, "--max-errors", 2)
    assert counts(ran) == (1, COUNT, 10, 10 if again else 2)
    assert "stopped because of --max-errors: 2 requests failed" in ran.told
    assert "the same command, without --fresh, goes on" in ran.told
    service.failing = set()
    assert counts(bulk("openai", requests, out, *http, "--retry-failed")) == (0, COUNT, COUNT, 0)
    assert found(out) == (list(range(COUNT)), [])
