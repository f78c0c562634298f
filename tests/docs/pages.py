"""The examples of the pages: the fenced code in README.md and docs/, to be run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.server import RunningServer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("[A-Z]*.md")), *sorted((ROOT / "docs").glob("*.md"))]
GRPC, HTTP = "localhost:50051", "localhost:8080"
"""The addresses that the pages name; a test puts those of its server in their place."""


@dataclass(frozen=True)
class Example:
    """One fenced block. page: its path in the repository. number: among those of its language, from 0."""

    page: str
    language: str
    number: int
    code: str


def examples(page: str, language: str = "") -> list[Example]:
    """The examples of a page, all or those of one language, in their order."""
    found: list[Example] = []
    for kind, code in re.findall(
        r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE
    ):
        number = sum(each.language == kind for each in found)
        found.append(Example(page, kind, number, code))
    return [each for each in found if language in ("", each.language)]


def for_server(code: str, server: RunningServer) -> str:
    """An example with the addresses of a server."""
    return code.replace(GRPC, server.grpc).replace(HTTP, server.http)


def run(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 170,
) -> str:
    """What a command prints; it must succeed. Programs of this environment are found first."""
    given = environment or os.environ
    path = f"{Path(sys.executable).parent}{os.pathsep}{given['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**given, "PATH": path},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
