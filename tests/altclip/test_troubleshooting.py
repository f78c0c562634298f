"""The messages that docs/troubleshooting.md quotes of the client are those that the code has."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
SECTIONS = ("A program cannot use its client", "The command line")

# The reason and the field stand before the text.
BEGINNING = re.compile(r"^([A-Z]+: )?([a-z_]+(\[N\])?: )?")
PLACEHOLDER = re.compile(
    r"\b(?:FILE|HOST:PORT|REASON|N|M)\b|GRPC_ENABLE_FORK_SUPPORT|8,000|a line break|U\+D800|…"
)


def quoted(title: str) -> list[str]:
    """The messages in the first column of a section's table."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")]
    return [message for row in rows for message in re.findall(r"^``? ?(.+?) ?``?", row)]


def of_the_client() -> list[str]:
    known = ("INVALID_REQUEST: ", "MESSAGE_TOO_LARGE: ", "UNREADABLE_INPUT: ")
    lines = [line.split("|")[1].strip(" `") for line in PAGE.splitlines() if line.startswith("| `")]
    told = [line.partition(": ")[2] for line in lines if line.startswith(known)]
    return [text for text in told if "base64" not in text] + [m for title in SECTIONS for m in quoted(title)]


@functools.cache
def words_of(folder: Path) -> str:
    """All that the sources say in strings; the parts of an f-string stand apart."""
    trees = [ast.parse(path.read_text("utf-8")) for path in folder.rglob("*.py") if "v1" not in path.parts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return "\n".join(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


@pytest.mark.parametrize("message", of_the_client())
def test_a_quoted_message_is_one_that_the_client_has(message: str) -> None:
    if message.startswith(("\\", "I0000")):
        pytest.skip("not a message of ours: an escape, or a line of gRPC's")
    words = words_of(ROOT / "altclip").replace("`", "")
    parts = [part.strip(" :()") for part in PLACEHOLDER.split(BEGINNING.sub("", message.replace("`", "")))]
    parts = [part for part in parts if len(part) > 3]
    assert parts
    assert [part for part in parts if part not in words] == []


def test_the_page_has_them() -> None:
    assert len(of_the_client()) > 15
