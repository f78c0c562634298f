"""Two workers of one host: one copy of the weights, and what one measured is not measured again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import replacing
from tests.server import RunningServer, start_server, until


@pytest.fixture(scope="module")
def directory(checkpoints: Callable[..., Path]) -> Path:
    made = checkpoints(size="small")
    with (made / "model.safetensors").open("rb") as file:
        os.fsync(file.fileno())  # pages that are not on disk yet would count as written to
    return made


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[RunningServer]:
    options = ("--replicas", "2", "--dtype", "float32", "--restart-backoff", "100ms")
    with start_server("--model", f"m={directory}", *options) as started:
        yield started


def test_two_float32_workers_share_the_pages_of_a_float32_file(
    server: RunningServer, directory: Path
) -> None:
    workers = server.processes("altclip-worker")
    maps = [
        held
        for worker in workers
        for held in worker.memory_maps()
        if held.path == str(directory / "model.safetensors")
    ]
    assert len(workers) == len(maps) == 2
    for held in maps:
        assert held.rss > 0.3 * held.size  # all layers; of the word embeddings what was asked for
        assert held.anonymous == held.private_dirty == 0
        assert held.pss < 0.6 * held.rss  # each page counts half, but for those that only one has touched


def test_a_successor_multiplies_as_the_worker_before_it_and_measures_nothing(server: RunningServer) -> None:
    with replacing(server):
        server.processes("altclip-worker")[0].kill()

    def choices() -> list[dict[str, Any]]:
        return [each for each in server.logs.records if each.get("event") == "kernels_chosen"]

    until(lambda: len(choices()) >= 3, what="the log tells how each of three workers multiplies")
    chosen = choices()
    assert [each["measured"] for each in chosen] == [True, True, False]
    assert all({*each["native"].split()} <= {"bfloat16", "int8"} for each in chosen)
    tables = [{name: each[name] for name in each if "x" in name} for each in chosen]
    assert tables[2] in tables[:2]
    assert len(tables[2]) >= 3  # inside attention, up and down
