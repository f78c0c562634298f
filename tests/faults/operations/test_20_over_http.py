"""20 over HTTP: SIGTERM under load. One of two servers leaves, and no call fails of a client that comes again
as the answers say, to whichever server its balancer names."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPException

from tests.faults.harness import ROOM, service
from tests.faults.http_calls import Reply, ask
from tests.faults.operations.test_20_drain import seconds_to_stop
from tests.server import RunningServer, until

SOURCE = "m=stub:dimension=8,service_time=0.02"
TRIES = 8
"""As often as `max_retries=8` of the documented SDK."""


def documented(servers: Iterator[RunningServer], ended: Counter[str]) -> Reply:
    """As SDKs do: again after what the answer says, and after a connection that broke."""
    for _ in range(TRIES):
        try:
            reply = ask(next(servers), "a", "b")
        except (OSError, HTTPException):
            ended["broken"] += 1
            time.sleep(0.1)
            continue
        if reply.status not in (429, 503):
            return reply
        ended[reply.code] += 1
        assert reply.says_when_to_come_again()
        assert reply.headers["connection"] == "close"
        time.sleep(int(reply.headers["retry-after-ms"]) / 1000)
    raise AssertionError(f"no answer in {TRIES} tries: {ended}")


def test_20_no_call_fails_while_one_of_two_servers_drains() -> None:
    with service(SOURCE) as staying, service(SOURCE, "--grace=60") as leaving:
        ended: Counter[str] = Counter()
        failures: list[BaseException] = []
        stop = threading.Event()

        def caller() -> None:
            servers = itertools.cycle([leaving, staying])
            while not stop.is_set():
                try:
                    ended[str(documented(servers, ended).status)] += 1
                except BaseException as error:
                    failures.append(error)

        threads = [threading.Thread(target=caller) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: ended["200"] >= 60, what="load")
        until(lambda: leaving.metric("altclip_http_requests_total", code="200") > 0, what="load on both")
        assert leaving.stop() == 0
        assert seconds_to_stop(leaving.logs) < 10.0 + ROOM
        after = ended["200"]
        until(lambda: ended["200"] >= after + 40, what="load on the other")
        stop.set()
        for thread in threads:
            thread.join(60)
        print(ended)
        assert failures == []
        assert set(ended) <= {"200", "draining", "broken"}
