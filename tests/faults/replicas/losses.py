"""What can happen to one of three instances, or to all of them in turn, while callers go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from altclip.v1.embedding_service_pb2 import EmbedTextRequest
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import worker_of
from tests.faults.replicas.callers import Callers
from tests.faults.replicas.instances import Account, Instance
from tests.load import load
from tests.server import until

__all__ = ["LOSSES", "Loss", "no_retries", "overloaded", "round_robin"]

Loss = Callable[[Sequence[Instance], Callers], Account]
"""Returns when it is over: what other callers were told meanwhile."""


def round_robin(instances: Sequence[Instance]) -> str:
    """A target that all clients take; in service it is a DNS name with several addresses."""
    return "ipv4:" + ",".join(instance.grpc for instance in instances)


@contextmanager
def no_retries(target: str) -> Iterator[EmbeddingServiceStub]:
    """A client that tries each call once, on connections of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options) as channel:
        yield EmbeddingServiceStub(channel)


@contextmanager
def overloaded(instance: Instance) -> Iterator[int]:
    """Its worker stands still, and its queue is full of so many calls of a caller of its own."""
    worker = worker_of(instance.server)
    waiting: list[Any] = []
    with no_retries(instance.grpc) as stub:
        worker.suspend()
        try:
            for size in (16, 1):
                request = EmbedTextRequest(texts=[f"{number} fills" for number in range(size)])
                while (call := _let_in(instance, stub, request)) is not None:
                    waiting.append(call)
            yield len(waiting)
        finally:
            worker.resume()
        for call in waiting:
            call.result(60)


def _let_in(instance: Instance, stub: Any, request: EmbedTextRequest) -> Any:
    """A call that waits for the worker; None where it was refused."""

    def accepted() -> float:
        return instance.server.metric("altclip_items_accepted_total")

    before = accepted()
    call: Any = stub.EmbedText.future(request, timeout=120)
    until(lambda: call.done() or accepted() > before, what="it is let in or refused")
    if not call.done():
        return call
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return None


def _restarted(instances: Sequence[Instance], callers: Callers) -> Account:
    for instance in instances:
        instance.restart()
        callers.wait_for_more(5)
    return Counter()


def _killed(instances: Sequence[Instance], callers: Callers) -> Account:
    instances[1].kill()
    callers.wait_for_more(20)
    instances[1].start()
    callers.wait_for_more(20)
    return Counter()


def _hung(instances: Sequence[Instance], callers: Callers) -> Account:
    instances[1].suspend()
    try:
        callers.wait_for_more(20, seconds=120)
    finally:
        instances[1].resume()
    callers.wait_for_more(20, seconds=120)
    return Counter()


def _overloaded(instances: Sequence[Instance], callers: Callers) -> Account:
    items = 8
    with load(instances[1].grpc, rate=150, seconds=15, items=items, deadline=None) as others:
        callers.wait_for_more(20, seconds=120)
        answers = others.answers()
    told = Counter(each.code for each in answers)
    return Counter({**told, "items ok": items * told["OK"]})


LOSSES: Mapping[str, Loss] = {
    "all restarted, one after the other": _restarted,
    "one killed (SIGKILL), and started again": _killed,
    "one hung (SIGSTOP), and then not": _hung,
    "one overloaded by others": _overloaded,
}
