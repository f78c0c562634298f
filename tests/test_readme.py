"""The README says what is so: its table of settings is the one that the settings class gives."""

from __future__ import annotations

from pathlib import Path

from service.settings import markdown_table

README = Path(__file__).parents[1] / "README.md"


def test_the_table_of_settings_is_current() -> None:
    _, _, rest = README.read_text().partition("<!-- settings -->\n")
    table, end, _ = rest.partition("<!-- end of settings -->")
    assert end, "README.md has lost its markers"
    assert table.strip() == markdown_table(), "run `make readme`"
