"""Every fenced example of every page is run by a test, or this table says why it is not."""

from __future__ import annotations

import pytest

from tests.docs.pages import PAGES, ROOT, Example, examples

COMMANDS = "tests/docs/test_commands.py"
ON_RAY = "tests/altclip/bulk/on_ray/test_cluster.py"
# Page and language → the test that runs them; or, for one example of several, with its number.
RUN: dict[tuple[str, str] | tuple[str, str, int], str] = {
    ("README.md", "python"): "tests/docs/test_pages.py",
    ("README.md", "sh", 1): COMMANDS,
    ("README.md", "sh", 2): COMMANDS,
    ("README.md", "sh", 3): COMMANDS,
    ("CONTRIBUTING.md", "text"): "tests/docs/test_pages.py",
    ("docs/bulk.md", "python"): "tests/altclip/bulk/test_docs.py",
    ("docs/bulk.md", "sh", 0): "tests/altclip/bulk/test_docs.py",
    ("docs/bulk.md", "sh", 1): COMMANDS,
    ("docs/bulk.md", "sh", 2): ON_RAY,
    ("docs/bulk.md", "yaml"): ON_RAY,
    ("docs/clients.md", "sh"): "tests/interop/test_clients_page.py",
    ("docs/clients.md", "js"): "tests/interop/test_clients_page.py",
    ("docs/clients.md", "cpp"): "tests/interop/test_clients_page.py",
    ("docs/deployment.md", "sh", 2): "tests/deploy/chart/test_pages.py",
    ("docs/deployment.md", "sh", 3): COMMANDS,
    ("docs/deployment.md", "yaml"): "tests/deploy/chart/test_pages.py",
    ("docs/first-hour.md", "sh"): "tests/deploy/chart/test_pages.py",
    ("docs/first-hour.md", "yaml"): "tests/deploy/chart/test_pages.py",
    ("docs/evaluation.md", "python"): "tests/altclip/evaluate/test_docs.py",
    ("docs/evaluation.md", "sh", 1): COMMANDS,
    ("docs/http-clients.md", "python"): "tests/docs/test_pages.py",
    ("docs/http-clients.md", "sh"): COMMANDS,
    ("docs/http.md", "sh"): COMMANDS,
    ("docs/http.md", "json"): COMMANDS,
    ("docs/integrations.md", "sh"): "tests/interop/test_stores.py",
    ("docs/integrations.md", "python"): "tests/interop/test_stores.py",
    ("docs/integrations.md", "python", 10): "tests/interop/test_langchain.py",
    ("docs/runbooks.md", "sh"): COMMANDS,
    ("docs/tracing.md", "python"): COMMANDS,
    ("docs/tracing.md", "sh", 0): COMMANDS,
    ("docs/tracing.md", "sh", 1): "tests/e2e/test_command_tracing.py",
}
DATA = "needs a published data set; tests/altclip/evaluate/test_docs.py parses its commands"
NOT_RUN: dict[tuple[str, str] | tuple[str, str, int], str] = {
    ("README.md", "sh", 0): "is `make` itself; tests/e2e/test_demo.py runs what `make demo` runs",
    ("README.md", "text"): "is a drawing",
    ("SECURITY.md", "text"): "is a drawing",
    ("docs/bulk.md", "text"): "is a listing",
    ("docs/capacity.md", "sh"): "simulates for minutes; tests/benchmarks tests it in small",
    (
        "docs/deployment.md",
        "sh",
        0,
    ): "needs Docker; tests/deploy/container/test_image.py runs the image with podman",
    (
        "docs/deployment.md",
        "sh",
        1,
    ): "needs Docker and the hub; tests/docs/test_commands.py reads its arguments",
    ("docs/deployment.md", "dockerfile"): "needs Docker and a package index",
    (
        "docs/first-hour.md",
        "sh",
        0,
    ): "needs Docker and a registry; tests/deploy/container/test_image.py builds the image",
    ("docs/evaluation.md", "sh", 0): "is a form; tests/altclip/evaluate/test_docs.py parses it",
    ("docs/tracing.md", ""): "is a drawing",
    **{("docs/evaluation.md", "sh", number): DATA for number in range(2, 7)},
}
ALL = [example for page in dict.fromkeys(PAGES) for example in examples(str(page.relative_to(ROOT)))]


def entry(example: Example) -> tuple[str, str] | tuple[str, str, int]:
    """The table's line for an example: its own, or that of its page and language."""
    own = (example.page, example.language, example.number)
    return own if own in RUN or own in NOT_RUN else own[:2]


@pytest.mark.parametrize("example", ALL, ids=lambda each: f"{each.page}: {each.language} {each.number}")
def test_an_example_is_run_or_the_table_says_why_not(example: Example) -> None:
    place = entry(example)
    assert place in RUN or place in NOT_RUN, "run it in a test, and add it to the table"
    if place in RUN:
        test = (ROOT / RUN[place]).read_text("utf-8")
        assert example.page.rpartition("/")[2] in test, f"{RUN[place]} does not name the page"


def test_the_table_names_no_example_that_is_gone() -> None:
    assert {entry(example) for example in ALL} == {*RUN, *NOT_RUN}
