"""Inputs for bulk jobs, and what is in their outputs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
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
