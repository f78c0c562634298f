"""The whole server as its operator sees it: what it says, what runs, what it refuses, how it adds up."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from altclip.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from tests.server import COMMAND, Logs, RunningServer, launch, outliving, start_server, until
from worker.models.sources import bundled_directory


@pytest.fixture(scope="module")
def two_models() -> Iterator[RunningServer]:
    """Two models of different widths behind two frontends."""
    models = ("--model=small=stub:dimension=8", "--model=large=stub:dimension=16")
    with start_server(*models, "--frontends=2") as running:
        yield running


def embed(server: RunningServer, model: str, texts: list[str]) -> embedding_service_pb2.EmbedTextResponse:
    """Over a connection of its own, so that the kernel spreads the calls over the frontends."""
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        return stub.EmbedText(embedding_service_pb2.EmbedTextRequest(model=model, texts=texts), timeout=60)


def refused(*arguments: str) -> tuple[int, Logs]:
    """Exit status and log of a server that does not start."""
    process, logs = launch(*arguments)
    try:
        status = process.wait(90)
        until(lambda: logs.ended, seconds=60, what="the end of its log")
        return status, logs
    finally:
        process.kill()
        process.wait()


def test_one_line_says_where_it_serves(two_models: RunningServer) -> None:
    ready = [record for record in two_models.logs.records if record["event"] == "ready"]
    assert len(ready) == 1
    assert ready[0]["http"].startswith("127.0.0.1:")
    for address in (ready[0]["grpc"], ready[0]["ops"]):
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=60).close()


def test_every_line_is_json_with_the_process_that_wrote_it(two_models: RunningServer) -> None:
    logs = two_models.logs
    until(lambda: len(logs.lines) == len(logs.records), seconds=60, what="each line is a record")
    for record in two_models.logs.records:
        assert {"ts", "level", "event", "message", "process"} <= set(record)


def test_every_process_shows_its_role(two_models: RunningServer) -> None:
    titles = sorted(" ".join(process.cmdline()).strip() for process in two_models.processes())
    assert [title for title in titles if not title.startswith("altclip-decoder")] == [
        "altclip-frontend 0",
        "altclip-frontend 1",
        "altclip-worker large cpu",
        "altclip-worker small cpu",
    ]


def test_two_models_answer_at_once_and_metrics_add_up_exactly(two_models: RunningServer) -> None:
    assert embed(two_models, "", ["a"]).model == "small"
    assert embed(two_models, "large", ["a"]).embeddings.dimension == 16
    before = {model: two_models.metric("altclip_items_total", model=model) for model in ("small", "large")}
    calls = two_models.metric("altclip_requests_total")
    for number in range(20):
        assert embed(two_models, "small", ["a"] * (1 + number)).embeddings.dimension == 8
        assert embed(two_models, "large", ["a", "b"]).embeddings.dimension == 16
    with pytest.raises(grpc.RpcError):
        embed(two_models, "unknown", ["a"])
    assert two_models.metric("altclip_items_total", model="small", outcome="ok") == before["small"] + 210
    assert two_models.metric("altclip_items_total", model="large", outcome="ok") == before["large"] + 40
    assert two_models.metric("altclip_requests_total") == calls + 41
    assert two_models.metric("altclip_requests_total", method="EmbedText", code="NOT_FOUND") == 1
    assert two_models.metric("altclip_request_duration_seconds_count", method="EmbedText") == calls + 41
    assert two_models.metric("altclip_worker_up") == 2


def test_the_version_is_told(two_models: RunningServer) -> None:
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, timeout=90, check=True)
    version = done.stdout.split()[-1]
    assert two_models.metric("altclip_build_info", version=version) == 1


def test_a_second_server_on_the_same_port_is_refused(two_models: RunningServer) -> None:
    status, logs = refused("--model=stub:", f"--grpc-address={two_models.grpc}")
    assert status == 2
    message = logs.wait_for("cannot_start", seconds=60)["message"]
    assert two_models.grpc in message
    assert "ALTCLIP_GRPC_ADDRESS" in message


@pytest.mark.parametrize("port", ["ops", "http"])
def test_a_taken_port_is_refused(two_models: RunningServer, port: str) -> None:
    status, logs = refused("--model=stub:", f"--{port}-address={getattr(two_models, port)}")
    assert status == 2
    assert f"ALTCLIP_{port.upper()}_ADDRESS" in logs.wait_for("cannot_start", seconds=60)["message"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--max-texts", "0"], 2, "--max-texts (ALTCLIP_MAX_TEXTS): '0' is not accepted"),
        (["--no-such-option"], 2, "--no-such-option"),
        (["--batch-wait=3s", "--hang-timeout=5s"], 2, "--batch-wait (ALTCLIP_BATCH_WAIT): 3 s is too long"),
        (["--model", "m=/no/such/directory"], 2, "/no/such/directory"),
        (["--model", "m=stub:", "--model", "m=stub:"], 2, "two models are called m"),
        (["--model", "=stub:"], 2, "'' is no name for a model"),
        (["--model", "m=stub:dimension=1.5"], 2, "dimension"),
        (["--model", "m=/usr"], 1, "/usr has no config.json"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(arguments: list[str], status: int, said: str) -> None:
    given, logs = refused(*arguments)
    assert given == status
    assert len(logs.lines) == 1
    assert said in logs.lines[0]
    assert "Traceback" not in logs.lines[0]


def ends_in_order(running: RunningServer, number: signal.Signals) -> None:
    """With status 0, and all its processes with it."""
    children = running.processes()
    running.process.send_signal(number)
    assert running.process.wait(60) == 0
    assert outliving(children, seconds=60) == []


def test_an_interrupt_ends_it_in_order() -> None:
    with start_server("--model=stub:") as running:
        ends_in_order(running, signal.SIGINT)
        assert running.logs.wait_for("stopped", seconds=60)["status"] == 0


def test_the_line_that_it_is_ready_comes_at_any_log_level_and_sigterm_ends_it_in_order() -> None:
    with start_server("--model=stub:", "--log-level=error") as running:
        assert [record["event"] for record in running.logs.records] == ["ready"]
        ends_in_order(running, signal.SIGTERM)


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [(None, "has neither tokenizer.json nor sentencepiece.bpe.model"), ('{"broken', "is not a tokenizer")],
)
def test_what_a_child_says_of_why_it_can_never_work_is_the_one_error_and_nothing_is_restarted(
    tmp_path: Path, tokenizer: str | None, said: str
) -> None:
    """The frontend reads the tokenizer, after the worker was started."""
    model = tmp_path / "model"
    shutil.copytree(bundled_directory(), model)
    (model / "tokenizer.json").unlink()
    if tokenizer is not None:
        (model / "tokenizer.json").write_text(tokenizer)
    status, logs = refused(f"--model=m={model}", "--frontends=2")
    assert status == 1
    (error,) = [record for record in logs.records if record["level"] == "error"]
    assert error["event"] == "gave_up"
    assert said in error["message"]
    started = [record["title"] for record in logs.records if record["event"] == "child_started"]
    assert len(started) == len(set(started)) == 3
    assert len(logs.lines) == len(logs.records)
    assert "Traceback" not in "\n".join(logs.lines)
