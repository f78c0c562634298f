"""`make demo`: right from start to end, and nothing is left of it when it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from demo.pictures import LANGUAGES, load

ROOT = Path(__file__).parents[2]


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_demo_shows_what_it_promises() -> None:
    process = start()
    output, complaint = process.communicate(timeout=170)
    assert (process.returncode, complaint) == (0, "")
    lines = output.splitlines()
    assert {line.split()[0] for line in lines if line[:2] in LANGUAGES} == set(LANGUAGES)
    assert "✓ cat" in output
    assert "never saw in training" in output
    assert "900 texts and 100 pictures" in output
    assert sum(line.startswith("  altclip_") for line in lines) == 5
    assert "stopped in order (exit status 0)" in output


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_demo_that_is_interrupted(kind: signal.Signals) -> None:
    process = start()
    demo = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while len(children := demo.children(recursive=True)) < 3:
        assert time.monotonic() < deadline, children
        time.sleep(0.05)
    process.send_signal(kind)
    _, complaint = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    if kind is not signal.SIGKILL:
        assert (process.returncode, complaint) == (130, "")


def test_every_picture_has_its_file_and_nine_names() -> None:
    shown = load()
    assert len(shown) >= 40
    for picture in shown:
        assert picture.path.read_bytes().startswith(b"\x89PNG")
        assert set(picture.names) == set(LANGUAGES)
