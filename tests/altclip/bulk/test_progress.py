"""What people see of a run: one line on a terminal, JSON lines in a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from altclip import printing
from altclip.bulk import reporting
from tests.altclip.bulk.conftest import HELD, Paced, Run
from tests.altclip.bulk.outputs import COMMAND, json_lines, texts

LOOK = re.compile(
    r"\r\x1b\[K([\d,]+) of 1,501 \(\d+%\)(?:, 1 rows failed)?; "
    r"[\d,]+ a second, [\d,]+ on average, \d+ s left; "
    r"reading \d+%, preparing \d+%, writing \d+%, server (\d+)%"
)


def texts_of_which_the_last_is_held() -> list[dict[str, Any]]:
    return [*texts(1499), {"n": 1499, "text": f"a text that is {HELD}"}]


def test_a_terminal_shows_one_line_that_is_overwritten(paced: Paced, hold: Path, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", [*texts_of_which_the_last_is_held(), {"text": None}])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "bulk", path, tmp_path / "out", "--rows-per-shard", "100"],
        env={**os.environ, "ALTCLIP_ADDRESS": paced.server.grpc},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while some := os.read(ours, 1 << 16):
            shown += some
            looks = LOOK.findall(shown.decode(errors="replace"))
            if len(looks) >= 3 and int(looks[-1][1]) > 90:  # the server's part grows while it is waited for
                hold.unlink(missing_ok=True)
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 1
    assert json.loads(out.splitlines()[-1])["embedded"] == 1500
    text = shown.decode()
    done = [int(look.replace(",", "")) for look, _ in LOOK.findall(text)]
    assert len(done) >= 3
    assert done == sorted(done)
    assert text.splitlines()[-2].startswith("1,501 rows: 1,500 have vectors, 1 are in ")
    assert "most of the time went to: server" in text.splitlines()[-1]


def test_a_pipe_gets_json_lines(
    bulk: Run, paced: Paced, hold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTCLIP_ADDRESS", paced.server.grpc)
    monkeypatch.setattr(reporting, "LINE_SECONDS", 0.2)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        printing.tell(line)
        if len(told) == 3:
            hold.unlink()

    monkeypatch.setattr(reporting, "tell", tell)
    path = json_lines(tmp_path / "in.jsonl", texts_of_which_the_last_is_held())
    lines = [line for line in bulk(path, tmp_path / "out").told.splitlines() if line.startswith("{")]
    assert len(lines) >= 3
    for line in map(json.loads, lines):
        assert set(line) == {
            "done", "of", "failed_rows", "rate", "mean_rate", "seconds_left",
            "reading", "preparing", "writing", "server",
        }  # fmt: skip
        assert line["of"] == 1500
