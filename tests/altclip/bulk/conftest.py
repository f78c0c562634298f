"""A service with the stub for all tests of bulk jobs, and the command run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from altclip.cli import main
from tests.server import RunningServer, start_server

# Texts with these words fail, however often they are tried.
POISON = "poisoned"

HELD = "held"
"""While the file `Paced.hold` is there, no batch with a text that has this word ends. Those before it do, and
batches are small."""


@dataclass(frozen=True)
class Paced:
    """A service that takes its time, so that a job is looked at on its way; and one whose last text is held
    does not end before it is ended, on any machine.

    Attributes:
        arguments: Those of its start. What a stub is told is its revision: an output can be compared only
            with those of servers that were told the same.
    """

    server: RunningServer
    arguments: tuple[str, ...]
    hold: Path


@dataclass(frozen=True)
class Ran:
    """What a run of the command left: its exit status, the last line of its output, what it told people."""

    status: int
    last: dict[str, Any]
    told: str


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def stub() -> Iterator[RunningServer]:
    """The service with a stub of eight dimensions; tests leave it as they found it."""
    with start_server("--model", f"stub:dimension=8,poison={POISON}") as running:
        yield running


@pytest.fixture(scope="session")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paced]:
    """Tests leave it as they found it: without the file."""
    hold = tmp_path_factory.mktemp("paced") / "hold"
    model = f"stub:dimension=8,per_item=0.001,hold={hold},held={HELD}"
    arguments = ("--model", model, "--batch-tokens", "256", "--hang-timeout", "600")
    with start_server(*arguments) as server:
        yield Paced(server, arguments, hold)


@pytest.fixture
def hold(paced: Paced) -> Iterator[Path]:
    """While this file is there, no job with a text that is held ends by itself."""
    paced.hold.touch()
    yield paced.hold
    paced.hold.unlink(missing_ok=True)


@pytest.fixture
def bulk(stub: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `altclip bulk` with these arguments; those of two words as the first argument."""
    monkeypatch.setenv("ALTCLIP_ADDRESS", stub.grpc)

    def run(*arguments: str | Path | int) -> Ran:
        status = main(["bulk", *map(str, arguments)])
        out, err = capsys.readouterr()
        return Ran(status, json.loads(out.splitlines()[-1]) if out else {}, err)

    return run
