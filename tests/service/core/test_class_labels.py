"""Equal label sets of calls that are under way at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from service.frontend.api.errors import DeadlineTooShort, ServiceError, WorkerUnavailable
from service.frontend.core.class_labels import PROMPTS_AT_ONCE
from tests.service.running import Refused, Running, eventually, pictures, running
from worker.runtime.notices import Modality, Priority

FILES = pictures(8)
LABELS = [f"label {number}" for number in range(300)]
PROMPTS = 8 * len(LABELS)
"""More than twice `PROMPTS_AT_ONCE`."""


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    # Room for the labels of one call and the pictures of many, not for the labels of two.
    async with running(max_queue_items=1100) as made:
        yield made


def classify(
    service: Running, number: int, priority: Any = pb.PRIORITY_BULK, **options: Any
) -> asyncio.Task[Any]:
    """One picture of its own, and the same labels as all others."""
    image = pb.Image(content=FILES[number])
    request = pb.ClassifyImageRequest(images=[image], labels=LABELS, priority=priority)
    return asyncio.create_task(service.call("ClassifyImage", request, **options))


async def held(service: Running, calls: int) -> list[asyncio.Task[Any]]:
    """So many calls, one after another, whose labels wait for the device."""
    service.pool.hold = asyncio.Event()
    tasks = []
    for number in range(calls):
        tasks.append(classify(service, number))
        await eventually(lambda: wanted_by(service) == len(tasks))
    await eventually(lambda: service.pool.deadlines)
    return tasks


def wanted_by(service: Running) -> int:
    """How many calls wait for labels that are under way."""
    return sum(shared.holders for shared in service.server.core.labels.under_way._under_way.values())


def release(service: Running, error: ServiceError | None = None) -> None:
    """Lets the device go on; its first text fails with the error."""
    left = iter([error])
    service.pool.fail = lambda item: next(left, None) if item.modality is Modality.TEXT else None
    assert service.pool.hold is not None
    service.pool.hold.set()


def texts(service: Running) -> int:
    return sum(item.modality is Modality.TEXT for item in service.pool.computed)


async def test_a_label_set_is_embedded_once_and_refuses_nobody(service: Running) -> None:
    calls = await held(service, 8)
    release(service)
    answers = [await call for call in calls]
    assert texts(service) == PROMPTS
    assert all(len(answer.results[0].labels) == len(LABELS) for answer in answers)
    assert service.metrics.items.value("m", "text", "ok") == PROMPTS
    assert len(service.server.core.labels.under_way) == 0


async def test_it_goes_on_for_the_others_when_the_first_call_is_given_up(service: Running) -> None:
    first, *others = await held(service, 3)
    first.cancel()
    await eventually(lambda: service.requests("ClassifyImage", "CANCELLED") == 1)
    release(service)
    for other in others:
        await other
    assert texts(service) == PROMPTS


async def test_its_place_in_the_queue_lasts_when_the_first_call_is_given_up(service: Running) -> None:
    first, *others = await held(service, 3)
    admission = service.server.core.model("").admission
    assert admission.in_flight == PROMPTS_AT_ONCE + 3
    first.cancel()
    await eventually(lambda: service.requests("ClassifyImage", "CANCELLED") == 1)
    assert admission.in_flight == PROMPTS_AT_ONCE + 2
    release(service)
    await asyncio.gather(*others)
    assert admission.in_flight == 0


async def test_who_takes_it_over_pays_for_it() -> None:
    lines = [line_of("rich", "the-first-secret", ()), line_of("poor", "the-other-secret", ("items=1/h",))]
    files = {API_KEYS: "\n".join(lines).encode()}
    async with running(api_keys="/keys", files=files) as service:
        service.pool.hold = asyncio.Event()
        calls = []
        for number, secret in enumerate(("the-first-secret", "the-other-secret")):
            calls.append(classify(service, number, metadata=[("authorization", f"Bearer {secret}")]))
            await eventually(lambda: wanted_by(service) == len(calls))
        await eventually(lambda: service.pool.deadlines)
        release(service, DeadlineTooShort())
        for call, reason in zip(calls, ("DEADLINE_TOO_SHORT", "QUOTA_EXCEEDED"), strict=True):
            with pytest.raises(Refused) as refused:
                await call
            assert refused.value.reason == reason
        assert texts(service) == PROMPTS_AT_ONCE, "nothing was computed for the other one"


async def test_nothing_goes_on_for_nobody(service: Running) -> None:
    calls = await held(service, 3)
    for call in calls:
        call.cancel()
    await eventually(lambda: service.requests("ClassifyImage", "CANCELLED") == 3)
    await eventually(lambda: len(service.server.core.labels.under_way) == 0)
    release(service)
    await asyncio.sleep(0.02)
    assert service.pool.computed == []


@pytest.mark.parametrize("error", [DeadlineTooShort(), WorkerUnavailable()])
async def test_what_befell_the_first_call_does_not_befall_those_that_joined(
    service: Running, error: ServiceError
) -> None:
    first, *others = await held(service, 3)
    release(service, error)
    with pytest.raises(AssertionError, match=error.entry.code.name):
        await first
    for other in others:
        assert len((await other).results[0].labels) == len(LABELS)


async def test_an_interactive_call_waits_for_no_bulk_call() -> None:
    async with running() as service:
        (bulk,) = await held(service, 1)
        interactive = classify(service, 1, pb.PRIORITY_INTERACTIVE)
        await eventually(lambda: Priority.INTERACTIVE in service.pool.priorities)
        release(service)
        await asyncio.gather(bulk, interactive)
        assert texts(service) > PROMPTS
