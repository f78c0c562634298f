"""Frontends and a worker are killed between scrapes: no counter falls, and the totals are the client's."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.harness import crew, embed, failure_of, open_stub, service, worker_of
from tests.server import RunningServer, until

ITEMS = 3
_numbers = itertools.count()


class Callers:
    """Threads that call one after another, each on connections of its own, and count what they were told."""

    def __init__(self, server: RunningServer, count: int = 24) -> None:
        """count: so many that each of two frontends has some of their calls at any moment."""
        self._ended: list[str] = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def ended(self) -> Counter[str]:
        """OK; the reason that the service gave; LOST where there was none, because the connection broke."""
        return Counter(self._ended)

    def _run(self) -> None:
        while not self._stop.is_set():
            with open_stub(self._server) as stub:
                for number in itertools.islice(_numbers, 5):
                    try:
                        embed(stub, *(f"{number} {item}" for item in range(ITEMS)))
                        self._ended.append("OK")
                    except grpc.RpcError as error:
                        self._ended.append(failure_of(error).reason or "LOST")
                        time.sleep(0.05)
                        break

    def stop(self) -> None:
        """Waits for the last call of each."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@contextmanager
def calling(server: RunningServer, *, calls: int = 60) -> Iterator[Callers]:
    """Callers, with so many answers before the block and as many after it."""
    callers = Callers(server)
    try:
        until(lambda: callers.ended()["OK"] >= calls, what="load")
        yield callers
        more = callers.ended()["OK"] + calls
        until(lambda: callers.ended()["OK"] >= more, what="load after it")
    finally:
        callers.stop()


@contextmanager
def watched(server: RunningServer) -> Iterator[None]:
    """Scrapes all the time; at the end none that only rises has fallen or gone."""
    stop = threading.Event()
    fallen: list[str] = []
    scrapes = 0

    def scrape() -> None:
        nonlocal scrapes
        last: dict[str, float] = {}
        while not stop.is_set():
            now = rising(server)
            fallen.extend(name for name, value in last.items() if now.get(name, -1.0) < value)
            last = now
            scrapes += 1

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert scrapes > 10
    assert fallen == []


def rising(server: RunningServer) -> dict[str, float]:
    """All samples of counters and histograms by their name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(server.scrape())
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def requests(server: RunningServer, code: str) -> float:
    return server.metric("altclip_requests_total", method="EmbedText", code=code)


def items(server: RunningServer, outcome: str) -> float:
    return server.metric("altclip_items_total", modality="text", outcome=outcome)


def all_served(server: RunningServer, replaced: set[int]) -> None:
    """Returns once those processes have successors."""
    until(lambda: len(crew(server) - replaced) == 3, what="successors have started")
    until(lambda: '"ready": 2' in server.get("/readyz")[1], what="both frontends listen")
    until(lambda: server.get("/readyz")[0] == 200, what="the worker is ready")


def test_no_counter_falls_and_the_totals_are_the_clients() -> None:
    with service("m=stub:dimension=8,service_time=0.02", "--frontends=2", "--restart-stable=100ms") as server:
        first, second = server.processes("altclip-frontend")
        with watched(server):
            with calling(server) as callers:
                worker = worker_of(server)
                worker.kill()
                all_served(server, {worker.pid})
            told = callers.ended()
            # Every call was answered by the service itself: what it counted is what they were told.
            assert told["LOST"] == 0
            assert set(told) <= {"OK", "WORKER_UNAVAILABLE", "LOST"}
            assert requests(server, "OK") == told["OK"]
            assert requests(server, "UNAVAILABLE") == told["WORKER_UNAVAILABLE"] > 0
            assert items(server, "ok") == ITEMS * told["OK"]

            # A frontend that has answered since the last scrape, and nobody's call is under way.
            first.kill()
            all_served(server, {worker.pid, first.pid})
            assert requests(server, "OK") == told["OK"]
            assert items(server, "ok") == ITEMS * told["OK"]

            # And one in the midst of calls: it may have counted answers that it did not live to send.
            with calling(server) as callers:
                second.kill()
                all_served(server, {worker.pid, first.pid, second.pid})
            more = callers.ended()
            assert more["LOST"] > 0
            counted = requests(server, "OK") - told["OK"]
            assert more["OK"] <= counted <= more["OK"] + more["LOST"]
        ended = sum(items(server, outcome) for outcome in ("ok", "failed", "cancelled"))
        assert server.metric("altclip_items_accepted_total") == ended
        assert server.metric("altclip_worker_restarts_total") == 1
