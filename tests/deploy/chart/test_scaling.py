"""The question that KEDA asks, put to a real Prometheus that scrapes a running service."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from altclip import Client
from tests.deploy.chart.rendering import of_kind, render
from tests.deploy.chart.switches import SWITCHES
from tests.deploy.monitoring import Monitoring, faster, prometheus
from tests.deploy.tools import promtool
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
    assert query.count(f'job="{service}"') == 3
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


def pods(ups: dict[str, list[int]], waits: int = 0) -> list[dict[str, Any]]:
    """Series of pods as promtool takes them. ups: instance → the ready workers of each of its models.
    waits: how many items come in 15 seconds, each of which waits for 0.25 to 1 second."""
    labels = 'namespace="default",service="altclip-headless"'
    found = [
        {"series": f'altclip_build_info{{{labels},instance="{name}"}}', "values": "1x40"} for name in ups
    ]
    for name, models in ups.items():
        for number, ready in enumerate(models):
            series = f'altclip_worker_up{{{labels},instance="{name}",model="{number}",device="cpu"}}'
            found.append({"series": series, "values": f"{ready}x40"})
    for bound, count in (("0.25", 0), ("1.0", waits), ("+Inf", waits)):
        series = f'altclip_queue_wait_seconds_bucket{{{labels},priority="interactive",le="{bound}"}}'
        found.append({"series": series, "values": f"0+{count}x40"})
    return found


def test_the_wait_is_multiplied_by_the_pods_that_serve_and_not_by_those_that_load(tmp_path: Path) -> None:
    (scaler,) = of_kind(render(SWITCHES["KEDA"]), "ScaledObject")
    query = scaler["spec"]["triggers"][0]["metadata"]["query"]
    wait = 0.25 + 0.75 * 0.9
    serving, loading = {"a": [1], "b": [2]}, {"c": [0], "d": [0], "e": []}
    one_of_two = {"f": [1, 0]}
    cases: list[tuple[list[dict[str, Any]], float | None]] = [
        (pods(serving, waits=90), 2 * wait),
        (pods(serving | loading | one_of_two, waits=90), 2 * wait),
        (pods(serving), 0),
        (pods(loading), 0),
        ([], None),
    ]
    tests = [
        {
            "interval": "15s",
            "input_series": series,
            "promql_expr_test": [
                {
                    "expr": f"round(1000 * ({query}))",
                    "eval_time": "5m",
                    "exp_samples": [] if asked is None else [{"labels": "{}", "value": round(1000 * asked)}],
                }
            ],
        }
        for series, asked in cases
    ]
    path = tmp_path / "tests.yaml"
    path.write_text(json.dumps({"tests": tests}))
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
