"""Overload from beginning to end, watched from outside: what faults 10, 11 and 12 look at.

    light load ─▶ a little too much, which shows the peak ─▶ five times that ─▶ light load again

One batch takes a tenth of a second and holds thirty texts, so a few dozen calls a second are all that the
device can do, and the callers' own processor time hardly counts. `python -m tests.faults.overload 60`
overloads for a minute and prints what came of it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.harness import service
from tests.load import Answers, load
from tests.server import RunningServer

__all__ = ["BATCH_SECONDS", "Overload", "watch"]

BATCH_SECONDS = 0.1
SOURCE = f"m=stub:dimension=8,service_time={BATCH_SECONDS}"
ITEMS = 10
CALLS = 30 / BATCH_SECONDS / ITEMS
"""Calls a second that the device can do: 154 tokens are thirty of the load's texts, of five tokens each."""
LIGHT = 10.0
"""Calls a second, of one text, which are no load."""


@dataclass
class Overload:
    """What was seen.

    peak, goodput: calls a second that were answered well. calm: calls before the overload; over: every call
    of it; after: those that began when it ended, at `ended`. health: seconds that each check took under it.
    """

    peak: float
    goodput: float
    calm: Answers
    over: Answers
    after: Answers
    ended: float
    health: list[float] = field(default_factory=list)


def watch(seconds: float) -> Overload:
    """Overloads a service of its own for so long."""
    with service(SOURCE, "--batch-tokens=154") as server:
        with load(server.grpc, rate=LIGHT, seconds=2) as light:
            calm = light.answers()
        with load(server.grpc, rate=1.5 * CALLS, seconds=4, items=ITEMS, seed=1) as full:
            peak = full.answers().completed(full.started + 1, full.started + 4)
        with load(server.grpc, rate=5 * CALLS, seconds=seconds, items=ITEMS, seed=2) as overload:
            ended = overload.started + seconds
            with checked(server) as health:
                time.sleep(max(0.0, ended - time.monotonic()))
            with load(server.grpc, rate=LIGHT, seconds=5, seed=3) as light:
                over, after = overload.answers(), light.answers()
        goodput = over.completed(overload.started + 1, ended)
        return Overload(peak, goodput, calm, over, after, ended, health)


@contextmanager
def checked(server: RunningServer) -> Iterator[list[float]]:
    """Asks for the server's health twenty times a second; how long each answer took."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            check(health_pb2.HealthCheckRequest(), timeout=5)  # the connection is made
            while not over.wait(0.05):
                started = time.perf_counter()
                answer = check(health_pb2.HealthCheckRequest(), timeout=5)
                took.append(time.perf_counter() - started)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(10)


def main() -> None:
    """Prints what the tests look at."""
    seen = watch(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
    took = sorted(seen.health)
    print(
        f"goodput {seen.goodput:.1f} of {seen.peak:.1f} calls/s, {seen.goodput / seen.peak:.0%} of the peak"
    )
    print(f"p99 of the answered {seen.over.latency(0.99):.3f} s; {seen.over.codes()}")
    print(
        f"health: median {took[len(took) // 2] * 1e3:.1f} ms, longest {took[-1] * 1e3:.1f} ms of {len(took)}"
    )
    for answer in seen.after:
        print(f"{answer.due - seen.ended:6.2f} s after: waited {answer.queued:.3f} s {answer.code}")


if __name__ == "__main__":
    main()
