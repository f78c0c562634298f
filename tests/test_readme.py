"""The README says what is so: its example runs, its table is the settings', its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from service.config.command_line import markdown_table
from tests.server import RunningServer

README = Path(__file__).parents[1] / "README.md"


def test_the_table_of_settings_is_current() -> None:
    _, _, rest = README.read_text().partition("<!-- settings -->\n")
    table, end, _ = rest.partition("<!-- end of settings -->")
    assert end, "README.md has lost its markers"
    assert table.strip() == markdown_table(), "run `make readme`"


def test_the_first_example_runs_as_it_stands(server: RunningServer, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    Image.new("RGB", (80, 60), "teal").save(tmp_path / "cat.png")
    done = subprocess.run(
        [sys.executable, "-c", example.replace("localhost:50051", server.grpc)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"gato", "perro"} <= set(done.stdout.split())


def test_every_folder_and_page_it_points_to_is_there() -> None:
    for page in (
        README,
        README.with_name("CONTRIBUTING.md"),
        README.with_name("MODEL_LICENSE.md"),
        README.with_name("SECURITY.md"),
    ):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
