"""Overload from beginning to end: what faults 10, 11 and 12 look at.

    half too much, until the queue stands ─▶ five times what the device can do ─▶ nothing ─▶ light load

One batch takes a tenth of a second and holds thirty texts, so a few dozen calls a second are all that the
device can do, and the callers' own processor time hardly counts. Tests count batches; what was done in which
time is measured by `make overload`, from the same source and the same calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.harness import service
from tests.faults.http_calls import Reply, ask, asking_health
from tests.faults.overload.queue_log import Seen, read, watched
from tests.load import Answers, load
from tests.server import RunningServer, until

__all__ = ["CALLS", "ITEMS", "SOURCE", "TOKENS", "Overload", "checked", "watch"]

BATCH_SECONDS = 0.1
SOURCE = f"m=stub:dimension=8,service_time={BATCH_SECONDS}"
ITEMS = 10
TOKENS = 154
CALLS = 30 / BATCH_SECONDS / ITEMS
"""Calls a second that the device can do: so many tokens are thirty of the load's texts, five tokens each."""
LIGHT = 10.0
"""Calls a second, of one text, which are no load."""


@dataclass
class Overload:
    """What was seen.

    over, after: every call of the overload and what led to it, and those that came once its queue was empty.
    accepted: items of the former that were let in. emptied: seconds from the last of its calls until then.
    before, during, all: what the queue saw until five times as much came, until it was empty, and to the end.
    health, http_health: seconds that each check took under the overload, over gRPC and over HTTP. http: all
    replies to calls over HTTP during it.
    """

    over: Answers
    after: Answers
    accepted: float
    emptied: float
    before: Seen
    during: Seen
    all: Seen
    health: list[float]
    http_health: list[float]
    http: list[Reply]


def watch(seconds: float, path: Path) -> Overload:
    """Overloads a service of its own for so long. path: where its worker writes down what its queue sees."""
    with service(SOURCE, f"--batch-tokens={TOKENS}", environment=watched(path)) as server:
        patient = {"items": ITEMS, "deadline": 60.0}
        with load(server.grpc, rate=1.5 * CALLS, seconds=seconds + 6, seed=1, **patient) as some:
            until(
                lambda: server.metric("altclip_requests_total", code="RESOURCE_EXHAUSTED") > 0,
                what="the queue stands",
            )
            with load(server.grpc, rate=3.5 * CALLS, seconds=seconds, seed=2, **patient) as more:
                before = read(path)
                ended = max(each.started + each.plan.seconds for each in (some, more))
                with checked(server) as health, asking_health(server) as http_health, callers(server) as http:
                    time.sleep(max(0.0, more.started + seconds - time.monotonic()))
                time.sleep(max(0.0, ended - time.monotonic()))
                until(lambda: server.metric("altclip_queue_depth") == 0, what="an empty queue")
                emptied = time.monotonic() - ended
                over = Answers((*some.answers(), *more.answers()))
        during, accepted = read(path), server.metric("altclip_items_accepted_total")
        with load(server.grpc, rate=LIGHT, seconds=2, seed=3, deadline=60.0) as light:
            after = light.answers()
        return Overload(over, after, accepted, emptied, before, during, read(path), health, http_health, http)


@contextmanager
def callers(server: RunningServer) -> Iterator[list[Reply]]:
    """Four who call over HTTP again and again, ten items each; all replies."""
    replies: list[Reply] = []
    over = threading.Event()

    def run(caller: int) -> None:
        number = 0
        while not over.wait(0.05):
            replies.append(ask(server, *(f"http {caller} {number} {item}" for item in range(ITEMS))))
            number += 1

    threads = [threading.Thread(target=run, args=[caller]) for caller in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@contextmanager
def checked(server: RunningServer) -> Iterator[list[float]]:
    """Asks for the server's health twenty times a second; how long each answer took."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            check(health_pb2.HealthCheckRequest(), timeout=60)  # the connection is made
            while not over.wait(0.05):
                started = time.perf_counter()
                answer = check(health_pb2.HealthCheckRequest(), timeout=60)
                took.append(time.perf_counter() - started)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(60)
