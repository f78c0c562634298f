"""The batch decision, with a clock of our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.batcher import Budget, Decision, Lanes, Policy, decide
from worker.engine.jobs import Job
from worker.runtime.notices import Modality, Priority, Result
from worker.runtime.slab import Slab

TEXT, IMAGE, PROMPT = Modality
INTERACTIVE, BULK = Priority
_ids = count()


class Nobody:
    index = 0
    slab: Slab

    def send(self, results: Sequence[Result]) -> None:
        raise AssertionError("a decision sends nothing")


def job(
    modality: Modality = TEXT,
    priority: Priority = INTERACTIVE,
    cost: int = 10,
    submitted: float = 100.0,
    deadline: float = math.inf,
) -> Job:
    return Job(next(_ids), Nobody(), 0, modality, priority, 0, cost, cost, submitted, deadline)


def policy(tokens: int = 100, items: int = 64, wait: float = 0.0) -> Policy:
    budget = Budget(tokens, items)
    return Policy({TEXT: budget, IMAGE: Budget(8, 8), PROMPT: budget}, wait=wait, bulk_patience=0.25)


def decision(
    jobs: list[Job],
    now: float = 100.0,
    rules: Policy | None = None,
    served: dict[Modality, float] | None = None,
    took: dict[Modality, float] | None = None,
) -> Decision:
    return decide(lanes_of(jobs), served or {}, rules or policy(), now, took=took or {})


def lanes_of(jobs: list[Job]) -> Lanes:
    return {m: [[j for j in jobs if (j.modality, j.priority) == (m, p)] for p in Priority] for m in Modality}


def test_nothing_queued_is_nothing_to_do() -> None:
    assert decision([]) == Decision((), (), math.inf)


def test_a_lone_job_runs_at_once() -> None:
    only = job()
    assert list(decision([only]).jobs) == [only]


def test_a_batch_holds_the_oldest_jobs_that_fit_the_token_budget() -> None:
    jobs = [job(cost=30, submitted=100 + i) for i in range(5)]
    assert list(decision(jobs, now=110).jobs) == jobs[:3]


def test_a_batch_holds_no_more_items_than_its_budget() -> None:
    jobs = [job(cost=1) for _ in range(10)]
    assert list(decision(jobs, rules=policy(items=4)).jobs) == jobs[:4]


def test_a_job_over_the_whole_budget_still_runs_alone() -> None:
    large, small = job(cost=1000), job(cost=1)
    assert list(decision([large, small]).jobs) == [large]


def test_texts_and_images_never_share_a_batch_and_the_older_goes_first() -> None:
    image, text = job(IMAGE, cost=1, submitted=99), job(submitted=100)
    assert list(decision([text, image]).jobs) == [image]


def test_interactive_goes_before_bulk_that_came_earlier() -> None:
    bulk, interactive = job(priority=BULK, cost=60, submitted=99.9), job(cost=60, submitted=100)
    assert list(decision([bulk, interactive]).jobs) == [interactive]


def test_bulk_fills_what_interactive_leaves() -> None:
    bulk, interactive = job(priority=BULK), job()
    assert list(decision([bulk, interactive]).jobs) == [interactive, bulk]


def test_bulk_that_waited_too_long_is_in_the_batch_for_certain() -> None:
    bulk = job(priority=BULK, submitted=99)
    interactive = [job(cost=20) for _ in range(20)]
    chosen = decision([bulk, *interactive]).jobs
    assert bulk in chosen
    assert len(chosen) == 1 + 4


def test_bulk_of_one_modality_gets_its_turn_under_endless_interactive_work_of_another() -> None:
    bulk, interactive = job(IMAGE, BULK, cost=1, submitted=90), job(submitted=99.9)
    assert list(decision([bulk, interactive], served={IMAGE: 99.0}).jobs) == [bulk]
    assert list(decision([bulk, interactive], served={IMAGE: 99.8}).jobs) == [interactive]


def test_expired_and_cancelled_jobs_are_struck_out_and_never_run() -> None:
    late, gone, fine = job(deadline=99.9), job(), job()
    gone.cancelled = True
    made = decision([late, gone, fine])
    assert list(made.jobs) == [fine]
    assert set(made.expired) == {late, gone}


def test_expired_jobs_alone_are_reported_without_a_batch() -> None:
    late = job(deadline=99)
    assert decision([late]) == Decision((), (late,), math.inf)


def test_a_wait_holds_an_unfilled_batch_back_until_its_oldest_job_is_old_enough() -> None:
    waiting = policy(wait=0.5)
    first = job(submitted=100)
    assert decision([first], now=100.1, rules=waiting) == Decision((), (), 100.5)
    assert list(decision([first], now=100.5, rules=waiting).jobs) == [first]


def test_a_full_batch_does_not_wait() -> None:
    jobs = [job(cost=50) for _ in range(2)]
    assert list(decision(jobs, rules=policy(wait=0.5)).jobs) == jobs


def test_a_job_waits_for_company_no_longer_than_half_of_the_time_that_it_has_to_spare() -> None:
    waiting = policy(wait=0.25)
    only = job(submitted=100, deadline=100.125)
    assert decision([only], rules=waiting) == Decision((), (), 100.0625)
    assert list(decision([only], now=100.0625, rules=waiting).jobs) == [only]
    # A batch takes time as well.
    assert decision([only], rules=waiting, took={TEXT: 0.0625, IMAGE: 9.0}).wake_at == 100.03125
    assert list(decision([only], rules=waiting, took={TEXT: 0.5}).jobs) == [only]
    patient = job(submitted=100, deadline=200)
    assert decision([patient], rules=waiting, took={TEXT: 0.5}) == Decision((), (), 100.25)


def test_a_job_in_a_hurry_takes_those_along_that_wait_for_company() -> None:
    patient, hurried = job(submitted=100), job(submitted=100.5, deadline=101)
    waiting = policy(wait=2)
    assert decision([patient, hurried], now=100.5, rules=waiting).wake_at == 100.75
    assert list(decision([patient, hurried], now=100.75, rules=waiting).jobs) == [patient, hurried]


def test_a_waiting_batch_does_not_hold_up_a_full_one_of_another_modality() -> None:
    text, images = job(submitted=99.9), [job(IMAGE, cost=1) for _ in range(8)]
    assert list(decision([text, *images], rules=policy(wait=0.5)).jobs) == images


jobs_of_any_kind = st.lists(
    st.builds(
        job,
        modality=st.sampled_from(Modality),
        priority=st.sampled_from(Priority),
        cost=st.integers(1, 77),
        submitted=st.floats(90, 100),
        deadline=st.sampled_from([95.0, math.inf]),
    ),
    max_size=40,
)


@given(jobs_of_any_kind)
def test_every_job_is_run_or_expires_within_as_many_decisions_as_there_are_jobs(jobs: list[Job]) -> None:
    jobs.sort(key=lambda one: one.submitted)
    left = list(jobs)
    ran: list[Job] = []
    for _ in range(len(jobs) + 1):
        made = decision(left, now=101)
        assert len({one.modality for one in made.jobs}) <= 1
        assert len(made.jobs) <= 1 or sum(one.cost for one in made.jobs) <= 100
        assert all(one.deadline > 101 for one in made.jobs)
        # What `JobQueue` relies on: whatever was taken from a lane stood at its head.
        for modality in Modality:
            for priority in Priority:
                lane = [one for one in left if (one.modality, one.priority) == (modality, priority)]
                taken = [one for one in lane if one in made.jobs or one in made.expired]
                assert lane[: len(taken)] == taken
        ran += made.jobs
        left = [one for one in left if one not in made.jobs and one not in made.expired]
    assert not left
    assert set(ran) == {one for one in jobs if one.deadline > 101}


def test_while_there_is_interactive_traffic_bulk_takes_no_more_than_its_part_of_a_batch() -> None:
    jobs = [job(priority=BULK) for _ in range(20)]
    rules = Policy({m: Budget(100, 64, bulk=30) for m in Modality}, traffic=1.0)
    assert len(decide(lanes_of(jobs), {}, rules, 100.0, 99.5).jobs) == 3
    assert len(decide(lanes_of(jobs), {}, rules, 100.0, 98.0).jobs) == 10
    both = [*jobs, *(job() for _ in range(4))]
    assert len(decide(lanes_of(both), {}, rules, 100.0, 100.0).jobs) == 7


def test_a_bulk_job_over_its_part_of_a_batch_still_runs() -> None:
    large = job(priority=BULK, cost=90)
    rules = Policy({m: Budget(100, 64, bulk=30) for m in Modality})
    assert list(decide(lanes_of([large]), {}, rules, 100.0, 100.0).jobs) == [large]
