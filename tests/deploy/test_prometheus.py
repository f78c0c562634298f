"""Prometheus' own tool accepts the scrape configuration and what the running service answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import RunningServer

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yaml"


def promtool(*arguments: str, data: str | None = None) -> subprocess.CompletedProcess[str]:
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed (make tools)")
    return subprocess.run(
        [command, *arguments], input=data, capture_output=True, text=True, timeout=60, check=False
    )


def test_promtool_accepts_the_scrape_configuration() -> None:
    done = promtool("check", "config", "--lint-fatal", str(CONFIGURATION))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_what_the_service_answers(server: RunningServer) -> None:
    text = server.scrape()
    done = promtool("check", "metrics", data=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "altclip_requests_total" in text
