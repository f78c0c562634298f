"""All pages added up: no counter falls, the present is of the living."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.config.rpcs import CODES, METHODS
from service.supervisor.pages import Pages
from worker.runtime import memory
from worker.runtime.metric_labels import Layout
from worker.runtime.metrics import Metrics

LAYOUT = Layout(models=("a", "b"), devices=("cpu",), workers=2, version="1.0", methods=METHODS, codes=CODES)
ANSWERED = {"method": "EmbedText", "outcome": "ok"}


@pytest.fixture
def pages() -> Pages:
    return Pages(LAYOUT)


def scrape(pages: Pages) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(pages)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(pages: Pages, name: str, **labels: str) -> float:
    return scrape(pages)[name, tuple(sorted(labels.items()))]


def test_everything_is_there_at_zero_from_the_start(pages: Pages) -> None:
    samples = scrape(pages)
    assert set(samples.values()) == {0.0}
    assert ("altclip_requests_total", (("code", "UNAVAILABLE"), ("method", "EmbedStream"))) in samples
    assert ("altclip_queue_wait_seconds_bucket", (("le", "+Inf"), ("modality", "image"), ("model", "b"), ("priority", "bulk"))) in samples  # fmt: skip # noqa: E501
    assert not [name for name, _ in samples if "outstanding" in name or "progress" in name]


def test_processes_add_up(pages: Pages) -> None:
    for number in range(3):
        pages.add(f"frontend {number}").metrics.requests.inc("EmbedText", "OK", by=number)
    assert value(pages, "altclip_requests_total", method="EmbedText", code="OK") == 3


def test_a_counter_does_not_fall_when_its_process_dies(pages: Pages) -> None:
    for _ in range(3):
        page = pages.add("frontend 0")
        page.metrics.requests.inc("EmbedText", "OK", by=5)
        page.metrics.request_duration.observe(0.02, "EmbedText", "ok")
        pages.retire(page)
    assert value(pages, "altclip_requests_total", method="EmbedText", code="OK") == 15
    duration = "altclip_request_duration_seconds"
    assert value(pages, f"{duration}_count", **ANSWERED) == 3
    assert value(pages, f"{duration}_sum", **ANSWERED) == pytest.approx(0.06)
    assert value(pages, f"{duration}_bucket", **ANSWERED, le="0.01") == 0
    assert value(pages, f"{duration}_bucket", **ANSWERED, le="0.025") == 3


def test_what_a_dead_frontend_had_not_ended_has_failed() -> None:
    pages = Pages(LAYOUT)
    page = pages.add("frontend 0")
    page.metrics.accepted.inc("a", "text", by=9)
    for outcome in ("ok", "failed", "cancelled"):
        page.metrics.items.inc("a", "text", outcome, by=2)
    pages.retire(page)
    outcomes = {
        outcome: value(pages, "altclip_items_total", model="a", modality="text", outcome=outcome)
        for outcome in ("ok", "failed", "cancelled")
    }
    assert outcomes == {"ok": 2, "failed": 5, "cancelled": 2}
    assert value(pages, "altclip_items_accepted_total", model="a", modality="text") == 9


def test_the_account_tells_how_all_calls_and_items_ended_those_of_the_dead_included(pages: Pages) -> None:
    dead, living = pages.add("frontend 0"), pages.add("frontend 1")
    for page in (dead, living):
        page.metrics.caller_requests.inc("anonymous", "OK", by=3)
        page.metrics.accepted.inc("a", "text", by=2)
        page.metrics.items.inc("a", "text", "ok", by=2)
    living.metrics.caller_requests.inc("anonymous", "UNAVAILABLE")
    pages.retire(dead)
    assert pages.account() == {"calls": {"OK": 6, "UNAVAILABLE": 1}, "items": {"ok": 4}}


def test_buckets_are_cumulative_over_processes(pages: Pages) -> None:
    for seconds in (0.0001, 1e9):
        pages.add("frontend").metrics.request_duration.observe(seconds, "EmbedText", "ok")
    for bound, count in (("0.001", 1), ("60.0", 1), ("+Inf", 2)):
        assert value(pages, "altclip_request_duration_seconds_bucket", **ANSWERED, le=bound) == count


def test_a_dead_workers_queue_is_gone(pages: Pages) -> None:
    dead, living = pages.add("worker a"), pages.add("worker a")
    dead.metrics.queue_depth.set(7, "a", "text")
    living.metrics.queue_depth.set(2, "a", "text")
    assert value(pages, "altclip_queue_depth", model="a", modality="text") == 9
    pages.retire(dead)
    assert value(pages, "altclip_queue_depth", model="a", modality="text") == 2


def test_when_a_batch_last_ended_is_known_after_its_worker_died(pages: Pages) -> None:
    page = pages.add("worker a")
    page.metrics.last_batch_timestamp.set(1.7e9, "a", "cpu")
    pages.retire(page)
    pages.add("worker a").metrics.last_batch_timestamp.set(1.6e9, "a", "cpu")
    assert value(pages, "altclip_last_batch_timestamp_seconds", model="a", device="cpu") == 1.7e9


def test_the_age_of_the_oldest_item_grows_although_its_worker_hangs(pages: Pages) -> None:
    now = time.monotonic()
    pages.add("worker a").metrics.oldest_inflight.set(now - 10, "a", "cpu")
    pages.add("worker a").metrics.oldest_inflight.set(now - 3, "a", "cpu")
    age = value(pages, "altclip_oldest_inflight_seconds", model="a", device="cpu")
    assert 10 <= age <= 10 + time.monotonic() - now
    assert value(pages, "altclip_oldest_inflight_seconds", model="b", device="cpu") == 0


def test_the_watchdog_sees_the_frontend_that_waits_longest(pages: Pages) -> None:
    assert pages.outstanding_since(1, awake_since=100.0) == 0
    for since, heartbeat in ((50.0, 101.0), (0.0, 101.0), (40.0, 100.0), (30.0, 99.0)):
        metrics = pages.add("frontend").metrics
        metrics.outstanding_since.set(since, "1")
        metrics.heartbeat.set(heartbeat)
    assert pages.outstanding_since(1, awake_since=100.0) == 40.0  # the last one stands still itself
    assert pages.outstanding_since(0, awake_since=100.0) == 0


def test_frontends_read_the_sums_of_all_processes_the_dead_included(pages: Pages) -> None:
    for number in range(2):
        page = pages.add(f"worker {number}")
        page.metrics.queue_depth.set(3, "b", "text")
        page.metrics.batch_size.observe(4, "b", "text", times=5)
    pages.add("frontend 0").metrics.http_request_duration.observe(0.02, "/v1/embeddings", "ok")
    pages.publish()
    pages.retire(page)
    totals = Metrics(LAYOUT, memory.attach(pages.totals.descriptor))
    assert totals.queue_depth.value("b", "text") == 6
    pages.publish()
    assert totals.queue_depth.value("b", "text") == 3
    assert totals.batch_size.value("b", "text") == 10
    assert totals.http_request_duration.value("/v1/embeddings", "ok") == 1
    assert totals.batch_size.value("a", "text") == 0
