"""The question that KEDA asks, put to a real Prometheus that scrapes a running service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from altclip import Client
from tests.deploy.chart.rendering import of_kind, render
from tests.deploy.chart.switches import SWITCHES
from tests.deploy.monitoring import Monitoring, faster, prometheus
from tests.server import start_server, until

SPEED = 30.0
"""The window of two minutes becomes four seconds."""


def question(service: str) -> tuple[str, float]:
    """KEDA's query for the series of one service, and its target."""
    (scaler,) = of_kind(render(SWITCHES["KEDA"]), "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    query = trigger["metadata"]["query"].replace(
        'namespace="default",service="altclip-headless"', f'job="{service}"'
    )
    assert query.count(f'job="{service}"') == 2
    return faster(query, SPEED), float(trigger["metadata"]["threshold"])


@pytest.mark.timeout(400)
def test_a_standing_queue_asks_for_more_pods_an_idle_service_for_none_and_a_missing_one_for_the_fallback(
    tmp_path: Path,
) -> None:
    slow = "--model=m=stub:dimension=8,service_time=0.4"
    with (
        start_server(slow, "--batch-tokens=64", "--batch-images=1") as server,
        prometheus(tmp_path, {"altclip": server.ops}, scrape=0.5) as address,
    ):
        seen = Monitoring(address)
        query, target = question("altclip")
        until(lambda: seen.value(query) == 0, seconds=60, what="an idle service wants no more pods")
        with Client(server.grpc, timeout=120) as client, ThreadPoolExecutor(32) as pool:
            # Equal texts would be computed once.
            texts = [
                [f"one two three four five six {call} {text}" for text in range(8)] for call in range(32)
            ]
            calls = [pool.submit(client.embed_text, each) for each in texts]
            until(lambda: (seen.value(query) or 0) > target, seconds=60, what="a queue wants more pods")
            for call in calls:
                call.result(120)
        until(lambda: seen.value(query) == 0, seconds=60, what="the queue is gone")
        absent, _ = question("gone")
        assert seen.value(absent) is None, "no answer, so the fallback holds"
