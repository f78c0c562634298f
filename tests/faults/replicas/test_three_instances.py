"""Three instances behind Envoy or client-side round_robin: callers do not see what happens to one of them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection

import grpc
import pytest

from altclip import Client
from tests.faults.harness import embed, failure_of
from tests.faults.replicas import proxy as proxies
from tests.faults.replicas.callers import Callers, Http, Vectors, calling
from tests.faults.replicas.instances import BROKEN, Account, Instance
from tests.faults.replicas.losses import no_retries, overloaded, round_robin
from tests.faults.replicas.proxy import Envoy, envoy
from tests.overlays import overlay
from tests.server import until

UNDER_WAY = 6
"""Callers of each way, one of each kind."""

pytestmark = pytest.mark.timeout(400)  # the whole of a rolling restart, also where all cores are taken

QUICK_PINGS = tuple(
    (name, 1000)
    for name in ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
)
"""The documented configuration's pings, in less time."""


def counted_since(instances: Sequence[Instance], before: Sequence[Account]) -> list[Account]:
    """What each has counted since."""
    return [instance.account() - earlier for instance, earlier in zip(instances, before, strict=True)]


def test_every_instance_gets_its_turn(instances: list[Instance], proxy: Envoy) -> None:
    before = [instance.account() for instance in instances]

    def each_was_asked() -> bool:
        embed(stub, "a")
        caller.embed(["a"])
        return all(counted["OK"] >= 2 for counted in counted_since(instances, before))

    caller = Http([proxy.http], Counter())
    with no_retries(proxy.grpc) as stub:
        # Envoy's threads hear one after the other which instances are ready.
        until(each_was_asked, what="all instances are asked")
        before = [instance.account() for instance in instances]
        for _ in range(30):
            embed(stub, "a", "b")
        over_grpc = counted_since(instances, before)
        before = [instance.account() for instance in instances]
        for _ in range(30):
            caller.embed(["a"])
    caller.close()
    assert over_grpc == [Counter({"OK": 10, "items ok": 20})] * 3
    assert counted_since(instances, before) == [Counter({"OK": 10, "items ok": 10})] * 3


def test_an_instance_that_fails_every_call_is_ejected_for_a_while(
    instances: list[Instance], proxy: Envoy
) -> None:
    before = [instance.account() for instance in instances]
    ejections = "cluster.grpc.outlier_detection.ejections_enforced_total"
    enforced = proxy.counter(ejections)
    codes: Counter[str] = Counter()
    with no_retries(proxy.grpc) as stub:

        def call() -> str:
            try:
                embed(stub, f"{BROKEN} {codes.total()}")
            except grpc.RpcError as error:
                return failure_of(error).code
            return "OK"

        while proxy.counter(ejections) == enforced:
            codes[call()] += 1
            assert codes.total() < 60, codes
        assert codes["INTERNAL"] == 5
        assert [call() for _ in range(12)] == ["OK"] * 12
    assert [each["INTERNAL"] for each in counted_since(instances, before)] == [0, 0, 5]
    until(lambda: proxy.healthy("grpc") == 3, what="it gets calls again")


def test_an_overloaded_instance_tells_callers_when_to_come_again(
    instances: list[Instance], proxy: Envoy
) -> None:
    retries = proxy.counter("cluster.grpc.upstream_rq_retry")
    before = [instance.account() for instance in instances]
    with overloaded(instances[0]) as filling:
        with no_retries(proxy.grpc) as stub:
            refused = []
            for _ in range(6):
                try:
                    embed(stub, "a")
                except grpc.RpcError as error:
                    refused.append(failure_of(error))
        assert [(each.code, each.reason) for each in refused] == [("RESOURCE_EXHAUSTED", "QUEUE_FULL")] * 2
        assert all(each.retry_seconds > 0 and "grpc-retry-pushback-ms" in each.sent for each in refused)
        host, _, port = proxy.http.rpartition(":")
        answers = []
        for _ in range(3):
            connection = HTTPConnection(host, int(port), timeout=30)
            connection.request(
                "POST", "/v1/embeddings", json.dumps({"input": "a"}), {"content-type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            answers.append((answer.status, int(answer.getheader("retry-after") or 0) > 0))
            connection.close()
        assert Counter(answers) == {(200, False): 2, (429, True): 1}
        # The documented client comes again when it is told to, and reaches another instance.
        with Client(proxy.grpc) as client:
            for number in range(6):
                client.embed_text(f"again {number}")
    counted = counted_since(instances, before)
    # Twice one in three calls without retries, one in three over HTTP, and some of the client's tries.
    assert counted[0]["RESOURCE_EXHAUSTED"] >= 5
    assert sum(each["OK"] for each in counted) == 4 + 2 + 6 + filling
    assert proxy.counter("cluster.grpc.upstream_rq_retry") == retries


@dataclass(frozen=True)
class Seen:
    """Of a rolling restart. callers: by the way that they went. counted: by all instances together."""

    callers: dict[str, Callers]
    counted: Account


@pytest.fixture(scope="module")
def restarted(instances: list[Instance], expected: Vectors) -> Seen:
    """All three are restarted, one after the other, under callers of every kind: some go through Envoy, where
    it is installed, and some have `round_robin` and no proxy."""
    before = [instance.account() for instance in instances]
    with ExitStack() as stack:
        callers = {
            "round_robin": stack.enter_context(
                calling(round_robin(instances), [each.http for each in instances], expected)
            )
        }
        if proxies.is_installed():
            running = stack.enter_context(envoy(instances))
            callers["Envoy"] = stack.enter_context(calling(running.grpc, [running.http], expected))
        for instance in instances:
            instance.restart()
            for each in callers.values():
                each.wait_for_more(2)
    return Seen(callers, sum(counted_since(instances, before), Counter()))


def test_no_call_fails_with_round_robin_while_all_instances_are_restarted(restarted: Seen) -> None:
    assert restarted.callers["round_robin"].failures == []


def test_no_call_fails_behind_envoy_while_all_instances_are_restarted(restarted: Seen) -> None:
    overlay("envoy")
    assert restarted.callers["Envoy"].failures == []


def test_what_callers_got_is_what_the_restarted_instances_counted(restarted: Seen) -> None:
    callers = restarted.callers.values()
    print(restarted.counted, *((each.ended, each.told) for each in callers))
    assert restarted.counted["OK"] == sum(each.calls for each in callers)
    # Streams that went on at another instance included: no item was computed twice.
    assert restarted.counted["items ok"] == sum(each.items for each in callers)
    # Beside the answers only refusals while draining, each of which was tried again.
    assert set(restarted.counted) <= {"OK", "UNAVAILABLE", "items ok"}


def test_no_call_fails_when_an_instance_is_killed(instances: list[Instance], expected: Vectors) -> None:
    before = [instance.account() for instance in instances]
    with ExitStack() as stack:
        callers = [
            stack.enter_context(calling(round_robin(instances), [each.http for each in instances], expected))
        ]
        if proxies.is_installed():
            running = stack.enter_context(envoy(instances))
            callers.append(stack.enter_context(calling(running.grpc, [running.http], expected)))
        instances[1].kill()
        for each in callers:
            each.wait_for_more(3)
        instances[1].start()
        for each in callers:
            each.wait_for_more(3)
    assert [each.failures for each in callers] == [[]] * len(callers)
    counted = sum(counted_since(instances, before), Counter())
    # What each caller had under way may be counted twice, and what the killed one counted last is lost.
    difference = counted["OK"] - sum(each.calls for each in callers)
    assert abs(difference) <= 2 * UNDER_WAY * len(callers)


def test_a_hung_instance_gets_no_new_calls_from_envoy(instances: list[Instance], proxy: Envoy) -> None:
    instances[2].suspend()
    try:
        until(lambda: proxy.healthy("grpc") == proxy.healthy("http") == 2, what="it is left out")
        caller = Http([proxy.http], Counter())
        with no_retries(proxy.grpc) as stub:
            for _ in range(12):
                embed(stub, "a")
                caller.embed(["a"])
        caller.close()
    finally:
        instances[2].resume()
    until(lambda: proxy.healthy("grpc") == proxy.healthy("http") == 3, what="it gets calls again")


def test_calls_to_a_hung_instance_are_answered_by_another(instances: list[Instance]) -> None:
    ended: list[float] = []
    with Client(round_robin(instances), options=QUICK_PINGS) as client:
        for _ in range(6):
            client.embed_text("all are connected")
        instances[2].suspend()
        try:

            def call() -> None:
                client.embed_text("while one hangs")
                ended.append(time.monotonic())

            threads = [threading.Thread(target=call) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            instances[2].resume()
    assert len(ended) == 6
