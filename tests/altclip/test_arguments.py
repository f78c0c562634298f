"""Each command takes the options that it uses, and no others."""

from __future__ import annotations

import pytest

from altclip.cli import main

HTTP = ("--http", "http://localhost:1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bulk", "in.jsonl", "out", "--json"),
        ("bulk", "extend", "in.jsonl", "out", "--json"),
        ("bulk", "verify", "out", "--json"),
        ("bulk", "verify", "out", "--address", "localhost:1"),
        ("bulk", "openai", "in.jsonl", "out", *HTTP, "--model", "m"),
        ("bulk", "openai", "in.jsonl", "out", *HTTP, "--timeout", "1"),
    ],
)
def test_an_option_that_a_command_has_no_use_for_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "unrecognized arguments: " in capsys.readouterr().err
