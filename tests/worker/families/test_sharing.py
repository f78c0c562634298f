"""Two workers of one host, one copy of the weights: both map the file and neither writes to its pages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.server import start_server


def test_two_float32_workers_share_the_pages_of_a_float32_file(checkpoints: Callable[..., Path]) -> None:
    directory = checkpoints(size="small")
    with (directory / "model.safetensors").open("rb") as file:
        os.fsync(file.fileno())  # pages that are not on disk yet would count as written to
    with start_server("--model", f"m={directory}", "--replicas", "2", "--dtype", "float32") as server:
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
