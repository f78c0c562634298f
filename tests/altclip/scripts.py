"""Small programs that use the client, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
