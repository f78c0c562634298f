"""Commands whose standard input, output or error was closed by whoever started them."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server import COMMAND, free_port, outliving

SHELL_CLOSES = {0: "<&-", 1: ">&-", 2: "2>&-"}
HASH_LINE = re.compile(r"search sha256:[0-9a-f]{64}\n")


def key(redirections: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`altclip-server key search` with a shell's redirections, in a folder of its own."""
    return subprocess.run(
        ["sh", "-c", f'"$0" key search {redirections}', str(COMMAND)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def written(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """All that came out anywhere."""
    files = [path.read_text() for path in folder.iterdir()]
    return done.stdout + done.stderr + "".join(files)


def test_the_line_goes_to_standard_output_and_the_key_to_standard_error(tmp_path: Path) -> None:
    done = key(">> keys", tmp_path)
    assert done.returncode == 0
    assert HASH_LINE.fullmatch((tmp_path / "keys").read_text())
    assert "altclip_" in done.stderr


@pytest.mark.parametrize("redirections", [">> keys 2>&-", "2>> keys >&-", ">&- 2>&-", ">> keys <&- 2>&-"])
def test_no_key_is_made_where_there_is_no_place_for_it_or_its_hash(tmp_path: Path, redirections: str) -> None:
    done = key(redirections, tmp_path)
    assert done.returncode == 1
    assert "altclip_" not in written(done, tmp_path)
    assert "sha256:" not in written(done, tmp_path)


@pytest.mark.parametrize("redirections", [">> keys 2>&1", "2>> keys >> keys", "2>&1"])
def test_no_key_is_made_where_it_would_stand_beside_its_hash(tmp_path: Path, redirections: str) -> None:
    done = key(redirections, tmp_path)
    assert done.returncode == 1
    assert "altclip_" not in written(done, tmp_path)
    assert "are the same file" in written(done, tmp_path)


def test_a_line_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = key("> /dev/full", tmp_path)
    assert done.returncode == 1
    assert "the key is of no use: No space left on device" in done.stderr


def test_help_with_everything_closed_ends_with_status_0(tmp_path: Path) -> None:
    assert key("--help <&- >&- 2>&-", tmp_path).returncode == 0


@pytest.mark.parametrize("closed", [(0, 1, 2), (2,), (0,)])
def test_a_server_with_closed_descriptors_writes_its_log_into_no_file_of_its_own(
    closed: tuple[int, ...],
) -> None:
    """Its memory that holds the metrics is the first thing that would get such a number."""
    ops = f"127.0.0.1:{free_port()}"
    closing = " ".join(SHELL_CLOSES[number] for number in closed)
    ports = ("--grpc-address=127.0.0.1:0", "--http-address=off", f"--ops-address={ops}")
    sizes = ("--batch-tokens=4096", "--batch-images=32")  # set, so that the start does not measure them
    server = (str(COMMAND), "--model=stub:dimension=8", *ports, *sizes, "--log-level=debug")
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$0" "$@" {closing}', *server],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        page = _when_ready(ops)
        series = list(text_string_to_metric_families(page))
        assert all(sample.value >= 0 for family in series for sample in family.samples)
        assert any(family.name == "altclip_worker_up" for family in series)
        supervisor = psutil.Process(process.pid)
        processes = [supervisor, *supervisor.children(recursive=True)]
        assert len(processes) >= 3
        for each in processes:
            for number in closed:
                assert str(Path(f"/proc/{each.pid}/fd/{number}").readlink()) == os.devnull
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert outliving(processes, seconds=60) == []


def _when_ready(ops: str) -> str:
    """The page of metrics, once the server is ready."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{ops}/readyz", timeout=60):
                break
        except (OSError, urllib.error.HTTPError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            time.sleep(0.1)
    with urllib.request.urlopen(f"http://{ops}/metrics", timeout=60) as response:
        return str(response.read().decode())
