"""Small programs that use the client, each in a process of its own; and the `altclip` command in this one.

A process takes half a second of a core before it begins. It is for what only a process shows: signals, closed
streams, what gRPC itself writes.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from altclip.cli import main

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    returncode: int | str | None
    stdout: bytes
    stderr: bytes


def command(
    address: str,
    *arguments: str | bytes | Path,
    given: bytes = b"",
    encoding: str = "utf-8",
    **environment: str,
) -> Done:
    """Runs `altclip` in this process. given: its standard input. encoding: what its locale writes."""
    written = io.BytesIO(), io.BytesIO()
    output, complaint = (io.TextIOWrapper(each, encoding) for each in written)
    with (
        _standard_input(given),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(complaint),
        patch.dict(os.environ, {"ALTCLIP_ADDRESS": address, **environment}),
    ):
        try:
            status: int | str | None = main([os.fsdecode(each) for each in arguments])
        except SystemExit as left:  # of argparse
            status = left.code
    output.flush()
    complaint.flush()
    return Done(status, *(each.getvalue() for each in written))


@contextlib.contextmanager
def _standard_input(content: bytes) -> Iterator[None]:
    """The descriptor itself: the command reads that."""
    before = os.dup(0)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        os.dup2(file.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)


def start_script(code: str, address: str) -> subprocess.Popen[str]:
    """Starts a program that finds the address of the service in ADDRESS."""
    begin = f"import sys; sys.path.insert(0, {str(ROOT)!r}); ADDRESS = {address!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", begin + code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_script(code: str, address: str, seconds: float = 60) -> str:
    """What the program prints. Raises AssertionError where it fails, TimeoutExpired where it does not end."""
    process = start_script(code, address)
    try:
        output, complaint = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, complaint
    return output
