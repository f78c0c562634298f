"""Overload: a stub encoder that behaves as a small accelerator is offered one to ten times what it can do.

Arrivals that wait for nobody, from a process of their own; health is asked for meanwhile. What it can do is
measured first, by offering a little too much.
"""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks.report import Row
from tests.faults.overload.overload import CALLS, ITEMS, SOURCE, TOKENS, checked
from tests.load import Answers, load
from tests.server import RunningServer, start_server

__all__ = ["rows"]

TIMES = (1, 2, 5, 10)
HEALTH = 0.1
"""Seconds in which health is to answer."""
WARM = 2.0
"""Seconds before what is counted: the queue fills."""


def rows(seconds: float = 20) -> list[Row]:
    """The ratios are the goodput over what the service does when it is offered half too much, and the time
    that health takes over what it may."""
    with start_server("--model", SOURCE, "--batch-tokens", str(TOKENS)) as server:
        with load(server.grpc, rate=1.5 * CALLS, seconds=seconds / 2 + WARM, items=ITEMS) as full:
            answers = full.answers()
        peak = answers.completed(full.started + WARM, full.started + WARM + seconds / 2)
        return [row for times in TIMES for row in _offered(server, times, peak, seconds)]


def _offered(server: RunningServer, times: int, peak: float, seconds: float) -> list[Row]:
    with (
        checked(server) as health,
        load(
            server.grpc, rate=times * CALLS, seconds=seconds + WARM, items=ITEMS, deadline=None, seed=times
        ) as running,
    ):
        answers = running.answers()
    goodput = answers.completed(running.started + WARM, running.started + WARM + seconds)
    row = Row(
        f"overload, {times}× what the encoder can do",
        "the service's peak",
        [goodput / peak],
        bar=0.9 if times == 5 else None,
        facts=facts(answers, goodput, times * CALLS, health),
    )
    if times != 5:
        return [row]
    slow = float(np.quantile(health, 0.95)) / HEALTH
    return [row, Row(f"health under {times}× overload, p95", "100 ms", [slow], bar=1.0, at_most=True)]


def facts(answers: Answers, goodput: float, offered: float, health: list[float]) -> dict[str, float | str]:
    """What callers and probes saw."""
    refused = answers.of("RESOURCE_EXHAUSTED")
    # Each check is answered SERVING, or its asker stops.
    return {
        "offered, calls/s": offered,
        "goodput, calls/s": goodput,
        "p50 of the admitted, ms": answers.latency(0.5) * 1e3,
        "p99 of the admitted, ms": answers.latency(0.99) * 1e3,
        "refused": answers.share("RESOURCE_EXHAUSTED"),
        "p50 of a refusal, ms": refused.latency(0.5, "RESOURCE_EXHAUSTED") * 1e3 if refused else "–",
        "calls that ended otherwise": float(len(answers) - len(answers.of("OK")) - len(refused)),
        "health checks": float(len(health)),
        "health, median ms": statistics.median(health) * 1e3,
        "health, 95% within ms": float(np.quantile(health, 0.95)) * 1e3,
        "health, longest ms": max(health) * 1e3,
    }
