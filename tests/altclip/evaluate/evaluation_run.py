"""Fixtures: `altclip evaluate` in this process, against a service in this process that knows the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from altclip.bulk import tries
from altclip.cli import main
from tests.altclip.evaluate.evaluation_data import RunningSeeing, SeeingService, start_seeing

__all__ = ["evaluate", "seeing", "seeing_service"]


@pytest.fixture
def seeing() -> Iterator[RunningSeeing]:
    running = start_seeing()
    yield running
    running.service.stream_gate.set()
    running.server.stop(None).wait()


@pytest.fixture
def seeing_service(seeing: RunningSeeing) -> SeeingService:
    return seeing.service


@pytest.fixture
def evaluate(
    seeing: RunningSeeing, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Runs the command; gives its exit status, output, complaints and the results."""
    monkeypatch.setenv("ALTCLIP_ADDRESS", seeing.address)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tries, "PAUSES", (0.01, 0.01))

    def one(*arguments: str | Path) -> tuple[int, str, str, Any]:
        results = tmp_path / "results.json"
        results.unlink(missing_ok=True)
        status = main(["evaluate", *map(str, arguments), "--output", str(results)])
        found = json.loads(results.read_text()) if results.exists() else None
        return (status, *capsys.readouterr(), found)

    return one
