"""Overload: a stub encoder that behaves as a small accelerator is offered one to ten times what it can do.

Arrivals that wait for nobody, from a process of their own; health is asked for meanwhile. What it can do is
measured first, by offering a little too much.
"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.faults.overload.overload import CALLS, ITEMS, SOURCE, TOKENS, checked
from tests.load import Answers, load
from tests.server import start_server

__all__ = ["rows"]

TIMES = (1, 2, 5, 10)
WITH_BARS = 5
HEALTH = 0.1
"""Seconds in which health is to answer."""
WARM = 2.0
"""Seconds before what is counted: the queue fills."""


def rows(seconds: float = 20, rounds: int = 3) -> list[Row]:
    """The ratios are the goodput over what the service does when it is offered half too much, and the time
    that health takes over what it may."""
    facts_of: dict[int, dict[str, float | str]] = {}
    slow: dict[int, list[float]] = {}
    seeds = itertools.count()

    def peak() -> float:
        with load(server.grpc, rate=1.5 * CALLS, seconds=seconds / 2 + WARM, items=ITEMS) as full:
            answers = full.answers()
        return answers.completed(full.started + WARM, full.started + WARM + seconds / 2)

    def goodput(times: int) -> float:
        rate = times * CALLS
        arrivals = load(
            server.grpc, rate=rate, seconds=seconds + WARM, items=ITEMS, deadline=None, seed=next(seeds)
        )
        with checked(server) as health, arrivals as running:
            answers = running.answers()
        good = answers.completed(running.started + WARM, running.started + WARM + seconds)
        facts_of[times] = facts(answers, good, rate, health)
        slow.setdefault(times, []).append(float(np.quantile(health, 0.95)) / HEALTH)
        return good

    def made(most: Sequence[float], *reached: Sequence[float]) -> list[Row]:
        found = []
        for times, rates in zip(TIMES, reached, strict=True):
            bar = 0.9 if times == WITH_BARS else None
            what = f"overload, {times}× what the encoder can do"
            found.append(Row(what, "the service's peak", ratios(rates, most), bar=bar, facts=facts_of[times]))
        health = f"health under {WITH_BARS}× overload, p95"
        return [*found, Row(health, "100 ms", list(slow[WITH_BARS]), bar=1.0, at_most=True)]

    with start_server("--model", SOURCE, "--batch-tokens", str(TOKENS)) as server:
        return measured(made, peak, *(functools.partial(goodput, times) for times in TIMES), rounds=rounds)


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
