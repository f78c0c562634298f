"""However a run ends, the same command goes on, and the output is the one of an undisturbed run to the last
bit."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest

from tests.altclip.bulk.conftest import HELD, Paced, Run
from tests.altclip.bulk.outputs import digests, json_lines, parts_in, running, texts
from tests.server import RunningServer, free_port, start_server, until

ROWS, SHARD = 3_000, 125  # a part takes an eighth of a second at least


@pytest.fixture(scope="module")
def undisturbed(paced: Paced, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An input, and the digests of its output. The last row can be held."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = json_lines(
        folder / "in.jsonl", [*texts(ROWS - 1), {"n": ROWS - 1, "text": f"a text that is {HELD}"}]
    )
    with running(paced.server.grpc, path, folder / "out", "--rows-per-shard", SHARD) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["embedded"] == ROWS
    return path, digests(folder / "out")


def test_five_kills_at_random_points_change_nothing(
    paced: Paced, undisturbed: tuple[Path, dict[str, str]], hold: Path, tmp_path: Path
) -> None:
    path, wanted = undisturbed
    chance = random.Random(14)
    out = tmp_path / "out"
    for _ in range(5):
        enough = min(parts_in(out) + 1, ROWS // SHARD - 2)
        with running(paced.server.grpc, path, out, "--rows-per-shard", SHARD) as process:
            until(
                lambda at_least=enough: parts_in(out) >= at_least or process.poll() is not None,  # type: ignore[misc]
                seconds=60,
                what="a further part",
            )
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
            assert process.wait() == -signal.SIGKILL, "the run had ended before it was killed"
    assert 0 < parts_in(out) < ROWS // SHARD
    hold.unlink()
    with running(paced.server.grpc, path, out, "--rows-per-shard", SHARD) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert digests(out) == wanted


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_in_order(
    paced: Paced,
    undisturbed: tuple[Path, dict[str, str]],
    hold: Path,
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    path, wanted = undisturbed
    out = tmp_path / "out"
    with running(paced.server.grpc, path, out, "--rows-per-shard", SHARD) as process:
        until(lambda: parts_in(out) > 1, seconds=60, what="two parts")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    hold.unlink()
    assert process.returncode == status, stderr
    last = json.loads(stdout.splitlines()[-1])
    assert (last["rows"], last["embedded"]) == (ROWS, parts_in(out) * SHARD)
    assert "goes on where this one stopped" in stderr
    assert not [name for name in digests(out) if "partial" in name]
    with running(paced.server.grpc, path, out, "--rows-per-shard", SHARD) as process:
        process.communicate(timeout=120)
    assert (process.returncode, digests(out)) == (0, wanted)


def test_a_service_that_is_killed_and_started_anew_costs_only_time(
    paced: Paced, undisturbed: tuple[Path, dict[str, str]], hold: Path, tmp_path: Path
) -> None:
    path, wanted = undisturbed
    out, port = tmp_path / "out", free_port()
    arguments = (*paced.arguments, "--grpc-address", f"127.0.0.1:{port}")
    with start_server(*arguments) as server:
        command = (path, out, "--rows-per-shard", SHARD)
        with running(server.grpc, *command) as process:
            until(lambda: parts_in(out) > 1, seconds=60, what="two parts")
            server.kill()
            hold.unlink()
            assert process.stderr is not None
            told = next((line for line in process.stderr if "the next try is in" in line), "")
            assert told, "it ended without a try"
            with start_server(*arguments):
                _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert digests(out) == wanted


def test_of_two_servers_one_may_be_away(bulk: Run, stub: RunningServer, tmp_path: Path) -> None:
    json_lines(tmp_path / "in.jsonl", texts(500))
    away = f"127.0.0.1:{free_port()}"
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", "--address", away, "--address", stub.grpc)
    assert (ran.status, ran.last["embedded"]) == (0, 500)
    assert f"no server answers at {away}" in ran.told


def test_a_service_that_is_not_there_ends_the_run_when_patience_does(
    bulk: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALTCLIP_ADDRESS", f"127.0.0.1:{free_port()}")
    json_lines(tmp_path / "in.jsonl", texts(3))
    ran = bulk(tmp_path / "in.jsonl", tmp_path / "out", "--patience", "0")
    assert ran.status == 3
    assert "no server answers" in ran.told
