"""The pages say what is so: the example runs, the table of settings is current, links lead somewhere."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from PIL import Image

from altclip.arguments import parser as client_options
from altclip.errors import InvalidRequest, MessageTooLarge, UnreadableInput
from altclip.version import VERSION
from scripts import metrics_tables
from service.config import command_line
from service.config.command_line import parser as server_options
from service.frontend.api.errors import TABLE
from tests.overlays import overlay
from tests.server import RunningServer

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
CODE = ("altclip", "service", "service/frontend", "worker", "training")
FOLDERS = (
    "altclip",
    "service",
    "worker",
    "tests",
    "demo",
    "training",
    "benchmarks",
    "deploy",
    "docs",
    "server",
)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a command and of those below it."""
    found = set()
    for action in parser._actions:
        found |= {*action.option_strings}
        if isinstance(action, argparse._SubParsersAction):
            found |= {flag for each in action.choices.values() for flag in flags(each)}
    return found


OPTIONS = flags(server_options()) | flags(client_options())
# docker, make bench, protoc
OF_OTHER_PROGRAMS = {"--gpus", "--stop-timeout", "--only", "--anew", "--go", "--go-grpc"}
OF_THE_CLIENT = {kind.reason_here for kind in (InvalidRequest, UnreadableInput, MessageTooLarge)}
REASONS = {entry.reason for entry in TABLE.values()} | OF_THE_CLIENT


def test_the_front_page_is_short() -> None:
    assert len(README.read_text().splitlines()) < 160


@pytest.mark.parametrize(
    ("name", "tables"),
    [("settings", command_line.markdown_tables()), ("metrics", metrics_tables.markdown_tables())],
    ids=["settings", "metrics"],
)
def test_tables_that_the_code_writes_are_current(name: str, tables: str) -> None:
    _, _, rest = (DOCS / f"{name}.md").read_text().partition(f"<!-- {name} -->\n")
    table, end, _ = rest.partition(f"<!-- end of {name} -->")
    assert end, f"docs/{name}.md has lost its markers"
    assert table == f"{tables}\n", "run `make docs`"


def test_the_first_example_prints_what_the_front_page_shows(server: RunningServer) -> None:
    blocks = r"```python\n(.*?)```\n\n```text\n(.*?)```"
    ((example, shown),) = re.findall(blocks, README.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example.replace("localhost:50051", server.grpc)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown


def test_the_clients_of_others_run_as_they_stand(server: RunningServer, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "http-clients.md").read_text(), re.DOTALL)
    Image.new("RGB", (80, 60), "teal").save(tmp_path / "cat.png")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "".join(examples).replace("localhost:8080", server.http)],
        cwd=tmp_path,
        env=overlay("sdks"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    openai, langchain, cohere, voyage, hub = done.stdout.splitlines()
    width = langchain
    assert [openai.split()[0], cohere.split()[0], hub] == [width, width, f"(1, {width})"]
    assert voyage == f"{width} {80 * 60}"


def test_every_page_is_listed() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text()))
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} points to {target}"
        if heading:
            assert heading in headings(there), f"{page.name} points to {target}#{heading}"


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_layout_that_contributing_draws_is_that_of_the_code() -> None:
    drawing = (ROOT / "CONTRIBUTING.md").read_text().partition("```text\n")[2].partition("```")[0]
    drawn = set(re.findall(r"\b([a-z0-9_]+)/", drawing))
    inner = {folder.name for path in CODE for folder in (ROOT / path).iterdir() if is_package(folder)}
    assert drawn == {*inner, "altclip", "service", "worker", "training", "tests", "protos", "faults", "e2e"}


def is_package(folder: Path) -> bool:
    return folder.is_dir() and (folder / "__init__.py").exists()


def test_the_image_in_the_pages_bears_the_version() -> None:
    tags = {tag for page in PAGES for tag in re.findall(r"altclip-server:([\w.]+)", page.read_text())}
    assert tags == {VERSION}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    code = [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    named = {target for part in code for target in re.findall(r"^make ([a-z-]+)", part, re.MULTILINE)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text()))
    assert named <= OPTIONS | OF_OTHER_PROGRAMS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_reason_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+):", page.read_text()))
    assert named <= REASONS | {code.name for code in grpc.StatusCode}
