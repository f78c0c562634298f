"""The shown code does what the page did: each program is run as it is copied, beside the pictures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.playground.browsing import PICTURES, Visit

LINKS = {
    "search": "q=1+cat's+%22%24HOME%22+%60pwd%60+%5C",
    "sum": "q=2+cat&q=-0.5+dog",
    "compare": "texts=cat%0Aрокета",
    "classify": "labels=perro%0Atigre&ll=es",
    "words": "concept=rocket",
}
HOW = {
    "Python": [sys.executable, "-"],
    "curl": ["bash", "-euo", "pipefail"],
    "grpcurl": ["bash", "-euo", "pipefail"],
    "JavaScript": ["node", "--input-type=module"],
}
NEEDS = {"Python": sys.executable, "JavaScript": "node"}


@pytest.mark.parametrize("name", LINKS)
def test_the_shown_code_runs_as_it_is_copied(visit: Visit, name: str) -> None:
    tab = "search" if name == "sum" else name
    visit.open(f"#tab={tab}&{LINKS[name]}")
    # Not with the mouse: rankings that arrive move what it points at.
    visit.page.locator("#code summary").press("Enter")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for language, command in HOW.items():
        if shutil.which(NEEDS.get(language, language), path=path) is None:
            continue
        visit.page.get_by_role("tab", name=language, exact=True).click()
        visit.expect(visit.page.locator("#code-text")).to_contain_text(re.compile("altclip|fetch|curl"))
        code = visit.page.locator("#code-text").inner_text()
        done = subprocess.run(
            command,
            input=code,
            cwd=PICTURES,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        assert '"error"' not in done.stdout, done.stdout
        assert re.search(r"\d\.\d|data", done.stdout), done.stdout
