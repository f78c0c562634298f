"""The command `altclip-server` beside serving."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import make_absolute
from tests.server import COMMAND, FETCHING, PATIENCE
from worker.models.sources import bundled_directory


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=150,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_lists_the_options() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--grpc-address HOST:PORT" in done.stdout
    assert "convert SOURCE DIRECTORY" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_shown_in_every_encoding(encoding: str) -> None:
    done = run("--help", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ALTCLIP_MAX_TEXTS=64" in done.stdout


def test_convert_has_a_help_of_its_own() -> None:
    done = run("convert", "--help")
    assert done.returncode == 0
    assert "safetensors" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["convert"], ["convert", "a"], ["convert", "a", "b", "c"], ["serve", "x"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize("directory", ["/dev/full/x", "/proc/no-such-directory/x"])
def test_a_directory_that_cannot_be_written_is_one_clear_line(directory: str) -> None:
    done = run("convert", str(bundled_directory()), directory)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"altclip-server: /\S+: [A-Z].*\n", done.stderr)


def test_a_source_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    done = run("convert", "/no/such/directory", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "/no/such/directory" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGQUIT, 1)])
def test_a_server_that_still_fetches_its_model_ends_at_once(number: signal.Signals, status: int) -> None:
    ports = [part for name in ("grpc", "http", "ops") for part in (f"--{name}-address", "127.0.0.1:0")]
    with subprocess.Popen(
        [sys.executable, "-c", FETCHING, "--model", "nobody/nothing", *ports],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "a file is fetched\n"
            server.send_signal(number)
            assert server.wait(PATIENCE) == status
        finally:
            server.kill()


def test_relative_paths_of_libraries_variables_mean_what_they_meant_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"PYTHONPATH": "lib:/opt/lib", "OTEL_EXPORTER_OTLP_CERTIFICATE": "a:b.pem", "SSL_CERT_FILE": ""}
    make_absolute(given)
    assert given == {
        "PYTHONPATH": f"{tmp_path}/lib:/opt/lib",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": f"{tmp_path}/a:b.pem",
        "SSL_CERT_FILE": "",
    }
