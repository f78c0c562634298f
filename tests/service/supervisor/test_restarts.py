"""When a process is started again, and when the server gives up."""

from __future__ import annotations

from service.supervisor.restarts import RestartPolicy

POLICY = RestartPolicy(backoff=0.5, stable=10.0, limit=5)


def test_a_process_that_served_for_long_is_replaced_at_once() -> None:
    failures = POLICY.failures_after(4, served=10.0)
    assert failures == 1
    assert POLICY.wait(failures, chance=0.5) == 0.0


def test_one_that_fails_again_soon_waits_twice_as_long_each_time() -> None:
    assert [POLICY.wait(failures, chance=0.5) for failures in range(1, 6)] == [0.0, 0.5, 1.0, 2.0, 4.0]


def test_the_wait_is_bounded_and_never_in_step() -> None:
    assert POLICY.wait(1000, chance=0.5) == 30.0
    assert POLICY.wait(3, chance=0.0) < POLICY.wait(3, chance=0.9)


def test_a_crash_loop_is_given_up() -> None:
    failures, starts = 0, 0
    while not POLICY.gives_up(failures):
        failures = POLICY.failures_after(failures, served=0.0)
        starts += 1
    assert starts == POLICY.limit


def test_deaths_far_apart_are_no_crash_loop() -> None:
    failures = 0
    for _ in range(100):
        failures = POLICY.failures_after(failures, served=11.0)
        assert not POLICY.gives_up(failures)


def test_what_never_became_ready_is_no_stable_process_however_soon_one_is() -> None:
    policy = RestartPolicy(backoff=0.5, stable=0.0, limit=5)
    assert policy.failures_after(3, served=0.0) == 4
    assert policy.failures_after(3, served=0.1) == 1
