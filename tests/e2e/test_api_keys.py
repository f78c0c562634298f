"""API keys through the running service: the command that makes them, the file, and its changes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from altclip import Client
from altclip.errors import Unauthenticated
from tests.faults.harness import replacing
from tests.server import COMMAND, RunningServer, launch, start_server, until

STUB = "m=stub:dimension=8,image_size=32"


def make(name: str, *limits: str) -> tuple[str, str]:
    """A key and its line."""
    done = subprocess.run(
        [COMMAND, "key", name, *limits], capture_output=True, text=True, timeout=60, check=True
    )
    key = done.stderr.split()[-1]
    assert key not in done.stdout
    return key, done.stdout


def works(server: RunningServer, key: str | None) -> bool:
    with Client(server.grpc, api_key=key, timeout=60) as client:
        try:
            return client.embed_text(["cat"]).vectors.shape == (1, 8)
        except Unauthenticated:
            return False


def everywhere(server: RunningServer, key: str) -> bool:
    """Whether each of two frontends knows it: a connection is a frontend's by chance."""
    return all(works(server, key) for _ in range(12))


def replace(file: Path, content: str) -> None:
    """At once, so that nobody reads half of it."""
    file.with_suffix(".new").write_text(content)
    file.with_suffix(".new").rename(file)


def test_keys_are_made_by_a_command_and_read_again_when_their_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    old_key, old_line = make("search", "requests=1000/s")
    new_key, new_line = make("search", "requests=1000/s")
    file.write_text(old_line)
    with start_server("--model", STUB, "--frontends=2", f"--api-keys={file}") as server:
        assert works(server, old_key)
        assert not works(server, new_key)
        assert not works(server, None)

        replace(file, old_line + new_line)
        until(lambda: everywhere(server, new_key), what="the new key is valid")
        assert works(server, old_key)

        replace(file, "search sha256:oops\n")
        failures = "altclip_file_reload_failures_total"
        until(lambda: server.metric(failures, file="api_keys") == 1, what="the damage is noticed")
        assert server.metric("altclip_file_stale", file="api_keys") == 1
        assert works(server, new_key)

        # What is started while the file is damaged has what was good.
        with replacing(server, 2):
            for frontend in server.processes("altclip-frontend"):
                frontend.kill()
        assert not works(server, None)
        assert works(server, new_key)

        replace(file, new_line)
        until(lambda: not works(server, old_key), what="the old key is taken back")
        assert server.metric("altclip_file_stale", file="api_keys") == 0
        assert server.metric("altclip_caller_requests_total", caller="search", code="OK") >= 4
        assert server.metric("altclip_caller_requests_total", caller="anonymous", code="UNAUTHENTICATED") >= 3
        written = "\n".join(server.logs.lines) + server.scrape()
        assert not [secret for secret in (old_key, new_key) if secret in written]
        assert "open_to_everyone" not in written


@pytest.fixture(scope="module")
def limited() -> Iterator[tuple[RunningServer, str]]:
    """A server with a key of its environment, for two requests a second; and that key."""
    key, line = make("search", "requests=2/s")
    with start_server("--model", STUB, environment={"ALTCLIP_API_KEY_LINES": line}) as server:
        yield server, key


def test_keys_may_come_from_the_environment_alone(limited: tuple[RunningServer, str]) -> None:
    server, key = limited
    assert works(server, key)
    assert not works(server, None)


def test_a_client_with_the_documented_configuration_keeps_to_its_rate_unnoticed(
    limited: tuple[RunningServer, str],
) -> None:
    server, key = limited
    started = time.monotonic()
    with Client(server.grpc, api_key=key, timeout=60) as client:
        for _ in range(6):
            assert client.embed_text(["cat"]).vectors.shape == (1, 8)
    assert time.monotonic() - started > 1.9, "two at once, and one each half a second"
    refused = server.metric("altclip_caller_requests_total", caller="search", code="RESOURCE_EXHAUSTED")
    assert refused > 0


def test_strangers_make_the_server_hold_none_of_their_messages(limited: tuple[RunningServer, str]) -> None:
    server, _ = limited
    message = b"\xff" * (24 << 20)
    (frontend,) = server.processes("altclip-frontend")
    before = most = frontend.memory_info().rss
    codes: list[grpc.StatusCode] = []

    def call() -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(server.grpc, options) as channel:
            method: Any = channel.unary_unary("/altclip.v1.EmbeddingService/EmbedText")
            try:
                method(message, timeout=60)
            except grpc.RpcError as error:
                codes.append(error.code())

    threads = [threading.Thread(target=call) for _ in range(10)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, frontend.memory_info().rss)
        time.sleep(0.005)
    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * len(threads)
    assert most - before < 2 * len(message), "of ten messages of this size"


@pytest.mark.parametrize("content", [None, "", "search sha256:12\n"])
def test_an_unusable_file_at_the_start_is_one_clear_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_text(content)
    process, logs = launch("--model", STUB, f"--api-keys={file}")
    try:
        assert "--api-keys" in logs.wait_for("cannot_start")["message"]
        assert process.wait(60) == 2
    finally:
        process.kill()
        process.wait()


def test_a_server_that_everyone_can_reach_without_a_key_says_so_loudly() -> None:
    with start_server("--model", STUB, "--grpc-address=0.0.0.0:0") as server:
        (warning,) = [record for record in server.logs.records if record["event"] == "open_to_everyone"]
        assert warning["level"] == "warning"
        assert "--api-keys" in warning["message"]
