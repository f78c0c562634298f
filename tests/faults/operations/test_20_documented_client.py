"""20. SIGTERM under unary and streaming load: with the documented client configuration no call fails.

Two servers, one of which leaves, as in a rolling update; beside them a health watcher that reads nothing.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil

from altclip import Client
from tests.faults.harness import ROOM, service
from tests.faults.operations.test_20_drain import seconds_to_stop
from tests.server import RunningServer, until

STUB = "m=stub:dimension=8,service_time=0.01"
WATCHER = """
import sys, time, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
channel = grpc.insecure_channel(sys.argv[1])
watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
next(watch)
print("watching", flush=True)
time.sleep(60)
"""


@contextmanager
def stalled_watcher(server: RunningServer) -> Iterator[None]:
    """A process that watches the server's health and stands still, its sockets included."""
    command = [sys.executable, "-c", WATCHER, server.grpc]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "watching\n"
            psutil.Process(process.pid).suspend()
            yield
        finally:
            process.kill()


def answered(server: RunningServer, method: str) -> bool:
    """Whether it has answered such a call."""
    return server.metric("altclip_requests_total", method=method, code="OK") > 0


def test_20_no_unary_call_and_no_stream_fails_while_one_of_two_servers_drains() -> None:
    texts = [f"text {number}" for number in range(60)]
    failures: list[BaseException] = []
    ended: Counter[str] = Counter()
    stop = threading.Event()

    with (
        service(STUB) as staying,
        service(STUB, "--grace=60") as leaving,
        stalled_watcher(leaving),
        Client(f"ipv4:{staying.grpc},{leaving.grpc}") as client,
    ):
        client.wait_until_ready(timeout=60)
        expected = client.embed_text(texts).vectors

        def unary() -> None:
            got = client.embed_text(texts[:3]).vectors
            np.testing.assert_allclose(got, expected[:3], atol=1e-6)

        def stream() -> None:
            results = {result.index: result for result in client.embed_stream(texts, window=8)}
            assert sorted(results) == list(range(60))
            for index, result in results.items():
                np.testing.assert_allclose(result.vector, expected[index], atol=1e-6)

        def keep_calling(kind: str, call: Callable[[], None]) -> None:
            while not stop.is_set():
                try:
                    call()
                    ended[kind] += 1
                except BaseException as error:
                    failures.append(error)

        loads = [("unary", unary)] * 4 + [("stream", stream)] * 4
        callers = [threading.Thread(target=keep_calling, args=load) for load in loads]
        for caller in callers:
            caller.start()
        until(lambda: min(ended["unary"], ended["stream"]) >= 12, what="load")
        for method in ("EmbedText", "EmbedStream"):
            until(lambda method=method: answered(leaving, method), what="both have some of it")  # type: ignore[misc]
        assert leaving.stop() == 0
        assert seconds_to_stop(leaving.logs) < 10.0 + ROOM
        before = dict(ended)
        until(
            lambda: all(ended[kind] >= before[kind] + 8 for kind in before),
            what="load on the other",
        )
        stop.set()
        for caller in callers:
            caller.join(60)
    assert failures == []
