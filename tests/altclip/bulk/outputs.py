"""Inputs for bulk jobs, the command as a process, and what is in their outputs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from altclip.bulk.output.folder import MANIFEST

COMMAND = Path(sys.executable).with_name("altclip")


def json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes a file of JSON lines."""
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
    return path


def texts(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows with a number and a text."""
    return [{"n": n, "text": f"text number {n}"} for n in range(start, start + count)]


def parts(output: Path) -> pa.Table:
    """All parts as one table."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(output.glob("part-*.parquet")))


def errors(output: Path) -> list[dict[str, Any]]:
    """All rows of the errors tables."""
    tables = [pq.read_table(path) for path in sorted((output / "errors").glob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def manifest(output: Path) -> dict[str, Any]:
    """The manifest, as JSON."""
    found: dict[str, Any] = json.loads((output / MANIFEST).read_text("utf-8"))
    return found


def digests(output: Path) -> dict[str, str]:
    """The SHA-256 of every file of an output."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def running(address: str, *arguments: str | Path | int) -> AbstractContextManager[subprocess.Popen[str]]:
    """The command against a server, as a process of its own; it has ended when the block has."""
    return running_in({**os.environ, "ALTCLIP_ADDRESS": address}, *arguments)


@contextmanager
def running_in(
    environment: Mapping[str, str], *arguments: str | Path | int
) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, in this environment; it has ended when the block has."""
    process = subprocess.Popen(
        [str(COMMAND), "bulk", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def parts_in(output: Path) -> int:
    """How many parts are whole."""
    return len(manifest(output)["parts"]) if (output / MANIFEST).exists() else 0
