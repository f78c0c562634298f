"""Who may call: keys, rates, concurrency, models; with a clock of our own."""

from __future__ import annotations

import asyncio

import pytest

from service.config.keys import Keyring, line_of, parse
from service.frontend.api.errors import PermissionDenied, QuotaExceeded, Unauthenticated
from service.frontend.calls.callers import OPEN, RETURN_SECONDS, Bucket, Callers, Grant

SECRET, OTHER = "the-secret", "another-secret"


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def callers(*words: str, clock: Clock | None = None) -> Callers:
    return Callers(ring(*words), clock=clock or Clock())


def ring(*words: str) -> Keyring:
    return Keyring(parse(line_of("search", SECRET, words)))


def enter(these: Callers, secret: str = SECRET) -> Grant:
    return these.enter(these.known(f"Bearer {secret}"))


def test_without_keys_everyone_may_do_everything() -> None:
    grant = Callers().enter(Callers().known(None))
    assert grant is OPEN
    grant.check("any")
    grant.spend(10**9)


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "bearer wrong", f"Basic {SECRET}", SECRET, f"Bearer{SECRET}"]
)
def test_a_stranger_is_refused(value: str | None) -> None:
    with pytest.raises(Unauthenticated):
        callers().known(value)


@pytest.mark.parametrize("value", [f"Bearer {SECRET}", f"bearer  {SECRET} ", f"BEARER {SECRET}"])
def test_the_scheme_is_spelt_as_one_likes(value: str) -> None:
    key = callers().known(value)
    assert key is not None
    assert key.name == "search"


def test_a_rate_lets_a_burst_in_and_says_when_to_come_again() -> None:
    clock = Clock()
    these = callers("requests=2/s", clock=clock)
    these.leave(enter(these))
    these.leave(enter(these))
    with pytest.raises(QuotaExceeded) as refused:
        enter(these)
    assert refused.value.retry_after is not None
    assert 0.5 <= refused.value.retry_after <= 0.63
    clock.now += 0.5
    these.leave(enter(these))
    with pytest.raises(QuotaExceeded):
        enter(these)


def test_calls_at_once_are_counted_until_they_end() -> None:
    these = callers("concurrency=2")
    first, _ = enter(these), enter(these)
    with pytest.raises(QuotaExceeded):
        enter(these)
    these.leave(first)
    enter(these)


def test_a_free_call_is_always_let_in_and_uses_nothing_up() -> None:
    these = callers("concurrency=1", "requests=1/s", "models=one")
    key = these.known(f"Bearer {SECRET}")
    free = [these.enter(key, free=True) for _ in range(3)]
    grant = enter(these)
    with pytest.raises(QuotaExceeded):
        enter(these)
    these.enter(key, free=True).check("one")
    with pytest.raises(PermissionDenied):
        free[0].check("two")
    for each in free:
        these.leave(each)
    assert grant.allowance is not None
    assert grant.allowance.active == 1


def test_a_refused_call_uses_nothing_up() -> None:
    clock = Clock()
    these = callers("concurrency=1", "requests=1/s", clock=clock)
    grant = enter(these)
    clock.now += 1
    for _ in range(3):
        with pytest.raises(QuotaExceeded):
            enter(these)
    these.leave(grant)
    enter(these)


def test_items_of_all_calls_are_counted_together() -> None:
    clock = Clock()
    these = callers("items=10/s", clock=clock)
    one, two = enter(these), enter(these)
    one.spend(6)
    with pytest.raises(QuotaExceeded) as refused:
        two.spend(6)
    assert refused.value.retry_after is not None
    assert 0.2 <= refused.value.retry_after <= 0.26
    two.spend(4)


def test_a_call_larger_than_a_second_is_let_in_and_paid_for_afterwards() -> None:
    clock = Clock()
    these = callers("items=10/s", clock=clock)
    grant = enter(these)
    grant.spend(64)
    clock.now += 5.0
    with pytest.raises(QuotaExceeded):
        grant.spend(1)
    clock.now += 0.5
    grant.spend(1)


def test_what_costs_nothing_is_free_even_in_debt() -> None:
    grant = enter(callers("items=1/h"))
    grant.spend(100)
    grant.spend(0)


def test_only_the_models_of_the_key_are_allowed_and_no_others_are_told() -> None:
    grant = enter(callers("models=a,b"))
    grant.check("a")
    for name in ("c", "no-such-model"):
        with pytest.raises(PermissionDenied):
            grant.check(name)


def test_new_keys_keep_what_a_name_has_used() -> None:
    clock = Clock()
    these = callers("requests=1/s", "concurrency=1", clock=clock)
    grant = enter(these)
    these.change(ring("requests=1/s", "concurrency=2"))
    with pytest.raises(QuotaExceeded, match="used up"):  # there is room for two, but the rate stands
        enter(these)
    clock.now += 1
    enter(these)
    these.leave(grant)


def test_a_key_that_was_taken_back_opens_nothing_and_ends_what_it_opened() -> None:
    these = callers()
    grant = enter(these)
    these.recheck(grant)
    these.change(Keyring(parse(line_of("search", OTHER))))
    with pytest.raises(Unauthenticated):
        enter(these)
    with pytest.raises(Unauthenticated):
        these.recheck(grant)
    these.leave(grant)
    enter(these, OTHER)


async def test_a_stream_waits_where_a_call_is_refused() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    these = Callers(ring("items=200/s"))
    grant = enter(these)
    never = asyncio.Event()
    await grant.spend_in_turn(200, never)
    await grant.spend_in_turn(20, never)
    assert loop.time() - started > 0.09, "two hundred at once, and twenty more in 0.1 s"
    never.set()
    async with asyncio.timeout(60):  # of 500 s
        await grant.spend_in_turn(100_000, never)  # a server that shuts down does not make it wait


async def test_a_stream_that_is_cancelled_while_it_waits_takes_nothing() -> None:
    grant = enter(callers("items=1/s"))
    await grant.spend_in_turn(1, asyncio.Event())
    waiting = asyncio.create_task(grant.spend_in_turn(1000, asyncio.Event()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(QuotaExceeded) as refused:
        grant.spend(1)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after < 2


async def test_a_stream_that_waits_takes_nothing_from_calls() -> None:
    clock = Clock()
    grant = enter(callers("items=10/s", clock=clock))
    await grant.spend_in_turn(10, asyncio.Event())
    waiting = [asyncio.create_task(grant.spend_in_turn(500, asyncio.Event())) for _ in range(2)]
    await asyncio.sleep(0)
    clock.now += 0.5
    grant.spend(5)
    with pytest.raises(QuotaExceeded) as refused:
        grant.spend(1)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after < 0.2
    for each in waiting:
        each.cancel()


async def test_a_stream_leaves_the_next_items_to_a_call_that_was_refused_but_does_so_once() -> None:
    clock = Clock()
    grant = enter(callers("items=10/s", clock=clock))
    ended = asyncio.Event()
    ended.set()
    await grant.spend_in_turn(64, ended)  # the bucket owes 54 items
    with pytest.raises(QuotaExceeded) as refused:
        grant.spend(10)
    assert refused.value.retry_after is not None
    assert grant.allowance is not None
    assert grant.allowance.kept_until == clock.now + refused.value.retry_after + RETURN_SECONDS
    clock.now += refused.value.retry_after  # both could have the items now
    stream = asyncio.create_task(grant.spend_in_turn(10, asyncio.Event()))
    await asyncio.sleep(0)
    grant.spend(10)
    with pytest.raises(QuotaExceeded):
        grant.spend(10)
    clock.now += 1.05  # they are there again, and not kept for the call that was refused just now
    stream.cancel()
    await asyncio.wait_for(grant.spend_in_turn(10, asyncio.Event()), 60)


def test_a_bucket_never_holds_more_than_its_room() -> None:
    bucket = Bucket(10.0, now=0.0)
    assert bucket.wait(10, now=1000.0) == 0.0
    bucket.take(10, now=1000.0)
    assert bucket.wait(1, now=1000.0) == pytest.approx(0.1)
    bucket.change(1.0, now=1000.0)
    assert bucket.wait(1, now=1000.0) == pytest.approx(1.0)
