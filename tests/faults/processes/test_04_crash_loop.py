"""4. A worker that crash-loops: a wait that grows each time, then the service exits non-zero."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.faults.harness import QUICK
from tests.server import Logs, launch, until


def crash_loop(*arguments: str) -> tuple[int, Logs]:
    process, logs = launch(*QUICK, *arguments)
    try:
        status = process.wait(60)
        until(lambda: logs.ended, what="the end of its log")
        return status, logs
    finally:
        process.kill()
        process.wait()


def test_04_a_worker_that_crash_loops_ends_the_service_after_a_backoff() -> None:
    status, logs = crash_loop("--model=m=stub:load_fault=abort", "--restart-limit=4", "--restart-backoff=1s")
    assert status == 1
    gave_up = logs.wait_for("gave_up")
    assert gave_up["message"] == "altclip-worker m cpu failed 4 times in a row, last: SIGABRT"
    lives = [record for record in logs.records if record.get("title") == "altclip-worker m cpu"]
    assert [record["event"] for record in lives] == ["child_started", "child_ended"] * 4
    times = [datetime.fromisoformat(record["ts"]).timestamp() for record in lives]
    # At once after the first; then 1 s and 2 s, each up to a quarter less or more.
    waits = [times[at + 1] - times[at] for at in (1, 3, 5)]
    assert waits[1] >= 0.75
    assert waits[2] >= 1.5
    assert waits[0] < waits[2]


def test_04_one_of_two_models_that_crash_loops_ends_the_service() -> None:
    status, logs = crash_loop("--model=a=stub:", "--model=b=stub:load_fault=abort", "--restart-limit=2")
    assert status == 1
    assert "altclip-worker b cpu" in logs.wait_for("gave_up")["message"]


def test_04_a_worker_that_never_gets_ready_is_a_crash_loop_too() -> None:
    status, logs = crash_loop("--model=m=stub:load_fault=hang", "--load-timeout=700ms", "--restart-limit=2")
    assert status == 1
    assert "not ready after" in logs.wait_for("gave_up")["message"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("raise", "stub: told to fail while loading"), ("import", "No module named 'torch'")],
)
def test_04_what_cannot_heal_is_started_once_and_its_last_line_says_why(fault: str, reason: str) -> None:
    status, logs = crash_loop(f"--model=m=stub:load_fault={fault}")
    assert status == 1
    lives = [record for record in logs.records if record.get("title") == "altclip-worker m cpu"]
    assert [record["event"] for record in lives] == ["child_started", "child_ended"]
    (last,) = [record for record in logs.records if record["level"] == "error"]
    assert (last["event"], last["message"]) == ("gave_up", f"altclip-worker m cpu cannot work: {reason}")


def test_04_what_might_heal_is_tried_again_and_the_last_line_says_why_too() -> None:
    status, logs = crash_loop("--model=m=stub:load_fault=error", "--restart-limit=2")
    assert status == 1
    errors = [record for record in logs.records if record["level"] == "error"]
    last = "altclip-worker m cpu failed 2 times in a row, last: RuntimeError: stub: told to fail"
    assert (errors[-1]["event"], errors[-1]["message"]) == ("gave_up", last)
