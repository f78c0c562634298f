"""OpenAI's batch files through the HTTP port: every request is answered once, in OpenAI's form."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.altclip.bulk.conftest import HELD, POISON, Paced, Ran, Run
from tests.altclip.bulk.outputs import COMMAND, digests, json_lines
from tests.server import RunningServer, free_port, start_server, until

Batch = Callable[..., Ran]


@pytest.fixture
def batch(bulk: Run, stub: RunningServer) -> Batch:
    """Runs `altclip bulk openai` with these arguments."""
    return lambda *arguments: bulk("openai", *arguments, "--http", f"http://{stub.http}")


def request(number: int, text: Any, **changes: Any) -> dict[str, Any]:
    body = {"model": "stub", "input": text}
    made = {"custom_id": f"r-{number}", "method": "POST", "url": "/v1/embeddings", "body": body}
    return made | changes


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_request_is_answered_in_its_order_and_in_openais_form(batch: Batch, tmp_path: Path) -> None:
    requests = [request(n, [f"text {n}", f"more {n}"]) for n in range(100)]
    requests[7]["body"]["input"] = f"{POISON} text"
    requests[50]["body"]["input"] = []
    requests[60]["url"] = "/v1/nothing"
    ran = batch(json_lines(tmp_path / "in.jsonl", requests), tmp_path / "out")
    assert (ran.status, ran.last["rows"], ran.last["embedded"], ran.last["errors"]) == (1, 100, 97, 3)
    answers = lines(tmp_path / "out" / "output.jsonl")
    assert [each["custom_id"] for each in answers] == [f"r-{n}" for n in range(100) if n not in {7, 50, 60}]
    first = answers[0]
    assert set(first) == {"id", "custom_id", "response", "error"}
    assert (first["error"], first["response"]["status_code"]) == (None, 200)
    assert first["response"]["request_id"]
    body = first["response"]["body"]
    assert [len(each["embedding"]) for each in body["data"]] == [8, 8]
    assert body["usage"]["total_tokens"] > 0
    failed = lines(tmp_path / "out" / "errors.jsonl")
    assert [(each["custom_id"], each["response"]["status_code"]) for each in failed] == [
        ("r-7", 500),
        ("r-50", 400),
        ("r-60", 404),
    ]
    assert failed[1]["response"]["body"]["error"]["param"] == "input"


def test_the_same_command_once_more_changes_nothing(batch: Batch, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", [request(n, f"text {n}") for n in range(5)])
    assert batch(path, tmp_path / "out").status == 0
    (tmp_path / "out" / ".DS_Store").write_bytes(b"of a file manager")
    before = digests(tmp_path / "out")
    assert batch(path, tmp_path / "out").last["embedded"] == 5
    assert digests(tmp_path / "out") == before


def test_a_kill_while_fresh_removes_leaves_what_it_can_go_on_with(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = json_lines(tmp_path / "in.jsonl", [request(n, f"text {n}") for n in range(5)])
    out, unlink = tmp_path / "out", Path.unlink
    batch(path, out)

    def killed(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        if sum(each.is_file() for each in out.iterdir()) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    assert batch(path, out, "--fresh").status == 130
    monkeypatch.setattr(Path, "unlink", unlink)
    assert batch(path, out, "--fresh").last["embedded"] == 5


def test_a_store_is_no_place_for_answers(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    json_lines(tmp_path / "in.jsonl", [request(0, "a")])
    for given in (("in.jsonl", "memory://bucket/out"), ("memory://bucket/in.jsonl", "out")):
        ran = batch(*given)
        assert ran.status == 2
        assert "are files of this machine" in ran.told
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_after_a_kill_it_goes_on_and_answers_nothing_twice(
    bulk: Run, paced: Paced, hold: Path, tmp_path: Path
) -> None:
    requests = [*(request(n, f"text {n}") for n in range(399)), request(399, HELD)]
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(json_lines(tmp_path / "in", requests).read_bytes()))
    out, partial = tmp_path / "out", tmp_path / "out" / ".output.jsonl.partial"
    arguments = ("--http", f"http://{paced.server.http}")
    with subprocess.Popen([COMMAND, "bulk", "openai", path, out, *arguments]) as process:
        until(lambda: partial.exists() and len(partial.read_bytes().splitlines()) > 20, what="21 answers")
        process.kill()
    whole = partial.read_bytes()
    partial.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 100])  # a line that is cut off
    assert not (out / "output.jsonl").exists()
    hold.unlink()
    ran = bulk("openai", path, out, *arguments)
    assert (ran.status, ran.last["embedded"]) == (0, 400)
    assert bulk("openai", path, tmp_path / "undisturbed", *arguments).status == 0
    assert [each["custom_id"] for each in lines(out / "output.jsonl")] == [f"r-{n}" for n in range(400)]
    assert digests(out) == digests(tmp_path / "undisturbed")


@pytest.mark.parametrize("killed_before", ["output.jsonl", "errors.jsonl", "the manifest"])
def test_after_a_kill_between_the_last_renames_nothing_is_lost(
    batch: Batch, tmp_path: Path, killed_before: str
) -> None:
    requests = [request(n, f"text {n}" if n % 2 else []) for n in range(10)]
    path, out = json_lines(tmp_path / "in.jsonl", requests), tmp_path / "out"
    assert batch(path, out).last["errors"] == 5
    before = digests(out)
    if killed_before != "the manifest":
        (out / killed_before).rename(out / f".{killed_before}.partial")
    manifest = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(manifest.replace('"done"', '"running"'))
    ran = batch(path, out)
    assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 5, 5)
    assert digests(out) == before


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no json", "line 2"),
        ("[]", "line 2: not a JSON object"),
        (json.dumps(request(1, "a", custom_id="")), "line 2: custom_id"),
        (json.dumps(request(1, "a", method="GET")), "line 2: method must be POST"),
        (json.dumps(request(1, "a", url="http://elsewhere/")), "line 2: url must be a path"),
        (json.dumps(request(1, "a", url="/v1/embed\tdings")), "line 2: url must be a path"),
        (json.dumps(request(1, "a", body=[])), "line 2: body"),
        (json.dumps(request(0, "a")), "two requests have the custom_id 'r-0'"),
    ],
)
def test_a_line_that_is_no_request_is_named_before_anything_is_sent(
    batch: Batch, tmp_path: Path, line: str, told: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f"{json.dumps(request(0, 'a'))}\n{line}\n")
    ran = batch(path, tmp_path / "out")
    assert ran.status == 2
    assert told in ran.told
    assert not (tmp_path / "out").exists()


def test_an_output_of_another_batch_or_with_something_else_is_refused(batch: Batch, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", [request(0, "a")])
    batch(path, tmp_path / "out")
    json_lines(path, [request(0, "b")])
    ran = batch(path, tmp_path / "out")
    assert ran.status == 2
    assert "another batch file" in ran.told
    assert batch(path, tmp_path / "out", "--fresh").status == 0
    (tmp_path / "out" / "mine.txt").touch()
    ran = batch(path, tmp_path / "out")
    assert ran.status == 2
    assert "mine.txt" in ran.told


def test_a_refused_key_or_a_service_that_is_away_ends_it_with_3(
    bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.config.keys import make_key

    path = json_lines(tmp_path / "in.jsonl", [request(0, "a")])
    away = ("--http", f"http://127.0.0.1:{free_port()}", "--patience", "0")
    ran = bulk("openai", path, tmp_path / "out", *away)
    assert ran.status == 3
    assert "no server answers at http://127.0.0.1" in ran.told
    _, line = make_key("somebody")
    environment = {"ALTCLIP_API_KEY_LINES": line}
    with start_server("--model", "stub:dimension=8", environment=environment) as server:
        ran = bulk("openai", path, tmp_path / "out", "--http", f"http://{server.http}")
        monkeypatch.setenv("ALTCLIP_ADDRESS", server.grpc)
        table = json_lines(tmp_path / "table.jsonl", [{"text": "a"}])
        over_grpc = bulk(table, tmp_path / "vectors")
    assert ran.status == 3
    assert "refuses the key" in ran.told
    assert over_grpc.status == 3
    assert "key" in over_grpc.told
