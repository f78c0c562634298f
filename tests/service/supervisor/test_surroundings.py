"""What happens around a running server: its directories go, signals come, files change."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config.keys import make_key
from tests.certificates import make_pair
from tests.faults.harness import QUICK, crew, embed, open_stub, worker_of
from tests.server import COMMAND, RunningServer, outliving, start_server, until


@contextlib.contextmanager
def started_in(folder: Path, *arguments: str, **environment: str) -> Iterator[RunningServer]:
    """A service, by default with the bundled model, whose working directory is that folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with start_server(*QUICK, *arguments, environment=environment) as server:
            os.chdir(before)
            yield server
    finally:
        os.chdir(before)


def events(server: RunningServer, name: str) -> int:
    return sum(record["event"] == name for record in server.logs.records)


def reloaded(server: RunningServer, start: int) -> set[str]:
    """The files that were read again, as the log tells from record number `start` on."""
    return {each["file"] for each in server.logs.records[start:] if each["event"] == "reloaded"}


@pytest.mark.timeout(600)  # four processes load what they need, one after the other
def test_processes_are_replaced_after_the_directories_around_them_were_removed(tmp_path: Path) -> None:
    """A release was replaced: the working directory is gone (torch's libraries ask for it), and so are the
    one for temporary files and a relative entry of PYTHONPATH."""
    for name in ("release", "release/tmp", "release/lib"):
        (tmp_path / name).mkdir()
    release = tmp_path / "release"
    with started_in(release, TMPDIR=str(release / "tmp"), PYTHONPATH="lib") as server:
        shutil.rmtree(release)
        for title, ready in (
            ("altclip-worker", "worker_ready"),
            ("altclip-frontend", "frontend_listening"),
        ):
            seen = events(server, ready)
            server.processes(title)[0].kill()
            until(lambda ready=ready, seen=seen: events(server, ready) > seen, seconds=90, what=title)  # type: ignore[misc]
        with open_stub(server) as stub:
            assert embed(stub).embeddings.count == 1
        until(lambda: server.processes("altclip-decoder"), seconds=90, what="the new frontend's decoder")
        decoder = server.processes("altclip-decoder")[0]
        decoder.kill()
        until(
            lambda: {each.pid for each in server.processes("altclip-decoder")} - {decoder.pid},
            seconds=90,
            what="another decoder",
        )


def test_relative_paths_of_the_options_mean_what_they_meant_at_the_start(tmp_path: Path) -> None:
    _, line = make_key("search")
    (tmp_path / "keys").write_text(line + "\n")
    with started_in(tmp_path, "--model=m=stub:dimension=8", "--api-keys=keys") as server:
        (tmp_path / "keys").write_text(line + "\n" + make_key("web")[1] + "\n")
        server.logs.wait_for("reloaded", seconds=90)


def test_a_release_that_was_taken_away_ends_the_server_with_what_is_missing(tmp_path: Path) -> None:
    """An interpreter that is gone cannot be started; the last line says which, and nothing hangs."""
    environment = tmp_path / "venv"
    own = COMMAND.parent.parent
    environment.mkdir()
    for entry in own.iterdir():
        (environment / entry.name).symlink_to(entry)
    (environment / "bin").unlink()
    shutil.copytree(own / "bin", environment / "bin", symlinks=True)
    command = environment / "bin" / "altclip-server"
    command.write_text(command.read_text().replace(str(own / "bin"), str(environment / "bin")))
    with start_server("--model=m=stub:dimension=8", *QUICK, "--restart-limit=3", command=command) as server:
        shutil.rmtree(environment)
        worker_of(server).kill()
        assert server.process.wait(90) == 1
        message = server.logs.wait_for("gave_up", seconds=90)["message"]
        assert f"cannot be started: No such file or directory: {environment / 'bin'}" in message


def test_a_file_that_does_not_answer_keeps_no_server_from_stopping(tmp_path: Path) -> None:
    """As on a network disk that is away: here a pipe to which somebody is about to write."""
    keys = tmp_path / "keys"
    keys.write_text(make_key("search")[1] + "\n")
    with start_server("--model=m=stub:dimension=8", *QUICK, f"--api-keys={keys}") as server:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").rename(keys)
        with contextlib.ExitStack() as stack:

            def is_read() -> bool:
                with contextlib.suppress(OSError):  # nobody reads it yet
                    stack.callback(os.close, os.open(keys, os.O_WRONLY | os.O_NONBLOCK))
                    return True
                return False

            until(is_read, what="the server reads it")
            server.process.terminate()
            assert server.process.wait(60) == 0


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server with a file of keys and a certificate, and the folder that holds them."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "keys").write_text(make_key("search")[1] + "\n")
    certificate, private = make_pair(folder, "server").put(folder)
    tls = (f"--tls-certificate={certificate}", f"--tls-key={private}")
    with start_server("--model=m=stub:dimension=8", *QUICK, f"--api-keys={folder / 'keys'}", *tls) as server:
        yield server, folder


def test_sighup_reads_keys_and_certificates_again(watching: tuple[RunningServer, Path]) -> None:
    server, _ = watching
    start = len(server.logs.records)
    before = crew(server)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: reloaded(server, start) == {"api_keys", "tls"}, seconds=90, what="both were read again")
    assert crew(server) == before


def test_sighup_tells_at_once_of_a_file_that_cannot_be_used(watching: tuple[RunningServer, Path]) -> None:
    server, folder = watching
    good = (folder / "keys").read_text()
    start = len(server.logs.records)
    (folder / "keys").write_text("search a-key-and-no-hash\n")
    server.process.send_signal(signal.SIGHUP)
    assert "sha256" in server.logs.wait_for("reload_failed", seconds=90, start=start)["reason"]
    (folder / "keys").write_text(good)
    until(lambda: "api_keys" in reloaded(server, start), seconds=90, what="the good keys were read again")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_signals_to_the_whole_process_group_end_nobody(
    watching: tuple[RunningServer, Path], number: signal.Signals
) -> None:
    """A terminal that closes sends SIGHUP to all of them."""
    server, _ = watching
    before = crew(server)
    start = len(server.logs.records)
    os.killpg(server.pid, number)
    assert server.logs.wait_for("signal", seconds=90, start=start)["signal"] == number.name
    status, _ = server.get("/readyz")
    assert status == 200
    assert crew(server) == before


def test_sighup_stays_ignored_where_it_was_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        context = start_server("--model=m=stub:dimension=8", *QUICK)
        server = context.__enter__()
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        ignored = int(_status(server.pid)["SigIgn"], 16)
        assert ignored & 1 << (signal.SIGHUP - 1)
        server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGUSR1)  # comes after it, and is told
        server.logs.wait_for("signal", seconds=90)
        assert [r["signal"] for r in server.logs.records if r["event"] == "signal"] == ["SIGUSR1"]
    finally:
        context.__exit__(None, None, None)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_sigquit_ends_a_server_at_once_and_its_log_told_of_a_misspelled_variable() -> None:
    misspelled = {"ALTCLIP_MAX_TEXT": "5"}
    off = "--http-address=off"
    with start_server("--model=m=stub:dimension=8", *QUICK, off, environment=misspelled) as server:
        assert server.http == ""
        told = server.logs.wait_for("unknown_setting", seconds=90)["message"]
        assert told == "ALTCLIP_MAX_TEXT is no setting and is ignored; did you mean ALTCLIP_MAX_TEXTS?"
        children = server.processes()
        server.process.send_signal(signal.SIGQUIT)
        assert server.process.wait(90) == 1
        assert server.logs.wait_for("signal", seconds=90)["signal"] == "SIGQUIT"
        assert outliving(children, seconds=60) == []
