"""Events and messages that the pages quote are those that the code has, and no event is left out.

`tests/altclip/test_troubleshooting.py` does the same for what the client finds by itself.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
# Where a message ends, or has a name or number of its own: what the page writes in capitals, and what the
# code fills in.
DIFFERS = re.compile(
    r"…|[:;,] |\b[A-Z][A-Z0-9]*(?:[_.-][A-Z0-9]+)*\b|</?\w+>|\bcuda:0|\d[\d.,]*|\(ALTCLIP_\w+\)|--[a-z-]+|"
    r"'[^']*'|\bmodel\.safetensors\.index\.json|\ba line break\b|the weights of|are not of one pair|"
    r"there is no"
)
OF_OTHERS = (
    # Python, the operating system, gRPC, its TLS, curl
    "No such file or directory",
    "No module named",
    "Address already in use",
    "Cannot assign requested address",
    "Name or service not known",
    "Too many open files",
    "Resource temporarily unavailable",
    "unrecognized arguments",
    "Received message larger than max",
    "Connection refused",
    "Domain name not found",
    "Failed parsing",
    "Trying to connect an http",
    "x server",
    "Socket closed",
    "self signed certificate",
    "certificate has expired",
    "Hostname Verification Check failed",
    "ssl_transport_security.cc",
    "Handshake failed",
    "Received",
    "when not allowed",
)
"""Parts of messages that are not ours."""
NO_MESSAGES = re.compile(r"^[\\\"]|^localhost$|^altclip-\w+( \d)?$|^OOMKilled$|^\w+=")
"""What else the first columns quote: lines of a log, characters, titles of processes."""


@functools.cache
def trees() -> list[ast.Module]:
    folders = [ROOT / name for name in ("altclip", "service", "worker")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py")) if "v1" not in path.parts]
    return [ast.parse(path.read_text("utf-8")) for path in paths]


def nodes() -> Iterator[ast.AST]:
    return (node for tree in trees() for node in ast.walk(tree))


@functools.cache
def words() -> frozenset[str]:
    """All strings of the sources; the parts of an f-string stand apart."""
    said = [node.value for node in nodes() if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return frozenset(each.replace("`", "") for each in said)


@functools.cache
def text() -> str:
    return "\n".join(sorted(words()))


def logged() -> set[str]:
    """The events at `info` and above, where they are written as they are."""
    return {
        str(node.args[0].value)
        for node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("info", "warning", "error")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and re.fullmatch(r"[a-z]+(_[a-z]+)*", str(node.args[0].value))
    }


def told_events() -> set[str]:
    """Those of the first column of the table."""
    _, _, table = OPERATIONS.partition("\n| event | means |\n")
    rows = table.partition("\n\n")[0].splitlines()
    return {event for row in rows for event in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_handbook_has_every_event_of_the_log() -> None:
    assert len(logged()) > 30
    assert logged() - told_events() == set()


def test_the_handbook_has_no_event_that_is_gone() -> None:
    assert told_events() - words() == set()


def quoted() -> list[str]:
    """The messages in the first columns of the page."""
    rows = [line.split(" | ")[0] for line in TROUBLESHOOTING.splitlines() if line.startswith("| ")]
    found = [one or two for row in rows for one, two in re.findall(r"`` ?(.+?) ?``|`([^`]+)`", row)]
    return [each for each in found if not NO_MESSAGES.search(each)]


def parts(message: str) -> list[str]:
    """What of a message is the same each time."""
    rest = re.sub(r"^(\w+: )?([a-z_]+(\[N\])?(\.\w+)?: )?", "", message.replace("`", ""))
    found = [part.strip(" ,;:.()/[]") for part in DIFFERS.split(rest)]
    return [part for part in found if len(part) > 6]


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_that_somebody_says(message: str) -> None:
    assert [part for part in parts(message) if part not in text() and not is_of_others(part)] == []


def is_of_others(part: str) -> bool:
    return any(each in part for each in OF_OTHERS)


def test_most_quoted_messages_have_words_of_their_own() -> None:
    assert sum(bool(parts(message)) for message in quoted()) > 95
