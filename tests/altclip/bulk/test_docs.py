"""docs/bulk.md: its commands and its Python run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.altclip.bulk.outputs import json_lines
from tests.server import RunningServer

PAGE = Path(__file__).parents[3] / "docs" / "bulk.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_example_runs_and_reads_what_it_wrote(stub: RunningServer, tmp_path: Path) -> None:
    json_lines(tmp_path / "captions.jsonl", [{"key": f"k{n}", "caption": f"caption {n}"} for n in range(5)])
    commands = [line for line in blocks("sh")[0].splitlines() if line.startswith("altclip ")]
    reading, face = blocks("python")
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "ALTCLIP_ADDRESS": stub.grpc, "PATH": paths}

    def run(command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert len(commands) == 2
    for command in commands:
        run(command.split())
    assert run([sys.executable, "-c", reading]).startswith("5 fixed_size_list<element: float not null>[8]")
    told = run([sys.executable, "-c", face.replace("localhost:50051", stub.grpc)])
    assert told.startswith("5 0 ")
