"""The command `altclip-server` beside serving."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.server import COMMAND
from worker.models.sources import bundled_directory


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=150, check=False)


def test_help_lists_the_options() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--grpc-address HOST:PORT" in done.stdout
    assert "convert SOURCE DIRECTORY" in done.stdout


def test_convert_has_a_help_of_its_own() -> None:
    done = run("convert", "--help")
    assert done.returncode == 0
    assert "safetensors" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["convert"], ["convert", "a"], ["convert", "a", "b", "c"], ["serve", "x"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize("directory", ["/dev/full/x", "/proc/no-such-directory/x"])
def test_a_directory_that_cannot_be_written_is_one_clear_line(directory: str) -> None:
    done = run("convert", str(bundled_directory()), directory)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"altclip-server: /\S+: [A-Z].*\n", done.stderr)


def test_a_source_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    done = run("convert", "/no/such/directory", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "/no/such/directory" in done.stderr
    assert not (tmp_path / "out").exists()
