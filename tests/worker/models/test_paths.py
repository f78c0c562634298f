"""Paths that lead nowhere are told in one line: the home of nobody, links in a circle. Nothing is written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.server import COMMAND
from worker.errors import ModelError
from worker.models.convert import convert
from worker.models.sources import resolve

NOBODYS = "~nobody-at-all/model"


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    """Two links, each to the other."""
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    return tmp_path / "one"


def test_a_conversion_from_or_into_the_home_of_nobody_is_refused(tmp_path: Path) -> None:
    for source, target in [(NOBODYS, str(tmp_path / "converted")), (str(tmp_path), NOBODYS)]:
        with pytest.raises(ModelError, match=f"{NOBODYS}.*home directory"):
            convert(source, target)
    assert not list(tmp_path.iterdir())


def test_a_conversion_from_or_into_a_circle_of_links_is_refused(circle: Path, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for source, target in [(circle, tmp_path / "converted"), (tmp_path / "source", circle)]:
        with pytest.raises(ModelError, match=re.escape(str(circle))):
            convert(str(source), target)
    assert not (tmp_path / "converted").exists()


def test_a_circle_of_links_is_no_model_to_serve(circle: Path) -> None:
    with pytest.raises(ModelError, match=re.escape(str(circle))):
        resolve(f"m={circle}")


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [str(COMMAND), "convert", str(tmp_path), NOBODYS], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(rf"altclip-server: {NOBODYS}: .*home directory\.\n", ended.stderr)
