"""What a real worker process says of its weights, and that it does not serve what rotted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.workers import started
from worker.checkpoint import check_digests, sha256_of
from worker.models.sources import resolve

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


@pytest.mark.parametrize("comes", [True, False])
def test_weights_that_are_replaced_while_they_are_checked_are_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    directory = shutil.copytree(BUNDLED, tmp_path / "model")
    spec = resolve(f"m={directory}")

    def replaced(path: Path) -> str:
        directory.rename(tmp_path / "before")
        if comes:
            shutil.copytree(BUNDLED, directory)
            with path.open("ab") as file:
                file.write(b"other weights")
            (directory / "manifest.json").write_text(
                json.dumps({"files": [{"name": path.name, "sha256": sha256_of(path)}]})
            )
        return sha256_of(path)

    monkeypatch.setattr("worker.checkpoint.sha256_of", replaced)
    check_digests(spec)
    assert (tmp_path / "before").exists()


def test_weights_that_are_as_converted_are_served_and_told_before_anything_is_computed() -> None:
    with started("bundled") as worker:
        assert len(worker.sha256) == 64
        assert worker.process.poll() is None


def test_weights_without_a_manifest_are_read_before_anything_is_computed_where_others_have_told_theirs(
    tmp_path: Path,
) -> None:
    plain = shutil.copytree(BUNDLED, tmp_path / "plain")
    (plain / "manifest.json").unlink()
    with started(f"m={plain}", weights_known=True) as worker:
        assert worker.sha256 == sha256_of(plain / "model.safetensors")
