"""The operations port, over a real loopback connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from service.config.options import OptionError
from service.config.readers import split_address
from service.config.rpcs import CODES, METHODS
from service.supervisor.operations import Operations
from service.supervisor.pages import Pages
from worker.runtime.metric_labels import Layout


class Service:
    """An operations port and what it tells."""

    def __init__(self) -> None:
        self.readiness: dict[str, object] = {"ready": False, "models": {"a": False}}
        self.pages = Pages(Layout(models=("a",), devices=("cpu",), methods=METHODS, codes=CODES))
        self.operations = Operations(self.pages, lambda: self.readiness)
        self.address = ""


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    service.address = await service.operations.start("127.0.0.1:0")
    yield service
    await service.operations.stop()


async def get(service: Service, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{service.address}{path}", headers={"Accept": accept}) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


async def test_it_lives_while_nothing_is_ready(service: Service) -> None:
    assert (await get(service, "/livez"))[0] == 200


async def test_readiness_is_the_status_and_its_reasons_are_the_body(service: Service) -> None:
    status, kind, body = await get(service, "/readyz")
    assert (status, kind.split(";")[0]) == (503, "application/json")
    assert '"a": false' in body
    service.readiness = {"ready": True}
    assert (await get(service, "/readyz"))[0] == 200


async def test_metrics_come_in_the_format_that_was_asked_for(service: Service) -> None:
    service.pages.own.requests.inc("EmbedText", "OK", by=3)
    _, kind, body = await get(service, "/metrics")
    assert kind.startswith("text/plain")
    families = {family.name: family for family in plain(body)}
    assert sum(sample.value for sample in families["altclip_requests"].samples) == 3
    _, kind, body = await get(service, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(body)} == set(families)  # type: ignore[no-untyped-call]


async def test_a_bucket_s_exemplar_is_the_latest_of_all_processes_and_shown_in_openmetrics_alone(
    service: Service,
) -> None:
    first, second = (service.pages.add(f"frontend {number}") for number in range(2))
    for page, trace in ((second, "b" * 32), (first, "a" * 32)):
        page.metrics.request_duration.observe(0.02, "EmbedText", "ok")
        page.metrics.request_duration_exemplars.put(0.02, (trace, "0123456789abcdef"), "EmbedText", "ok")
    _, _, body = await get(service, "/metrics", "application/openmetrics-text; version=1.0.0")
    (family,) = [each for each in openmetrics(body) if each.name == "altclip_request_duration_seconds"]  # type: ignore[no-untyped-call]
    (sample,) = [sample for sample in family.samples if sample.exemplar is not None]
    assert (sample.labels["method"], float(sample.labels["le"])) == ("EmbedText", 0.025)
    assert sample.exemplar.labels == {"trace_id": "a" * 32, "span_id": "0123456789abcdef"}
    assert sample.exemplar.value == 0.02
    assert abs(float(sample.exemplar.timestamp) - time.time()) < 60
    _, _, body = await get(service, "/metrics")
    assert "# {" not in body
    service.pages.retire(first)
    service.pages.retire(second)
    _, _, body = await get(service, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert "# {" not in body
    assert 'altclip_request_duration_seconds_count{method="EmbedText",outcome="ok"} 2.0' in body


async def test_memory_is_what_is_in_use_when_it_is_asked_for(service: Service) -> None:
    _, _, body = await get(service, "/metrics")
    families = {family.name: family.samples[0].value for family in plain(body) if "memory" in family.name}
    assert 0 < families["altclip_memory_bytes"] < families["altclip_memory_limit_bytes"]


async def test_nothing_else_is_there(service: Service) -> None:
    for path in ("/", "/metrics/", "/readyz/x", "/favicon.ico"):
        assert (await get(service, path))[0] == 404


async def test_a_client_that_reads_and_sends_nothing_hurts_nobody(service: Service) -> None:
    slow = [await asyncio.open_connection(*split_address(service.address)) for _ in range(50)]
    try:
        for number, (_, writer) in enumerate(slow):
            # Some ask and never read, some never end their question.
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 4 if number % 2 else b"GET /me")
        async with asyncio.timeout(60):
            assert (await get(service, "/livez"))[0] == 200
    finally:
        for _, writer in slow:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_taken_port_is_an_error_for_the_operator(service: Service) -> None:
    second = Service()
    with pytest.raises(OptionError, match=rf"--ops-address.*cannot listen on {service.address}"):
        await second.operations.start(service.address)
    await second.operations.stop()
