"""Finished parts of a run, kept in files of their own, so that a run that was interrupted goes on.

A part counts for the code and the kind of machine that it was taken with, and for no other.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from altclip.output import whole_file
from benchmarks.machine import machine
from benchmarks.report import Found, Row

__all__ = ["code", "read_part", "write_json", "write_part"]

ROOT = Path(__file__).parents[1]


def code() -> str:
    """The commit that is checked out, and a digest of what was changed since; empty where there is no git."""
    try:
        commit = _git("rev-parse", "HEAD").decode().strip()
        changed = _git("diff", "HEAD", "--binary")
        new = _git("ls-files", "--others", "--exclude-standard", "-z").decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        return ""
    if not changed and new == [""]:
        return commit
    digest = hashlib.sha256(changed)
    for name in filter(None, new):
        digest.update(name.encode() + (ROOT / name).read_bytes())
    return f"{commit}+{digest.hexdigest()[:12]}"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def write_part(path: Path, found: Found, code: str) -> None:
    """What `read_part` reads; whole or not at all."""
    part = {"machine": machine(), "code": code, **asdict(found)}
    _write(path, part)


def read_part(path: Path, code: str) -> Found | None:
    """A part as it was taken before; None where there is none, or it is another machine's or other code's."""
    try:
        part = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not code or part.get("code") != code or part.get("machine") != machine():
        return None
    return Found([Row(**row) for row in part["rows"]], part["skipped"])


def write_json(path: Path, rows: Iterable[Row], skipped: Mapping[str, str], code: str) -> None:
    """The whole report. skipped: what could not be measured, and why."""
    report = {
        "machine": machine(),
        "code": code,
        "rows": [{**asdict(row), "median": row.median, "verdict": row.verdict} for row in rows],
        "skipped": dict(skipped),
    }
    _write(path, report)


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())
