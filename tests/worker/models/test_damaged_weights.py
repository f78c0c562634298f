"""Weights that rotted after their conversion, with a real worker process."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.workers import started

BUNDLED = Path(__file__).parents[3] / "worker" / "bundled"


def test_weights_that_are_not_what_their_manifest_says_are_not_served_for_long(tmp_path: Path) -> None:
    rotten = shutil.copytree(BUNDLED, tmp_path / "rotten")
    with (rotten / "model.safetensors").open("r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(byte ^ 1 for byte in file.read(1)))
    with started(f"m={rotten}") as worker:
        said = {}
        while (message := worker.channel.receive()) is not None:
            said[message.type] = message.body
        assert "model.safetensors is not what the manifest beside it says" in said["failed"]["reason"]
        assert worker.process.wait(60) == 1


def test_weights_that_are_as_converted_are_served() -> None:
    with started("bundled") as worker:
        message = worker.channel.receive()
        assert message is not None
        assert message.type == "weights"
        assert len(message.body["sha256"]) == 64
        assert worker.process.poll() is None
